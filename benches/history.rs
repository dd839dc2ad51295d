//! How long a gate takes to read a history of 100,000 drills in 10,000 runs, and to decide on it. It must be less than
//! 200 ms: an optimised build that takes longer ends with an error.

use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use redrill::gate::{Requirement, decide};
use redrill::history::{Entry, HISTORY, History, update};
use redrill::origin::Origin;
use redrill::plan::{Options, expand};
use redrill::record::Record;
use redrill::suite::policy::Policy;
use redrill::suite::{Suite, parse};

const RUNS: i64 = 10_000;
const DRILLS: usize = 10;
const MOST: Duration = Duration::from_millis(200);

/// A suite of ten drills.
fn suite() -> Suite {
    let mut text = String::from(
        "[component.db]\nkind = \"postgres\"\n[backup.postgres]\nschedule = \"@hourly\"\n",
    );
    for number in 0..DRILLS {
        text += &format!(
            "[scenario.s{number}]\nstrike = {{ fault = \"server-lost\" }}\nat = \"58m after postgres\"\nrpo = \"1h\"\nrto = \"15m\"\n"
        );
    }
    parse(&text, Path::new("deltacrown.toml")).expect("a suite")
}

/// A run of all of them that passed.
fn record(suite: &Suite) -> Record {
    let golden = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/fixtures/golden/green.record.json"
    );
    let mut record = Record::read(golden.as_ref()).expect("a record");
    record.suites[0].sha256.clone_from(&suite.sha256);
    record.suites[0].tests.clear();
    let mut drill = record.drills[0].clone();
    for check in &mut drill.checks {
        check.test = None;
    }
    record.drills = (0..DRILLS)
        .map(|number| {
            let mut drill = drill.clone();
            drill.id = format!("deltacrown/s{number}");
            drill.scenario = Some(format!("s{number}"));
            drill
        })
        .collect();
    record.summary.passed = record.lines().len() as u64;
    record
}

/// A reports folder with the folders of all runs, and the history of them.
fn reports(folder: &Path, record: &Record) {
    let newest = folder.join(&record.run_id);
    std::fs::create_dir(&newest).expect("a folder");
    record.write(&newest.join("record.json")).expect("written");
    let drills = Entry::of_run(record, &"a".repeat(64));
    let mut lines = String::new();
    for number in 1..RUNS {
        let run = format!("20240112-150000-{number:08x}");
        std::fs::create_dir(folder.join(&run)).expect("a folder");
        for drill in &drills {
            let mut entry = drill.clone();
            entry.at -= chrono::TimeDelta::minutes(number);
            entry.run.clone_from(&run);
            lines += &(serde_json::to_string(&entry).expect("json") + "\n");
        }
    }
    std::fs::write(folder.join(HISTORY), lines).expect("written");
    let notes = update(folder).expect("updated");
    assert_eq!(notes, Vec::<String>::new());
}

fn deciding(criterion: &mut Criterion) {
    let suite = suite();
    let record = record(&suite);
    let dir = tempfile::tempdir().expect("a directory");
    reports(dir.path(), &record);
    let plan = expand(&suite, &Options::default()).expect("unfolds");
    let origin = Origin {
        commit: record.origin.commit.clone(),
        ..Origin::default()
    };
    let now = record.started_at + chrono::TimeDelta::hours(2);
    let decided = || {
        let terms = Policy::default().terms();
        let required = Requirement::of(&suite, &plan, terms).expect("is asked");
        let history = History::read(dir.path()).expect("read");
        let decision = decide(&[required], &history, &origin, now);
        assert_eq!(decision.suites[0].evidence.len(), DRILLS);
        assert!(decision.open, "{:#?}", decision.suites[0].reasons);
    };
    criterion.bench_function("history/100,000 read and decided on", |bencher| {
        bencher.iter(decided);
    });
    let times = (0..10).map(|_| {
        let began = Instant::now();
        decided();
        began.elapsed()
    });
    let least = times.min().unwrap_or_default();
    assert!(
        cfg!(debug_assertions) || least < MOST,
        "it takes {least:?}, and {MOST:?} are promised"
    );
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = deciding
}
criterion_main!(benches);
