//! Which drills of a plan are run: those that a glob pattern names.

use super::{Drill, DrillKind, Plan};
use crate::error::{Error, Result};
use crate::suite::Check;
use crate::suite::pattern::Patterns;

/// Keeps what a glob pattern matches: drills by their id (`deltacrown/redis-failure`) or by its part after the
/// suite, with all their tests; or by the name of one of their tests, with only the tests that match.
///
/// What a kept drill rests on is kept with it: the calibration for a projected recovery time, the healthy twin for
/// a planted fault. Otherwise a verdict would depend on what else was asked for. A pattern that matches nothing
/// leaves an empty plan; one that is no pattern is a usage error.
pub fn select(plan: &Plan, pattern: &str) -> Result<Plan> {
    let patterns = Patterns::parse([pattern])
        .map_err(|why| Error::usage(why).doing("read the pattern of drills to run"))?;
    let by_id = |id: &str, suite: &str| {
        let short = id
            .strip_prefix(suite)
            .and_then(|rest| rest.strip_prefix('/'));
        patterns.matches(id) || short.is_some_and(|short| patterns.matches(short))
    };
    let kept: Vec<Option<Drill>> = plan
        .drills
        .iter()
        .map(|drill| {
            let mut kept = drill.clone();
            if !by_id(&drill.id, &drill.suite) {
                kept.tests.retain(|test| patterns.matches(&test.name));
                if kept.tests.is_empty() {
                    return None;
                }
            }
            Some(kept)
        })
        .collect();
    let rests_on = |support: &Drill| kept.iter().flatten().any(|drill| needs(drill, support));
    let drills = plan
        .drills
        .iter()
        .zip(&kept)
        .filter_map(|(drill, kept)| match kept {
            Some(kept) => Some(kept.clone()),
            None => rests_on(drill).then(|| drill.clone()),
        })
        .collect();
    let pending = plan.pending.iter().filter(|p| by_id(&p.id, &p.suite));
    Ok(Plan {
        drills,
        pending: pending.cloned().collect(),
    })
}

/// Whether the verdict of a drill, with the tests that are left of it, rests on another drill.
fn needs(drill: &Drill, support: &Drill) -> bool {
    if drill.suite != support.suite {
        return false;
    }
    match (&drill.kind, &support.kind) {
        (DrillKind::Scenario { .. }, DrillKind::Calibration { .. }) => {
            let judges = |check| drill.tests.iter().any(|test| test.check == check);
            let projects = drill.tests.is_empty() || judges(Check::Rto) || judges(Check::Rpo);
            let shares = drill
                .components
                .iter()
                .any(|c| support.components.contains(c));
            projects && shares
        }
        (
            DrillKind::Detection {
                scenario,
                fault: Some(_),
                ..
            },
            DrillKind::Detection {
                scenario: twin,
                fault: None,
                ..
            },
        ) => scenario == twin,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
