//! Which drills of a plan are run: those that a glob pattern names.

use super::{Drill, DrillKind, Plan, seed_of};
use crate::error::{Error, Result};
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
    let pending = plan.pending.iter().filter(|p| by_id(&p.id, &p.suite));
    Ok(Plan {
        drills: with_support(plan, &kept),
        pending: pending.cloned().collect(),
    })
}

/// Keeps the drills that are wanted, with all their tests, and what they rest on.
pub fn keep(plan: &Plan, wanted: impl Fn(&Drill) -> bool) -> Plan {
    let drills = plan.drills.iter();
    let kept: Vec<Option<Drill>> = drills
        .map(|drill| wanted(drill).then(|| drill.clone()))
        .collect();
    Plan {
        drills: with_support(plan, &kept),
        pending: plan.pending.clone(),
    }
}

/// What was kept of each drill of a plan, and what that rests on, in the order of the plan.
fn with_support(plan: &Plan, kept: &[Option<Drill>]) -> Vec<Drill> {
    let rests_on = |support: &Drill| kept.iter().flatten().any(|drill| rests_on(drill, support));
    let all = plan.drills.iter().zip(kept);
    all.filter_map(|(drill, kept)| match kept {
        Some(kept) => Some(kept.clone()),
        None => rests_on(drill).then(|| drill.clone()),
    })
    .collect()
}

/// One of several parts that a fleet's drills are divided into, each drill always into the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which one, from 1.
    pub number: u32,
    /// Of how many.
    pub of: u32,
}

impl Shard {
    /// Whether a drill belongs to it, which its names alone decide. All moments at which a scenario is struck stay
    /// together, as what it typically loses is counted over them; a calibration only comes with what rests on it.
    pub fn has(self, drill: &Drill) -> bool {
        match &drill.kind {
            DrillKind::Calibration { .. } => false,
            DrillKind::Scenario { scenario, .. } => {
                self.has_name(&format!("{}/{scenario}", drill.suite))
            }
            _ => self.has_name(&drill.id),
        }
    }

    /// Whether what has this name belongs to it: a scenario with its suite, else a drill.
    pub fn has_name(self, name: &str) -> bool {
        seed_of(0, name) % u64::from(self.of) + 1 == u64::from(self.number)
    }
}

impl std::str::FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text
            .split_once('/')
            .and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        match parsed {
            Some((number, of)) if (1..=of).contains(&number) => Ok(Self { number, of }),
            _ => Err("expected a number and how many there are, such as 1/4 to 4/4".to_owned()),
        }
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

/// Whether what is told of a drill rests on another drill.
pub fn rests_on(drill: &Drill, support: &Drill) -> bool {
    if drill.suite != support.suite {
        return false;
    }
    match (&drill.kind, &support.kind) {
        (DrillKind::Scenario { .. }, DrillKind::Calibration { .. }) => {
            // Whatever is judged, the projected recovery time is told, and a gate asks for it.
            let mut components = drill.components.iter();
            components.any(|it| support.components.contains(it))
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
