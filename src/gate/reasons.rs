//! The reasons for which a gate stays shut: their kinds, and those that no record is needed for.

use std::collections::BTreeMap;

use super::{Reason, Requirement};
use crate::error::Error;
use crate::plan::{self, Drill};
use crate::suite::Suite;
use crate::suite::pattern::Patterns;
use crate::suite::problem::did_you_mean;

/// The kinds of reasons and what they mean, for `redrill explain`.
pub const REASONS: [(&str, &str); 19] = [
    ("no-record", "no record shows that the drill was run"),
    (
        "unreadable-history",
        "the reports folder, or the history in it, cannot be read: nothing is shown",
    ),
    (
        "unreadable-record",
        "the record is gone, cut short, or of another schema version: it shows nothing",
    ),
    (
        "changed-record",
        "the record is not the one that was written when the run ended",
    ),
    ("from-the-future", "the record is dated later than now"),
    ("stale", "the record is older than the policy allows"),
    ("other-commit", "the record was made from another commit"),
    (
        "unknown-commit",
        "the commit of the release, or the one that was drilled, is not known",
    ),
    (
        "changed-checkout",
        "files differed from the commit when the drill ran, and the policy wants them clean",
    ),
    (
        "other-suite",
        "the suite's file was changed since the drill ran",
    ),
    (
        "other-release",
        "the migrations of the release, or what stands under its `files`, were changed since they were tried on the restored copy; what a command reads that is not named there is not looked at",
    ),
    (
        "other-scale",
        "the drill ran with less data than the policy asks for: its figures say little",
    ),
    ("not-passed", "the drill did not pass"),
    (
        "release-failed",
        "a migration of the release failed on the restored copy, or what it left does not answer as it should",
    ),
    (
        "test-not-passed",
        "a test that is asked for did not pass in the drill, or was not judged",
    ),
    (
        "objective-missed",
        "a figure is beyond its objective, or was not measured",
    ),
    (
        "other-version",
        "the drill ran on another version of an engine than the policy names",
    ),
    (
        "not-signed",
        "the record has no signature by the policy's key that holds",
    ),
    (
        "nothing-asked",
        "the policy asks for no drill of the suite, or for a test that none of the suites has: nothing could be shown",
    ),
];

pub(super) fn no_history(suite: &Suite, why: &Error) -> Reason {
    Reason {
        kind: "unreadable-history",
        drill: suite.name.clone(),
        message: why.message(),
        remedy: "see that the reports folder is one and can be read, or name another with --out"
            .to_owned(),
    }
}

pub(super) fn nothing_asked(suite: &Suite) -> Reason {
    Reason {
        kind: "nothing-asked",
        drill: suite.name.clone(),
        message: format!("nothing is asked of the suite {}", suite.name),
        remedy: "give it a scenario, or name tests that it has under [gate]".to_owned(),
    }
}

/// A reason for each name or glob under `[gate] tests` that no drilled test of any of the suites has: what was mistyped
/// would be asked of nothing.
pub(super) fn unmatched(requirements: &[Requirement<'_>]) -> Vec<Reason> {
    let asked: BTreeMap<&str, &Suite> = requirements
        .iter()
        .rev()
        .flat_map(|it| it.terms.tests.iter().map(|test| (test.as_str(), it.suite)))
        .collect();
    let tests = requirements.iter().flat_map(|it| &it.suite.tests);
    let known: Vec<&str> = tests.map(|test| test.name.as_str()).collect();
    let is_drilled = |pattern: &str| {
        let pattern = Patterns::parse([pattern]);
        pattern.is_ok_and(|pattern| {
            let mut drills = requirements.iter().flat_map(|it| &it.drills);
            drills.any(|drill| drill.tests.iter().any(|test| pattern.matches(&test.name)))
        })
    };
    let unmatched = asked.into_iter().filter(|(asked, _)| !is_drilled(asked));
    unmatched
        .map(|(asked, suite)| {
            let near = did_you_mean(asked, known.iter().copied());
            let near = near.filter(|_| !known.contains(&asked));
            Reason {
                kind: "nothing-asked",
                drill: suite.name.clone(),
                message: format!("`{asked}` under [gate] tests names no test that is drilled"),
                remedy: near.unwrap_or_else(|| {
                    "name tests that are drilled: `redrill list` shows them".to_owned()
                }),
            }
        })
        .collect()
}

pub(super) fn no_record(suite: &Suite, drill: &Drill) -> Reason {
    Reason {
        kind: "no-record",
        drill: drill.id.clone(),
        message: "no record shows that it was drilled; what was left out or ignored shows nothing"
            .to_owned(),
        remedy: again(suite, drill),
    }
}

/// The command that drills a suite's drill again.
pub(super) fn again(suite: &Suite, drill: &Drill) -> String {
    let path = suite.path.display();
    match drill.kind {
        // Only the gate tries a release.
        plan::DrillKind::Release { .. } => format!("redrill gate {path} --run"),
        _ => format!(
            "redrill drill {path} --only '{}', or redrill gate --run",
            drill.id
        ),
    }
}

/// The reasons against the record of one drill.
pub(super) struct Reasons {
    /// The drill.
    pub drill: String,
    /// The run.
    pub run: String,
    /// The command that drills it again.
    pub again: String,
    /// What was found.
    pub found: Vec<Reason>,
}

impl Reasons {
    /// A reason whose remedy is another drill.
    pub fn add(&mut self, kind: &'static str, message: String) {
        let again = self.again.clone();
        self.add_with(kind, message, &again);
    }

    /// A reason with a remedy of its own.
    pub fn add_with(&mut self, kind: &'static str, message: String, remedy: &str) {
        self.found.push(Reason {
            kind,
            drill: self.drill.clone(),
            message: format!("run {}: {message}", self.run),
            remedy: remedy.to_owned(),
        });
    }

    /// The record shows nothing.
    pub fn unreadable(&mut self, why: &str) {
        self.add(
            "unreadable-record",
            format!("its record cannot be used: {why}"),
        );
    }
}
