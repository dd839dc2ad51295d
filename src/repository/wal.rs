//! Names of archived WAL: what they say of a segment's place, where a repository keeps them, and which are needed.
//!
//! A backup's WAL lies under `<backup>/wal/<name>.gz` (`.gz.age` when it is encrypted), apart from its artifacts, as it
//! belongs to no single one of them. Not here: moving it (see [`crate::pipeline::pg_basebackup`]).

use std::collections::BTreeSet;
use std::fmt;

use crate::repository::manifest::Manifest;

/// The manifest metadata of a base backup that names the first segment its recovery reads.
pub const START: &str = "wal-start";

/// A place in the write-ahead log: `0/3000028`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Reads the form that Postgres prints.
    pub fn parse(text: &str) -> Option<Self> {
        let (high, low) = text.trim().split_once('/')?;
        let part = |text: &str| {
            let hex = (1..=8).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
            hex.then(|| u64::from_str_radix(text, 16).ok())?
        };
        Some(Self(part(high)? << 32 | part(low)?))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

/// A segment of the write-ahead log, ordered by place, then timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Segment {
    /// The timeline it was written on.
    pub timeline: u32,
    /// The upper half of its first LSN.
    pub log: u32,
    /// Its number within that half.
    pub part: u32,
}

impl Segment {
    /// The segment that holds an LSN, segments having `size` bytes.
    pub fn holding(timeline: u32, lsn: Lsn, size: u64) -> Self {
        let low = lsn.0 & 0xffff_ffff;
        Self {
            timeline,
            log: (lsn.0 >> 32) as u32,
            part: (low / size.max(1)) as u32,
        }
    }

    /// The one after it, on the same timeline.
    #[must_use]
    pub fn next(self, size: u64) -> Self {
        Self::holding(self.timeline, Lsn(self.begins(size).0 + size), size)
    }

    /// The LSN of its first byte.
    pub fn begins(self, size: u64) -> Lsn {
        Lsn((u64::from(self.log) << 32) + u64::from(self.part) * size)
    }

    /// Where it stands, whatever its timeline.
    pub fn place(self) -> (u32, u32) {
        (self.log, self.part)
    }

    /// The same place on another timeline.
    #[must_use]
    pub fn on(self, timeline: u32) -> Self {
        Self { timeline, ..self }
    }
}

impl Ord for Segment {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.place(), self.timeline).cmp(&(other.place(), other.timeline))
    }
}

impl PartialOrd for Segment {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08X}{:08X}{:08X}", self.timeline, self.log, self.part)
    }
}

/// What a server archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// A whole segment.
    Segment(Segment),
    /// The note about a base backup that began in this segment (`….00000028.backup`).
    Backup(Segment),
    /// The last, unfinished segment of a timeline that was left (`….partial`).
    Partial(Segment),
    /// How a timeline came to be (`00000002.history`).
    History(u32),
}

impl Name {
    /// Reads the name of an archived file.
    pub fn parse(name: &str) -> Option<Self> {
        if let Some(timeline) = name.strip_suffix(".history") {
            return hex(timeline).map(Self::History);
        }
        let (segment, rest) = name.split_at_checked(24)?;
        let segment = Segment {
            timeline: hex(&segment[..8])?,
            log: hex(&segment[8..16])?,
            part: hex(&segment[16..])?,
        };
        match rest {
            "" => Some(Self::Segment(segment)),
            ".partial" => Some(Self::Partial(segment)),
            _ => {
                let offset = rest.strip_prefix('.')?.strip_suffix(".backup")?;
                hex(offset).map(|_| Self::Backup(segment))
            }
        }
    }

    /// The name of an archived file by its key in a repository.
    pub fn of_key<'k>(backup: &str, key: &'k str) -> Option<(&'k str, Self)> {
        let name = key.strip_prefix(prefix(backup).as_str())?;
        let name = name.strip_suffix(".age").unwrap_or(name);
        let name = name.strip_suffix(".gz")?;
        Some((name, Self::parse(name)?))
    }

    /// Whether no recovery from `oldest` on can want it. How timelines came to be is always wanted.
    pub fn is_before(self, oldest: Segment) -> bool {
        match self {
            Self::Segment(segment) | Self::Backup(segment) | Self::Partial(segment) => {
                segment.place() < oldest.place()
            }
            Self::History(_) => false,
        }
    }
}

/// Eight upper-case hexadecimal digits, as Postgres writes them in file names.
fn hex(digits: &str) -> Option<u32> {
    let plain = digits.len() == 8
        && digits
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b));
    plain.then(|| u32::from_str_radix(digits, 16).ok())?
}

/// Where a repository keeps the WAL of a backup: ends in `/`.
pub fn prefix(backup: &str) -> String {
    format!("{backup}/wal/")
}

/// The first segment that the recovery of an artifact reads; `None` where it is none that WAL continues.
pub fn start_of(manifest: &Manifest) -> Option<Segment> {
    let noted = manifest
        .files
        .iter()
        .find_map(|file| file.metadata.get(START))?;
    match Name::parse(noted) {
        Some(Name::Segment(segment)) => Some(segment),
        _ => None,
    }
}

/// The segments from `first` to `last`, both included, at whose places there is none: no recovery gets past one.
pub fn gone(
    there: &BTreeSet<(u32, u32)>,
    first: Segment,
    last: Segment,
    size: u64,
) -> Vec<Segment> {
    let all = std::iter::successors(Some(first), |segment| Some(segment.next(size)));
    all.take_while(|segment| segment.place() <= last.place())
        .filter(|segment| !there.contains(&segment.place()))
        .collect()
}

/// The key of an archived file.
pub fn key(backup: &str, name: &str, encrypted: bool) -> String {
    let ending = if encrypted { ".gz.age" } else { ".gz" };
    format!("{}{name}{ending}", prefix(backup))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_segment_and_its_name_lead_to_each_other(timeline in 1u32.., lsn: u64, power in 20u32..=30) {
            let size = 1u64 << power;
            let lsn = Lsn(lsn >> 1);
            let segment = Segment::holding(timeline, lsn, size);
            prop_assert_eq!(Name::parse(&segment.to_string()), Some(Name::Segment(segment)));
            prop_assert!(segment.begins(size) <= lsn && lsn.0 - segment.begins(size).0 < size);
            prop_assert_eq!(segment.next(size).begins(size).0, segment.begins(size).0 + size);
            prop_assert!(segment < segment.next(size));
            prop_assert_eq!(Lsn::parse(&lsn.to_string()), Some(lsn));
        }
    }

    #[test]
    fn the_last_segment_of_a_log_file_is_followed_by_the_first_of_the_next() {
        let last = Segment::holding(1, Lsn(0xff00_0000), 16 << 20);
        assert_eq!(last.to_string(), "0000000100000000000000FF");
        assert_eq!(last.next(16 << 20).to_string(), "000000010000000100000000");
    }

    #[test]
    fn a_segment_that_is_gone_is_found_wherever_the_log_goes_on() {
        let size = 16 << 20;
        let first = Segment::holding(1, Lsn(0xfe00_0000), size);
        let all: Vec<Segment> = std::iter::successors(Some(first), |it| Some(it.next(size)))
            .take(4)
            .collect();
        let left = |lost: &[usize]| -> Vec<Segment> {
            let kept = all.iter().enumerate().filter(|(at, _)| !lost.contains(at));
            // On whatever timeline.
            let there = kept.map(|(_, segment)| segment.on(2).place()).collect();
            gone(&there, first, all[3], size)
        };
        assert_eq!(left(&[]), []);
        assert_eq!(left(&[0]), [all[0]]);
        assert_eq!(left(&[1, 3]), [all[1], all[3]]);
    }

    #[test]
    fn only_what_a_server_archives_has_a_name_here() {
        let segment = Segment {
            timeline: 2,
            log: 0,
            part: 3,
        };
        for (name, kind) in [
            ("000000020000000000000003", Some(Name::Segment(segment))),
            (
                "000000020000000000000003.00000028.backup",
                Some(Name::Backup(segment)),
            ),
            (
                "000000020000000000000003.partial",
                Some(Name::Partial(segment)),
            ),
            ("00000002.history", Some(Name::History(2))),
            ("00000002000000000000000a", None),
            ("000000020000000000000003.part", None),
            ("../000000020000000000000003", None),
            ("äöü", None),
        ] {
            assert_eq!(Name::parse(name), kind, "{name}");
        }
        assert_eq!(
            Name::of_key("base", "base/wal/00000002.history.gz.age"),
            Some(("00000002.history", Name::History(2)))
        );
        assert_eq!(Name::of_key("other", "base/wal/00000002.history.gz"), None);
    }
}
