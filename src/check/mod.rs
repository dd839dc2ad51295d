//! Judgement: pure functions from evidence to outcomes. No I/O, no clock, no async; the same evidence always gives
//! the same verdict. Each check is a function of its own; [`judge`] matches them exhaustively.
//!
//! Not here: collecting facts (see [`crate::drill`]).

use crate::evidence::{Evidence, RecoveryFact};
use crate::outcome::{Finding, Outcome};
use crate::plan::{Asked, Drill, DrillKind};
use crate::suite::{Backup, Brought, Check, ComponentKind, Engine, Method, Scenario, Suite};

mod artifact;
mod catalogue;
pub mod caught;
mod comparison;
pub mod figures;
mod given;
mod held;
mod objectives;
mod picked;
mod process;
mod promise;
mod protection;
mod release;
mod replay;
mod retention;
mod ties;
#[cfg(test)]
mod trial;

/// What a drill is judged against: its suite and itself.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// The suite.
    pub suite: &'a Suite,
    /// The drill.
    pub drill: &'a Drill,
}

impl<'a> Terms<'a> {
    /// The scenario drilled, when it is one.
    pub fn scenario(&self) -> Option<&'a Scenario> {
        let name = match &self.drill.kind {
            DrillKind::Scenario { scenario, .. }
            | DrillKind::Calibration { scenario }
            | DrillKind::Verify { scenario, .. }
            | DrillKind::Release { scenario }
            | DrillKind::Detection { scenario, .. } => scenario,
            DrillKind::Retention { .. } => return None,
        };
        self.suite
            .scenarios
            .iter()
            .find(|scenario| scenario.name == *name)
    }

    /// The backups that the drill takes.
    pub fn backups(&self) -> Vec<&'a Backup> {
        let rehearsed = |name: &String| {
            let mut rehearsals = self.suite.retention.iter();
            rehearsals.find(|rehearsal| rehearsal.name == *name)
        };
        let names = match (&self.drill.kind, self.scenario()) {
            (DrillKind::Retention { rehearsal }, _) => match rehearsed(rehearsal) {
                Some(rehearsal) => &rehearsal.backups,
                None => return Vec::new(),
            },
            (_, Some(scenario)) => &scenario.recover,
            (_, None) => return Vec::new(),
        };
        self.suite
            .backups
            .iter()
            .filter(|backup| names.contains(&backup.name))
            .collect()
    }

    /// The components that the drill recovers.
    fn components(&self) -> impl Iterator<Item = &'a crate::suite::Component> {
        let backups = self.backups();
        self.suite
            .components
            .iter()
            .filter(move |component| backups.iter().any(|b| b.component == component.name))
    }

    fn backup(&self, name: &str) -> Option<&'a Backup> {
        self.suite.backups.iter().find(|backup| backup.name == name)
    }

    /// What the drill's backups bring back of a component.
    pub fn brought(&self, component: &str) -> Brought {
        let backups = self.backups().into_iter();
        Brought::by(backups.filter(|backup| backup.component == component))
    }

    fn engine_of(&self, component: &str) -> Option<Engine> {
        self.suite
            .components
            .iter()
            .find(|c| c.name == component)
            .map(|c| c.engine())
    }

    /// The checks that this drill owes an answer to, in the order of the documentation.
    pub fn checks(&self) -> Vec<Check> {
        Check::ALL
            .iter()
            .copied()
            .filter(|check| self.owes(*check))
            .collect()
    }

    fn owes(&self, check: Check) -> bool {
        let backups = self.backups();
        let engines: Vec<Engine> = backups
            .iter()
            .filter_map(|b| self.engine_of(&b.component))
            .collect();
        let scenario = self.scenario();
        if let Some(asked) = self.asked() {
            return given::owes(self, asked, check);
        }
        match check {
            Check::Needs | Check::Baseline | Check::Live | Check::Proven => false,
            Check::Release => matches!(self.drill.kind, DrillKind::Release { .. }),
            Check::Retention => scenario.is_none() || self.rehearses_retention(),
            Check::Secrets | Check::Executed | Check::Teardown => true,
            _ if scenario.is_none() => false,
            Check::Artifact
            | Check::Readable
            | Check::Fresh
            | Check::TargetEmpty
            | Check::Restore
            | Check::Identity
            | Check::Content
            | Check::RecordBound => true,
            Check::Catalogue => engines.iter().any(|engine| *engine != Engine::Bucket),
            Check::Replay | Check::Integrity => {
                backups.iter().any(|backup| backup.method.archives())
            }
            Check::Size => backups.iter().any(|backup| backup.size.is_some()),
            Check::Mirror | Check::Metadata => engines.contains(&Engine::Bucket),
            Check::MassDelete => {
                scenario.is_some_and(|scenario| strikes_a_mirrored_bucket(self, scenario))
            }
            Check::Ties | Check::Sequences => engines.contains(&Engine::Postgres),
            Check::Expiry => engines.contains(&Engine::Redis) && self.seeds_keys(),
            Check::Smoke => self.suite.components.iter().any(|c| {
                c.questions() > 0
                    && backups.iter().any(|backup| backup.component == c.name)
                    && self.brought(&c.name).is_whole()
            }),
            Check::Rpo => scenario.is_some_and(|scenario| !scenario.rpo.is_empty()),
            Check::Rto => {
                scenario.is_some_and(|scenario| scenario.rto.is_some()) && !self.calibrates()
            }
            Check::Encryption => backups.iter().any(|backup| backup.encrypt.is_some()),
        }
    }

    /// What is asked of the artifact, where one that somebody gives is verified.
    pub fn asked(&self) -> Option<&'a Asked> {
        match &self.drill.kind {
            DrillKind::Verify { asked, .. } => Some(asked),
            _ => None,
        }
    }

    /// A drill that measures what the others project from.
    pub fn calibrates(&self) -> bool {
        matches!(self.drill.kind, DrillKind::Calibration { .. })
    }

    fn seeds_keys(&self) -> bool {
        self.suite
            .components
            .iter()
            .any(|c| matches!(c.kind, ComponentKind::Redis { keys, .. } if keys > 0))
    }

    fn rehearses_retention(&self) -> bool {
        use crate::suite::Fault;
        matches!(
            &self.drill.kind,
            DrillKind::Detection {
                fault: Some(Fault::I1),
                ..
            }
        )
    }
}

/// Whether the guard against mass deletion is put to the test in this scenario.
fn strikes_a_mirrored_bucket(terms: &Terms<'_>, scenario: &Scenario) -> bool {
    use crate::suite::Strike;
    scenario.strikes.iter().any(|(component, strike)| {
        *strike == Strike::BucketDeleted
            && terms.backups().iter().any(|backup| {
                backup.component == *component && matches!(backup.method, Method::BucketSync { .. })
            })
    })
}

/// Judges one check. `only` narrows it to one backup's facts, for a named test.
pub fn judge(check: Check, evidence: &Evidence, terms: &Terms<'_>, only: Option<&str>) -> Outcome {
    let facts = Facts {
        evidence,
        terms,
        only,
    };
    let mut outcome = match check {
        Check::Artifact => artifact::artifact(&facts),
        Check::Readable => artifact::readable(&facts),
        Check::Size => artifact::size(&facts),
        Check::Fresh if terms.asked().is_some() => given::fresh(&facts),
        Check::Fresh => artifact::fresh(&facts),
        Check::Release => release::release(&facts),
        Check::Needs => given::needs(&facts),
        Check::Baseline => given::baseline(&facts),
        Check::Live => given::live(&facts),
        Check::Proven => given::proven(&facts),
        Check::Mirror => artifact::mirror(&facts),
        Check::MassDelete => artifact::mass_delete(&facts),
        Check::TargetEmpty => process::target_empty(&facts),
        Check::Restore => process::restore(&facts),
        Check::Replay => replay::replay(&facts),
        Check::Integrity => replay::integrity(&facts),
        Check::Ties => ties::ties(&facts),
        Check::Identity => comparison::identity(&facts),
        Check::Content => comparison::content(&facts),
        Check::Catalogue => catalogue::catalogue(&facts),
        Check::Sequences => comparison::sequences(&facts),
        Check::Expiry => comparison::expiry(&facts),
        Check::Metadata => comparison::metadata(&facts),
        Check::Smoke => process::smoke(&facts),
        Check::Rpo => objectives::rpo(&facts),
        Check::Rto => objectives::rto(&facts),
        Check::Retention => retention::retention(&facts),
        Check::Encryption => protection::encryption(&facts),
        Check::Secrets => protection::secrets(&facts),
        Check::Executed => process::executed(&facts),
        Check::RecordBound => process::record_bound(&facts),
        Check::Teardown => process::teardown(&facts),
    };
    // Where nothing was looked at, the cause is one and the same for every check.
    if let (0, Some(why)) = (outcome.observed, first_failure(evidence)) {
        for finding in outcome
            .findings
            .iter_mut()
            .filter(|finding| finding.kind == "nothing-observed" || finding.message == why)
        {
            finding.kind = "nothing-observed";
            finding.message = format!("there is nothing to look at: {why}");
            finding.remedy = "mend this first, then drill again".to_owned();
        }
    }
    outcome.seconds = figures::seconds_behind(check, evidence, only);
    outcome
}

/// The evidence as one check sees it.
struct Facts<'a> {
    evidence: &'a Evidence,
    terms: &'a Terms<'a>,
    only: Option<&'a str>,
}

impl<'a> Facts<'a> {
    fn recoveries(&self) -> impl Iterator<Item = &'a RecoveryFact> {
        let only = self.only;
        self.evidence
            .recoveries
            .iter()
            .filter(move |fact| only.is_none_or(|name| fact.used(name)))
    }

    /// Whether it came back as files of a cluster, and not by statements.
    fn is_physical(&self, recovery: &RecoveryFact) -> bool {
        let backup = self.terms.backup(&recovery.backup);
        backup.is_some_and(|backup| backup.method.archives())
    }

    /// The last run of every backup of the drill.
    fn last_backups(&self) -> impl Iterator<Item = &'a crate::evidence::BackupFact> {
        let all = &self.evidence.backups;
        let only = self.only;
        all.iter().enumerate().filter_map(move |(index, fact)| {
            let last = !all[index + 1..]
                .iter()
                .any(|later| later.backup == fact.backup);
            (last && only.is_none_or(|name| fact.backup == name)).then_some(fact)
        })
    }
}

/// The drill's first failure, in words: what the rest follows from.
fn first_failure(evidence: &Evidence) -> Option<String> {
    let failures = evidence
        .failures
        .iter()
        .map(|failure| format!("{}: {}", failure.phase.name(), failure.message));
    let backups = evidence
        .backups
        .iter()
        .filter_map(|fact| fact.error.clone());
    let recoveries = evidence
        .recoveries
        .iter()
        .filter_map(|fact| fact.error.clone());
    let lacks = |fact: &&RecoveryFact| fact.needs.as_ref().is_some_and(given::lacks);
    let lacking = evidence.recoveries.iter().filter(lacks).map(|_| {
        "the server lacks what the artifact names, and nothing was restored: see the check `needs`".to_owned()
    });
    failures
        .chain(backups)
        .chain(recoveries)
        .chain(lacking)
        .next()
}

/// What could not be observed, as a finding. Where the drill failed, that says why, in the same words for every check: one
/// failure is told once.
fn unobserved(facts: &Facts<'_>, what: &str) -> Finding {
    let message = first_failure(facts.evidence)
        .unwrap_or_else(|| format!("{what}: the drill did not get that far"));
    Finding::unknown(
        "not-observed",
        message,
        "mend the first failure of the drill, then drill again",
    )
}
