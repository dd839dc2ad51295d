//! Redis as a service and its pipeline, against real servers: what goes in comes back, and every single change is
//! seen for what it is.
//!
//! They need a local Redis; without it the trials are ignored (they fail where services are required,
//! `REDRILL_REQUIRE_SERVICES=1`).

#[path = "redis_service/changes.rs"]
mod changes;
mod contained;
#[path = "redis_service/pipeline.rs"]
mod pipeline;
#[path = "redis_service/service.rs"]
mod service;
#[path = "redis_service/world.rs"]
mod world;

use std::process::{Command, ExitCode};
use std::sync::Arc;

use libtest_mimic::{Arguments, Completion, Trial};
use tokio::runtime::Runtime;

/// Why no server can be started here.
fn missing() -> Option<String> {
    match Command::new("redis-server").arg("--version").output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("no local Redis: redis-server: {}", output.status)),
        Err(error) => Some(format!("no local Redis: redis-server: {error}")),
    }
}

fn trial<Work: Future<Output = ()>>(
    runtime: &Arc<Runtime>,
    name: &'static str,
    lacks: fn() -> Option<String>,
    test: impl FnOnce() -> Work + Send + 'static,
) -> Trial {
    let runtime = runtime.clone();
    Trial::ignorable_test(name, move || match lacks() {
        Some(reason) if std::env::var_os("REDRILL_REQUIRE_SERVICES").is_some() => {
            Err(reason.into())
        }
        Some(reason) => Ok(Completion::ignored_with(reason)),
        None => {
            runtime.block_on(test());
            Ok(Completion::Completed)
        }
    })
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let runtime = Arc::new(runtime);
    let mut trials = Vec::new();
    /// Tests on a server of this machine, and those that run when asked for by `--ignored`.
    macro_rules! trials {
        ($lacks:expr; $($(#[ignore = $why:literal])? $module:ident::$test:ident),+ $(,)?) => {$({
            let name = concat!(stringify!($module), "::", stringify!($test));
            let trial = trial(&runtime, name, $lacks, $module::$test);
            $(let trial = trial.with_ignored_flag(true).with_kind($why);)?
            trials.push(trial);
        })+};
    }
    for case in changes::CASES {
        trials.push(trial(&runtime, case.name, missing, || case.is_seen()));
    }
    trials![missing;
        changes::a_changed_function_is_seen,
        changes::an_emptied_server_is_seen,
        changes::another_encoding_of_the_same_value_is_no_change,
        pipeline::what_was_backed_up_comes_back_on_another_server,
        pipeline::a_restored_user_gets_in_with_the_old_password,
        pipeline::a_key_whose_time_has_passed_rightly_stays_away,
        pipeline::a_snapshot_that_holds_only_elapsed_keys_restores_to_an_empty_server,
        pipeline::a_server_that_comes_up_empty_on_a_snapshot_with_keys_is_an_error,
        pipeline::a_save_that_fails_is_an_error_and_not_the_older_file,
        pipeline::a_save_that_already_ran_does_not_count_as_ours,
        pipeline::a_save_that_takes_too_long_ends_at_its_deadline,
        pipeline::an_interrupted_backup_ends_at_once,
        pipeline::a_sound_artifact_is_read_to_its_end,
        pipeline::a_flipped_byte_is_refused_by_the_checksum,
        pipeline::a_flipped_byte_without_a_checksum_is_seen_by_the_content_alone,
        pipeline::a_snapshot_that_was_cut_is_refused,
        pipeline::an_empty_file_in_place_of_a_snapshot_is_refused,
        pipeline::the_append_only_directory_is_kept_beside_the_snapshot_and_checked,
        pipeline::a_server_without_an_append_only_file_says_so_in_the_artifact,
        pipeline::a_source_with_an_append_only_file_gets_one_again_after_loading,
        pipeline::a_target_with_appendonly_yes_does_not_hide_the_snapshot,
        pipeline::no_password_hash_or_canary_stands_in_a_log_or_a_command,
        pipeline::an_artifact_that_cannot_be_read_leaves_nothing_in_the_staging_directory,
        service::the_same_seed_gives_the_same_content_on_another_server,
        service::another_seed_gives_other_content,
        service::the_seed_makes_as_many_keys_as_the_component_and_the_scale_say,
        service::the_ledger_is_read_back_by_number,
        service::no_hash_of_a_password_stands_in_an_observation,
        service::questions_get_one_value_each_and_what_cannot_be_answered_does_not_hold,
        service::a_lost_server_shows_a_symptom_and_a_healthy_one_none,
        service::keys_that_elapse_while_they_are_read_do_not_disturb,
        service::a_table_that_shrinks_while_it_is_read_gives_the_same_content,
        #[ignore = "measures: run it alone, with --ignored"]
        service::five_million_keys_are_read_in_flat_memory,
        #[ignore = "measures: run it alone, with --ignored"]
        service::fifty_thousand_keys_are_seeded_read_backed_up_and_restored_in_seconds,
    ];
    // Fields with an expiry of their own came with Redis 7.4.
    macro_rules! of_redis_8 {
        ($($module:ident::$test:ident),+ $(,)?) => {$({
            let name = concat!(stringify!($module), "::", stringify!($test));
            let runtime = runtime.clone();
            trials.push(contained::trial(name, &["redrill/redis:8"], move || {
                runtime.block_on($module::$test());
                Ok(())
            }));
        })+};
    }
    of_redis_8![
        changes::a_field_that_expires_by_itself_is_seen_apart_from_its_hash,
        changes::a_field_that_expires_by_itself_comes_back_with_its_expiry,
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
