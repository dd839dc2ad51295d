//! What keeps a gate shut, over made-up records of a real plan.

use std::fs;
use std::path::Path;
use std::time::Duration;

use chrono::TimeDelta;

use super::*;
use crate::plan::{Options, expand};
use crate::record::{Record, State, sample};
use crate::suite::policy::{Figure, Policy};
use crate::suite::{Engine, Fault, parse};

mod figures;

/// A suite with the drill and the tests of the made-up runs' first drill.
const SUITE: &str = r#"
[component.db]
kind = "postgres"
[backup.postgres]
schedule = "@hourly"
[scenario.database-corruption]
strike = { fault = "server-lost" }
at = "58m after postgres"
rpo = "1h"
rto = "15m"
[[test]]
name = "test_rpo_within_target_1_hour"
check = "rpo"
scenario = "database-corruption"
"#;

const DRILL: &str = "deltacrown/database-corruption";

struct Scene {
    suite: Suite,
    record: Record,
    policy: Policy,
    origin: Origin,
    now: DateTime<Utc>,
}

impl Scene {
    /// A gate that opens.
    fn good() -> Self {
        let suite = parse(SUITE, Path::new("deltacrown.toml")).expect("a suite");
        let mut record = sample::green();
        record.suites[0].sha256 = suite.sha256.clone();
        Self {
            now: record.started_at + TimeDelta::hours(2),
            origin: Origin::sample(),
            policy: Policy::default(),
            suite,
            record,
        }
    }

    fn required(&self) -> Vec<Requirement<'_>> {
        let plan = expand(&self.suite, &Options::default()).expect("unfolds");
        let terms = self.policy.clone().terms();
        vec![Requirement::of(&self.suite, &plan, terms).expect("is asked")]
    }

    fn decide_in(&self, folder: &Path) -> Decision {
        let history = History::read(folder).expect("read");
        decide(&self.required(), &history, &self.origin, self.now)
    }

    fn decide(&self) -> Decision {
        let dir = tempfile::tempdir().expect("a directory");
        put(dir.path(), &self.record);
        self.decide_in(dir.path())
    }

    /// The gate is closed for this one reason, and says these words.
    fn is_closed(&self, kind: &str, words: &[&str]) {
        closed(&self.decide(), kind, words);
    }
}

fn put(folder: &Path, record: &Record) {
    let run = folder.join(&record.run_id);
    fs::create_dir_all(&run).expect("a folder");
    record.write(&run.join("record.json")).expect("written");
    crate::history::update(folder).expect("updated");
}

fn closed(decision: &Decision, kind: &str, words: &[&str]) {
    assert!(!decision.open);
    assert_eq!(decision.exit(), Exit::GateClosed);
    let reasons = &decision.suites[0].reasons;
    assert!(reasons.iter().all(|it| it.kind == kind), "{reasons:#?}");
    let reason = reasons.first().expect("a reason");
    assert!(!reason.remedy.is_empty());
    for word in words {
        assert!(reason.message.contains(word), "{word}: {}", reason.message);
    }
    assert!(
        REASONS.iter().any(|(known, _)| *known == kind),
        "{kind} is not explained"
    );
}

#[test]
fn fresh_passing_evidence_of_this_commit_and_suite_opens() {
    let decision = Scene::good().decide();
    assert!(decision.open, "{:#?}", decision.suites[0].reasons);
    assert_eq!(decision.exit(), Exit::Passed);
    assert_eq!(decision.suites[0].evidence.len(), 1);
}

#[test]
fn no_record_and_nothing_asked_close() {
    let scene = Scene::good();
    let dir = tempfile::tempdir().expect("a directory");
    let decision = scene.decide_in(dir.path());
    closed(&decision, "no-record", &["no record"]);
    assert_eq!(decision.missing().into_iter().collect::<Vec<_>>(), [DRILL]);
    assert!(
        decision.suites[0].reasons[0]
            .remedy
            .contains("--only 'deltacrown/database-corruption'")
    );

    let history = History::default();
    let nothing = decide(&[], &history, &scene.origin, scene.now);
    assert!(!nothing.open);
    let mut scene = Scene::good();
    scene.policy.tests = Some(vec!["no_such_test".to_owned()]);
    scene.is_closed("nothing-asked", &[]);
}

#[test]
fn a_test_that_is_asked_for_and_no_suite_drills_closes_by_its_name() {
    let mut scene = Scene::good();
    let known = "test_rpo_within_target_1_hour";
    scene.policy.tests = Some(vec![
        known.to_owned(),
        "test_rpo_within_target_2_hour".to_owned(),
    ]);
    scene.is_closed("nothing-asked", &["`test_rpo_within_target_2_hour`"]);
    let decision = scene.decide();
    let reasons = &decision.suites[0].reasons;
    assert_eq!(reasons.len(), 1);
    assert_eq!(reasons[0].remedy, format!("did you mean `{known}`?"));
    scene.policy.tests = Some(vec![known.to_owned(), "*_hour".to_owned()]);
    assert!(scene.decide().open);

    // One of the suites is enough to have it.
    scene.policy.tests = Some(vec![known.to_owned(), "test_of_the_other".to_owned()]);
    let text = SUITE.replace(known, "test_of_the_other");
    let other = parse(&text, Path::new("other.toml")).expect("a suite");
    let plan = expand(&other, &Options::default()).expect("unfolds");
    let terms = scene.policy.clone().terms();
    let mut required = scene.required();
    required.push(Requirement::of(&other, &plan, terms).expect("is asked"));
    let decision = decide(&required, &History::default(), &scene.origin, scene.now);
    let mut reasons = decision.suites.iter().flat_map(|it| &it.reasons);
    assert!(reasons.all(|it| it.kind == "no-record"), "{decision:#?}");
}

#[test]
fn a_record_with_only_ignored_tests_closes() {
    let mut scene = Scene::good();
    let mut ignored = sample::running();
    ignored.run_id.clone_from(&scene.record.run_id);
    ignored.state = State::Finished;
    ignored.ended_at = Some(ignored.started_at);
    ignored.suites[0].sha256 = scene.suite.sha256.clone();
    scene.record = ignored;
    scene.is_closed("no-record", &["ignored shows nothing"]);
}

#[test]
fn a_stale_record_and_one_from_the_future_close() {
    let mut scene = Scene::good();
    scene.policy.max_age = Some(Duration::from_secs(3600));
    scene.is_closed("stale", &["2 h old", "1 h are allowed"]);
    scene.policy.max_age = None;
    scene.now = scene.record.started_at - TimeDelta::hours(1);
    scene.is_closed("from-the-future", &["later than now"]);
    scene.now = scene.record.started_at - TimeDelta::minutes(1);
    assert!(scene.decide().open, "clocks differ");
}

#[test]
fn drilling_again_mends_a_gate_that_a_record_from_the_future_keeps_shut() {
    let scene = Scene::good();
    let dir = tempfile::tempdir().expect("a directory");
    let dated = |number: u32, hours: i64| {
        let mut record = scene.record.clone();
        record.run_id = format!("20250112-150000-{number:08x}");
        record.started_at = scene.now + TimeDelta::hours(hours);
        put(dir.path(), &record);
        scene.decide_in(dir.path())
    };
    assert!(dated(1, -1).open);
    closed(&dated(2, 48), "from-the-future", &["later than now"]);
    assert!(dated(3, 0).open, "it was drilled again since");
    closed(&dated(4, 1), "from-the-future", &["later than now"]);
}

#[test]
fn a_passing_record_of_another_commit_closes_unless_any_will_do() {
    let mut scene = Scene::good();
    scene.origin.commit = Some("d00d".repeat(10));
    scene.is_closed("other-commit", &["c0ffeec0ffee", "d00dd00dd00d"]);
    scene.policy.commit = Some(CommitRule::Any);
    assert!(scene.decide().open);

    scene.policy.commit = None;
    scene.record.origin.commit = None;
    scene.is_closed("unknown-commit", &["does not say"]);
    scene.origin.commit = None;
    for rule in [None, Some(CommitRule::Same)] {
        scene.policy.commit = rule;
        scene.is_closed("unknown-commit", &["of the release"]);
    }
    scene.policy.commit = Some(CommitRule::Any);
    assert!(scene.decide().open);
}

#[test]
fn a_changed_checkout_closes_where_a_clean_one_is_asked_for() {
    let mut scene = Scene::good();
    scene.record.origin.dirty = Some(true);
    assert!(scene.decide().open);
    scene.policy.commit = Some(CommitRule::Clean);
    scene.is_closed("changed-checkout", &["differed"]);
    scene.record.origin.dirty = Some(false);
    assert!(scene.decide().open);
}

#[test]
fn evidence_of_this_commit_counts_although_another_was_drilled_later() {
    let scene = Scene::good();
    let dir = tempfile::tempdir().expect("a directory");
    put(dir.path(), &scene.record);
    let mut other = scene.record.clone();
    other.run_id = "20250112-153000-00000001".to_owned();
    other.started_at += TimeDelta::minutes(30);
    other.origin.commit = Some("d00d".repeat(10));
    put(dir.path(), &other);
    assert!(scene.decide_in(dir.path()).open);
}

#[test]
fn a_later_failure_of_the_same_commit_closes() {
    let scene = Scene::good();
    let dir = tempfile::tempdir().expect("a directory");
    put(dir.path(), &scene.record);
    let mut red = sample::red();
    red.run_id = "20250112-153000-00000001".to_owned();
    red.started_at += TimeDelta::minutes(30);
    red.suites[0].sha256 = scene.suite.sha256.clone();
    put(dir.path(), &red);
    let decision = scene.decide_in(dir.path());
    assert!(!decision.open);
    let kinds: Vec<&str> = decision.suites[0]
        .reasons
        .iter()
        .map(|it| it.kind)
        .collect();
    assert_eq!(kinds, ["not-passed", "objective-missed"]);
}

#[test]
fn a_suite_that_was_changed_since_closes() {
    let mut scene = Scene::good();
    scene.record.suites[0].sha256 = "00".repeat(32);
    scene.is_closed("other-suite", &["deltacrown.toml was changed"]);
    scene.policy.same_suite = Some(false);
    assert!(scene.decide().open);
}

#[test]
fn a_test_that_was_not_judged_closes() {
    let mut scene = Scene::good();
    for check in &mut scene.record.drills[0].checks {
        check.test = None;
    }
    scene.record.summary = Default::default();
    let mut record = sample::running();
    std::mem::swap(&mut record, &mut scene.record);
    // The counts follow from the drills again.
    let mut fresh = sample::running();
    fresh.suites = record.suites.clone();
    fresh.drills = record.drills.clone();
    fresh.not_run.clear();
    fresh.end(record.started_at, false);
    fresh.add("none", record.drills[0].checks[0].clone());
    scene.record = fresh;
    scene.is_closed(
        "test-not-passed",
        &["test_rpo_within_target_1_hour was not judged"],
    );
}

#[test]
fn a_record_that_is_not_signed_closes_where_a_signature_is_asked_for() {
    let mut scene = Scene::good();
    let dir = tempfile::tempdir().expect("a directory");
    let key = dir.path().join("key.pub");
    fs::write(&key, "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n").expect("written");
    scene.policy.signed_by = Some(key);
    scene.is_closed("not-signed", &["is not signed"]);
    scene.policy.signed_by = Some("/nowhere/key.pub".into());
    scene.is_closed("not-signed", &["/nowhere/key.pub"]);
}

#[test]
fn a_record_that_is_cut_edited_gone_or_of_another_version_closes() {
    let scene = Scene::good();
    let dir = tempfile::tempdir().expect("a directory");
    put(dir.path(), &scene.record);
    let path = dir.path().join(&scene.record.run_id).join("record.json");
    let text = fs::read_to_string(&path).expect("read");
    let cases: [(String, &str, &str); 4] = [
        (
            text[..text.len() / 2].to_owned(),
            "unreadable-record",
            "cannot be used",
        ),
        (
            text.replace("\"host\": \"runner\"", "\"host\": \"other\""),
            "changed-record",
            "not the one",
        ),
        (
            text.replacen("\"passed\": 10", "\"passed\": 11", 1),
            "unreadable-record",
            "summary",
        ),
        (
            text.replacen("\"schema_version\": 2", "\"schema_version\": 3", 1),
            "unreadable-record",
            "schema version 3",
        ),
    ];
    for (changed, kind, word) in cases {
        fs::write(&path, changed).expect("written");
        closed(&scene.decide_in(dir.path()), kind, &[word]);
    }
    fs::remove_file(&path).expect("removed");
    closed(
        &scene.decide_in(dir.path()),
        "unreadable-record",
        &["No such file"],
    );
    fs::write(&path, text).expect("written");
    assert!(scene.decide_in(dir.path()).open);
}

/// The least of a few times that reading so many lines, and deciding on them, takes.
fn time_for(lines: i64) -> Duration {
    let scene = Scene::good();
    let dir = tempfile::tempdir().expect("a directory");
    put(dir.path(), &scene.record);
    let path = dir.path().join(crate::history::HISTORY);
    let own = fs::read_to_string(&path).expect("lines");
    let entry = Entry::of(own.lines().next().expect("a line").as_bytes()).expect("an entry");
    let mut text = String::new();
    for number in 0..lines {
        let mut entry = entry.clone();
        entry.at -= TimeDelta::minutes(number + 1);
        entry.run = format!("20250112-150000-{number:08x}");
        text += &(serde_json::to_string(&entry).expect("json") + "\n");
    }
    fs::write(&path, text + &own).expect("written");
    let times = (0..3).map(|_| {
        let began = std::time::Instant::now();
        let decision = scene.decide_in(dir.path());
        let took = began.elapsed();
        assert!(decision.open, "{:?}", decision.suites[0].reasons);
        took
    });
    times.min().expect("a time")
}

#[test]
fn a_hundred_thousand_records_are_decided_on_in_proportion_and_in_no_more_than_three_seconds() {
    // `cargo bench --bench history` holds the optimised program to 200 ms.
    let (few, many) = (time_for(10_000), time_for(100_000));
    assert!(
        many < few * 25,
        "{few:?} for 10,000 lines, {many:?} for 100,000"
    );
    assert!(many < Duration::from_secs(3), "{many:?}");
}

#[test]
fn evidence_of_less_data_closes_unless_the_policy_says_how_much_will_do() {
    let mut scene = Scene::good();
    scene.record.drills[0].scale = 0.01;
    scene.is_closed("other-scale", &["scale 0.01", "at least 1"]);
    scene.policy.scale = Some(0.01);
    assert!(scene.decide().open);
    scene.record.drills[0].scale = 4.0;
    assert!(scene.decide().open, "more data shows more");
}

#[test]
fn a_record_that_no_line_of_the_history_names_is_noted() {
    let scene = Scene::good();
    let dir = tempfile::tempdir().expect("a directory");
    put(dir.path(), &scene.record);
    let noted = |decision: &Decision| {
        let mut notes = decision.notes.iter();
        notes.any(|note| note.contains("without a line of the history"))
    };
    assert!(!noted(&scene.decide_in(dir.path())));
    fs::remove_file(dir.path().join("history.jsonl")).expect("removed");
    let decision = scene.decide_in(dir.path());
    assert!(decision.open && noted(&decision), "{:?}", decision.notes);
}

#[test]
fn a_check_that_no_fault_in_any_shard_makes_fail_closes() {
    let whole = sample::missed();
    let mut suite = parse(SUITE, Path::new("detection.toml")).expect("a suite");
    suite.name = whole.drills[0].suite.clone();
    suite.every_check = true;
    let planted = [Fault::A1, Fault::D8, Fault::A9, Fault::A13];
    suite.detections = planted
        .map(|fault| crate::suite::Detection {
            scenario: "database-corruption".to_owned(),
            fault,
            caught_by: crate::suite::Catch {
                check: crate::suite::Check::Readable,
                findings: Vec::new(),
                says: None,
                also: Vec::new(),
            },
        })
        .to_vec();
    let mut drills = vec![sample::twin_result().drill];
    let planned = planted.map(|fault| sample::planted(fault, crate::suite::Check::Readable));
    drills.extend(planned);
    let policy = Policy {
        commit: Some(CommitRule::Any),
        same_suite: Some(false),
        ..Policy::default()
    };
    let required = [Requirement {
        suite: &suite,
        terms: policy.terms(),
        drills,
    }];
    let dir = tempfile::tempdir().expect("a directory");
    let silent = |shards: &[(usize, usize)]| {
        for (number, shard) in shards.iter().enumerate() {
            let mut part = whole.clone();
            part.run_id = format!("20250112-150000-0000000{number}");
            part.drills = part.drills[shard.0..shard.1].to_vec();
            // As every run of it says.
            part.suites[0].faults = planted.map(|it| it.id().to_owned()).to_vec();
            part.end(part.started_at, false);
            part.add("none", part.drills[0].checks[0].clone());
            put(dir.path(), &part);
        }
        let history = History::read(dir.path()).expect("read");
        let now = whole.started_at + TimeDelta::hours(1);
        let decision = decide(&required, &history, &Origin::sample(), now);
        assert!(!decision.open);
        let mut reasons = decision.suites[0].reasons.iter();
        reasons.any(|it| it.message == "no planted fault makes target-empty, sequences fail")
    };
    // What one shard leaves out the other may have planted.
    assert!(!silent(&[(0, 2)]));
    assert!(silent(&[(0, 2), (2, 5)]));
}
