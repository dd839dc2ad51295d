//! All runs on one page: the latest first, and how figures moved.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use maud::html;

use crate::history::{Entry, History, series};
use crate::record::Verdict;

use super::super::text;
use super::super::view::{self, Standing};
use super::{badge, charts, page};

/// How many runs are shown.
const SHOWN: usize = 200;

/// The runs of a history.
pub fn index(history: &History) -> String {
    let suites = history.suites();
    let entries: Vec<Entry> = suites
        .flat_map(|it| history.entries(it, |_| true))
        .collect();
    let mut runs: BTreeMap<(DateTime<Utc>, &str), Vec<&Entry>> = BTreeMap::new();
    for entry in &entries {
        runs.entry((entry.at, &entry.run)).or_default().push(entry);
    }
    let worst = |drills: &[&Entry]| drills.iter().map(|it| it.verdict).max();
    // The record knows what its drills do not: that it was interrupted, or what failed over several of them.
    let said = |drills: &[&Entry]| {
        let read = drills.first().map(|entry| history.sealed(entry));
        match read {
            Some(Ok(record)) => (view::headline(&record), None),
            Some(Err(doubt)) => (view::verdict(worst(drills)), Some(doubt.message())),
            None => (view::verdict(None), None),
        }
    };
    let standing = runs
        .values()
        .next_back()
        .map_or(Standing::Unknown, |drills| said(drills).0.1);
    let body = html! {
        header {
            p.kicker { "redrill" }
            h1 { "Backup drills" }
            p.verdict { (text::plural(runs.len() as u64, "run")) " in " code { (history.folder().display()) } }
            @for note in &history.notes { p.fine { (text::line(note)) } }
        }
        section id="runs" {
            h2 { "Runs" }
            @if runs.is_empty() { p { "None yet: " code { "redrill drill" } " makes one." } }
            div.scroll { table {
                thead { tr { th { "Run" } th { "Suites" } th { "Drills passed" } th { "Verdict" } } }
                tbody { @for ((at, run), drills) in runs.iter().rev().take(SHOWN) {
                    @let ((word, standing), doubt) = said(drills);
                    @let passed = drills.iter().filter(|it| it.verdict == Verdict::Passed).count();
                    @let suites: std::collections::BTreeSet<&str> = drills.iter().map(|it| it.suite.as_str()).collect();
                    tr {
                        td { a href={ "/run/" (run) } { (at.format("%Y-%m-%d %H:%M UTC")) } }
                        td { (suites.into_iter().collect::<Vec<_>>().join(", ")) }
                        td.number { (passed) "/" (drills.len()) }
                        td {
                            (badge(word, standing))
                            @if let Some(doubt) = doubt {
                                " " (badge("do not rely on this", Standing::Bad)) p.fine { (text::line(&doubt)) }
                            }
                        }
                    }
                } }
            } }
        }
        (charts::trends(&series(entries.clone())))
    };
    page("Backup drills", body, standing)
}
