//! Was archived WAL there, was it replayed to where it should be, and is the cluster sound that came of it?

use super::{Facts, unobserved};
use crate::outcome::{Finding, Outcome};
use crate::suite::{Check, Method};

pub(super) fn replay(facts: &Facts<'_>) -> Outcome {
    let mut observed = 0;
    let mut findings = Vec::new();
    for archive in &facts.evidence.archives {
        if facts.only.is_some_and(|name| archive.backup != name) {
            continue;
        }
        observed += 1;
        if let Some(error) = &archive.error {
            findings.push(Finding::error(
                "archiving-failed",
                format!("{} at {}: {error}", archive.backup, archive.at.to_rfc3339()),
                "watch pg_stat_archiver where it runs: until this is mended, every commit since is in no repository",
            ));
        }
    }
    for recovery in facts.recoveries() {
        let archives = facts
            .terms
            .backup(&recovery.backup)
            .is_some_and(|backup| matches!(backup.method, Method::PgBasebackup { .. }));
        if !archives {
            continue;
        }
        let component = &recovery.component;
        let Some(replay) = &recovery.replay else {
            findings.push(unobserved(
                facts,
                &format!("{component}: no WAL was replayed"),
            ));
            continue;
        };
        observed += 1;
        if let Some(words) = &replay.missed {
            findings.push(Finding::error(
                "target-missed",
                format!("{component}: {words}"),
                "do not go live on it: see the recovery's log for where it ended, and why",
            ));
        }
        let (reached, newest) = replay.timelines;
        if reached != newest {
            findings.push(Finding::error(
                "older-timeline",
                format!("{component}: recovered on timeline {reached}, and the newest in the repository is {newest}"),
                "recover with recovery_target_timeline = latest; what the newest one holds is missing here",
            ));
        }
        let (found, expected) = &replay.identities;
        if found != expected {
            findings.push(Finding::error(
                "another-cluster",
                format!("{component}: the recovered cluster is {found}, the base backup is of {expected}"),
                "this is another system's data: see which server's directory was backed up",
            ));
        }
        if !replay.checksums {
            findings.push(Finding::error(
                "checksums-off",
                format!("{component}: data checksums are off, and were on in the base backup"),
                "turn them on again with pg_checksums --enable before going live, and find out what turned them off",
            ));
        }
        for tie in &replay.ties {
            findings.push(Finding::error(
                "still-tied",
                format!("{component}: {tie}"),
                "a recovered copy must not archive over its source, follow it or do its jobs: cut this before it starts",
            ));
        }
    }
    Outcome::of(Check::Replay, observed, findings)
}

/// How many damaged relations are named.
const NAMED: usize = 10;

pub(super) fn integrity(facts: &Facts<'_>) -> Outcome {
    let mut observed = 0;
    let mut findings = Vec::new();
    for recovery in facts.recoveries() {
        let component = &recovery.component;
        let Some(found) = &recovery.integrity else {
            let backup = facts.terms.backup(&recovery.backup);
            if backup.is_some_and(|backup| matches!(backup.method, Method::PgBasebackup { .. })) {
                let what = format!("{component} was not read page by page");
                findings.push(unobserved(facts, &what));
            }
            continue;
        };
        observed += found.relations;
        for (name, words) in found.damaged.iter().take(NAMED) {
            findings.push(Finding::error(
                "relation-damaged",
                format!(
                    "{component}: {name}: {words} (one of {} damaged relations)",
                    found.damaged.len()
                ),
                "the base backup carries its source's damage: check the source with pg_amcheck; an index can be rebuilt, a table must come from an older backup",
            ));
        }
        for (name, why) in &found.unchecked {
            findings.push(Finding::warning(
                "index-not-checked",
                format!("{component}: {name}: {why}"),
                "reindex it when in doubt",
            ));
        }
        for (database, why) in &found.unable {
            findings.push(Finding::unknown(
                "integrity-not-checked",
                format!("{component}: database {database}: {why}"),
                "install the server's contrib modules (postgresql-contrib)",
            ));
        }
    }
    Outcome::of(Check::Integrity, observed, findings)
}
