//! Drills on a schedule: when each suite is due, the service that drills what is, and the same schedule written for
//! others to keep (cron, systemd, GitHub, GitLab, Kubernetes).
//!
//! Not here: reading a suite's `[schedule]` (see [`crate::suite`]), or drilling (each drill is a process of its own).

mod calendar;
mod export;
mod service;

use chrono::{DateTime, Utc};

use crate::error::{Error, Kind, Result};
use crate::suite::{Due, Suite};

pub use export::{Form, Target, export};
pub use service::{Service, serve};

/// A suite and when it is drilled.
#[derive(Debug, Clone, Copy)]
pub struct Planned<'a> {
    /// The suite.
    pub suite: &'a Suite,
    /// When.
    pub due: &'a Due,
}

/// The suites that say when they are drilled; an error when none does.
pub fn planned(suites: &[Suite]) -> Result<Vec<Planned<'_>>> {
    let with = |suite| Planned::of(suite);
    let all: Vec<Planned<'_>> = suites.iter().filter_map(with).collect();
    if all.is_empty() {
        return Err(Error::new(
            Kind::NothingRan,
            "no suite says when it is to be drilled",
        )
        .hint("add to a suite: [schedule] cron = \"0 4 * * *\", and zone = \"Europe/Berlin\" if that is not UTC"));
    }
    Ok(all)
}

impl<'a> Planned<'a> {
    fn of(suite: &'a Suite) -> Option<Self> {
        let due = suite.due.as_ref()?;
        Some(Self { suite, due })
    }
}

/// When each suite is due next, soonest first.
pub fn next<'a>(
    planned: &[Planned<'a>],
    after: DateTime<Utc>,
) -> Vec<(DateTime<Utc>, Planned<'a>)> {
    let mut all: Vec<_> = planned
        .iter()
        .filter_map(|it| Some((it.due.after(after)?, *it)))
        .collect();
    all.sort_by(|a, b| (a.0, &a.1.suite.name).cmp(&(b.0, &b.1.suite.name)));
    all
}

#[cfg(test)]
mod tests;
