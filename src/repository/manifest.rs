//! The manifest: the commit marker of an artifact, written last, in the clear. It names stored files only by
//! opaque names, so that nothing of the data (keys, table names) leaks through it.

use std::collections::BTreeMap;
use std::io::{self, BufReader, BufWriter, Write};
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, Take};
use tokio_util::io::SyncIoBridge;

use crate::context::Context;
use crate::error::{Doing, Error, Result};
use crate::repository::Repository;
use crate::repository::contents::Contents;
use crate::service::Reading;
use crate::service::reading::{Feeder, channel};

/// The file name of every manifest.
pub const FILE_NAME: &str = "manifest.json";
/// The most bytes a manifest may have: far above any real one, so that a damaged repository cannot fill memory.
const MAX_BYTES: u64 = 256 << 20;
/// Bytes of one that are held while it is read or written.
const CHUNK: usize = 64 << 10;
/// How many manifests are read at once: each may name many files.
const READERS: usize = 2;

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
    /// The content that it shares with other artifacts of its backup, where there may be very much: listed in a file of its
    /// own, for which this stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contents: Option<Contents>,
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
    /// SHA-256 before encryption, in hex; empty for shared content, whose hash only the encrypted index names.
    pub plain_sha256: String,
    /// Whether other artifacts may name it too (content stored once).
    #[serde(default)]
    pub shared: bool,
    /// Metadata stored beside it.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

/// Writes into a stream.
struct Feeding<'a>(&'a Feeder);

impl Write for Feeding<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.send_blocking(Bytes::copy_from_slice(bytes)) {
            true => Ok(bytes.len()),
            false => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Manifest {
    /// Its key: `<backup>/<id>/manifest.json`.
    pub fn key(&self) -> String {
        key_of(&self.backup, &self.id)
    }

    /// The file with this name.
    pub fn file(&self, name: &str) -> Option<&ManifestFile> {
        self.files.iter().find(|file| file.name == name)
    }

    /// Stored bytes of everything that it names.
    pub fn stored_bytes(&self) -> u64 {
        let files = self.files.iter().map(|file| file.bytes);
        let contents = self.contents.iter();
        files
            .chain(contents.map(|list| list.bytes + list.stored_bytes))
            .sum()
    }

    /// Reads one manifest and checks that it is what its key says it is.
    pub async fn load(ctx: &Context, repository: &dyn Repository, key: &str) -> Result<Self> {
        let read = async {
            let reading = repository.get(ctx, key).await?;
            let reading = SyncIoBridge::new(reading.take(MAX_BYTES));
            let parsing = tokio::task::spawn_blocking(move || Self::parse(reading));
            let manifest = parsing.await.doing("wait for it")??;
            manifest.fits(key).map(|()| manifest)
        };
        read.await
            .doing_with(|| format!("read manifest {key} of repository {}", repository.name()))
    }

    /// Reads it as it comes: it may name many files.
    fn parse(reading: SyncIoBridge<Take<Reading>>) -> Result<Self> {
        let mut reading = BufReader::with_capacity(CHUNK, reading);
        match serde_json::from_reader(&mut reading) {
            Ok(manifest) => Ok(manifest),
            Err(_) if reading.into_inner().into_inner().limit() == 0 => Err(Error::failed(
                format!("it is larger than {MAX_BYTES} bytes"),
            )),
            Err(error) if error.is_io() => Err(error).doing("read it to its end"),
            Err(error) => Err(error).doing("understand it"),
        }
    }

    /// As it is stored: as JSON, made while it is read.
    pub fn written(self: Arc<Self>) -> Reading {
        let (feeder, reading) = channel(2);
        tokio::task::spawn_blocking(move || {
            let mut out = BufWriter::with_capacity(CHUNK, Feeding(&feeder));
            // A reading that is given up is no concern of this one: without its end, it fails.
            if serde_json::to_writer_pretty(&mut out, &*self).is_ok() && out.flush().is_ok() {
                drop(out);
                feeder.end_blocking();
            }
        });
        reading
    }

    /// The same with these files, and no others.
    pub fn with_files(&self, files: Vec<ManifestFile>) -> Self {
        Self {
            schema_version: self.schema_version,
            id: self.id.clone(),
            backup: self.backup.clone(),
            component: self.component.clone(),
            run: self.run.clone(),
            taken_at: self.taken_at,
            engine: self.engine.clone(),
            tool: self.tool.clone(),
            parent: self.parent.clone(),
            compression: self.compression.clone(),
            recipients: self.recipients.clone(),
            source_identity: self.source_identity.clone(),
            source_fingerprint: self.source_fingerprint.clone(),
            ledger_high_water: self.ledger_high_water,
            files,
            contents: None,
        }
    }

    fn fits(&self, key: &str) -> Result<()> {
        if self.schema_version != SCHEMA_VERSION {
            return Err(Error::failed(format!(
                "its schema version is {}, this program knows {SCHEMA_VERSION}",
                self.schema_version
            )));
        }
        if self.key() != key {
            return Err(Error::failed(format!(
                "it is the manifest of {}",
                self.key()
            )));
        }
        let own = format!("{}/", self.backup);
        match self.files.iter().find(|file| !file.key.starts_with(&own)) {
            Some(file) => Err(Error::failed(format!(
                "it names {}, which is not of backup {}",
                file.key, self.backup
            ))),
            None => Ok(()),
        }
    }

    /// Every committed artifact of a backup, oldest first (by taken-at, then id; never by name or file time), and
    /// the manifests that cannot be read, with the reason.
    pub async fn list(
        ctx: &Context,
        repository: &Arc<dyn Repository>,
        backup: &str,
    ) -> Result<(Vec<Self>, Vec<(String, Error)>)> {
        let keys = keys(ctx, repository.as_ref(), backup).await?;
        let (mut good, mut broken) = (Vec::new(), Vec::new());
        let mut each = each(ctx, repository, keys);
        while let Some((key, manifest)) = each.next().await {
            match manifest {
                Ok(manifest) => good.push(manifest),
                Err(error) => broken.push((key, error)),
            }
        }
        ctx.go_on()?;
        good.sort_by(|a, b| (a.taken_at, &a.id).cmp(&(b.taken_at, &b.id)));
        Ok((good, broken))
    }

    /// The committed artifact of a backup that was taken last, and the manifests that cannot be read.
    pub async fn newest(
        ctx: &Context,
        repository: &Arc<dyn Repository>,
        backup: &str,
    ) -> Result<(Option<Self>, Vec<(String, Error)>)> {
        let keys = keys(ctx, repository.as_ref(), backup).await?;
        let (mut newest, mut broken) = (None::<Self>, Vec::new());
        let mut each = each(ctx, repository, keys);
        while let Some((key, manifest)) = each.next().await {
            match manifest {
                Ok(new) => {
                    let later = |old: &Self| (new.taken_at, &new.id) > (old.taken_at, &old.id);
                    if newest.as_ref().is_none_or(later) {
                        newest = Some(new);
                    }
                }
                Err(error) => broken.push((key, error)),
            }
        }
        ctx.go_on()?;
        Ok((newest, broken))
    }
}

/// The key of an artifact's manifest.
pub fn key_of(backup: &str, id: &str) -> String {
    format!("{backup}/{id}/{FILE_NAME}")
}

/// The keys of every manifest of a backup.
pub async fn keys(ctx: &Context, repository: &dyn Repository, backup: &str) -> Result<Vec<String>> {
    let prefix = format!("{backup}/");
    let mut all = repository.walk(ctx, &prefix);
    let mut keys = Vec::new();
    while let Some(stored) = all.next().await {
        let key = stored?.key;
        if is_one_of(&key, backup) {
            keys.push(key);
        }
    }
    Ok(keys)
}

/// Whether a key is that of a manifest of this backup.
pub fn is_one_of(key: &str, backup: &str) -> bool {
    let file = key.strip_prefix(backup).and_then(|rest| {
        let (_, file) = rest.strip_prefix('/')?.split_once('/')?;
        Some(file)
    });
    file == Some(FILE_NAME)
}

/// Reads manifests one after the other, a few ahead; nothing is held but those.
pub fn each<'a>(
    ctx: &'a Context,
    repository: &'a Arc<dyn Repository>,
    keys: Vec<String>,
) -> BoxStream<'a, (String, Result<Manifest>)> {
    futures::stream::iter(keys)
        .map(move |key| async move {
            let manifest = Manifest::load(ctx, repository.as_ref(), &key).await;
            (key, manifest)
        })
        .buffered(READERS)
        .boxed()
}
