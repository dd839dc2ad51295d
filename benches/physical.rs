//! Physical backups beside the tools that they are made of, in one run, round by round in turn, so that whatever else the
//! machine does meets both: seconds of each, and how many times the other's redrill takes.
//!
//! A restore against `pgbackrest restore` by hand; verification (every page, every index, all content) against
//! `pg_dump | sha256sum`; WAL archived and fetched, a segment at a time, against `cp`, and what it takes besides to bring
//! it into a repository and back. `REDRILL_BENCH_SCALE` sets the size (1 is about 60 MB), `REDRILL_BENCH_ROUNDS` how often
//! each is timed (9).

#![allow(clippy::print_stdout, reason = "its figures are what it is for")]

mod beside;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use redrill::clock::{Clock, SystemClock};
use redrill::context::{Context, RunId};
use redrill::pipeline::artifact::{ArtifactReader, ArtifactWriter, Destination, Origin};
use redrill::pipeline::pg_basebackup::PgBasebackup;
use redrill::pipeline::pgbackrest::PgBackRest;
use redrill::pipeline::physical::{self, archiver, log, replay::PREPARED};
use redrill::pipeline::{Fetched, Pipeline};
use redrill::provision::local::Local;
use redrill::provision::reap::RunHome;
use redrill::provision::{Provisioner, Wanted};
use redrill::repository::Repository;
use redrill::repository::local::LocalRepository;
use redrill::service::postgres::PostgresService;
use redrill::service::postgres::session::Session;
use redrill::service::{Running, Service};
use redrill::suite::{
    BackupType, BaseCompression, Engine, PgBackRest as Options, RecoveryTarget, RestCompression,
    RestoreOptions,
};
use tokio::runtime::Runtime;

use crate::beside::{in_turn, median, number, tell};

/// How often each is timed, where nothing else is asked for.
const ROUNDS: f64 = 9.0;
/// How many processes restore at once, by redrill and by hand.
const JOBS: u32 = 2;
/// WAL to archive: a segment has 16 MiB.
const FILL: &str =
    "create table public.wal_filler as select n, md5(n::text) from generate_series(1, 500000) n";

/// A seeded source that archives by one pipeline, its backup in a repository, and an empty target.
struct Bed {
    ctx: Context,
    source: PostgresService,
    target: PostgresService,
    destination: Destination,
    reader: ArtifactReader,
    bytes: u64,
}

impl Bed {
    async fn make(ctx: &Context, name: &str, pipeline: &dyn Pipeline) -> Self {
        let start = async |role: &str, settings| {
            let wanted = Wanted {
                name: format!("{name}-{role}"),
                engine: Engine::Postgres,
                version: None,
                settings,
            };
            let server = Local.start(ctx, &wanted).await;
            server.expect("postgres is installed")
        };
        let server = start("source", pipeline.source_settings()).await;
        let seed = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/deltacrown/db.sql");
        let source = PostgresService::new(server, "bench", Some(seed));
        source.create(ctx).await.expect("created");
        let scale = number("REDRILL_BENCH_SCALE", 1.0);
        source.seed(ctx, scale, 1).await.expect("seeded");
        let bytes = source.observe(ctx).await.expect("observed").bytes;
        let dir = ctx.subdir(&format!("{name}-repository"));
        let repository = LocalRepository::new("bench", dir.expect("a directory"));
        let repository: Arc<dyn Repository> = Arc::new(repository.expect("a repository"));
        let destination = Destination::new("bench", vec![repository.clone()], None);
        pipeline
            .prepare(ctx, &source, &destination)
            .await
            .expect("prepared");
        let origin = Origin {
            backup: "bench".to_owned(),
            component: "bench".to_owned(),
            taken_at: SystemClock.now(),
            engine: "postgres".to_owned(),
            compression: "zstd:1".to_owned(),
        };
        let mut writer = ArtifactWriter::new(ctx, origin, vec![repository.clone()], None);
        let taken = pipeline.backup(ctx, &source, &mut writer).await;
        taken.expect("a backup");
        let draft = writer.draft(ctx);
        let manifest = writer.commit(ctx, draft).await.expect("committed");
        let session = Session::open(ctx, &*source.server(), "bench").await;
        let session = session.expect("a session");
        session.run(ctx, FILL).await.expect("filled");
        let archived = pipeline.archive(ctx, &source, &destination).await;
        archived.expect("archived");
        let server = start("target", BTreeMap::new()).await;
        Self {
            ctx: ctx.clone(),
            source,
            target: PostgresService::new(server, "bench", None),
            destination,
            reader: ArtifactReader::new(manifest, repository, None),
            bytes,
        }
    }

    /// Everything from the repository to a directory that could be started.
    async fn restore(&self, pipeline: &dyn Pipeline) -> Fetched {
        let fetched = pipeline.fetch(&self.ctx, &self.reader, &self.target).await;
        let fetched = fetched.expect("fetched");
        let options = RestoreOptions {
            jobs: JOBS,
            ..RestoreOptions::default()
        };
        let restored = pipeline.restore(&self.ctx, &fetched, &self.target, &options);
        restored.await.expect("restored");
        fetched
    }

    async fn run(&self, server: &dyn Running, script: &str, words: &[&Path]) {
        let run = server.tool("sh").args(["-c", script, "sh"]).args(words);
        let run = run.dir(server.data_dir()).run(&self.ctx).await;
        run.expect("it runs").ok().expect("it works");
    }

    /// The same by hand, with the configuration that redrill wrote.
    async fn restore_by_hand(&self) {
        const RESTORE: &str = r#"rm -rf -- "$2" && mkdir -m 700 -- "$2" && pgbackrest --config="$1" --stanza=main --process-max=2 restore"#;
        let server = self.target.server();
        let config = physical::beside(&*server, "pgbackrest-fetched").join("pgbackrest.conf");
        self.run(
            &*server,
            RESTORE,
            &[&config, &physical::beside(&*server, PREPARED)],
        )
        .await;
    }

    async fn value(&self, sql: &str) -> String {
        let session = Session::open(&self.ctx, &*self.source.server(), "postgres").await;
        let value = session.expect("a session").value(&self.ctx, sql).await;
        value.expect("an answer").expect("a value")
    }

    /// A whole segment of the source, copied aside.
    async fn segment(&self) -> PathBuf {
        let name = self
            .value("select max(name) from pg_ls_waldir() where name < pg_walfile_name(pg_current_wal_lsn()) and size > 0")
            .await;
        let server = self.source.server();
        let (from, to) = (
            server.data_dir().join("pg_wal").join(name),
            server.staging().join("segment"),
        );
        self.run(&*server, r#"cp -- "$1" "$2""#, &[&from, &to])
            .await;
        to
    }

    async fn remove(&self) {
        for service in [&self.source, &self.target] {
            let removed = service.server().remove(&self.ctx).await;
            removed.expect("removed");
        }
    }
}

/// Times two pieces of work in turn and says how they compare.
async fn beside_each_other(
    what: &str,
    (own, ours): (&str, impl AsyncFn(usize)),
    (other, theirs): (&str, impl AsyncFn(usize)),
) {
    in_turn(
        what,
        ROUNDS,
        (own, async |round| timed(&ours, round).await),
        (other, async |round| timed(&theirs, round).await),
    )
    .await;
}

async fn timed(work: &impl AsyncFn(usize), round: usize) -> Duration {
    let start = Instant::now();
    work(round).await;
    start.elapsed()
}

/// A segment archived by the source's own `archive_command`, and fetched by the target's own `restore_command`.
async fn segments(bed: &Bed, name: &str, fetched: &Fetched) {
    let (source, target) = (bed.source.server(), bed.target.server());
    let segment = bed.segment().await;
    let command = bed.value("select current_setting('archive_command')").await;
    let copies = source.staging().join("copies");
    bed.run(&*source, r#"mkdir -p -- "$1""#, &[&copies]).await;
    beside_each_other(
        &format!("a WAL segment archived, {name}"),
        ("redrill's archive_command", async |round| {
            // A name that no segment has yet: what is there already is not written again.
            let name = format!("0000000100000AAA000000{round:02X}");
            let path = source.staging().join(&name);
            bed.run(&*source, r#"ln -f -- "$1" "$2""#, &[&segment, &path])
                .await;
            let command = command
                .replace("%p", &path.display().to_string())
                .replace("%f", &name)
                .replace("%%", "%");
            bed.run(&*source, &command, &[]).await;
        }),
        ("cp", async |round| {
            let to = copies.join(round.to_string());
            // As many programs are started on both sides.
            bed.run(&*source, "true", &[]).await;
            bed.run(&*source, r#"cp -- "$1" "$2""#, &[&segment, &to])
                .await;
        }),
    )
    .await;
    let archived = fetched.log.as_ref().expect("WAL was fetched");
    let (last, _) = archived.chain.reach.clone().expect("a segment");
    let command = log::restore_command(&bed.ctx, &*target, archived, &RecoveryTarget::EndOfWal);
    let command = command.await.expect("a restore_command");
    // Where the server would run it: in the restored directory.
    let here = physical::beside(&*target, PREPARED);
    let to = here.join("pg_wal/RECOVERYXLOG");
    let plain = target.staging().join("plain");
    bed.run(&*source, r#"cp -- "$1" "$2""#, &[&segment, &plain])
        .await;
    beside_each_other(
        &format!("a WAL segment fetched, {name}"),
        ("redrill's restore_command", async |_| {
            let command = command
                .replace("%p", "pg_wal/RECOVERYXLOG")
                .replace("%f", &last.to_string())
                .replace("%%", "%");
            let script = format!("cd -- \"$1\" && rm -f pg_wal/RECOVERYXLOG && ({command})");
            bed.run(&*target, &script, &[&here]).await;
        }),
        ("cp", async |_| {
            bed.run(
                &*target,
                r#"rm -f -- "$2" && cp -- "$1" "$2""#,
                &[&plain, &to],
            )
            .await;
        }),
    )
    .await;
}

/// What lies in the source's archive, brought to a repository and from there to a target, by the segment. One by one is not
/// how it is done: all that is new goes at once.
async fn shipped(bed: &Bed, pipeline: &dyn Pipeline, name: &str) {
    let rounds = number("REDRILL_BENCH_ROUNDS", ROUNDS) as usize;
    let server = bed.source.server();
    let archive = pipeline.archive_of(&*server, "bench");
    let archive = archive.and_then(|archive| archive.directory);
    let archive = archive.expect("it archives to a directory");
    let copies = server.staging().join("shipped");
    let session = Session::open(&bed.ctx, &*server, "bench").await;
    let session = session.expect("a session");
    let fetching = async || {
        let mut times = Vec::new();
        for _ in 0..rounds {
            let start = Instant::now();
            let fetched = pipeline.fetch(&bed.ctx, &bed.reader, &bed.target).await;
            fetched.expect("fetched");
            times.push(start.elapsed());
        }
        median(times).as_secs_f64()
    };
    let before = fetching().await;
    let (mut own, mut other, mut brought) = (Vec::new(), Vec::new(), 0);
    for _ in 0..rounds {
        let refill = format!("drop table public.wal_filler; {FILL}");
        session.run(&bed.ctx, &refill).await.expect("filled");
        archiver::switch(&bed.ctx, &session)
            .await
            .expect("archived");
        let segments = std::fs::read_dir(&archive).expect("an archive").count() as u32;
        let start = Instant::now();
        let copy = r#"rm -rf -- "$2" && cp -r -- "$1" "$2""#;
        bed.run(&*server, copy, &[&archive, &copies]).await;
        other.push(start.elapsed() / segments);
        let start = Instant::now();
        let archived = pipeline.archive(&bed.ctx, &bed.source, &bed.destination);
        archived.await.expect("archived");
        own.push(start.elapsed() / segments);
        brought += segments;
    }
    let copied = ("cp", median(other).as_secs_f64());
    tell(
        &format!("a WAL segment of {brought} brought to a repository, {name}"),
        ("redrill, gzip and SHA-256", median(own).as_secs_f64()),
        copied,
    );
    let each = (fetching().await - before) / f64::from(brought);
    tell(
        &format!("a WAL segment of {brought} brought back from it, {name}"),
        ("redrill, verified", each),
        copied,
    );
}

async fn all(ctx: &Context) {
    let rest = PgBackRest::new(Options {
        usual: BackupType::Full,
        compress: RestCompression::Zst(1),
        ..Options::default()
    });
    let base = PgBasebackup::new(BaseCompression::Zstd(1));
    let by_rest = Bed::make(ctx, "pgbackrest", &rest).await;
    let by_base = Bed::make(ctx, "pg-basebackup", &base).await;
    println!("a cluster of {:.0} MB\n", by_rest.bytes as f64 / 1e6);

    let of_rest = by_rest.restore(&rest).await;
    beside_each_other(
        "restore, pgbackrest",
        ("redrill, fetch and restore", async |_| {
            by_rest.restore(&rest).await;
        }),
        ("pgbackrest restore", async |_| {
            by_rest.restore_by_hand().await
        }),
    )
    .await;
    let of_base = by_base.restore(&base).await;
    beside_each_other(
        "restore, pg-basebackup",
        ("redrill, fetch and restore, verified", async |_| {
            by_base.restore(&base).await;
        }),
        ("pgbackrest restore", async |_| {
            by_rest.restore_by_hand().await
        }),
    )
    .await;
    let server = by_rest.source.server();
    beside_each_other(
        "verification",
        (
            "redrill, every page, every index, all content",
            async |_| {
                let pages = rest.inspect(ctx, &by_rest.source).await;
                let pages = pages.expect("inspected").expect("something to inspect");
                assert!(pages.damaged.is_empty() && pages.pages > 0, "{pages:?}");
                let content = by_rest.source.observe(ctx).await.expect("observed");
                assert!(content.unreadable.is_empty(), "{:?}", content.unreadable);
            },
        ),
        ("pg_dump | sha256sum", async |_| {
            by_rest
                .run(&*server, "pg_dump bench | sha256sum", &[])
                .await;
        }),
    )
    .await;
    segments(&by_base, "pg-basebackup", &of_base).await;
    shipped(&by_base, &base, "pg-basebackup").await;
    segments(&by_rest, "pgbackrest", &of_rest).await;
    by_rest.remove().await;
    by_base.remove().await;
}

fn main() {
    // `cargo test --benches` only wants to know that it builds.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let runtime = Runtime::new().expect("a runtime");
    let run = RunId::fresh(SystemClock.now());
    let home = RunHome::create(&run).expect("a directory for the run");
    let dir = home.path().join("bench");
    let ctx = Context::new(run, dir.clone(), dir.join("logs"), Default::default());
    let ctx = ctx.expect("a context");
    runtime.block_on(async {
        all(&ctx).await;
        home.remove("local").await.expect("the directory is gone");
    });
}
