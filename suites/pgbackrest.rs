//! pgBackRest against real PostgreSQL servers: full, differential and incremental backups, recovery to a moment, and
//! repositories that lack something, are damaged, or are another cluster's.
//!
//! One source is backed up three times and writes on, a restore point and several segments long. Every test recovers from
//! a copy of that repository, damaged in its own way, onto a server of its own. pgBackRest runs beside local servers only,
//! whatever services are asked for; where it or they are missing every test is ignored, with that reason, and with `REDRILL_REQUIRE_SERVICES` that is a
//! failure.

#[path = "pgbackrest/bad_days.rs"]
mod bad_days;
#[path = "pgbackrest/good_days.rs"]
mod good_days;
#[path = "pgbackrest/lab.rs"]
mod lab;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use tokio::sync::OnceCell;

use lab::Lab;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Each test starts servers of its own.
    arguments.test_threads.get_or_insert(1);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let runtime = Arc::new(runtime);
    let home = tempfile::Builder::new()
        .prefix("redrill-pgbackrest-")
        .tempdir()
        .expect("a directory");
    let missing = lab::missing();
    if let Some(why) = &missing
        && std::env::var_os("REDRILL_REQUIRE_SERVICES").is_some()
    {
        panic!("services are required: {why}");
    }
    let lab: Arc<OnceCell<Result<Lab, String>>> = Arc::default();
    let path = home.path().to_owned();

    let mut trials = Vec::new();
    macro_rules! trials {
        ($($module:ident::$test:ident),+ $(,)?) => {$({
            let (runtime, lab, path) = (runtime.clone(), lab.clone(), path.clone());
            let trial = Trial::test(stringify!($test), move || {
                runtime.block_on(async {
                    let lab = lab.get_or_init(|| async {
                        Lab::set_up(&path).await.map_err(|error| error.to_string())
                    });
                    let lab = lab.await.as_ref().map_err(Failed::from)?;
                    let done = $module::$test(lab).await;
                    lab.clear().await?;
                    done
                })
            });
            let why = missing.clone();
            trials.push(trial.with_ignored_flag(why.is_some()).with_kind(why.unwrap_or_default()));
        })+};
    }
    trials![
        good_days::everything_comes_back_from_a_full_a_differential_and_an_incremental_backup,
        good_days::recovery_stops_at_an_lsn_a_time_a_name_and_the_end_of_the_backup,
        good_days::an_encrypted_repository_in_s3_gives_the_same,
        good_days::expired_backups_are_artifacts_no_longer,
        good_days::a_recovered_server_archives_on_and_the_fork_is_followed,
        bad_days::a_deleted_segment_is_found_and_stops_recovery,
        bad_days::an_altered_segment_is_found_and_stops_recovery,
        bad_days::a_segment_with_the_content_of_another_is_not_replayed,
        bad_days::a_truncated_and_a_missing_file_are_found_and_refused,
        bad_days::a_repository_of_another_cluster_and_an_empty_one_are_refused,
        bad_days::another_passphrase_opens_nothing,
        bad_days::an_archiver_that_stores_nothing_is_noticed,
        bad_days::a_damaged_page_of_the_source_fails_the_backup,
        bad_days::an_s3_server_that_dies_in_mid_replay_stops_recovery_and_nothing_is_called_lost,
        bad_days::a_target_outside_of_what_is_archived_is_refused,
    ];
    let conclusion = libtest_mimic::run(&arguments, trials);
    if let Some(Ok(lab)) = lab.get() {
        runtime
            .block_on(lab.tear_down())
            .expect("everything that was started is removed");
    }
    conclusion.exit_code()
}
