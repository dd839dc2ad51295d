//! What all tests share: a source with its base backup and archived WAL in a repository, copied for each test.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use chrono::{DateTime, TimeDelta, Utc};
use redrill::clock::VirtualClock;
use redrill::context::{Context, RunId};
use redrill::error::{Error, Result};
use redrill::evidence::ReplayFact;
use redrill::pipeline::artifact::{ArtifactReader, ArtifactWriter, Destination, Keys, Origin};
use redrill::pipeline::pg_basebackup::PgBasebackup;
use redrill::pipeline::{Fetched, Pipeline};
use redrill::provision::choose::{Mode, choose};
use redrill::provision::{Provisioner, Wanted};
use redrill::repository::manifest::Manifest;
use redrill::repository::{LocalRepository, Repository};
use redrill::service::postgres::PostgresService;
use redrill::service::postgres::session::Session;
use redrill::service::{Running, Service};
use redrill::suite::{BaseCompression, Engine, RecoveryTarget, RestoreOptions};
use tokio_util::sync::CancellationToken;

use crate::mounts::Mounted;

/// The backup's name.
pub const BACKUP: &str = "base";
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
    pub provisioner: Box<dyn Provisioner>,
    pub source: PostgresService,
    pub repository: PathBuf,
    pub manifest: Manifest,
    /// In order; each is archived in a segment of its own from the fourth on.
    pub writes: Vec<Write>,
    pub clock: Arc<VirtualClock>,
    started: Mutex<Vec<Arc<dyn Running>>>,
}

fn mode() -> Mode {
    match std::env::var("REDRILL_SERVICES").as_deref() {
        Ok("containers") => Mode::Containers,
        Ok("auto") => Mode::Auto,
        _ => Mode::Local,
    }
}

fn context(dir: &Path) -> Context {
    let run = RunId::fresh(Utc::now());
    // Servers pass through the directory, as another user.
    let (dir, logs) = (dir.to_owned(), dir.join("logs"));
    Context::new(run, dir, logs, CancellationToken::new()).expect("a context")
}

/// Why no test can run here.
pub async fn missing(dir: &Path) -> Option<String> {
    let needs = BTreeSet::from([(Engine::Postgres, None)]);
    let chosen = choose(&context(dir), mode(), &needs).await;
    chosen.err().map(|error| error.message())
}

impl Lab {
    pub async fn set_up(dir: &Path) -> Result<Self> {
        let clock = Arc::new(VirtualClock::at(start()));
        let ctx = context(dir).with_clock(clock.clone());
        let needs = BTreeSet::from([(Engine::Postgres, None)]);
        let provisioner = choose(&ctx, mode(), &needs).await?.provisioner;
        let pipeline = pipeline();
        let wanted = Wanted {
            name: "source".to_owned(),
            engine: Engine::Postgres,
            version: None,
            settings: pipeline.source_settings(),
        };
        let server = provisioner.start(&ctx, &wanted).await?;
        let source = PostgresService::new(server, DATABASE, None);
        source.create(&ctx).await?;
        source.plant(&ctx, "nonce", "canary").await?;
        let path = dir.join("repository");
        let mut lab = Self {
            ctx,
            provisioner,
            source,
            repository: path.clone(),
            manifest: nothing(),
            writes: Vec::new(),
            clock,
            started: Mutex::default(),
        };
        lab.sql(DATABASE, FILL).await?;
        let repository: Vec<Arc<dyn Repository>> =
            vec![Arc::new(LocalRepository::new("near", &path)?)];
        let destination = Destination::new(BACKUP, repository.clone(), None);
        pipeline
            .prepare(&lab.ctx, &lab.source, &destination)
            .await?;
        lab.write(1).await?;
        lab.manifest = lab.backup(&repository, None).await?;
        // In the segment after the base backup's own: two writes, a restore point, one more.
        lab.write(2).await?;
        lab.write(3).await?;
        lab.sql(DATABASE, "select pg_create_restore_point('before deploy')")
            .await?;
        for number in 4..=7 {
            lab.write(number).await?;
            lab.archive(&repository, None).await?;
        }
        // Never archived: lost with the server.
        lab.write(8).await?;
        Ok(lab)
    }

    /// Sets a server up to be backed up into nothing yet.
    pub async fn prepare(&self, source: &PostgresService) -> Result<()> {
        let destination = Destination::new(BACKUP, Vec::new(), None);
        pipeline().prepare(&self.ctx, source, &destination).await
    }

    /// Asks the source.
    pub async fn sql(&self, database: &str, sql: &str) -> Result<Option<String>> {
        let session = Session::open(&self.ctx, &*self.source.server(), database).await?;
        session.value(&self.ctx, sql).await
    }

    /// Asks another server.
    pub async fn sql_on(&self, service: &PostgresService, sql: &str) -> Result<Option<String>> {
        let session = Session::open(&self.ctx, &*service.server(), "postgres").await?;
        session.value(&self.ctx, sql).await
    }

    async fn write(&mut self, number: u64) -> Result<()> {
        let lsn = self.source.write(&self.ctx, number).await?;
        let at = self
            .sql(DATABASE, "select extract(epoch from clock_timestamp())")
            .await?
            .and_then(|seconds| seconds.parse::<f64>().ok())
            .ok_or_else(|| Error::failed("no time"))?;
        let at = DateTime::from_timestamp_micros((at * 1e6) as i64).expect("an instant");
        self.writes.push(Write { lsn, at });
        Ok(())
    }

    /// Archives a minute later.
    pub async fn archive(
        &self,
        repositories: &[Arc<dyn Repository>],
        keys: Option<Keys>,
    ) -> Result<()> {
        use redrill::clock::Clock;
        self.clock
            .advance_to(self.clock.now() + TimeDelta::minutes(1));
        let destination = Destination::new(BACKUP, repositories.to_vec(), keys);
        pipeline()
            .archive(&self.ctx, &self.source, &destination)
            .await
    }

    pub async fn backup(
        &self,
        repositories: &[Arc<dyn Repository>],
        keys: Option<Keys>,
    ) -> Result<Manifest> {
        self.backup_of(&self.source, repositories, keys).await
    }

    /// A base backup of any source.
    pub async fn backup_of(
        &self,
        source: &PostgresService,
        repositories: &[Arc<dyn Repository>],
        keys: Option<Keys>,
    ) -> Result<Manifest> {
        use redrill::clock::Clock;
        let origin = Origin {
            backup: BACKUP.to_owned(),
            component: "db".to_owned(),
            taken_at: self.clock.now(),
            engine: format!("postgres {}", source.server().version()),
            compression: "gzip:1".to_owned(),
        };
        let mut artifact =
            ArtifactWriter::new(&self.ctx, origin, repositories.to_vec(), keys.clone());
        let pipeline = pipeline();
        let taken = pipeline.backup(&self.ctx, source, &mut artifact).await?;
        assert!(taken.tool.starts_with("pg_basebackup"), "{}", taken.tool);
        let draft = artifact.draft(&self.ctx);
        artifact.commit(&self.ctx, draft).await
    }

    /// A copy of the repository, for a test to damage.
    pub fn copy(&self, name: &str) -> Copy {
        let to = self.repository.with_file_name(name);
        copy_all(&self.repository, &to);
        Copy { root: to }
    }

    /// A server that ends with the test.
    pub async fn start(&self, wanted: &Wanted) -> Result<PostgresService> {
        let server = self.provisioner.start(&self.ctx, wanted).await?;
        self.started.lock().expect("a lock").push(server.clone());
        Ok(PostgresService::new(server, DATABASE, None))
    }

    /// A new, empty server.
    pub async fn target(&self) -> Result<PostgresService> {
        let wanted = Wanted {
            name: "target".to_owned(),
            engine: Engine::Postgres,
            version: None,
            settings: BTreeMap::new(),
        };
        self.start(&wanted).await
    }

    pub fn reader(&self, repository: Arc<dyn Repository>, keys: Option<Keys>) -> ArtifactReader {
        ArtifactReader::new(self.manifest.clone(), repository, keys)
    }

    pub async fn fetch(
        &self,
        reader: &ArtifactReader,
        target: &PostgresService,
    ) -> Result<Fetched> {
        pipeline().fetch(&self.ctx, reader, target).await
    }

    /// Restores and replays what was fetched.
    pub async fn replay(
        &self,
        fetched: &Fetched,
        target: &PostgresService,
        to: RecoveryTarget,
    ) -> Result<ReplayFact> {
        let options = RestoreOptions {
            target: to,
            ..RestoreOptions::default()
        };
        let pipeline = pipeline();
        pipeline
            .restore(&self.ctx, fetched, target, &options)
            .await?;
        let fact = pipeline
            .replay(&self.ctx, fetched, target, &options)
            .await?;
        Ok(fact.expect("a replay"))
    }

    /// The whole way from a copy of the repository to a recovered server.
    pub async fn recover(
        &self,
        copy: &Copy,
        to: RecoveryTarget,
    ) -> Result<(PostgresService, ReplayFact)> {
        let target = self.target().await?;
        let reader = self.reader(copy.repository(), None);
        let fetched = self.fetch(&reader, &target).await?;
        let fact = self.replay(&fetched, &target, to).await?;
        Ok((target, fact))
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

/// Something to damage in every kind of file: tables, indexes of several kinds, a large value.
const FILL: &str = "
create table public.item (id int primary key, name text, tags int[], at point);
insert into public.item select n, 'item ' || n, array[n % 7, n % 11], point(n, n % 100) from generate_series(1, 20000) n;
create index item_name on public.item using hash (name);
create index item_tags on public.item using gin (tags);
create index item_brin on public.item using brin (id);
create index item_gist on public.item using gist (at);
create index item_spgist on public.item using spgist (at);
create materialized view public.counted as select count(*) from public.item;
create subscription feed connection 'host=127.0.0.1 port=1' publication p with (connect = false, slot_name = 'feed');
create table public.big as select 1 as id, repeat('x', 1000000) as text;
checkpoint";

pub fn start() -> DateTime<Utc> {
    DateTime::parse_from_rfc3339("2026-03-01T12:00:00Z")
        .expect("an instant")
        .to_utc()
}

pub fn pipeline() -> PgBasebackup {
    PgBasebackup::new(BaseCompression::Gzip(1))
}

/// A copied repository.
pub struct Copy {
    pub root: PathBuf,
}

impl Copy {
    pub fn repository(&self) -> Arc<dyn Repository> {
        Arc::new(LocalRepository::new("near", &self.root).expect("a repository"))
    }

    /// The file of an archived segment, the n-th in order, and its name.
    pub fn segment(&self, n: usize) -> (PathBuf, String) {
        let all = self.segments();
        let name = all[n].clone();
        (self.wal().join(format!("{name}.gz")), name)
    }

    pub fn wal(&self) -> PathBuf {
        self.root.join(BACKUP).join("wal")
    }

    /// Every archived segment, in order.
    pub fn segments(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.wal()).expect("a directory");
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter_map(|name| Some(name.strip_suffix(".gz")?.to_owned()))
            .filter(|name| name.len() == 24)
            .collect();
        names.sort();
        names
    }
}

/// Why there can be no disk with room for next to nothing. In containers that is so wherever the tests run; on this
/// machine it is a lack of it.
pub enum NoSmallDisks {
    Never(&'static str),
    Lacking(String),
}

/// Why no server of ours can be given a job scheduler, and whether that is this machine's lack.
pub fn no_scheduler() -> Option<(&'static str, bool)> {
    if mode() != Mode::Local {
        return Some(("the images have no job scheduler", false));
    }
    let installed = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let mut installed = installed.filter_map(|version| Some(version.ok()?.path()));
    let has = installed.any(|version| version.join("lib/pg_cron.so").exists());
    (!has).then_some((
        "pg_cron is not installed (Debian has postgresql-15-cron, or of another version)",
        true,
    ))
}

/// Why no server can be gone while what is around it stays, where that is so.
pub fn a_container_ends_with_its_server() -> Option<&'static str> {
    (mode() != Mode::Local).then_some("a container ends with its server")
}

/// Mounts one below `dir` to see.
pub fn no_small_disks(dir: &Path) -> Option<NoSmallDisks> {
    if mode() != Mode::Local {
        let why = "no small disk can be mounted in a container";
        return Some(NoSmallDisks::Never(why));
    }
    let place = dir.join("small");
    std::fs::create_dir(&place).expect("a directory");
    let why = Mounted::new(&place, "size=64k").err()?;
    Some(NoSmallDisks::Lacking(why))
}

/// Mounts one of so many kilobytes that belongs to the user of a server, in the place of a directory.
pub async fn small_disk(
    ctx: &Context,
    server: &dyn Running,
    place: &Path,
    kilobytes: u64,
) -> Result<Mounted> {
    let id = |what: &str| server.tool("id").arg(what).run(ctx);
    let (uid, gid) = (id("-u").await?.ok()?.text(), id("-g").await?.ok()?.text());
    let made = server.tool("mkdir").arg("-p").arg(place).run(ctx).await?;
    made.ok()?;
    let options = format!("size={kilobytes}k,mode=700,uid={uid},gid={gid}");
    Mounted::new(place, &options).map_err(Error::failed)
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_all(&path, &to);
        } else {
            std::fs::copy(&path, &to).expect("copied");
        }
    }
}

fn nothing() -> Manifest {
    Manifest {
        schema_version: 1,
        id: String::new(),
        backup: String::new(),
        component: String::new(),
        run: String::new(),
        taken_at: start(),
        engine: String::new(),
        tool: String::new(),
        parent: None,
        compression: String::new(),
        recipients: Vec::new(),
        source_identity: String::new(),
        source_fingerprint: String::new(),
        ledger_high_water: 0,
        files: Vec::new(),
        contents: None,
    }
}
