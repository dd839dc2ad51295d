//! What a component held at one moment: content, definitions, sequences. Held against another one, part by part.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{Digest, Objects};

/// Count and order-free fingerprint of one part of a component: a table, a Redis database and type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    /// Rows or keys.
    pub count: u64,
    /// The fingerprint: equal content gives an equal one, in any order.
    pub hash: Digest,
}

/// What a component held at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observation {
    /// The nonce found in it; `None` when there is none.
    pub nonce: Option<String>,
    /// The canary found in it; `None` when there is none.
    pub canary: Option<String>,
    /// What it is, in its own words: of Postgres the cluster's system identifier, the database and its OID; a bucket's name.
    pub identity: String,
    /// Size as the server itself reports it, in bytes.
    pub bytes: u64,
    /// Content, part by part.
    pub parts: BTreeMap<Arc<str>, Part>,
    /// Content that is computed from other content: rows of materialized views. A dump's restore computes it anew.
    pub derived: BTreeMap<Arc<str>, Part>,
    /// Content that expires, by part and minute of expiry (RFC 3339); minutes gone by are legitimate losses.
    pub expiring: BTreeMap<(String, DateTime<Utc>), Part>,
    /// Definitions: `kind identity` → definition.
    pub catalogue: BTreeMap<Arc<str>, Arc<str>>,
    /// The objects, where it is a bucket: content and definitions in one.
    pub objects: Option<Objects>,
    /// Sequences and the columns they feed.
    pub sequences: Vec<SequenceFact>,
    /// Ledger numbers found in it.
    pub ledger: BTreeSet<u64>,
    /// Parts that could not be read, with the server's words.
    pub unreadable: BTreeMap<String, String>,
    /// Real instant of the observation.
    pub taken_at: DateTime<Utc>,
}

impl Observation {
    /// Leaves the figures, and forgets what was held against another one.
    pub fn forget(&mut self) {
        self.parts.clear();
        self.derived.clear();
        self.catalogue.clear();
        self.objects = None;
    }
}

/// A sequence and the column it feeds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SequenceFact {
    /// Qualified name.
    pub name: String,
    /// The value it would hand out next.
    pub next: i64,
    /// Its step.
    pub increment: i64,
    /// The column it feeds, `schema.table.column`; empty when it feeds none.
    pub column: String,
    /// The largest value in that column (the smallest, for a descending sequence).
    pub reached: Option<i64>,
}
