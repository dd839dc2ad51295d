//! RPO and RTO against their objectives.

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
            // At the worst moment the schedule itself is on trial; what it cannot keep is said as a finding about it.
            let explained = worst
                && exposure
                    .as_ref()
                    .is_some_and(|e| loss.window <= e.seconds + e.grain);
            if explained {
                findings.push(Finding::warning(
                    "worst-case-beyond-objective",
                    message,
                    "see the finding about the schedule",
                ));
            } else {
                findings.push(Finding::error(
                    "rpo-missed",
                    message,
                    "back up more often, or archive continuously (WAL, AOF, versioning)",
                ));
            }
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
    let projection = figures::projected_recovery(facts.evidence, facts.terms);
    let sized = facts
        .terms
        .components()
        .filter(|component| facts.terms.brought(&component.name).is_whole())
        .any(|component| component.production_size.is_some());
    if sized && projection.is_none() {
        findings.push(Finding::warning(
            "not-projected",
            format!(
                "the recovery is not carried to the production size: that takes two measured sizes, the larger at least \
                 1/{} of it",
                figures::FARTHEST
            ),
            "drill at a larger --scale, with the calibration drill",
        ));
    }
    if let Some(projected) = projection
        && projected.seconds > objective
    {
        findings.push(Finding::error(
            "projected-rto-missed",
            format!(
                "projected to {:.1} GB of {}, recovery takes {}; the objective is {}",
                projected.bytes as f64 / 1e9,
                projected.component,
                readable(projected.seconds),
                readable(objective)
            ),
            "measure on the production machine; then more restore jobs, physical backups, or a standby",
        ));
    }
    Outcome::of(Check::Rto, 1, findings)
}
