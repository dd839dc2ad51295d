//! From a suite to drills: expansion, selection and the timeline. Pure: no I/O, no clock of its own.
//!
//! Not here: running a drill (see [`crate::drill`]).

use chrono::{DateTime, Utc};

use std::time::Duration;

use crate::suite::{Catch, Drop, Fault, StrikeTime, Test};

mod expand;
mod select;
mod timeline;

pub use expand::{Options, expand, seed_of};
pub use select::{Shard, keep, rests_on, select};
pub use timeline::period;

/// Everything that a suite asks for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// What is drilled, in the order of the run.
    pub drills: Vec<Drill>,
    /// What is not drilled yet, and why.
    pub pending: Vec<Pending>,
}

impl Plan {
    /// A plan of these drills.
    pub fn of(drills: Vec<Drill>) -> Self {
        Self {
            drills,
            pending: Vec::new(),
        }
    }
}

/// A scenario that is not drilled yet: it stands in the report and never counts as passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The id its drill would have.
    pub id: String,
    /// The suite's name.
    pub suite: String,
    /// The scenario's name.
    pub scenario: String,
    /// The title in reports.
    pub title: String,
    /// Why it is not drilled.
    pub reason: String,
}

/// One scenario to be run once.
#[derive(Debug, Clone, PartialEq)]
pub struct Drill {
    /// Its id, unique in the run: `deltacrown/database-corruption`, `deltacrown/database-corruption@worst`.
    pub id: String,
    /// The title in reports.
    pub title: String,
    /// The suite's name.
    pub suite: String,
    /// What is drilled.
    pub kind: DrillKind,
    /// The components to start, by name.
    pub components: Vec<String>,
    /// The seed of its data, the same in all drills of a suite.
    pub seed: u64,
    /// How much data, 1.0 being the suite's normal size.
    pub scale: f64,
    /// What happens, in order.
    pub timeline: Timeline,
    /// The suite's named tests that are judged in this drill.
    pub tests: Vec<Test>,
}

impl Drill {
    /// What is planted in it.
    pub fn fault(&self) -> Option<Fault> {
        match &self.kind {
            DrillKind::Detection { fault, .. } => *fault,
            _ => None,
        }
    }
}

/// What is drilled.
#[derive(Debug, Clone, PartialEq)]
pub enum DrillKind {
    /// A scenario, struck at one of its times.
    Scenario {
        /// The scenario.
        scenario: String,
        /// When it strikes.
        at: StrikeTime,
    },
    /// A scenario at a smaller scale, first in the run, to have a second size for projections.
    Calibration {
        /// The scenario.
        scenario: String,
    },
    /// A retention rehearsal.
    Retention {
        /// Its name in the suite.
        rehearsal: String,
    },
    /// An artifact that somebody else made: nothing is seeded, backed up or struck.
    Verify {
        /// The scenario, which only recovers.
        scenario: String,
        /// What is asked of it.
        asked: Asked,
    },
    /// The first time of a scenario, and the release tried on what it recovers.
    Release {
        /// The scenario.
        scenario: String,
    },
    /// A scenario with a fault planted.
    Detection {
        /// The scenario.
        scenario: String,
        /// What is planted; `None` for the healthy twin.
        fault: Option<Fault>,
        /// Who must catch it.
        caught_by: Option<Catch>,
    },
}

/// What is asked of a given artifact.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Asked {
    /// The age that it may have.
    pub max_age: Option<Duration>,
    /// How much less it may hold than what it is compared with.
    pub drop: Drop,
    /// It is compared with the last one of its lineage that was verified.
    pub baseline: bool,
    /// It is compared with the live source.
    pub live: bool,
}

/// What happens in a drill, in order of virtual time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Timeline {
    /// Happenings with their instants; at one instant a backup comes before a write.
    pub happenings: Vec<(DateTime<Utc>, Happening)>,
    /// When the system is struck, or the damage noticed; for [`StrikeTime::Worst`] the next backup's start, to which the drill adds the
    /// duration that the backup is projected to take.
    pub strike: Option<DateTime<Utc>>,
}

/// Something that happens on the timeline.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Happening {
    /// A backup is taken.
    Backup(String),
    /// A backup's artifacts are pruned.
    Prune(String),
    /// What was committed since the last time is archived, for a backup that does so continuously.
    Archive(String),
    /// A ledger entry is written to a component.
    Write(String),
    /// What the scenario strikes is damaged, and nobody notices yet.
    Damage,
}
