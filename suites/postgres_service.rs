//! What redrill reads back of a PostgreSQL database, and what its dumps bring back, against a real server.
//!
//! Every kind of change is a test of its own, with a healthy twin that touches the same thing and must not be seen.
//! Without PostgreSQL on the machine every test is ignored, with that reason.

#[path = "postgres_service/answers.rs"]
mod answers;
#[path = "postgres_service/cases.rs"]
mod cases;
mod contained;
#[path = "postgres_service/deltacrown.rs"]
mod deltacrown;
#[path = "postgres_service/dumps.rs"]
mod dumps;
#[path = "postgres_service/formats.rs"]
mod formats;
#[path = "postgres_service/kinds.rs"]
mod kinds;
#[path = "postgres_service/server.rs"]
mod server;
#[path = "postgres_service/versions.rs"]
mod versions;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use libtest_mimic::{Arguments, Failed, Trial};
use redrill::clock::Stopwatch;
use redrill::context::{Context, RunId};
use redrill::error::{Error, Result};
use redrill::evidence::Observation;
use redrill::pipeline::pg_dump::PgDump;
use redrill::pipeline::{Fetched, Pipeline};
use redrill::service::postgres::{PostgresService, properties};
use redrill::service::{Running, Service};
use redrill::suite::{DumpFormat, RestoreOptions};
use tokio::sync::{OnceCell, RwLock};
use tokio_util::sync::CancellationToken;

use cases::{CASES, CLUSTER_CASES, Case};
use server::{Disk, TestServer};

/// The system that the cases change.
const SYSTEM: &str = "suites/postgres_service/system.sql";

/// Why a test cannot run here.
const NO_SERVER: &str = "no PostgreSQL server is installed";

/// What all tests share: one server, and one seeded database to copy.
struct Lab {
    ctx: Context,
    bin: PathBuf,
    dir: PathBuf,
    server: OnceCell<Arc<TestServer>>,
    seeded: OnceCell<Result<Observation, String>>,
    /// Changes of the whole cluster are alone on the server.
    alone: RwLock<()>,
    names: AtomicU32,
}

impl Lab {
    async fn server(&self) -> Result<Arc<TestServer>> {
        let start =
            || TestServer::start(&self.ctx, &self.bin, self.dir.join("server"), Disk::Quick);
        self.server.get_or_try_init(start).await.cloned()
    }

    async fn database(&self, name: &str, seed: Option<PathBuf>) -> Result<PostgresService> {
        Ok(PostgresService::new(self.server().await?, name, seed))
    }

    /// A service on a database that does not exist yet.
    async fn fresh(&self, seed: Option<PathBuf>) -> Result<PostgresService> {
        let number = self.names.fetch_add(1, Ordering::Relaxed);
        self.database(&format!("Case {number}"), seed).await
    }

    async fn sql(&self, database: &str, sql: &str) -> Result<()> {
        let server = self.server().await?;
        let psql =
            server
                .tool("psql")
                .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "--dbname", database]);
        let sql = sql.replace(":db", &format!("\"{database}\""));
        let script = format!("set allow_system_table_mods = on;\n{};\n", sql);
        psql.feed(&self.ctx, script.as_bytes())
            .await?
            .ok()
            .map(drop)
    }

    /// What the seeded system looks like; `seeded` is its database.
    async fn seeded(&self) -> Result<&Observation> {
        let seed = async {
            let service = self.database("seeded", Some(root().join(SYSTEM))).await?;
            service.create(&self.ctx).await?;
            service.seed(&self.ctx, 1.0, 42).await?;
            service.observe(&self.ctx).await
        };
        let seeded = self
            .seeded
            .get_or_init(|| async { seed.await.map_err(|error| error.to_string()) });
        seeded.await.as_ref().map_err(Error::failed)
    }

    /// A copy of the seeded database with its properties.
    async fn copy(&self) -> Result<PostgresService> {
        self.seeded().await?;
        let copy = self.fresh(None).await?;
        let create = format!(
            "create database {} template seeded",
            quoted(copy.database())
        );
        // Two copies at once would disturb each other: the template must not be in use.
        static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let turn = ONE_AT_A_TIME.lock().await;
        self.sql("postgres", &create).await?;
        drop(turn);
        let server = self.server().await?;
        let script = properties::script(&self.ctx, &*server, "seeded").await?;
        let psql = server.tool("psql").args([
            "-X",
            "-q",
            "-v",
            "owner=true",
            "-v",
            "acl=true",
            "--dbname",
        ]);
        psql.arg(copy.database())
            .feed(&self.ctx, script.as_bytes())
            .await?
            .ok()?;
        Ok(copy)
    }

    async fn check(&self, case: &Case) -> Result<(), Failed> {
        let before = self.seeded().await?;
        let copy = self.copy().await?;
        for (sql, seen) in [(case.twin, &[][..]), (case.change, case.seen)] {
            self.sql(copy.database(), sql).await?;
            let after = copy.observe(&self.ctx).await?;
            same(
                &differences(before, &after),
                seen.iter().map(|key| (*key).to_owned()),
            )
            .map_err(|error| format!("after {sql}: {error}"))?;
        }
        let name = quoted(copy.database());
        let drop =
            format!("alter database {name} is_template false; drop database {name} with (force)");
        Ok(self.sql("postgres", &drop).await?)
    }

    /// Dumps `source` and restores it into `target`.
    async fn round_trip(
        &self,
        pipeline: &PgDump,
        source: &PostgresService,
        target: &PostgresService,
        options: &RestoreOptions,
    ) -> Result<f64> {
        let (from, to) = (source.server(), target.server());
        let properties = properties::script(&self.ctx, &*from, source.database()).await?;
        let streams: [(&str, redrill::service::Reading); 3] = [
            (
                pipeline.file_name(),
                pipeline.stream(&self.ctx, &*from, source.database())?,
            ),
            ("globals.sql", pipeline.globals(&self.ctx, &*from)?),
            (
                "database.sql",
                Box::new(std::io::Cursor::new(properties.into_bytes())),
            ),
        ];
        let mut fetched = Fetched::default();
        for (name, stream) in streams {
            let path = pipeline.stage(&self.ctx, &*to, name, stream).await?;
            fetched.files.push((name.to_owned(), path));
        }
        target.create(&self.ctx).await?;
        let watch = Stopwatch::start();
        pipeline
            .restore(&self.ctx, &fetched, target, options)
            .await?;
        Ok(watch.seconds())
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn quoted(name: &str) -> String {
    redrill::service::postgres::session::identifier(name)
}

/// Everything in which two observations differ, as `kind what`.
fn differences(before: &Observation, after: &Observation) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for name in before.parts.keys().chain(after.parts.keys()) {
        if before.parts.get(name) != after.parts.get(name) {
            found.insert(format!("content {name}"));
        }
    }
    for key in before.catalogue.keys().chain(after.catalogue.keys()) {
        if before.catalogue.get(key) != after.catalogue.get(key) {
            let special = [
                "owner ",
                "grant ",
                "default-grant ",
                "comment ",
                "option ",
                "setting ",
                "password ",
            ];
            let kind = if special.iter().any(|kind| key.starts_with(kind)) {
                ""
            } else {
                "definition "
            };
            found.insert(format!("{kind}{key}"));
        }
    }
    for fact in before.sequences.iter().chain(&after.sequences) {
        let of = |all: &Observation| {
            let mut states = BTreeSet::new();
            for other in all.sequences.iter().filter(|other| other.name == fact.name) {
                states.insert((other.next, other.increment, other.column.clone()));
            }
            states
        };
        if of(before) != of(after) {
            found.insert(format!("sequence {}", fact.name));
        }
    }
    for (name, words) in before.unreadable.iter().chain(&after.unreadable) {
        found.insert(format!("unreadable {name}: {words}"));
    }
    found
}

fn same(
    found: &BTreeSet<String>,
    expected: impl IntoIterator<Item = String>,
) -> Result<(), String> {
    let expected: BTreeSet<String> = expected.into_iter().collect();
    if *found == expected {
        return Ok(());
    }
    let missed: Vec<_> = expected.difference(found).collect();
    let wrong: Vec<_> = found.difference(&expected).collect();
    Err(format!("missed {missed:#?}, wrongly seen {wrong:#?}"))
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Roles belong to the cluster: a restore of them beside a case that changes them would be seen by both.
    arguments.test_threads = Some(1);
    let bin = TestServer::installation();
    let missing = bin.is_none();
    // Ignored where there is no server, and failed where services are required.
    let required = std::env::var_os("REDRILL_REQUIRE_SERVICES").is_some();
    let ignored = missing && !required;
    let is_there = move || match missing {
        true => Err(Failed::from(NO_SERVER)),
        false => Ok(()),
    };
    let runtime = Arc::new(
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .expect("a runtime"),
    );
    let home = tempfile::Builder::new()
        .prefix("redrill-postgres-")
        .tempdir()
        .expect("a directory");
    let dir = home.path().to_owned();
    let run = RunId::from_text("test");
    let ctx = Context::new(run, dir.clone(), dir.join("logs"), CancellationToken::new())
        .expect("a context");
    let lab = Arc::new(Lab {
        ctx,
        bin: bin.unwrap_or_default(),
        dir,
        server: OnceCell::new(),
        seeded: OnceCell::new(),
        alone: RwLock::new(()),
        names: AtomicU32::new(1),
    });

    let mut trials = Vec::new();
    /// Adds a test that shares the server with others.
    macro_rules! trial {
        ($name:expr, $ignored:expr, |$lab:ident| $work:expr) => {{
            let (runtime, lab) = (runtime.clone(), lab.clone());
            let trial = Trial::test($name, move || {
                is_there()?;
                runtime.block_on(async {
                    let $lab = &*lab;
                    let _shared = lab.alone.read().await;
                    $work.await
                })
            });
            trials.push(trial.with_ignored_flag(ignored || $ignored).with_kind(
                match (missing, $ignored) {
                    (true, _) => NO_SERVER,
                    (_, true) => "its script is not here",
                    _ => "",
                },
            ));
        }};
        ($module:ident::$test:ident) => {
            trial!(stringify!($test), false, |lab| $module::$test(lab))
        };
    }
    for case in CASES {
        trial!(format!("seen: {}", case.name), false, |lab| lab.check(case));
    }
    for (case, undo) in CLUSTER_CASES {
        let (runtime, lab) = (runtime.clone(), lab.clone());
        let trial = Trial::test(format!("seen: {}", case.name), move || {
            is_there()?;
            runtime.block_on(async {
                let _alone = lab.alone.write().await;
                let checked = lab.check(case).await;
                lab.sql("postgres", undo).await?;
                checked
            })
        });
        let kind = if missing { NO_SERVER } else { "" };
        trials.push(trial.with_ignored_flag(ignored).with_kind(kind));
    }
    for (format, compress) in [
        (DumpFormat::Custom, 9),
        (DumpFormat::Custom, 0),
        (DumpFormat::Plain, 0),
        (DumpFormat::Plain, 6),
    ] {
        let name = format!("a_restored_dump_equals_its_source: {format:?}, compress {compress}");
        trial!(name, false, |lab| dumps::a_restored_dump_equals_its_source(
            lab, format, compress
        ));
    }
    for format in DumpFormat::ALL.map(|(_, format)| format) {
        let name = format!("any_format_comes_back_through_an_artifact: {format:?}");
        trial!(name, false, |lab| {
            formats::any_format_comes_back_through_an_artifact(lab, format)
        });
    }
    trial!(formats::definitions_and_rows_dumped_apart_make_the_whole_but_for_views_to_be_refreshed);
    trial!(formats::what_lies_in_a_tablespace_comes_back_onto_a_server_that_has_none_of_its_name);
    trial!(formats::chosen_tables_come_back_alone_and_one_that_is_not_there_is_an_error);
    trial!(formats::a_compression_that_the_server_is_too_old_for_is_named_with_its_version);
    trial!(versions::a_restricted_dump_is_refused_when_psql_is_too_old_for_it);
    trial!(dumps::owner_and_grants_are_lost_only_when_told_so);
    trial!(dumps::a_new_server_gets_the_roles_and_their_passwords_too);
    trial!(dumps::a_dump_without_a_table_is_seen);
    trial!(dumps::a_restore_without_post_data_is_seen);
    trial!(dumps::a_second_restore_over_the_first_is_an_error);
    trial!(dumps::an_artifact_is_read_through_and_restored_and_a_damaged_one_is_neither);
    trial!(dumps::a_cut_plain_dump_restores_nothing);
    trial!(dumps::a_failing_pg_dump_ends_its_stream_in_an_error);
    trial!(kinds::every_catalogue_of_the_server_is_read_or_left_out_for_a_reason);
    trial!(kinds::a_subscription_is_seen_in_all_its_ways_and_its_source_is_not_told);
    trial!(
        kinds::an_enabled_subscription_ties_what_came_back_to_others_and_a_disabled_one_does_not
    );
    trial!(answers::a_database_is_empty_until_something_is_put_in_it);
    trial!(answers::the_ledger_goes_on_after_a_crash_of_the_server);
    trial!(answers::a_damaged_page_is_a_symptom_and_makes_its_table_unreadable);
    trial!(answers::a_sound_cluster_is_called_sound_whatever_its_indexes_are_made_of_and_one_lost_row_is_told);
    trial!(answers::an_index_that_cannot_be_asked_is_named_and_one_that_should_have_answered_is_not_known_to_be_sound);
    trial!(answers::how_much_of_a_large_index_is_looked_at_goes_by_its_pages_and_is_said);
    trial!(
        answers::what_the_server_is_not_done_with_in_time_is_a_complaint_and_the_session_goes_on
    );
    trial!(answers::a_smoke_question_that_gets_no_single_value_does_not_hold);
    trial!(answers::a_question_shows_something_of_the_rows_also_by_a_function_and_never_by_none);
    trial!(answers::a_swap_takes_the_place_of_a_database_in_use);
    trial!(answers::an_error_in_a_seed_script_names_its_file_and_line);
    let shared = std::env::var_os("REDRILL_SHARED_DATA")
        .map_or_else(|| root().join("../shared/data"), PathBuf::from);
    let chinook = shared.join("Chinook_PostgreSql.sql");
    let chinook_is_here = chinook.exists();
    trial!(
        "a_script_made_for_a_database_of_its_own_seeds_ours",
        !chinook_is_here,
        |lab| {
            let chinook = chinook.clone();
            async move { dumps::a_script_made_for_a_database_of_its_own_seeds_ours(lab, &chinook).await }
        }
    );
    trial!(deltacrown::deltacrown_is_worth_restoring);
    trial!(deltacrown::the_same_seed_gives_deltacrown_the_same_bytes_and_another_one_others);
    trial!(deltacrown::deltacrown_comes_back_whole);

    /// Adds a test that needs two versions of the server: they are had side by side in containers.
    macro_rules! of_two_versions {
        ($test:ident) => {{
            let (runtime, lab) = (runtime.clone(), lab.clone());
            let images = &["redrill/postgres:15", "redrill/postgres:17"];
            trials.push(contained::trial(stringify!($test), images, move || {
                runtime.block_on(versions::$test(&lab))
            }));
        }};
    }
    of_two_versions!(a_dump_goes_to_a_newer_server_and_never_to_an_older_one);
    of_two_versions!(what_a_newer_client_wrote_is_refused_by_name);

    let conclusion = libtest_mimic::run(&arguments, trials);
    if let Some(server) = lab.server.get() {
        let stopped = runtime.block_on(server.remove(&lab.ctx));
        stopped.expect("the server stops");
    }
    conclusion.exit_code()
}
