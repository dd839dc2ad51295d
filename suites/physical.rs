//! Base backups, archived WAL and recovery to a moment, against real PostgreSQL servers: good days and bad ones.
//!
//! One source is backed up once and writes on, a restore point and several segments long. Every test recovers from a copy
//! of that repository, damaged in its own way, onto a server of its own. Services are those of `REDRILL_SERVICES`
//! (`local` or `containers`); where there are none every test is ignored, with that reason, and with
//! `REDRILL_REQUIRE_SERVICES` that is a failure.

#[path = "physical/bad_days.rs"]
mod bad_days;
#[path = "physical/good_days.rs"]
mod good_days;
#[path = "physical/killed.rs"]
mod killed;
#[path = "physical/lab.rs"]
mod lab;
mod mounts;
#[path = "physical/source_side.rs"]
mod source_side;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use tokio::sync::OnceCell;

use lab::{Lab, NoSmallDisks};

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
        .prefix("redrill-physical-")
        .tempdir()
        .expect("a directory");
    let missing = runtime.block_on(lab::missing(home.path()));
    let required = std::env::var_os("REDRILL_REQUIRE_SERVICES").is_some();
    if let Some(why) = &missing
        && required
    {
        panic!("services are required: {why}");
    }
    // What a test lacks here, and whether that fails it.
    let nothing = missing.map(|why| (why, false));
    let lacks = |other: Option<(String, bool)>| nothing.clone().or(other);
    // Where services are required, a machine without small disks fails their tests.
    let no_small_disks = lab::no_small_disks(home.path()).map(|none| match none {
        NoSmallDisks::Lacking(why) => (why, required),
        NoSmallDisks::Never(why) => (why.to_owned(), false),
    });
    // So does a local server without a job scheduler; the images have none.
    let no_scheduler = lab::no_scheduler().map(|(why, local)| (why.to_owned(), required && local));
    let ends = lab::a_container_ends_with_its_server().map(|why| (why.to_owned(), false));
    let lab: Arc<OnceCell<Result<Lab, String>>> = Arc::default();
    let path = home.path().to_owned();

    let mut trials = Vec::new();
    macro_rules! trials {
        ($lacking:expr => $($module:ident::$test:ident),+ $(,)?) => {
            let (why, fails) = $lacking.unzip();
            $({
            let (runtime, lab, path) = (runtime.clone(), lab.clone(), path.clone());
            let ignored = fails == Some(false);
            let (why, kind) = (why.clone(), why.clone().unwrap_or_default());
            let trial = Trial::test(stringify!($test), move || {
                if let Some(why) = why {
                    return Err(why.into());
                }
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
            trials.push(trial.with_ignored_flag(ignored).with_kind(kind));
            })+
        };
    }
    trials![lacks(None) =>
        good_days::a_provisioned_server_waits_for_its_disk,
        good_days::everything_archived_comes_back_and_the_server_is_its_own,
        good_days::recovery_stops_at_an_lsn_a_time_a_name_and_the_end_of_the_base_backup,
        good_days::an_encrypted_repository_in_s3_gives_the_same,
        good_days::a_base_backup_alone_is_read_through_and_a_damaged_one_is_noticed,
        good_days::pruning_takes_wal_with_the_oldest_base_backup_and_never_under_a_kept_one,
        good_days::a_recovered_server_archives_on_and_the_fork_is_followed,
        good_days::damage_that_no_query_shows_is_found_page_by_page,
        good_days::one_row_on_the_last_page_that_an_index_misses_is_told_whatever_its_kind,
        good_days::keys_that_a_unique_index_holds_twice_are_told_and_nulls_as_it_takes_them,
        good_days::a_damaged_page_of_a_database_that_lets_nobody_in_is_found,
        good_days::a_database_that_was_left_half_dropped_is_told_and_the_others_are_looked_at,
        good_days::what_ties_a_recovered_server_to_others_is_told_once_it_is_no_longer_cut,
        good_days::what_runs_the_jobs_of_its_source_is_not_preloaded_in_a_copy,
        bad_days::a_missing_segment_stops_recovery_and_says_what_is_lost,
        bad_days::a_short_and_an_altered_segment_stop_recovery,
        bad_days::a_segment_of_another_cluster_is_not_replayed,
        bad_days::an_archive_that_cannot_be_read_in_mid_recovery_stops_it,
        bad_days::an_s3_server_that_dies_in_mid_fetch_stops_recovery_and_nothing_is_called_lost,
        bad_days::a_window_of_minimal_wal_stops_recovery_and_says_what_is_lost,
        bad_days::a_target_before_the_end_of_the_base_backup_is_refused,
        bad_days::a_target_after_the_last_wal_is_refused,
        killed::a_source_killed_in_mid_backup_commits_nothing_and_the_next_backup_is_whole,
        killed::a_source_killed_before_and_in_archiving_loses_no_acknowledged_write,
        killed::a_server_killed_in_mid_replay_is_an_error_and_the_next_recovery_has_it_all,
        killed::a_source_killed_in_mid_dump_commits_nothing_and_the_next_dump_is_whole,
        killed::a_target_killed_in_mid_restore_says_so_and_the_next_restore_has_it_all,
        killed::a_server_killed_while_it_is_looked_at_is_never_taken_for_sound,
        killed::a_recovered_server_killed_before_it_takes_its_place_leaves_the_target_as_it_was,
        killed::a_server_killed_after_its_recovery_has_everything_and_what_was_written_since,
        source_side::the_archiver_is_idempotent_and_never_overwrites,
        source_side::a_repository_keeps_its_own_segment_against_another_cluster,
    ];
    trials![lacks(no_small_disks) =>
        bad_days::a_full_disk_at_the_target_is_said,
        bad_days::a_full_disk_in_mid_replay_is_said_and_nothing_is_called_lost,
        source_side::an_archiver_that_falls_behind_is_said,
    ];
    trials![lacks(no_scheduler) => good_days::a_job_scheduler_that_runs_in_the_recovered_server_is_told];
    trials![lacks(ends) => killed::a_recovery_takes_the_place_of_a_server_that_is_gone_by_then];
    let conclusion = libtest_mimic::run(&arguments, trials);
    if let Some(Ok(lab)) = lab.get() {
        runtime
            .block_on(lab.tear_down())
            .expect("everything that was started is removed");
    }
    conclusion.exit_code()
}
