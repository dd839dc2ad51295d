//! Reads a whole server into an [`Observation`]: every key of every database, what it defines, and the marks that
//! redrill left in it.
//!
//! Memory stays flat whatever the number of keys: nothing is kept per key. `SCAN` may therefore hand out a key
//! twice unnoticed (it does so while a table shrinks); so the keys seen are held against the server's own counts
//! before and after, and a database is read again when they do not agree.
//!
//! A key with an expiry counts in [`Observation::expiring`], under the minute its expiry lies in, rounded down: a
//! minute that is not after the observation's instant may have lost some of its keys, rightly.

use std::collections::{BTreeMap, BTreeSet};

use chrono::DateTime;

use crate::clock::{Clock, SystemClock};
use crate::context::Context;
use crate::error::Result;
use crate::evidence::Observation;
use crate::service::redis::client::{
    Batch, Client, Keyspace, Reply, bytes, cmd, complaint, int, keyspaces, maybe_bytes, text,
};
use crate::service::redis::digest::{Frames, Sum};
use crate::service::redis::value::{self, Content, Kind, PAGE, cursor_and_items, minute};
use crate::service::redis::{LEDGER, RUN, catalogue};

/// How many keys are asked for at once.
const KEYS: usize = 1_000;
/// Values of at most this many bytes, by the server's estimate, are read whole in batches.
const SMALL: u64 = PAGE / 4;
/// How often a database is read again when its keys do not agree with the server's counts.
const ATTEMPTS: usize = 5;

/// Reads everything.
pub async fn observe(ctx: &Context, client: &mut Client) -> Result<Observation> {
    let mut seen = Observation::default();
    let fading = client.has("HPEXPIRETIME").await?;
    for database in keyspaces(client).await?.into_keys() {
        client.select(database).await?;
        let tally = settled(ctx, client, database, fading, &mut seen.unreadable).await?;
        tally.enter(database, &mut seen);
    }
    client.select(0).await?;
    seen.nonce = mark(client, "nonce", &mut seen.unreadable).await?;
    seen.canary = mark(client, "canary", &mut seen.unreadable).await?;
    // The server's run id changes with every start: only what is planted tells a data set from another.
    seen.identity = seen.nonce.clone().unwrap_or_default();
    let catalogue = catalogue::read(client).await?.into_iter();
    seen.catalogue = catalogue
        .map(|(entry, definition)| (entry.into(), definition.into()))
        .collect();
    seen.bytes = client
        .info("memory")
        .await?
        .number("used_memory_dataset")
        .unwrap_or(0);
    seen.taken_at = SystemClock.now();
    Ok(seen)
}

/// A mark of the run, as it is found.
async fn mark(
    client: &mut Client,
    mark: &str,
    unreadable: &mut BTreeMap<String, String>,
) -> Result<Option<String>> {
    let found = client.raw(cmd("HGET").arg(RUN).arg(mark)).await?;
    if let Some(words) = complaint(&found) {
        unreadable.insert(RUN.to_owned(), words);
        return Ok(None);
    }
    Ok(maybe_bytes(found)?.map(|found| String::from_utf8_lossy(&found).into_owned()))
}

/// Reads a database until its keys agree with the server's counts.
async fn settled(
    ctx: &Context,
    client: &mut Client,
    database: u32,
    fading: bool,
    unreadable: &mut BTreeMap<String, String>,
) -> Result<Tally> {
    let mut attempt = 1;
    loop {
        let before = count(client, database).await?;
        let fading = fading && before.hashes_with_expiring_fields > 0;
        let tally = scan(ctx, client, fading).await?;
        let after = count(client, database).await?;
        if tally.agrees(before, after) {
            return Ok(tally);
        }
        if attempt == ATTEMPTS {
            let words = format!(
                "its keys kept changing while they were read: {} that never expire were counted, {} were read",
                after.persistent, tally.persistent
            );
            unreadable.insert(format!("db{database}"), words);
            return Ok(tally);
        }
        attempt += 1;
    }
}

async fn count(client: &mut Client, database: u32) -> Result<Keyspace> {
    Ok(keyspaces(client)
        .await?
        .remove(&database)
        .unwrap_or_default())
}

async fn scan(ctx: &Context, client: &mut Client, fading: bool) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut cursor = 0;
    loop {
        ctx.go_on()?;
        let page = client
            .call(cmd("SCAN").arg(cursor).arg("COUNT").arg(KEYS))
            .await?;
        let (next, keys) = cursor_and_items(page)?;
        let keys = keys.into_iter().map(bytes).collect::<Result<Vec<_>>>()?;
        read_page(client, keys, fading, &mut tally).await?;
        cursor = next;
        if cursor == 0 {
            return Ok(tally);
        }
    }
}

/// A key that is about to be read.
struct Key {
    name: Vec<u8>,
    kind: Kind,
    /// Milliseconds since 1970; `None` when it never expires.
    expiry: Option<i64>,
    /// Bytes, by the server's estimate.
    memory: u64,
}

async fn read_page(
    client: &mut Client,
    names: Vec<Vec<u8>>,
    fading: bool,
    tally: &mut Tally,
) -> Result<()> {
    let mut questions = Batch::with_capacity(names.len() * 3);
    for name in &names {
        value::ask(&mut questions, name);
    }
    let mut answers = client.all(&questions).await?.into_iter();
    let mut next = || answers.next().unwrap_or_default();
    let mut small = Vec::new();
    let mut large = Vec::new();
    for name in names {
        let (kind, expiry, memory) = (text(next())?, int(next())?, next());
        if kind == "none" || expiry == -2 || memory == Reply::Nil {
            continue;
        }
        let expiry = Some(expiry).filter(|instant| *instant >= 0);
        let Some(kind) = Kind::find(&kind) else {
            tally.foreign(kind, expiry);
            continue;
        };
        let memory = int(memory)?.unsigned_abs();
        let key = Key {
            name,
            kind,
            expiry,
            memory,
        };
        let whole = memory <= SMALL && kind != Kind::Stream && !(fading && kind == Kind::Hash);
        if whole { &mut small } else { &mut large }.push(key);
    }

    let mut rest = small.as_slice();
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = rest
            .iter()
            .take_while(|key| {
                bytes += key.memory;
                bytes <= PAGE
            })
            .count();
        let (now, later) = rest.split_at(fits.max(1));
        read_small(client, now, tally).await?;
        rest = later;
    }
    for key in large {
        if let Some(content) = value::read(client, key.kind, &key.name, key.memory, fading).await? {
            tally.add(&key, content);
        }
    }
    Ok(())
}

async fn read_small(client: &mut Client, keys: &[Key], tally: &mut Tally) -> Result<()> {
    let mut batch = Batch::with_capacity(keys.len());
    for key in keys {
        if let Some(command) = key.kind.whole(&key.name) {
            batch.add_command(command);
        }
    }
    let replies = client.each(&batch).await?;
    for (key, reply) in keys.iter().zip(replies) {
        // A complaint means that the key has changed its type since: it is as good as gone, and the counts tell.
        if complaint(&reply).is_none()
            && let Some(fingerprint) = value::fingerprint(key.kind, reply)?
        {
            tally.add(key, fingerprint.into());
        }
    }
    Ok(())
}

/// What was read of one database.
#[derive(Debug, Default)]
struct Tally {
    lasting: BTreeMap<&'static str, Sum>,
    expiring: BTreeMap<(&'static str, i64), Sum>,
    /// Keys of types that only a module can read.
    foreign: BTreeMap<String, u64>,
    ledger: BTreeSet<u64>,
    persistent: u64,
    volatile: u64,
}

impl Tally {
    fn add(&mut self, key: &Key, content: Content) {
        self.count(key.expiry);
        if let Some(number) = ledger_number(&key.name) {
            self.ledger.insert(number);
        }
        let part = key.kind.name();
        if let Some(fingerprint) = content.lasting {
            let whole = Frames::of(&[part.as_bytes(), &key.name, &fingerprint.to_le_bytes()]);
            match key.expiry {
                Some(instant) => self.expiring.entry((part, minute(instant))).or_default(),
                None => self.lasting.entry(part).or_default(),
            }
            .add(whole);
        }
        for (minute, sum) in content.fading {
            self.expiring
                .entry(("hash field", minute))
                .or_default()
                .merge(sum);
        }
    }

    fn foreign(&mut self, kind: String, expiry: Option<i64>) {
        self.count(expiry);
        *self.foreign.entry(kind).or_default() += 1;
    }

    fn count(&mut self, expiry: Option<i64>) {
        match expiry {
            Some(_) => self.volatile += 1,
            None => self.persistent += 1,
        }
    }

    /// Whether every key was seen once: those that never expire exactly, the others within what may have expired
    /// in the meantime.
    fn agrees(&self, before: Keyspace, after: Keyspace) -> bool {
        before.persistent == after.persistent
            && self.persistent == after.persistent
            && (after.expiring..=before.expiring).contains(&self.volatile)
    }

    fn enter(self, database: u32, seen: &mut Observation) {
        for (part, sum) in self.lasting {
            seen.parts
                .insert(format!("db{database} {part}").into(), sum.part());
        }
        for ((part, minute), sum) in self.expiring {
            let instant = DateTime::from_timestamp(minute.saturating_mul(60), 0)
                .unwrap_or(DateTime::<chrono::Utc>::MAX_UTC);
            seen.expiring
                .insert((format!("db{database} {part}"), instant), sum.part());
        }
        for (kind, count) in self.foreign {
            seen.unreadable.insert(
                format!("db{database} {kind}"),
                format!("{count} keys of a module's type, which redrill cannot read"),
            );
        }
        if database == 0 {
            seen.ledger.extend(self.ledger);
        }
    }
}

fn ledger_number(key: &[u8]) -> Option<u64> {
    std::str::from_utf8(key)
        .ok()?
        .strip_prefix(LEDGER)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyspace(persistent: u64, expiring: u64) -> Keyspace {
        Keyspace {
            persistent,
            expiring,
            hashes_with_expiring_fields: 0,
        }
    }

    #[test]
    fn a_key_seen_twice_or_not_at_all_does_not_agree_with_the_counts() {
        let mut tally = Tally::default();
        for expiry in [None, None, None, Some(1), Some(2)] {
            tally.count(expiry);
        }
        assert!(tally.agrees(keyspace(3, 2), keyspace(3, 2)));
        assert!(tally.agrees(keyspace(3, 4), keyspace(3, 1)));
        assert!(!tally.agrees(keyspace(2, 2), keyspace(2, 2)));
        assert!(!tally.agrees(keyspace(4, 2), keyspace(4, 2)));
        assert!(!tally.agrees(keyspace(3, 1), keyspace(3, 1)));
        assert!(!tally.agrees(keyspace(3, 3), keyspace(3, 3)));
    }

    #[test]
    fn only_whole_numbers_behind_the_prefix_are_ledger_entries() {
        assert_eq!(ledger_number(b"redrill:ledger:12"), Some(12));
        assert_eq!(ledger_number(b"redrill:ledger:"), None);
        assert_eq!(ledger_number(b"redrill:ledger:1x"), None);
        assert_eq!(ledger_number(b"x:redrill:ledger:1"), None);
    }
}
