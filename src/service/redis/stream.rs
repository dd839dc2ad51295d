//! Reads a stream: entries in order, its counters, and every consumer group with its consumers and what each has
//! pending. Times since a delivery change by themselves and are left out.

use crate::error::Result;
use crate::service::redis::client::{
    Batch, Client, Cmd, Reply, bytes, complaint, fields, int, list, maybe_bytes,
};
use crate::service::redis::digest::Frames;
use crate::service::redis::value::on;

/// How many pending entries are asked for at once.
const PENDING_PAGE: usize = 1_000;
/// What `XINFO STREAM` says that a restore must bring back, besides the entries; servers before 7.0 lack some.
const COUNTERS: [&str; 3] = ["last-generated-id", "max-deleted-entry-id", "entries-added"];

/// The fingerprint of a stream, `page` entries at a time; `None` when it is gone.
pub async fn read(client: &mut Client, key: &[u8], page: u64) -> Result<Option<u128>> {
    let mut batch = Batch::with_capacity(3);
    batch.cmd("XINFO").arg("STREAM").arg(key);
    batch.cmd("XINFO").arg("GROUPS").arg(key);
    batch.add_command(entries(key, b"-", page));
    let mut replies = client.each(&batch).await?.into_iter();
    let (Some(about), Some(groups), Some(first)) = (replies.next(), replies.next(), replies.next())
    else {
        return Ok(None);
    };
    if [&about, &groups, &first]
        .into_iter()
        .any(|reply| complaint(reply).is_some())
    {
        return Ok(None);
    }

    let mut frames = Frames::new();
    let about = fields(about)?;
    for counter in COUNTERS {
        add_scalar(&mut frames, about.get(counter).cloned().unwrap_or_default())?;
    }
    add_entries(client, key, page, first, &mut frames).await?;
    add_groups(client, key, list(groups)?, &mut frames).await?;
    Ok(Some(frames.finish()))
}

fn entries(key: &[u8], start: &[u8], page: u64) -> Cmd {
    let mut command = on("XRANGE", key);
    command.arg(start).arg("+").arg("COUNT").arg(page);
    command
}

/// An identifier behind the given one, as a range's start.
fn after(id: &[u8]) -> Vec<u8> {
    [b"(", id].concat()
}

async fn add_entries(
    client: &mut Client,
    key: &[u8],
    page: u64,
    first: Reply,
    frames: &mut Frames,
) -> Result<()> {
    let mut batch = list(first)?;
    let mut count = 0;
    loop {
        let full = batch.len() as u64 >= page;
        let mut last = Vec::new();
        for entry in batch {
            let mut parts = list(entry)?.into_iter();
            last = bytes(parts.next().unwrap_or_default())?;
            frames.add(&last);
            let content = list(parts.next().unwrap_or_default())?;
            frames.number(content.len() as u64);
            for item in content {
                frames.add(&bytes(item)?);
            }
            count += 1;
        }
        if !full {
            break;
        }
        batch = list(client.call(&entries(key, &after(&last), page)).await?)?;
    }
    frames.number(count);
    Ok(())
}

async fn add_groups(
    client: &mut Client,
    key: &[u8],
    groups: Vec<Reply>,
    frames: &mut Frames,
) -> Result<()> {
    frames.number(groups.len() as u64);
    if groups.is_empty() {
        return Ok(());
    }
    let mut names = Vec::with_capacity(groups.len());
    let mut batch = Batch::with_capacity(groups.len() * 2);
    for group in groups {
        let mut about = fields(group)?;
        let name = bytes(about.remove("name").unwrap_or_default())?;
        frames.add(&name);
        for field in ["last-delivered-id", "entries-read"] {
            add_scalar(frames, about.remove(field).unwrap_or_default())?;
        }
        batch.cmd("XINFO").arg("CONSUMERS").arg(key).arg(&name);
        batch.add_command(pending(key, &name, b"-"));
        names.push(name);
    }
    let mut replies = client.all(&batch).await?.into_iter();
    for name in names {
        let consumers = list(replies.next().unwrap_or_default())?;
        frames.number(consumers.len() as u64);
        for consumer in consumers {
            add_scalar(frames, fields(consumer)?.remove("name").unwrap_or_default())?;
        }
        let first = replies.next().unwrap_or_default();
        add_pending(client, key, &name, first, frames).await?;
    }
    Ok(())
}

fn pending(key: &[u8], group: &[u8], start: &[u8]) -> Cmd {
    let mut command = on("XPENDING", key);
    command.arg(group).arg(start).arg("+").arg(PENDING_PAGE);
    command
}

async fn add_pending(
    client: &mut Client,
    key: &[u8],
    group: &[u8],
    first: Reply,
    frames: &mut Frames,
) -> Result<()> {
    let mut batch = list(first)?;
    let mut count = 0;
    loop {
        let full = batch.len() >= PENDING_PAGE;
        let mut last = Vec::new();
        for entry in batch {
            // Identifier, consumer, milliseconds since the delivery, number of deliveries.
            let mut parts = list(entry)?.into_iter();
            last = bytes(parts.next().unwrap_or_default())?;
            frames.add(&last);
            add_scalar(frames, parts.next().unwrap_or_default())?;
            frames.number(int(parts.nth(1).unwrap_or_default())?.unsigned_abs());
            count += 1;
        }
        if !full {
            break;
        }
        batch = list(client.call(&pending(key, group, &after(&last))).await?)?;
    }
    frames.number(count);
    Ok(())
}

/// Adds a scalar so that nil and an empty string differ.
fn add_scalar(frames: &mut Frames, reply: Reply) -> Result<()> {
    match maybe_bytes(reply)? {
        Some(bytes) => frames.number(1).add(&bytes),
        None => frames.number(0),
    };
    Ok(())
}
