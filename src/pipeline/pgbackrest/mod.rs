//! Physical backups of PostgreSQL by pgBackRest: full, differential and incremental ones in a repository of its own, WAL
//! pushed there by `archive-push`, recovery to any moment in between.
//!
//! - [`stanza`]: pgBackRest as a server sees it. - [`info`]: what its repository holds. - [`archived`]: which WAL is there.
//! - [`noted`]: what an artifact notes of its backup. - [`verify`]: what pgBackRest says of its own repository.
//! - [`given`]: a repository that somebody else's pgBackRest made. - [`tree`]: the directory of one.
//!
//! pgBackRest names its backups by the time of day and ages them by their number: the artifact's manifest, beside its
//! repository, says at which instant of the drill's clock one was taken, under which label, and with which bytes. Not
//! here: the recovery (see [`super::physical`]), or what came back ([`crate::check`]).

mod archived;
pub mod given;
mod info;
mod noted;
mod stanza;
pub mod tree;
mod verify;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt};

use crate::clock::Stopwatch;
use crate::context::Context;
use crate::error::{Doing, Error, Kind, Result};
use crate::evidence::{IntegrityFact, ReadFact, ReplayFact};
use crate::pipeline::artifact::{ArtifactReader, ArtifactWriter, Destination};
use crate::pipeline::physical::replay::{self, Orders};
use crate::pipeline::physical::{
    self, BEGAN, CLUSTER, SEGMENT, STOP, archiver, beside, log, point,
};
use crate::pipeline::stream::Sums;
use crate::pipeline::{Archive, Fetched, Pipeline, Taken};
use crate::process::quoted;
use crate::repository::manifest::{Manifest, ManifestFile};
use crate::repository::wal::{self, Name};
use crate::repository::{Repository, Stored};
use crate::service::postgres::integrity;
use crate::service::postgres::session::Session;
use crate::service::{Running, Service};
use crate::suite::{Keep, PgBackRest as Options, RecoveryTarget, RestoreOptions};

use archived::Follow;
use info::Set;
use noted::{marker_of, name_in, set_of};
use stanza::{Host, STANZA, Stanza, Wanted};

pub use noted::{label_in, label_of};
pub use stanza::prefix;

/// Manifest metadata of pgBackRest's own: the backup's name, and how its repository is encrypted.
pub const LABEL: &str = "label";
/// `none`, or pgBackRest's word for it.
pub const CIPHER: &str = "cipher";
/// The stanza, of a repository that redrill did not make.
const NAME: &str = "stanza";
/// How a listed name of the archive is brought.
const GET: &str = include_str!("get.sh");
/// The source's configuration, beside its data.
const HOME: &str = "pgbackrest";
/// Where tablespaces are restored to, beside the target's data.
const TABLESPACES: &str = "tablespaces";
/// What the files of a [`Fetched`] are called.
const CONFIGURATION: &str = "wal";
/// How many files are read at once.
const AT_ONCE: usize = 8;
/// How long reading all of a repository may take.
const ALL_OF_IT: Duration = Duration::from_secs(24 * 3600);

/// `pgbackrest`.
#[derive(Debug, Clone)]
pub struct PgBackRest {
    /// What it is told.
    pub options: Options,
    /// A tool that takes longer is ended, with its whole process group.
    pub deadline: Duration,
}

impl PgBackRest {
    /// pgBackRest told so, each command within an hour.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            deadline: Duration::from_secs(3600),
        }
    }

    /// The source's own, which was configured when it was prepared.
    fn of_source<'a>(&self, server: &'a dyn Running, repository: &dyn Repository) -> Stanza<'a> {
        Stanza::in_dir(server, beside(server, HOME), STANZA, repository.name())
    }

    /// Takes the backup and names in the artifact what was stored of it; gives back the artifact it builds on.
    async fn take(
        &self,
        ctx: &Context,
        server: &dyn Running,
        artifact: &ArtifactWriter,
    ) -> Result<Option<String>> {
        let repository = only(artifact.repositories())?;
        let stanza = self.of_source(server, repository.as_ref());
        let session = Session::open(ctx, server, "postgres").await?;
        archiver::is_well(ctx, &session).await?;
        let size = archiver::segment_size(ctx, &session).await?;
        let cluster = archiver::cluster(ctx, &session).await?;
        let began = session.now(ctx).await?;
        drop(session);
        let before = stanza.info(ctx).await?;
        let kind = self.options.type_at(artifact.origin.taken_at);
        let backup = stanza.command("backup").arg(format!("--type={kind}"));
        backup.deadline(self.deadline).run(ctx).await?.ok()?;
        let info = stanza.info(ctx).await?;
        let new = |set: &&Set| before.set(&set.label).is_none();
        let set = info.backups.iter().rev().find(new).ok_or_else(|| {
            Error::failed("pgBackRest ended well and its repository has no new backup")
                .hint("its own `expire` may have removed it: see its log")
        })?;
        if set.damaged {
            return Err(Error::failed(format!(
                "pgBackRest found pages that fail their checksums while it took {}",
                set.label
            ))
            .hint("the source is damaged: `pgbackrest info --set` names the files; recover them from an earlier backup"));
        }
        let (parent, files) = self.files(ctx, repository, artifact, set).await?;
        let marker = format!("{}/backup.manifest", set.label);
        let noted = BTreeMap::from([
            (wal::START.to_owned(), set.wal.0.to_string()),
            (BEGAN.to_owned(), began.to_rfc3339()),
            (STOP.to_owned(), set.stop.to_string()),
            (SEGMENT.to_owned(), size.to_string()),
            (CLUSTER.to_owned(), cluster),
            (LABEL.to_owned(), set.label.clone()),
            (CIPHER.to_owned(), info.cipher.clone()),
        ]);
        let blobs = artifact.blobs();
        for mut file in files {
            if file.name == marker {
                file.metadata.clone_from(&noted);
            }
            blobs.reuse(file);
        }
        Ok(parent)
    }

    /// Everything that the repository stores of a backup and of those that it takes files from, and the WAL that it
    /// cannot do without, with what earlier manifests know of it; and the artifact that it builds on.
    async fn files(
        &self,
        ctx: &Context,
        repository: &Arc<dyn Repository>,
        artifact: &ArtifactWriter,
        set: &Set,
    ) -> Result<(Option<String>, Vec<ManifestFile>)> {
        let backup = &artifact.origin.backup;
        let (manifests, _) = Manifest::list(ctx, repository, backup).await?;
        let labelled = |label: &String| {
            let mut all = manifests.iter();
            all.find(|manifest| label_of(manifest).is_some_and(|found| found == label))
        };
        let mut files = Vec::new();
        let mut unread = Vec::new();
        for label in std::iter::once(&set.label).chain(&set.references) {
            let own = format!("{label}/");
            match labelled(label) {
                Some(manifest) => {
                    let known = manifest.files.iter();
                    let known = known.filter(|file| file.name.starts_with(&own)).cloned();
                    files.extend(known.map(|file| ManifestFile {
                        metadata: BTreeMap::new(),
                        ..file
                    }));
                }
                None => {
                    let under = format!("{}backup/{STANZA}/", prefix(backup));
                    let listing = repository.list(ctx, &format!("{under}{own}")).await?;
                    unread.extend(listing.into_iter().map(|stored| {
                        let name = stored.key.strip_prefix(&under).unwrap_or(&stored.key);
                        (name.to_owned(), stored)
                    }));
                }
            }
        }
        let (first, last) = set.wal;
        let archive = archived::list(ctx, repository.as_ref(), backup, STANZA).await?;
        unread.extend(archive.into_iter().filter_map(|file| {
            let needed = matches!(file.name, Name::Segment(it) if (first..=last).contains(&it));
            let name = file.stored.key.rsplit('/').next()?;
            needed.then(|| (format!("wal/{name}"), file.stored.clone()))
        }));
        let read = futures::stream::iter(unread)
            .map(|(name, stored)| summed(ctx, repository.as_ref(), name, stored))
            .buffered(AT_ONCE);
        files.extend(read.try_collect::<Vec<_>>().await?);
        let parent = set.prior.as_ref().and_then(labelled);
        Ok((parent.map(|manifest| manifest.id.clone()), files))
    }

    /// pgBackRest on a server that has nothing of it yet, over the repository of an artifact.
    async fn over<'a>(
        &self,
        ctx: &Context,
        host: Host<'a>,
        artifact: &ArtifactReader,
        dir: PathBuf,
    ) -> Result<Stanza<'a>> {
        let wanted = Wanted {
            dir,
            name: name_in(&marker_of(&artifact.manifest)?.metadata),
            cluster: match host {
                Host::Server(server) => Some(beside(server, replay::PREPARED)),
                Host::Here => None,
            },
            repository: artifact.repository().as_ref(),
            backup: &artifact.manifest.backup,
            passphrase: artifact.passphrase(),
        };
        Stanza::configure(ctx, host, &self.options, wanted).await
    }

    /// Has pgBackRest verify its repository, and follows the WAL that continues the backup, which it does not.
    async fn read(
        &self,
        ctx: &Context,
        stanza: &Stanza<'_>,
        artifact: &ArtifactReader,
    ) -> Result<ReadFact> {
        let (manifest, repository) = (&artifact.manifest, artifact.repository());
        let set = set_of(&stanza.info(ctx).await?, stanza, manifest)?;
        let verify = stanza
            .command("verify")
            .args(["--output=text", "--verbose"]);
        let said = verify.deadline(self.deadline).run(ctx).await?.ok()?.text();
        let verified = verify::parse(&said, &set.label);
        if !verified.complaints.is_empty() {
            return Err(Error::failed(verified.complaints.join("; ")));
        }
        let base = physical::base(manifest, marker_of(manifest)?)?;
        let follow = Follow {
            backup: &manifest.backup,
            archive: &set.archive,
            base,
            amiss: &BTreeMap::new(),
            dir: PathBuf::new(),
        };
        let (log, _) = archived::log(ctx, stanza, repository.as_ref(), follow).await?;
        log.chain
            .leads_to(&RecoveryTarget::EndOfWal, &log.repository)?;
        Ok(ReadFact {
            entries: verified.files,
            content_time: DateTime::from_timestamp(set.began, 0),
            ..ReadFact::default()
        })
    }
}

#[async_trait]
impl Pipeline for PgBackRest {
    fn source_settings(&self) -> BTreeMap<String, String> {
        archiver::settings()
    }

    async fn prepare(
        &self,
        ctx: &Context,
        source: &dyn Service,
        destination: &Destination,
    ) -> Result<()> {
        let server = source.server();
        let work = async {
            let wanted = Wanted {
                dir: beside(&*server, HOME),
                name: STANZA.to_owned(),
                cluster: Some(server.data_dir()),
                repository: only(&destination.repositories)?.as_ref(),
                backup: &destination.backup,
                passphrase: destination.passphrase(),
            };
            let host = Host::Server(&*server);
            let stanza = Stanza::configure(ctx, host, &self.options, wanted).await?;
            let created = stanza.command("stanza-create").run(ctx).await?;
            created.ok()?;
            // A server that was promoted before it archived has not archived how its timeline came to be.
            const HISTORIES: &str = r#"cd -- "$1" && shift && for name in pg_wal/*.history; do
  [ ! -e "$name" ] || "$@" archive-push "$name" || exit
done"#;
            let histories = server.tool("sh").args(["-c", HISTORIES, "sh"]);
            let histories = histories.arg(server.data_dir()).args(stanza.words());
            histories.run(ctx).await?.ok()?;
            let [program, config, stanza] = stanza.words();
            let push = [&program, &config, &stanza, "archive-push", "%p"].map(|word| word);
            archiver::point_at(ctx, &*server, &archiver::command(&push)).await
        };
        work.await.doing("set pgBackRest up")
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
            let repository = only(&destination.repositories)?;
            let backup = &destination.backup;
            let there = archived::list(ctx, repository.as_ref(), backup, STANZA).await?;
            if there.iter().any(|file| file.name == Name::Segment(last)) {
                return Ok(());
            }
            Err(archiver::not_there(last, repository.name()))
        };
        work.await
            .map_err(|error| error.hint(physical::NOT_ARCHIVED))
            .doing("archive what was committed")
    }

    fn archive_of(&self, _source: &dyn Running, backup: &str) -> Option<Archive> {
        // It archives into the repository itself.
        Some(Archive {
            directory: None,
            prefix: format!("{}archive/", prefix(backup)),
        })
    }

    async fn backup(
        &self,
        ctx: &Context,
        source: &dyn Service,
        artifact: &mut ArtifactWriter,
    ) -> Result<Taken> {
        let server = source.server();
        let parent = self.take(ctx, &*server, artifact).await;
        let parent = parent.map_err(|error| error.hint(physical::NOT_TAKEN));
        let parent = parent.doing("back up the cluster")?;
        let version = server.tool("pgbackrest").arg("version").run(ctx).await?;
        Ok(Taken {
            tool: version.ok()?.text(),
            refused: None,
            parent,
        })
    }

    async fn fetch(
        &self,
        ctx: &Context,
        artifact: &ArtifactReader,
        target: &dyn Service,
    ) -> Result<Fetched> {
        let server = target.server();
        let (manifest, repository) = (&artifact.manifest, artifact.repository());
        let dir = beside(&*server, "pgbackrest-fetched");
        let host = Host::Server(&*server);
        let stanza = self.over(ctx, host, artifact, dir.clone()).await?;
        let set = set_of(&stanza.info(ctx).await?, &stanza, manifest)?;
        let marker = marker_of(manifest)?;
        let base = physical::base(manifest, marker)?;
        let get = GET.replace("@stanza@", &quoted(&stanza.name));
        log::install(ctx, &*server, &dir, &get).await?;
        let follow = Follow {
            backup: &manifest.backup,
            archive: &set.archive,
            base,
            amiss: &BTreeMap::new(),
            dir: dir.clone(),
        };
        let (log, bytes) = archived::log(ctx, &stanza, repository.as_ref(), follow).await?;
        Ok(Fetched {
            files: vec![(CONFIGURATION.to_owned(), dir)],
            stored_bytes: manifest.stored_bytes() + bytes,
            metadata: marker.metadata.clone(),
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
        let log = fetched.log()?;
        log.chain.leads_to(&options.target, &log.repository)?;
        let name = name_in(&fetched.metadata);
        let stanza = Stanza::in_dir(&*server, log.dir.clone(), &name, &log.repository);
        empty(ctx, &*server, &beside(&*server, replay::PREPARED)).await?;
        let label = fetched.metadata.get(LABEL).cloned().unwrap_or_default();
        let restore = stanza
            .command("restore")
            .arg(format!("--set={label}"))
            // Never to where they were: that is another server's.
            .arg(format!(
                "--tablespace-map-all={}",
                beside(&*server, TABLESPACES).display()
            ))
            .arg(format!("--process-max={}", options.jobs))
            .args(point::of_pgbackrest(&options.target));
        let restored = restore.deadline(self.deadline).run(ctx).await?.ok();
        restored
            .map(drop)
            .map_err(|error| {
                Error::new(error.kind(), error.message()).hint("this backup is damaged, or one that it builds on: recover the full one before it; the WAL that follows that one is still there")
            })
            .doing_with(|| format!("restore {label} with pgBackRest"))
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
            timeline: "latest",
            deadline: self.deadline,
        };
        let replayed = replay::replay(ctx, &*server, fetched.log()?, orders, cluster).await;
        replayed.map(Some)
    }

    async fn inspect(&self, ctx: &Context, target: &dyn Service) -> Result<Option<IntegrityFact>> {
        let server = target.server();
        integrity::inspect(ctx, &*server).await.map(Some)
    }

    /// pgBackRest's own `expire`: it counts backups, and knows nothing of the drill's clock. An artifact whose backup it
    /// removed is one no longer.
    async fn prune(
        &self,
        ctx: &Context,
        source: &dyn Service,
        destination: &Destination,
        _keep: &Keep,
        _now: DateTime<Utc>,
    ) -> Result<()> {
        let server = source.server();
        let repository = only(&destination.repositories)?;
        let watch = Stopwatch::start();
        let work = async {
            let stanza = self.of_source(&*server, repository.as_ref());
            stanza.command("expire").run(ctx).await?.ok()?;
            let info = stanza.info(ctx).await?;
            let labels: BTreeSet<&str> =
                info.backups.iter().map(|set| set.label.as_str()).collect();
            let (manifests, _) = Manifest::list(ctx, repository, &destination.backup).await?;
            let gone = manifests
                .iter()
                .filter(|manifest| label_of(manifest).is_none_or(|label| !labels.contains(label)));
            let keys: Vec<String> = gone.map(Manifest::key).collect();
            if !keys.is_empty() {
                repository.delete(ctx, &keys).await?;
            }
            Ok::<_, Error>((labels.len(), keys.len()))
        };
        let (stay, gone) = work
            .await
            .doing_with(|| format!("expire {} in {}", destination.backup, repository.name()))?;
        let what = format!(
            "forget what pgBackRest expired of {} in {}: {stay} stay, {gone} removed",
            destination.backup,
            repository.name()
        );
        ctx.note(what, Some(0), watch.seconds(), Path::new(""));
        Ok(())
    }

    async fn read_through(
        &self,
        ctx: &Context,
        artifact: &ArtifactReader,
        _source: &dyn Service,
    ) -> Result<ReadFact> {
        // Here: what is stored is read after the disaster too, when there may be no server.
        let number = ctx.next_number();
        let dir = ctx.dir.join(format!("pgbackrest-reading-{number}"));
        let stanza = self.over(ctx, Host::Here, artifact, dir).await?;
        let read = self.read(ctx, &stanza, artifact).await;
        stanza.forget(&ctx.for_teardown()).await?;
        let tool = "pgbackrest verify".to_owned();
        match read {
            Ok(fact) => Ok(ReadFact { tool, ..fact }),
            Err(error) if matches!(error.kind(), Kind::Failed | Kind::Refused) => Ok(ReadFact {
                tool,
                error: Some(error.message()),
                ..ReadFact::default()
            }),
            Err(error) => Err(error),
        }
    }
}

/// The one repository that pgBackRest is pointed at.
fn only(repositories: &[Arc<dyn Repository>]) -> Result<&Arc<dyn Repository>> {
    match repositories {
        [repository] => Ok(repository),
        _ => Err(Error::usage("a pgbackrest goes to one repository")),
    }
}

/// Reads a stored file for its sum.
async fn summed(
    ctx: &Context,
    repository: &dyn Repository,
    name: String,
    stored: Stored,
) -> Result<ManifestFile> {
    let reading = repository.get(ctx, &stored.key).await?;
    let (bytes, sha256) = Sums::of(reading)
        .await
        .doing_with(|| format!("read {}", stored.key))?;
    Ok(ManifestFile {
        name,
        key: stored.key,
        bytes,
        sha256,
        plain_bytes: bytes,
        plain_sha256: String::new(),
        shared: true,
        metadata: BTreeMap::new(),
    })
}

/// An empty directory of the server's user.
async fn empty(ctx: &Context, server: &dyn Running, dir: &Path) -> Result<()> {
    const EMPTY: &str = r#"mkdir -p -m 700 -- "$1" && find "$1" -mindepth 1 -delete"#;
    let made = server.tool("sh").args(["-c", EMPTY, "sh"]).arg(dir);
    made.run(ctx).await?.ok().map(drop)
}
