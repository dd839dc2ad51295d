//! The table of objectives: every scenario, what it may lose and take, and what was measured and projected of it.

use std::collections::BTreeSet;

use super::{Standing, is_scenario};
use crate::record::format::{RpoSpread, Rto};
use crate::record::{DrillKind, DrillRecord, Record, Verdict};
use crate::report::text;

/// A scenario against its objectives.
#[derive(Debug, Clone, PartialEq)]
pub struct Objective {
    /// The scenario's title, with its moment when that is the worst.
    pub scenario: String,
    /// Whether it was struck at the worst moment.
    pub worst: bool,
    /// The largest loss allowed.
    pub rpo: String,
    /// The longest recovery allowed.
    pub rto: String,
    /// What was measured, and what was projected, one statement each.
    pub measured: Vec<String>,
    /// How it stands.
    pub status: &'static str,
    /// The same, as a value.
    pub standing: Standing,
    /// Whether the scenario is covered at all.
    pub covered: bool,
}

/// Every scenario: those drilled, those that did not run, those that are not covered.
pub fn objectives(record: &Record) -> Vec<Objective> {
    let mut rows: Vec<Objective> = record
        .drills
        .iter()
        .filter(|drill| is_scenario(drill))
        .map(objective)
        .collect();
    rows.extend(record.rpo.iter().map(|spread| typical(record, spread)));
    let left = record.not_run.iter();
    rows.extend(
        left.filter(|it| matches!(it.kind, DrillKind::Scenario | DrillKind::WorstMoment))
            .map(|it| Objective {
                scenario: titled(&it.title, it.kind),
                worst: it.kind == DrillKind::WorstMoment,
                rpo: "–".to_owned(),
                rto: "–".to_owned(),
                measured: vec!["not run".to_owned()],
                status: "NOT RUN",
                standing: Standing::Unknown,
                covered: true,
            }),
    );
    rows.extend(record.pending.iter().map(|pending| {
        Objective {
            scenario: pending.title.clone(),
            worst: false,
            rpo: allowed(
                pending
                    .rpo_objective_seconds
                    .iter()
                    .map(|(component, seconds)| (component.as_str(), Some(*seconds)))
                    .collect(),
            ),
            rto: pending
                .rto_objective_seconds
                .map_or("–".to_owned(), text::duration),
            measured: vec![format!("not covered yet: {}", pending.reason)],
            status: "NOT COVERED",
            standing: Standing::Warn,
            covered: false,
        }
    }));
    rows
}

fn objective(drill: &DrillRecord) -> Objective {
    let mut measured = Vec::new();
    let mut rpo_objective = "–".to_owned();
    let mut over = false;
    if let Some(rpo) = &drill.rpo {
        rpo_objective = allowed(
            rpo.components
                .iter()
                .map(|it| (it.component.as_str(), it.objective_seconds))
                .collect(),
        );
        let many = rpo.components.len() > 1;
        for it in &rpo.components {
            over |= it
                .objective_seconds
                .is_some_and(|most| it.window_seconds > most);
            let name = if many {
                format!(" {}", it.component)
            } else {
                String::new()
            };
            measured.push(format!(
                "RPO{name} {} ({} of {} lost)",
                text::against(it.window_seconds, it.objective_seconds),
                text::count(it.lost_writes),
                text::plural(it.acknowledged_writes, "write"),
            ));
        }
    }
    let mut rto_objective = "–".to_owned();
    if let Some(rto) = &drill.rto {
        let most = rto.objective_seconds;
        if let Some(most) = most {
            rto_objective = text::duration(most);
        }
        over |= over_time(rto);
        let share = most.map_or_else(String::new, |most| {
            format!(
                ", {} of its objective",
                text::share(rto.total_seconds, most)
            )
        });
        let took = text::against(rto.total_seconds, most);
        measured.push(format!("RTO {took}{share}"));
        if let Some(projected) = &rto.projected {
            measured.push(format!(
                "projected RTO {} at {}",
                text::against(projected.seconds, most),
                text::size(projected.bytes)
            ));
        }
    }
    let unprojected = unprojected(drill);
    if !unprojected.is_empty() {
        measured.push(format!(
            "not projected to the production size: {}",
            unprojected.join(", ")
        ));
    }
    let (status, standing) = match drill.verdict {
        Verdict::Failed if over => ("MISSES", Standing::Bad),
        Verdict::Failed => ("FAILED", Standing::Bad),
        Verdict::Undetermined => ("UNDETERMINED", Standing::Unknown),
        Verdict::Passed if over => ("EXCEEDS", Standing::Warn),
        Verdict::Passed if measured.is_empty() => ("NOT MEASURED", Standing::Unknown),
        Verdict::Passed if !unprojected.is_empty() => ("NOT PROJECTED", Standing::Warn),
        Verdict::Passed => ("MEETS", Standing::Good),
    };
    if measured.is_empty() {
        measured.push("not measured".to_owned());
    }
    Objective {
        scenario: scenario_title(drill),
        worst: drill.kind == DrillKind::WorstMoment,
        rpo: rpo_objective,
        rto: rto_objective,
        measured,
        status,
        standing,
        covered: true,
    }
}

/// The components whose recovery should have been carried to the production size, and was not.
fn unprojected(drill: &DrillRecord) -> Vec<&str> {
    let findings = drill.checks.iter().flat_map(|check| &check.findings);
    let subjects = findings
        .filter(|finding| finding.kind == "not-projected")
        .map(|finding| finding.subject.as_str());
    subjects.collect::<BTreeSet<_>>().into_iter().collect()
}

/// What a scenario loses at most and typically, over all moments at which it was struck.
fn typical(record: &Record, spread: &RpoSpread) -> Objective {
    let said =
        |most: &Option<f64>, how: &str| most.map(|most| format!("{} {how}", text::duration(most)));
    let allowed: Vec<String> = [
        said(&spread.objective_seconds, "at most"),
        said(&spread.typical_objective_seconds, "typically"),
    ]
    .into_iter()
    .flatten()
    .collect();
    let over = spread
        .objective_seconds
        .is_some_and(|most| spread.most_seconds > most);
    let (status, standing) = match spread.verdict() {
        Some(Verdict::Failed) => ("MISSES", Standing::Bad),
        Some(Verdict::Undetermined) => ("UNDETERMINED", Standing::Unknown),
        _ if over => ("EXCEEDS", Standing::Warn),
        _ => ("MEETS", Standing::Good),
    };
    let title = record.drills.iter().find_map(|drill| {
        let own = drill.suite == spread.suite && drill.scenario.as_ref() == Some(&spread.scenario);
        own.then(|| drill.title.rsplit_once(", struck ").map(|(title, _)| title))?
    });
    Objective {
        scenario: format!(
            "{}, over {}",
            title.unwrap_or(&spread.scenario),
            text::plural(spread.drills, "moment")
        ),
        worst: false,
        rpo: match allowed.is_empty() {
            true => "–".to_owned(),
            false => allowed.join(", "),
        },
        rto: "–".to_owned(),
        measured: vec![
            format!(
                "RPO at most {}",
                text::against(spread.most_seconds, spread.objective_seconds)
            ),
            format!(
                "RPO in the median {}",
                text::against(spread.median_seconds, spread.typical_objective_seconds)
            ),
        ],
        status,
        standing,
        covered: true,
    }
}

fn over_time(rto: &Rto) -> bool {
    rto.objective_seconds.is_some_and(|most| {
        rto.total_seconds > most || rto.projected.as_ref().is_some_and(|it| it.seconds > most)
    })
}

/// The title of a drill's scenario, saying so when it was struck at the worst moment.
pub fn scenario_title(drill: &DrillRecord) -> String {
    titled(&drill.title, drill.kind)
}

fn titled(title: &str, kind: DrillKind) -> String {
    if kind == DrillKind::WorstMoment && !title.to_lowercase().contains("worst") {
        format!("{title}, at the worst moment")
    } else {
        title.to_owned()
    }
}

/// Objectives in one cell: one time when all components share it.
fn allowed(objectives: Vec<(&str, Option<f64>)>) -> String {
    let shown = |seconds: Option<f64>| seconds.map_or("–".to_owned(), text::duration);
    let distinct: BTreeSet<String> = objectives.iter().map(|(_, it)| shown(*it)).collect();
    match distinct.len() {
        0 => "–".to_owned(),
        1 => distinct.into_iter().collect(),
        _ => objectives
            .iter()
            .map(|(component, it)| format!("{component} {}", shown(*it)))
            .collect::<Vec<_>>()
            .join(", "),
    }
}

/// How many scenarios meet their objectives; `None` when none was asked for.
pub fn overall(rows: &[Objective]) -> Option<String> {
    let usual: Vec<&Objective> = rows.iter().filter(|row| !row.worst).collect();
    let worst: Vec<&Objective> = rows.iter().filter(|row| row.worst).collect();
    let met = |rows: &[&Objective]| {
        let good = rows.iter().filter(|row| row.standing == Standing::Good);
        good.count()
    };
    let mut parts = Vec::new();
    if !usual.is_empty() {
        parts.push(format!(
            "{}/{} scenarios meet their objectives",
            met(&usual),
            usual.len()
        ));
    }
    let uncovered = usual.iter().filter(|row| !row.covered).count();
    if uncovered > 0 {
        parts.push(format!("{uncovered} not covered"));
    }
    if !worst.is_empty() {
        parts.push(format!(
            "struck at the worst moment {}/{} do",
            met(&worst),
            worst.len()
        ));
    }
    (!parts.is_empty()).then(|| parts.join(", ") + ".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample;

    #[test]
    fn what_was_not_projected_stands_in_the_table_and_meets_nothing() {
        let mut record = sample::green();
        assert_eq!(objectives(&record)[0].status, "MEETS");
        let drill = &mut record.drills[0];
        drill.rto.as_mut().expect("an RTO").projected = None;
        let finding = crate::record::format::Finding {
            kind: "not-projected".to_owned(),
            severity: crate::record::Severity::Warning,
            message: "the recovery is not carried to 12.3 GB".to_owned(),
            remedy: "drill at --scale 1.0 or more".to_owned(),
            subject: "db".to_owned(),
        };
        drill.checks[0].findings.push(finding);
        let row = &objectives(&record)[0];
        assert_eq!(
            (row.status, row.standing),
            ("NOT PROJECTED", Standing::Warn)
        );
        let last = row.measured.last().map(String::as_str);
        assert_eq!(last, Some("not projected to the production size: db"));
    }
}
