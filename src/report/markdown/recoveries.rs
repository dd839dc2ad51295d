//! The part of the report that shows each recovery: its times, its commands, its throughput.

use std::fmt::Write as _;

use crate::context::Phase;
use crate::record::{DrillRecord, Record};

use super::super::text::{self, code, markdown, sentence};
use super::super::{steps, view};
use super::table;

/// How many steps of one recovery are shown; the record has them all.
const STEPS_SHOWN: usize = 120;

/// How every recovery went, and how fast.
pub(super) fn render(out: &mut String, record: &Record) {
    recoveries(out, record);
    throughput(out, record);
}

fn recoveries(out: &mut String, record: &Record) {
    let drills: Vec<&DrillRecord> = record
        .drills
        .iter()
        .filter(|drill| view::recovers(drill))
        .collect();
    if drills.is_empty() {
        return;
    }
    say!(out, "## How the recoveries went");
    say!(out);
    phases(out, &drills);
    for drill in drills {
        recovery(out, drill);
    }
}

/// The recovery times, split into their parts.
fn phases(out: &mut String, drills: &[&DrillRecord]) {
    let mut head = vec!["Scenario"];
    head.extend(Phase::RECOVERY.map(Phase::name));
    head.push("RTO");
    let rows: Vec<Vec<String>> = drills
        .iter()
        .filter_map(|drill| drill.rto.as_ref().map(|rto| (drill, rto)))
        .map(|(drill, rto)| {
            let mut row = vec![markdown(&view::scenario_title(drill))];
            row.extend(Phase::RECOVERY.map(|phase| {
                let took = rto.phases.get(phase.name()).copied();
                took.map_or("–".to_owned(), text::duration)
            }));
            row.push(format!("**{}**", text::duration(rto.total_seconds)));
            row
        })
        .collect();
    table(out, &head, &rows);
    if !rows.is_empty() {
        say!(
            out,
            "Components recovered in parallel overlap: the parts need not add up to the RTO."
        );
        say!(out);
    }
}

fn recovery(out: &mut String, drill: &DrillRecord) {
    say!(out, "### {}", markdown(&view::scenario_title(drill)));
    say!(out);
    if let Some(strike) = &drill.strike {
        let moment = match &strike.after {
            Some(after) => format!(
                "{} after the last run of {}",
                text::duration(after.seconds),
                code(&after.backup)
            ),
            None => "just before the next backup would have completed".to_owned(),
        };
        say!(
            out,
            "Struck at {} (virtual time), {moment}:",
            strike.at.format("%Y-%m-%d %H:%M:%S UTC")
        );
        say!(out);
        for it in &strike.struck {
            let symptom = match it.symptom.is_empty() {
                true => "no symptom was seen".to_owned(),
                false => format!("symptom: {}", code(&text::at_most(&it.symptom, 300))),
            };
            say!(
                out,
                "- {} with {}; {symptom}",
                code(&it.component),
                code(&it.fault)
            );
        }
        say!(out);
    }
    for it in &drill.recoveries {
        let artifact = it.artifact.as_deref().unwrap_or("");
        let took = it.seconds.map_or(String::new(), |seconds| {
            format!(" in {}", text::duration(seconds))
        });
        let end = match &it.error {
            None => format!("recovered{took}"),
            Some(error) => format!(
                "**not recovered**: {}",
                sentence(&text::at_most(error, 600))
            ),
        };
        say!(
            out,
            "- {} from {} of {}: {end}",
            code(&it.component),
            code(artifact),
            code(&it.backup)
        );
    }
    if !drill.recoveries.is_empty() {
        say!(out);
    }
    listed(out, drill);
}

fn listed(out: &mut String, drill: &DrillRecord) {
    let own = steps::of(drill);
    for (at, step) in own.iter().take(STEPS_SHOWN).enumerate() {
        let end = match step.exit {
            Some(0) => String::new(),
            Some(code) => format!(", **exit {code}**"),
            None if steps::is_own_work(step) => ", by redrill itself".to_owned(),
            None => ", **ended by a signal or its deadline**".to_owned(),
        };
        out.push_str(&steps::one(at + 1, step, &end, &step.command));
    }
    if own.len() > STEPS_SHOWN {
        say!(
            out,
            "And {} more steps, in `record.json`.",
            own.len() - STEPS_SHOWN
        );
        say!(out);
    }
    if let Some(rto) = &drill.rto {
        let objective = rto.objective_seconds.map_or(String::new(), |most| {
            let share = text::share(rto.total_seconds, most);
            format!(" ({share} of its objective, {})", text::duration(most))
        });
        say!(
            out,
            "**Total RTO**: {}{objective}",
            text::against(rto.total_seconds, rto.objective_seconds)
        );
        say!(out);
    }
}

fn throughput(out: &mut String, record: &Record) {
    let rows: Vec<Vec<String>> = record
        .drills
        .iter()
        .filter(|drill| !view::is_detection(drill))
        .flat_map(|drill| drill.throughput.iter().map(move |it| (drill, it)))
        .map(|(drill, it)| {
            let projected = it.projected.as_ref();
            vec![
                code(&drill.id),
                code(&it.component),
                text::size(it.source_bytes),
                text::size(it.artifact_bytes),
                it.gb_per_min.map_or("–".to_owned(), text::rate),
                projected.map_or("–".to_owned(), |it| text::size(it.bytes)),
                projected.map_or("–".to_owned(), |it| {
                    format!("{} (projected)", text::duration(it.seconds))
                }),
            ]
        })
        .collect();
    if rows.is_empty() {
        return;
    }
    say!(out, "## Restore throughput");
    say!(out);
    table(
        out,
        &[
            "Drill",
            "Component",
            "Source",
            "Artifact",
            "Restored at",
            "Production size",
            "Recovery at that size",
        ],
        &rows,
    );
}
