//! Whole reports, compared with `fixtures/golden`: for each run its record, the Markdown and the terminal's tables.
//! `REDRILL_BLESS=1 cargo test golden` writes them anew.

use std::path::{Path, PathBuf};

use crate::history::{self, Entry};
use crate::record::format::Finding;
use crate::record::{DrillKind, Record, Severity, Verdict, sample};

use super::terminal::{self, Screen};
use super::{DEFINITIONS, html, markdown, view};

fn runs() -> [(&'static str, Record); 5] {
    [
        ("green", sample::green()),
        ("red", sample::red()),
        ("missed", sample::missed()),
        ("undetermined", sample::undetermined()),
        ("interrupted", sample::interrupted()),
    ]
}

fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/golden")
        .join(file)
}

fn check(file: &str, text: &str) {
    let path = golden(file);
    if std::env::var_os("REDRILL_BLESS").is_some() {
        std::fs::write(&path, text).expect("written");
        return;
    }
    let known = std::fs::read_to_string(&path).expect("REDRILL_BLESS=1 writes the golden files");
    for (at, (new, old)) in text.lines().zip(known.lines()).enumerate() {
        assert_eq!(new, old, "{file}, line {}", at + 1);
    }
    assert_eq!(text.len(), known.len(), "{file}: its length");
}

fn on_terminal(record: &Record, quiet: bool, screen: Screen) -> String {
    let mut out = Vec::new();
    terminal::print(record, "reports/run/report.md", quiet, screen, &mut out).expect("printed");
    String::from_utf8(out).expect("text")
}

#[test]
fn golden_every_run_reads_as_it_did() {
    for (name, record) in runs() {
        check(
            &format!("{name}.record.json"),
            &record.to_json().expect("json"),
        );
        let read = Record::read(&golden(&format!("{name}.record.json"))).expect("read");
        assert_eq!(read, record, "{name}");
        check(&format!("{name}.md"), &markdown::render(&read));
        check(
            &format!("{name}.txt"),
            &on_terminal(&read, false, Screen::PLAIN),
        );
    }
}

#[test]
fn every_report_opens_with_the_verdict_and_defines_its_words() {
    for (name, record) in runs() {
        let report = markdown::render(&record);
        let (word, _) = view::headline(&record);
        let first = report.lines().next().expect("a line");
        assert!(first.ends_with(word), "{name}: {first}");
        for (word, meaning) in DEFINITIONS {
            assert!(report.contains(&format!("**{word}**: {meaning}")), "{name}");
        }
        assert!(report.contains(&record.command), "{name}");
    }
}

#[test]
fn a_verified_artifact_shows_its_steps_its_times_and_its_trend() {
    let mut record = sample::green();
    record.drills.truncate(1);
    record.drills[0].kind = DrillKind::Verify;
    let mut before = record.clone();
    before.started_at -= chrono::TimeDelta::days(1);
    let runs = [before, record.clone()];
    let entries = runs.iter().flat_map(|run| Entry::of_run(run, "0"));
    let page = html::render(&record, &history::series(entries.collect()));
    for section in ["phases", "trends", "recoveries"] {
        assert!(
            page.contains(&format!("<section id=\"{section}\">")),
            "{section}"
        );
    }
    let command = "pg_restore --dbname=deltacrown_new --jobs=4";
    assert!(page.contains(command) && markdown::render(&record).contains(command));
}

#[test]
fn every_row_of_a_markdown_table_has_the_cells_of_its_head() {
    let cells = |row: &str| row.replace("\\|", "").matches('|').count();
    for (name, record) in runs() {
        let report = markdown::render(&record);
        let mut head = None;
        for row in report.lines() {
            match row.starts_with('|') {
                true => assert_eq!(cells(row), *head.get_or_insert(cells(row)), "{name}: {row}"),
                false => head = None,
            }
        }
    }
}

#[test]
fn the_tables_fit_a_narrow_terminal() {
    for (name, record) in runs() {
        let screen = Screen {
            width: 60,
            colour: false,
        };
        for row in on_terminal(&record, true, screen).lines() {
            assert!(row.chars().count() <= 60, "{name}: {row}");
        }
    }
}

#[test]
fn colour_codes_are_written_only_where_they_are_wanted() {
    let screen = Screen {
        width: 100,
        colour: true,
    };
    let record = sample::red();
    assert!(on_terminal(&record, false, screen).contains('\u{1b}'));
    let plain = on_terminal(&record, false, Screen::PLAIN);
    assert!(!plain.contains('\u{1b}'));
    // Colour changes no letter and no place of one.
    let mut stripped = String::new();
    let coloured = on_terminal(&record, false, screen);
    let mut rest = coloured.as_str();
    while let Some(at) = rest.find('\u{1b}') {
        stripped.push_str(&rest[..at]);
        let end = rest[at..].find('m').expect("a whole code");
        rest = &rest[at + end + 1..];
    }
    stripped.push_str(rest);
    assert_eq!(stripped, plain);
}

#[test]
fn quiet_leaves_only_the_tables_of_what_was_counted() {
    let text = on_terminal(&sample::red(), true, Screen::PLAIN);
    assert!(text.contains("TOTAL"));
    assert!(!text.contains("remedy"));
    assert!(!text.contains("Report:"));
}

#[test]
fn json_is_the_record_and_nothing_else() {
    let mut out = Vec::new();
    terminal::print_json(&sample::red(), &mut out).expect("printed");
    let text = String::from_utf8(out).expect("text");
    assert_eq!(Record::from_json(&text).expect("a record"), sample::red());
}

#[test]
fn what_a_caught_fault_caused_is_no_finding_and_what_was_missed_is() {
    let found = view::findings(&sample::missed());
    assert!(found.iter().all(|it| it.kind == "fault-missed"));
    assert_eq!(found.len(), 2);
}

#[test]
fn what_broke_on_the_way_is_told_when_no_check_told_it() {
    let found = view::findings(&sample::undetermined());
    assert!(
        found
            .iter()
            .any(|it| it.message.contains("redis-server: not found"))
    );
    let found = view::findings(&sample::red());
    let left = found.iter().find(|it| it.kind == "left-behind");
    assert!(left.is_some_and(|it| it.remedy.contains("redrill reap")));
}

#[test]
fn a_missed_fault_is_told_by_what_was_found_and_one_that_was_caught_is_not_called_missed() {
    let mut record = sample::missed();
    let drill = &mut record.drills[1];
    drill.verdict = Verdict::Failed;
    let mut told = |kind: &str| {
        let drill = &mut record.drills[1];
        drill.checks[0].findings = vec![Finding {
            kind: kind.to_owned(),
            severity: Severity::Error,
            message: String::new(),
            remedy: String::new(),
            subject: String::new(),
        }];
        view::planted(&record)[1].caught.clone()
    };
    assert_eq!(
        told("secret-leaked"),
        "CAUGHT (readable, content), BUT secret-leaked"
    );
    assert_eq!(
        told("fault-missed"),
        "MISSED (readable, content, and not by all that must)"
    );
    assert_eq!(
        told("fault-caught-by-accident"),
        "MISSED (readable, content: by accident)"
    );
    let record = sample::missed();
    let told: Vec<_> = view::planted(&record);
    assert_eq!(told[3].caught, "MISSED");
    assert_eq!(told[4].caught, "MISSED (only content)");
}

#[test]
fn a_fault_that_is_planted_in_two_scenarios_has_two_rows_of_its_own() {
    let mut record = sample::missed();
    record.drills.truncate(2);
    let mut other = record.drills[1].clone();
    other.id += "@another";
    other.verdict = Verdict::Failed;
    if let Some(detection) = &mut other.detection {
        detection.caught_by.clear();
    }
    record.drills.push(other);
    let page = html::render(&record, &Default::default());
    let count = |words: &str| page.matches(words).count();
    assert_eq!(count("readable caught it, as it must"), 1);
    assert_eq!(count("readable had to catch it, and did not"), 1);
}

#[test]
fn the_page_of_all_runs_says_of_each_what_its_record_does() {
    let mut over_all = sample::green();
    over_all.rpo = vec![sample::spread(2000.0)];
    // The counts follow from what is there.
    over_all.add("none", over_all.drills[0].checks[0].clone());
    for (record, word) in [
        (sample::green(), "PASSED"),
        (sample::interrupted(), "INTERRUPTED"),
        (over_all, "FAILED"),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        let run = dir.path().join(&record.run_id);
        std::fs::create_dir(&run).expect("a folder");
        record.write(&run.join("record.json")).expect("written");
        let page = html::index(&history::History::read(dir.path()).expect("read"));
        let said: Vec<&str> = ["PASSED", "INTERRUPTED", "FAILED"]
            .into_iter()
            .filter(|it| page.contains(it))
            .collect();
        assert_eq!(said, [word]);
    }
}
