//! The record of a run: what was drilled, what came of it, and the evidence for both, as versioned JSON that is
//! rewritten whole after each drill. Reports, history and the gate read records and nothing else.
//!
//! Not here: how a record is shown (see [`crate::report`]), or anything that decides a verdict
//! (see [`crate::outcome`]): a record may only make a verdict worse, never better.

mod convert;
mod count;
mod file;
pub mod format;
mod secrets;
mod spread;

#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use crate::context::RunId;
use crate::exit::Exit;
use crate::origin::Origin;
use crate::outcome::DrillResult;
use crate::plan::Drill;
use crate::suite::Suite;

pub use convert::planted_by;
pub use count::{Line, LineKind, silent};
pub use file::write_atomically;
pub use format::{
    DrillKind, DrillRecord, Record, SCHEMA_VERSION, Severity, State, SuiteRecord, Verdict,
};

use format::{CheckRecord, NotRun, Pending, ServiceVersion, Services, Summary};

/// What is known of a run before its first drill.
#[derive(Debug, Clone)]
pub struct Start<'a> {
    /// The run.
    pub run: &'a RunId,
    /// When it begins.
    pub at: DateTime<Utc>,
    /// `local` or `containers`.
    pub mode: &'a str,
    /// Why this mode.
    pub reason: &'a str,
    /// The command that runs the same again, with the same seed; without secrets.
    pub command: String,
    /// The suites that the drills come from.
    pub suites: &'a [Suite],
    /// Every drill that is going to run.
    pub drills: &'a [Drill],
    /// Where it is made.
    pub origin: &'a Origin,
}

impl DrillRecord {
    /// Whether the artifact that was verified lies at a place, or in it: what it is called begins with that.
    pub fn lies_at(&self, place: &str) -> bool {
        let rest = self.title.strip_prefix(place.trim_end_matches('/'));
        let is_there = |rest: &str| rest.starts_with(": ") || rest.starts_with('/');
        self.kind == DrillKind::Verify && rest.is_some_and(is_there)
    }
}

impl Record {
    /// The record of a run that begins: every drill stands in it as not run.
    pub fn new(start: &Start<'_>) -> Self {
        let mut record = Self {
            schema_version: SCHEMA_VERSION,
            run_id: start.run.to_string(),
            redrill_version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: start.at,
            services: Services {
                mode: start.mode.to_owned(),
                reason: start.reason.to_owned(),
                versions: Vec::new(),
            },
            summary: Summary::default(),
            rpo: Vec::new(),
            drills: Vec::new(),
            not_run: start.drills.iter().map(NotRun::from).collect(),
            pending: start
                .suites
                .iter()
                .flat_map(|suite| {
                    let scenarios = suite.scenarios.iter();
                    scenarios.filter_map(|scenario| Pending::of(suite, scenario))
                })
                .collect(),
            suites: start
                .suites
                .iter()
                .map(|suite| SuiteRecord::of(suite, start.drills))
                .collect(),
            state: State::Running,
            ended_at: None,
            command: start.command.clone(),
            origin: start.origin.into(),
        };
        record.summary = record.count();
        record
    }

    /// Adds a drill that has ended.
    pub fn push(&mut self, result: &DrillResult) {
        self.not_run.retain(|drill| drill.id != result.drill.id);
        self.drills.push(result.into());
        for service in &result.evidence.services {
            self.services.versions.push(ServiceVersion {
                name: service.name.clone(),
                product: service.product.clone(),
                version: service.version.clone(),
                mode: service.mode.clone(),
                suite: result.drill.suite.clone(),
            });
        }
        self.services.versions.sort();
        self.services.versions.dedup();
        self.rpo = self.spreads();
        self.summary = self.count();
    }

    /// Puts the drills in the order of the plan, whichever ended first.
    pub fn arrange(&mut self, plan: &[Drill]) {
        let place = |id: &str| plan.iter().position(|drill| drill.id == id);
        self.drills.sort_by_key(|drill| place(&drill.id));
        self.rpo = self.spreads();
    }

    /// Adds what a check over more than this run says of a drill. It may make the drill worse, never better.
    pub fn add(&mut self, drill: &str, check: CheckRecord) {
        for known in self.drills.iter_mut().filter(|known| known.id == drill) {
            known.verdict = known.verdict.max(check.verdict);
            known.checks.push(check.clone());
        }
        self.summary = self.count();
    }

    /// Closes the record: the run ended at `at`, by itself or interrupted.
    pub fn end(&mut self, at: DateTime<Utc>, interrupted: bool) {
        self.ended_at = Some(at);
        self.state = if interrupted {
            State::Interrupted
        } else {
            State::Finished
        };
    }

    /// What the program ends with. What did not run, and a run that never came to its end, is never a pass.
    pub fn exit(&self) -> Exit {
        let worst = self.drills.iter().map(|drill| drill.verdict).max();
        match (self.state, worst) {
            (State::Interrupted, _) => Exit::Interrupted,
            (_, None) => Exit::NothingRan,
            (_, Some(Verdict::Failed)) => Exit::Failed,
            (_, Some(Verdict::Undetermined)) => Exit::Undetermined,
            (State::Running, Some(Verdict::Passed)) => Exit::Undetermined,
            (State::Finished, Some(Verdict::Passed)) => {
                let Summary {
                    passed,
                    failed,
                    undetermined,
                    ignored,
                } = self.summary;
                if failed > 0 {
                    Exit::Failed
                } else if undetermined + ignored > 0 || passed == 0 {
                    Exit::Undetermined
                } else {
                    Exit::Passed
                }
            }
        }
    }

    /// The artifacts that the drills of this run restored.
    pub fn artifacts(&self) -> BTreeSet<String> {
        self.drills
            .iter()
            .flat_map(|drill| &drill.recoveries)
            .filter_map(|recovery| recovery.artifact.clone())
            .collect()
    }
}
