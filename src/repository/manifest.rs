//! The manifest: the commit marker of an artifact, written last, in the clear. It names stored files only by
//! opaque names, so that nothing of the data (keys, table names) leaks through it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// The version of the manifest's format that this program writes.
pub const SCHEMA_VERSION: u32 = 1;

/// What an artifact consists of and where it came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of this format.
    pub schema_version: u32,
    /// The artifact's id: its taken-at and the run, sortable by time.
    pub id: String,
    /// The backup in the suite.
    pub backup: String,
    /// The component in the suite.
    pub component: String,
    /// The run that made it.
    pub run: String,
    /// Instant of the backup's start, on the clock of the drill.
    pub taken_at: DateTime<Utc>,
    /// The engine and its version: `postgres 15.18`.
    pub engine: String,
    /// The tool and its version.
    pub tool: String,
    /// The artifact this one builds on, when it is not complete by itself.
    pub parent: Option<String>,
    /// The compression the tool was asked for, in its own words: `zlib:9`, `none`.
    pub compression: String,
    /// The recipients it is encrypted to (`age1…`); empty when it is stored in the clear.
    pub recipients: Vec<String>,
    /// The source's identity (Postgres system identifier, …).
    pub source_identity: String,
    /// SHA-256 over the source's whole observation.
    pub source_fingerprint: String,
    /// The highest ledger number acknowledged when it was taken.
    pub ledger_high_water: u64,
    /// Every stored file, in the order written.
    pub files: Vec<ManifestFile>,
}

/// A stored file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestFile {
    /// Its name within the artifact, as the pipeline knows it: `db.dump`, `dump.rdb`.
    pub name: String,
    /// Its full key in the repository.
    pub key: String,
    /// Stored bytes.
    pub bytes: u64,
    /// SHA-256 of the stored bytes, in hex.
    pub sha256: String,
    /// Bytes before encryption.
    pub plain_bytes: u64,
    /// SHA-256 before encryption, in hex.
    pub plain_sha256: String,
    /// Whether other artifacts may name it too (content stored once).
    #[serde(default)]
    pub shared: bool,
    /// Metadata stored beside it.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}
