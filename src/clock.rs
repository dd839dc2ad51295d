//! Virtual and real time. Everything that names, ages or prunes an artifact takes `now` from a [`Clock`];
//! nothing else reads the time of day. Work is timed by the monotonic clock ([`Stopwatch`]).

use std::sync::Mutex;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

/// Where `now` comes from.
pub trait Clock: Send + Sync {
    /// The present instant on this clock.
    fn now(&self) -> DateTime<Utc>;
}

/// The time of day of this machine.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }
}

/// The clock of a drill's timeline: it stands still until it is moved, and never goes back.
#[derive(Debug)]
pub struct VirtualClock(Mutex<DateTime<Utc>>);

impl VirtualClock {
    /// A clock that stands at the given instant.
    pub fn at(start: DateTime<Utc>) -> Self {
        Self(Mutex::new(start))
    }

    /// Moves the clock forward; an instant in the past leaves it where it is.
    pub fn advance_to(&self, instant: DateTime<Utc>) {
        let mut now = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *now = (*now).max(instant);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> DateTime<Utc> {
        *self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Times work by the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// Seconds since the start.
    pub fn seconds(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_virtual_clock_moves_forward_only() {
        let noon = DateTime::parse_from_rfc3339("2025-01-12T12:00:00Z")
            .expect("valid")
            .to_utc();
        let clock = VirtualClock::at(noon);
        clock.advance_to(noon + chrono::Duration::hours(1));
        clock.advance_to(noon);
        assert_eq!(clock.now(), noon + chrono::Duration::hours(1));
    }
}
