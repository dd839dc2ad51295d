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

/// Which suite is due next, and when; each has been seen to up to its instant. Of those due at once, the first by name.
pub fn next(planned: &[Planned<'_>], seen: &[DateTime<Utc>]) -> Option<(DateTime<Utc>, usize)> {
    let due = planned.iter().zip(seen).enumerate();
    let due = due.filter_map(|(which, (it, seen))| Some((it.due.after(*seen)?, which)));
    due.min_by_key(|(at, which)| (*at, &planned[*which].suite.name))
}

#[cfg(test)]
mod tests;
