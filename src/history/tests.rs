//! What a history promises, over made-up runs.

use std::fs;
use std::path::Path;
use std::time::Duration;

use chrono::TimeDelta;

use super::*;
use crate::record::{DrillKind, Verdict, sample};

/// Writes a run's record into a reports folder.
fn put(folder: &Path, record: &Record) {
    let run = folder.join(&record.run_id);
    fs::create_dir_all(&run).expect("a folder");
    record.write(&run.join("record.json")).expect("written");
}

/// The same run, so many hours later, under another name.
fn later(record: &Record, hours: i64) -> Record {
    let mut record = record.clone();
    record.run_id = format!("20250112-150000-{hours:08x}");
    record.started_at += TimeDelta::hours(hours);
    record
}

fn lines_of(folder: &Path) -> usize {
    let text = fs::read_to_string(folder.join(HISTORY)).unwrap_or_default();
    text.lines().count()
}

#[test]
fn a_run_is_taken_into_the_history_once_with_a_line_for_each_drill() {
    let dir = tempfile::tempdir().expect("a directory");
    let record = sample::green();
    put(dir.path(), &record);
    for _ in 0..2 {
        assert!(update(dir.path()).expect("updated").is_empty());
        assert_eq!(lines_of(dir.path()), record.drills.len());
    }
    let history = History::read(dir.path()).expect("read");
    let newest = history.newest("deltacrown", |_| Some(()));
    assert_eq!(newest.len(), record.drills.len());
    let entry = &newest["deltacrown/database-corruption"];
    assert_eq!(entry.verdict, Verdict::Passed);
    assert_eq!(entry.rpo, Some(3480.0));
    assert_eq!(history.record(&entry.run).expect("read"), record);
}

#[test]
fn the_runs_of_all_shards_merge_by_putting_their_folders_together() {
    let dir = tempfile::tempdir().expect("a directory");
    let (one, two) = (sample::green(), later(&sample::green(), 1));
    put(dir.path(), &one);
    update(dir.path()).expect("updated");
    put(dir.path(), &two);
    let history = History::read(dir.path()).expect("read");
    assert_eq!(history.runs(), [one.run_id.clone(), two.run_id.clone()]);
    let newest = history.newest("deltacrown", |_| Some(()));
    assert!(newest.values().all(|entry| entry.run == two.run_id));
    assert_eq!(
        lines_of(dir.path()),
        one.drills.len(),
        "reading writes nothing"
    );
}

#[test]
fn a_torn_last_line_is_told_and_its_run_is_read_from_its_record() {
    let whole = tempfile::tempdir().expect("a directory");
    let record = sample::green();
    put(whole.path(), &record);
    update(whole.path()).expect("updated");
    let text = fs::read(whole.path().join(HISTORY)).expect("read");
    for cut in [1, 2, 40, 300, 700, text.len() - 1] {
        let kept = &text[..text.len() - cut];
        fs::write(whole.path().join(HISTORY), kept).expect("written");
        let history = History::read(whole.path()).expect("read");
        // Without its newline alone, the last line is whole.
        assert_eq!(history.notes.is_empty(), cut == 1, "{:?}", history.notes);
        let entries = history.entries("deltacrown", |_| true);
        assert_eq!(entries.len(), record.drills.len(), "cut by {cut}");

        let next = later(&record, 1);
        put(whole.path(), &next);
        update(whole.path()).expect("updated");
        let history = History::read(whole.path()).expect("read");
        let entries = history.entries("deltacrown", |_| true);
        assert_eq!(entries.len(), 2 * record.drills.len(), "cut by {cut}");
        fs::remove_dir_all(whole.path().join(&next.run_id)).expect("removed");
    }
}

#[test]
fn runs_that_append_at_once_lose_nothing_and_write_nothing_twice() {
    let dir = tempfile::tempdir().expect("a directory");
    let folder = dir.path();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            scope.spawn(move || {
                for run in 0..5 {
                    put(folder, &later(&sample::green(), writer * 100 + run));
                    update(folder).expect("updated");
                }
            });
        }
    });
    let drills = sample::green().drills.len();
    assert_eq!(lines_of(folder), 20 * drills);
    let history = History::read(folder).expect("read");
    assert_eq!(history.runs().len(), 20);
    assert!(history.notes.is_empty(), "{:?}", history.notes);
}

#[test]
fn a_history_that_somebody_holds_is_waited_for_and_then_told() {
    let dir = tempfile::tempdir().expect("a directory");
    put(dir.path(), &sample::green());
    let path = dir.path().join(HISTORY);
    let held = fs::File::create(&path).expect("created");
    held.lock().expect("locked");
    let patience = Duration::from_millis(100);
    let notes = file::update_within(dir.path(), patience).expect("ends");
    assert!(
        notes[0].contains("was held by another process for 100ms"),
        "{notes:?}"
    );
    assert_eq!(lines_of(dir.path()), 0);
    drop(held);
    assert!(update(dir.path()).expect("updated").is_empty());
    assert_eq!(lines_of(dir.path()), sample::green().drills.len());
}

#[test]
fn what_was_killed_is_left_out_and_told() {
    let dir = tempfile::tempdir().expect("a directory");
    put(dir.path(), &sample::running());
    let cut = dir.path().join("20250113-000000-00000001");
    fs::create_dir(&cut).expect("a folder");
    let text = sample::green().to_json().expect("json");
    fs::write(cut.join("record.json"), &text[..text.len() / 2]).expect("written");
    let old = dir.path().join("20250113-000000-00000002");
    fs::create_dir(&old).expect("a folder");
    let old_text = text.replacen("\"schema_version\": 2", "\"schema_version\": 1", 1);
    fs::write(old.join("record.json"), old_text).expect("written");
    let history = History::read(dir.path()).expect("read");
    assert!(history.runs().is_empty());
    let notes = history.notes.join("\n");
    for word in ["was killed", "00000001", "schema version 1"] {
        assert!(notes.contains(word), "{word}: {notes}");
    }
}

#[test]
fn a_run_that_leads_out_of_the_folder_is_refused() {
    let history = History::default();
    for run in ["../x", "", "a/b", "/etc"] {
        assert!(history.record_path(run).is_err(), "{run}");
    }
}

#[test]
fn the_head_of_a_line_is_what_its_json_says() {
    for entry in Entry::of_run(&sample::green(), &"a".repeat(64)) {
        let line = serde_json::to_vec(&entry).expect("json");
        let head = Head::of(&line).expect("a head");
        assert_eq!(head.at, line::instant(entry.at));
        assert_eq!(head.suite, entry.suite);
        assert_eq!(head.drill, entry.drill);
        assert_eq!(head.run, entry.run);
        assert_eq!(head.commit, entry.commit);
        assert_eq!(head.suite_sha256, entry.suite_sha256);
        assert_eq!(Entry::of(&line), Some(entry));
    }
    assert_eq!(Head::of(b"{\"at\":\"x\",\"suite\":\"y\"}"), None);
    assert_eq!(Head::of(b"{}"), None);
}

mod trends {
    use super::*;
    use crate::suite::{Suite, Trend};

    fn suite(trend: Trend) -> Suite {
        Suite {
            trend,
            ..sample::deltacrown()
        }
    }

    fn with_rto(hours: i64, seconds: f64) -> Record {
        let mut record = later(&sample::green(), hours);
        for drill in &mut record.drills {
            if let Some(rto) = &mut drill.rto {
                rto.total_seconds = seconds;
            }
        }
        record
    }

    fn judged(earlier: &[f64], now: f64) -> Record {
        let dir = tempfile::tempdir().expect("a directory");
        for (hours, seconds) in (0..).zip(earlier) {
            put(dir.path(), &with_rto(hours, *seconds));
        }
        let history = History::read(dir.path()).expect("read");
        let mut record = with_rto(100, now);
        let trend = Trend {
            rto: Some(25.0),
            ..Trend::none()
        };
        judge(&mut record, &history, &[suite(trend)]);
        record
    }

    #[test]
    fn a_recovery_that_takes_longer_than_the_suite_allows_fails_the_run() {
        let record = judged(&[10.0, 11.0, 10.5, 10.2], 14.0);
        assert_eq!(record.exit(), crate::exit::Exit::Failed);
        let check = record.drills[0].checks.last().expect("a check");
        assert_eq!(check.findings[0].kind, "regression");
        let message = &check.findings[0].message;
        assert!(
            message.contains("RTO is 14 s, 33 % above the median 10.5 s"),
            "{message}"
        );
        Record::from_json(&record.to_json().expect("json")).expect("is consistent");
    }

    #[test]
    fn a_recovery_as_usual_passes_and_says_so() {
        let record = judged(&[10.0, 11.0, 10.5], 12.0);
        assert_eq!(record.exit(), crate::exit::Exit::Passed);
        let check = record.drills[0].checks.last().expect("a check");
        assert_eq!((check.id.as_str(), check.observed), ("trend", 3));
    }

    #[test]
    fn two_runs_are_no_trend_and_less_than_a_second_is_noise() {
        for (earlier, now) in [(&[1.0, 1.0][..], 50.0), (&[0.2, 0.2, 0.2], 0.9)] {
            let record = judged(earlier, now);
            assert_eq!(record.exit(), crate::exit::Exit::Passed, "{now}");
        }
    }

    #[test]
    fn only_like_is_compared_with_like() {
        let dir = tempfile::tempdir().expect("a directory");
        for hours in 0..4 {
            let mut record = with_rto(hours, 1.0);
            for drill in &mut record.drills {
                drill.scale = 0.1;
            }
            put(dir.path(), &record);
        }
        let history = History::read(dir.path()).expect("read");
        let mut record = with_rto(100, 60.0);
        let trend = Trend {
            rto: Some(25.0),
            ..Trend::none()
        };
        judge(&mut record, &history, &[suite(trend)]);
        assert_eq!(record.exit(), crate::exit::Exit::Passed);
    }

    #[test]
    fn what_got_worse_stands_first() {
        let (was, mut is) = (sample::green(), sample::red());
        is.drills.retain(|drill| drill.kind != DrillKind::Retention);
        let found = compare(&was, &is);
        assert!(found.changes.iter().any(|it| it.worse == Some(true)));
        let first = found.changes.first().expect("a change");
        assert_eq!(first.worse, Some(true));
        let content = found
            .changes
            .iter()
            .find(|it| it.drill == "deltacrown/database-corruption" && it.what == "content")
            .expect("a change");
        assert_eq!(
            (content.before.as_str(), content.after.as_str()),
            ("passed", "failed")
        );
        let gone = found.changes.iter().find(|it| it.after == "not there");
        assert!(gone.is_some_and(|it| it.worse == Some(true)));
        assert!(compare(&was, &was).changes.is_empty());
    }
}
