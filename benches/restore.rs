//! Restore and fingerprint throughput against a real local Postgres, in GB/min: 10^9 bytes of the source as the server
//! itself reports its size, over the time of the restore; and what the restore phase costs over the same `pg_restore` by
//! hand, timed in turn. `REDRILL_BENCH_SCALE` sets the size (1 is about 60 MB).

#![allow(clippy::print_stdout, reason = "its figures are what it is for")]

mod beside;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use redrill::clock::{Clock, SystemClock};
use redrill::context::{Context, RunId};
use redrill::pipeline::artifact::{ArtifactReader, ArtifactWriter, Origin};
use redrill::pipeline::pg_dump::PgDump;
use redrill::pipeline::{Fetched, Pipeline};
use redrill::provision::local::Local;
use redrill::provision::reap::RunHome;
use redrill::provision::{Provisioner, Wanted};
use redrill::repository::Repository;
use redrill::repository::local::LocalRepository;
use redrill::service::postgres::PostgresService;
use redrill::service::{Running, Service};
use redrill::suite::{Dump, DumpFormat, Engine, RestoreOptions};
use tokio::runtime::Runtime;

use crate::beside::{in_turn, number};

/// Wall time, with throughput in the unit of the field.
struct GbPerMinute(WallTime);

struct Format<'a>(&'a dyn ValueFormatter);

impl ValueFormatter for Format<'_> {
    fn scale_values(&self, typical: f64, values: &mut [f64]) -> &'static str {
        self.0.scale_values(typical, values)
    }

    fn scale_throughputs(
        &self,
        _: f64,
        throughput: &Throughput,
        values: &mut [f64],
    ) -> &'static str {
        let Throughput::Bytes(bytes) = throughput else {
            return "elements";
        };
        for value in values {
            // Criterion hands over nanoseconds an iteration.
            *value = *bytes as f64 / 1e9 / (*value / 60e9);
        }
        "GB/min"
    }

    fn scale_for_machines(&self, values: &mut [f64]) -> &'static str {
        self.0.scale_for_machines(values)
    }
}

impl ValueFormatter for GbPerMinute {
    fn scale_values(&self, typical: f64, values: &mut [f64]) -> &'static str {
        Format(self.0.formatter()).scale_values(typical, values)
    }
    fn scale_throughputs(
        &self,
        typical: f64,
        throughput: &Throughput,
        values: &mut [f64],
    ) -> &'static str {
        Format(self.0.formatter()).scale_throughputs(typical, throughput, values)
    }
    fn scale_for_machines(&self, values: &mut [f64]) -> &'static str {
        Format(self.0.formatter()).scale_for_machines(values)
    }
}

impl Measurement for GbPerMinute {
    type Intermediate = Instant;
    type Value = Duration;

    fn start(&self) -> Self::Intermediate {
        Instant::now()
    }
    fn end(&self, start: Self::Intermediate) -> Self::Value {
        start.elapsed()
    }
    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }
    fn zero(&self) -> Duration {
        Duration::ZERO
    }
    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }
    fn formatter(&self) -> &dyn ValueFormatter {
        self
    }
}

/// A seeded Postgres and where it lives.
struct Bed {
    runtime: Runtime,
    ctx: Context,
    server: Arc<dyn Running>,
    source: PostgresService,
    bytes: u64,
    home: Option<RunHome>,
}

impl Bed {
    fn make() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let run = RunId::fresh(SystemClock.now());
        let home = RunHome::create(&run).expect("a directory for the run");
        let dir = home.path().join("bench");
        let ctx = Context::new(run, dir.clone(), dir.join("logs"), Default::default())
            .expect("a context");
        let scale = number("REDRILL_BENCH_SCALE", 1.0);
        let wanted = Wanted {
            name: "bench".to_owned(),
            engine: Engine::Postgres,
            version: None,
            settings: BTreeMap::new(),
        };
        let (server, source, bytes) = runtime.block_on(async {
            let server = Local
                .start(&ctx, &wanted)
                .await
                .expect("postgres is installed");
            let seed = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/deltacrown/db.sql");
            let source = PostgresService::new(server.clone(), "bench", Some(seed));
            source.create(&ctx).await.expect("created");
            source.seed(&ctx, scale, 1).await.expect("seeded");
            let bytes = source.observe(&ctx).await.expect("observed").bytes;
            (server, source, bytes)
        });
        Self {
            runtime,
            ctx,
            server,
            source,
            bytes,
            home: Some(home),
        }
    }

    /// Takes a dump and brings it to where a restore reads it.
    async fn fetched(&self, pipeline: &PgDump) -> Fetched {
        let dir = self
            .ctx
            .subdir(&format!("repository-{}", self.ctx.next_number()))
            .expect("a directory");
        let repository: Arc<dyn Repository> =
            Arc::new(LocalRepository::new("bench", dir).expect("a repository"));
        let origin = Origin {
            backup: "bench".to_owned(),
            component: "bench".to_owned(),
            taken_at: SystemClock.now(),
            engine: format!("postgres {}", self.server.version()),
            compression: pipeline.dump.compress.to_string(),
        };
        let mut writer = ArtifactWriter::new(&self.ctx, origin, vec![repository.clone()], None);
        pipeline
            .backup(&self.ctx, &self.source, &mut writer)
            .await
            .expect("a dump");
        let draft = writer.draft(&self.ctx);
        let manifest = writer.commit(&self.ctx, draft).await.expect("committed");
        let reader = ArtifactReader::new(manifest, repository, None);
        pipeline
            .fetch(&self.ctx, &reader, &self.source)
            .await
            .expect("fetched")
    }

    /// Times `work` on a new, empty database.
    async fn once(&self, work: &impl AsyncFn(&PostgresService)) -> Duration {
        let name = format!("target_{}", self.ctx.next_number());
        let target = PostgresService::new(self.server.clone(), &name, None);
        target.create(&self.ctx).await.expect("a target");
        let start = Instant::now();
        work(&target).await;
        let took = start.elapsed();
        let drop = self.server.tool("dropdb").args(["--force", &name]);
        let dropped = drop.run(&self.ctx).await;
        dropped.expect("dropdb runs").ok().expect("dropped");
        took
    }

    fn timed(&self, rounds: u64, work: impl AsyncFn(&PostgresService)) -> Duration {
        let once = |_| self.runtime.block_on(self.once(&work));
        (0..rounds).map(once).sum()
    }

    /// The same `pg_restore` as the restore phase has it, by hand.
    async fn by_hand(&self, dump: &Path, target: &PostgresService) {
        let command = self
            .server
            .tool("pg_restore")
            .args(["--exit-on-error", "--jobs=4", "--no-owner", "--no-acl"])
            .arg(format!("--dbname={}", target.database()))
            .arg(dump);
        let run = command.run(&self.ctx).await;
        run.expect("runs").ok().expect("restored");
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.runtime.block_on(async {
            self.server.remove(&self.ctx).await.expect("removed");
            if let Some(home) = self.home.take() {
                home.remove("local").await.expect("the directory is gone");
            }
        });
    }
}

fn size(bytes: u64) -> String {
    format!("{:.0} MB", bytes as f64 / 1e6)
}

fn group<'a>(
    criterion: &'a mut Criterion<GbPerMinute>,
    name: &str,
    bytes: u64,
) -> BenchmarkGroup<'a, GbPerMinute> {
    let mut group = criterion.benchmark_group(format!("{name}, {}", size(bytes)));
    group
        .throughput(Throughput::Bytes(bytes))
        .sample_size(10)
        .measurement_time(Duration::from_secs(10));
    group
}

fn restore(criterion: &mut Criterion<GbPerMinute>) {
    let bed = Bed::make();
    let mut group = group(criterion, "restore", bed.bytes);
    let custom = PgDump::new(Dump::of(DumpFormat::Custom, 9));
    let fetched = bed.runtime.block_on(bed.fetched(&custom));
    for jobs in [1, 2, 4] {
        let options = RestoreOptions {
            jobs,
            owner: false,
            acl: false,
            ..RestoreOptions::default()
        };
        group.bench_function(format!("custom, {jobs} jobs"), |bencher| {
            bencher.iter_custom(|rounds| {
                bed.timed(rounds, async |target| {
                    custom
                        .restore(&bed.ctx, &fetched, target, &options)
                        .await
                        .expect("restored");
                })
            });
        });
    }
    let dump = fetched
        .files
        .iter()
        .find(|(name, _)| name == "db.dump")
        .map(|(_, path)| path.clone())
        .expect("a dump");
    group.bench_function("pg_restore by hand, 4 jobs", |bencher| {
        bencher.iter_custom(|rounds| {
            bed.timed(rounds, async |target| bed.by_hand(&dump, target).await)
        });
    });
    let options = RestoreOptions {
        jobs: 4,
        owner: false,
        acl: false,
        ..RestoreOptions::default()
    };
    bed.runtime.block_on(in_turn(
        &format!("the restore phase of {}", size(bed.bytes)),
        10.0,
        ("redrill, with roles and properties, 4 jobs", async |_| {
            let restore = async |target: &PostgresService| {
                let restored = custom.restore(&bed.ctx, &fetched, target, &options);
                restored.await.expect("restored");
            };
            bed.once(&restore).await
        }),
        ("pg_restore by hand, 4 jobs", async |_| {
            bed.once(&async |target: &PostgresService| bed.by_hand(&dump, target).await)
                .await
        }),
    ));
    let plain = PgDump::new(Dump::of(DumpFormat::Plain, 6));
    let fetched = bed.runtime.block_on(bed.fetched(&plain));
    let options = RestoreOptions {
        jobs: 1,
        owner: false,
        acl: false,
        ..RestoreOptions::default()
    };
    group.bench_function("plain", |bencher| {
        bencher.iter_custom(|rounds| {
            bed.timed(rounds, async |target| {
                plain
                    .restore(&bed.ctx, &fetched, target, &options)
                    .await
                    .expect("restored");
            })
        });
    });
    group.finish();
    let mut group = self::group(criterion, "fingerprint", bed.bytes);
    group.bench_function("content and catalogue", |bencher| {
        bencher.iter(|| {
            bed.runtime
                .block_on(bed.source.observe(&bed.ctx))
                .expect("observed")
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(GbPerMinute(WallTime));
    targets = restore
}
criterion_main!(benches);
