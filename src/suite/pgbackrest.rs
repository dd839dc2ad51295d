//! How `pgbackrest` backs up: which type of backup a run takes, how it is stored, and how much pgBackRest keeps.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::schedule::Schedule;

/// What pgBackRest is told.
#[derive(Debug, Clone, PartialEq)]
pub struct PgBackRest {
    /// What a run takes, unless `full` or `diff` say otherwise of it.
    pub usual: BackupType,
    /// The runs that take a full backup: a cron expression, in UTC.
    pub full: Option<String>,
    /// The runs that take a differential one.
    pub diff: Option<String>,
    /// How files and WAL are compressed.
    pub compress: RestCompression,
    /// Whether small files are stored together.
    pub bundle: bool,
    /// How many full backups are kept, with everything that builds on them, and the WAL from the oldest one on.
    pub retention_full: u32,
    /// How many differential ones, with what builds on them; all when not said.
    pub retention_diff: Option<u32>,
    /// No commit waits longer than this to be archived, on the drill's clock.
    pub archive_timeout: Duration,
}

impl Default for PgBackRest {
    /// As pgBackRest does when it is not told otherwise; two full backups.
    fn default() -> Self {
        Self {
            usual: BackupType::Incr,
            full: None,
            diff: None,
            compress: RestCompression::Gz(6),
            bundle: false,
            retention_full: 2,
            retention_diff: None,
            archive_timeout: Duration::from_secs(300),
        }
    }
}

impl PgBackRest {
    /// Which type of backup the run at this instant takes. The first one is full whatever this says.
    pub fn type_at(&self, run: DateTime<Utc>) -> BackupType {
        let is_of = |cron: &Option<String>| {
            let schedule = cron.as_ref().and_then(|cron| Schedule::parse(cron).ok());
            schedule.is_some_and(|schedule| schedule.at_or_after(run) == Some(run))
        };
        if is_of(&self.full) {
            BackupType::Full
        } else if is_of(&self.diff) {
            BackupType::Diff
        } else {
            self.usual
        }
    }

    /// The earlier runs that the one at this instant builds on, the newest first, as far as the suite names them.
    pub fn builds_on(&self, run: DateTime<Utc>) -> Vec<DateTime<Utc>> {
        let last = |cron: &Option<String>| {
            let schedule = Schedule::parse(cron.as_ref()?).ok()?;
            schedule.before(run)
        };
        let (full, diff) = (last(&self.full), last(&self.diff));
        match self.type_at(run) {
            BackupType::Full => Vec::new(),
            BackupType::Diff => full.into_iter().collect(),
            BackupType::Incr => diff
                .filter(|diff| full.is_none_or(|full| full < *diff))
                .into_iter()
                .chain(full)
                .collect(),
        }
    }
}

/// The types of backup, in pgBackRest's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupType {
    /// The whole cluster; builds on nothing.
    Full,
    /// What changed since the last full one.
    Diff,
    /// What changed since the last one of any type.
    Incr,
}

impl BackupType {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Full, Self::Diff, Self::Incr];
}

impl fmt::Display for BackupType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Diff => "diff",
            Self::Incr => "incr",
        })
    }
}

/// How pgBackRest compresses, with the level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestCompression {
    /// Not at all.
    None,
    /// gzip, 0 to 9.
    Gz(u8),
    /// LZ4, 1 to 9.
    Lz4(u8),
    /// Zstandard, 1 to 19.
    Zst(u8),
}

impl RestCompression {
    /// Its type and level in pgBackRest's words; the level is of no use where nothing is compressed.
    pub fn words(self) -> (&'static str, Option<u8>) {
        match self {
            Self::None => ("none", None),
            Self::Gz(level) => ("gz", Some(level)),
            Self::Lz4(level) => ("lz4", Some(level)),
            Self::Zst(level) => ("zst", Some(level)),
        }
    }

    /// Reads `none`, or `zst:3`.
    pub fn parse(text: &str) -> Option<Self> {
        let (word, level) = match text.split_once(':') {
            None => return (text == "none").then_some(Self::None),
            Some((word, level)) => (word, level.parse().ok()?),
        };
        match (word, level) {
            ("gz", level @ 0..=9) => Some(Self::Gz(level)),
            ("lz4", level @ 1..=9) => Some(Self::Lz4(level)),
            ("zst", level @ 1..=19) => Some(Self::Zst(level)),
            _ => None,
        }
    }
}

impl fmt::Display for RestCompression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.words() {
            (word, Some(level)) => write!(f, "{word}:{level}"),
            (word, None) => f.write_str(word),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(&format!("2026-03-{text}:00Z"))
            .expect("an instant")
            .to_utc()
    }

    fn weekly() -> PgBackRest {
        PgBackRest {
            full: Some("0 1 * * 0".to_owned()),
            diff: Some("0 1 * * 1-6".to_owned()),
            ..PgBackRest::default()
        }
    }

    #[test]
    fn the_instant_of_a_run_says_its_type() {
        // 2026-03-01 is a Sunday.
        for (run, wanted) in [
            ("01T01:00", BackupType::Full),
            ("01T02:00", BackupType::Incr),
            ("02T01:00", BackupType::Diff),
            ("08T01:00", BackupType::Full),
        ] {
            assert_eq!(weekly().type_at(at(run)), wanted, "{run}");
        }
        let all_diff = PgBackRest {
            usual: BackupType::Diff,
            ..PgBackRest::default()
        };
        assert_eq!(all_diff.type_at(at("01T01:00")), BackupType::Diff);
    }

    #[test]
    fn a_run_builds_on_the_last_full_and_the_differential_after_it() {
        let rest = weekly();
        assert!(rest.builds_on(at("01T01:00")).is_empty());
        assert_eq!(rest.builds_on(at("03T01:00")), [at("01T01:00")]);
        let incr = rest.builds_on(at("03T05:00"));
        assert_eq!(incr, [at("03T01:00"), at("01T01:00")]);
        // On a Sunday the last differential is older than the full one.
        assert_eq!(rest.builds_on(at("08T05:00")), [at("08T01:00")]);
    }

    #[test]
    fn compression_is_read_and_written_in_the_same_words() {
        for text in ["none", "gz:6", "lz4:1", "zst:19"] {
            let read = RestCompression::parse(text).expect("a compression");
            assert_eq!(read.to_string(), text);
        }
        for wrong in ["gzip:6", "gz", "gz:10", "zst:0", "lz4:x"] {
            assert_eq!(RestCompression::parse(wrong), None, "{wrong}");
        }
    }
}
