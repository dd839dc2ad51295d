//! What a suite, or `redrill.toml` for all of them, asks of evidence: the gate's policy, when drills are due, and how
//! far a figure may drift from what it usually is.
//!
//! Not here: deciding (see [`crate::gate`]), running what is due (`redrill schedule`), or measuring the drift (see
//! [`crate::history`]).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
pub use chrono_tz::Tz as Zone;

use super::Engine;
use super::schedule::Schedule;

/// The age that evidence may have when nobody says.
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);
/// How many earlier runs a figure is compared with when nobody says.
const RUNS: u32 = 10;

/// What a gate asks for, as said; what is not said here is as [`Policy::or`] and [`Terms`] have it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Policy {
    /// Globs over the names of the tests that must have passed; every test and drill of the suite when not said.
    pub tests: Option<Vec<String>>,
    /// The age that evidence may have.
    pub max_age: Option<Duration>,
    /// The commit that evidence must come from.
    pub commit: Option<CommitRule>,
    /// Whether evidence must come from the suite's file as it is now.
    pub same_suite: Option<bool>,
    /// Versions (or their beginnings) of the engines that must have been drilled.
    pub versions: Option<BTreeMap<Engine, String>>,
    /// How much data must have been drilled with at least, 1 being the suite's normal size.
    pub scale: Option<f64>,
    /// Which figures must be within their objectives.
    pub objectives: Option<BTreeSet<Figure>>,
    /// The detection drills that must have passed.
    pub detection: Option<DetectionRule>,
    /// The public key that the record must be signed with.
    pub signed_by: Option<PathBuf>,
}

/// The commit that evidence must come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitRule {
    /// Any.
    Any,
    /// The one that is checked out.
    Same,
    /// The same, with no file changed or added that git does not ignore.
    Clean,
}

impl CommitRule {
    /// Every word for one.
    pub const ALL: [(&'static str, Self); 3] = [
        ("any", Self::Any),
        ("same", Self::Same),
        ("clean", Self::Clean),
    ];
}

/// A figure with an objective.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    /// RPO and RTO as measured.
    Measured,
    /// RTO as projected to the production size.
    Projected,
    /// All of it for drills at the worst moment too.
    Worst,
}

impl Figure {
    /// Every word for one.
    pub const ALL: [(&'static str, Self); 3] = [
        ("measured", Self::Measured),
        ("projected", Self::Projected),
        ("worst", Self::Worst),
    ];
}

/// Detection drills that must have passed, and how lately.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetectionRule {
    /// The suite that has them.
    pub suite: String,
    /// The age that they may have.
    pub max_age: Duration,
}

/// A policy with nothing left open.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    /// Globs over the names of tests; all tests and drills when none is given.
    pub tests: Vec<String>,
    /// The age that evidence may have.
    pub max_age: Duration,
    /// The commit that evidence must come from; when nobody says, the one that is checked out where one is known.
    pub commit: Option<CommitRule>,
    /// Whether evidence must come from the suite's file as it is now.
    pub same_suite: bool,
    /// Versions of the engines.
    pub versions: BTreeMap<Engine, String>,
    /// How much data must have been drilled with at least.
    pub scale: f64,
    /// Which figures must be within their objectives.
    pub objectives: BTreeSet<Figure>,
    /// The detection drills that must have passed.
    pub detection: Option<DetectionRule>,
    /// The public key.
    pub signed_by: Option<PathBuf>,
}

impl Policy {
    /// This policy, and another one where it says nothing.
    #[must_use]
    pub fn or(self, other: &Self) -> Self {
        let other = other.clone();
        Self {
            tests: self.tests.or(other.tests),
            max_age: self.max_age.or(other.max_age),
            commit: self.commit.or(other.commit),
            same_suite: self.same_suite.or(other.same_suite),
            versions: self.versions.or(other.versions),
            scale: self.scale.or(other.scale),
            objectives: self.objectives.or(other.objectives),
            detection: self.detection.or(other.detection),
            signed_by: self.signed_by.or(other.signed_by),
        }
    }

    /// The policy with its defaults: everything, of this commit and this suite, a day old at most, at the normal size, within every
    /// objective it has, measured and projected.
    pub fn terms(self) -> Terms {
        let usual = || BTreeSet::from([Figure::Measured, Figure::Projected]);
        Terms {
            tests: self.tests.unwrap_or_default(),
            max_age: self.max_age.unwrap_or(MAX_AGE),
            commit: self.commit,
            same_suite: self.same_suite.unwrap_or(true),
            versions: self.versions.unwrap_or_default(),
            scale: self.scale.unwrap_or(1.0),
            objectives: self.objectives.unwrap_or_else(usual),
            detection: self.detection,
            signed_by: self.signed_by,
        }
    }
}

/// When a suite is drilled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The cron expression.
    pub cron: String,
    /// The time zone that it is read in.
    pub zone: Zone,
}

impl Due {
    /// Whether it is kept in UTC.
    pub fn is_in_utc(&self) -> bool {
        self.zone == Zone::UTC
    }

    /// The first time after an instant; a local time that a change of the clocks leaves out comes with the change.
    pub fn after(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let schedule = Schedule::parse(&self.cron).ok()?;
        schedule.after_in(instant, self.zone)
    }

    /// The longest time between two runs; a change of the clocks can make it an hour longer.
    pub fn period(&self) -> Option<Duration> {
        Some(Schedule::parse(&self.cron).ok()?.period())
    }
}

/// How far a figure may drift from the median of earlier runs, in percent; beyond it the run fails.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trend {
    /// How many earlier runs count.
    pub runs: u32,
    /// How much longer the recovery may take.
    pub rto: Option<f64>,
    /// How much more may be lost.
    pub rpo: Option<f64>,
    /// How much larger or smaller the artifact may be.
    pub size: Option<f64>,
    /// How much slower the restore may be.
    pub throughput: Option<f64>,
}

impl Trend {
    /// No limit on anything.
    pub fn none() -> Self {
        Self {
            runs: RUNS,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instant(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text)
            .expect("an instant")
            .to_utc()
    }

    #[test]
    fn what_a_suite_says_wins_over_what_is_said_for_all_suites() {
        let suite = Policy {
            max_age: Some(Duration::from_secs(60)),
            ..Policy::default()
        };
        let site = Policy {
            max_age: Some(Duration::from_secs(7)),
            commit: Some(CommitRule::Any),
            ..Policy::default()
        };
        let terms = suite.or(&site).terms();
        assert_eq!(terms.max_age, Duration::from_secs(60));
        assert_eq!(terms.commit, Some(CommitRule::Any));
        assert!(terms.same_suite, "the default is the strict one");
    }

    #[test]
    fn a_schedule_follows_the_clocks_of_its_zone() {
        let due = Due {
            cron: "30 2 * * *".to_owned(),
            zone: chrono_tz::Europe::Berlin,
        };
        let next = |text| due.after(instant(text)).expect("comes due").to_rfc3339();
        assert_eq!(next("2026-01-10T12:00:00Z"), "2026-01-11T01:30:00+00:00");
        assert_eq!(next("2026-07-10T12:00:00Z"), "2026-07-11T00:30:00+00:00");
        // 2:30 does not exist on the day the clocks go forward, and exists twice when they go back.
        assert_eq!(next("2026-03-28T12:00:00Z"), "2026-03-29T01:00:00+00:00");
        assert_eq!(next("2026-10-24T12:00:00Z"), "2026-10-25T00:30:00+00:00");
        assert_eq!(next("2026-10-25T00:30:00Z"), "2026-10-26T01:30:00+00:00");
    }
}
