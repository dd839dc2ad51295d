//! How long a gate takes to read a history of 100,000 drills and find what decides.

use criterion::{Criterion, criterion_group, criterion_main};
use redrill::history::{Entry, HISTORY, History};
use redrill::record::Record;

const ENTRIES: i64 = 100_000;

fn reading(criterion: &mut Criterion) {
    let golden = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/fixtures/golden/green.record.json"
    );
    let record = Record::read(golden.as_ref()).expect("a record");
    let dir = tempfile::tempdir().expect("a directory");
    let entry = Entry::of_run(&record, &"a".repeat(64)).remove(0);
    let lines: Vec<String> = (0..ENTRIES)
        .map(|number| {
            let mut entry = entry.clone();
            entry.at += chrono::TimeDelta::minutes(number);
            entry.run = format!("20250112-150000-{number:08x}");
            entry.drill = format!("deltacrown/drill-{}", number % 20);
            serde_json::to_string(&entry).expect("json")
        })
        .collect();
    std::fs::write(dir.path().join(HISTORY), lines.join("\n") + "\n").expect("written");
    criterion.bench_function("history/100,000 read and decided on", |bencher| {
        bencher.iter(|| {
            let history = History::read(dir.path()).expect("read");
            let newest = history.newest("deltacrown", |head| Some(!head.commit.is_empty()));
            assert_eq!(newest.len(), 20);
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = reading
}
criterion_main!(benches);
