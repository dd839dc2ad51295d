//! Recoveries that must not pass: through the binary, on suites of a few lines, against a local Postgres. Where there is none
//! every test is ignored, and fails where services are required (`REDRILL_REQUIRE_SERVICES=1`).

use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use serde_json::Value;

#[path = "recoveries/copies.rs"]
mod copies;
#[path = "recoveries/ended.rs"]
mod ended;
#[path = "recoveries/picked.rs"]
mod picked;
#[path = "recoveries/together.rs"]
mod together;

use copies::{
    a_rehearsal_takes_a_dump_a_day_and_stores_it_again,
    a_server_on_a_copy_holds_what_was_kept_and_shares_nothing_with_another,
    a_server_with_a_tablespace_is_not_kept_and_goes_on,
    drills_that_begin_with_the_same_data_seed_it_once,
};
use ended::{
    a_killed_postgres_leaves_no_shared_memory,
    a_killed_postgres_leaves_no_shared_memory_where_root_may_not_look_into_it,
};
use picked::{
    a_dump_is_taken_where_the_log_ends_before_it_or_has_a_gap_and_else_the_log,
    a_dump_of_the_damage_is_red_although_it_answers_every_question,
    the_last_dump_before_the_damage_is_found_and_each_that_was_left_is_told,
    the_newest_good_artifact_is_taken_from_a_nearer_repository_before_an_older_one_is,
};
use together::two_components_are_recovered_at_the_same_time;

const DB: &str = r#"
[component.db]
kind = "postgres"
seed = "seed.sql"
settings = { wal_segment_size = "1MB" }
[[component.db.smoke]]
name = "numbers without a gap"
ask = "select max(n) - count(*) from public.numbers"
expect = "0"
[backup.dump]
schedule = "0 * * * *"
[backup.base]
schedule = "0 * * * *"
method = "pg-basebackup"
"#;

const SEED: &str =
    "create table numbers as select n, md5(n::text) as word from generate_series(1, 5000) as n;
alter table numbers add primary key (n);";

/// Drills one scenario, and gives back the exit code and the record of its drill.
fn drill(scenario: &str) -> Result<(Option<i32>, Value), Failed> {
    drill_of(&format!("{DB}[scenario.s]\n{scenario}\n"), SEED)
}

/// Drills the suite of one drill, or the last one of several.
fn drill_of(text: &str, seed: &str) -> Result<(Option<i32>, Value), Failed> {
    let (code, record) = run_of(text, seed)?;
    let last = record["drills"].as_array().and_then(|all| all.last());
    Ok((code, last.cloned().unwrap_or_default()))
}

/// Runs a suite, and gives back the exit code and the record. Nothing of the run is left but its report.
fn run_of(text: &str, seed: &str) -> Result<(Option<i32>, Value), Failed> {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::Builder::new().prefix("rdrec").tempdir()?;
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))?;
    let suite = dir.path().join("mine.toml");
    std::fs::write(&suite, text)?;
    std::fs::write(dir.path().join("seed.sql"), seed)?;
    let out = dir.path().join("reports");
    let output = Command::new(env!("CARGO_BIN_EXE_redrill"))
        .args(["drill", "--services", "local", "--quiet", "--out"])
        .args([&out, &suite])
        .env("TMPDIR", dir.path())
        .output()?;
    let mut records = std::fs::read_dir(&out)?
        .filter_map(|run| Some(run.ok()?.path().join("record.json")))
        .filter(|record| record.is_file());
    let Some(record) = records.next() else {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    };
    let record = std::fs::read(record)?;
    let left = std::fs::read_dir(dir.path())?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .find(|name| name.starts_with("redrill-"));
    assert_eq!(left, None, "left behind");
    Ok((output.status.code(), serde_json::from_slice(&record)?))
}

/// The messages of the findings of one kind.
fn said(drill: &Value, kind: &str) -> Vec<String> {
    let checks = drill["checks"].as_array().into_iter().flatten();
    let findings = checks.flat_map(|check| check["findings"].as_array().into_iter().flatten());
    findings
        .filter(|finding| finding["kind"] == kind)
        .filter_map(|finding| Some(finding["message"].as_str()?.to_owned()))
        .collect()
}

fn a_database_of_which_no_emergency_backup_can_be_taken_is_not_dropped() -> Result<(), Failed> {
    let (code, drill) = drill(
        "strike = [{ fault = \"corrupt-heap-page\" }]\nrecover = [\"dump\"]\nmode = \"replace\"\nat = \"20m after dump\"",
    )?;
    assert_eq!(code, Some(1), "{drill:#}");
    let said = said(&drill, "restore-failed");
    let refused = said
        .iter()
        .any(|words| words.contains("is not dropped without one"));
    assert!(refused, "{said:?}");
    let steps = drill["steps"].to_string();
    assert!(!steps.contains("drop database"), "{steps}");
    Ok(())
}

fn the_end_of_the_log_brings_a_delete_back_and_is_red() -> Result<(), Failed> {
    let scenario = |target: &str| {
        format!(
            "strike = [{{ fault = \"rows-deleted\" }}]\nrecover = [\"base\"]\nat = \"20m after base\"\n\
             restore = {{ target = {target} }}"
        )
    };
    let (code, drilled) = drill(&scenario("\"end-of-wal\""))?;
    assert_eq!(code, Some(1), "{drilled:#}");
    let counts = said(&drilled, "count-differs").join(" ");
    assert!(
        counts.contains("public.numbers has 0, expected 5000"),
        "{counts}"
    );
    for target in [
        "\"before-strike\"",
        "{ before-strike = \"lsn\" }",
        "{ before-strike = \"name\" }",
    ] {
        let (code, drilled) = drill(&scenario(target))?;
        assert_eq!(code, Some(0), "{target}: {drilled:#}");
    }
    Ok(())
}

fn when_no_artifact_is_good_the_recovery_fails_and_says_why_each_was_left() -> Result<(), Failed> {
    let (code, drill) = drill(
        "strike = [{ fault = \"rows-deleted\" }]\nrecover = [\"base\"]\npick = \"newest-good\"\nunnoticed = 1\n\
         at = \"20m after base\"",
    )?;
    // Replayed to its end, the log deletes the rows again, whatever base backup it is replayed onto.
    assert_eq!(code, Some(1), "{drill:#}");
    assert_eq!(said(&drill, "artifact-skipped").len(), 2, "{drill:#}");
    let failed = said(&drill, "restore-failed").join(" ");
    assert!(failed.contains("numbers without a gap"), "{failed}");
    Ok(())
}

/// What one artifact left in it is not there when the next one is restored.
fn a_bucket_whose_newest_copies_are_no_good_is_emptied_before_the_next_is_tried()
-> Result<(), Failed> {
    let (code, drill) = drill_of(
        "[component.media]
kind = \"bucket\"
bucket = \"media\"
seed = { objects = 30 }
[[component.media.smoke]]
name = \"more than there ever was\"
ask = \"count\"
expect = { min = 1000 }
[backup.mirror]
component = \"media\"
method = \"bucket-sync\"
schedule = \"0 * * * *\"
[scenario.s]
strike = { fault = \"bucket-deleted\" }
at = \"20m after mirror\"
pick = \"newest-good\"
",
        "",
    )?;
    assert_eq!(code, Some(1), "{drill:#}");
    let skipped = said(&drill, "artifact-skipped");
    assert_eq!(skipped.len(), 1, "{drill:#}");
    assert!(skipped[0].contains("more than there ever was"), "{drill:#}");
    let failed = said(&drill, "restore-failed").join(" ");
    assert!(failed.contains("more than there ever was"), "{failed}");
    assert_eq!(said(&drill, "target-not-empty"), Vec::<String>::new());
    Ok(())
}

/// A backup of the production size takes longer than the one that is drilled, and its data are exposed for as long: by that
/// it misses an objective of its period, which is an error where no other moment is struck and else a warning.
fn the_worst_moment_lies_as_late_as_the_next_backup_takes_at_the_production_size()
-> Result<(), Failed> {
    let seed = "create table numbers as select n, md5(n::text) as word
from generate_series(1, (600000 * :scale)::integer) as n;";
    let suite = "[component.db]
kind = \"postgres\"
seed = \"seed.sql\"
production_size = \"SIZE\"
[backup.dump]
schedule = \"0 * * * *\"
[scenario.s]
strike = { fault = \"server-lost\" }
at = \"worst\"
rpo = \"1h\"
rto = \"1d\"
";
    let stated = suite.replace("\"worst\"", "[\"20m after dump\", \"worst\"]");
    let (missed, warned) = ("rpo-missed", "worst-case-beyond-objective");
    for (suite, size, (least, most), code, kind) in [
        (suite, "10 MB", (3_600.0, 3_660.0), Some(1), missed),
        (&stated, "10 GB", (3_660.0, 7_200.0), Some(0), warned),
    ] {
        let (ended, drill) = drill_of(&suite.replace("SIZE", size), seed)?;
        assert_eq!(ended, code, "{size}: {drill:#}");
        let window = drill["rpo"]["window_seconds"].as_f64();
        let window = window.ok_or_else(|| Failed::from(format!("{drill:#}")))?;
        assert!((least..most).contains(&window), "{size}: {window}");
        let other = if kind == missed { warned } else { missed };
        assert_eq!(
            (said(&drill, kind).len(), said(&drill, other).len()),
            (1, 0)
        );
        assert!(!said(&drill, "schedule-cannot-keep-rpo").is_empty());
    }
    Ok(())
}

/// The whole server is lost.
const LOST: &str = r#"
[backup.dump]
schedule = "0 * * * *"
[scenario.s]
strike = { fault = "server-lost" }
at = "20m after dump"
rpo = "1h"
rto = "15m"
"#;

fn a_sequence_that_lost_its_state_is_red_although_it_collides_with_nothing() -> Result<(), Failed> {
    let suite = format!(
        "[component.db]\nkind = \"postgres\"\nseed = \"seed.sql\"\n{LOST}\
         [[detection]]\nfault = \"A9\"\ncaught_by = \"sequences\"\nfinding = \"sequence-state-differs\"\n"
    );
    let seed = "create schema shop;
create table shop.credits (id serial primary key, amount int);
insert into shop.credits select -n, n from generate_series(1, 50) as n;
select setval('shop.credits_id_seq', 100);";
    let (code, drilled) = drill_of(&suite, seed)?;
    assert_eq!(code, Some(0), "{drilled:#}");
    let caught = drilled["detection"]["outcomes"].to_string();
    assert!(
        caught.contains("shop.credits_id_seq hands out 1 next, in the source it was 101"),
        "{caught}"
    );
    Ok(())
}

fn the_newest_good_base_backup_has_no_index_that_misses_rows() -> Result<(), Failed> {
    let suite = "[component.db]\nkind = \"postgres\"\nseed = \"seed.sql\"\nsettings = { wal_segment_size = \"1MB\" }\n\
         [backup.base]\nschedule = \"0 * * * *\"\nmethod = \"pg-basebackup\"\n\
         [scenario.s]\nstrike = { fault = \"server-lost\" }\nat = \"20m after base\"\npick = \"newest-good\"\n\
         [[detection]]\nfault = \"B15\"\ncaught_by = \"restore\"\nfinding = \"restore-failed\"\nsays = \"customers_by_name\"\n";
    let seed = "create schema shop;
create table shop.customers (id serial primary key, name text);
insert into shop.customers (name) select md5(n::text) from generate_series(1, 500) as n;
create index customers_by_name on shop.customers (lower(name));";
    // Drilled with nothing planted first, which passes.
    let (code, drilled) = drill_of(suite, seed)?;
    assert_eq!(code, Some(0), "{drilled:#}");
    let caught = drilled["detection"]["outcomes"].to_string();
    assert!(
        caught.contains("restored, ") && caught.contains("customers_by_name"),
        "{caught}"
    );
    Ok(())
}

/// The network to the farther one is cut in the middle of the recovery, which then costs nothing but the time.
fn a_repository_out_of_reach_is_left_for_a_nearer_one_and_that_is_said() -> Result<(), Failed> {
    let suite = "[component.db]\nkind = \"postgres\"\nseed = \"seed.sql\"\nsettings = { wal_segment_size = \"1MB\" }
[repository.near]
kind = \"local\"
[repository.far]
kind = \"s3\"
bucket = \"far\"
[backup.base]
schedule = \"0 * * * *\"
method = \"pg-basebackup\"
repository = [\"near\", \"far\"]
[scenario.s]
strike = { fault = \"rows-deleted\" }
restore = { target = \"before-strike\" }
at = \"20m after base\"
[[detection]]
fault = \"C5\"
caught_by = \"restore\"
finding = \"restore-failed\"
";
    let (code, drilled) = drill_of(suite, SEED)?;
    // Nothing failed because of it.
    assert_eq!(code, Some(1), "{drilled:#}");
    let outcomes = &drilled["detection"]["outcomes"];
    let restore = outcomes
        .as_array()
        .and_then(|all| all.iter().find(|it| it["id"] == "restore"));
    let restore = restore.ok_or_else(|| Failed::from(format!("{drilled:#}")))?;
    assert_eq!(restore["verdict"], "passed", "{drilled:#}");
    let said = restore.to_string();
    for words in [
        "repository-skipped",
        "base in far",
        "cannot be reached",
        "nearer repository",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    Ok(())
}

fn a_redis_that_defines_nothing_drills_green() -> Result<(), Failed> {
    let suite = format!("[component.cache]\nkind = \"redis\"\n{LOST}");
    let (code, drilled) = drill_of(&suite, "")?;
    assert_eq!(code, Some(0), "{drilled:#}");
    Ok(())
}

/// The steps of a recovery, each as `phase component: command`.
fn steps(drill: &Value) -> Vec<String> {
    let all = drill["steps"].as_array().into_iter().flatten();
    let word = |step: &Value, key: &str| step[key].as_str().unwrap_or_default().to_owned();
    let told = all.map(|step| {
        let of = ["phase", "component", "command"].map(|key| word(step, key));
        format!("{} {}: {}", of[0], of[1], of[2])
    });
    let parts = ["provision", "fetch", "restore", "ready", "verify", "swap"];
    told.filter(|step| {
        parts
            .iter()
            .any(|part| step.starts_with(&format!("{part} ")))
    })
    .collect()
}

/// Every one of these is a step, in this order.
fn in_order(steps: &[String], wanted: &[&str]) {
    let mut rest = steps.iter();
    for words in wanted {
        let found = rest.any(|step| step.starts_with(words));
        assert!(
            found,
            "{words} is not there, or not in its place: {steps:#?}"
        );
    }
}

fn a_recovery_tells_every_step_from_its_place_to_the_read_that_ends_it() -> Result<(), Failed> {
    let beside =
        "strike = [{ fault = \"table-dropped\" }]\nrecover = [\"dump\"]\nat = \"20m after dump\"";
    let (code, drilled) = drill(beside)?;
    assert_eq!(code, Some(0), "{drilled:#}");
    let question = "--command=select max(n) - count(*) from public.numbers'";
    in_order(
        &steps(&drilled),
        &[
            "provision db: psql --dbname=postgres '--command=create database \"db_new\" template template0'",
            "fetch db: dd of=",
            "restore db: pg_restore ",
            "ready db: ask db: it holds ",
            &format!("verify db: psql --dbname=db_new '{question}"),
            "swap db: psql --dbname=postgres '--command=alter database \"db\" rename to \"db_corrupted\"; ",
            &format!("swap db: psql --dbname=db '{question}"),
            "swap db: ask db: it holds ",
        ],
    );

    let suite = r#"
[component.cache]
kind = "redis"
seed = { keys = 100 }
[[component.cache.smoke]]
ask = "-n 5 GET odd:same-name"
expect = "database 5"
[component.media]
kind = "bucket"
bucket = "media"
seed = { objects = 30 }
[[component.media.smoke]]
ask = "count"
expect = { min = 21 }
[[component.media.smoke]]
ask = "empty.txt"
expect = "0"
[backup.snapshots]
component = "cache"
method = "redis-rdb"
schedule = "0 * * * *"
[backup.mirror]
component = "media"
method = "bucket-sync"
schedule = "0 * * * *"
[scenario.s]
strike = [{ component = "cache", fault = "server-lost" }, { component = "media", fault = "bucket-deleted" }]
at = "20m after snapshots"
"#;
    let (code, drilled) = drill_of(suite, "")?;
    assert_eq!(code, Some(0), "{drilled:#}");
    let steps = steps(&drilled);
    in_order(
        &steps,
        &[
            "provision cache: start Redis ",
            "fetch cache: dd of=",
            "restore cache: restart redis-server",
            "ready cache: ask cache: it holds ",
            "verify cache: redis-cli -n 5 GET odd:same-name",
            "swap cache: redis-cli -n 5 GET odd:same-name",
            "swap cache: ask cache: it holds ",
        ],
    );
    in_order(
        &steps,
        &[
            "provision media: create bucket media",
            "restore media: ",
            "ready media: ask media: it holds ",
            "verify media: count the objects of bucket media",
            "verify media: read empty.txt of bucket media to its end",
            "swap media: count the objects of bucket media",
            "swap media: ask media: it holds ",
        ],
    );
    Ok(())
}

fn has_postgres() -> bool {
    std::fs::read_dir("/usr/lib/postgresql").is_ok_and(|mut found| found.next().is_some())
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    macro_rules! trials {
        ($($test:ident),+ $(,)?) => {vec![$(
            trials!(@ stringify!($test), || $test().map(|()| Completion::Completed))
        ),+]};
        (@ $name:expr, $test:expr) => {
            Trial::ignorable_test($name, || {
                if has_postgres() {
                    return $test();
                }
                if std::env::var_os("REDRILL_REQUIRE_SERVICES").is_some() {
                    return Err("there is no local Postgres".into());
                }
                Ok(Completion::ignored_with("there is no local Postgres"))
            })
        };
    }
    let mut trials = trials![
        a_database_of_which_no_emergency_backup_can_be_taken_is_not_dropped,
        the_end_of_the_log_brings_a_delete_back_and_is_red,
        when_no_artifact_is_good_the_recovery_fails_and_says_why_each_was_left,
        the_last_dump_before_the_damage_is_found_and_each_that_was_left_is_told,
        a_dump_of_the_damage_is_red_although_it_answers_every_question,
        a_dump_is_taken_where_the_log_ends_before_it_or_has_a_gap_and_else_the_log,
        the_newest_good_artifact_is_taken_from_a_nearer_repository_before_an_older_one_is,
        two_components_are_recovered_at_the_same_time,
        a_sequence_that_lost_its_state_is_red_although_it_collides_with_nothing,
        the_newest_good_base_backup_has_no_index_that_misses_rows,
        a_bucket_whose_newest_copies_are_no_good_is_emptied_before_the_next_is_tried,
        a_repository_out_of_reach_is_left_for_a_nearer_one_and_that_is_said,
        a_redis_that_defines_nothing_drills_green,
        the_worst_moment_lies_as_late_as_the_next_backup_takes_at_the_production_size,
        a_recovery_tells_every_step_from_its_place_to_the_read_that_ends_it,
        a_server_on_a_copy_holds_what_was_kept_and_shares_nothing_with_another,
        a_server_with_a_tablespace_is_not_kept_and_goes_on,
        a_killed_postgres_leaves_no_shared_memory,
        drills_that_begin_with_the_same_data_seed_it_once,
        a_rehearsal_takes_a_dump_a_day_and_stores_it_again,
    ];
    trials.push(trials!(
        @ "a_killed_postgres_leaves_no_shared_memory_where_root_may_not_look_into_it",
        a_killed_postgres_leaves_no_shared_memory_where_root_may_not_look_into_it
    ));
    libtest_mimic::run(&arguments, trials).exit_code()
}
