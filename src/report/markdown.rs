//! `report.md`, rendered from the record and nothing else, so that `redrill report RUN` renders the same again.
//! The verdict stands first; what a person at three in the morning needs stands before what explains it.
//!
//! Not here: which rows there are (see [`super::view`]).

use std::fmt::Write as _;

use crate::record::{LineKind, Record, Verdict};

use super::matrix::Matrix;
use super::text::{self, code, markdown, sentence};
use super::view::{self, Found, Standing};

/// Appends a line. Writing to a string cannot fail.
macro_rules! say {
    ($out:expr) => { $out.push('\n') };
    ($out:expr, $($arg:tt)*) => {{ writeln!($out, $($arg)*).ok(); }};
}

mod recoveries;

/// How many findings are shown; the record has them all.
const FINDINGS_SHOWN: usize = 200;

/// The report of a run.
pub fn render(record: &Record) -> String {
    let mut out = String::new();
    let findings = view::findings(record);
    head(&mut out, record);
    objectives(&mut out, record, &findings);
    tests(&mut out, record);
    detections(&mut out, record);
    all_findings(&mut out, &findings);
    recoveries::render(&mut out, record);
    drills(&mut out, record);
    controls(&mut out, record);
    services(&mut out, record);
    definitions(&mut out);
    again(&mut out, record);
    out
}

/// A table; nothing at all when it has no rows. Cells are Markdown already.
fn table(out: &mut String, head: &[&str], rows: &[Vec<String>]) {
    if rows.is_empty() {
        return;
    }
    say!(out, "| {} |", head.join(" | "));
    say!(out, "|{}", " --- |".repeat(head.len()));
    for row in rows {
        say!(out, "| {} |", row.join(" | "));
    }
    say!(out);
}

fn titles(record: &Record) -> String {
    let titles: Vec<String> = record
        .suites
        .iter()
        .map(|suite| markdown(&suite.title))
        .collect();
    match titles.is_empty() {
        true => "no suite".to_owned(),
        false => titles.join(", "),
    }
}

fn head(out: &mut String, record: &Record) {
    let (word, standing) = view::headline(record);
    say!(
        out,
        "# Backup drill of {}: {} {word}",
        titles(record),
        standing.sign()
    );
    say!(out);
    say!(out, "**{word}**: {}", view::verdict_sentence(record));
    say!(out);
    say!(
        out,
        "Run {}, started {}, redrill {}, services: {} ({}).",
        code(&record.run_id),
        record.started_at.format("%Y-%m-%d %H:%M:%S UTC"),
        markdown(&record.redrill_version),
        markdown(&record.services.mode),
        sentence(&record.services.reason)
    );
    say!(out);
    if !record.not_run.is_empty() {
        say!(out, "These drills did not run, and count as nothing:");
        say!(out);
        for drill in &record.not_run {
            say!(out, "- {} {}", code(&drill.id), markdown(&drill.title));
        }
        say!(out);
    }
}

fn objectives(out: &mut String, record: &Record, findings: &[Found]) {
    let rows = view::objectives(record);
    let Some(overall) = view::overall(&rows) else {
        return;
    };
    say!(out, "## Recovery objectives");
    say!(out);
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let measured: Vec<String> = row.measured.iter().map(|it| markdown(it)).collect();
            vec![
                format!("**{}**", markdown(&row.scenario)),
                markdown(&row.rpo),
                markdown(&row.rto),
                measured.join("<br>"),
                format!("{} {}", row.standing.sign(), row.status),
            ]
        })
        .collect();
    table(
        out,
        &[
            "Scenario",
            "RPO objective",
            "RTO objective",
            "Measured",
            "Status",
        ],
        &cells,
    );
    say!(out, "{overall}");
    say!(out);
    for found in findings.iter().filter(|found| found.about_schedule()) {
        finding(out, found);
    }
    if findings.iter().any(Found::about_schedule) {
        say!(out);
    }
}

fn tests(out: &mut String, record: &Record) {
    let lines = record.lines();
    for suite in &record.suites {
        let own: Vec<_> = lines
            .iter()
            .filter(|line| line.suite == suite.name && line.kind != LineKind::Fault)
            .collect();
        if own.is_empty() {
            continue;
        }
        let what = if own.iter().any(|line| line.kind == LineKind::Test) {
            "Tests"
        } else {
            "Checks"
        };
        say!(out, "## {what} of {}", markdown(&suite.title));
        say!(out);
        let mut rows: Vec<Vec<String>> = own
            .iter()
            .map(|line| {
                let (word, standing) = view::verdict(line.verdict);
                vec![
                    code(line.name),
                    code(line.check),
                    code(line.drill),
                    format!("{} {word}", standing.sign()),
                    text::duration(line.seconds),
                ]
            })
            .collect();
        let passed = own
            .iter()
            .filter(|line| line.verdict == Some(Verdict::Passed))
            .count();
        let took: f64 = own.iter().map(|line| line.seconds).sum();
        rows.push(vec![
            "**TOTAL**".to_owned(),
            String::new(),
            String::new(),
            format!("**{passed}/{}**", own.len()),
            format!("**{}**", text::duration(took)),
        ]);
        table(
            out,
            &["Test", "Check", "Drill", "Verdict", "Runtime"],
            &rows,
        );
    }
}

fn detections(out: &mut String, record: &Record) {
    let planted = view::planted(record);
    if planted.is_empty() {
        return;
    }
    say!(out, "## Would anyone have noticed?");
    say!(out);
    say!(
        out,
        "Each fault was planted on purpose, and must be caught by the check named for it."
    );
    say!(out);
    let mut rows: Vec<Vec<String>> = planted
        .iter()
        .map(|row| {
            vec![
                code(&row.fault),
                markdown(&row.planted),
                code(&row.must),
                format!("{} {}", row.standing.sign(), markdown(&row.caught)),
            ]
        })
        .collect();
    let good = planted
        .iter()
        .filter(|row| row.standing == Standing::Good)
        .count();
    rows.push(vec![
        "**TOTAL**".to_owned(),
        String::new(),
        String::new(),
        format!("**{good}/{}**", planted.len()),
    ]);
    table(
        out,
        &["Fault", "Planted how", "Must be caught by", "Caught by"],
        &rows,
    );
    if let Some(matrix) = Matrix::of(record) {
        let (head, rows, notes) = matrix.markdown();
        let head: Vec<&str> = head.iter().map(String::as_str).collect();
        table(out, &head, &rows);
        say!(out, "{notes}");
    }
}

fn all_findings(out: &mut String, findings: &[Found]) {
    say!(out, "## Findings");
    say!(out);
    if findings.is_empty() {
        say!(out, "None.");
        say!(out);
        return;
    }
    for found in findings.iter().take(FINDINGS_SHOWN) {
        finding(out, found);
    }
    if findings.len() > FINDINGS_SHOWN {
        say!(
            out,
            "- and {} more, in `record.json`",
            findings.len() - FINDINGS_SHOWN
        );
    }
    say!(out);
}

fn finding(out: &mut String, found: &Found) {
    let (word, standing) = found.weight();
    say!(
        out,
        "- {} **{word}** {}: {}",
        standing.sign(),
        code(&found.kind),
        sentence(&text::at_most(&found.message, 2000))
    );
    say!(out, "  - Remedy: {}", sentence(&found.remedy));
    let places: Vec<String> = found
        .places
        .iter()
        .take(8)
        .map(|place| code(place))
        .collect();
    let more = match found.places.len() {
        0..=8 => String::new(),
        all => format!(" and {} more", all - 8),
    };
    say!(out, "  - Found in: {}{more}", places.join(", "));
}

fn drills(out: &mut String, record: &Record) {
    if record.drills.is_empty() {
        return;
    }
    say!(out, "## Drills");
    say!(out);
    let rows: Vec<Vec<String>> = record
        .drills
        .iter()
        .map(|drill| {
            let (word, standing) = view::verdict(Some(drill.verdict));
            let held = drill
                .checks
                .iter()
                .filter(|check| check.verdict == Verdict::Passed)
                .count();
            vec![
                code(&drill.id),
                markdown(&drill.title),
                format!("{} {word}", standing.sign()),
                format!("{held}/{}", drill.checks.len()),
                text::duration(drill.seconds),
                drill.seed.to_string(),
                drill.scale.to_string(),
            ]
        })
        .collect();
    table(
        out,
        &[
            "Drill",
            "Title",
            "Verdict",
            "Checks passed",
            "Took",
            "Seed",
            "Scale",
        ],
        &rows,
    );
}

fn controls(out: &mut String, record: &Record) {
    say!(out, "## Control map");
    say!(out);
    say!(
        out,
        "What this record shows of controls that ask for tested backups. It is evidence for them, and no certificate."
    );
    say!(out);
    let rows: Vec<Vec<String>> = super::controls::controls(record)
        .into_iter()
        .map(|it| {
            vec![
                markdown(it.id),
                markdown(it.asks),
                format!("{} {}", it.standing.sign(), markdown(&it.shown)),
            ]
        })
        .collect();
    table(out, &["Control", "Asks", "Shown by this record"], &rows);
}

fn services(out: &mut String, record: &Record) {
    say!(out, "## Services");
    say!(out);
    say!(
        out,
        "Mode: {}. Why: {}.",
        markdown(&record.services.mode),
        sentence(record.services.reason.trim_end_matches('.'))
    );
    say!(out);
    let rows: Vec<Vec<String>> = record
        .services
        .versions
        .iter()
        .map(|it| {
            vec![
                code(&it.name),
                markdown(&it.product),
                markdown(&it.version),
                markdown(&it.mode),
            ]
        })
        .collect();
    table(out, &["Service", "Product", "Version", "Mode"], &rows);
}

fn definitions(out: &mut String) {
    say!(out, "## What the words mean");
    say!(out);
    for (word, meaning) in super::DEFINITIONS {
        say!(out, "- **{word}**: {meaning}");
    }
    say!(out);
}

fn again(out: &mut String, record: &Record) {
    say!(out, "## Run it again");
    say!(out);
    out.push_str(&text::fenced(&record.command, "sh", ""));
    say!(out);
    for suite in &record.suites {
        say!(
            out,
            "- Suite {}: SHA-256 {}",
            code(&suite.name),
            code(&suite.sha256)
        );
    }
    if let Some(commit) = &record.origin.commit {
        let changed = match record.origin.dirty {
            Some(true) => ", and changes that are not in it",
            _ => "",
        };
        say!(out, "- Commit {}{changed}", code(commit));
    }
    say!(
        out,
        "- Rendered from `record.json`, schema version {}.",
        record.schema_version
    );
}
