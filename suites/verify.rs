//! `redrill verify`, through the binary: real backups by the usual tools, whole and damaged, from every kind of place.
//!
//! Each check has a fault that it alone fails on, and a healthy twin that passes. They need a local Postgres and Redis;
//! without them the trials are ignored (they fail where services are required, `REDRILL_REQUIRE_SERVICES=1`).

mod mounts;
#[path = "telling/place.rs"]
#[expect(dead_code, reason = "another target uses the rest")]
mod place;
#[path = "server/mod.rs"]
mod server;

mod verify {
    pub mod app;
    pub mod damaged;
    pub mod held;
    pub mod lab;
    pub mod pgbackrest;
    pub mod places;
    pub mod runs;
    pub mod whole;
}

use libtest_mimic::{Arguments, Completion, Trial};
use redrill::provision::choose;
use verify::{app, damaged, held, lab, pgbackrest, places, whole};

fn missing() -> Option<String> {
    let redis = std::process::Command::new("redis-server")
        .arg("--version")
        .output();
    let redis = redis.err().map(|_| "no local Redis".to_owned());
    place::no_postgres().or(redis)
}

/// What a trial lacks here.
fn lacks(name: &str) -> Option<String> {
    let tool = choose::pgbackrest("local").err();
    let tool = tool.filter(|_| name.starts_with("pgbackrest::"));
    let mounts =
        || mounts::lacking().filter(|_| name.contains("not_installed") || name.contains("disk"));
    missing()
        .or(tool.map(|error| error.to_string()))
        .or_else(mounts)
}

fn trial(name: &'static str, test: fn() -> place::Outcome) -> Trial {
    Trial::ignorable_test(name, move || match lacks(name) {
        Some(reason) if std::env::var_os("REDRILL_REQUIRE_SERVICES").is_some() => {
            Err(reason.into())
        }
        Some(reason) => Ok(Completion::ignored_with(reason)),
        None => test().map(|()| Completion::Completed),
    })
}

macro_rules! trials {
    ($($module:ident :: $test:ident),+ $(,)?) => {
        vec![$(trial(concat!(stringify!($module), "::", stringify!($test)), $module::$test)),+]
    };
}

fn main() -> std::process::ExitCode {
    let trials = trials![
        whole::a_custom_dump_is_verified,
        whole::a_directory_dump_is_verified,
        whole::a_tar_dump_is_verified,
        whole::a_plain_dump_is_verified,
        whole::plain_dumps_packed_by_gzip_and_zstd_are_verified,
        whole::a_base_backup_of_tar_files_is_verified,
        whole::a_base_backup_of_a_directory_is_verified,
        whole::a_base_backup_without_wal_is_verified_with_the_folder_of_its_wal,
        whole::a_base_backup_of_tar_files_without_wal_is_verified_with_the_folder_of_its_wal,
        whole::the_version_that_made_an_artifact_is_the_version_that_it_is_restored_on,
        whole::an_extension_that_the_server_has_is_created_by_the_restore,
        whole::a_snapshot_of_redis_is_verified,
        whole::an_append_only_directory_is_verified,
        whole::an_append_only_directory_is_as_old_as_its_last_write_and_not_as_its_snapshot,
        whole::a_tar_file_of_files_is_verified,
        whole::files_that_are_encrypted_are_verified_with_their_identity,
        whole::folders_of_encrypted_files_are_verified_with_their_identity,
        whole::wal_is_taken_as_it_is_packed_encrypted_or_not_finished,
        whole::roles_come_with_the_globals,
        damaged::what_was_cut_is_refused_before_any_server_starts,
        damaged::what_is_empty_is_refused,
        damaged::what_is_no_backup_is_refused_by_its_name,
        damaged::what_is_encrypted_is_not_opened_without_its_key,
        damaged::what_is_encrypted_and_was_cut_is_refused_before_any_server_starts,
        damaged::a_flipped_bit_in_the_rows_fails_the_restore,
        damaged::a_changed_file_of_a_base_backup_fails_the_restore,
        damaged::a_base_backup_without_its_wal_says_what_is_missing,
        damaged::a_script_that_runs_commands_is_not_run,
        damaged::a_disk_that_is_full_is_not_taken_for_damage,
        held::a_drop_of_rows_against_the_last_verified_one_fails,
        held::what_only_a_name_tells_apart_is_never_compared_with_another_folders,
        held::what_is_allowed_to_drop_may_drop,
        held::a_baseline_that_was_edited_is_no_baseline,
        held::a_wrong_answer_fails,
        held::what_nothing_proves_is_undetermined_and_says_what_to_ask,
        held::an_answer_that_shows_nothing_of_the_data_is_no_proof,
        held::a_baseline_of_another_folder_is_not_compared_until_it_is_said_what_it_is_of,
        held::what_is_lost_bit_by_bit_is_warned_of,
        held::a_time_in_the_future_fails,
        held::a_content_that_is_too_old_fails_whatever_the_file_says,
        held::a_missing_role_is_named_and_created_when_asked,
        held::a_missing_extension_is_named,
        held::a_sequence_behind_its_rows_fails,
        held::the_live_source_is_counted_and_its_password_shown_nowhere,
        held::a_live_redis_is_counted_by_a_user_who_can_only_read,
        held::a_live_bucket_is_counted,
        held::a_live_source_that_does_not_answer_leaves_it_undetermined,
        held::a_live_source_that_asks_for_tls_gets_it_and_only_from_whom_is_trusted,
        places::of_a_folder_the_newest_whole_one_by_its_content_is_taken,
        places::a_folder_without_times_asks_for_a_name,
        places::of_nightly_folders_with_several_databases_the_newest_of_the_one_that_is_named_is_taken,
        places::another_lineage_than_the_one_that_is_named_is_not_taken_for_it,
        places::one_backup_under_names_that_rotate_is_one,
        places::what_is_given_by_itself_was_not_left_and_what_was_left_says_what_to_do,
        places::of_artifacts_that_lie_too_deep_the_folder_is_named,
        places::an_object_and_the_newest_below_a_prefix_are_fetched_from_s3,
        places::of_those_that_are_not_taken_only_the_beginning_is_fetched,
        places::a_presigned_address_is_fetched_and_its_signature_shown_nowhere,
        places::an_address_that_answers_nothing_good_says_so,
        places::an_interrupted_run_leaves_nothing_behind,
        places::json_is_the_record_and_nothing_else,
        app::an_application_that_answers_is_a_proof_and_its_log_names_no_secret,
        app::an_application_that_answers_500_fails_and_its_answer_names_no_secret,
        app::another_body_than_the_expected_one_fails,
        app::an_application_that_is_never_ready_fails_when_its_time_is_up,
        app::an_application_that_dies_says_its_last_words,
        app::what_cannot_be_started_or_asked_is_told,
        app::an_application_asks_a_restored_redis_and_a_restored_bucket,
        app::a_drill_asks_the_application_of_its_component_and_the_runbook_says_how,
        app::a_release_that_breaks_the_application_closes_the_gate,
        pgbackrest::a_repository_is_verified_where_it_lies_and_left_as_it_is,
        pgbackrest::an_encrypted_one_is_verified_with_its_passphrase_which_is_shown_nowhere,
        pgbackrest::an_encrypted_one_is_not_opened_without_its_passphrase,
        pgbackrest::a_segment_that_is_gone_or_altered_is_refused_before_any_server_starts,
        pgbackrest::of_a_damaged_newest_backup_the_one_before_is_taken_and_none_where_all_are,
        pgbackrest::of_several_stanzas_one_must_be_named,
        pgbackrest::an_empty_or_a_cut_one_is_refused,
        pgbackrest::in_containers_it_is_refused_by_the_name_of_what_is_missing,
        pgbackrest::where_it_is_not_installed_a_verification_and_a_drill_name_its_package,
        pgbackrest::all_below_a_prefix_in_s3_is_brought_and_verified,
    ];
    let server = server::Server::start();
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    drop(server);
    lab::Lab::remove();
    conclusion.exit_code()
}
