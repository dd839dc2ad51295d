//! What a record promises, over made-up runs.

use std::time::Duration;

use proptest::prelude::*;

use super::format::*;
use super::sample::*;
use super::{LineKind, Start};
use crate::context::RunId;
use crate::exit::Exit;
use crate::outcome::{self, DrillResult, Finding as Found, Outcome};
use crate::suite::{Check, Fault};

fn line_names(record: &Record) -> Vec<&str> {
    record.lines().iter().map(|line| line.name).collect()
}

#[test]
fn ten_tests_that_pass_count_to_ten_in_the_order_of_the_suite() {
    let record = green();
    let names: Vec<String> = deltacrown().tests.into_iter().map(|it| it.name).collect();
    assert_eq!(line_names(&record), names);
    let all_ten = Summary {
        passed: 10,
        ..Summary::default()
    };
    assert_eq!(record.summary, all_ten);
    assert_eq!(record.exit(), Exit::Passed);
}

#[test]
fn a_check_that_no_test_names_counts_as_soon_as_it_does_not_pass() {
    let record = red();
    assert_eq!((record.summary.passed, record.summary.failed), (9, 2));
    assert!(line_names(&record).contains(&"content"));
    assert_eq!(record.exit(), Exit::Failed);
}

#[test]
fn a_check_that_a_test_makes_too_is_counted_once() {
    let mut record = running();
    for drill in deltacrown_drills() {
        let mut result = good(&drill);
        let bad = Found::error("k", "m", "r");
        if drill.id == "deltacrown/database-corruption" {
            let failed = Outcome::of(Check::Rpo, 1, vec![bad]);
            result.outcomes.push((failed.clone(), None));
            let test = result
                .outcomes
                .iter_mut()
                .find(|(it, test)| it.check == Check::Rpo && test.is_some());
            test.expect("a test of it").0 = failed;
        }
        record.push(&result);
    }
    assert_eq!((record.summary.passed, record.summary.failed), (9, 1));
    // A test that looks at less, and passes, does not hide the check.
    let mut result = good(&deltacrown_drills()[0]);
    let bad = Found::error("k", "m", "r");
    result
        .outcomes
        .push((Outcome::of(Check::Rpo, 1, vec![bad]), None));
    let mut record = running();
    record.push(&result);
    assert_eq!((record.summary.passed, record.summary.failed), (7, 1));
}

#[test]
fn a_run_without_drills_is_not_green() {
    let mut record = super::Record::new(&Start {
        run: &RunId::from_text("r"),
        at: instant("2025-01-12T15:00:00Z"),
        mode: "local",
        reason: "asked for",
        command: String::new(),
        suites: &[],
        drills: &[],
        origin: &crate::origin::Origin::sample(),
    });
    record.end(instant("2025-01-12T15:00:00Z"), false);
    assert_eq!(record.exit(), Exit::NothingRan);
}

#[test]
fn what_did_not_run_is_ignored_and_never_green() {
    let mut record = running();
    let drills = deltacrown_drills();
    assert_eq!(
        record.summary.ignored, 12,
        "ten tests, and two drills without one"
    );
    for drill in &drills[..5] {
        record.push(&good(drill));
    }
    record.end(instant("2025-01-12T15:00:48Z"), false);
    assert_eq!((record.summary.passed, record.summary.ignored), (9, 1));
    assert_eq!(record.exit(), Exit::Undetermined);
}

#[test]
fn drills_stand_in_the_order_of_the_plan_whichever_ended_first() {
    let mut record = running();
    let drills = deltacrown_drills();
    for drill in drills.iter().rev() {
        record.push(&good(drill));
        record.arrange(&drills);
    }
    let ids = |all: &[DrillRecord]| all.iter().map(|it| it.id.clone()).collect::<Vec<_>>();
    let planned: Vec<String> = drills.iter().map(|drill| drill.id.clone()).collect();
    assert_eq!(ids(&record.drills), planned);
}

#[test]
fn a_run_that_was_killed_is_never_green() {
    let mut record = green();
    record.state = State::Running;
    record.ended_at = None;
    assert_eq!(record.exit(), Exit::Undetermined);
}

#[test]
fn an_interrupted_run_says_so_whatever_was_found_before() {
    assert_eq!(interrupted().exit(), Exit::Interrupted);
    let mut record = red();
    record.end(instant("2025-01-12T15:01:00Z"), true);
    assert_eq!(record.exit(), Exit::Interrupted);
}

#[test]
fn one_undetermined_drill_makes_the_run_undetermined_and_a_failed_one_wins_over_it() {
    let mut record = undetermined();
    assert_eq!(record.exit(), Exit::Undetermined);
    record.push(&caught(Fault::A9, Check::Sequences, &[]));
    assert_eq!(record.exit(), Exit::Failed);
}

#[test]
fn a_pending_scenario_stands_in_the_record_and_is_not_counted() {
    let record = green();
    assert_eq!(record.pending.len(), 1);
    let summary = record.summary;
    assert_eq!(summary.passed + summary.ignored, 10);
}

#[test]
fn a_test_without_an_outcome_is_undetermined_although_the_drill_says_passed() {
    let mut result = good(&deltacrown_drills()[0]);
    let (outcome, _) = result.outcomes.remove(0);
    assert_eq!(outcome.check, Check::Artifact);
    let record = DrillRecord::from(&result);
    assert_eq!(record.verdict, Verdict::Undetermined);
    let check = record.checks.last().expect("a check");
    assert_eq!(check.findings[0].kind, "not-judged");
}

#[test]
fn a_drill_is_never_better_than_its_checks_and_one_without_checks_never_passes() {
    let mut result = good(&deltacrown_drills()[5]);
    let bad = Found::error("k", "m", "r");
    result
        .outcomes
        .push((Outcome::of(Check::Retention, 1, vec![bad]), None));
    assert_eq!(DrillRecord::from(&result).verdict, Verdict::Failed);
    result.outcomes.clear();
    result.drill.tests.clear();
    assert_eq!(DrillRecord::from(&result).verdict, Verdict::Undetermined);
}

#[test]
fn a_fault_is_caught_by_the_check_named_for_it_and_by_no_other() {
    let judged = |result| {
        let record = DrillRecord::from(&result);
        (record.verdict, record.checks[0].id.clone())
    };
    let named = Check::Readable;
    let a1 = |verdict| (verdict, "A1".to_owned());
    assert_eq!(
        judged(caught(Fault::A1, named, &[named])),
        a1(Verdict::Passed)
    );
    assert_eq!(
        judged(caught(Fault::A1, named, &[Check::Content])),
        a1(Verdict::Failed)
    );
    let mut believed = caught(Fault::A1, named, &[]);
    believed.verdict = outcome::Verdict::Passed;
    assert_eq!(judged(believed), a1(Verdict::Failed));
    let mut unknown = caught(Fault::A1, named, &[named]);
    unknown.outcomes = vec![(Outcome::of(named, 0, vec![]), None)];
    assert_eq!(judged(unknown), a1(Verdict::Undetermined));
    let kinds = |result: &DrillResult| {
        let record = DrillRecord::from(result);
        let findings = record.checks[0].findings.iter();
        findings.map(|it| it.kind.clone()).collect::<Vec<_>>()
    };
    let mut by_accident = caught(Fault::A1, named, &[named]);
    by_accident.outcomes[0].0.findings[0].kind = "restore-failed";
    assert_eq!(kinds(&by_accident), ["fault-caught-by-accident"]);
    // Nothing is proven by a drill that did not plant what it should, whatever failed in it.
    let mut not_planted = caught(Fault::A1, named, &[named]);
    not_planted.verdict = outcome::Verdict::Undetermined;
    assert_eq!(kinds(&not_planted), ["fault-not-judged"]);
    // It was caught, and something of the drill stayed behind.
    let mut left = caught(Fault::A1, named, &[named]);
    let stays = Found::error("left-behind", "a server", "run `redrill reap`");
    let teardown = Outcome::of(Check::Teardown, 1, vec![stays]);
    left.outcomes.push((teardown, None));
    left.verdict = outcome::Verdict::Failed;
    assert_eq!(kinds(&left), ["left-behind"]);
}

#[test]
fn a_planted_fault_counts_once_however_many_checks_notice() {
    let record = missed();
    assert_eq!((record.summary.passed, record.summary.failed), (3, 2));
    assert!(
        record
            .lines()
            .iter()
            .all(|line| line.kind == LineKind::Fault)
    );
}

#[test]
fn the_component_that_fared_worst_stands_for_the_loss_of_the_drill() {
    let mut result = good(&deltacrown_drills()[0]);
    let mut cache = result.rpo[0].clone();
    cache.component = "cache".into();
    cache.window = Duration::from_secs(16 * 60);
    cache.objective = Some(Duration::from_secs(15 * 60));
    result.rpo.push(cache);
    let rpo = DrillRecord::from(&result).rpo.expect("measured");
    assert_eq!(rpo.window_seconds, 960.0);
    assert_eq!(rpo.components.len(), 2);
    assert_eq!(rpo.components[0].acknowledged_writes, 178);
}

#[test]
fn a_restore_that_took_no_time_has_no_rate() {
    let mut result = good(&deltacrown_drills()[0]);
    result.throughput[0].gb_per_min = f64::INFINITY;
    let record = DrillRecord::from(&result);
    assert_eq!(record.throughput_gb_per_min, None);
    assert_eq!(record.throughput[0].gb_per_min, None);
}

#[test]
fn the_record_names_the_artifacts_that_were_restored() {
    let artifacts = green().artifacts();
    let kinds = ["postgres", "redis", "media", "cache"];
    assert!(
        kinds
            .iter()
            .all(|kind| artifacts.contains(&format!("{kind}-20250112T140000Z")))
    );
}

#[test]
fn the_file_starts_with_the_fields_that_readers_look_for_first() {
    let json = green().to_json().expect("json");
    let keys: Vec<&str> = json
        .lines()
        .filter(|line| line.starts_with("  \""))
        .filter_map(|line| line.trim().split('"').nth(1))
        .collect();
    let first = [
        "schema_version",
        "run_id",
        "redrill_version",
        "started_at",
        "services",
        "summary",
        "drills",
    ];
    assert_eq!(keys[..first.len()], first);
}

#[test]
fn a_record_of_another_schema_version_is_refused_by_name() {
    let json = green().to_json().expect("json").replacen(
        "\"schema_version\": 2",
        "\"schema_version\": 1",
        1,
    );
    let error = Record::from_json(&json).expect_err("refused");
    assert!(error.message().contains("schema version 1"), "{error}");
    assert!(error.hint_text().is_some());
    assert!(Record::from_json("{}").is_err());
    assert!(Record::from_json("not json").is_err());
}

#[test]
fn a_record_that_was_improved_by_hand_is_refused() {
    let json = red().to_json().expect("json");
    let summary = json.replacen("\"failed\": 2", "\"failed\": 0", 1);
    assert_ne!(summary, json);
    assert!(Record::from_json(&summary).is_err());
    let verdict = json.replacen("\"verdict\": \"failed\"", "\"verdict\": \"passed\"", 1);
    assert!(Record::from_json(&verdict).is_err());
    let unknown = json.replacen("\"run_id\"", "\"extra\": 1, \"run_id\"", 1);
    assert!(Record::from_json(&unknown).is_err());
}

#[test]
fn a_record_is_replaced_whole_and_leaves_nothing_beside_it() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("record.json");
    running().write(&path).expect("written");
    green().write(&path).expect("rewritten");
    assert_eq!(Record::read(&path).expect("read"), green());
    let count = || std::fs::read_dir(folder.path()).expect("folder").count();
    assert_eq!(count(), 1);
    // A folder in the way cannot be replaced; the attempt leaves nothing either.
    std::fs::create_dir(folder.path().join("taken")).expect("folder");
    let error = green()
        .write(&folder.path().join("taken"))
        .expect_err("cannot be written");
    assert!(error.hint_text().is_some_and(|hint| hint.contains("--out")));
    assert_eq!(count(), 2);
    let error = green()
        .write(&folder.path().join("missing/record.json"))
        .expect_err("no such folder");
    assert!(error.message().starts_with("write the record"), "{error}");
}

proptest! {
    #[test]
    fn a_record_comes_back_from_json_as_it_went_in(
        seed in any::<u64>(),
        took in 0.0..1e7f64,
        window in 0u64..1 << 40,
        rate in prop_oneof![0.0..1e4f64, Just(f64::NAN)],
        bytes in any::<u64>(),
        exit in any::<Option<i32>>(),
        text in any::<String>(),
    ) {
        let mut result = good(&deltacrown_drills()[0]);
        result.drill.seed = seed;
        result.seconds = took;
        result.rpo[0].window = Duration::from_micros(window);
        result.throughput[0].gb_per_min = rate;
        result.throughput[0].source_bytes = bytes;
        result.evidence.steps[0].exit = exit;
        result.evidence.steps[0].command = text.clone();
        result.evidence.steps[0].seconds = took;
        result.outcomes.push((
            Outcome::of(Check::Size, 1, vec![Found::warning("k", text.clone(), text)]),
            None,
        ));
        let mut record = running();
        record.push(&result);
        let back = Record::from_json(&record.to_json().expect("json")).expect("read");
        prop_assert_eq!(back, record);
    }
}

/// The run with missed faults, as one of a suite that plants exactly these.
fn all_planted() -> Record {
    let mut record = missed();
    let planted = record.drills.iter().filter_map(|it| it.detection.as_ref());
    let faults: Vec<String> = planted.map(|it| it.fault.clone()).collect();
    record.suites[0].faults = faults;
    record
}

#[test]
fn a_check_that_no_fault_of_a_whole_suite_makes_fail_fails_the_run() {
    let record = all_planted();
    assert_eq!(
        record.silent(&record.suites[0]),
        ["target-empty", "sequences"]
    );
    let names = line_names(&record);
    assert!(
        names.contains(&"target-empty") && names.contains(&"sequences"),
        "{names:?}"
    );
}

#[test]
fn when_only_some_faults_of_a_suite_were_planted_nothing_is_said_of_the_others() {
    let mut record = all_planted();
    record.suites[0].faults.push("A16".to_owned());
    assert_eq!(record.silent(&record.suites[0]), [""; 0]);
}

/// A drill of a scenario struck at a moment drawn from the seed, with so much lost.
fn struck_at_random(record: &mut Record, seconds: u64) {
    let mut result = good(&deltacrown_drills()[1]);
    result.drill.id = format!("deltacrown/s@random-{}", record.drills.len());
    result.drill.tests.clear();
    result.drill.kind = crate::plan::DrillKind::Scenario {
        scenario: "s".to_owned(),
        at: crate::suite::StrikeTime::Random { number: 1 },
    };
    result.rpo[0].window = Duration::from_secs(seconds);
    result.rpo[0].typical = Some(Duration::from_secs(300));
    record.push(&result);
}

#[test]
fn what_is_lost_at_most_and_typically_is_told_and_only_too_much_typically_fails() {
    let mut record = green();
    let before = record.summary;
    for seconds in [20, 299, 3000] {
        struck_at_random(&mut record, seconds);
    }
    let [spread] = record.rpo.as_slice() else {
        panic!("{:?}", record.rpo);
    };
    assert_eq!((spread.drills, spread.unmeasured), (3, 0));
    assert_eq!(
        (spread.most_seconds, spread.median_seconds),
        (3000.0, 299.0)
    );
    assert_eq!(spread.verdict(), Some(Verdict::Passed));
    assert_eq!(record.summary, before, "what holds is no line beside tests");
    struck_at_random(&mut record, 3000);
    assert_eq!(record.rpo[0].verdict(), Some(Verdict::Failed));
    assert_eq!(record.summary.failed, before.failed + 1);
    assert!(line_names(&record).contains(&"rpo-typical"));
    assert_eq!(record.exit(), Exit::Failed);
}
