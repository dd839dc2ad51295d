//! From results to records. One direction only, and suspicious: a drill is never better than its checks, a test
//! that was asked for and not judged is undetermined, and a fault that its check did not catch is missed.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::check::caught::{Caught, owed_with_a_fault};
use crate::context::{self, Phase};
use crate::evidence::{self, Evidence, RecoveryFact, RetentionFact, StrikeFact};
use crate::origin;
use crate::outcome::{self, DrillResult, Outcome, RpoFigure, RtoFigure, ThroughputFigure};
use crate::plan;
use crate::suite::policy::Due;
use crate::suite::{Catch, Engine, Fault, Scenario, StrikeTime, Suite};

use super::format::*;

/// How long after it was due a run may end, a change of the clocks and the drill itself included.
const SLACK: Duration = Duration::from_secs(2 * 3600);
/// How often what nobody gave a schedule is drilled.
const DAY: Duration = Duration::from_secs(24 * 3600);

impl From<&DrillResult> for DrillRecord {
    fn from(result: &DrillResult) -> Self {
        let drill = &result.drill;
        let evidence = &result.evidence;
        let (kind, scenario) = kind(&drill.kind);
        let judged = checks(result);
        let worst = judged.iter().map(|check| check.verdict).max();
        let stated = Verdict::from(result.verdict);
        let (verdict, checks, detection) = match &drill.kind {
            plan::DrillKind::Detection {
                fault: Some(fault),
                caught_by: Some(catch),
                ..
            } => {
                let (check, detection) = detection(*fault, catch, result, judged);
                (check.verdict, vec![check], Some(detection))
            }
            _ => (
                stated.max(worst.unwrap_or(Verdict::Undetermined)),
                judged,
                None,
            ),
        };
        Self {
            id: drill.id.clone(),
            suite: drill.suite.clone(),
            scenario,
            verdict,
            seed: drill.seed,
            rpo: rpo(&result.rpo, evidence),
            rto: result.rto.as_ref().map(Rto::from),
            throughput_gb_per_min: result
                .throughput
                .iter()
                .max_by_key(|figure| figure.source_bytes)
                .and_then(|figure| rate(figure.gb_per_min)),
            checks,
            steps: evidence.steps.iter().map(Step::from).collect(),
            teardown: result
                .teardown
                .iter()
                .map(|(what, done)| Teardown {
                    what: what.clone(),
                    error: done.clone().err(),
                })
                .collect(),
            title: drill.title.clone(),
            kind,
            scale: drill.scale,
            seconds: seconds(result.seconds),
            strike: evidence.strike.as_ref().map(|fact| strike(drill, fact)),
            recoveries: evidence
                .recoveries
                .iter()
                .map(|fact| Recovery {
                    held: held(result, fact),
                    ..Recovery::from(fact)
                })
                .collect(),
            throughput: result.throughput.iter().map(Throughput::from).collect(),
            detection,
            failures: evidence
                .failures
                .iter()
                .map(|failure| Failure {
                    phase: failure.phase.name().to_owned(),
                    message: failure.message.clone(),
                    unavailable: failure.unavailable,
                })
                .collect(),
            retention: evidence.retention.iter().map(Retention::from).collect(),
        }
    }
}

impl From<&RetentionFact> for Retention {
    fn from(fact: &RetentionFact) -> Self {
        Self {
            backup: fact.backup.clone(),
            repository: fact.repository.clone(),
            pruned_at: fact.now,
            artifacts: fact
                .taken
                .iter()
                .map(|(id, at, good)| Kept {
                    at: *at,
                    good: *good,
                    kept: fact.remaining.contains(id),
                })
                .collect(),
        }
    }
}

impl From<&origin::Origin> for Origin {
    fn from(origin: &origin::Origin) -> Self {
        Self {
            commit: origin.commit.clone(),
            dirty: origin.dirty,
            told_by: origin.told_by.clone(),
            host: origin.host.clone(),
        }
    }
}

/// What every check said, and what no check said although a test asked for it.
fn checks(result: &DrillResult) -> Vec<CheckRecord> {
    let mut checks: Vec<CheckRecord> = result
        .outcomes
        .iter()
        .map(|(outcome, test)| check(outcome, test.clone()))
        .collect();
    for test in &result.drill.tests {
        if checks
            .iter()
            .any(|check| check.test.as_ref() == Some(&test.name))
        {
            continue;
        }
        checks.push(CheckRecord {
            id: test.check.id().to_owned(),
            test: Some(test.name.clone()),
            verdict: Verdict::Undetermined,
            seconds: 0.0,
            findings: vec![Finding {
                kind: "not-judged".to_owned(),
                severity: Severity::Unknown,
                message: format!(
                    "the check `{}` was asked for and has no outcome",
                    test.check
                ),
                remedy: "see in the drill's log how far it got".to_owned(),
                subject: String::new(),
            }],
            observed: 0,
        });
    }
    checks
}

fn check(outcome: &Outcome, test: Option<String>) -> CheckRecord {
    CheckRecord {
        id: outcome.check.id().to_owned(),
        test,
        verdict: outcome.verdict.into(),
        seconds: seconds(outcome.seconds),
        findings: outcome.findings.iter().map(Finding::from).collect(),
        observed: outcome.observed,
    }
}

/// A fault is caught when the named check found it, and by nothing else; and a drill that plants one must itself be well.
fn detection(
    fault: Fault,
    catch: &Catch,
    result: &DrillResult,
    outcomes: Vec<CheckRecord>,
) -> (CheckRecord, Detection) {
    let named = catch.check.id();
    let said = || result.outcomes.iter().map(|(outcome, _)| outcome);
    let caught = Caught::of(catch, said());
    let verdict = Verdict::from(result.verdict.max(caught.verdict()));
    let mut caught_by: Vec<String> = outcomes
        .iter()
        .filter(|check| check.verdict == Verdict::Failed)
        .map(|check| check.id.clone())
        .collect();
    caught_by.sort_by_key(|id| id != named);
    caught_by.dedup();
    let what = format!("{fault} ({})", fault.meaning());
    let finding = |kind: &str, severity, message: String, remedy: &str| Finding {
        kind: kind.to_owned(),
        severity,
        message,
        remedy: remedy.to_owned(),
        subject: String::new(),
    };
    let missed =
        "a backup damaged like this would be trusted: mend the check, or how the fault is planted";
    let findings = match (verdict, caught) {
        (Verdict::Passed, _) => Vec::new(),
        (_, Caught::ByAccident) => {
            let says = catch
                .says
                .as_ref()
                .map(|words| format!(" that says \"{words}\""));
            vec![finding(
                "fault-caught-by-accident",
                Severity::Error,
                format!(
                    "{what} was planted; `{named}` failed, but without the finding `{}`{}",
                    catch.findings.join("` or `"),
                    says.unwrap_or_default()
                ),
                "compare the findings of the drill with those of its healthy twin",
            )]
        }
        (_, Caught::NotBy(check)) => vec![finding(
            "fault-missed",
            Severity::Error,
            format!("{what} was planted; `{named}` found it, and `{check}` did not fail"),
            missed,
        )],
        (_, Caught::Missed) => vec![finding(
            "fault-missed",
            Severity::Error,
            format!("{what} was planted, and `{named}` did not fail"),
            missed,
        )],
        (Verdict::Undetermined, _) | (_, Caught::Unknown) => {
            let mut failures = result.evidence.failures.iter();
            let why = failures.next().map_or_else(String::new, |failure| {
                format!(": {}: {}", failure.phase.name(), failure.message)
            });
            vec![finding(
                "fault-not-judged",
                Severity::Unknown,
                format!("whether `{named}` catches {what} could not be established{why}"),
                "see in the drill's log how far it got",
            )]
        }
        // It was caught, and the drill is not well.
        (Verdict::Failed, Caught::Yes) => said()
            .filter(|outcome| owed_with_a_fault(catch, outcome))
            .flat_map(|outcome| &outcome.findings)
            .map(Finding::from)
            .collect(),
    };
    let check = CheckRecord {
        id: fault.id().to_owned(),
        test: None,
        verdict,
        seconds: seconds(result.seconds),
        findings,
        observed: outcomes.iter().map(|check| check.observed).sum(),
    };
    let detection = Detection {
        fault: fault.id().to_owned(),
        planted: fault.meaning().to_owned(),
        must_be_caught_by: named.to_owned(),
        finding: catch.findings.join(" or "),
        caught_by,
        outcomes,
    };
    (check, detection)
}

fn kind(kind: &plan::DrillKind) -> (DrillKind, Option<String>) {
    match kind {
        plan::DrillKind::Scenario { scenario, at } => (
            match at {
                StrikeTime::After { .. } => DrillKind::Scenario,
                StrikeTime::Worst => DrillKind::WorstMoment,
                StrikeTime::Random { .. } => DrillKind::RandomMoment,
            },
            Some(scenario.clone()),
        ),
        plan::DrillKind::Calibration { scenario } => {
            (DrillKind::Calibration, Some(scenario.clone()))
        }
        plan::DrillKind::Verify { scenario, .. } => (DrillKind::Verify, Some(scenario.clone())),
        plan::DrillKind::Release { scenario } => (DrillKind::Release, Some(scenario.clone())),
        plan::DrillKind::Retention { .. } => (DrillKind::Retention, None),
        plan::DrillKind::Detection {
            scenario, fault, ..
        } => (
            match fault {
                Some(_) => DrillKind::Detection,
                None => DrillKind::HealthyTwin,
            },
            Some(scenario.clone()),
        ),
    }
}

/// The component that fared worst against its objective stands for the drill.
fn rpo(figures: &[RpoFigure], evidence: &Evidence) -> Option<Rpo> {
    let share = |figure: &RpoFigure| match figure.objective {
        Some(objective) if !objective.is_zero() => {
            figure.window.as_secs_f64() / objective.as_secs_f64()
        }
        Some(_) if figure.window.is_zero() => 0.0,
        Some(_) => f64::INFINITY,
        None => 0.0,
    };
    let worst = figures.iter().max_by(|a, b| {
        share(a)
            .total_cmp(&share(b))
            .then(a.window.cmp(&b.window))
            .then(a.lost_writes.cmp(&b.lost_writes))
    })?;
    Some(Rpo {
        lost_writes: worst.lost_writes,
        window_seconds: of(worst.window),
        objective_seconds: worst.objective.map(of),
        components: figures
            .iter()
            .map(|figure| ComponentRpo {
                component: figure.component.clone(),
                acknowledged_writes: evidence
                    .ledger
                    .iter()
                    .filter(|entry| entry.component == figure.component)
                    .count() as u64,
                lost_writes: figure.lost_writes,
                window_seconds: of(figure.window),
                objective_seconds: figure.objective.map(of),
                typical_objective_seconds: figure.typical.map(of),
            })
            .collect(),
    })
}

impl From<&RtoFigure> for Rto {
    fn from(figure: &RtoFigure) -> Self {
        Self {
            total_seconds: of(figure.total),
            phases: figure
                .phases
                .iter()
                .map(|(phase, took)| (phase.name().to_owned(), of(*took)))
                .collect(),
            objective_seconds: figure.objective.map(of),
            projected: figure.projected.map(projected),
        }
    }
}

impl From<&ThroughputFigure> for Throughput {
    fn from(figure: &ThroughputFigure) -> Self {
        Self {
            component: figure.component.clone(),
            gb_per_min: rate(figure.gb_per_min),
            source_bytes: figure.source_bytes,
            artifact_bytes: figure.artifact_bytes,
            projected: figure.projected.map(projected),
        }
    }
}

fn projected((bytes, time): (u64, Duration)) -> Projected {
    Projected {
        bytes,
        seconds: of(time),
    }
}

fn strike(drill: &plan::Drill, fact: &StrikeFact) -> Strike {
    let after = match &drill.kind {
        plan::DrillKind::Scenario {
            at: StrikeTime::After { backup, offset },
            ..
        } => Some(After {
            backup: backup.clone(),
            seconds: of(*offset),
        }),
        _ => None,
    };
    Strike {
        at: fact.at,
        after,
        struck: fact
            .struck
            .iter()
            .map(|(component, fault, symptom)| Struck {
                component: component.clone(),
                fault: fault.id().to_owned(),
                symptom: symptom.clone(),
            })
            .collect(),
    }
}

impl From<&RecoveryFact> for Recovery {
    fn from(fact: &RecoveryFact) -> Self {
        Self {
            component: fact.component.clone(),
            backup: fact.backup.clone(),
            artifact: fact.artifact.clone(),
            seconds: fact.seconds.map(seconds),
            phases: phases(&fact.phases),
            error: fact.error.clone(),
            held: None,
        }
    }
}

/// What came back of a given artifact.
fn held(result: &DrillResult, fact: &RecoveryFact) -> Option<Held> {
    let given = result.evidence.given.as_ref()?;
    let engines = result.evidence.services.iter();
    let product = engines
        .into_iter()
        .find(|service| service.name == fact.component)?;
    let engine = Engine::ALL
        .iter()
        .find(|it| evidence::product(**it) == product.product)?;
    let held = given.held(fact.restored.as_ref()?, *engine);
    Some(Held {
        bytes: held.bytes,
        objects: held.objects,
        rows: held.rows,
        folder: Some(given.folder.clone()),
    })
}

fn phases(phases: &BTreeMap<Phase, f64>) -> BTreeMap<String, f64> {
    phases
        .iter()
        .map(|(phase, took)| (phase.name().to_owned(), seconds(*took)))
        .collect()
}

impl From<&context::Step> for Step {
    fn from(step: &context::Step) -> Self {
        Self {
            phase: step.phase.name().to_owned(),
            component: step.component.clone(),
            command: step.command.clone(),
            exit: step.exit,
            seconds: seconds(step.seconds),
            log: step.log.display().to_string(),
        }
    }
}

impl From<&outcome::Finding> for Finding {
    fn from(finding: &outcome::Finding) -> Self {
        Self {
            kind: finding.kind.to_owned(),
            severity: match finding.severity {
                outcome::Severity::Warning => Severity::Warning,
                outcome::Severity::Unknown => Severity::Unknown,
                outcome::Severity::Error => Severity::Error,
            },
            message: finding.message.clone(),
            remedy: finding.remedy.clone(),
            subject: finding.subject.clone(),
        }
    }
}

impl From<outcome::Verdict> for Verdict {
    fn from(verdict: outcome::Verdict) -> Self {
        match verdict {
            outcome::Verdict::Passed => Self::Passed,
            outcome::Verdict::Undetermined => Self::Undetermined,
            outcome::Verdict::Failed => Self::Failed,
        }
    }
}

impl SuiteRecord {
    /// A suite of which these drills are run.
    pub(super) fn of(suite: &Suite, drills: &[plan::Drill]) -> Self {
        let gap = suite.due.as_ref().and_then(Due::period);
        let mut asked = drills.iter().filter_map(|drill| match &drill.kind {
            plan::DrillKind::Verify { asked, .. } => asked.max_age,
            _ => None,
        });
        let due = gap.map(|gap| gap + SLACK).or_else(|| asked.next());
        Self {
            // What cannot be read is of no release: the gate asks for the very one.
            release_sha256: suite.release_sha256().and_then(Result::ok),
            due_seconds: Some(of(due.unwrap_or(DAY + SLACK))),
            name: suite.name.clone(),
            title: suite.title.clone(),
            sha256: suite.sha256.clone(),
            tests: suite.tests.iter().map(|test| test.name.clone()).collect(),
            faults: planted_by(suite),
        }
    }
}

/// The faults that a suite plants, where these are to make every check fail that they reach.
pub fn planted_by(suite: &Suite) -> Vec<String> {
    let faults = suite.detections.iter().filter(|_| suite.every_check);
    faults
        .map(|detection| detection.fault.id().to_owned())
        .collect()
}

impl From<&plan::Drill> for NotRun {
    fn from(drill: &plan::Drill) -> Self {
        Self {
            id: drill.id.clone(),
            suite: drill.suite.clone(),
            title: drill.title.clone(),
            tests: drill.tests.iter().map(|test| test.name.clone()).collect(),
            kind: kind(&drill.kind).0,
        }
    }
}

impl Pending {
    /// The scenario as not covered, when it is not.
    pub(super) fn of(suite: &Suite, scenario: &Scenario) -> Option<Self> {
        let reason = scenario.pending.clone()?;
        Some(Self {
            suite: suite.name.clone(),
            scenario: scenario.name.clone(),
            title: scenario.title.clone(),
            reason,
            rpo_objective_seconds: scenario
                .rpo
                .iter()
                .map(|(component, objective)| (component.clone(), of(*objective)))
                .collect(),
            rto_objective_seconds: scenario.rto.map(of),
        })
    }
}

/// Seconds of a duration, to the millisecond.
fn of(duration: Duration) -> f64 {
    seconds(duration.as_secs_f64())
}

/// Seconds to the millisecond: short decimals come back from JSON exactly as they went in.
fn seconds(value: f64) -> f64 {
    if value.is_finite() && value > 0.0 {
        (value * 1e3).round() / 1e3
    } else {
        0.0
    }
}

/// A rate to six decimals; none where no time passed.
fn rate(value: f64) -> Option<f64> {
    (value.is_finite() && value >= 0.0).then(|| (value * 1e6).round() / 1e6)
}
