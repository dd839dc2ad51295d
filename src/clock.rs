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

/// Seconds in the units a person would say: `340 ms`, `1.2 s`, `12 m 34 s`, `1 d 2 h`.
pub fn readable(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "–".to_owned();
    }
    let millis = (seconds * 1e3).round() as u64;
    if millis == 0 {
        return "0 s".to_owned();
    }
    if millis < 1000 {
        return format!("{millis} ms");
    }
    let tenths = (seconds * 10.0).round() as u64;
    if tenths < 600 {
        return match tenths % 10 {
            0 => format!("{} s", tenths / 10),
            part => format!("{}.{part} s", tenths / 10),
        };
    }
    let whole = seconds.round() as u64;
    let parts = [
        (whole / 86400, "d"),
        (whole / 3600 % 24, "h"),
        (whole / 60 % 60, "m"),
        (whole % 60, "s"),
    ];
    let said: Vec<String> = parts
        .iter()
        .filter(|(amount, _)| *amount > 0)
        .map(|(amount, unit)| format!("{amount} {unit}"))
        .collect();
    said.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_in_the_units_a_person_would_say() {
        let texts = [0.0, 0.84, 1.23, 754.0, 3480.0, 3600.0, 81000.0, 604_800.0].map(readable);
        assert_eq!(
            texts,
            [
                "0 s",
                "840 ms",
                "1.2 s",
                "12 m 34 s",
                "58 m",
                "1 h",
                "22 h 30 m",
                "7 d"
            ]
        );
    }

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
