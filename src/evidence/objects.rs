//! The objects of a bucket: read one by one and held against each other, and never held in memory, as there may be very
//! many.
//!
//! What a check judges is in [`Compared`] and [`Mirrored`]. The objects themselves are on the disk, for the drill that
//! collects those facts.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Digest;
use crate::shelf::Shelf;

/// How many differences of one kind are named; the rest is counted.
const NAMED: usize = 5;

/// An object as it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectFact {
    /// Its size in bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
    /// Its headers, as one line.
    pub headers: String,
}

/// Something about each object of a bucket, by key, on the disk. Clones share it.
#[derive(Debug)]
pub struct Objects<V = ObjectFact>(pub Arc<Shelf<V>>);

impl<V> Clone for Objects<V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<V> PartialEq for Objects<V> {
    /// Whether it is the same reading.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Differences of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Differing<T> {
    /// How many there are.
    pub count: u64,
    /// The first of them, by key.
    pub first: Vec<(String, T)>,
}

impl<T> Default for Differing<T> {
    fn default() -> Self {
        Self {
            count: 0,
            first: Vec::new(),
        }
    }
}

impl<T> Differing<T> {
    /// Notes one.
    pub fn note(&mut self, key: &str, what: T) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push((key.to_owned(), what));
        }
    }
}

/// What came back of a bucket, held against what was expected, object by object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compared {
    /// How many objects were expected.
    pub expected: u64,
    /// Objects that are not there, with their sizes.
    pub missing: Differing<u64>,
    /// Objects that were not expected, with their sizes.
    pub extra: Differing<u64>,
    /// Objects of another size: what was expected, what is there.
    pub resized: Differing<(u64, u64)>,
    /// Objects of the same size with other bytes, with that size.
    pub changed: Differing<u64>,
    /// Objects with other headers: what was expected, what is there.
    pub described: Differing<(String, String)>,
}

/// A backup of a bucket, held against the source as it was when it was taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mirrored {
    /// How many objects the source had.
    pub source: u64,
    /// Objects that are not in the backup.
    pub missing: Differing<()>,
    /// Objects of the backup that the source did not have, or that are to be left out.
    pub extra: Differing<()>,
    /// Objects with other bytes in the backup.
    pub changed: Differing<()>,
}
