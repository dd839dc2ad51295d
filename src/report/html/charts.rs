//! What is drawn: bars against objectives, the phases of a recovery, figures over time, the calendar of retention.
//! Every bar and point carries its number as text or as a `data-` attribute.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use maud::{Markup, html};

use crate::context::Phase;
use crate::history::{Entry, Metric};
use crate::record::format::{Kept, Recovery, Retention};
use crate::record::{DrillRecord, Record, Verdict};

use super::super::text;
use super::super::view::{self, Standing};
use super::{Series, badge, class, section};

/// How far beyond its objective a bar is drawn; what is longer is cut.
const BEYOND: f64 = 1.6;
/// How many runs a trend shows.
const SHOWN: usize = 40;

/// A figure against its objective.
struct Gauge {
    label: String,
    seconds: f64,
    objective: Option<f64>,
    note: String,
}

pub(super) fn objectives(record: &Record) -> Markup {
    let rows = view::objectives(record);
    let drills: Vec<&DrillRecord> = record
        .drills
        .iter()
        .filter(|drill| view::is_scenario(drill))
        .collect();
    let body = view::overall(&rows).map(|overall| {
        html! {
            p.overall { (overall) }
            div.scenarios {
                @for (row, drill) in rows.iter().zip(drills.iter().map(Some).chain(std::iter::repeat(None))) {
                    article class=(class(row.standing)) {
                        h3 { (text::line(&row.scenario)) " " (badge(row.status, row.standing)) }
                        @match drill {
                            Some(drill) => { @for it in gauges(drill) { (gauge(&it)) } }
                            None => { @for it in &row.measured { p { (text::line(it)) } } }
                        }
                    }
                }
            }
        }
    });
    section(
        "objectives",
        "Recovery objectives",
        "Each bar is a figure against its objective, which is the line. Hatched bars are projections, not measurements.",
        body,
    )
}

fn gauges(drill: &DrillRecord) -> Vec<Gauge> {
    let mut all = Vec::new();
    let many = drill
        .rpo
        .as_ref()
        .is_some_and(|rpo| rpo.components.len() > 1);
    for it in drill.rpo.iter().flat_map(|rpo| &rpo.components) {
        all.push(Gauge {
            label: if many {
                format!("RPO {}", it.component)
            } else {
                "RPO".to_owned()
            },
            seconds: it.window_seconds,
            objective: it.objective_seconds,
            note: format!(
                "{} of {} lost",
                text::count(it.lost_writes),
                text::plural(it.acknowledged_writes, "write")
            ),
        });
    }
    if let Some(rto) = &drill.rto {
        all.push(Gauge {
            label: "RTO".to_owned(),
            seconds: rto.total_seconds,
            objective: rto.objective_seconds,
            note: String::new(),
        });
        all.extend(rto.projected.as_ref().map(|it| Gauge {
            label: "RTO projected".to_owned(),
            seconds: it.seconds,
            objective: rto.objective_seconds,
            note: format!("at {}", text::size(it.bytes)),
        }));
    }
    all
}

fn gauge(it: &Gauge) -> Markup {
    let share = it.objective.map_or(0.0, |most| match most > 0.0 {
        true => it.seconds / most,
        false if it.seconds > 0.0 => BEYOND,
        false => 0.0,
    });
    let standing = match it.objective {
        None => Standing::Unknown,
        Some(most) if it.seconds > most => Standing::Bad,
        Some(_) => Standing::Good,
    };
    let projected = it.label.ends_with("projected");
    html! {
        div.gauge data-figure=(it.label) data-seconds=(it.seconds) data-objective=[it.objective] {
            span.label { (it.label) }
            span.track {
                span class={ "bar " (class(standing)) @if projected { " projected" } @if share > BEYOND { " cut" } }
                    style={ "width:" (percent(share.min(BEYOND) / BEYOND)) } {}
                @if it.objective.is_some() { span.objective style={ "left:" (percent(1.0 / BEYOND)) } {} }
            }
            span.value {
                strong { (text::against(it.seconds, it.objective)) }
                @if let Some(most) = it.objective { " of " (text::duration(most)) }
                @if !it.note.is_empty() { span.note { (it.note) } }
            }
        }
    }
}

fn percent(share: f64) -> String {
    format!("{:.2}%", share * 100.0)
}

pub(super) fn waterfall(record: &Record) -> Markup {
    let drills: Vec<&DrillRecord> = record
        .drills
        .iter()
        .filter(|drill| view::recovers(drill) && drill.rto.is_some())
        .collect();
    let longest = drills.iter().flat_map(|drill| rows(drill));
    let longest = longest
        .map(|(_, phases)| phases.values().sum::<f64>())
        .fold(0.0, f64::max);
    let body = (longest > 0.0).then(|| {
        html! {
            p.legend {
                @for phase in Phase::RECOVERY {
                    span.key { span class={ "swatch " (phase.name()) } {} " " (phase.name()) }
                }
            }
            div.waterfall {
                @for drill in drills {
                    h3 {
                        (text::line(&view::scenario_title(drill)))
                        @if let Some(rto) = &drill.rto { span.total { "RTO " (text::duration(rto.total_seconds)) } }
                    }
                    @for (name, phases) in rows(drill) { (timeline(&name, &phases, longest)) }
                }
            }
        }
    });
    section(
        "phases",
        "Where the time went",
        "One line for each component, its phases one after the other, all to the same scale. Components recover side by side.",
        body,
    )
}

/// The phases of each component of a drill; of the whole drill where its recoveries do not say.
fn rows(drill: &DrillRecord) -> Vec<(String, BTreeMap<String, f64>)> {
    let own =
        |it: &Recovery| (!it.phases.is_empty()).then(|| (it.component.clone(), it.phases.clone()));
    let rows: Vec<_> = drill.recoveries.iter().filter_map(own).collect();
    if !rows.is_empty() {
        return rows;
    }
    let whole = drill.rto.iter().map(|rto| rto.phases.clone());
    whole.map(|phases| ("all".to_owned(), phases)).collect()
}

fn timeline(name: &str, phases: &BTreeMap<String, f64>, longest: f64) -> Markup {
    let mut from = 0.0;
    let segments: Vec<(&str, f64, f64)> = Phase::RECOVERY
        .iter()
        .filter_map(|phase| {
            let took = phases
                .get(phase.name())
                .copied()
                .filter(|took| *took > 0.0)?;
            from += took;
            Some((phase.name(), from - took, took))
        })
        .collect();
    html! {
        div.line {
            span.label { (text::line(name)) }
            span.track {
                @for (phase, start, took) in &segments {
                    span class={ "segment " (phase) } data-phase=(phase) data-seconds=(took)
                        style={ "left:" (percent(start / longest)) ";width:" (percent(took / longest)) }
                        title={ (phase) ": " (text::duration(*took)) } {}
                }
            }
            span.value {
                @for (at, (phase, _, took)) in segments.iter().enumerate() {
                    @if at > 0 { ", " }
                    (phase) " " (text::duration(*took))
                }
            }
        }
    }
}

pub(super) fn trends(series: &Series) -> Markup {
    const SHOWN_OF_EACH: [Metric; 4] = [Metric::Rto, Metric::Rpo, Metric::Throughput, Metric::Size];
    let drills: Vec<(&String, Vec<Markup>)> = series
        .iter()
        .filter(|(_, entries)| entries.iter().all(|it| view::is_recovery(it.kind)))
        .map(|(drill, entries)| {
            let entries = &entries[entries.len().saturating_sub(SHOWN)..];
            let charts = SHOWN_OF_EACH
                .iter()
                .filter_map(|it| chart(drill, *it, entries));
            (drill, charts.collect::<Vec<_>>())
        })
        .filter(|(_, charts)| !charts.is_empty())
        .collect();
    let body = (!drills.is_empty()).then(|| {
        html! { @for (drill, charts) in drills {
            h3 { code { (text::line(drill)) } }
            div.charts { @for it in charts { (it) } }
        } }
    });
    section(
        "trends",
        "Trends",
        "Earlier runs of the same drills, oldest on the left; the dashed line is the objective, where it is near.",
        body,
    )
}

/// A figure of a drill over its runs.
fn chart(drill: &str, metric: Metric, entries: &[Entry]) -> Option<Markup> {
    const WIDTH: f64 = 300.0;
    const HEIGHT: f64 = 80.0;
    let points: Vec<(usize, f64, &Entry)> = entries
        .iter()
        .enumerate()
        .filter_map(|(at, entry)| Some((at, metric.of(entry)?, entry)))
        .collect();
    let (_, now, newest) = *points.last().filter(|_| points.len() > 1)?;
    let objective = metric.objective(newest);
    let figures = points.iter().map(|(_, value, _)| *value);
    let highest = figures.clone().fold(0.0, f64::max);
    // An objective far above all figures would flatten them.
    let objective_in = objective.filter(|most| *most <= highest * 3.0);
    let top = objective_in.map_or(highest, |most| highest.max(most)) * 1.1;
    let step = WIDTH / (entries.len() - 1) as f64;
    let place = |at: usize, value: f64| {
        (
            at as f64 * step,
            HEIGHT - value / top.max(f64::MIN_POSITIVE) * HEIGHT,
        )
    };
    let line: Vec<String> = points
        .iter()
        .map(|(at, value, _)| {
            let (x, y) = place(*at, *value);
            format!("{x:.1},{y:.1}")
        })
        .collect();
    let area = format!("0,{HEIGHT} {} {WIDTH},{HEIGHT}", line.join(" "));
    let lowest = figures.fold(f64::INFINITY, f64::min);
    Some(html! {
        figure.chart {
            figcaption {
                span.metric { (metric.name()) }
                strong data-metric=(metric.name()) data-value=(now) { (metric.say(now)) }
            }
            svg viewBox={ "-6 -6 " (WIDTH + 12.0) " " (HEIGHT + 12.0) } role="img"
                aria-label={ (metric.name()) " of " (drill) " over " (points.len()) " runs" } {
                polygon.area points=(area) {}
                @if let Some(most) = objective_in {
                    line.objective x1="0" x2=(WIDTH) y1=(format!("{:.1}", place(0, most).1)) y2=(format!("{:.1}", place(0, most).1)) {}
                }
                polyline.curve points=(line.join(" ")) {}
                @for (at, value, entry) in &points {
                    circle class=(class(of_verdict(entry.verdict)))
                        cx=(format!("{:.1}", place(*at, *value).0)) cy=(format!("{:.1}", place(*at, *value).1)) r="3" {
                        title { (entry.at.format("%Y-%m-%d %H:%M")) ": " (metric.say(*value)) }
                    }
                }
            }
            p.range {
                @if metric.say(lowest) != metric.say(highest) { (metric.say(lowest)) " to " }
                (metric.say(highest)) " in " (text::plural(points.len() as u64, "run"))
                @if let Some(most) = objective { ", objective " (metric.say(most)) }
            }
        }
    })
}

fn of_verdict(verdict: Verdict) -> Standing {
    view::verdict(Some(verdict)).1
}

pub(super) fn retention(record: &Record) -> Markup {
    let all: Vec<&Retention> = record
        .drills
        .iter()
        .filter(|drill| !view::is_detection(drill))
        .flat_map(|drill| &drill.retention)
        .filter(|it| !it.artifacts.is_empty())
        .collect();
    let body = (!all.is_empty()).then(|| {
        html! {
            p.legend {
                span.key { span.cell.kept {} " kept" }
                span.key { span.cell.gone {} " pruned" }
                span.key { span.cell.broken {} " failed" }
            }
            div.calendars { @for it in all { (calendar(it)) } }
        }
    });
    section(
        "retention",
        "Retention calendar",
        "Every backup of the rehearsal, a row for each virtual day, and what the pruner left of it.",
        body,
    )
}

fn calendar(it: &Retention) -> Markup {
    let mut days: BTreeMap<NaiveDate, Vec<&Kept>> = BTreeMap::new();
    for kept in &it.artifacts {
        days.entry(kept.at.date_naive()).or_default().push(kept);
    }
    let kept = it.artifacts.iter().filter(|it| it.kept).count();
    html! {
        article.calendar {
            h3 {
                code { (it.backup) } " in " code { (it.repository) }
                span.total data-kept=(kept) data-taken=(it.artifacts.len()) { (kept) " of " (it.artifacts.len()) " kept" }
            }
            @for (day, artifacts) in &days {
                div.day {
                    span.label { (day.format("%a %d %b")) }
                    span.cells {
                        @for it in artifacts {
                            span class={ "cell " (cell(it)) } title={ (it.at.format("%Y-%m-%d %H:%M")) ", " (cell(it)) } {}
                        }
                    }
                }
            }
        }
    }
}

fn cell(it: &Kept) -> &'static str {
    match it {
        Kept { good: false, .. } => "broken",
        Kept { kept: true, .. } => "kept",
        Kept { .. } => "gone",
    }
}
