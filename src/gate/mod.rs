//! The gate: may this be released? It decides from records alone, and it fails closed: what is not shown by a record
//! that can be read, is recent, comes from this commit and this suite, and passed, keeps it shut. Every reason has its
//! remedy.
//!
//! For each drill that a suite asks for, the newest record of it decides: of the wanted commit and suite file where
//! there is one, else the newest of all, so that the reason can say what is wrong with it. So drills may be spread
//! over many runs and shards.
//!
//! Not here: running what is missing (`redrill gate --run`), or how a decision is shown (see [`crate::report`]).

mod reasons;
mod rules;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::history::{Entry, History};
use crate::origin::Origin;
use crate::plan::{Drill, DrillKind, Plan};
use crate::suite::Suite;
use crate::suite::pattern::Patterns;
use crate::suite::policy::{CommitRule, Terms};

pub use reasons::REASONS;

/// What one suite must show.
#[derive(Debug, Clone)]
pub struct Requirement<'a> {
    /// The suite.
    pub suite: &'a Suite,
    /// What is asked of its evidence.
    pub terms: Terms,
    /// The drills that must have passed, with the tests that are asked for.
    pub drills: Vec<Drill>,
}

impl<'a> Requirement<'a> {
    /// What the terms ask of a suite, whose plan is at hand. Calibration drills only serve others.
    pub fn of(suite: &'a Suite, plan: &Plan, terms: Terms) -> Result<Self> {
        let patterns = Patterns::parse(terms.tests.iter().map(String::as_str))
            .map_err(|why| Error::usage(why).doing("read the tests that the gate asks for"))?;
        let wanted = |drill: &Drill| {
            let mut drill = drill.clone();
            // No test is of the release, and it is to be released all the same.
            if !terms.tests.is_empty() && !matches!(drill.kind, DrillKind::Release { .. }) {
                drill.tests.retain(|test| patterns.matches(&test.name));
                if drill.tests.is_empty() {
                    return None;
                }
            }
            (!matches!(drill.kind, DrillKind::Calibration { .. })).then_some(drill)
        };
        Ok(Self {
            suite,
            drills: plan.drills.iter().filter_map(wanted).collect(),
            terms,
        })
    }
}

/// What is decided, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Decision {
    /// The version of this format.
    pub schema_version: u32,
    /// Whether the gate opens.
    pub open: bool,
    /// When it was decided.
    pub decided_at: DateTime<Utc>,
    /// The commit that it was decided for.
    pub commit: Option<String>,
    /// The suites that it was decided on.
    pub suites: Vec<SuiteDecision>,
    /// What is worth knowing and decides nothing.
    pub notes: Vec<String>,
}

/// What is decided on one suite.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SuiteDecision {
    /// The suite.
    pub suite: String,
    /// Its title.
    pub title: String,
    /// Its file.
    pub path: String,
    /// Whether it is no obstacle.
    pub open: bool,
    /// What was looked at, one for each drill that has a record.
    pub evidence: Vec<Proof>,
    /// Why the gate is closed.
    pub reasons: Vec<Reason>,
}

/// A record of a drill.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Proof {
    /// The drill.
    pub drill: String,
    /// The run.
    pub run: String,
    /// When it began.
    pub at: DateTime<Utc>,
    /// Whether it holds.
    pub holds: bool,
}

/// Why a gate is closed, and what opens it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// What kind of reason it is; `redrill explain` knows it.
    pub kind: &'static str,
    /// The drill.
    pub drill: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

impl Decision {
    /// What the program ends with.
    pub fn exit(&self) -> Exit {
        if self.open {
            Exit::Passed
        } else {
            Exit::GateClosed
        }
    }

    /// The drills that keep the gate shut.
    pub fn missing(&self) -> BTreeSet<&str> {
        let reasons = self.suites.iter().flat_map(|suite| &suite.reasons);
        reasons.map(|reason| reason.drill.as_str()).collect()
    }
}

/// Decides. A gate that asks for nothing stays shut.
pub fn decide(
    requirements: &[Requirement<'_>],
    history: &History,
    origin: &Origin,
    now: DateTime<Utc>,
) -> Decision {
    let mut notes = history.notes.clone();
    let mut unmatched = reasons::unmatched(requirements);
    let suites: Vec<SuiteDecision> = requirements
        .iter()
        .map(|requirement| {
            // Told once, with the first suite.
            let unmatched = std::mem::take(&mut unmatched);
            on(requirement, history, origin, now, unmatched, &mut notes)
        })
        .collect();
    Decision {
        schema_version: 1,
        open: !suites.is_empty() && suites.iter().all(|suite| suite.open),
        decided_at: now,
        commit: origin.commit.clone(),
        suites,
        notes,
    }
}

/// The decision where no record can be looked for: closed.
pub fn unreadable(
    requirements: &[Requirement<'_>],
    why: &Error,
    origin: &Origin,
    now: DateTime<Utc>,
) -> Decision {
    let suites = requirements.iter().map(|it| SuiteDecision {
        suite: it.suite.name.clone(),
        title: it.suite.title.clone(),
        path: it.suite.path.display().to_string(),
        open: false,
        evidence: Vec::new(),
        reasons: vec![reasons::no_history(it.suite, why)],
    });
    Decision {
        schema_version: 1,
        open: false,
        decided_at: now,
        commit: origin.commit.clone(),
        suites: suites.collect(),
        notes: Vec::new(),
    }
}

fn on(
    requirement: &Requirement<'_>,
    history: &History,
    origin: &Origin,
    now: DateTime<Utc>,
    unmatched: Vec<Reason>,
    notes: &mut Vec<String>,
) -> SuiteDecision {
    let suite = requirement.suite;
    let found = evidence(requirement, history, origin, now);
    let bench = rules::Bench {
        requirement,
        history,
        origin,
        now,
    };
    let mut reasons = unmatched;
    let mut proofs = Vec::new();
    if requirement.drills.is_empty() && reasons.is_empty() {
        reasons.push(reasons::nothing_asked(suite));
    }
    for drill in &requirement.drills {
        let Some(entry) = found.get(&drill.id) else {
            reasons.push(reasons::no_record(suite, drill));
            continue;
        };
        let against = bench.against(drill, entry);
        if requirement.terms.signed_by.is_none() && !history.names(&entry.run) {
            let note = format!(
                "run {} is read without a line of the history, which would show that its record was changed: sign to be sure",
                entry.run
            );
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
        proofs.push(Proof {
            drill: drill.id.clone(),
            run: entry.run.clone(),
            at: entry.at,
            holds: against.is_empty(),
        });
        reasons.extend(against);
    }
    reasons.extend(bench.unprovoked(&found));
    let pending = suite.scenarios.iter().filter_map(|scenario| {
        let why = scenario.pending.as_ref()?;
        Some(format!(
            "{}/{} is not covered: {why}",
            suite.name, scenario.name
        ))
    });
    notes.extend(pending);
    SuiteDecision {
        suite: suite.name.clone(),
        title: suite.title.clone(),
        path: suite.path.display().to_string(),
        open: reasons.is_empty(),
        evidence: proofs,
        reasons,
    }
}

/// The entry that decides for each drill. One that is dated in the future decides until the drill is run again.
fn evidence(
    requirement: &Requirement<'_>,
    history: &History,
    origin: &Origin,
    now: DateTime<Utc>,
) -> BTreeMap<String, Entry> {
    let (suite, terms) = (requirement.suite, &requirement.terms);
    let commit = match terms.commit {
        Some(CommitRule::Any) => None,
        _ => origin.commit.as_deref(),
    };
    history.newest_at(&suite.name, now + rules::SKEW, |head| {
        let of_commit = commit.is_none_or(|commit| head.commit.starts_with(commit));
        let of_suite = !terms.same_suite || head.suite_sha256 == suite.sha256;
        Some(of_commit && of_suite)
    })
}

#[cfg(test)]
mod tests;
