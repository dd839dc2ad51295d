//! Reads one key's value, whatever its type and size, into a fingerprint.
//!
//! A small value is read by one command of a batch, a large one in pages, and both ways give the same fingerprint:
//! how a server holds a value (listpack or skiplist, one node or many) may differ after a restore. Order counts
//! for lists and streams, not for sets and hashes. A single element is read whole, as Redis offers no way to read
//! a part of it. Not here: which keys there are (see [`super::observe`]).

use std::collections::BTreeMap;

use crate::error::Result;
use crate::service::redis::client::{
    Batch, Client, Cmd, Reply, bytes, cmd, complaint, int, list, maybe_bytes, text,
};
use crate::service::redis::digest::{Frames, Sum};
use crate::service::redis::stream;

/// About how many bytes one reply may have, by the server's own estimate.
pub const PAGE: u64 = 1 << 20;
/// How often a large set or hash is read again when it came back with another number of elements than it has
/// (`SSCAN` and `HSCAN` may hand out an element twice while the table shrinks).
const ATTEMPTS: usize = 5;

/// The types of values that redrill reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Strings, and what is made of them: numbers, bitmaps, HyperLogLogs.
    String,
    /// Lists.
    List,
    /// Sets.
    Set,
    /// Hashes.
    Hash,
    /// Sorted sets, geographic indexes among them.
    Zset,
    /// Streams, with groups, consumers and pending entries.
    Stream,
}

impl Kind {
    /// The type of this name, as `TYPE` answers; `None` for types of modules.
    pub fn find(name: &str) -> Option<Self> {
        [
            Self::String,
            Self::List,
            Self::Set,
            Self::Hash,
            Self::Zset,
            Self::Stream,
        ]
        .into_iter()
        .find(|kind| kind.name() == name)
    }

    /// The name, as `TYPE` answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::List => "list",
            Self::Set => "set",
            Self::Hash => "hash",
            Self::Zset => "zset",
            Self::Stream => "stream",
        }
    }

    /// The command that answers with the whole value; `None` where it takes more than one.
    pub fn whole(self, key: &[u8]) -> Option<Cmd> {
        let command = match self {
            Self::String => on("GET", key),
            Self::List => between("LRANGE", key, 0, -1),
            Self::Set => on("SMEMBERS", key),
            Self::Hash => on("HGETALL", key),
            Self::Zset => with_scores(between("ZRANGE", key, 0, -1)),
            Self::Stream => return None,
        };
        Some(command)
    }

    fn length(self) -> &'static str {
        match self {
            Self::String => "STRLEN",
            Self::List => "LLEN",
            Self::Set => "SCARD",
            Self::Hash => "HLEN",
            Self::Zset => "ZCARD",
            Self::Stream => "XLEN",
        }
    }
}

/// A command on a key.
pub fn on(name: &str, key: &[u8]) -> Cmd {
    let mut command = cmd(name);
    command.arg(key);
    command
}

fn between(name: &str, key: &[u8], first: i64, last: i64) -> Cmd {
    let mut command = on(name, key);
    command.arg(first).arg(last);
    command
}

fn with_scores(mut command: Cmd) -> Cmd {
    command.arg("WITHSCORES");
    command
}

/// What a key holds.
#[derive(Debug, Default)]
pub struct Content {
    /// The fingerprint of what stays; `None` when every field of a hash has an expiry of its own.
    pub lasting: Option<u128>,
    /// Fields of a hash that expire by themselves, by minute (since 1970).
    pub fading: BTreeMap<i64, Sum>,
}

impl From<u128> for Content {
    fn from(fingerprint: u128) -> Self {
        Self {
            lasting: Some(fingerprint),
            fading: BTreeMap::new(),
        }
    }
}

/// The fingerprint of a whole value from the reply to [`Kind::whole`]; `None` when the key is gone by now.
pub fn fingerprint(kind: Kind, reply: Reply) -> Result<Option<u128>> {
    if kind == Kind::String {
        return Ok(maybe_bytes(reply)?.map(|value| Frames::of(&[&value])));
    }
    let items = list(reply)?;
    if items.is_empty() {
        return Ok(None);
    }
    let fingerprint = match kind {
        Kind::Set => {
            let mut sum = Sum::default();
            for item in items {
                sum.add(Frames::of(&[&bytes(item)?]));
            }
            sum.finish()
        }
        Kind::Hash => {
            let mut sum = Sum::default();
            for (field, value) in pairs(items)? {
                sum.add(Frames::of(&[&field, &value]));
            }
            sum.finish()
        }
        _ => {
            let mut sequence = Sequence::default();
            sequence.add(items)?;
            sequence.finish()
        }
    };
    Ok(Some(fingerprint))
}

/// Reads a value that is large, or takes more than one command. `memory` is the server's estimate of its bytes;
/// `fading` says that fields of hashes may have an expiry of their own. `None` when the key is gone, or changed
/// while it was read.
pub async fn read(
    client: &mut Client,
    kind: Kind,
    key: &[u8],
    memory: u64,
    fading: bool,
) -> Result<Option<Content>> {
    let length = client.raw(&on(kind.length(), key)).await?;
    if complaint(&length).is_some() {
        return Ok(None);
    }
    let length = u64::try_from(int(length)?).unwrap_or(0);
    let page = (PAGE / (memory / length.max(1)).max(1)).clamp(1, 10_000);
    Ok(match kind {
        // Length 0 is said of an empty string and of none at all; only the value tells.
        Kind::String if length <= PAGE => {
            fingerprint(kind, client.call(&on("GET", key)).await?)?.map(Content::from)
        }
        Kind::String => read_string(client, key, length).await?.map(Content::from),
        Kind::List | Kind::Zset => read_ranges(client, kind, key, length, page)
            .await?
            .map(Content::from),
        Kind::Set => read_set(client, key, page).await?.map(Content::from),
        Kind::Hash => read_hash(client, key, page, fading).await?,
        Kind::Stream => stream::read(client, key, page).await?.map(Content::from),
    })
}

async fn read_string(client: &mut Client, key: &[u8], length: u64) -> Result<Option<u128>> {
    let mut frames = Frames::new();
    frames.begin(length);
    let mut done = 0;
    while done < length {
        let mut command = on("GETRANGE", key);
        command.arg(done).arg(done + PAGE - 1);
        let piece = bytes(client.call(&command).await?)?;
        if piece.is_empty() {
            return Ok(None);
        }
        done += piece.len() as u64;
        frames.raw(&piece);
    }
    Ok((done == length).then(|| frames.finish()))
}

/// Elements in order, counted at the end: what lists and sorted sets are.
#[derive(Default)]
struct Sequence {
    frames: Frames,
    count: u64,
}

impl Sequence {
    fn add(&mut self, items: Vec<Reply>) -> Result<()> {
        for item in items {
            self.frames.add(&bytes(item)?);
            self.count += 1;
        }
        Ok(())
    }

    fn finish(mut self) -> u128 {
        self.frames.number(self.count);
        self.frames.finish()
    }
}

async fn read_ranges(
    client: &mut Client,
    kind: Kind,
    key: &[u8],
    length: u64,
    page: u64,
) -> Result<Option<u128>> {
    let mut sequence = Sequence::default();
    let (length, page) = (length.cast_signed(), page.cast_signed());
    let mut first = 0;
    while first < length {
        let last = (first + page).min(length) - 1;
        let command = match kind {
            Kind::List => between("LRANGE", key, first, last),
            _ => with_scores(between("ZRANGE", key, first, last)),
        };
        let items = list(client.call(&command).await?)?;
        let wanted = (last - first + 1).unsigned_abs() * if kind == Kind::List { 1 } else { 2 };
        if items.len() as u64 != wanted {
            return Ok(None);
        }
        sequence.add(items)?;
        first = last + 1;
    }
    Ok((length > 0).then(|| sequence.finish()))
}

async fn read_set(client: &mut Client, key: &[u8], page: u64) -> Result<Option<u128>> {
    for _ in 0..ATTEMPTS {
        let mut sum = Sum::default();
        let mut cursor = 0;
        loop {
            let (next, items) = scan(client, "SSCAN", key, cursor, page).await?;
            for item in items {
                sum.add(Frames::of(&[&bytes(item)?]));
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        let length = int(client.call(&on("SCARD", key)).await?)?;
        if sum.count == length.unsigned_abs() {
            return Ok((length > 0).then(|| sum.finish()));
        }
    }
    Ok(None)
}

async fn read_hash(
    client: &mut Client,
    key: &[u8],
    page: u64,
    fading: bool,
) -> Result<Option<Content>> {
    for _ in 0..ATTEMPTS {
        let mut lasting = Sum::default();
        let mut content = Content::default();
        let mut cursor = 0;
        loop {
            let (next, items) = scan(client, "HSCAN", key, cursor, page).await?;
            let items = pairs(items)?;
            let expiries = if fading && !items.is_empty() {
                field_expiries(client, key, &items).await?
            } else {
                vec![None; items.len()]
            };
            for ((field, value), expiry) in items.iter().zip(expiries) {
                match expiry {
                    Some(instant) => content
                        .fading
                        .entry(minute(instant))
                        .or_default()
                        .add(Frames::of(&[key, field, value])),
                    None => lasting.add(Frames::of(&[field, value])),
                }
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        let length = int(client.call(&on("HLEN", key)).await?)?.unsigned_abs();
        let fields: u64 = lasting.count + content.fading.values().map(|sum| sum.count).sum::<u64>();
        // HLEN also counts fields whose time has passed but that are still there.
        if fields == length || (!content.fading.is_empty() && fields < length) {
            content.lasting = (lasting.count > 0).then(|| lasting.finish());
            return Ok((fields > 0).then_some(content));
        }
    }
    Ok(None)
}

/// The expiry of each field in milliseconds since 1970, `None` for those that stay (Redis 7.4, Valkey 9).
async fn field_expiries(
    client: &mut Client,
    key: &[u8],
    fields: &[(Vec<u8>, Vec<u8>)],
) -> Result<Vec<Option<i64>>> {
    let mut command = on("HPEXPIRETIME", key);
    command.arg("FIELDS").arg(fields.len());
    for (field, _) in fields {
        command.arg(field);
    }
    list(client.call(&command).await?)?
        .into_iter()
        .map(|reply| Ok(Some(int(reply)?).filter(|instant| *instant >= 0)))
        .collect()
}

async fn scan(
    client: &mut Client,
    name: &str,
    key: &[u8],
    cursor: u64,
    page: u64,
) -> Result<(u64, Vec<Reply>)> {
    let mut command = on(name, key);
    command.arg(cursor).arg("COUNT").arg(page);
    cursor_and_items(client.call(&command).await?)
}

/// The reply of `SCAN` and its like: the next cursor, and items.
pub fn cursor_and_items(reply: Reply) -> Result<(u64, Vec<Reply>)> {
    let mut parts = list(reply)?.into_iter();
    let cursor = text(parts.next().unwrap_or_default())?;
    let items = list(parts.next().unwrap_or_default())?;
    Ok((cursor.parse().unwrap_or(0), items))
}

fn pairs(items: Vec<Reply>) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut pairs = Vec::with_capacity(items.len() / 2);
    let mut items = items.into_iter();
    while let (Some(name), Some(value)) = (items.next(), items.next()) {
        pairs.push((bytes(name)?, bytes(value)?));
    }
    Ok(pairs)
}

/// The minute (since 1970) in which an instant in milliseconds lies.
pub fn minute(milliseconds: i64) -> i64 {
    milliseconds.div_euclid(60_000)
}

/// Asks a batch of questions about one key: type, expiry, and an estimate of its bytes.
pub fn ask(batch: &mut Batch, key: &[u8]) {
    batch.cmd("TYPE").arg(key);
    batch.cmd("PEXPIRETIME").arg(key);
    batch.cmd("MEMORY").arg("USAGE").arg(key);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(items: &[&str]) -> Reply {
        Reply::Array(
            items
                .iter()
                .map(|item| Reply::BulkString(item.as_bytes().to_vec()))
                .collect(),
        )
    }

    #[test]
    fn a_list_in_another_order_is_another_list_and_a_set_is_not() {
        let of = |kind, items: &[&str]| fingerprint(kind, strings(items)).expect("readable");
        assert_ne!(of(Kind::List, &["a", "b"]), of(Kind::List, &["b", "a"]));
        assert_eq!(of(Kind::Set, &["a", "b"]), of(Kind::Set, &["b", "a"]));
        assert_ne!(of(Kind::Set, &["a", "b"]), of(Kind::Set, &["a", "c"]));
    }

    #[test]
    fn fields_of_a_hash_belong_to_their_values() {
        let of = |items: &[&str]| fingerprint(Kind::Hash, strings(items)).expect("readable");
        assert_eq!(of(&["f", "1", "g", "2"]), of(&["g", "2", "f", "1"]));
        assert_ne!(of(&["f", "1", "g", "2"]), of(&["f", "2", "g", "1"]));
    }

    #[test]
    fn an_empty_string_is_a_value_and_nil_is_a_key_that_is_gone() {
        let empty = fingerprint(Kind::String, Reply::BulkString(Vec::new())).expect("readable");
        assert!(empty.is_some());
        assert_eq!(
            fingerprint(Kind::String, Reply::Nil).expect("readable"),
            None
        );
    }

    #[test]
    fn the_minute_of_an_instant_is_rounded_down() {
        assert_eq!(minute(119_999), 1);
        assert_eq!(minute(120_000), 2);
    }
}
