//! What reports show, as rows of plain values, read from a record and nothing else: the Markdown and the terminal
//! tell the same story because both tell this one.
//!
//! Not here: how a row is drawn.

use std::collections::{BTreeMap, BTreeSet};

use crate::exit::Exit;
use crate::record::format::{Detection, Finding};
use crate::record::{DrillKind, DrillRecord, LineKind, Record, Severity, Verdict};

use super::text;

mod objectives;

pub use objectives::{Objective, objectives, overall, scenario_title};

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
