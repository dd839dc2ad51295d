//! Was the recovery done properly, and was everything that was asked for really looked at?

use std::collections::BTreeSet;

use super::held::promised;
use super::picked::picked;
use super::{Facts, Terms, judge, unobserved};
use crate::evidence::{RecoveryFact, SkippedFact};
use crate::outcome::{Finding, Outcome};
use crate::suite::{Check, Mode};

pub(super) fn target_empty(facts: &Facts<'_>) -> Outcome {
    let mut observed = 0;
    let mut findings = Vec::new();
    for recovery in facts.recoveries() {
        let component = &recovery.component;
        if recovery.is_restarted() {
            // Nothing was restored: there was no target that could have held anything.
            observed += 1;
            continue;
        }
        let Some(before) = recovery.target_before else {
            findings.push(unobserved(
                facts,
                &format!("{component}: the target was not looked at before the restore"),
            ));
            continue;
        };
        observed += 1;
        if before > 0 {
            findings.push(Finding::error(
                "target-not-empty",
                format!("{component}: the target held {before} objects before the restore, expected none"),
                "restore into a new, empty database or server: what was there before may be what you see now",
            ));
        }
        if !recovery.target_started_here {
            findings.push(Finding::error(
                "foreign-target",
                format!("{component}: the target was not started by this run"),
                "never restore onto a server that the drill did not start",
            ));
        }
    }
    Outcome::of(Check::TargetEmpty, observed, findings)
}

pub(super) fn restore(facts: &Facts<'_>) -> Outcome {
    let mut observed = 0;
    let mut findings = Vec::new();
    let scenario = facts.terms.scenario();
    for recovery in facts.recoveries() {
        let component = &recovery.component;
        observed += 1;
        findings.extend(recovery.skipped.iter().map(|skipped| {
            let SkippedFact {
                backup,
                artifact,
                repository,
                why,
            } = skipped;
            // Another copy of what was recovered: it is the repository that was left, and not the artifact.
            if *artifact == recovery.artifact || artifact.is_none() {
                return Finding::warning(
                    "repository-skipped",
                    format!("{component}: {backup} in {repository} was tried and left for a nearer repository: {why}"),
                    "mend the copy that is there, or the way to it: until then the disaster that takes the nearer one takes all",
                );
            }
            Finding::warning(
                "artifact-skipped",
                format!(
                    "{component}: {backup} {} was tried and left: {why}",
                    artifact.as_deref().unwrap_or_default()
                ),
                "find out since when the backups carry this damage, and why nobody was told",
            )
        }));
        if scenario.is_some_and(|scenario| scenario.restart) && recovery.restart.is_none() {
            findings.push(Finding::error(
                "restart-not-tried",
                format!("{component}: the server was not started again first"),
                "a restore takes longer and loses more than a restart: try that first",
            ));
        }
        if recovery.needs.as_ref().is_some_and(super::given::lacks) {
            findings.push(unobserved(facts, &format!("{component} was not restored")));
            continue;
        }
        let tried = recovery.artifact.is_some();
        if let Some(error) = recovery
            .error
            .as_ref()
            .filter(|_| tried && !recovery.provisioned)
        {
            findings.push(Finding::unknown(
                "target-not-provisioned",
                format!("{component}: {error}"),
                "mend what keeps a server from starting here, then drill again: nothing is known about the backup",
            ));
            continue;
        }
        if let Some(error) = &recovery.error {
            findings.push(Finding::error(
                "restore-failed",
                format!("{component}: {error}{}", promised(facts, &recovery.backup)),
                "see the failed step's log, and recover once more: a failed recovery changes no artifact; then try the one before this one",
            ));
            continue;
        }
        let replaces = scenario.is_some_and(|scenario| scenario.mode == Mode::Replace);
        if replaces && recovery.emergency.is_none() {
            findings.push(Finding::error(
                "no-emergency-backup",
                format!("{component}: what was left was dropped, and no emergency backup of it was taken"),
                "it may hold what no backup does: back it up before it is dropped",
            ));
        }
        if let Some(Err(why)) = &recovery.restart {
            findings.push(Finding::warning(
                "restart-failed",
                format!("{component}: started again first, the server did not come back: {why}"),
                "it was recovered instead",
            ));
        }
        if !recovery.restore_ran && !recovery.is_restarted() {
            findings.push(Finding::error(
                "restore-skipped",
                format!("{component}: the restore step never ran"),
                "a recovery that finds data without restoring any is looking at the wrong server",
            ));
        }
        findings.extend(picked(facts, recovery));
        if recovery.kept_aside == Some(false) {
            findings.push(Finding::error(
                "old-data-gone",
                format!("{component}: the damaged database was not kept aside by the swap"),
                "rename it instead of dropping it: it may hold what the backup does not",
            ));
        }
    }
    if let Some(strike) = &facts.evidence.strike {
        for (component, word, symptom) in &strike.struck {
            if symptom.is_empty() {
                findings.push(Finding::unknown(
                    "strike-without-symptom",
                    format!("{component}: {word} was struck, but no symptom showed: the disaster may not have happened"),
                    "see the strike's steps in the log",
                ));
            }
        }
    }
    Outcome::of(Check::Restore, observed, findings)
}

pub(super) fn smoke(facts: &Facts<'_>) -> Outcome {
    let mut observed = 0;
    let mut findings = Vec::new();
    for recovery in facts.recoveries() {
        // A part of a database need not answer what the whole does.
        if !facts.terms.brought(&recovery.component).is_whole() {
            continue;
        }
        let asked = facts
            .terms
            .suite
            .components
            .iter()
            .find(|c| c.name == recovery.component)
            .map_or(0, |c| c.questions());
        if recovery.smoke.len() < asked {
            findings.push(unobserved(
                facts,
                &format!("{}: smoke questions were not asked", recovery.component),
            ));
        }
        for answer in &recovery.smoke {
            observed += 1;
            if !answer.holds {
                findings.push(Finding::error(
                    "smoke-failed",
                    format!("{}: {}", recovery.component, answer.in_words()),
                    "the recovered service is up but its data is not what the application needs",
                ));
            } else if let Some(why) = answer.void {
                findings.push(Finding::warning(
                    "answer-shows-nothing",
                    format!(
                        "{}: the answer to \"{}\" shows nothing of the data: {why}",
                        recovery.component, answer.name
                    ),
                    "ask for what only the data gives, such as the count of a table, and expect at least what it should have",
                ));
            }
        }
    }
    Outcome::of(Check::Smoke, observed, findings)
}

/// Judges every other check the drill owes and asks of each only whether it looked at anything. Where a failure that
/// is known explains why it did not, nothing worse is established; where nothing explains it, a check was skipped.
pub(super) fn executed(facts: &Facts<'_>) -> Outcome {
    let terms: &Terms<'_> = facts.terms;
    let owed: Vec<Check> = terms
        .checks()
        .into_iter()
        .filter(|check| *check != Check::Executed)
        .collect();
    let (ran, idle): (Vec<Check>, Vec<Check>) = owed
        .into_iter()
        .partition(|check| judge(*check, facts.evidence, terms, None).observed > 0);
    let failure = super::first_failure(facts.evidence);
    let mut findings = Vec::new();
    // A drill that failed before anything could be looked at has that to say, and no list of all that follows.
    let follows = ran.is_empty() && failure.is_some();
    if !idle.is_empty() && !follows {
        let names: Vec<&str> = idle.iter().map(|check| check.id()).collect();
        let message = format!(
            "checks that were asked for looked at nothing: {}",
            names.join(", ")
        );
        let remedy =
            "a check that did not run is not a pass: see which step of the drill is missing";
        findings.push(match failure {
            Some(_) => Finding::unknown("check-did-not-run", message, remedy),
            None => Finding::error("check-did-not-run", message, remedy),
        });
    }
    Outcome::of(Check::Executed, ran.len() as u64, findings)
}

pub(super) fn record_bound(facts: &Facts<'_>) -> Outcome {
    let Some(written) = &facts.evidence.written else {
        return Outcome::of(
            Check::RecordBound,
            0,
            vec![unobserved(facts, "the facts were not written")],
        );
    };
    let mut findings = Vec::new();
    let remedy = "never reuse a report: delete the old one and drill again";
    if written.run != facts.evidence.run || written.drill != facts.evidence.drill {
        findings.push(Finding::error(
            "stale-record",
            format!(
                "the facts on disk are of run {} and drill {}, expected {} and {}",
                written.run, written.drill, facts.evidence.run, facts.evidence.drill
            ),
            remedy,
        ));
    }
    let restored: BTreeSet<String> = facts
        .evidence
        .recoveries
        .iter()
        .flat_map(RecoveryFact::artifacts)
        .collect();
    if written.artifacts != restored {
        findings.push(Finding::error(
            "other-artifacts",
            format!(
                "the facts on disk name {:?}, this drill restored {restored:?}",
                written.artifacts
            ),
            remedy,
        ));
    }
    Outcome::of(Check::RecordBound, 1, findings)
}

pub(super) fn teardown(facts: &Facts<'_>) -> Outcome {
    let findings = facts
        .evidence
        .teardown
        .iter()
        .filter_map(|fact| {
            let error = fact.error.as_ref()?;
            Some(Finding::error(
                "left-behind",
                format!("{} could not be removed: {error}", fact.what),
                "run `redrill reap`, then look for what keeps it alive",
            ))
        })
        .collect();
    Outcome::of(
        Check::Teardown,
        facts.evidence.teardown.len() as u64,
        findings,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::trial::{self, judged, lost};
    use crate::evidence::{Evidence, WrittenFact};
    use crate::outcome::Verdict;

    /// What a check says of a drill that restored the artifact `a`, and of what became of it.
    fn kinds(
        check: Check,
        change: impl FnOnce(&mut RecoveryFact, &mut WrittenFact),
    ) -> Vec<&'static str> {
        let mut recovery = RecoveryFact {
            component: "db".to_owned(),
            backup: "b".to_owned(),
            artifact: Some("a".to_owned()),
            target_before: Some(0),
            target_started_here: true,
            ..RecoveryFact::default()
        };
        let mut written = WrittenFact {
            run: "this".to_owned(),
            drill: "s/s".to_owned(),
            artifacts: BTreeSet::from(["a".to_owned()]),
        };
        change(&mut recovery, &mut written);
        let evidence = Evidence {
            run: "this".to_owned(),
            drill: "s/s".to_owned(),
            recoveries: vec![recovery],
            written: Some(written),
            ..Evidence::default()
        };
        let outcome = judged(&lost("pg-dump"), check, &evidence);
        let kinds = outcome.findings.iter().map(|finding| finding.kind);
        kinds.collect()
    }

    #[test]
    fn a_target_is_empty_and_of_this_run_or_the_restore_shows_nothing() {
        let kinds = |change: fn(&mut RecoveryFact)| kinds(Check::TargetEmpty, |it, _| change(it));
        assert_eq!(kinds(|_| {}), [""; 0]);
        assert_eq!(
            kinds(|it| it.target_started_here = false),
            ["foreign-target"]
        );
        assert_eq!(kinds(|it| it.target_before = Some(1)), ["target-not-empty"]);
        assert_eq!(kinds(|it| it.target_before = None), ["not-observed"]);
        // Started again, it has no target.
        let restarted = |it: &mut RecoveryFact| {
            (it.target_before, it.target_started_here) = (None, false);
            it.restart = Some(Ok(()));
        };
        assert_eq!(kinds(restarted), [""; 0]);
    }

    #[test]
    fn facts_on_disk_of_another_run_another_drill_or_other_artifacts_are_not_this_drills() {
        let kinds = |change: fn(&mut WrittenFact)| kinds(Check::RecordBound, |_, it| change(it));
        assert_eq!(kinds(|_| {}), [""; 0]);
        assert_eq!(kinds(|it| it.run = "earlier".to_owned()), ["stale-record"]);
        assert_eq!(kinds(|it| it.drill = "s/t".to_owned()), ["stale-record"]);
        assert_eq!(kinds(|it| it.artifacts.clear()), ["other-artifacts"]);
        let more = |it: &mut WrittenFact| it.artifacts.extend(["b".to_owned()]);
        assert_eq!(kinds(more), ["other-artifacts"]);
    }

    /// What is said of a recovery that went well, and of what this makes of it.
    fn said(scenario: &str, become_of: impl Fn(&mut RecoveryFact)) -> (Verdict, Vec<&'static str>) {
        let suite = format!(
            "[component.db]\nkind = \"postgres\"\n[backup.b]\nschedule = \"@daily\"\n[scenario.s]\n{scenario}\n"
        );
        let mut recovery = RecoveryFact {
            component: "db".to_owned(),
            backup: "b".to_owned(),
            artifact: Some("newest".to_owned()),
            newest: Some("newest".to_owned()),
            provisioned: true,
            restore_ran: true,
            ..RecoveryFact::default()
        };
        become_of(&mut recovery);
        let evidence = Evidence {
            recoveries: vec![recovery],
            ..Evidence::default()
        };
        let outcome = trial::judged(&suite, Check::Restore, &evidence);
        let kinds = outcome.findings.iter().map(|finding| finding.kind);
        (outcome.verdict, kinds.collect())
    }

    #[test]
    fn a_restart_that_was_to_be_tried_first_is_tried_and_one_that_failed_is_told() {
        let killed = "strike = { fault = \"server-killed\" }\nrestart = true";
        let failed = || Some(Err("it does not start".to_owned()));
        assert_eq!(
            said(killed, |_| {}),
            (Verdict::Failed, vec!["restart-not-tried"])
        );
        assert_eq!(
            said(killed, |recovery| recovery.restart = failed()),
            (Verdict::Passed, vec!["restart-failed"])
        );
        let came_back = |recovery: &mut RecoveryFact| {
            recovery.restart = Some(Ok(()));
            (recovery.artifact, recovery.newest) = (None, None);
            recovery.restore_ran = false;
        };
        assert_eq!(said(killed, came_back), (Verdict::Passed, vec![]));
        let lost = "strike = { fault = \"server-lost\" }";
        assert_eq!(said(lost, |_| {}), (Verdict::Passed, vec![]));
    }

    #[test]
    fn what_is_left_is_backed_up_before_it_is_replaced() {
        let replaced = "strike = { fault = \"table-dropped\" }\nmode = \"replace\"";
        assert_eq!(
            said(replaced, |_| {}),
            (Verdict::Failed, vec!["no-emergency-backup"])
        );
        let backed_up = |recovery: &mut RecoveryFact| recovery.emergency = Some("e".to_owned());
        assert_eq!(said(replaced, backed_up), (Verdict::Passed, vec![]));
        let beside = "strike = { fault = \"table-dropped\" }";
        assert_eq!(said(beside, |_| {}), (Verdict::Passed, vec![]));
    }

    #[test]
    fn an_older_artifact_and_a_database_that_was_not_kept_are_red() {
        let beside = "strike = { fault = \"table-dropped\" }";
        let older = |recovery: &mut RecoveryFact| recovery.artifact = Some("older".to_owned());
        assert_eq!(
            said(beside, older),
            (Verdict::Failed, vec!["not-the-newest"])
        );
        let gone = |recovery: &mut RecoveryFact| recovery.kept_aside = Some(false);
        assert_eq!(said(beside, gone), (Verdict::Failed, vec!["old-data-gone"]));
    }
}
