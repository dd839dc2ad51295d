//! Physical backups of PostgreSQL: `pg_basebackup` of the whole cluster, its WAL archived continuously into the
//! repositories, and recovery to any moment in between.
//!
//! - [`archive`]: the source's side, up to a directory beside its data. - [`ship`]: from there into every repository.
//! - [`base`]: the base backup as one stream. - [`fetch`]: both to the target.
//! - [`given`]: one that somebody else took, with its WAL in itself.
//!
//! Not here: when a segment is switched (see [`crate::plan`]), which WAL is kept ([`crate::repository::retention`]), the
//! recovery ([`super::physical`]), or what came back ([`crate::check`]).

mod archive;
mod base;
mod fetch;
pub(in crate::pipeline) mod given;
mod ship;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, NaiveDateTime, Utc};

use crate::context::Context;
use crate::error::{Doing, Error, Kind, Result};
use crate::evidence::{IntegrityFact, ReadFact, ReplayFact};
use crate::pipeline::artifact::{ArtifactReader, ArtifactWriter, Destination};
use crate::pipeline::physical::log::Log;
use crate::pipeline::physical::replay::{self, Orders};
use crate::pipeline::physical::{self, BEGAN, CLUSTER, SEGMENT, STOP, archiver, beside};
use crate::pipeline::stream::Sums;
use crate::pipeline::{Archive, Fetched, Pipeline, Taken};
use crate::repository::manifest::ManifestFile;
use crate::repository::wal::{self, Name};
use crate::service::postgres::integrity;
use crate::service::postgres::session::Session;
use crate::service::{Running, Service, write_file};
use crate::suite::{BaseCompression, RestoreOptions};

/// What the files of a [`Fetched`] are called.
const BASE: &str = "base";
const WAL: &str = "wal";

/// `pg_basebackup`, `archive_command` and `restore_command`.
#[derive(Debug, Clone)]
pub struct PgBasebackup {
    /// How the base backup is compressed.
    pub compress: BaseCompression,
    /// A tool that takes longer is ended, with its whole process group.
    pub deadline: Duration,
    /// Which timeline a recovery follows: `latest`, or one that only a mistake names.
    pub timeline: &'static str,
}

impl PgBasebackup {
    /// Base backups compressed so, each tool within an hour.
    pub fn new(compress: BaseCompression) -> Self {
        Self {
            compress,
            deadline: Duration::from_secs(3600),
            timeline: "latest",
        }
    }

    /// Streams the base backup into the artifact, and its WAL to where the artifact goes.
    async fn take(
        &self,
        ctx: &Context,
        server: &dyn Running,
        artifact: &ArtifactWriter,
    ) -> Result<()> {
        let session = Session::open(ctx, server, "postgres").await?;
        base::is_in_one_place(ctx, &session).await?;
        archiver::is_well(ctx, &session).await?;
        let size = archiver::segment_size(ctx, &session).await?;
        let cluster = archiver::cluster(ctx, &session).await?;
        let began = session.now(ctx).await?;
        let label = format!("redrill {}", artifact.id);
        let name = base::file_name(self.compress);
        let stream = base::command(server, self.compress, &label, self.deadline)?.stream(ctx)?;
        let whole = super::pg_dump::whole::Whole::of(stream);
        artifact
            .file(ctx, name, Box::new(whole), BTreeMap::new())
            .await?;
        let note = base::Note::find(ctx, server, &label).await?;
        let (first, last) = note.segments(size);
        for (key, value) in [
            (wal::START, first.to_string()),
            (BEGAN, began.to_rfc3339()),
            (STOP, note.stop.to_string()),
            (SEGMENT, size.to_string()),
            (CLUSTER, cluster.clone()),
        ] {
            artifact.describe(name, key, value);
        }
        let shipped = ship::ship(ctx, server, &artifact.destination(), &cluster).await?;
        for (name, file) in shipped.named {
            if matches!(name, Name::Segment(segment) if (first..=last).contains(&segment)) {
                artifact.blobs().reuse(file);
            }
        }
        Ok(())
    }

    /// Unpacks and verifies a base backup beside the data of `server`, and reads the WAL that it cannot do without.
    async fn read(
        &self,
        ctx: &Context,
        artifact: &ArtifactReader,
        server: &dyn Running,
    ) -> Result<ReadFact> {
        let (staged, unpacked) = reading_places(server, artifact)?;
        let input = artifact.open(ctx, &base_of(artifact)?.name).await?;
        write_file(ctx, server, &staged, input).await?;
        base::unpack(ctx, server, &staged, &unpacked, self.deadline).await?;
        base::verify(ctx, server, &unpacked, self.deadline).await?;
        const LOOK: &str =
            r#"grep -c '"Path"' "$1/backup_manifest"; grep "^START TIME: " "$1/backup_label""#;
        let look = server.tool("sh").args(["-c", LOOK, "sh"]).arg(&unpacked);
        let seen = look.run(ctx).await?.ok()?.text();
        let mut lines = seen.lines();
        let entries = lines.next().and_then(|count| count.parse().ok());
        for file in artifact.manifest.files.iter().filter(|file| file.shared) {
            let reading = artifact.open(ctx, &file.name).await?;
            Sums::of(reading)
                .await
                .doing_with(|| format!("read {}", file.name))?;
        }
        Ok(ReadFact {
            entries: entries.unwrap_or(0),
            content_time: lines.next().and_then(started),
            ..ReadFact::default()
        })
    }
}

#[async_trait]
impl Pipeline for PgBasebackup {
    fn source_settings(&self) -> BTreeMap<String, String> {
        archiver::settings()
    }

    async fn prepare(
        &self,
        ctx: &Context,
        source: &dyn Service,
        _destination: &Destination,
    ) -> Result<()> {
        let server = source.server();
        archive::install(ctx, &*server)
            .await
            .doing("set up continuous archiving")
    }

    async fn archive(
        &self,
        ctx: &Context,
        source: &dyn Service,
        destination: &Destination,
    ) -> Result<()> {
        let server = source.server();
        let work = async {
            let session = Session::open(ctx, &*server, "postgres").await?;
            let last = archiver::switch(ctx, &session).await?;
            let cluster = archiver::cluster(ctx, &session).await?;
            ship::ship(ctx, &*server, destination, &cluster).await?;
            ship::is_there(ctx, destination, last).await
        };
        work.await
            .map_err(|error| error.hint(physical::NOT_ARCHIVED))
            .doing("archive what was committed")
    }

    fn archive_of(&self, source: &dyn Running, backup: &str) -> Option<Archive> {
        Some(Archive {
            directory: Some(archive::directory(source)),
            prefix: wal::prefix(backup),
        })
    }

    async fn backup(
        &self,
        ctx: &Context,
        source: &dyn Service,
        artifact: &mut ArtifactWriter,
    ) -> Result<Taken> {
        let server = source.server();
        self.take(ctx, &*server, artifact)
            .await
            .map_err(|error| error.hint(physical::NOT_TAKEN))
            .doing("back up the cluster")?;
        Ok(Taken {
            tool: format!("pg_basebackup (PostgreSQL) {}", server.version()),
            ..Taken::default()
        })
    }

    async fn fetch(
        &self,
        ctx: &Context,
        artifact: &ArtifactReader,
        target: &dyn Service,
    ) -> Result<Fetched> {
        let server = target.server();
        let mut files = Vec::new();
        let brought = bring(ctx, artifact, &*server, &mut files).await;
        if brought.is_err() {
            // Nothing decrypted stays behind; what does goes with the server.
            let paths = files.iter().map(|(_, path)| path);
            let remove = server.tool("rm").args(["-rf", "--"]).args(paths);
            let _ = remove.run(&ctx.for_teardown()).await;
        }
        let (log, bytes) = brought?;
        Ok(Fetched {
            files,
            stored_bytes: bytes,
            metadata: base_of(artifact)?.metadata.clone(),
            artifact: Some(Arc::new(artifact.clone())),
            log: Some(log),
        })
    }

    async fn restore(
        &self,
        ctx: &Context,
        fetched: &Fetched,
        target: &dyn Service,
        options: &RestoreOptions,
    ) -> Result<()> {
        let server = target.server();
        let wal = fetched.log()?;
        wal.chain.leads_to(&options.target, &wal.repository)?;
        let base = fetched.files.iter().find(|(name, _)| name == BASE);
        let (_, staged) = base.ok_or_else(|| Error::defect("no base backup was fetched"))?;
        let into = beside(&*server, replay::PREPARED);
        base::unpack(ctx, &*server, staged, &into, self.deadline).await?;
        given::add(ctx, &*server, fetched, &into, self.deadline).await?;
        if given::has_manifest(&fetched.metadata) {
            base::verify(ctx, &*server, &into, self.deadline).await?;
        }
        Ok(())
    }

    async fn replay(
        &self,
        ctx: &Context,
        fetched: &Fetched,
        target: &dyn Service,
        options: &RestoreOptions,
    ) -> Result<Option<ReplayFact>> {
        let server = target.server();
        let cluster = fetched.metadata.get(CLUSTER).cloned().unwrap_or_default();
        let orders = Orders {
            target: &options.target,
            timeline: self.timeline,
            deadline: self.deadline,
        };
        let replayed = replay::replay(ctx, &*server, fetched.log()?, orders, cluster).await;
        replayed.map(Some)
    }

    async fn inspect(&self, ctx: &Context, target: &dyn Service) -> Result<Option<IntegrityFact>> {
        let server = target.server();
        integrity::inspect(ctx, &*server).await.map(Some)
    }

    async fn read_through(
        &self,
        ctx: &Context,
        artifact: &ArtifactReader,
        source: &dyn Service,
    ) -> Result<ReadFact> {
        let server = source.server();
        let mut read = self.read(ctx, artifact, &*server).await;
        if let Ok((staged, unpacked)) = reading_places(&*server, artifact) {
            let remove = server
                .tool("rm")
                .args(["-rf", "--"])
                .args([staged, unpacked]);
            let removed = remove.run(&ctx.for_teardown()).await;
            let removed = removed.and_then(|removed| removed.ok());
            // What the reading came to is told first.
            read = read.and_then(|fact| removed.map(|_| fact));
        }
        let tool = "pg_verifybackup".to_owned();
        match read {
            Ok(fact) => Ok(ReadFact { tool, ..fact }),
            Err(error) if error.kind() == Kind::Failed => Ok(ReadFact {
                tool,
                error: Some(error.message()),
                ..ReadFact::default()
            }),
            Err(error) => Err(error),
        }
    }
}

/// Brings a base backup and its WAL to the server; `files` has every place before anything is written there. Returns how many
/// stored bytes those were, too.
async fn bring(
    ctx: &Context,
    artifact: &ArtifactReader,
    server: &dyn Running,
    files: &mut Vec<(String, PathBuf)>,
) -> Result<(Log, u64)> {
    let file = base_of(artifact)?;
    let base = physical::base(&artifact.manifest, file)?;
    let cluster = physical::noted(&artifact.manifest, file, CLUSTER)?;
    let staged = format!("{}-{}", ctx.next_number(), file.name);
    let (staged, dir) = (server.staging().join(staged), beside(server, "wal-fetched"));
    files.push((BASE.to_owned(), staged.clone()));
    files.push((WAL.to_owned(), dir.clone()));
    let input = artifact.open(ctx, &file.name).await?;
    write_file(ctx, server, &staged, input).await?;
    given::beside(ctx, server, artifact, files).await?;
    let (log, bytes) = match given::inside(file) {
        Some(names) => {
            let chain = given::chain(base, names)?;
            let log = fetch::nothing(ctx, server, artifact, chain, &dir);
            (log.await?, 0)
        }
        None => fetch::wal(ctx, server, artifact, base, cluster, &dir).await?,
    };
    Ok((log, file.bytes + bytes))
}

fn base_of(artifact: &ArtifactReader) -> Result<&ManifestFile> {
    let mut files = artifact.manifest.files.iter();
    files
        .find(|file| file.name.starts_with("base.tar"))
        .ok_or_else(|| {
            Error::failed(format!(
                "artifact {} has no base backup",
                artifact.manifest.id
            ))
        })
}

/// Where a base backup is read through: beside the data of a server, not in it.
fn reading_places(server: &dyn Running, artifact: &ArtifactReader) -> Result<(PathBuf, PathBuf)> {
    // The copies of one artifact in several repositories are read at once.
    let of = format!("reading-{}", artifact.repository().name());
    let name = format!("{of}-{}", base_of(artifact)?.name);
    Ok((server.staging().join(&name), beside(server, &of)))
}

/// The instant in a backup label, when it is in UTC.
fn started(line: &str) -> Option<DateTime<Utc>> {
    let time = line.strip_prefix("START TIME: ")?;
    let time = time.strip_suffix(" UTC").or(time.strip_suffix(" GMT"))?;
    let time = NaiveDateTime::parse_from_str(time, "%Y-%m-%d %H:%M:%S").ok()?;
    Some(time.and_utc())
}
