//! Backup and restore pipelines, one module per method, over one stream (compress, encrypt, hash, store).
//!
//! A pipeline only moves data: it neither picks artifacts (see [`crate::repository`]) nor judges them
//! ([`crate::check`]).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use crate::context::Context;
use crate::error::Result;
use crate::evidence::ReadFact;
use crate::pipeline::artifact::{ArtifactReader, ArtifactWriter};
use crate::service::Service;
use crate::suite::RestoreOptions;

pub mod artifact;
pub mod bucket_sync;
pub mod pg_dump;
pub mod redis;
pub mod search;
pub mod stream;
pub mod verify;

/// What a backup reports besides the files it wrote.
#[derive(Debug, Clone, Default)]
pub struct Taken {
    /// The tool that took it, with its version: `pg_dump (PostgreSQL) 15.18`.
    pub tool: String,
    /// Refused by the mass-delete guard, with both numbers in words. Nothing was committed then.
    pub refused: Option<String>,
}

/// Takes backups of one component and puts them back.
#[async_trait]
pub trait Pipeline: Send + Sync {
    /// Takes a backup, writing its files to `artifact`; the caller commits it.
    async fn backup(
        &self,
        ctx: &Context,
        source: &dyn Service,
        artifact: &mut ArtifactWriter,
    ) -> Result<Taken>;

    /// Brings the artifact to where the restore reads it, decrypted; returns what [`Pipeline::restore`] needs.
    async fn fetch(
        &self,
        ctx: &Context,
        artifact: &ArtifactReader,
        target: &dyn Service,
    ) -> Result<Fetched>;

    /// Writes the fetched data to an empty target.
    async fn restore(
        &self,
        ctx: &Context,
        fetched: &Fetched,
        target: &dyn Service,
        options: &RestoreOptions,
    ) -> Result<()>;

    /// Reads the whole artifact with the engine's own tool, without a server's data being touched.
    async fn read_through(
        &self,
        ctx: &Context,
        artifact: &ArtifactReader,
        source: &dyn Service,
    ) -> Result<ReadFact>;
}

/// An artifact on the target's side, decrypted, ready to be restored.
#[derive(Debug, Clone, Default)]
pub struct Fetched {
    /// Its files as the target's tools see them, by the names they have in the artifact.
    pub files: Vec<(String, PathBuf)>,
    /// Stored bytes that were read for it, or that the restore will read.
    pub stored_bytes: u64,
    /// What was noted beside the main file when it was taken.
    pub metadata: BTreeMap<String, String>,
    /// The artifact itself, for a restore that streams from the repository instead of from files.
    pub artifact: Option<Arc<ArtifactReader>>,
}
