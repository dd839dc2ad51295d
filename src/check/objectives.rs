//! RPO and RTO against their objectives.

use super::figures::{Projection, TooLittle};
use super::{Facts, figures, unobserved};
use crate::clock::readable;
use crate::outcome::{Finding, Outcome};
use crate::plan::DrillKind;
use crate::suite::{Check, StrikeTime};

pub(super) fn rpo(facts: &Facts<'_>) -> Outcome {
    let mut observed = 0;
    let mut findings = Vec::new();
    let Some(scenario) = facts.terms.scenario() else {
        return Outcome::of(Check::Rpo, 0, findings);
    };
    let worst = matches!(
        &facts.terms.drill.kind,
        DrillKind::Scenario {
            at: StrikeTime::Worst,
            ..
        }
    );
    // Beside a stated moment, which is held to the objective, the worst one puts the schedule itself on trial. Alone it is
    // all that is known, and is held to the objective itself.
    let tries_the_schedule = worst && scenario.states_a_moment();
    for recovery in facts.recoveries() {
        let component = &recovery.component;
        let Some(objective) = scenario
            .rpo
            .get(component)
            .map(|objective| objective.as_secs_f64())
        else {
            continue;
        };
        let Some(loss) = figures::loss(facts.evidence, recovery) else {
            findings.push(unobserved(
                facts,
                &format!("{component}: the loss could not be measured"),
            ));
            continue;
        };
        observed += 1;
        for hole in &loss.holes {
            findings.push(Finding::error(
                "hole-in-the-ledger",
                format!("{component}: write {hole} was acknowledged and is lost although a later one came back"),
                "this is no loss window but damage inside the data; do not go live on it",
            ));
        }
        let exposure = figures::exposure(facts.evidence, facts.terms, &recovery.backup);
        // Where the server is left, its log is too: the schedule exposes nothing.
        let kept = facts
            .evidence
            .strike
            .as_ref()
            .is_some_and(|strike| strike.whole.contains_key(component));
        // A calibration is too small for a word about the schedule: what it measures is told where it is projected.
        let schedule_cannot = !facts.terms.calibrates()
            && !kept
            && exposure
                .as_ref()
                .is_some_and(|exposure| exposure.seconds > objective);
        if loss.window > objective {
            let message = format!(
                "{component}: {} acknowledged writes lost, over {}; the objective is {}",
                loss.lost,
                readable(loss.window),
                readable(objective)
            );
            // What the schedule cannot keep is said as a finding about it.
            let explained = exposure
                .as_ref()
                .is_some_and(|e| loss.window <= e.seconds + e.grain);
            findings.push(match (worst && explained, tries_the_schedule) {
                (true, true) => Finding::warning(
                    "worst-case-beyond-objective",
                    message,
                    "see the finding about the schedule",
                ),
                (true, false) => Finding::error(
                    "rpo-missed",
                    format!("{message}, and no other moment is struck than the worst"),
                    "see the finding about the schedule, or allow in `rpo` what it exposes; beside a moment that `at` \
                     states (`at = [\"20h after BACKUP\", \"worst\"]`), the worst one is a warning",
                ),
                (false, _) => Finding::error(
                    "rpo-missed",
                    message,
                    "back up more often, or archive continuously (WAL, AOF, versioning)",
                ),
            });
        }
        if let (true, Some(exposure)) = (schedule_cannot, exposure) {
            let archives = facts
                .terms
                .backup(&recovery.backup)
                .is_some_and(|backup| backup.method.archives());
            let (does, remedy) = if archives {
                ("archives", "set `archive_timeout` to at most")
            } else {
                ("runs", "archive continuously, or back up at least every")
            };
            findings.push(Finding::warning(
                "schedule-cannot-keep-rpo",
                format!(
                    "{component}: `{}` {does} every {}, and is exposed for that long and its own duration ({}{}): {} at worst, the objective is {}",
                    recovery.backup,
                    readable(exposure.period),
                    readable(exposure.duration),
                    if exposure.projected { ", projected to the production size" } else { ", measured" },
                    readable(exposure.seconds),
                    readable(objective)
                ),
                format!(
                    "{remedy} {}",
                    readable((objective - exposure.duration).max(0.0))
                ),
            )
            .about(&recovery.backup));
        }
    }
    Outcome::of(Check::Rpo, observed, findings)
}

pub(super) fn rto(facts: &Facts<'_>) -> Outcome {
    let mut findings = Vec::new();
    let objective = facts
        .terms
        .scenario()
        .and_then(|scenario| scenario.rto)
        .map(|objective| objective.as_secs_f64());
    let Some(objective) = objective else {
        return Outcome::of(Check::Rto, 0, findings);
    };
    let Some(total) = facts.evidence.recovery_seconds else {
        let finding = unobserved(facts, "no verified read on the recovered service");
        return Outcome::of(Check::Rto, 0, vec![finding]);
    };
    if total > objective {
        findings.push(Finding::error(
            "rto-missed",
            format!(
                "recovery took {}, the objective is {}",
                readable(total),
                readable(objective)
            ),
            "see the phases: fetch wants bandwidth, restore wants jobs, provision wants a standby",
        ));
    }
    for projection in figures::projections(facts.evidence, facts.terms) {
        match projection.seconds {
            Ok(seconds) if seconds > objective => findings.push(Finding::error(
                "projected-rto-missed",
                format!(
                    "projected to {:.1} GB of {}, recovery takes {}; the objective is {}",
                    projection.bytes as f64 / 1e9,
                    projection.component,
                    readable(seconds),
                    readable(objective)
                ),
                "measure on the production machine; then more restore jobs, physical backups, or a standby",
            )),
            Ok(_) => {}
            Err(why) => findings.push(not_projected(facts, &projection, why)),
        }
    }
    Outcome::of(Check::Rto, 1, findings)
}

/// What is not carried to the production size, to which the objective applies as well. Whoever drills at less than the
/// suite's own size has asked for less; at that size it could not be established whether the objective is kept.
fn not_projected(facts: &Facts<'_>, projection: &Projection, why: TooLittle) -> Finding {
    let drill = facts.terms.drill;
    let (cause, remedy) = match why {
        TooLittle::OneSize => (
            "no second size was measured".to_owned(),
            "see the calibration drill, which measures it".to_owned(),
        ),
        TooLittle::TooClose { smallest, largest } => (
            format!(
                "the sizes measured, {} and {}, are too close for a line through them",
                in_mb(smallest),
                in_mb(largest)
            ),
            "drill at a larger --scale, of which the calibration is a tenth; a seed script must grow with `:scale`"
                .to_owned(),
        ),
        TooLittle::TooSmall { largest, least } => (
            format!(
                "that takes {}, and the largest size measured is {}",
                in_mb(least),
                in_mb(largest)
            ),
            format!(
                "drill at --scale {:.1} or more",
                (drill.scale * least / largest * 10.0).ceil() / 10.0
            ),
        ),
    };
    let asked = matches!(drill.kind, DrillKind::Scenario { .. }) && drill.scale >= 1.0;
    let finding = if asked {
        Finding::unknown
    } else {
        Finding::warning
    };
    let component = &projection.component;
    let size = projection.bytes as f64 / 1e9;
    finding(
        "not-projected",
        format!(
            "{component}: the recovery is not carried to {size:.1} GB, and not held there to its objective: {cause}"
        ),
        remedy,
    )
    .about(component)
}

fn in_mb(bytes: f64) -> String {
    format!("{:.1} MB", bytes / 1e6)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use chrono::{DateTime, TimeDelta, Utc};

    use super::*;
    use crate::check::trial::unfolded;
    use crate::check::{Terms, judge};
    use crate::context::Phase;
    use crate::evidence::{
        BackupFact, Evidence, LedgerEntry, Observation, RecoveryFact, Sample, StrikeFact,
    };
    use crate::outcome::{Outcome, Verdict};
    use crate::plan::Drill;

    const SUITE: &str = "[component.db]\nkind = \"postgres\"\nproduction_size = \"1 GB\"\n\
        [backup.b]\nschedule = \"@hourly\"\n\
        [scenario.s]\nstrike = { fault = \"server-lost\" }\nat = [\"59m after b\", \"worst\"]\nrpo = \"1h\"\nrto = \"10m\"\n";

    /// What a check says of the scenario's drill at one of its times.
    fn said(check: Check, worst: bool, evidence: &Evidence) -> Outcome {
        said_of(SUITE, check, worst, evidence)
    }

    fn said_of(text: &str, check: Check, worst: bool, evidence: &Evidence) -> Outcome {
        let (suite, plan) = unfolded(text);
        let is_it = |kind: &DrillKind| matches!(kind, DrillKind::Scenario { at, .. } if (*at == StrikeTime::Worst) == worst);
        let mut drills = plan.drills.iter();
        let terms = Terms {
            suite: &suite,
            drill: drills.find(|drill| is_it(&drill.kind)).expect("is drilled"),
        };
        judge(check, evidence, &terms, None)
    }

    fn kinds(outcome: &Outcome) -> Vec<&str> {
        outcome.findings.iter().map(|it| it.kind).collect()
    }

    fn minute(minute: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::minutes(minute)
    }

    /// One write a minute from minute 1 on, struck at minute 100; a recovery of 100 MB in `seconds`, of which came back
    /// `back`.
    fn drill(back: BTreeSet<u64>, seconds: f64) -> Evidence {
        let observed = |ledger| Observation {
            bytes: 100_000_000,
            ledger,
            ..Observation::default()
        };
        let window = (minute(0), minute(1));
        Evidence {
            strike: Some(StrikeFact {
                at: minute(100),
                done: minute(100),
                ..StrikeFact::default()
            }),
            ledger: (1..=100)
                .map(|number: u64| LedgerEntry {
                    component: "db".to_owned(),
                    number,
                    at: minute(number.cast_signed()),
                    coordinate: String::new(),
                })
                .collect(),
            backups: vec![BackupFact {
                backup: "b".to_owned(),
                component: "db".to_owned(),
                artifact: Some("one".to_owned()),
                at: minute(0),
                window,
                seconds: 60.0,
                error: None,
                refused: None,
                source: Some(observed(BTreeSet::new())),
                high_water: 0,
                stored: Vec::new(),
                readable: None,
                mirrored: None,
            }],
            recoveries: vec![RecoveryFact {
                component: "db".to_owned(),
                backup: "b".to_owned(),
                artifact: Some("one".to_owned()),
                seconds: Some(seconds),
                phases: [(Phase::Provision, 1.0), (Phase::Restore, seconds - 1.0)].into(),
                expected: Some(observed(BTreeSet::new())),
                restored: Some(observed(back)),
                ..RecoveryFact::default()
            }],
            recovery_seconds: Some(seconds),
            ..Evidence::default()
        }
    }

    /// What a calibration at half the size measured.
    fn calibrated(mut evidence: Evidence, moving_seconds: f64) -> Evidence {
        evidence.samples.push(Sample {
            component: "db".to_owned(),
            bytes: 50_000_000,
            moving_seconds,
            backup_seconds: 30.0,
        });
        evidence
    }

    #[test]
    fn a_loss_is_held_to_its_objective_by_the_ledger_and_a_hole_fails_whatever_the_objective() {
        // Write 40 is the oldest that is lost: sixty minutes, and no more.
        let kept = said(Check::Rpo, false, &drill((1..40).collect(), 5.0));
        assert_eq!(kept.verdict, Verdict::Passed, "{:?}", kept.findings);
        let lost = said(Check::Rpo, false, &drill((1..39).collect(), 5.0));
        assert_eq!(lost.verdict, Verdict::Failed);
        assert!(kinds(&lost).contains(&"rpo-missed"), "{:?}", kinds(&lost));
        let hole = (1..=100).filter(|number| *number != 99).collect();
        let hole = said(Check::Rpo, false, &drill(hole, 5.0));
        assert_eq!(kinds(&hole)[0], "hole-in-the-ledger");
        assert_eq!(hole.verdict, Verdict::Failed);
    }

    #[test]
    fn at_the_worst_moment_a_schedule_that_cannot_keep_the_objective_is_told_and_a_larger_loss_fails()
     {
        // The period of an hour, and the minute that the dump takes: the schedule explains 61 minutes, and not 63.
        let explained = said(Check::Rpo, true, &drill((1..39).collect(), 5.0));
        assert_eq!(explained.verdict, Verdict::Passed);
        assert_eq!(
            kinds(&explained),
            ["worst-case-beyond-objective", "schedule-cannot-keep-rpo"]
        );
        let beyond = said(Check::Rpo, true, &drill((1..37).collect(), 5.0));
        assert_eq!(kinds(&beyond)[0], "rpo-missed");
        assert_eq!(beyond.verdict, Verdict::Failed);
    }

    #[test]
    fn where_no_moment_is_stated_the_worst_one_is_held_to_the_objective() {
        const STATED: &str = "at = [\"59m after b\", \"worst\"]\n";
        for only_worst in ["", "at = \"worst\"\n", "at = [\"worst\", { random = 2 }]\n"] {
            let text = SUITE.replace(STATED, only_worst);
            assert_ne!(text, SUITE, "{only_worst}");
            let missed = said_of(&text, Check::Rpo, true, &drill((1..39).collect(), 5.0));
            assert_eq!(missed.verdict, Verdict::Failed, "{only_worst}");
            assert_eq!(kinds(&missed), ["rpo-missed", "schedule-cannot-keep-rpo"]);
            // What the schedule exposes and the objective allows is missed by nobody.
            let allowed = text.replace("rpo = \"1h\"", "rpo = \"62m\"");
            let kept = said_of(&allowed, Check::Rpo, true, &drill((1..39).collect(), 5.0));
            assert_eq!((kept.verdict, kinds(&kept)), (Verdict::Passed, vec![]));
        }
    }

    #[test]
    fn a_recovery_is_held_to_its_objective_as_measured_and_as_projected() {
        let back = || (1..=100).collect();
        // 100 MB in 31 s, 50 MB in 16: a gigabyte in 301 s, half of what it may take.
        let kept = said(Check::Rto, false, &calibrated(drill(back(), 31.0), 15.0));
        assert_eq!((kept.verdict, kinds(&kept)), (Verdict::Passed, vec![]));
        // As measured well within it, and a gigabyte in 701 s.
        let projected = said(Check::Rto, false, &calibrated(drill(back(), 71.0), 35.0));
        assert_eq!(kinds(&projected), ["projected-rto-missed"]);
        assert_eq!(projected.verdict, Verdict::Failed);
        let measured = said(Check::Rto, false, &calibrated(drill(back(), 600.5), 600.0));
        assert_eq!(kinds(&measured)[0], "rto-missed");
        // With one size nothing is projected, and nobody knows whether the objective is kept there.
        let alone = said(Check::Rto, false, &drill(back(), 31.0));
        assert_eq!(kinds(&alone), ["not-projected"]);
        assert_eq!(alone.verdict, Verdict::Undetermined);
    }

    #[test]
    fn a_component_that_cannot_be_projected_is_named_whatever_the_others_are_projected_to() {
        let two = "kind = \"postgres\"\nproduction_size = \"1 GB\"\n[component.cache]\nkind = \"redis\"\n\
                   production_size = \"100 GB\"\n[backup.c]\ncomponent = \"cache\"\nschedule = \"@hourly\"\n\
                   [backup.b]\ncomponent = \"db\"\n";
        let text = SUITE
            .replace("kind = \"postgres\"\nproduction_size = \"1 GB\"\n[backup.b]\n", two)
            .replace(
                "{ fault = \"server-lost\" }",
                "[{ component = \"db\", fault = \"server-lost\" }, { component = \"cache\", fault = \"server-lost\" }]",
            );
        let (suite, plan) = unfolded(&text);
        let scenario = |it: &&Drill| matches!(it.kind, DrillKind::Scenario { .. });
        let drilled = plan.drills.iter().find(scenario).expect("is drilled");
        let mut evidence = calibrated(drill((1..=100).collect(), 31.0), 15.0);
        let mut cache = evidence.recoveries[0].clone();
        (cache.component, cache.backup) = ("cache".to_owned(), "c".to_owned());
        evidence.recoveries.push(cache);
        let mut sample = evidence.samples[0].clone();
        sample.component = "cache".to_owned();
        evidence.samples.push(sample);
        let said = |scale: f64| {
            let drilled = Drill {
                scale,
                ..drilled.clone()
            };
            let terms = Terms {
                suite: &suite,
                drill: &drilled,
            };
            let (_, rto, each) = figures::of_drill(&evidence, &terms);
            assert_eq!(rto.expect("measured").projected, None, "one is not known");
            let projected: Vec<bool> = each.iter().map(|it| it.projected.is_some()).collect();
            assert_eq!(projected, [true, false]);
            judge(Check::Rto, &evidence, &terms, None)
        };
        let at_its_size = said(1.0);
        assert_eq!(at_its_size.verdict, Verdict::Undetermined);
        let [finding] = at_its_size.findings.as_slice() else {
            panic!("one finding: {:?}", at_its_size.findings);
        };
        assert_eq!(
            (finding.kind, finding.subject.as_str()),
            ("not-projected", "cache")
        );
        assert!(
            finding
                .message
                .contains("takes 200.0 MB, and the largest size measured is 100.0 MB")
        );
        assert_eq!(finding.remedy, "drill at --scale 2.0 or more");
        // Who drills less asks for less, and is told.
        let smaller = said(0.5);
        assert_eq!(
            (smaller.verdict, kinds(&smaller)),
            (Verdict::Passed, vec!["not-projected"])
        );
        assert_eq!(smaller.findings[0].remedy, "drill at --scale 1.0 or more");
    }

    #[test]
    fn a_server_that_was_started_again_moved_nothing_that_could_be_projected() {
        let mut evidence = drill((1..=100).collect(), 5.0);
        evidence.recoveries[0].phases = [(Phase::Provision, 5.0)].into();
        evidence.recoveries[0].restart = Some(Ok(()));
        let outcome = said(Check::Rto, false, &evidence);
        assert_eq!(
            (outcome.verdict, kinds(&outcome)),
            (Verdict::Passed, vec![])
        );
    }
}
