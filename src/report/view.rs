//! What reports show, as rows of plain values, read from a record and nothing else: the Markdown and the terminal
//! tell the same story because both tell this one.
//!
//! Not here: how a row is drawn.

use std::collections::{BTreeMap, BTreeSet};

use crate::exit::Exit;
use crate::record::format::{Detection, Finding, RpoSpread, Rto};
use crate::record::{DrillKind, DrillRecord, LineKind, Record, Severity, Verdict};

use super::text;

/// How a row stands; decides its word and its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It holds.
    Good,
    /// Worth a look; changes no verdict.
    Warn,
    /// It does not hold.
    Bad,
    /// Nothing is known.
    Unknown,
}

impl Standing {
    /// The sign used in Markdown.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Good => "✅",
            Self::Warn => "⚠️",
            Self::Bad => "❌",
            Self::Unknown => "❔",
        }
    }
}

/// The verdict in one word.
pub fn headline(record: &Record) -> (&'static str, Standing) {
    match record.exit() {
        Exit::Passed => ("PASSED", Standing::Good),
        Exit::Failed => ("FAILED", Standing::Bad),
        Exit::NothingRan => ("NOTHING RAN", Standing::Unknown),
        Exit::Interrupted => ("INTERRUPTED", Standing::Unknown),
        _ => ("UNDETERMINED", Standing::Unknown),
    }
}

/// The verdict in one sentence.
pub fn verdict_sentence(record: &Record) -> String {
    let lines = record.lines();
    let mut parts = Vec::new();
    for (kind, what) in [
        (LineKind::Test, "tests passed"),
        (LineKind::Check, "checks passed"),
        (LineKind::Fault, "planted faults judged rightly"),
    ] {
        let of_kind: Vec<_> = lines.iter().filter(|line| line.kind == kind).collect();
        let passed = of_kind
            .iter()
            .filter(|line| line.verdict == Some(Verdict::Passed))
            .count();
        let beside_tests = kind == LineKind::Check && passed == 0;
        match of_kind.len() {
            0 => {}
            all if beside_tests => parts.push(format!(
                "{} beyond the tests did not pass",
                text::plural(all as u64, "check")
            )),
            all => parts.push(format!("{passed}/{all} {what}")),
        }
    }
    let drills = record.drills.len();
    parts.push(match record.not_run.len() {
        0 => text::plural(drills as u64, "drill"),
        left => format!(
            "{drills} of {} ran",
            text::plural((drills + left) as u64, "drill")
        ),
    });
    let mut sentence = parts.join(", ");
    if let Some(ended) = record.ended_at {
        let took = (ended - record.started_at).as_seconds_f64();
        sentence.push_str(&format!(", in {}", text::duration(took)));
    }
    sentence + "."
}

/// The word for a verdict; `None` is what did not run.
pub fn verdict(verdict: Option<Verdict>) -> (&'static str, Standing) {
    match verdict {
        Some(Verdict::Passed) => ("passed", Standing::Good),
        Some(Verdict::Failed) => ("FAILED", Standing::Bad),
        Some(Verdict::Undetermined) => ("undetermined", Standing::Unknown),
        None => ("not run", Standing::Unknown),
    }
}

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

/// Whether a drill stands in the table of objectives.
pub fn is_scenario(drill: &DrillRecord) -> bool {
    matches!(drill.kind, DrillKind::Scenario | DrillKind::WorstMoment)
}

/// Whether a drill recovers an undamaged system or artifact: its steps and times are worth showing.
pub fn recovers(drill: &DrillRecord) -> bool {
    is_recovery(drill.kind)
}

/// The same, of a kind of drill.
pub fn is_recovery(kind: DrillKind) -> bool {
    matches!(
        kind,
        DrillKind::Scenario | DrillKind::WorstMoment | DrillKind::Verify
    )
}

/// Whether a drill is about noticing damage: its figures are those of a small, damaged system.
pub fn is_detection(drill: &DrillRecord) -> bool {
    matches!(drill.kind, DrillKind::Detection | DrillKind::HealthyTwin)
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
    let (status, standing) = match drill.verdict {
        Verdict::Failed if over => ("MISSES", Standing::Bad),
        Verdict::Failed => ("FAILED", Standing::Bad),
        Verdict::Undetermined => ("UNDETERMINED", Standing::Unknown),
        Verdict::Passed if over => ("EXCEEDS", Standing::Warn),
        Verdict::Passed if measured.is_empty() => ("NOT MEASURED", Standing::Unknown),
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

/// A planted fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planted {
    /// The drill that planted it; empty where it is all of a suite.
    pub drill: String,
    /// The fault, `none` for the healthy twin.
    pub fault: String,
    /// What was planted.
    pub planted: String,
    /// The check that must fail.
    pub must: String,
    /// The checks that did, or that none did.
    pub caught: String,
    /// How it stands.
    pub standing: Standing,
}

/// Every planted fault that was drilled, and the healthy twins.
pub fn planted(record: &Record) -> Vec<Planted> {
    record
        .drills
        .iter()
        .filter_map(|drill| match (&drill.detection, drill.kind) {
            (Some(detection), _) => Some(fault(drill, detection)),
            (None, DrillKind::HealthyTwin) => Some(twin(drill)),
            _ => None,
        })
        .chain(record.suites.iter().flat_map(|suite| {
            record.silent(suite).into_iter().map(|check| Planted {
                drill: String::new(),
                fault: "–".to_owned(),
                planted: format!("every fault of {}", suite.name),
                must: check.to_owned(),
                caught: "NEVER FAILED: no fault shows that this check can".to_owned(),
                standing: Standing::Bad,
            })
        }))
        .collect()
}

fn fault(drill: &DrillRecord, detection: &Detection) -> Planted {
    let noticed = detection.caught_by.join(", ");
    let findings = drill.checks.iter().flat_map(|check| &check.findings);
    let kinds: BTreeSet<&str> = findings.map(|it| it.kind.as_str()).collect();
    let named = detection.caught_by.first() == Some(&detection.must_be_caught_by);
    let failed = || {
        if kinds.contains("fault-caught-by-accident") {
            format!("MISSED ({noticed}: by accident)")
        } else if !kinds.contains("fault-missed") {
            let kinds: Vec<&str> = kinds.iter().copied().collect();
            format!("CAUGHT ({noticed}), BUT {}", kinds.join(", "))
        } else if noticed.is_empty() {
            "MISSED".to_owned()
        } else if named {
            format!("MISSED ({noticed}, and not by all that must)")
        } else {
            format!("MISSED (only {noticed})")
        }
    };
    let (caught, standing) = match drill.verdict {
        Verdict::Passed => (noticed.clone(), Standing::Good),
        Verdict::Undetermined => ("not established".to_owned(), Standing::Unknown),
        Verdict::Failed => (failed(), Standing::Bad),
    };
    Planted {
        drill: drill.id.clone(),
        fault: detection.fault.clone(),
        planted: detection.planted.clone(),
        must: detection.must_be_caught_by.clone(),
        caught,
        standing,
    }
}

fn twin(drill: &DrillRecord) -> Planted {
    let failed: BTreeSet<&str> = drill
        .checks
        .iter()
        .filter(|check| check.verdict == Verdict::Failed)
        .map(|check| check.id.as_str())
        .collect();
    let failed = failed.into_iter().collect::<Vec<_>>().join(", ");
    let (caught, standing) = match drill.verdict {
        Verdict::Passed => ("no false alarm".to_owned(), Standing::Good),
        Verdict::Undetermined => ("not established".to_owned(), Standing::Unknown),
        Verdict::Failed => (format!("FALSE ALARM: {failed}"), Standing::Bad),
    };
    Planted {
        drill: drill.id.clone(),
        fault: "none".to_owned(),
        planted: format!("nothing: the healthy twin of {}", drill.title),
        must: "none".to_owned(),
        caught,
        standing,
    }
}

/// A finding, and everywhere it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// How much it weighs.
    pub severity: Severity,
    /// Its type.
    pub kind: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
    /// The drills and checks that say so: `deltacrown/cache-failure, content`.
    pub places: Vec<String>,
}

impl Found {
    /// The word for its weight.
    pub fn weight(&self) -> (&'static str, Standing) {
        match self.severity {
            Severity::Error => ("error", Standing::Bad),
            Severity::Unknown => ("unknown", Standing::Unknown),
            Severity::Warning => ("warning", Standing::Warn),
        }
    }

    /// Whether it is about a schedule rather than a backup.
    pub fn about_schedule(&self) -> bool {
        self.kind.starts_with("schedule")
    }
}

/// What makes two findings one: the same words, or the same thing that they are about.
fn sameness(finding: &Finding) -> (String, String) {
    let same = if finding.subject.is_empty() {
        format!("{}\n{}", finding.message, finding.remedy)
    } else {
        finding.subject.clone()
    };
    (finding.kind.clone(), same)
}

/// Every finding, worst first, each once. What a caught fault caused is no finding of the run.
pub fn findings(record: &Record) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    let mut known: BTreeMap<(Severity, (String, String)), usize> = BTreeMap::new();
    let mut add = |finding: Finding, place: String| {
        let same = (finding.severity, sameness(&finding));
        if let Some(&at) = known.get(&same) {
            if !found[at].places.contains(&place) {
                found[at].places.push(place);
            }
            return;
        }
        known.insert(same, found.len());
        found.push(Found {
            severity: finding.severity,
            kind: finding.kind,
            message: finding.message,
            remedy: finding.remedy,
            places: vec![place],
        });
    };
    for drill in &record.drills {
        let mut said = Vec::new();
        for check in &drill.checks {
            for finding in &check.findings {
                said.push(finding.message.clone());
                add(finding.clone(), format!("{}, {}", drill.id, check.id));
            }
        }
        let new = |message: &str| !said.iter().any(|it| it.contains(message));
        // What broke on the way only matters where the drill did not pass: planted faults break things.
        let failures = drill.failures.iter();
        for failure in failures.filter(|it| drill.verdict != Verdict::Passed && new(&it.message)) {
            let (severity, usual) = if failure.unavailable {
                (
                    Severity::Unknown,
                    "`redrill doctor` says what is missing and how to get it",
                )
            } else {
                (Severity::Error, "see the logs of this drill")
            };
            let (message, remedy) = failure
                .message
                .split_once("\n  hint: ")
                .unwrap_or((&failure.message, usual));
            add(
                Finding {
                    kind: "drill-failure".to_owned(),
                    severity,
                    message: message.to_owned(),
                    remedy: remedy.to_owned(),
                    subject: String::new(),
                },
                format!("{}, {}", drill.id, failure.phase),
            );
        }
        for left in &drill.teardown {
            let Some(error) = left.error.as_ref().filter(|error| new(error)) else {
                continue;
            };
            add(
                Finding {
                    kind: "left-behind".to_owned(),
                    severity: Severity::Warning,
                    message: format!("{} could not be removed: {error}", left.what),
                    remedy: "`redrill reap` removes what a run left behind".to_owned(),
                    subject: String::new(),
                },
                format!("{}, teardown", drill.id),
            );
        }
    }
    found.sort_by_key(|it| std::cmp::Reverse(it.severity));
    found
}
