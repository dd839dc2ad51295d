//! Is the backup kept as promised, once its runs were pruned?

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use super::{Facts, unobserved};
use crate::evidence::{BackupFact, LogFact};
use crate::outcome::{Finding, Outcome};
use crate::suite::{BackupType, Check, Method};

pub(super) fn retention(facts: &Facts<'_>) -> Outcome {
    let mut observed = 0;
    let mut findings = failed_runs(facts);
    findings.extend(failed_archivings(facts));
    for fact in &facts.evidence.retention {
        if facts.only.is_some_and(|name| fact.backup != name) {
            continue;
        }
        let place = format!("{} in {}", fact.backup, fact.repository);
        let (Some(now), Some(spec)) = (fact.now, facts.terms.backup(&fact.backup)) else {
            findings.push(unobserved(
                facts,
                &format!("{place}: the pruner did not run"),
            ));
            continue;
        };
        observed += fact.taken.len() as u64;
        let within = chrono::TimeDelta::from_std(spec.keep.of(&fact.repository))
            .unwrap_or(chrono::TimeDelta::MAX);
        // Stated here anew, from the suite's words and not from the pruner's code.
        let newest_good = fact
            .taken
            .iter()
            .filter(|(_, _, good)| *good)
            .max_by_key(|(_, at, _)| *at)
            .map(|(id, _, _)| id);
        // A recovery to the first moment within begins before it, where a log leads from there.
        let archives = matches!(spec.method, Method::PgBasebackup { .. });
        let leads_in = fact
            .taken
            .iter()
            .filter(|(_, at, good)| archives && *good && now - *at > within)
            .max_by_key(|(_, at, _)| *at)
            .map(|(id, _, _)| id);
        let wanted: BTreeSet<&String> = fact
            .taken
            .iter()
            .filter(|(id, at, _)| {
                now - *at <= within || Some(id) == newest_good || Some(id) == leads_in
            })
            .map(|(id, _, _)| id)
            .collect();
        if let Some(id) = newest_good.filter(|id| !fact.remaining.contains(*id)) {
            findings.push(Finding::error(
                "last-good-pruned",
                format!("{place}: {id}, the newest artifact that verifies, was pruned"),
                "a pruner must count only artifacts that verify, and never remove the last of them",
            ));
        }
        let missing: Vec<&&String> = wanted
            .iter()
            .filter(|id| !fact.remaining.contains(**id))
            .collect();
        // What is counted, and not aged, may stay longer: from the oldest full backup on that counts.
        let counted = counted_from(&spec.method, &fact.taken);
        let counts = |id: &&String| {
            let mut taken = fact.taken.iter().filter(|(taken, ..)| taken == *id);
            taken.any(|(_, at, _)| counted.is_some_and(|from| *at >= from))
        };
        let extra: Vec<&String> = fact
            .remaining
            .iter()
            .filter(|id| !wanted.contains(id) && !counts(id))
            .collect();
        if let Some(first) = missing.first() {
            findings.push(Finding::error(
                "pruned-too-much",
                format!("{place}: {} artifacts that the policy keeps are gone, the first is {first}", missing.len()),
                "stop the pruner; look for ages taken from modification times or a shifted time zone",
            ));
        }
        if let Some(first) = extra.first() {
            findings.push(Finding::error(
                "pruned-too-little",
                format!(
                    "{place}: {} artifacts past the policy remain, the first is {first}",
                    extra.len()
                ),
                "the pruner does not see them: check its prefix, its paging and its permissions",
            ));
        }
        if let Some(first) = fact.orphans.first() {
            findings.push(Finding::error(
                "orphans",
                format!(
                    "{place}: {} files belong to no artifact that remains, the first is {first}",
                    fact.orphans.len()
                ),
                "remove them: they cost money and may hold data that was to be erased",
            ));
        }
        if let Some(first) = fact.broken.first() {
            findings.push(Finding::error(
                "kept-but-broken",
                format!(
                    "{place}: {} files of artifacts that remain are gone, the first is {first}",
                    fact.broken.len()
                ),
                "content stored once must outlive every artifact that names it",
            ));
        }
        if archives {
            match &fact.log {
                Some(log) => {
                    observed += log.segments;
                    findings.extend(gap(&place, log));
                }
                None => findings.push(unobserved(
                    facts,
                    &format!("{place}: the archived WAL was not looked at"),
                )),
            }
        }
    }
    Outcome::of(Check::Retention, observed, findings)
}

/// What is missing of the log that leads from the oldest base backup to the last write that was archived.
fn gap(place: &str, log: &LogFact) -> Option<Finding> {
    let first = log.gone.first()?;
    Some(Finding::error(
        "log-gap",
        format!(
            "{place}: {} of the {} segments of WAL from the oldest base backup that remains on are gone, the first is {first}: \
             no recovery gets past it",
            log.gone.len(),
            log.segments
        ),
        "a pruner may remove only WAL before the oldest base backup that it keeps; take a new base backup now, and mend it",
    ))
}

/// When the oldest backup was taken that pgBackRest is told to keep by its number; the first run is full whatever was said.
fn counted_from(method: &Method, taken: &[(String, DateTime<Utc>, bool)]) -> Option<DateTime<Utc>> {
    let Method::PgBackRest(options) = method else {
        return None;
    };
    let instants: BTreeSet<DateTime<Utc>> = taken.iter().map(|(_, at, _)| *at).collect();
    let first = instants.first().copied();
    let full = |at: &DateTime<Utc>| options.type_at(*at) == BackupType::Full || Some(*at) == first;
    let kept = options.retention_full.max(1) as usize;
    let mut newest_first = instants.iter().rev().copied().filter(full);
    newest_first.nth(kept - 1).or(first)
}

/// What failed while it was rehearsed, backup by backup: there is nothing to keep of a run that committed nothing.
fn failed_runs(facts: &Facts<'_>) -> Vec<Finding> {
    let backups = facts.terms.backups().into_iter();
    let asked = backups.filter(|backup| facts.only.is_none_or(|name| backup.name == name));
    asked
        .filter_map(|backup| {
            let name = &backup.name;
            let runs = facts.evidence.backups.iter();
            let runs: Vec<_> = runs.filter(|run| run.backup == *name).collect();
            let failed = |run: &&&BackupFact| run.artifact.is_none() || run.error.is_some();
            let failed: Vec<_> = runs.iter().filter(failed).collect();
            let first = failed.first()?;
            let why = first.error.as_ref().or(first.refused.as_ref());
            Some(Finding::error(
                "backup-failed",
                format!(
                    "backup {name}: {} of {} runs failed, the first at {}: {}",
                    failed.len(),
                    runs.len(),
                    first.at.to_rfc3339(),
                    why.map_or("it committed nothing", String::as_str)
                ),
                "see the log of the run's step: where it runs, a failed backup must raise an alarm, and not wait for the pruner to \
                 have nothing left to keep",
            ))
        })
        .collect()
}

/// What was committed while it was rehearsed and could not be archived.
fn failed_archivings(facts: &Facts<'_>) -> Vec<Finding> {
    // In a disaster's drill the replay tells it.
    if facts.terms.scenario().is_some() {
        return Vec::new();
    }
    let archives = facts.evidence.archives.iter();
    let asked = archives.filter(|it| facts.only.is_none_or(|name| it.backup == name));
    asked
        .filter_map(|it| Some((it, it.error.as_ref()?)))
        .map(|(it, error)| {
            Finding::error(
                "archiving-failed",
                format!("{} at {}: {error}", it.backup, it.at.to_rfc3339()),
                "watch pg_stat_archiver where it runs: until this is mended, every commit since is in no repository",
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::check::trial::unfolded;
    use crate::check::{Terms, judge};
    use crate::evidence::{Evidence, RetentionFact};
    use crate::outcome::Verdict;
    use crate::plan::DrillKind;

    const SUITE: &str = "[component.db]\nkind = \"postgres\"\n[backup.b]\nschedule = \"@daily\"\nkeep = { within = \"7d\" }\n\
        [scenario.s]\nstrike = { fault = \"server-lost\" }\n[retention]\ndays = 10\nbackups = [\"b\"]\n";

    fn day(day: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::days(day)
    }

    /// What the check says of a rehearsal.
    fn said(evidence: &Evidence) -> Outcome {
        said_of(SUITE, evidence)
    }

    fn said_of(text: &str, evidence: &Evidence) -> Outcome {
        let (suite, plan) = unfolded(text);
        let rehearsal = |kind: &DrillKind| matches!(kind, DrillKind::Retention { .. });
        let mut drills = plan.drills.iter();
        let terms = Terms {
            suite: &suite,
            drill: drills.find(|it| rehearsal(&it.kind)).expect("is rehearsed"),
        };
        judge(Check::Retention, evidence, &terms, None)
    }

    /// Three runs, of which every one is kept that did not fail on one of these days.
    fn rehearsed(failed: &[i64]) -> Evidence {
        let window = (day(0), day(0));
        let run = |at: i64| BackupFact {
            backup: "b".to_owned(),
            component: "db".to_owned(),
            artifact: (!failed.contains(&at)).then(|| format!("b-{at}")),
            at: day(at),
            window,
            seconds: 1.0,
            error: failed.contains(&at).then(|| "the disk is full".to_owned()),
            refused: None,
            source: None,
            high_water: 0,
            stored: Vec::new(),
            readable: None,
            mirrored: None,
        };
        let backups: Vec<BackupFact> = (0..3).map(run).collect();
        let taken = backups.iter();
        let taken = taken.filter_map(|it| Some((it.artifact.clone()?, it.at, true)));
        let taken: Vec<_> = taken.collect();
        Evidence {
            retention: vec![RetentionFact {
                backup: "b".to_owned(),
                repository: "offsite".to_owned(),
                now: Some(day(2)),
                remaining: taken.iter().map(|(id, ..)| id.clone()).collect(),
                taken,
                ..RetentionFact::default()
            }],
            backups,
            ..Evidence::default()
        }
    }

    #[test]
    fn a_run_that_failed_leaves_nothing_to_keep_and_is_told() {
        let well = said(&rehearsed(&[]));
        assert_eq!((well.verdict, well.findings.len()), (Verdict::Passed, 0));
        let outcome = said(&rehearsed(&[1]));
        assert_eq!(outcome.verdict, Verdict::Failed);
        let [finding] = outcome.findings.as_slice() else {
            panic!("one finding: {:?}", outcome.findings);
        };
        assert_eq!(finding.kind, "backup-failed");
        let words = "backup b: 1 of 3 runs failed, the first at 1970-01-02T00:00:00+00:00: the disk is full";
        assert_eq!(finding.message, words);
        // Nor does it pass when there is nothing else.
        let all = said(&rehearsed(&[0, 1, 2]));
        assert_eq!(
            (all.verdict, all.findings[0].kind),
            (Verdict::Failed, "backup-failed")
        );
    }

    const ARCHIVED: &str = "[component.db]\nkind = \"postgres\"\n[backup.b]\nschedule = \"@daily\"\nkeep = { within = \"7d\" }\n\
        method = \"pg-basebackup\"\n[scenario.s]\nstrike = { fault = \"server-lost\" }\n[retention]\ndays = 10\nbackups = [\"b\"]\n";

    /// Ten base backups, of which these remain, and what of the log is gone.
    fn archived(remaining: std::ops::Range<i64>, gone: &[&str]) -> Outcome {
        let mut evidence = rehearsed(&[]);
        let fact = &mut evidence.retention[0];
        fact.now = Some(day(9));
        fact.taken = (0..10)
            .map(|it| (format!("b-{it}"), day(it), true))
            .collect();
        fact.remaining = remaining.map(|it| format!("b-{it}")).collect();
        fact.log = Some(LogFact {
            segments: 40,
            gone: gone.iter().map(|it| (*it).to_owned()).collect(),
        });
        said_of(ARCHIVED, &evidence)
    }

    #[test]
    fn a_segment_of_the_log_that_is_gone_fails_although_every_base_backup_is_there() {
        let well = archived(1..10, &[]);
        assert_eq!((well.verdict, well.findings.len()), (Verdict::Passed, 0));
        let outcome = archived(1..10, &["000000010000000000000007"]);
        assert_eq!(outcome.verdict, Verdict::Failed);
        let [finding] = outcome.findings.as_slice() else {
            panic!("one finding: {:?}", outcome.findings);
        };
        assert_eq!(finding.kind, "log-gap");
        assert!(
            finding.message.contains("1 of the 40 segments"),
            "{}",
            finding.message
        );
        assert!(finding.message.contains("000000010000000000000007"));
    }

    #[test]
    fn the_base_backup_before_the_first_moment_that_is_kept_must_stay_and_no_other() {
        // The third is as old as what is kept, and ends too late for the first moment.
        let kinds =
            |outcome: Outcome| -> Vec<&str> { outcome.findings.iter().map(|it| it.kind).collect() };
        assert_eq!(kinds(archived(2..10, &[])), ["pruned-too-much"]);
        assert_eq!(kinds(archived(0..10, &[])), ["pruned-too-little"]);
    }

    #[test]
    fn a_log_that_nobody_looked_at_is_not_kept_for_all_that_is_known() {
        let mut evidence = rehearsed(&[]);
        let outcome = said_of(ARCHIVED, &evidence);
        assert_eq!(outcome.verdict, Verdict::Undetermined);
        evidence.retention[0].log = Some(LogFact::default());
        assert_eq!(said_of(ARCHIVED, &evidence).verdict, Verdict::Passed);
        evidence.archives.push(crate::evidence::ArchiveFact {
            backup: "b".to_owned(),
            error: Some("the disk is full".to_owned()),
            ..Default::default()
        });
        let outcome = said_of(ARCHIVED, &evidence);
        assert_eq!(
            (outcome.verdict, outcome.findings[0].kind),
            (Verdict::Failed, "archiving-failed")
        );
    }
}
