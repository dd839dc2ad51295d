//! What all tests share: a source with three backups and archived WAL in a repository, copied for each test.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use chrono::{DateTime, TimeDelta, Utc};
use redrill::clock::{Clock, VirtualClock};
use redrill::context::{Context, RunId};
use redrill::error::{Error, Result};
use redrill::evidence::{ReadFact, ReplayFact};
use redrill::pipeline::artifact::{ArtifactReader, ArtifactWriter, Destination, Keys, Origin};
use redrill::pipeline::pgbackrest::{PgBackRest, prefix};
use redrill::pipeline::{Fetched, Pipeline};
use redrill::provision::choose;
use redrill::provision::local::Local;
use redrill::provision::{Provisioner, Wanted};
use redrill::repository::manifest::Manifest;
use redrill::repository::{LocalRepository, Repository};
use redrill::service::postgres::PostgresService;
use redrill::service::postgres::session::Session;
use redrill::service::{Running, Service};
use redrill::suite::{
    BackupType, Engine, PgBackRest as Options, RecoveryTarget, RestCompression, RestoreOptions,
};
use tokio_util::sync::CancellationToken;

/// The backup's name.
pub const BACKUP: &str = "cluster";
/// The database that is looked at.
pub const DATABASE: &str = "shop";

/// A write, and what the server said of it.
#[derive(Debug, Clone)]
pub struct Write {
    /// Where its commit ended.
    pub lsn: String,
    /// The server's clock after it.
    pub at: DateTime<Utc>,
}

pub struct Lab {
    pub ctx: Context,
    pub source: PostgresService,
    pub repository: PathBuf,
    /// A full backup, a differential and an incremental one: after writes 1, 2 and 3.
    pub manifests: Vec<Manifest>,
    /// In order; 1 to 7 are archived, 8 is not.
    pub writes: Vec<Write>,
    pub clock: Arc<VirtualClock>,
    started: Mutex<Vec<Arc<dyn Running>>>,
}

/// Why no test can run here.
pub fn missing() -> Option<String> {
    let servers = choose::local_can(&BTreeSet::from([(Engine::Postgres, None)]));
    let tool = choose::pgbackrest("local").map(drop);
    servers.and(tool).err().map(|error| error.to_string())
}

/// Backups of one type, small ones and quick.
pub fn pipeline(usual: BackupType) -> PgBackRest {
    PgBackRest::new(Options {
        usual,
        compress: RestCompression::Zst(1),
        bundle: true,
        ..Options::default()
    })
}

impl Lab {
    pub async fn set_up(dir: &Path) -> Result<Self> {
        let clock = Arc::new(VirtualClock::at(start()));
        let run = RunId::fresh(Utc::now());
        let ctx = Context::new(
            run,
            dir.to_owned(),
            dir.join("logs"),
            CancellationToken::new(),
        )?;
        let ctx = ctx.with_clock(clock.clone());
        let path = dir.join("repository");
        let source = source(&ctx, "source").await?;
        let mut lab = Self {
            ctx,
            source,
            repository: path.clone(),
            manifests: Vec::new(),
            writes: Vec::new(),
            clock,
            started: Mutex::default(),
        };
        lab.sql(FILL).await?;
        let repository: Arc<dyn Repository> = Arc::new(LocalRepository::new("near", &path)?);
        lab.prepare(&lab.source, &repository, None).await?;
        for (number, of_type) in (1..).zip(BackupType::ALL) {
            lab.write(number).await?;
            let manifest = lab.backup(&lab.source, of_type, &repository, None).await?;
            lab.manifests.push(manifest);
        }
        lab.write(4).await?;
        lab.sql("select pg_create_restore_point('before deploy')")
            .await?;
        for number in 5..=7 {
            lab.write(number).await?;
            lab.archive(&lab.source, &repository, None).await?;
        }
        // Never archived: lost with the server.
        lab.write(8).await?;
        Ok(lab)
    }

    /// Asks the source.
    pub async fn sql(&self, sql: &str) -> Result<Option<String>> {
        let session = Session::open(&self.ctx, &*self.source.server(), DATABASE).await?;
        session.value(&self.ctx, sql).await
    }

    async fn write(&mut self, number: u64) -> Result<()> {
        let lsn = self.source.write(&self.ctx, number).await?;
        let at = self
            .sql("select extract(epoch from clock_timestamp())")
            .await?
            .and_then(|seconds| seconds.parse::<f64>().ok())
            .ok_or_else(|| Error::failed("no time"))?;
        let at = DateTime::from_timestamp_micros((at * 1e6) as i64).expect("an instant");
        self.writes.push(Write { lsn, at });
        Ok(())
    }

    pub async fn prepare(
        &self,
        source: &PostgresService,
        repository: &Arc<dyn Repository>,
        keys: Option<Keys>,
    ) -> Result<()> {
        let destination = Destination::new(BACKUP, vec![repository.clone()], keys);
        pipeline(BackupType::Incr)
            .prepare(&self.ctx, source, &destination)
            .await
    }

    pub async fn archive(
        &self,
        source: &PostgresService,
        repository: &Arc<dyn Repository>,
        keys: Option<Keys>,
    ) -> Result<()> {
        let destination = Destination::new(BACKUP, vec![repository.clone()], keys);
        pipeline(BackupType::Incr)
            .archive(&self.ctx, source, &destination)
            .await
    }

    /// A backup, a day later.
    pub async fn backup(
        &self,
        source: &PostgresService,
        of_type: BackupType,
        repository: &Arc<dyn Repository>,
        options: Option<Options>,
    ) -> Result<Manifest> {
        self.clock.advance_to(self.clock.now() + TimeDelta::days(1));
        let origin = Origin {
            backup: BACKUP.to_owned(),
            component: "db".to_owned(),
            taken_at: self.clock.now(),
            engine: format!("postgres {}", source.server().version()),
            compression: "zst:1".to_owned(),
        };
        let mut artifact = ArtifactWriter::new(&self.ctx, origin, vec![repository.clone()], None);
        let pipeline = options.map_or_else(|| pipeline(of_type), PgBackRest::new);
        let taken = pipeline.backup(&self.ctx, source, &mut artifact).await?;
        assert!(taken.tool.starts_with("pgBackRest"), "{}", taken.tool);
        let mut draft = artifact.draft(&self.ctx);
        draft.parent = taken.parent;
        artifact.commit(&self.ctx, draft).await
    }

    /// A copy of the repository, for a test to damage.
    pub fn copy(&self, name: &str) -> Copy {
        let to = self.repository.with_file_name(name);
        let copied = Command::new("cp")
            .arg("-a")
            .args([&self.repository, &to])
            .status();
        assert!(copied.expect("cp runs").success());
        Copy { root: to }
    }

    /// A server that ends with the test.
    pub fn ends_with_the_test(&self, service: &PostgresService) {
        let mut started = self.started.lock().expect("a lock");
        started.push(service.server());
    }

    /// A new, empty server.
    pub async fn target(&self) -> Result<PostgresService> {
        let server = start_server(&self.ctx, "target", BTreeMap::new()).await?;
        let target = PostgresService::new(server, DATABASE, None);
        self.ends_with_the_test(&target);
        Ok(target)
    }

    pub async fn fetch(
        &self,
        reader: &ArtifactReader,
        target: &PostgresService,
    ) -> Result<Fetched> {
        pipeline(BackupType::Incr)
            .fetch(&self.ctx, reader, target)
            .await
    }

    /// The whole way from an artifact in a repository to a recovered server.
    pub async fn recover_from(
        &self,
        reader: &ArtifactReader,
        to: RecoveryTarget,
    ) -> Result<(PostgresService, ReplayFact)> {
        let target = self.target().await?;
        let fetched = self.fetch(reader, &target).await?;
        let options = RestoreOptions {
            target: to,
            ..RestoreOptions::default()
        };
        let pipeline = pipeline(BackupType::Incr);
        pipeline
            .restore(&self.ctx, &fetched, &target, &options)
            .await?;
        let fact = pipeline
            .replay(&self.ctx, &fetched, &target, &options)
            .await?;
        Ok((target, fact.expect("a replay")))
    }

    /// The newest artifact of a copy, recovered.
    pub async fn recover(
        &self,
        copy: &Copy,
        to: RecoveryTarget,
    ) -> Result<(PostgresService, ReplayFact)> {
        self.recover_from(&self.newest(copy), to).await
    }

    pub fn newest(&self, copy: &Copy) -> ArtifactReader {
        let newest = self.manifests.last().expect("a backup").clone();
        ArtifactReader::new(newest, copy.repository(), None)
    }

    /// What pgBackRest, and redrill, say on reading the newest artifact of a copy through.
    pub async fn read(&self, copy: &Copy) -> Result<ReadFact> {
        pipeline(BackupType::Incr)
            .read_through(&self.ctx, &self.newest(copy), &self.source)
            .await
    }

    /// The writes that came back.
    pub async fn back(&self, target: &PostgresService) -> Result<Vec<u64>> {
        let found = target.observe(&self.ctx).await?;
        if !found.unreadable.is_empty() {
            return Err(Error::failed(format!("{:?}", found.unreadable)));
        }
        Ok(found.ledger.into_iter().collect())
    }

    /// Ends the servers of a test.
    pub async fn clear(&self) -> Result<()> {
        let started: Vec<_> = self.started.lock().expect("a lock").drain(..).collect();
        for server in started {
            server.remove(&self.ctx.for_teardown()).await?;
        }
        Ok(())
    }

    pub async fn tear_down(&self) -> Result<()> {
        self.clear().await?;
        self.source.server().remove(&self.ctx.for_teardown()).await
    }
}

async fn start_server(
    ctx: &Context,
    name: &str,
    settings: BTreeMap<String, String>,
) -> Result<Arc<dyn Running>> {
    let wanted = Wanted {
        name: name.to_owned(),
        engine: Engine::Postgres,
        version: None,
        settings,
    };
    Local.start(ctx, &wanted).await
}

/// A server that can be backed up.
pub async fn source(ctx: &Context, name: &str) -> Result<PostgresService> {
    let settings = pipeline(BackupType::Incr).source_settings();
    let server = start_server(ctx, name, settings).await?;
    let source = PostgresService::new(server, DATABASE, None);
    source.create(ctx).await?;
    source.plant(ctx, "nonce", "canary").await?;
    Ok(source)
}

const FILL: &str = "
create table public.item (id int primary key, name text);
insert into public.item select n, 'item ' || n from generate_series(1, 20000) n;
checkpoint";

pub fn start() -> DateTime<Utc> {
    DateTime::parse_from_rfc3339("2026-03-01T12:00:00Z")
        .expect("an instant")
        .to_utc()
}

/// A copied repository.
pub struct Copy {
    pub root: PathBuf,
}

impl Copy {
    pub fn repository(&self) -> Arc<dyn Repository> {
        Arc::new(LocalRepository::new("near", &self.root).expect("a repository"))
    }

    /// What is pgBackRest's own.
    pub fn own(&self) -> PathBuf {
        self.root.join(prefix(BACKUP))
    }

    /// The archived segments, in order: their files and names.
    pub fn segments(&self) -> Vec<(PathBuf, String)> {
        let mut all: Vec<(PathBuf, String)> = files(&self.own().join("archive"))
            .into_iter()
            .filter_map(|path| {
                let name = path.file_name()?.to_str()?.to_owned();
                let (segment, _) = name.split_once('-')?;
                Some((path.clone(), segment.to_owned()))
            })
            .collect();
        all.sort();
        all
    }

    /// The files of a backup, the largest first.
    pub fn stored_of(&self, label: &str) -> Vec<PathBuf> {
        let mut all = files(&self.own().join("backup/main").join(label));
        all.retain(|path| !path.to_string_lossy().contains("backup.manifest"));
        let size = |path: &PathBuf| std::fs::metadata(path).expect("a file").len();
        all.sort_by_key(|path| std::cmp::Reverse(size(path)));
        all
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .filter(|path| !path.is_symlink())
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

/// Changes a few bytes of a file, a third into it, and nothing else of it.
pub fn alter(path: &Path) {
    let mut bytes = std::fs::read(path).expect("a file");
    let at = bytes.len() / 3;
    for byte in &mut bytes[at..at + 4] {
        *byte ^= 0x55;
    }
    std::fs::write(path, bytes).expect("written");
}
