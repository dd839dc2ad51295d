//! What is told of drills, through the binary: the gate, history, evidence, reports, schedules and notifications, on
//! good days and bad ones.
//!
//! One real drill is run and its reports folder copied for each test, which needs a local Postgres; without one those
//! tests are ignored (they fail where services are required, `REDRILL_REQUIRE_SERVICES=1`).

mod mounts;

mod telling {
    pub mod browser;
    pub mod examples;
    pub mod gate;
    pub mod news;
    pub mod past;
    pub mod place;
    pub mod release;
    pub mod schedule;
    pub mod sealed;
}

use libtest_mimic::{Arguments, Completion, Trial};
use telling::{browser, examples, gate, news, past, place, release, schedule, sealed};

fn trial(
    name: &'static str,
    missing: fn() -> Option<String>,
    test: fn() -> place::Outcome,
) -> Trial {
    Trial::ignorable_test(name, move || match missing() {
        Some(reason) if std::env::var_os("REDRILL_REQUIRE_SERVICES").is_some() => {
            Err(reason.into())
        }
        Some(reason) => Ok(Completion::ignored_with(reason)),
        None => test().map(|()| Completion::Completed),
    })
}

macro_rules! trials {
    ($missing:expr; $($module:ident :: $test:ident),+ $(,)?) => {
        vec![$(trial(concat!(stringify!($module), "::", stringify!($test)), $missing, $module::$test)),+]
    };
}

fn main() -> std::process::ExitCode {
    let mut trials = trials![|| None;
        gate::a_gate_without_records_is_closed_and_says_what_to_run,
        gate::a_key_that_is_none_is_refused_before_anything_starts,
        gate::a_suite_that_cannot_be_read_opens_nothing,
        gate::a_detection_suite_that_plants_nothing_is_refused,
        schedule::what_is_kept_for_a_look_stays_until_reap_is_asked_for,
        past::a_history_of_nothing_exits_4,
        schedule::next_says_when_in_utc_and_in_the_zone,
        schedule::export_writes_files_that_name_the_suite,
        schedule::a_suite_without_a_schedule_exits_4_and_says_what_to_add,
        schedule::the_service_drills_what_is_due_and_ends_when_asked,
        examples::every_command_of_the_examples_is_one_that_redrill_knows,
        news::mistakes_in_redrill_toml_are_told_before_anything_starts,
        news::a_drill_whose_engine_is_missing_is_told_everywhere,
        news::an_address_that_nobody_answers_at_is_told_everywhere,
        news::a_folder_without_an_artifact_is_told_everywhere,
        news::a_folder_with_only_empty_files_is_told_everywhere,
        news::a_secret_in_what_is_told_fails_the_run_and_is_told_by_its_name,
        release::a_release_with_mistakes_starts_nothing,
    ];
    trials.extend(trials![place::no_postgres;
        gate::fresh_evidence_opens_and_json_says_so,
        gate::a_passing_record_of_another_commit_closes,
        gate::a_policy_of_the_suite_is_held_to,
        gate::a_detection_suite_that_is_asked_for_must_have_caught_its_faults_lately,
        gate::a_file_that_was_added_is_no_clean_checkout_and_a_report_is_none,
        gate::a_gate_that_runs_what_is_missing_opens,
        gate::evidence_that_is_signed_verifies_with_openssl_too_and_opens_a_strict_gate,
        gate::an_edited_record_closes,
        gate::a_suite_that_is_named_twice_is_drilled_once_and_two_of_one_name_are_refused,
        gate::two_rules_that_ask_for_one_detection_suite_have_it_drilled_once,
        gate::a_test_that_was_mistyped_in_redrill_toml_keeps_the_gate_shut,
        gate::what_cannot_be_read_closes_and_is_no_backup_that_failed,
        gate::a_record_from_the_future_closes_until_it_is_drilled_again,
        gate::a_record_of_another_schema_version_closes,
        gate::a_record_with_only_ignored_tests_closes,
        release::what_a_command_reads_is_of_the_release_where_the_suite_says_so,
        release::a_release_whose_migrations_hold_opens_the_gate,
        release::a_migration_that_fails_closes_the_gate_and_is_named,
        release::migrations_that_were_changed_since_close_the_gate,
        release::an_answer_that_changes_after_the_migrations_closes_the_gate,
        release::a_folder_without_migrations_opens_nothing,
        release::a_command_migrates_too_and_its_failure_is_told_without_the_password,
        past::every_report_is_written_and_rendered_again_from_the_record,
        past::history_shows_runs_and_compares_them,
        past::a_figure_that_drifts_further_than_the_suite_allows_fails_the_run,
        past::two_drills_that_end_at_once_are_both_in_the_history,
        past::a_report_that_cannot_be_written_changes_no_verdict,
        past::pages_are_served_on_loopback_to_those_who_name_it,
        past::a_record_that_was_edited_or_cut_is_told_wherever_it_is_read,
        past::the_runbook_has_the_commands_of_the_drill,
        past::shards_are_merged_by_putting_their_folders_together,
        schedule::a_service_that_crashed_leaves_its_drill_alone_and_the_next_one_waits_for_it,
        news::a_webhook_that_hangs_holds_up_no_verdict,
        news::failure_and_recovery_are_told_and_no_secret_is_printed,
        news::a_run_is_told_to_slack_a_pushgateway_and_statsd,
        schedule::what_is_exported_drills_and_decides_when_it_is_run,
        news::a_full_standard_output_keeps_nobody_from_hearing_of_it,
        sealed::what_is_told_over_tls_arrives,
        sealed::a_certificate_that_is_not_trusted_is_reported_and_changes_no_verdict,
        examples::the_deploy_script_stops_at_a_closed_gate_and_goes_on_at_an_open_one,
        examples::the_nightly_script_drills_signs_and_keeps_the_runbook,
    ]);
    trials.extend(trials![|| place::no_postgres().or_else(mounts::lacking);
        past::a_full_disk_while_reporting_leaves_the_verdict_and_its_exit_code,
    ]);
    trials.extend(trials![browser::missing;
        browser::what_the_page_shows_is_what_the_record_says,
        browser::no_page_is_wider_than_a_phone_and_every_word_can_be_read_by_day_and_by_night,
    ]);
    trials.extend(trials![browser::no_poppler;
        browser::on_paper_every_step_is_there_and_nothing_of_the_night,
    ]);
    trials.extend(trials![schedule::no_systemd;
        schedule::units_hold_before_systemd_itself,
    ]);
    trials.extend(trials![schedule::no_cron;
        schedule::the_crontab_holds_before_cron_itself,
    ]);
    trials.extend(trials![schedule::no_validators;
        schedule::manifests_hold_before_the_schemas_of_those_who_read_them,
    ]);
    trials.extend(trials![examples::no_validators_or_postgres;
        examples::the_workflow_of_github_deploys_what_was_drilled_and_nothing_else,
        examples::the_pipeline_of_gitlab_deploys_what_was_drilled_and_nothing_else,
    ]);
    trials.extend(trials![examples::no_promtool;
        examples::the_alert_rules_hold_before_promtool,
    ]);
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    place::remove_drilled();
    conclusion.exit_code()
}
