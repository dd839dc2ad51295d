//! Can what came back do harm? A recovered copy that archives over its source, follows it or does its jobs a second time.

use super::{Facts, unobserved};
use crate::evidence::RecoveryFact;
use crate::outcome::{Finding, Outcome};
use crate::suite::{Check, Engine};

pub(super) fn ties(facts: &Facts<'_>) -> Outcome {
    let mut observed = 0;
    let mut findings = Vec::new();
    for recovery in facts.recoveries() {
        let component = &recovery.component;
        if facts.terms.engine_of(component) != Some(Engine::Postgres) {
            continue;
        }
        if recovery.is_restarted() {
            // It is the source itself, which archives and is followed by right.
            observed += 1;
            continue;
        }
        findings.extend(calls(facts, recovery));
        findings.extend(into_the_archive(recovery));
        let not_asked =
            format!("{component}: the recovered server was not asked what ties it to others");
        let found = match &recovery.ties {
            Some(Ok(found)) => found,
            Some(Err(why)) => {
                findings.push(Finding::unknown(
                    "ties-not-seen",
                    format!("{not_asked}: {why}"),
                    "see the drill's log for the words of what keeps it, then drill again",
                ));
                continue;
            }
            None => {
                findings.push(unobserved(facts, &not_asked));
                continue;
            }
        };
        observed += 1;
        for tie in &found.ties {
            findings.push(Finding::error(
                "still-tied",
                format!("{component}: {tie}"),
                "a recovered copy must not archive over its source, follow it or do its jobs: cut this before it starts",
            ));
        }
        for worker in &found.workers {
            let kind = format!(
                "{component}: a process works in it that is none of PostgreSQL's own: {worker}"
            );
            findings.push(if is_a_scheduler(worker) {
                Finding::error(
                    "runs-jobs",
                    kind,
                    "jobs of the source run in its copy, a second time: leave the library out of shared_preload_libraries before it starts",
                )
            } else {
                Finding::warning(
                    "works-by-itself",
                    kind,
                    "see what it does: if it runs jobs or calls other servers, leave its library out of shared_preload_libraries in a copy",
                )
            });
        }
    }
    Outcome::of(Check::Ties, observed, findings)
}

/// Nobody may be called that the source names as its replication host. Only a copy of its files brings that name along.
fn calls(facts: &Facts<'_>, recovery: &RecoveryFact) -> Option<Finding> {
    let component = &recovery.component;
    match recovery.called.as_ref()? {
        Ok(0) => None,
        Ok(calls) => Some(Finding::error(
            "called-its-source",
            format!(
                "{component}: the recovered server called the replication host of its source, {calls} times"
            ),
            "a recovered copy must not follow its source, nor use up its slots: empty primary_conninfo, and remove standby.signal, before it starts",
        )),
        Err(_) if !facts.is_physical(recovery) => None,
        Err(why) => Some(Finding::unknown(
            "calls-not-seen",
            format!(
                "{component}: nobody listened in the place of its source's replication host, so that it is not known whether the recovered server called it: {why}"
            ),
            "let the servers reach this machine (a firewall between containers and their host is the usual reason), or drill with --services local",
        )),
    }
}

/// Whether a process runs jobs, by what it says that it is.
fn is_a_scheduler(worker: &str) -> bool {
    let worker = worker.to_lowercase();
    ["pg_cron", "pg_partman", "scheduler", "pg_task"]
        .iter()
        .any(|word| worker.contains(word))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::trial::{judged, lost};
    use crate::evidence::{ArchiveWatch, Evidence, InArchive, TiesFact};
    use crate::outcome::Verdict;

    /// What is said of a recovery from a dump, onto a server that was found so.
    fn said(ties: Option<Result<TiesFact, String>>) -> (Verdict, Vec<&'static str>) {
        let evidence = Evidence {
            recoveries: vec![RecoveryFact {
                component: "db".to_owned(),
                backup: "b".to_owned(),
                ties,
                ..RecoveryFact::default()
            }],
            ..Evidence::default()
        };
        let outcome = judged(&lost("pg-dump"), Check::Ties, &evidence);
        let kinds = outcome.findings.iter().map(|finding| finding.kind);
        (outcome.verdict, kinds.collect())
    }

    #[test]
    fn a_copy_that_is_tied_to_nobody_passes_and_one_that_was_not_asked_does_not() {
        let nothing = TiesFact::default();
        assert_eq!(said(Some(Ok(nothing.clone()))), (Verdict::Passed, vec![]));
        assert_eq!(said(None).0, Verdict::Undetermined);
        let gone = said(Some(Err("the connection was lost".to_owned())));
        assert_eq!(gone, (Verdict::Undetermined, vec!["ties-not-seen"]));
        let tied = TiesFact {
            ties: vec!["archive_mode is on".to_owned()],
            ..nothing
        };
        assert_eq!(said(Some(Ok(tied))), (Verdict::Failed, vec!["still-tied"]));
    }

    #[test]
    fn a_copy_of_files_that_nobody_listened_to_is_not_known_to_have_called_nobody() {
        let said = |method, called: Result<u64, &str>| {
            let evidence = Evidence {
                recoveries: vec![RecoveryFact {
                    component: "db".to_owned(),
                    backup: "b".to_owned(),
                    ties: Some(Ok(TiesFact::default())),
                    called: Some(called.map_err(str::to_owned)),
                    ..RecoveryFact::default()
                }],
                ..Evidence::default()
            };
            let outcome = judged(&lost(method), Check::Ties, &evidence);
            let kinds = outcome.findings.iter().map(|finding| finding.kind);
            (outcome.verdict, kinds.collect::<Vec<_>>())
        };
        let unknown = (Verdict::Undetermined, vec!["calls-not-seen"]);
        for physical in ["pg-basebackup", "pgbackrest"] {
            assert_eq!(said(physical, Ok(0)), (Verdict::Passed, vec![]));
            assert_eq!(said(physical, Err("a firewall")), unknown);
            let called = (Verdict::Failed, vec!["called-its-source"]);
            assert_eq!(said(physical, Ok(1)), called);
        }
        // A dump brings no settings of its server along.
        assert_eq!(
            said("pg-dump", Err("a firewall")),
            (Verdict::Passed, vec![])
        );
    }

    #[test]
    fn a_process_that_runs_jobs_is_an_error_and_one_that_nobody_knows_a_warning() {
        let worker = |name: &str| {
            said(Some(Ok(TiesFact {
                workers: vec![name.to_owned()],
                ..TiesFact::default()
            })))
        };
        assert_eq!(
            worker("pg_cron launcher"),
            (Verdict::Failed, vec!["runs-jobs"])
        );
        assert_eq!(
            worker("pg_wait_sampling collector"),
            (Verdict::Passed, vec!["works-by-itself"])
        );
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
}
