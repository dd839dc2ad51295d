//! An ordered map on the disk, for what there may be very many of: the objects of a bucket, the contents of an artifact.
//! Memory holds a few pages of it, however many entries there are.
//!
//! Its file has no name, so that nothing is left of it whatever happens; it is a cache, or a spool, and never the only
//! place of what is in it. An operation takes a few microseconds and blocks for those. Not here: what is put into it.

use std::cmp::Ordering;
use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::ops::Bound;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::{
    AccessGuard, Builder, Database, Durability, ReadableTable, StorageBackend, Table,
    TableDefinition, WriteTransaction,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

const TABLE: TableDefinition<&str, &[u8]> = TableDefinition::new("shelf");
/// Bytes of pages that one shelf holds in memory.
const CACHE: usize = 512 << 10;
/// How many entries [`Shelf::each`] takes at a time.
const CHUNK: usize = 256;

/// An ordered map from texts to values.
pub struct Shelf<V> {
    // Never committed: pages are changed in place, and nothing needs to outlive the process.
    open: Mutex<Open>,
    values: PhantomData<fn() -> V>,
}

struct Open {
    transaction: WriteTransaction,
    len: u64,
    _database: Database,
}

/// The file of a shelf. Nothing in it is worth waiting for the disk.
#[derive(Debug)]
struct Nameless(File);

impl StorageBackend for Nameless {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }
}

impl<V: Serialize + DeserializeOwned> Shelf<V> {
    /// An empty one, with its file in a directory.
    pub fn new(dir: &Path) -> io::Result<Self> {
        let file = Nameless(tempfile::tempfile_in(dir)?);
        let database = Builder::new()
            .set_cache_size(CACHE)
            .create_with_backend(file)
            .map_err(io::Error::other)?;
        let mut transaction = database.begin_write().map_err(io::Error::other)?;
        let durability = transaction.set_durability(Durability::None);
        durability.map_err(io::Error::other)?;
        Ok(Self {
            open: Mutex::new(Open {
                transaction,
                len: 0,
                _database: database,
            }),
            values: PhantomData,
        })
    }

    /// Puts a value under a key, and gives back the one that it replaces.
    pub fn insert(&self, key: &str, value: &V) -> io::Result<Option<V>> {
        let bytes = postcard::to_stdvec(value).map_err(io::Error::other)?;
        let mut open = self.open();
        let old = open.with(|table| {
            let old = table.insert(key, bytes.as_slice());
            read(old.map_err(io::Error::other)?)
        })?;
        open.len += u64::from(old.is_none());
        Ok(old)
    }

    /// The value under a key.
    pub fn get(&self, key: &str) -> io::Result<Option<V>> {
        self.open()
            .with(|table| read(table.get(key).map_err(io::Error::other)?))
    }

    /// Takes a key and its value away.
    pub fn remove(&self, key: &str) -> io::Result<Option<V>> {
        let mut open = self.open();
        let old = open.with(|table| read(table.remove(key).map_err(io::Error::other)?))?;
        open.len -= u64::from(old.is_some());
        Ok(old)
    }

    /// How many keys there are.
    pub fn len(&self) -> u64 {
        self.open().len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// At most `limit` keys and their values from a bound on, in the order of the keys' bytes.
    pub fn some(&self, from: Bound<&str>, limit: usize) -> io::Result<Vec<(String, V)>> {
        self.open().with(|table| {
            let range = table.range::<&str>((from, Bound::Unbounded));
            let entries = range.map_err(io::Error::other)?.take(limit);
            let entries = entries.map(|entry| {
                let (key, value) = entry.map_err(io::Error::other)?;
                Ok((key.value().to_owned(), parsed(value.value())?))
            });
            entries.collect()
        })
    }

    /// Every key and its value, in the order of the keys' bytes. What is changed meanwhile is seen where it is still ahead.
    pub fn each(&self) -> impl Iterator<Item = io::Result<(String, V)>> {
        self.under(String::new())
    }

    /// The same of the keys that begin with a prefix.
    pub fn under(&self, prefix: String) -> impl Iterator<Item = io::Result<(String, V)>> {
        let mut next = Some(Bound::Included(prefix.clone()));
        let chunks = std::iter::from_fn(move || {
            let from: Bound<String> = next.take()?;
            let chunk = self.some(from.as_ref().map(String::as_str), CHUNK);
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => return Some(vec![Err(error)]),
            };
            if let (CHUNK, Some((last, _))) = (chunk.len(), chunk.last()) {
                next = Some(Bound::Excluded(last.clone()));
            }
            Some(chunk.into_iter().map(Ok).collect())
        });
        chunks
            .flatten()
            .take_while(move |it| !matches!(it, Ok((key, _)) if !key.starts_with(&prefix)))
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Two shelves side by side, in the order of the keys' bytes: each key of either, with what is under it in both.
pub fn side_by_side<A, B>(
    one: &Shelf<A>,
    other: &Shelf<B>,
    mut tell: impl FnMut(&str, Option<A>, Option<B>),
) -> io::Result<()>
where
    A: Serialize + DeserializeOwned,
    B: Serialize + DeserializeOwned,
{
    let (mut one, mut other) = (one.each(), other.each());
    let (mut left, mut right) = (one.next().transpose()?, other.next().transpose()?);
    loop {
        let order = match (&left, &right) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((a, _)), Some((b, _))) => a.cmp(b),
        };
        let a = match order.is_le() {
            true => std::mem::replace(&mut left, one.next().transpose()?),
            false => None,
        };
        let b = match order.is_ge() {
            true => std::mem::replace(&mut right, other.next().transpose()?),
            false => None,
        };
        match (a, b) {
            (Some((key, a)), b) => tell(&key, Some(a), b.map(|(_, b)| b)),
            (None, Some((key, b))) => tell(&key, None, Some(b)),
            (None, None) => {}
        }
    }
}

impl Open {
    fn with<T>(
        &self,
        work: impl FnOnce(&mut Table<'_, &str, &[u8]>) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut table = self
            .transaction
            .open_table(TABLE)
            .map_err(io::Error::other)?;
        work(&mut table)
    }
}

fn read<V: DeserializeOwned>(found: Option<AccessGuard<'_, &[u8]>>) -> io::Result<Option<V>> {
    found.map(|found| parsed(found.value())).transpose()
}

fn parsed<V: DeserializeOwned>(bytes: &[u8]) -> io::Result<V> {
    postcard::from_bytes(bytes).map_err(io::Error::other)
}

impl<V> std::fmt::Debug for Shelf<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shelf")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn shelf<V: Serialize + DeserializeOwned>() -> Shelf<V> {
        Shelf::new(&std::env::temp_dir()).expect("a shelf")
    }

    proptest! {
        #[test]
        fn a_shelf_is_a_sorted_map(
            steps in prop::collection::vec(("[ab/é\u{10FFFF}]{0,3}", prop::option::of(0..9_u32)), 0..60),
            from in "[ab/é]{0,3}",
        ) {
            let (shelf, mut map) = (shelf(), BTreeMap::new());
            for (key, value) in steps {
                let (was, expected) = match value {
                    Some(value) => (shelf.insert(&key, &value), map.insert(key.clone(), value)),
                    None => (shelf.remove(&key), map.remove(&key)),
                };
                prop_assert_eq!(was.expect("changed"), expected);
                prop_assert_eq!(shelf.get(&key).expect("read"), map.get(&key).copied());
                prop_assert_eq!(shelf.len(), map.len() as u64);
            }
            let some = shelf.some(Bound::Excluded(&from), 2).expect("read");
            let range = map.range::<str, _>((Bound::Excluded(from.as_str()), Bound::Unbounded));
            let expected: Vec<_> = range.take(2).map(|(key, value)| (key.clone(), *value)).collect();
            prop_assert_eq!(some, expected);
            let all: Vec<_> = shelf.each().map(|entry| entry.expect("read")).collect();
            prop_assert_eq!(all, map.into_iter().collect::<Vec<_>>());
        }
    }

    proptest! {
        #[test]
        fn side_by_side_every_key_of_either_is_told_once_with_what_both_have(
            one in prop::collection::btree_map("[a-f]{1,2}", any::<u32>(), 0..20),
            other in prop::collection::btree_map("[a-f]{1,2}", any::<u32>(), 0..20),
        ) {
            let put = |map: &BTreeMap<String, u32>| {
                let shelf = shelf();
                for (key, value) in map {
                    shelf.insert(key, value).expect("put");
                }
                shelf
            };
            let mut told = Vec::new();
            side_by_side(&put(&one), &put(&other), |key, a, b| told.push((key.to_owned(), a, b)))
                .expect("read");
            let keys: std::collections::BTreeSet<_> = one.keys().chain(other.keys()).collect();
            let expected: Vec<_> = keys
                .into_iter()
                .map(|key| (key.clone(), one.get(key).copied(), other.get(key).copied()))
                .collect();
            prop_assert_eq!(told, expected);
        }
    }

    #[test]
    fn every_entry_of_a_long_shelf_is_seen_once_whatever_the_chunks() {
        for count in [CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
            let shelf = shelf();
            for number in (0..count).rev() {
                shelf.insert(&format!("{number:06}"), &number).expect("put");
            }
            let seen: Vec<usize> = shelf.each().map(|it| it.expect("read").1).collect();
            assert_eq!(seen, (0..count).collect::<Vec<_>>());
        }
    }
}
