//! What the backups of a drill hold when one of them, or a recovery, fails: for findings that say what is at risk.

use chrono::{DateTime, Utc};

use super::Facts;

/// Up to which acknowledged write a backup, or its archived log, holds everything, among what succeeded before an instant;
/// empty where nothing was written.
pub(super) fn held(facts: &Facts<'_>, backup: &str, before: DateTime<Utc>) -> String {
    said(facts, backup, Some(before), "holds")
}

/// The same of what a recovery was to bring back: whether it is still there is another matter.
pub(super) fn promised(facts: &Facts<'_>, backup: &str) -> String {
    said(facts, backup, None, "was taken with")
}

fn said(facts: &Facts<'_>, backup: &str, before: Option<DateTime<Utc>>, verb: &str) -> String {
    let evidence = facts.evidence;
    let component = facts.terms.backup(backup).map(|spec| &spec.component);
    let written = evidence
        .ledger
        .iter()
        .any(|it| Some(&it.component) == component);
    if !written {
        return String::new();
    }
    let backups = evidence.backups.iter();
    let backups = backups
        .filter(|it| it.backup == backup && it.error.is_none() && it.artifact.is_some())
        .map(|it| (it.high_water, it.at));
    let archives = evidence.archives.iter();
    let archives = archives
        .filter(|it| it.backup == backup && it.error.is_none())
        .map(|it| (it.high_water, it.at));
    let earlier = |at: &DateTime<Utc>| before.is_none_or(|before| *at < before);
    let last = backups.chain(archives).filter(|(_, at)| earlier(at)).max();
    match last {
        Some((number, at)) => format!(
            "; {backup} {verb} every write up to {number}, of {}, and nothing that was written later",
            at.to_rfc3339()
        ),
        None => format!("; {backup} {verb} no write at all"),
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::check::trial::{judged, lost};
    use crate::evidence::{ArchiveFact, BackupFact, Evidence, LedgerEntry, RecoveryFact};
    use crate::suite::Check;

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::minutes(minute)
    }

    fn taken(minute: i64, high_water: u64, error: Option<&str>) -> BackupFact {
        BackupFact {
            backup: "b".to_owned(),
            component: "db".to_owned(),
            artifact: error.is_none().then(|| format!("a{minute}")),
            at: at(minute),
            window: (at(minute), at(minute)),
            seconds: 1.0,
            error: error.map(str::to_owned),
            refused: None,
            source: None,
            high_water,
            stored: Vec::new(),
            readable: None,
            mirrored: None,
        }
    }

    fn archived(minute: i64, high_water: u64, error: Option<&str>) -> ArchiveFact {
        ArchiveFact {
            backup: "b".to_owned(),
            component: "db".to_owned(),
            at: at(minute),
            error: error.map(str::to_owned),
            high_water,
            ..ArchiveFact::default()
        }
    }

    /// What a check says of this evidence, in full.
    fn said(check: Check, mut evidence: Evidence) -> String {
        evidence.ledger = (1..=9)
            .map(|number: u64| LedgerEntry {
                component: "db".to_owned(),
                number,
                at: at(number.cast_signed()),
                coordinate: String::new(),
            })
            .collect();
        let outcome = judged(&lost("pg-basebackup"), check, &evidence);
        let words = outcome.findings.iter();
        words
            .map(|finding| {
                format!(
                    "{}: {} ({})\n",
                    finding.kind, finding.message, finding.remedy
                )
            })
            .collect()
    }

    #[test]
    fn a_backup_that_failed_says_what_the_one_before_it_holds() {
        let evidence = Evidence {
            backups: vec![
                taken(2, 2, None),
                taken(5, 5, Some("the server was killed")),
            ],
            ..Evidence::default()
        };
        let words = said(Check::Artifact, evidence);
        for part in [
            "backup-failed: backup b failed: the server was killed",
            "b holds every write up to 2, of 1970-01-01T00:02:00+00:00",
            "take it once more",
        ] {
            assert!(words.contains(part), "{part}: {words}");
        }
        let evidence = Evidence {
            backups: vec![taken(5, 5, Some("the server was killed"))],
            ..Evidence::default()
        };
        let words = said(Check::Artifact, evidence);
        assert!(words.contains("b holds no write at all"), "{words}");
    }

    #[test]
    fn an_archiver_that_failed_says_up_to_which_write_all_is_archived() {
        let evidence = Evidence {
            backups: vec![taken(2, 2, None)],
            archives: vec![
                archived(4, 4, None),
                archived(6, 6, Some("the archiver is behind")),
                archived(8, 8, None),
            ],
            ..Evidence::default()
        };
        let words = said(Check::Replay, evidence);
        assert!(
            words.contains("the archiver is behind; b holds every write up to 4"),
            "{words}"
        );
    }

    #[test]
    fn a_recovery_that_failed_says_what_it_was_to_bring_back() {
        let evidence = Evidence {
            backups: vec![taken(2, 2, None)],
            archives: vec![archived(7, 7, None)],
            recoveries: vec![RecoveryFact {
                component: "db".to_owned(),
                backup: "b".to_owned(),
                error: Some("the server was killed".to_owned()),
                ..RecoveryFact::default()
            }],
            ..Evidence::default()
        };
        let words = said(Check::Restore, evidence);
        for part in [
            "restore-failed: db: the server was killed; b was taken with every write up to 7",
            "recover once more",
        ] {
            assert!(words.contains(part), "{part}: {words}");
        }
    }
}
