//! A suite unfolds into drills: which ones, in which order, with which seed and how much data.

use std::collections::BTreeSet;

use super::{Drill, DrillKind, Pending, Plan, timeline};
use crate::error::Result;
use crate::sha256::Sha256;
use crate::suite::{Scenario, Strike, StrikeTime, Suite, Test};

/// How big a calibration drill is beside the others: far enough from them for a line through two points.
const CALIBRATION: f64 = 0.1;
/// The sign bit stays clear.
const SEED_BITS: u64 = u64::MAX >> 1;

/// What a run may choose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// The seed of everything that is left to chance.
    pub seed: u64,
    /// How much data, 1.0 being the suite's normal size.
    pub scale: f64,
    /// The release is tried too, where a suite has one.
    pub release: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            scale: 1.0,
            release: false,
        }
    }
}

/// Every drill that a suite asks for, and what it leaves pending.
///
/// First, where components have a production size, a calibration drill at a tenth of the size, in the scenario that
/// recovers the most of them, and as many more as it takes to have each in one; then one drill for each scenario and
/// time it strikes, the retention rehearsal, and for each scenario that faults are planted in its healthy twin and one
/// drill a fault. A scenario that only detections use is not drilled by itself: its healthy twin is that drill.
///
/// Two runs of a backup, the second beside what the first has stored, are taken in the first scenario's drill that
/// recovers from it and in detection drills; one run in all others.
pub fn expand(suite: &Suite, options: &Options) -> Result<Plan> {
    let mut plan = Plan::default();
    let mut drilled = Vec::new();
    for scenario in &suite.scenarios {
        match &scenario.pending {
            Some(reason) => plan.pending.push(Pending {
                id: format!("{}/{}", suite.name, scenario.name),
                suite: suite.name.clone(),
                scenario: scenario.name.clone(),
                title: scenario.title.clone(),
                reason: reason.clone(),
            }),
            None if only_for_detections(suite, scenario) => {}
            None => drilled.push(scenario),
        }
    }
    let mut maker = Maker {
        suite,
        options,
        ids: BTreeSet::new(),
        repeated: BTreeSet::new(),
    };
    plan.drills.extend(maker.calibrations(&drilled)?);
    for scenario in drilled {
        for (number, at) in scenario.at.iter().enumerate() {
            plan.drills.push(maker.scenario(scenario, at, number == 0)?);
        }
    }
    plan.drills.extend(maker.retention()?);
    plan.drills.extend(maker.detections()?);
    if options.release {
        plan.drills.extend(maker.release()?);
    }
    Ok(plan)
}

/// The seed of what is left to chance in something: the first eight bytes of SHA-256 over the run's seed and its name, so
/// that a drill repeats alone just as it ran among others. It fits SQL's `bigint`, where seed scripts use it.
///
/// Data are made with that of the suite: all its drills begin with the same. Moments are drawn with that of the drill.
pub fn seed_of(run_seed: u64, name: &str) -> u64 {
    let mut hash = Sha256::new();
    hash.update(run_seed.to_le_bytes());
    hash.update(name);
    hash.finish()
        .iter()
        .take(8)
        .fold(0, |seed, byte| seed << 8 | u64::from(*byte))
        & SEED_BITS
}

fn only_for_detections(suite: &Suite, scenario: &Scenario) -> bool {
    suite.detections.iter().any(|d| d.scenario == scenario.name)
        && !suite.tests.iter().any(|test| test.drill == scenario.name)
}

/// Makes drills, each under an id of its own.
struct Maker<'s> {
    suite: &'s Suite,
    options: &'s Options,
    ids: BTreeSet<String>,
    /// The backups of which a drill takes a second run.
    repeated: BTreeSet<String>,
}

impl Maker<'_> {
    /// A drill of a scenario, with the scenario's components and timeline, and no tests.
    fn drill(
        &mut self,
        ids: [String; 2],
        title: String,
        scenario: &Scenario,
        at: &StrikeTime,
        kind: DrillKind,
    ) -> Result<Drill> {
        let mut twice: BTreeSet<String> = scenario.recover.iter().cloned().collect();
        match kind {
            DrillKind::Calibration { .. } | DrillKind::Release { .. } => twice.clear(),
            DrillKind::Scenario { .. } => twice.retain(|name| self.repeated.insert(name.clone())),
            DrillKind::Detection { .. }
            | DrillKind::Retention { .. }
            | DrillKind::Verify { .. } => {}
        }
        let own = format!("{}/{}", self.suite.name, ids[0]);
        let seed = seed_of(self.options.seed, &own);
        let timeline = timeline::struck(self.suite, scenario, at, &twice, seed)?;
        let components = self.components(&scenario.strikes, &scenario.recover);
        let scale = self.options.scale;
        Ok(self.finished(ids, title, kind, components, scale, timeline))
    }

    fn finished(
        &mut self,
        [id, longer_id]: [String; 2],
        title: String,
        kind: DrillKind,
        components: Vec<String>,
        scale: f64,
        timeline: super::Timeline,
    ) -> Drill {
        let id = if self.ids.contains(&id) {
            longer_id
        } else {
            id
        };
        self.ids.insert(id.clone());
        Drill {
            title,
            suite: self.suite.name.clone(),
            kind,
            components,
            seed: seed_of(self.options.seed, &self.suite.name),
            id: format!("{}/{id}", self.suite.name),
            scale,
            timeline,
            tests: Vec::new(),
        }
    }

    /// Components to start, in the order of the suite: those named, and those that the backups protect.
    fn components(&self, named: &[(String, Strike)], backups: &[String]) -> Vec<String> {
        let of_backup = |name: &str| {
            let mut of = self.suite.backups.iter().filter(|b| b.component == name);
            of.any(|backup| backups.contains(&backup.name))
        };
        self.suite
            .components
            .iter()
            .map(|component| component.name.clone())
            .filter(|name| named.iter().any(|(named, _)| named == name) || of_backup(name))
            .collect()
    }

    fn scenario(&mut self, scenario: &Scenario, at: &StrikeTime, first: bool) -> Result<Drill> {
        let name = &scenario.name;
        let (short, long, when) = match at {
            StrikeTime::Worst => {
                let id = format!("{name}@worst");
                (id.clone(), id, "at the worst moment".to_owned())
            }
            StrikeTime::Random { number } => {
                let id = format!("{name}@random-{number}");
                (id.clone(), id, format!("at random moment {number}"))
            }
            StrikeTime::After { backup, offset } => {
                let offset = humantime::format_duration(*offset).to_string();
                let short = format!("{name}@{}", offset.replace(' ', ""));
                let long = format!("{short}-after-{backup}");
                (short, long, format!("{offset} after {backup}"))
            }
        };
        let ids = if first {
            [name.clone(), name.clone()]
        } else {
            [short, long]
        };
        let noticed = if scenario.unnoticed > 0 {
            "noticed"
        } else {
            "struck"
        };
        let title = format!("{}, {noticed} {when}", scenario.title);
        let kind = DrillKind::Scenario {
            scenario: name.clone(),
            at: at.clone(),
        };
        let mut drill = self.drill(ids, title, scenario, at, kind)?;
        if first {
            drill.tests = self.tests_of(name);
        }
        Ok(drill)
    }

    fn tests_of(&self, drill: &str) -> Vec<Test> {
        let of_drill = |test: &&Test| test.drill == drill;
        self.suite.tests.iter().filter(of_drill).cloned().collect()
    }

    /// Drills at a smaller scale, until every component that has a production size has a second size that was measured.
    fn calibrations(&mut self, scenarios: &[&Scenario]) -> Result<Vec<Drill>> {
        let suite = self.suite;
        let components = suite.components.iter();
        let sized = components.filter(|component| component.production_size.is_some());
        let mut left: BTreeSet<&str> = sized.map(|component| component.name.as_str()).collect();
        let recovered = |scenario: &Scenario| -> BTreeSet<&str> {
            let own = suite.backups.iter();
            let own = own.filter(|backup| scenario.recover.contains(&backup.name));
            own.map(|backup| backup.component.as_str()).collect()
        };
        let mut drills = Vec::new();
        loop {
            // The first of those that recover the most of what is left.
            let recovers = |scenario: &Scenario| recovered(scenario).intersection(&left).count();
            let most = scenarios.iter().rev().max_by_key(|it| recovers(it));
            let Some(scenario) = most.filter(|scenario| recovers(scenario) > 0) else {
                return Ok(drills);
            };
            let Some(at) = scenario.at.first() else {
                return Ok(drills);
            };
            left.retain(|name| !recovered(scenario).contains(name));
            let id = "calibration".to_owned();
            let longer = format!("calibration-{}", scenario.name);
            let title = "Calibration at a tenth of the size".to_owned();
            let kind = DrillKind::Calibration {
                scenario: scenario.name.clone(),
            };
            let mut drill = self.drill([id, longer], title, scenario, at, kind)?;
            drill.scale *= CALIBRATION;
            drills.push(drill);
        }
    }

    fn retention(&mut self) -> Result<Vec<Drill>> {
        let mut drills = Vec::new();
        for rehearsal in &self.suite.retention {
            let name = &rehearsal.name;
            let of = match self.suite.retention.len() {
                1 => String::new(),
                _ => format!(" of {}", rehearsal.backups.join(", ")),
            };
            let mut drill = self.finished(
                [name.clone(), name.clone()],
                format!("Retention{of} over {} days", rehearsal.days),
                DrillKind::Retention {
                    rehearsal: name.clone(),
                },
                self.components(&[], &rehearsal.backups),
                self.options.scale,
                timeline::rehearsal(self.suite, rehearsal)?,
            );
            drill.tests = self.tests_of(name);
            drills.push(drill);
        }
        Ok(drills)
    }

    fn release(&mut self) -> Result<Option<Drill>> {
        let suite = self.suite;
        let Some(release) = &suite.release else {
            return Ok(None);
        };
        let mut scenarios = suite.scenarios.iter();
        let scenario = scenarios.find(|scenario| scenario.name == release.scenario);
        let Some((scenario, at)) = scenario.and_then(|it| Some((it, it.at.first()?))) else {
            return Ok(None);
        };
        let id = "release".to_owned();
        let title = format!("{}, and the release on what came back", scenario.title);
        let kind = DrillKind::Release {
            scenario: scenario.name.clone(),
        };
        self.drill([id.clone(), id], title, scenario, at, kind)
            .map(Some)
    }

    fn detections(&mut self) -> Result<Vec<Drill>> {
        let suite = self.suite;
        let mut drills = Vec::new();
        for scenario in &suite.scenarios {
            let planted: Vec<_> = suite
                .detections
                .iter()
                .filter(|detection| detection.scenario == scenario.name)
                .collect();
            let Some(at) = scenario.at.first().filter(|_| !planted.is_empty()) else {
                continue;
            };
            let name = &scenario.name;
            let id = format!("healthy-{name}");
            let title = format!("{}, nothing planted", scenario.title);
            let kind = DrillKind::Detection {
                scenario: name.clone(),
                fault: None,
                caught_by: None,
            };
            drills.push(self.drill([id.clone(), id], title, scenario, at, kind)?);
            for detection in planted {
                let fault = detection.fault;
                let ids = [fault.to_string(), format!("{fault}@{name}")];
                let title = format!("{fault}: {}", fault.meaning());
                let kind = DrillKind::Detection {
                    scenario: name.clone(),
                    fault: Some(fault),
                    caught_by: Some(detection.caught_by.clone()),
                };
                drills.push(self.drill(ids, title, scenario, at, kind)?);
            }
        }
        Ok(drills)
    }
}

#[cfg(test)]
mod tests;
