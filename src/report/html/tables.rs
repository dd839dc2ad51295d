//! What stands in tables: tests, planted faults against checks, findings, the commands of each recovery, and what
//! explains the rest.

use std::collections::BTreeSet;

use maud::{Markup, html};

use crate::context::Phase;
use crate::record::format::Step;
use crate::record::{DrillKind, LineKind, Record, Verdict};

use super::super::controls::controls as mapped;
use super::super::matrix::Matrix;
use super::super::text;
use super::super::view::{self, Standing};
use super::{badge, class, section, sentence};

/// How many findings and steps are shown; the record has them all.
const FINDINGS_SHOWN: usize = 200;
const STEPS_SHOWN: usize = 120;

pub(super) fn tests(record: &Record) -> Markup {
    let lines = record.lines();
    html! {
        @for suite in &record.suites {
            @let own: Vec<_> = lines.iter().filter(|it| it.suite == suite.name && it.kind != LineKind::Fault).collect();
            @let passed = own.iter().filter(|it| it.verdict == Some(Verdict::Passed)).count();
            @let what = if own.iter().any(|it| it.kind == LineKind::Test) { "Tests" } else { "Checks" };
            (section(&format!("tests-{}", suite.name), &format!("{what} of {}", text::line(&suite.title)), "",
                (!own.is_empty()).then(|| html! {
                    div.scroll { table {
                        thead { tr { th { "Test" } th.roomy { "Check" } th.roomy { "Drill" } th { "Verdict" } th.number { "Runtime" } } }
                        tbody { @for line in &own {
                            @let (word, standing) = view::verdict(line.verdict);
                            tr {
                                td { code { (line.name) } }
                                td.roomy { (line.check) }
                                td.roomy { code { (line.drill) } }
                                td { (badge(word, standing)) }
                                td.number { (text::duration(line.seconds)) }
                            }
                        } }
                        tfoot { tr {
                            th { "Total" } td.roomy {} td.roomy {}
                            td { strong data-passed=(passed) data-counted=(own.len()) { (passed) "/" (own.len()) } }
                            td.number { (text::duration(own.iter().map(|it| it.seconds).sum())) }
                        } }
                    } }
                })))
        }
    }
}

/// Planted faults against the checks that noticed them.
pub(super) fn detections(record: &Record) -> Markup {
    let planted = view::planted(record);
    let detections = || {
        record
            .drills
            .iter()
            .filter_map(|it| it.detection.as_ref().map(|found| (it, found)))
    };
    let named: BTreeSet<&str> = detections()
        .map(|(_, it)| it.must_be_caught_by.as_str())
        .collect();
    let noticed = detections().flat_map(|(_, it)| it.caught_by.iter().map(String::as_str));
    let checks: BTreeSet<&str> = noticed.chain(named).collect();
    let good = planted
        .iter()
        .filter(|it| it.standing == Standing::Good)
        .count();
    let body = (!planted.is_empty()).then(|| {
        html! {
            div.scroll { table.matrix {
                thead { tr {
                    th { "Fault" } th { "Planted" }
                    @for check in &checks { th.turned { span { (check) } } }
                    th { "Verdict" }
                } }
                tbody {
                    @for row in &planted {
                        @let own = detections().find(|(it, _)| it.id == row.drill).map(|(_, it)| it);
                        tr {
                            td { code { (row.fault) } }
                            td { (text::line(&row.planted)) }
                            @for check in &checks {
                                @let must = own.is_some_and(|it| it.must_be_caught_by == *check);
                                @let did = own.is_some_and(|it| it.caught_by.iter().any(|by| by == check));
                                td.dot {
                                    @match (must, did) {
                                        (true, true) => span.good title={ (check) " caught it, as it must" } { "●" },
                                        (true, false) => span.bad title={ (check) " had to catch it, and did not" } { "✕" },
                                        (false, true) => span.also title={ (check) " noticed it too" } { "○" },
                                        (false, false) => {},
                                    }
                                }
                            }
                            td { (badge(if own.is_some() && row.standing == Standing::Good { "caught" } else { &row.caught }, row.standing)) }
                        }
                    }
                }
                tfoot { tr { th colspan=(checks.len() + 2) { "Total" } td { strong data-caught=(good) { (good) "/" (planted.len()) } } } }
            } }
            p.legend { span.key { span.good { "●" } " caught by the check named for it" } span.key { "○ noticed by another one too" } span.key { span.bad { "✕" } " missed" } }
            @if let Some(matrix) = Matrix::of(record) {
                (fold("unplanted", html! { "What is not planted, and why" }, html! {
                    ul.about { @for said in matrix.legend().iter().skip(1) { li { (text::line(said)) } } }
                }))
            }
        }
    });
    section(
        "detection",
        "Would anyone have noticed?",
        "Each fault was planted on purpose, and must be caught by the check named for it; the healthy twin must raise no alarm.",
        body,
    )
}

pub(super) fn findings(record: &Record) -> Markup {
    let all = view::findings(record);
    let body = html! {
        @if all.is_empty() { p { "None." } }
        ul.findings { @for found in all.iter().take(FINDINGS_SHOWN) {
            @let (word, standing) = found.weight();
            li class=(class(standing)) {
                p { (badge(word, standing)) " " code { (found.kind) } " " (sentence(&text::at_most(&found.message, 2000))) }
                p.remedy { strong { "Remedy: " } (sentence(&found.remedy)) }
                p.places { @for (at, place) in found.places.iter().take(8).enumerate() { @if at > 0 { ", " } code { (text::line(place)) } }
                    @if found.places.len() > 8 { " and " (found.places.len() - 8) " more" } }
            }
        } }
        @if all.len() > FINDINGS_SHOWN { p { "And " (all.len() - FINDINGS_SHOWN) " more, in record.json." } }
    };
    section("findings", "Findings", "", Some(body))
}

/// What is opened and closed on a screen, and is open on paper: `details` would stay closed there in most browsers.
fn fold(id: &str, summary: Markup, body: Markup) -> Markup {
    let id = format!("fold-{id}");
    html! {
        div.fold {
            input type="checkbox" id=(id);
            label for=(id) { (summary) }
            div.folded { (body) }
        }
    }
}

/// Every recovery with the commands that ran.
pub(super) fn recoveries(record: &Record) -> Markup {
    let names = Phase::RECOVERY.map(Phase::name);
    let drills: Vec<_> = record
        .drills
        .iter()
        .filter(|it| view::recovers(it))
        .collect();
    let body = (!drills.is_empty()).then(|| {
        html! { @for (number, drill) in drills.into_iter().enumerate() {
            @let steps: Vec<&Step> = drill.steps.iter().filter(|it| names.contains(&it.phase.as_str())).collect();
            (fold(&format!("recovery-{number}"), html! {
                (text::line(&view::scenario_title(drill)))
                @if let Some(rto) = &drill.rto { span.total { "RTO " (text::against(rto.total_seconds, rto.objective_seconds)) } }
            }, html! {
                @if let Some(strike) = &drill.strike {
                    p { "Struck at " (strike.at.format("%Y-%m-%d %H:%M:%S UTC")) " (virtual time): "
                        @for (at, it) in strike.struck.iter().enumerate() { @if at > 0 { ", " } code { (it.component) } " with " code { (it.fault) } } "." }
                }
                @for it in &drill.recoveries {
                    p { code { (it.component) } " from " code { (it.artifact.as_deref().unwrap_or("–")) } " of " code { (it.backup) } ": "
                        @match &it.error {
                            None => { "recovered" @if let Some(seconds) = it.seconds { " in " (text::duration(seconds)) } },
                            Some(error) => { strong { "not recovered: " } (sentence(&text::at_most(error, 600))) },
                        } }
                }
                ol.steps { @for step in steps.iter().take(STEPS_SHOWN) {
                    li {
                        span.phase { (step.phase) } " " code { (step.component) } " " span.took { (text::duration(step.seconds)) }
                        @match step.exit {
                            Some(0) => {},
                            Some(code) => { strong.bad { " exit " (code) } },
                            None if step.log.is_empty() => { " by redrill itself" },
                            None => { strong.bad { " ended by a signal or its deadline" } },
                        }
                        pre { (text::at_most(&text::block(&step.command), 4000)) }
                    }
                } }
                @if steps.len() > STEPS_SHOWN { p { "And " (steps.len() - STEPS_SHOWN) " more steps, in record.json." } }
            }))
        } }
    });
    section(
        "recoveries",
        "How the recoveries went",
        "The very commands that ran, each with its time.",
        body,
    )
}

pub(super) fn throughput(record: &Record) -> Markup {
    let rows: Vec<_> = record
        .drills
        .iter()
        .filter(|drill| !view::is_detection(drill))
        .flat_map(|drill| drill.throughput.iter().map(move |it| (drill, it)))
        .collect();
    let body = (!rows.is_empty()).then(|| {
        html! { div.scroll { table {
            thead { tr { th { "Drill" } th { "Component" } th.number { "Source" } th.number { "Artifact" } th.number { "Restored at" } th.number { "At production size (projected)" } } }
            tbody { @for (drill, it) in rows { tr {
                td { code { (drill.id) } }
                td { (text::line(&it.component)) }
                td.number { (text::size(it.source_bytes)) }
                td.number { (text::size(it.artifact_bytes)) }
                td.number { (it.gb_per_min.map_or("–".to_owned(), text::rate)) }
                td.number { @if let Some(it) = &it.projected { (text::duration(it.seconds)) " at " (text::size(it.bytes)) } @else { "–" } }
            } } }
        } } }
    });
    section("throughput", "Restore throughput", "", body)
}

pub(super) fn controls(record: &Record) -> Markup {
    let body = html! { div.scroll { table {
        thead { tr { th { "Control" } th { "Asks" } th { "Shown by this record" } } }
        tbody { @for it in mapped(record) { tr {
            td { (it.id) } td { (it.asks) } td { (badge(&it.shown, it.standing)) }
        } } }
    } } };
    section(
        "controls",
        "Control map",
        "What this record shows of controls that ask for tested backups. It is evidence for them, and no certificate.",
        Some(body),
    )
}

pub(super) fn services(record: &Record) -> Markup {
    let body = html! {
        p { "Mode: " (text::line(&record.services.mode)) ". Why: " (sentence(record.services.reason.trim_end_matches('.'))) "." }
        div.scroll { table {
            thead { tr { th { "Service" } th { "Product" } th { "Version" } th { "Mode" } } }
            tbody { @for it in &record.services.versions { tr {
                td { code { (it.name) } } td { (text::line(&it.product)) } td { (text::line(&it.version)) } td { (text::line(&it.mode)) }
            } } }
        } }
        div.scroll { table {
            thead { tr { th { "Drill" } th { "Verdict" } th.number { "Checks passed" } th.number { "Took" } th.number { "Seed" } th.number { "Scale" } } }
            tbody { @for drill in &record.drills {
                @let (word, standing) = view::verdict(Some(drill.verdict));
                @let held = drill.checks.iter().filter(|it| it.verdict == Verdict::Passed).count();
                tr {
                    td { code { (drill.id) } @if drill.kind == DrillKind::Calibration { " (calibration)" } }
                    td { (badge(word, standing)) }
                    td.number { (held) "/" (drill.checks.len()) }
                    td.number { (text::duration(drill.seconds)) }
                    td.number { (drill.seed) }
                    td.number { (drill.scale) }
                }
            } }
        } }
    };
    section("services", "Services and drills", "", Some(body))
}

pub(super) fn definitions(record: &Record) -> Markup {
    let body = html! {
        dl.words { @for (word, meaning) in super::super::DEFINITIONS { dt { (word) } dd { (meaning) } } }
        h3 { "Run it again" }
        pre { (text::block(&record.command)) }
        @for suite in &record.suites { p.fine { "Suite " code { (suite.name) } ": SHA-256 " code { (suite.sha256) } } }
        p.fine { "Rendered by redrill " (record.redrill_version) " from record.json, schema version " (record.schema_version) "." }
    };
    section("words", "What the words mean", "", Some(body))
}
