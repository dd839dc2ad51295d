use std::time::Duration;

use chrono::DateTime;

use super::*;
use crate::check::judge;
use crate::check::trial::{lost, unfolded};
use crate::evidence::{Evidence, Observation, Part, RecoveryFact, ReplayFact};
use crate::outcome::Verdict;
use crate::plan::{Drill, DrillKind};

fn held(bytes: u64, rows: &[(&str, u64)]) -> Held {
    Held {
        bytes,
        objects: rows.len() as u64,
        rows: rows
            .iter()
            .map(|(name, rows)| ((*name).to_owned(), *rows))
            .collect(),
    }
}

fn kinds(before: &Held, now: &Held) -> Vec<&'static str> {
    let findings = fewer(before, now, "before", Drop::default());
    findings.iter().map(|finding| finding.kind).collect()
}

#[test]
fn less_than_before_is_a_finding_beyond_what_is_allowed_and_more_is_none() {
    let before = held(1000, &[("a", 100), ("b", 10)]);
    assert!(kinds(&before, &before).is_empty());
    assert!(kinds(&before, &held(2000, &[("a", 200), ("b", 10), ("c", 1)])).is_empty());
    assert!(kinds(&before, &held(800, &[("a", 90), ("b", 9)])).is_empty());
    assert_eq!(
        kinds(&before, &held(1000, &[("a", 89), ("b", 10)])),
        ["rows-dropped"]
    );
    assert_eq!(
        kinds(&before, &held(799, &[("a", 100), ("b", 10)])),
        ["size-dropped"]
    );
    let gone = held(1000, &[("a", 100)]);
    assert_eq!(kinds(&before, &gone), ["rows-dropped", "objects-dropped"]);
    let counted = held(0, &[("a", 100), ("b", 10)]);
    assert!(kinds(&counted, &held(0, &[("a", 100), ("b", 10)])).is_empty());
}

/// What a check says of a given base backup.
fn judged(check: Check, given: GivenFact, recovery: RecoveryFact) -> (Verdict, Vec<&'static str>) {
    let (suite, plan) = unfolded(&lost("pg-basebackup"));
    let drill = Drill {
        kind: DrillKind::Verify {
            scenario: "s".to_owned(),
            asked: Asked {
                max_age: Some(Duration::from_secs(26 * 3600)),
                drop: Drop::default(),
                baseline: given.baseline.is_some(),
                live: false,
            },
        },
        ..plan.drills[0].clone()
    };
    let terms = Terms {
        suite: &suite,
        drill: &drill,
    };
    let evidence = Evidence {
        given: Some(given),
        recoveries: vec![RecoveryFact {
            component: "db".to_owned(),
            backup: "b".to_owned(),
            ..recovery
        }],
        ..Evidence::default()
    };
    let outcome = judge(check, &evidence, &terms, None);
    let findings = outcome.findings.iter().map(|it| it.kind).collect();
    (outcome.verdict, findings)
}

#[test]
fn a_base_backup_is_as_old_as_the_last_commit_that_its_wal_brings() {
    let at = |hours| DateTime::UNIX_EPOCH + TimeDelta::hours(hours);
    let fresh = |last_commit| {
        let given = GivenFact {
            taken_at: Some(at(0)),
            read_at: at(7 * 24),
            ..GivenFact::default()
        };
        let recovery = RecoveryFact {
            replay: Some(ReplayFact {
                last_commit,
                ..ReplayFact::default()
            }),
            ..RecoveryFact::default()
        };
        judged(Check::Fresh, given, recovery)
    };
    // A week after the full backup, with WAL up to an hour ago; with WAL that ends in the second night; with none.
    assert_eq!(fresh(Some(at(7 * 24 - 1))), (Verdict::Passed, vec![]));
    assert_eq!(fresh(Some(at(30))), (Verdict::Failed, vec!["too-old"]));
    assert_eq!(fresh(None), (Verdict::Failed, vec!["too-old"]));
    let tomorrow = fresh(Some(at(8 * 24)));
    assert_eq!(tomorrow, (Verdict::Failed, vec!["from-the-future"]));
}

/// What came back: tables with so many rows.
fn restored(rows: &[u64]) -> RecoveryFact {
    let part = |(number, count): (usize, &u64)| {
        let name = format!("public.t{number}");
        let part = Part {
            count: *count,
            ..Part::default()
        };
        (name.into(), part)
    };
    RecoveryFact {
        restored: Some(Observation {
            parts: rows.iter().enumerate().map(part).collect(),
            ..Observation::default()
        }),
        ..RecoveryFact::default()
    }
}

#[test]
fn a_manifest_proves_data_only_where_some_came_back() {
    let proven = |rows: &[u64]| {
        let given = GivenFact {
            manifest: true,
            ..GivenFact::default()
        };
        judged(Check::Proven, given, restored(rows))
    };
    assert_eq!(proven(&[0, 3]), (Verdict::Passed, vec![]));
    for rows in [&[][..], &[0, 0]] {
        let nothing = (Verdict::Undetermined, vec!["nothing-proven"]);
        assert_eq!(proven(rows), nothing, "{rows:?}");
    }
}

#[test]
fn a_baseline_proves_data_only_where_it_had_some() {
    let proven = |before: u64| {
        let baseline = Baseline {
            held: held(0, &[("public.t0", before)]),
            ..Baseline::default()
        };
        let given = GivenFact {
            baseline: Some(Ok(baseline)),
            ..GivenFact::default()
        };
        judged(Check::Proven, given, restored(&[3]))
    };
    assert_eq!(proven(3), (Verdict::Passed, vec![]));
    let nothing = (Verdict::Undetermined, vec!["nothing-proven"]);
    assert_eq!(proven(0), nothing);
}

#[test]
fn a_cluster_holds_the_same_whichever_of_its_databases_is_looked_at() {
    let fact = |database: &str, other: &str, counted: &[(&str, u64)], bytes| {
        let rows = counted.iter();
        let rows = rows.map(|(part, rows)| (ClusterFact::name(other, part), *rows));
        GivenFact {
            cluster: Some(ClusterFact {
                database: database.to_owned(),
                rows: rows.collect(),
                bytes,
                uncounted: Vec::new(),
            }),
            ..GivenFact::default()
        }
    };
    let seen = |parts: &[(&str, u64)], bytes| Observation {
        parts: parts
            .iter()
            .map(|(name, count)| {
                let part = Part {
                    count: *count,
                    ..Part::default()
                };
                ((*name).to_owned().into(), part)
            })
            .collect(),
        bytes,
        ..Observation::default()
    };
    let (shop, crm) = (
        [("public.orders", 100), ("large objects", 3)],
        [("public.clients", 7)],
    );
    let of_shop = fact("shop", "crm", &crm, 20).held(&seen(&shop, 50), Engine::Postgres);
    let of_crm = fact("crm", "shop", &shop, 50).held(&seen(&crm, 20), Engine::Postgres);
    assert_eq!(of_shop, of_crm);
    assert_eq!((of_shop.bytes, of_shop.objects), (70, 3));
    assert_eq!(of_shop.rows["shop.large objects"], 3);
}

#[test]
fn a_database_that_could_not_be_counted_is_unknown_and_not_gone() {
    let given = |cluster| GivenFact {
        baseline: Some(Ok(Baseline {
            held: held(0, &[("shop.public.t0", 5), ("crm.public.clients", 7)]),
            most: held(0, &[("shop.public.t0", 5), ("crm.public.clients", 7)]),
            ..Baseline::default()
        })),
        cluster: Some(cluster),
        ..GivenFact::default()
    };
    let beside = |rows: &[(&str, u64)], uncounted: &[&str]| ClusterFact {
        database: "shop".to_owned(),
        rows: rows
            .iter()
            .map(|(name, n)| ((*name).to_owned(), *n))
            .collect(),
        uncounted: uncounted
            .iter()
            .map(|it| ((*it).to_owned(), "it took too long".to_owned()))
            .collect(),
        ..ClusterFact::default()
    };
    let said = |cluster| judged(Check::Baseline, given(cluster), restored(&[5]));
    let counted = beside(&[("crm.public.clients", 7)], &[]);
    assert_eq!(said(counted), (Verdict::Passed, vec![]));
    let uncounted = beside(&[], &["crm"]);
    assert_eq!(
        said(uncounted),
        (Verdict::Undetermined, vec!["not-compared"])
    );
    let gone = beside(&[], &[]);
    assert_eq!(
        said(gone),
        (Verdict::Failed, vec!["rows-dropped", "objects-dropped"])
    );
}
