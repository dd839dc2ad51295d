//! Is the artifact there, whole, readable, of the right size and of the right moment?

use super::held::held;
use super::{Facts, unobserved};
use crate::outcome::{Finding, Outcome};
use crate::suite::{Check, Method};

/// How far the content's own time may lie outside the backup's window: clocks are read in whole seconds.
const CONTENT_TIME_SLACK: chrono::TimeDelta = chrono::TimeDelta::seconds(2);

pub(super) fn artifact(facts: &Facts<'_>) -> Outcome {
    let mut observed = 0;
    let mut findings = Vec::new();
    for backup in facts.last_backups() {
        let name = &backup.backup;
        if let Some(error) = &backup.error {
            observed += 1;
            findings.push(Finding::error(
                "backup-failed",
                format!(
                    "backup {name} failed: {error}{}",
                    held(facts, name, backup.at)
                ),
                "see the log of the backup's step and take it once more: a failed one commits nothing, and must raise an alarm where it runs",
            ));
            continue;
        }
        for stored in &backup.stored {
            observed += 1;
            let place = format!("{name} in {}", stored.repository);
            if !stored.committed {
                findings.push(Finding::error(
                    "not-committed",
                    format!(
                        "{place}: no readable manifest{}",
                        stored
                            .error
                            .as_ref()
                            .map_or(String::new(), |e| format!(" ({e})"))
                    ),
                    "an artifact without its manifest does not count; take the backup again",
                ));
                continue;
            }
            if stored.manifest_last == Some(false) {
                findings.push(Finding::error(
                    "manifest-not-last",
                    format!("{place}: a file was written after the manifest"),
                    "write the manifest last, so that it can serve as the commit marker",
                ));
            }
            observed += stored.sound;
            if stored.sound == 0 && stored.amiss.is_empty() {
                findings.push(Finding::error(
                    "no-files",
                    format!("{place}: the manifest names no file"),
                    "the backup stored nothing: see its step's log",
                ));
            }
            for file in &stored.amiss {
                observed += 1;
                let key = &file.key;
                match (file.found_bytes, &file.found_sha256) {
                    (None, _) => findings.push(Finding::error(
                        "file-missing",
                        format!("{place}: {key} is named by the manifest but is not there"),
                        "find out what removed it (a lifecycle rule, a pruner, a hand); restore from another repository",
                    )),
                    (Some(found), _) if found != file.bytes => findings.push(Finding::error(
                        "file-size-differs",
                        format!("{place}: {key} has {found} bytes, its manifest says {}", file.bytes),
                        "the upload was cut or the object was changed; use another repository's copy",
                    )),
                    (Some(_), Some(found)) if *found != file.sha256 => findings.push(Finding::error(
                        "file-hash-differs",
                        format!("{place}: {key} has SHA-256 {found}, its manifest says {}", file.sha256),
                        "the object was changed after it was written; use another repository's copy",
                    )),
                    (Some(_), None) => findings.push(Finding::unknown(
                        "file-not-read",
                        format!("{place}: {key} could not be read"),
                        "see the drill's log for the repository's words",
                    )),
                    _ => {}
                }
            }
            if stored.more_amiss > 0 {
                observed += stored.more_amiss;
                findings.push(Finding::warning(
                    "more-files-amiss",
                    format!(
                        "{place}: {} more files are amiss in the same ways",
                        stored.more_amiss
                    ),
                    "what became of so many has one cause: find it before the next backup runs",
                ));
            }
        }
    }
    Outcome::of(Check::Artifact, observed, findings)
}

pub(super) fn readable(facts: &Facts<'_>) -> Outcome {
    let mut observed = 0;
    let mut findings = Vec::new();
    for backup in facts.last_backups() {
        let Some(read) = &backup.readable else {
            findings.push(unobserved(
                facts,
                &format!("{} was not read through", backup.backup),
            ));
            continue;
        };
        observed += 1;
        if let Some(error) = &read.error {
            findings.push(Finding::error(
                "unreadable",
                format!("{}: {} says: {error}", backup.backup, read.tool),
                "this artifact cannot be restored; use an earlier one, and find out where it was damaged",
            ));
        } else if read.entries == 0 {
            findings.push(Finding::error(
                "nothing-inside",
                format!(
                    "{}: {} read it to its end and found no entry in it",
                    backup.backup, read.tool
                ),
                "the backup ran against an empty source, or its pipe lost a failure (set pipefail)",
            ));
        }
    }
    Outcome::of(Check::Readable, observed, findings)
}

pub(super) fn size(facts: &Facts<'_>) -> Outcome {
    let mut observed = 0;
    let mut findings = Vec::new();
    for backup in facts.last_backups() {
        let Some(range) = facts
            .terms
            .backup(&backup.backup)
            .and_then(|spec| spec.size)
        else {
            continue;
        };
        for stored in backup.stored.iter().filter(|stored| stored.committed) {
            observed += 1;
            // The range is stated for scale 1. Data grow with the scale, and what is least expected grows with them; what
            // does not shrink with the data (schema, headers) keeps the ceiling where it is below that.
            let scale = facts.terms.drill.scale;
            let min = (range.min as f64 * scale) as u64;
            let max = (range.max as f64 * scale.max(1.0)) as u64;
            if !(min..=max).contains(&stored.bytes) {
                findings.push(Finding::error(
                    "size-out-of-range",
                    format!(
                        "{} in {}: {} bytes stored, expected {min} to {max}",
                        backup.backup, stored.repository, stored.bytes
                    ),
                    "a sudden change of size means an emptied source, a lost table or a changed pipeline; if it is \
                     growth, widen `size` in the suite; at another --scale, see that the seed grows with it",
                ));
            }
        }
    }
    Outcome::of(Check::Size, observed, findings)
}

pub(super) fn fresh(facts: &Facts<'_>) -> Outcome {
    let mut observed = 0;
    let mut findings = Vec::new();
    for backup in facts.last_backups().filter(|backup| backup.error.is_none()) {
        let name = &backup.backup;
        for stored in backup.stored.iter().filter(|stored| stored.committed) {
            observed += 1;
            if stored.run != facts.evidence.run {
                findings.push(Finding::error(
                    "foreign-artifact",
                    format!("{name}: the newest artifact was made by run {}, not by {}", stored.run, facts.evidence.run),
                    "the repository holds leftovers of another run: clean it, or give each run its own",
                ));
            }
            if stored.taken_at != Some(backup.at) {
                let found = stored
                    .taken_at
                    .map_or_else(|| "no time".to_owned(), |at| at.to_rfc3339());
                findings.push(Finding::error(
                    "stale-artifact",
                    format!("{name}: the schedule promises an artifact of {}, the newest is of {found}", backup.at.to_rfc3339()),
                    "find out why the last run left nothing new: a failed upload, a reused file, a stopped scheduler",
                ));
            }
        }
        if let Some(time) = backup.readable.as_ref().and_then(|read| read.content_time) {
            observed += 1;
            let (from, to) = backup.window;
            if time < from - CONTENT_TIME_SLACK || time > to + CONTENT_TIME_SLACK {
                findings.push(Finding::error(
                    "stale-content",
                    format!("{name}: the content says it is of {time}, but the backup ran from {from} to {to}"),
                    "an older file was stored again: check that the tool's failure stops the pipeline",
                ));
            }
        }
        let recovery = facts
            .evidence
            .recoveries
            .iter()
            .find(|fact| fact.backup == *name && fact.is_the_newest())
            .filter(|fact| facts.terms.brought(&fact.component).has_rows());
        if let Some(restored) = recovery.and_then(|fact| fact.restored.as_ref()) {
            observed += 1;
            let reached = restored.ledger.last().copied().unwrap_or(0);
            if reached < backup.high_water {
                findings.push(Finding::error(
                    "behind-its-time",
                    format!(
                        "{name}: write {} was acknowledged before the backup, but the restored data ends at write {reached}",
                        backup.high_water
                    ),
                    "the artifact is older than it says, or its tail was cut: check the source of the dump and its log",
                ));
            }
        }
    }
    Outcome::of(Check::Fresh, observed, findings)
}

pub(super) fn mirror(facts: &Facts<'_>) -> Outcome {
    let mut observed = 0;
    let mut findings = Vec::new();
    for backup in facts.last_backups() {
        let mirrors = facts
            .terms
            .backup(&backup.backup)
            .is_some_and(|b| matches!(b.method, Method::BucketSync { .. }));
        if !mirrors {
            continue;
        }
        let (Some(read), Some(_)) = (&backup.readable, &backup.source) else {
            findings.push(unobserved(
                facts,
                &format!("{} was not compared", backup.backup),
            ));
            continue;
        };
        let Some(mirrored) = &backup.mirrored else {
            // What could not be read at all is told by another check.
            if read.error.is_none() {
                let words = format!("{} was not compared", backup.backup);
                findings.push(unobserved(facts, &words));
            }
            continue;
        };
        observed += mirrored.source;
        let total = mirrored.source;
        for (kind, keys, words, remedy) in [
            (
                "keys-missing",
                &mirrored.missing,
                "are not in the backup",
                "a listing that ends at its first page of 1,000 keys is the usual cause; then: excludes that match too much",
            ),
            (
                "keys-extra",
                &mirrored.extra,
                "are in the backup but not wanted",
                "deletions or excludes are not followed",
            ),
            (
                "keys-changed",
                &mirrored.changed,
                "have other content in the backup",
                "compare by content, not by size and time",
            ),
        ] {
            if let Some((first, ())) = keys.first.first() {
                findings.push(Finding::error(
                    kind,
                    format!(
                        "{}: {} of {total} objects {words}, the first is {first:?}",
                        backup.backup, keys.count
                    ),
                    remedy,
                ));
            }
        }
    }
    Outcome::of(Check::Mirror, observed, findings)
}

pub(super) fn mass_delete(facts: &Facts<'_>) -> Outcome {
    let mut findings = Vec::new();
    let guards: Vec<_> = facts
        .evidence
        .guards
        .iter()
        .filter(|g| facts.only.is_none_or(|name| g.backup == name))
        .collect();
    for guard in &guards {
        if guard.refused.is_some() {
            continue;
        }
        match &guard.error {
            Some(error) => findings.push(Finding::unknown(
                "guard-not-reached",
                format!(
                    "{}: the backup of the emptied source ended otherwise: {error}",
                    guard.backup
                ),
                "see the step's log",
            )),
            None => findings.push(Finding::error(
                "mirror-wiped",
                format!(
                    "{}: the source was emptied and the backup followed it without a word",
                    guard.backup
                ),
                "set `max_delete` so that a run that drops too much is refused and says so",
            )),
        }
    }
    Outcome::of(Check::MassDelete, guards.len() as u64, findings)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use chrono::DateTime;

    use crate::check::{Terms, judge};
    use crate::evidence::{BackupFact, Evidence, StoredFact};
    use crate::outcome::Verdict;
    use crate::plan::{Options, expand};
    use crate::suite::{Check, parse};

    /// What is said of the size of DeltaCrown's dumps and snapshots, so many bytes being stored at a scale.
    fn said(scale: f64, backup: &str, bytes: f64) -> Verdict {
        let path = Path::new("suites/deltacrown.toml");
        let text = std::fs::read_to_string(path).expect("a suite");
        let suite = parse(&text, path).expect("a suite");
        let options = Options {
            scale,
            ..Options::default()
        };
        let plan = expand(&suite, &options).expect("a plan");
        let id = match backup {
            "postgres" => "deltacrown/database-corruption",
            _ => "deltacrown/redis-failure",
        };
        let drill = plan.drills.iter().find(|drill| drill.id == id);
        let terms = Terms {
            suite: &suite,
            drill: drill.expect("is planned"),
        };
        let fact = BackupFact {
            backup: backup.to_owned(),
            component: String::new(),
            artifact: Some("a".to_owned()),
            at: DateTime::UNIX_EPOCH,
            window: (DateTime::UNIX_EPOCH, DateTime::UNIX_EPOCH),
            seconds: 1.0,
            error: None,
            refused: None,
            source: None,
            high_water: 0,
            stored: vec![StoredFact {
                committed: true,
                bytes: bytes as u64,
                ..StoredFact::default()
            }],
            readable: None,
            mirrored: None,
        };
        let evidence = Evidence {
            backups: vec![fact],
            ..Evidence::default()
        };
        judge(Check::Size, &evidence, &terms, None).verdict
    }

    #[test]
    fn a_backup_that_lost_most_of_itself_is_too_small_at_every_scale_and_a_whole_one_is_not() {
        // As measured, but for the snapshots (with their append-only directory) of scale 4.
        for (scale, dump, snapshot) in [
            (0.1, 1.9e6, 11.2e6),
            (1.0, 10.5e6, 46.0e6),
            (4.0, 39.6e6, 162.0e6),
        ] {
            for (backup, bytes) in [("postgres", dump), ("redis", snapshot)] {
                let said = |share| said(scale, backup, bytes * share);
                assert_eq!(said(1.0), Verdict::Passed, "{backup} at {scale}");
                assert_eq!(said(0.15), Verdict::Failed, "{backup} at {scale}");
            }
        }
    }
}
