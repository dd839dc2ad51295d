//! What the drills of a scenario lost, at most and typically, and whether that is within its objective.

use std::time::Duration;

use super::format::*;
use crate::outcome::Spread;

impl Record {
    /// The losses of every component of the scenarios that are struck at random moments, or have an objective for the
    /// typical loss.
    pub(super) fn spreads(&self) -> Vec<RpoSpread> {
        let mut all: Vec<RpoSpread> = Vec::new();
        for drill in &self.drills {
            for rpo in drill.rpo.iter().flat_map(|rpo| &rpo.components) {
                let Some(scenario) = self.spread_of(drill, rpo) else {
                    continue;
                };
                let known = |it: &RpoSpread| {
                    (&it.suite, &it.scenario, &it.component)
                        == (&drill.suite, &scenario, &rpo.component)
                };
                if !all.iter().any(known) {
                    all.extend(self.spread(&drill.suite, &scenario, rpo));
                }
            }
        }
        all
    }

    fn spread_of(&self, drill: &DrillRecord, rpo: &ComponentRpo) -> Option<String> {
        let scenario = drill.scenario.clone().filter(|_| counts(drill))?;
        let random = |it: &&DrillRecord| {
            it.kind == DrillKind::RandomMoment
                && it.suite == drill.suite
                && it.scenario.as_ref() == Some(&scenario)
        };
        let wanted = rpo.typical_objective_seconds.is_some();
        (wanted || self.drills.iter().any(|it| random(&it))).then_some(scenario)
    }

    fn spread(&self, suite: &str, scenario: &str, of: &ComponentRpo) -> Option<RpoSpread> {
        let drills = self.drills.iter().filter(|drill| {
            counts(drill) && drill.suite == suite && drill.scenario.as_deref() == Some(scenario)
        });
        let (mut windows, mut unmeasured) = (Vec::new(), 0);
        for drill in drills {
            let mut components = drill.rpo.iter().flat_map(|rpo| &rpo.components);
            match components.find(|it| it.component == of.component) {
                Some(rpo) => windows.push(Duration::from_secs_f64(rpo.window_seconds)),
                None => unmeasured += 1,
            }
        }
        let spread = Spread::of(windows)?;
        Some(RpoSpread {
            suite: suite.to_owned(),
            scenario: scenario.to_owned(),
            component: of.component.clone(),
            drills: spread.drills as u64,
            unmeasured,
            most_seconds: spread.most.as_secs_f64(),
            objective_seconds: of.objective_seconds,
            median_seconds: spread.median.as_secs_f64(),
            typical_objective_seconds: of.typical_objective_seconds,
        })
    }
}

fn counts(drill: &DrillRecord) -> bool {
    matches!(
        drill.kind,
        DrillKind::Scenario | DrillKind::WorstMoment | DrillKind::RandomMoment
    )
}

impl RpoSpread {
    /// Whether what is typically lost is within the objective for that; `None` where there is none.
    pub fn verdict(&self) -> Option<Verdict> {
        let typical = self.typical_objective_seconds?;
        Some(if self.median_seconds > typical {
            Verdict::Failed
        } else if self.unmeasured > 0 {
            Verdict::Undetermined
        } else {
            Verdict::Passed
        })
    }
}
