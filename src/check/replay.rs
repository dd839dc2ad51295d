//! Was archived WAL there, was it replayed to where it should be, and is the cluster sound that came of it?

use std::collections::BTreeSet;

use super::{Facts, unobserved};
use crate::evidence::RecoveryFact;
use crate::outcome::{Finding, Outcome};
use crate::suite::Check;

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
            .is_some_and(|backup| backup.method.archives());
        if !archives {
            continue;
        }
        let component = &recovery.component;
        if recovery.is_restarted() {
            // A server that is started again replays its own log.
            observed += 1;
            continue;
        }
        findings.extend(past_the_strike(facts, recovery));
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
        if let Some(calls) = recovery.called.filter(|calls| *calls > 0) {
            findings.push(Finding::error(
                "called-its-source",
                format!(
                    "{component}: the recovered server called the replication host of its source, {calls} times"
                ),
                "a recovered copy must not follow its source, nor use up its slots: empty primary_conninfo, and remove standby.signal, before it starts",
            ));
        }
        findings.extend(into_the_archive(recovery));
        let Some(stands) = &recovery.integrity else {
            findings.push(unobserved(
                facts,
                &format!("{component}: the recovered server was not asked what ties it to others"),
            ));
            continue;
        };
        if replay.checksums && !stands.checksums {
            findings.push(Finding::error(
                "checksums-off",
                format!("{component}: data checksums are off, and were on in the base backup"),
                "turn them on again with pg_checksums --enable before going live, and find out what turned them off",
            ));
        }
        for tie in &stands.ties {
            findings.push(Finding::error(
                "still-tied",
                format!("{component}: {tie}"),
                "a recovered copy must not archive over its source, follow it or do its jobs: cut this before it starts",
            ));
        }
    }
    Outcome::of(Check::Replay, observed, findings)
}

/// Nothing may come into the archive of the source but by the source itself.
fn into_the_archive(recovery: &RecoveryFact) -> Option<Finding> {
    let component = &recovery.component;
    let watch = match recovery.archive.as_ref()? {
        Ok(watch) => watch,
        Err(words) => {
            return Some(Finding::unknown(
                "archive-not-seen",
                format!("{component}: the archive of its source could not be looked at: {words}"),
                "see the drill's log for the words of what keeps it",
            ));
        }
    };
    let mut foreign = watch.foreign();
    let first = foreign.next()?;
    let more = match foreign.count() {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    Some(Finding::error(
        "archived-into-its-source",
        format!(
            "{component}: {} came into {} while the recovered server ran{more}",
            first.name, first.place
        ),
        "a recovered copy must not archive where its source does: what it puts there is taken for the source's own by the next recovery; turn archive_mode off before it first starts",
    ))
}

/// Told to stop just before the strike, a recovery brings back nothing that came after it.
fn past_the_strike(facts: &Facts<'_>, recovery: &RecoveryFact) -> Option<Finding> {
    facts.terms.scenario()?.before_strike?;
    let done = facts.evidence.strike.as_ref()?.done;
    let entries = facts.evidence.ledger.iter();
    let before = entries.filter(|it| it.component == recovery.component && it.at <= done);
    let before: BTreeSet<u64> = before.map(|entry| entry.number).collect();
    let came_back = &recovery.restored.as_ref()?.ledger;
    let first = came_back.difference(&before).next()?;
    Some(Finding::error(
        "past-the-strike",
        format!(
            "{}: write {first}, which came after the strike, came back: the damage did too",
            recovery.component
        ),
        "recover to an earlier moment: see in the log (pg_waldump) where the damage begins",
    ))
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
            if backup.is_some_and(|backup| backup.method.archives()) {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use chrono::{DateTime, TimeDelta};

    use super::*;
    use crate::check::{Terms, judge};
    use crate::evidence::{
        ArchiveWatch, Evidence, InArchive, IntegrityFact, LedgerEntry, Observation, ReplayFact,
        StrikeFact,
    };
    use crate::plan::{Options, expand};

    /// What `replay` says of a recovery that was told to stop just before a strike, by the writes that came back.
    fn kinds(came_back: &[u64]) -> Vec<&'static str> {
        let text = "[component.db]\nkind = \"postgres\"\n[backup.b]\nschedule = \"@daily\"\nmethod = \"pg-basebackup\"\n\
                    [scenario.s]\nstrike = { fault = \"rows-deleted\" }\nrestore = { target = \"before-strike\" }\n";
        let suite = crate::suite::parse(text, std::path::Path::new("s.toml")).expect("is a suite");
        let plan = expand(&suite, &Options::default()).expect("unfolds");
        let terms = Terms {
            suite: &suite,
            drill: &plan.drills[0],
        };
        let at = |minute| DateTime::UNIX_EPOCH + TimeDelta::minutes(minute);
        let write = |number: u64| LedgerEntry {
            component: "db".to_owned(),
            number,
            at: at(number.cast_signed()),
            coordinate: String::new(),
        };
        let evidence = Evidence {
            strike: Some(StrikeFact {
                at: at(9),
                done: at(3),
                ..StrikeFact::default()
            }),
            ledger: (1..=5).map(write).collect(),
            recoveries: vec![RecoveryFact {
                component: "db".to_owned(),
                backup: "b".to_owned(),
                replay: Some(ReplayFact::default()),
                integrity: Some(IntegrityFact::default()),
                restored: Some(Observation {
                    ledger: came_back.iter().copied().collect(),
                    parts: BTreeMap::new(),
                    ..Observation::default()
                }),
                ..RecoveryFact::default()
            }],
            ..Evidence::default()
        };
        let outcome = judge(Check::Replay, &evidence, &terms, None);
        outcome
            .findings
            .iter()
            .map(|finding| finding.kind)
            .collect()
    }

    #[test]
    fn what_came_into_the_archive_on_a_new_timeline_is_told_by_its_name() {
        let said = |lives, timeline| {
            let recovery = RecoveryFact {
                component: "db".to_owned(),
                archive: Some(Ok(ArchiveWatch {
                    lives,
                    newest: 1,
                    came: vec![InArchive {
                        timeline,
                        name: format!("{timeline:08X}.history"),
                        place: "repository near".to_owned(),
                    }],
                })),
                ..RecoveryFact::default()
            };
            into_the_archive(&recovery).map(|finding| finding.message)
        };
        assert_eq!(
            said(true, 1),
            None,
            "the source may archive as long as it lives"
        );
        for lives in [true, false] {
            let found = said(lives, 2).expect("a finding");
            assert!(
                found.contains("00000002.history came into repository near"),
                "{found}"
            );
        }
        assert!(
            said(false, 1).is_some(),
            "one that is gone archives nothing"
        );
    }

    #[test]
    fn told_to_stop_before_a_strike_nothing_that_came_after_it_may_come_back() {
        assert_eq!(kinds(&[1, 2, 3]), [""; 0]);
        assert_eq!(
            kinds(&[1, 2]),
            [""; 0],
            "what is missing is a loss, told as one"
        );
        assert_eq!(kinds(&[1, 2, 3, 4]), ["past-the-strike"]);
        assert_eq!(kinds(&[1, 2, 3, 6]), ["past-the-strike"]);
    }
}
