//! Was archived WAL there, was it replayed to where it should be, and is the cluster sound that came of it?

use std::collections::BTreeSet;

use super::held::held;
use super::{Facts, unobserved};
use crate::evidence::{RecoveryFact, ReplayFact, Unable};
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
                format!(
                    "{} at {}: {error}{}",
                    archive.backup,
                    archive.at.to_rfc3339(),
                    held(facts, &archive.backup, archive.at)
                ),
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
        findings.extend(before_the_strike(facts, recovery, replay));
        for words in &replay.abandoned {
            findings.push(Finding::warning(
                "timeline-abandoned",
                format!("{component}: {words}"),
                "a server went on there after another was promoted: what it committed is in the archive, and to be had by a recovery to that timeline alone (recovery_target_timeline), beside this one",
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
        findings.extend(checksums(recovery, replay));
    }
    Outcome::of(Check::Replay, observed, findings)
}

/// What had data checksums has them still.
fn checksums(recovery: &RecoveryFact, replay: &ReplayFact) -> Option<Finding> {
    let component = &recovery.component;
    if recovery.integrity.as_ref()?.checksums {
        return None;
    }
    match replay.checksums {
        Some(false) => None,
        Some(true) => Some(Finding::error(
            "checksums-off",
            format!("{component}: data checksums are off, and were on in the base backup"),
            "turn them on again with pg_checksums --enable before going live, and find out what turned them off",
        )),
        None => Some(Finding::unknown(
            "checksums-not-known",
            format!(
                "{component}: data checksums are off, and whether the base backup had them is not known: pg_controldata did not say so"
            ),
            "see in the log of pg_controldata, among the recovery's steps, why it could not read the control file",
        )),
    }
}

/// Told to stop just before the strike, a recovery stops no earlier: held against the moment that was noted then, and not
/// against what was made of it on the way to the server.
fn before_the_strike(
    facts: &Facts<'_>,
    recovery: &RecoveryFact,
    replay: &ReplayFact,
) -> Option<Finding> {
    facts.terms.scenario()?.before_strike?;
    let strike = facts.evidence.strike.as_ref()?;
    let moment = strike.moments.get(&recovery.component)?;
    if !replay.stopped_before(&moment.lsn) {
        return None;
    }
    Some(Finding::error(
        "before-the-strike",
        format!(
            "{}: told to stop at {}, it stopped at {}; the strike came after {}, at {}: what was committed in between is not there",
            recovery.component,
            replay.target,
            replay.stopped,
            moment.lsn,
            moment.at.to_rfc3339()
        ),
        "see which moment the recovery was told: a time without its zone is read in the server's own (write +00, or Z)",
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
            let others = facts.terms.backups().into_iter();
            let mut others = others.filter(|backup| backup.component == *component);
            if facts.is_physical(recovery) {
                let what = format!("{component} was not read page by page");
                findings.push(unobserved(facts, &what));
            } else if recovery.error.is_none() && others.any(|it| it.method.archives()) {
                // It was picked among others: what a dump brings back has no page of the source.
                observed += 1;
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
        for (name, how_much) in &found.sampled {
            findings.push(Finding::warning(
                "index-sampled",
                format!("{component}: {name}: {how_much}"),
                "reindex it when in doubt: what was looked for was found, the rest was not looked for",
            ));
        }
        for (what, unable) in &found.unable {
            let (why, remedy) = match unable {
                Unable::Lacks(why) => (
                    why,
                    "install the server's contrib modules (postgresql-contrib)",
                ),
                Unable::Closed(why) => (why, "see in pg_database why it cannot be opened"),
                Unable::Unanswered(why) => (
                    why,
                    "see the recovered server's log, and look at it by hand: pg_amcheck --heapallindexed, or reindex what is no B-tree, each of which takes the time that it takes",
                ),
                // What it held was given up before it was backed up.
                Unable::HalfDropped => {
                    findings.push(Finding::warning(
                        "database-half-dropped",
                        format!("{component}: {what} was left half dropped, and nobody can open it"),
                        "drop it in the source (DROP DATABASE): until then every copy of the cluster carries its files",
                    ));
                    continue;
                }
            };
            findings.push(Finding::unknown(
                "integrity-not-checked",
                format!("{component}: {what}: {why}"),
                remedy,
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
    use crate::check::trial::{judged, lost};
    use crate::evidence::{
        Evidence, IntegrityFact, LedgerEntry, Observation, ReplayFact, StrikeFact,
    };
    use crate::outcome::{Severity, Verdict};

    /// What `replay` says of a recovery that was told to stop just before a strike, by the writes that came back.
    fn kinds(came_back: &[u64]) -> Vec<&'static str> {
        let text = "[component.db]\nkind = \"postgres\"\n[backup.b]\nschedule = \"@daily\"\nmethod = \"pg-basebackup\"\n\
                    [scenario.s]\nstrike = { fault = \"rows-deleted\" }\nrestore = { target = \"before-strike\" }\n";
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
                replay: Some(ReplayFact {
                    checksums: Some(false),
                    ..ReplayFact::default()
                }),
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
        let outcome = judged(text, Check::Replay, &evidence);
        outcome
            .findings
            .iter()
            .map(|finding| finding.kind)
            .collect()
    }

    #[test]
    fn checksums_are_missed_where_they_were_and_where_nobody_knows_whether_they_were() {
        let said = |before, now| {
            let recovery = RecoveryFact {
                integrity: Some(IntegrityFact {
                    checksums: now,
                    ..IntegrityFact::default()
                }),
                ..RecoveryFact::default()
            };
            let replay = ReplayFact {
                checksums: before,
                ..ReplayFact::default()
            };
            checksums(&recovery, &replay).map(|finding| (finding.kind, finding.severity))
        };
        let (off, unknown) = ("checksums-off", "checksums-not-known");
        assert_eq!(said(Some(true), false), Some((off, Severity::Error)));
        assert_eq!(said(None, false), Some((unknown, Severity::Unknown)));
        for (before, now) in [(Some(false), false), (Some(true), true), (None, true)] {
            assert_eq!(said(before, now), None, "{before:?}, {now}");
        }
    }

    #[test]
    fn a_dump_that_was_picked_among_others_has_no_page_to_read_and_a_base_backup_has() {
        let text = "[component.db]\nkind = \"postgres\"\n[[component.db.smoke]]\nask = \"select 1\"\nexpect = \"1\"\n\
                    [backup.dump]\nschedule = \"@daily\"\n[backup.base]\nschedule = \"@daily\"\nmethod = \"pg-basebackup\"\n\
                    [scenario.s]\nstrike = { fault = \"server-lost\" }\nrecover = [\"dump\", \"base\"]\npick = \"newest-good\"\n";
        let verdict = |backup: &str, error: Option<&str>| {
            let evidence = Evidence {
                recoveries: vec![RecoveryFact {
                    component: "db".to_owned(),
                    backup: backup.to_owned(),
                    error: error.map(str::to_owned),
                    ..RecoveryFact::default()
                }],
                ..Evidence::default()
            };
            judged(text, Check::Integrity, &evidence).verdict
        };
        assert_eq!(verdict("dump", None), Verdict::Passed);
        assert_eq!(verdict("dump", Some("it failed")), Verdict::Undetermined);
        assert_eq!(verdict("base", None), Verdict::Undetermined);
    }

    #[test]
    fn what_could_not_be_looked_at_is_told_with_a_remedy_of_its_own() {
        let remedy = |unable: Option<Unable>| {
            let text = "[component.db]\nkind = \"postgres\"\n[backup.b]\nschedule = \"@daily\"\nmethod = \"pg-basebackup\"\n\
                        [scenario.s]\nstrike = { fault = \"rows-deleted\" }\n";
            let integrity = IntegrityFact {
                relations: 1,
                unable: unable
                    .into_iter()
                    .map(|it| ("shop".to_owned(), it))
                    .collect(),
                ..IntegrityFact::default()
            };
            let recovery = RecoveryFact {
                component: "db".to_owned(),
                backup: "b".to_owned(),
                integrity: Some(integrity),
                ..RecoveryFact::default()
            };
            let evidence = Evidence {
                recoveries: vec![recovery],
                ..Evidence::default()
            };
            let outcome = judged(text, Check::Integrity, &evidence);
            let verdict = outcome.verdict;
            let told = outcome.findings.into_iter().next().map(|it| it.remedy);
            (verdict, told)
        };
        let why = || "why".to_owned();
        assert_eq!(remedy(None), (Verdict::Passed, None));
        let unknown = Verdict::Undetermined;
        for (unable, expected, word) in [
            (Unable::Lacks(why()), unknown, "postgresql-contrib"),
            (Unable::Closed(why()), unknown, "pg_database"),
            (Unable::Unanswered(why()), unknown, "pg_amcheck"),
            (Unable::HalfDropped, Verdict::Passed, "DROP DATABASE"),
        ] {
            let (verdict, told) = remedy(Some(unable.clone()));
            assert_eq!(verdict, expected, "{unable:?}");
            let told = told.expect("a finding");
            assert!(told.contains(word), "{unable:?}: {told}");
        }
    }

    #[test]
    fn an_index_that_cannot_be_asked_or_not_all_of_it_is_a_warning_and_one_that_gave_no_answer_is_not()
     {
        let said = |change: fn(&mut IntegrityFact)| {
            let mut integrity = IntegrityFact {
                relations: 1,
                ..IntegrityFact::default()
            };
            change(&mut integrity);
            let recovery = RecoveryFact {
                component: "db".to_owned(),
                backup: "b".to_owned(),
                integrity: Some(integrity),
                ..RecoveryFact::default()
            };
            let evidence = Evidence {
                recoveries: vec![recovery],
                ..Evidence::default()
            };
            let outcome = judged(&lost("pg-basebackup"), Check::Integrity, &evidence);
            let kind = outcome.findings.first().map(|finding| finding.kind);
            (outcome.verdict, kind)
        };
        fn index() -> (String, String) {
            ("shop: by_tag".to_owned(), "why".to_owned())
        }
        assert_eq!(said(|_| ()), (Verdict::Passed, None));
        let unchecked = said(|found| found.unchecked.extend([index()]));
        assert_eq!(unchecked, (Verdict::Passed, Some("index-not-checked")));
        let sampled = said(|found| found.sampled.extend([index()]));
        assert_eq!(sampled, (Verdict::Passed, Some("index-sampled")));
        let unable = said(|found| {
            let (name, why) = index();
            found.unable.insert(name, Unable::Unanswered(why));
        });
        let kind = Some("integrity-not-checked");
        assert_eq!(unable, (Verdict::Undetermined, kind));
        let damaged = said(|found| found.damaged.extend([index()]));
        assert_eq!(damaged, (Verdict::Failed, Some("relation-damaged")));
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

    #[test]
    fn a_replay_ends_on_the_newest_timeline_of_its_own_cluster_and_tells_what_others_hold() {
        let said = |replay: ReplayFact| {
            let text = "[component.db]\nkind = \"postgres\"\n[backup.b]\nschedule = \"@daily\"\nmethod = \"pg-basebackup\"\n\
                        [scenario.s]\nstrike = { fault = \"server-lost\" }\n";
            let evidence = Evidence {
                recoveries: vec![RecoveryFact {
                    component: "db".to_owned(),
                    backup: "b".to_owned(),
                    replay: Some(replay),
                    ..RecoveryFact::default()
                }],
                ..Evidence::default()
            };
            let outcome = judged(text, Check::Replay, &evidence);
            let kinds = outcome.findings.iter().map(|finding| finding.kind);
            (outcome.verdict, kinds.collect::<Vec<_>>())
        };
        let healthy = || ReplayFact {
            timelines: (2, 2),
            identities: ("7".to_owned(), "7".to_owned()),
            ..ReplayFact::default()
        };
        assert_eq!(said(healthy()), (Verdict::Passed, vec![]));
        let abandoned = ReplayFact {
            abandoned: vec!["commits after 0/5000000 on timeline 1".to_owned()],
            ..healthy()
        };
        assert_eq!(
            said(abandoned),
            (Verdict::Passed, vec!["timeline-abandoned"])
        );
        let another = ReplayFact {
            identities: ("8".to_owned(), "7".to_owned()),
            ..healthy()
        };
        assert_eq!(said(another), (Verdict::Failed, vec!["another-cluster"]));
        let older = ReplayFact {
            timelines: (1, 2),
            ..healthy()
        };
        assert_eq!(said(older), (Verdict::Failed, vec!["older-timeline"]));
        let missed = ReplayFact {
            missed: Some("it ended before".to_owned()),
            ..healthy()
        };
        assert_eq!(said(missed), (Verdict::Failed, vec!["target-missed"]));
    }
}
