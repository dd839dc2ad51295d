//! Where a recovery stopped, in the server's own words, against where it was told to stop. Pure.

use chrono::{DateTime, Utc};

use super::chain::{Chain, Left};
use crate::repository::wal::Lsn;
use crate::suite::RecoveryTarget;

/// The settings that tell the server where to stop.
pub(super) fn settings(target: &RecoveryTarget) -> Vec<(&'static str, String)> {
    match target {
        RecoveryTarget::EndOfWal | RecoveryTarget::Unbroken => Vec::new(),
        RecoveryTarget::Immediate => vec![("recovery_target", "immediate".to_owned())],
        RecoveryTarget::Time(at) => vec![(
            "recovery_target_time",
            at.format("%Y-%m-%d %H:%M:%S%.6f+00").to_string(),
        )],
        // A ledger's coordinate is where its commit ended: what begins there is not part of it.
        RecoveryTarget::Lsn(lsn) => vec![
            ("recovery_target_lsn", lsn.clone()),
            ("recovery_target_inclusive", "off".to_owned()),
        ],
        RecoveryTarget::Name(name) => vec![("recovery_target_name", name.clone())],
    }
}

/// The same, in the words of `pgbackrest restore`.
pub(in crate::pipeline) fn of_pgbackrest(target: &RecoveryTarget) -> Vec<String> {
    let (kind, value) = match (target, settings(target).into_iter().next()) {
        (RecoveryTarget::EndOfWal | RecoveryTarget::Unbroken, _) | (_, None) => {
            return vec!["--type=default".to_owned()];
        }
        (RecoveryTarget::Immediate, _) => ("immediate", None),
        (RecoveryTarget::Time(_), Some((_, time))) => ("time", Some(time)),
        (RecoveryTarget::Lsn(_), Some((_, lsn))) => ("lsn", Some(lsn)),
        (RecoveryTarget::Name(_), Some((_, name))) => ("name", Some(name)),
    };
    let mut words = vec![
        format!("--type={kind}"),
        "--target-action=promote".to_owned(),
    ];
    words.extend(value.map(|value| format!("--target={value}")));
    if kind == "lsn" {
        words.push("--target-exclusive".to_owned());
    }
    words
}

/// Whether the last line of the new timeline's history is what the target asks for; in words where it is not. To the end
/// of the log means into the last segment of it: a segment whose content is no log reads like its end.
pub(super) fn reached(target: &RecoveryTarget, left: &Left, chain: &Chain) -> Result<(), String> {
    let why = left.why.trim();
    let ok = match target {
        RecoveryTarget::EndOfWal | RecoveryTarget::Unbroken => {
            why == "no recovery target specified"
        }
        RecoveryTarget::Immediate => why == "reached consistency",
        RecoveryTarget::Name(name) => why == format!("at restore point \"{name}\""),
        RecoveryTarget::Lsn(lsn) => {
            let stopped = why
                .strip_prefix("before LSN ")
                .or(why.strip_prefix("after LSN "));
            match (stopped.and_then(Lsn::parse), Lsn::parse(lsn)) {
                (Some(stopped), Some(wanted)) => stopped >= wanted,
                _ => false,
            }
        }
        // The first commit after it, which was not replayed.
        RecoveryTarget::Time(wanted) => {
            let stopped = why.strip_prefix("before ").and_then(instant);
            stopped.is_some_and(|stopped| stopped > *wanted)
        }
    };
    let to_the_end = matches!(target, RecoveryTarget::EndOfWal | RecoveryTarget::Unbroken);
    if let (true, true, Some((last, _))) = (ok, to_the_end, &chain.reach)
        && left.at < last.begins(chain.base.size)
    {
        return Err(format!(
            "recovery was told to go to {target}, which is in {last}, and found none beyond {}",
            left.at
        ));
    }
    if ok {
        return Ok(());
    }
    Err(format!(
        "recovery was told to stop at {target}, and stopped at {}: {why}",
        left.at
    ))
}

fn instant(text: &str) -> Option<DateTime<Utc>> {
    let parsed = DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z").ok()?;
    Some(parsed.to_utc())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::physical::chain::Base;
    use crate::repository::wal::Segment;

    fn left(why: &str) -> Left {
        Left {
            timeline: 1,
            at: Lsn(0x300_0000),
            why: why.to_owned(),
        }
    }

    /// WAL up to the n-th segment.
    fn chain(n: u64) -> Chain {
        let size = 16 << 20;
        let segment = |n: u64| Segment::holding(1, Lsn(n * size), size);
        let base = Base {
            start: segment(0),
            began: DateTime::UNIX_EPOCH,
            stop: Lsn(1),
            size,
        };
        Chain {
            base,
            timeline: 1,
            reach: Some((segment(n), String::new())),
            broken: None,
            last: None,
            abandoned: Vec::new(),
        }
    }

    #[test]
    fn the_end_of_the_log_lies_in_its_last_segment() {
        let end = RecoveryTarget::EndOfWal;
        let left = left("no recovery target specified");
        assert_eq!(reached(&end, &left, &chain(3)), Ok(()));
        let early = reached(&end, &left, &chain(4)).expect_err("ended early");
        assert!(early.contains("000000010000000000000004"), "{early}");
    }

    #[test]
    fn the_servers_words_must_be_those_of_the_target() {
        let at = instant("2026-11-21 15:03:53.5+00").expect("an instant");
        let lsn = |text: &str| RecoveryTarget::Lsn(text.to_owned());
        let name = |text: &str| RecoveryTarget::Name(text.to_owned());
        for (target, why, ok) in [
            (
                RecoveryTarget::EndOfWal,
                "no recovery target specified",
                true,
            ),
            (RecoveryTarget::EndOfWal, "reached consistency", false),
            (RecoveryTarget::Immediate, "reached consistency", true),
            (
                RecoveryTarget::Immediate,
                "no recovery target specified",
                false,
            ),
            (
                name("before deploy"),
                "at restore point \"before deploy\"",
                true,
            ),
            (name("before"), "at restore point \"before deploy\"", false),
            (lsn("0/3000028"), "before LSN 0/3000028", true),
            (lsn("0/3000028"), "before LSN 0/3000060", true),
            (lsn("0/3000028"), "before LSN 0/2000060", false),
            (lsn("0/3000028"), "no recovery target specified", false),
            (
                RecoveryTarget::Time(at),
                "before 2026-11-21 15:03:53.879005+00",
                true,
            ),
            (
                RecoveryTarget::Time(at),
                "before 2026-11-21 15:03:53.5+00",
                false,
            ),
            (
                RecoveryTarget::Time(at),
                "before 2000-01-01 00:00:00+00",
                false,
            ),
        ] {
            let found = reached(&target, &left(why), &chain(1));
            assert_eq!(found.is_ok(), ok, "{target}: {why}: {found:?}");
        }
    }

    #[test]
    fn pgbackrest_is_told_the_same_target() {
        let lsn = of_pgbackrest(&RecoveryTarget::Lsn("0/3000028".to_owned()));
        let wanted = [
            "--type=lsn",
            "--target-action=promote",
            "--target=0/3000028",
            "--target-exclusive",
        ];
        assert_eq!(lsn, wanted);
        let name = of_pgbackrest(&RecoveryTarget::Name("before deploy".to_owned()));
        assert_eq!(name[2], "--target=before deploy");
        assert_eq!(of_pgbackrest(&RecoveryTarget::Immediate).len(), 2);
        for end in [RecoveryTarget::EndOfWal, RecoveryTarget::Unbroken] {
            assert_eq!(of_pgbackrest(&end), ["--type=default"]);
        }
    }

    #[test]
    fn a_time_is_given_to_the_server_in_utc_to_the_microsecond() {
        let at = instant("2026-11-21 17:03:53.25+02").expect("an instant");
        let settings = settings(&RecoveryTarget::Time(at));
        assert_eq!(settings[0].1, "2026-11-21 15:03:53.250000+00");
    }
}
