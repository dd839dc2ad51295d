//! Backup and restore pipelines, one module per method, over one stream (compress, encrypt, hash, store).
//!
//! A pipeline only moves data: it neither picks artifacts (see [`crate::repository`]) nor judges them
//! ([`crate::check`]).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::context::Context;
use crate::error::{Error, Result};
use crate::evidence::{IntegrityFact, ReadFact, ReplayFact};
use crate::pipeline::artifact::{ArtifactReader, ArtifactWriter, Destination};
use crate::pipeline::physical::log::Log;
use crate::repository::retention;
use crate::service::{Running, Service};
use crate::suite::{Keep, RestoreOptions};

pub mod artifact;
pub mod bucket_sync;
pub mod files;
pub mod given;
pub mod pg_basebackup;
pub mod pg_dump;
pub mod pgbackrest;
pub mod physical;
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
    /// The artifact that this one builds on, when it is not complete by itself.
    pub parent: Option<String>,
}

/// Where a source archives to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// The directory that the server writes to by itself, where it is one of the server's machine.
    pub directory: Option<PathBuf>,
    /// How the keys begin under which a repository holds the archive.
    pub prefix: String,
}

/// Takes backups of one component and puts them back.
#[async_trait]
pub trait Pipeline: Send + Sync {
    /// Settings that the server of a source must be started with.
    fn source_settings(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    /// Sets a source up for its backups, once, before the first of them.
    async fn prepare(
        &self,
        _ctx: &Context,
        _source: &dyn Service,
        _destination: &Destination,
    ) -> Result<()> {
        Ok(())
    }

    /// Between two backups: brings what was committed until now to where the backups go.
    async fn archive(
        &self,
        _ctx: &Context,
        _source: &dyn Service,
        _destination: &Destination,
    ) -> Result<()> {
        Ok(())
    }

    /// Where a source archives to; `None` where the method archives nothing.
    fn archive_of(&self, _source: &dyn Running, _backup: &str) -> Option<Archive> {
        None
    }

    /// Whether an object of a bucket is left out of the backup on purpose.
    fn leaves_out(&self, _key: &str) -> bool {
        false
    }

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

    /// Replays archived logs onto what was restored; `None` where the method has none.
    async fn replay(
        &self,
        _ctx: &Context,
        _fetched: &Fetched,
        _target: &dyn Service,
        _options: &RestoreOptions,
    ) -> Result<Option<ReplayFact>> {
        Ok(None)
    }

    /// Reads everything that came back as only this method can tell it: physically. `None` where there is nothing
    /// but what [`Service::observe`] reads.
    async fn inspect(
        &self,
        _ctx: &Context,
        _target: &dyn Service,
    ) -> Result<Option<IntegrityFact>> {
        Ok(None)
    }

    /// Removes what need not be kept any longer, as of `now`, in every repository.
    async fn prune(
        &self,
        ctx: &Context,
        _source: &dyn Service,
        destination: &Destination,
        keep: &Keep,
        now: DateTime<Utc>,
    ) -> Result<()> {
        for repository in &destination.repositories {
            retention::prune(ctx, repository, &destination.backup, keep, now).await?;
        }
        Ok(())
    }

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
    /// Archived WAL that continues a physical backup.
    pub log: Option<Log>,
}

impl Fetched {
    /// The archived WAL, which every physical backup is fetched with.
    fn log(&self) -> Result<&Log> {
        let log = self.log.as_ref();
        log.ok_or_else(|| Error::defect("no WAL was fetched"))
    }
}
