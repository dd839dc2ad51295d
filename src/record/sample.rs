//! Runs made up for tests: each is built from results, as a drill fills them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

mod runs;

pub use runs::{green, interrupted, missed, red, running, undetermined};

use crate::context::{Phase, RunId, Step};
use crate::evidence::{
    Evidence, FailureFact, LedgerEntry, RecoveryFact, RetentionFact, ServiceFact, StrikeFact,
};
use crate::outcome::{
    DrillResult, Finding, Outcome, RpoFigure, RtoFigure, ThroughputFigure, Verdict,
};
use crate::plan::{Drill, DrillKind, Timeline};
use crate::record::format::RpoSpread;
use crate::suite::{Catch, Check, Fault, Policy, Scenario, Strike, StrikeTime, Suite, Test, Trend};

pub const SEED: u64 = 20_250_112;

pub fn instant(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text)
        .expect("an instant")
        .to_utc()
}

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

/// Names, checks and places of the ten tests.
const TESTS: [(&str, Check, &str); 10] = [
    (
        "test_postgres_backup_creates_dump_file",
        Check::Artifact,
        "database-corruption",
    ),
    (
        "test_postgres_backup_size_within_expected_range",
        Check::Size,
        "database-corruption",
    ),
    (
        "test_redis_rdb_snapshot_generated",
        Check::Fresh,
        "redis-failure",
    ),
    ("test_media_files_sync_to_s3", Check::Mirror, "media-loss"),
    (
        "test_backup_retention_policy_enforced",
        Check::Retention,
        "retention",
    ),
    (
        "test_restore_postgres_from_latest_backup",
        Check::Restore,
        "database-corruption",
    ),
    (
        "test_restored_db_passes_smoke_checks",
        Check::Smoke,
        "database-corruption",
    ),
    (
        "test_rpo_within_target_1_hour",
        Check::Rpo,
        "database-corruption",
    ),
    (
        "test_rto_within_target_15_minutes",
        Check::Rto,
        "database-corruption",
    ),
    (
        "test_backup_encryption_enabled",
        Check::Encryption,
        "database-corruption",
    ),
];

fn tests(drill: &str) -> Vec<Test> {
    let own = TESTS.iter().filter(|(_, _, place)| *place == drill);
    own.map(|(name, check, place)| Test {
        name: (*name).to_owned(),
        check: *check,
        drill: (*place).to_owned(),
        backup: None,
    })
    .collect()
}

pub fn deltacrown() -> Suite {
    Suite {
        name: "deltacrown".into(),
        path: PathBuf::from("suites/deltacrown.toml"),
        sha256: "5e".repeat(32),
        title: "DeltaCrown".into(),
        description: String::new(),
        components: vec![],
        repositories: vec![],
        backups: vec![],
        scenarios: vec![Scenario {
            name: "region-outage".into(),
            title: "Region outage".into(),
            pending: Some("needs a second region".into()),
            rpo: BTreeMap::from([("db".to_owned(), minutes(1440))]),
            rto: Some(minutes(120)),
            ..Scenario::default()
        }],
        retention: Vec::new(),
        tests: TESTS
            .iter()
            .flat_map(|(name, _, place)| {
                let mut own = tests(place);
                own.retain(|test| test.name == *name);
                own
            })
            .collect(),
        detections: vec![],
        every_check: false,
        gate: Policy::default(),
        due: None,
        trend: Trend::none(),
        release: None,
    }
}

pub fn detection_suite() -> Suite {
    Suite {
        name: "detection".into(),
        path: PathBuf::from("suites/detection.toml"),
        sha256: "de".repeat(32),
        title: "Detection".into(),
        scenarios: vec![],
        tests: vec![],
        ..deltacrown()
    }
}

pub fn drill(suite: &str, name: &str, title: &str, kind: DrillKind) -> Drill {
    Drill {
        id: format!("{suite}/{name}"),
        title: title.to_owned(),
        suite: suite.to_owned(),
        kind,
        components: vec![],
        seed: SEED,
        scale: 1.0,
        timeline: Timeline::default(),
        tests: match suite {
            "deltacrown" => tests(name),
            _ => vec![],
        },
    }
}

pub fn scenario(name: &str, title: &str, backup: &str, offset: u64) -> Drill {
    drill(
        "deltacrown",
        name,
        title,
        DrillKind::Scenario {
            scenario: name.to_owned(),
            at: StrikeTime::After {
                backup: backup.to_owned(),
                offset: minutes(offset),
            },
        },
    )
}

fn worst(name: &str, title: &str) -> Drill {
    let kind = DrillKind::Scenario {
        scenario: name.to_owned(),
        at: StrikeTime::Worst,
    };
    drill("deltacrown", &format!("{name}@worst"), title, kind)
}

pub fn planted(fault: Fault, by: Check) -> Drill {
    let kind = DrillKind::Detection {
        scenario: "database-corruption".into(),
        fault: Some(fault),
        caught_by: Some(Catch {
            check: by,
            findings: vec!["row-count-differs".to_owned()],
            says: None,
            also: Vec::new(),
        }),
    };
    drill("detection", fault.id(), fault.meaning(), kind)
}

fn twin() -> Drill {
    let kind = DrillKind::Detection {
        scenario: "database-corruption".into(),
        fault: None,
        caught_by: None,
    };
    drill("detection", "healthy-twin", "database corruption", kind)
}

pub fn deltacrown_drills() -> Vec<Drill> {
    vec![
        scenario("database-corruption", "Database corruption", "postgres", 58),
        worst("database-corruption", "Database corruption"),
        scenario("server-failure", "Complete server failure", "postgres", 58),
        scenario("redis-failure", "Redis cache failure", "redis", 9),
        scenario(
            "media-loss",
            "Media file loss (bucket | deleted)",
            "media",
            1320,
        ),
        drill(
            "deltacrown",
            "retention",
            "Retention over 8 days",
            DrillKind::Retention {
                rehearsal: "retention".to_owned(),
            },
        ),
    ]
}

/// One acknowledged write a minute.
fn ledger(component: &str, writes: u64) -> impl Iterator<Item = LedgerEntry> + '_ {
    (1..=writes).map(move |number| LedgerEntry {
        component: component.to_owned(),
        number,
        at: instant("2025-01-12T12:00:00Z") + TimeDelta::minutes(number as i64),
        coordinate: format!("0/{number:X}"),
    })
}

fn step(phase: Phase, component: &str, command: &str, exit: Option<i32>, seconds: f64) -> Step {
    let log = exit.map(|_| format!("{}.log", phase.name()));
    Step {
        phase,
        component: component.to_owned(),
        command: command.to_owned(),
        exit,
        seconds,
        log: log.unwrap_or_default().into(),
    }
}

/// A backup a day, of which the pruner left the last week.
fn eight_days(backup: &str) -> RetentionFact {
    let at = |day: i64| instant("2025-01-12T02:00:00Z") + TimeDelta::days(day);
    let id = |day: i64| format!("{backup}-{}", at(day).format("%Y%m%dT%H%M%SZ"));
    RetentionFact {
        backup: backup.to_owned(),
        repository: "offsite".to_owned(),
        now: Some(at(8)),
        taken: (0..8).map(|day| (id(day), at(day), day != 3)).collect(),
        remaining: (1..8).filter(|day| *day != 3).map(id).collect(),
        ..RetentionFact::default()
    }
}

/// A drill whose tests, and content beside them, all hold.
pub fn good(drill: &Drill) -> DrillResult {
    let (component, product, version, backup, strike, window) = match drill.id.as_str() {
        "deltacrown/redis-failure" => (
            "cache",
            "Redis",
            "7.0.15",
            "redis",
            Strike::ServerLost,
            minutes(9),
        ),
        "deltacrown/media-loss" => (
            "media",
            "S3",
            "embedded",
            "media",
            Strike::BucketDeleted,
            minutes(1320),
        ),
        _ => (
            "db",
            "PostgreSQL",
            "15.18",
            "postgres",
            Strike::CorruptHeapPage,
            minutes(58),
        ),
    };
    let mut outcomes: Vec<(Outcome, Option<String>)> = drill
        .tests
        .iter()
        .enumerate()
        .map(|(at, test)| {
            let mut outcome = Outcome::of(test.check, 10, vec![]);
            outcome.seconds = 0.25 * (at + 1) as f64;
            (outcome, Some(test.name.clone()))
        })
        .collect();
    outcomes.push((Outcome::of(Check::Content, 34, vec![]), None));
    let retention = matches!(drill.kind, DrillKind::Retention { .. });
    let artifact = format!("{backup}-20250112T140000Z");
    let mut evidence = Evidence {
        run: "20250112-150000-0badcafe".into(),
        services: vec![ServiceFact {
            name: component.into(),
            product: product.into(),
            version: version.into(),
            mode: if product == "S3" { "embedded" } else { "local" }.into(),
        }],
        ..Evidence::default()
    };
    if retention {
        evidence.retention = vec![eight_days(backup)];
    }
    if !retention {
        evidence.ledger = ledger(component, 178).collect();
        evidence.strike = Some(StrikeFact {
            at: instant("2025-01-12T14:58:00Z"),
            struck: vec![(
                component.into(),
                strike,
                match strike {
                    Strike::CorruptHeapPage => {
                        "ERROR: invalid page in block 7 of relation base/16384/16402".into()
                    }
                    _ => String::new(),
                },
            )],
            ..StrikeFact::default()
        });
        evidence.recoveries = vec![RecoveryFact {
            component: component.into(),
            backup: backup.into(),
            artifact: Some(artifact.clone()),
            seconds: Some(2.312),
            ..RecoveryFact::default()
        }];
        evidence.steps = vec![
            step(
                Phase::Backup,
                component,
                "pg_dump --format=custom --compress=9 deltacrown",
                Some(0),
                1.9,
            ),
            step(
                Phase::Fetch,
                component,
                &format!("fetch and decrypt {artifact}"),
                None,
                0.2,
            ),
            step(
                Phase::Restore,
                component,
                "pg_restore --dbname=deltacrown_new --jobs=4 --no-owner --no-acl --exit-on-error restore.dump",
                Some(0),
                1.8,
            ),
            step(
                Phase::Swap,
                component,
                "psql --command='ALTER DATABASE deltacrown RENAME TO deltacrown_lost;\nALTER DATABASE deltacrown_new RENAME TO deltacrown;'",
                Some(0),
                0.112,
            ),
        ];
    }
    let production = 12_300_000_000;
    DrillResult {
        drill: drill.clone(),
        evidence,
        outcomes,
        verdict: Verdict::Passed,
        rpo: match retention {
            true => vec![],
            false => vec![RpoFigure {
                component: component.into(),
                lost_writes: window.as_secs() / 60 % 178,
                window,
                objective: Some(match component {
                    "cache" => minutes(15),
                    "media" => minutes(1440),
                    _ => minutes(60),
                }),
                typical: None,
            }],
        },
        rto: (!retention).then(|| RtoFigure {
            total: Duration::from_millis(2312),
            phases: vec![
                (Phase::Fetch, Duration::from_millis(200)),
                (Phase::Restore, Duration::from_millis(1800)),
                (Phase::Verify, Duration::from_millis(200)),
                (Phase::Swap, Duration::from_millis(112)),
            ],
            objective: Some(minutes(15)),
            projected: Some((production, Duration::from_secs(372))),
        }),
        throughput: match retention {
            true => vec![],
            false => vec![ThroughputFigure {
                component: component.into(),
                gb_per_min: 2.041_666_666,
                source_bytes: 61_250_000,
                artifact_bytes: 14_700_000,
                projected: Some((production, Duration::from_secs(372))),
            }],
        },
        seconds: 7.5,
        teardown: vec![(format!("{product} {component}"), Ok(()))],
    }
}

/// Every component lost at once.
fn everything(drill: &Drill) -> DrillResult {
    let mut result = good(drill);
    for (component, window, objective) in [("cache", 13, 15), ("media", 778, 1440)] {
        result.rpo.push(RpoFigure {
            component: component.into(),
            lost_writes: window,
            window: minutes(window),
            objective: Some(minutes(objective)),
            typical: None,
        });
        result.evidence.ledger.extend(ledger(component, 1500));
        let recovery = RecoveryFact {
            component: component.into(),
            backup: component.into(),
            artifact: Some(format!("{component}-20250112T140000Z")),
            seconds: Some(1.04),
            ..RecoveryFact::default()
        };
        result.evidence.recoveries.push(recovery);
    }
    result
}

fn good_at_worst(drill: &Drill) -> DrillResult {
    let mut result = good(drill);
    result.rpo[0].window = Duration::from_secs(3602);
    result.rpo[0].lost_writes = 60;
    result.outcomes.push((
        Outcome::of(
            Check::Rpo,
            178,
            vec![Finding::warning(
                "schedule-cannot-keep-objective",
                "backup `postgres` runs every 1 h and takes 2 s at production size: up to 1 h 2 s can be lost, and `db` allows 1 h",
                "back up every 30 minutes, or archive the WAL",
            )],
        ),
        None,
    ));
    result
}

pub fn twin_result() -> DrillResult {
    good(&twin())
}

/// A planted fault, with the checks that failed because of it.
pub fn caught(fault: Fault, named: Check, failed: &[Check]) -> DrillResult {
    let mut result = good(&planted(fault, named));
    let planted = || {
        let what = "1,000 rows instead of 1,001";
        vec![Finding::error(
            "row-count-differs",
            what,
            "none: it was planted",
        )]
    };
    result.outcomes = [named]
        .iter()
        .chain(failed.iter().filter(|check| **check != named))
        .map(|check| {
            let findings = failed.contains(check).then(planted).unwrap_or_default();
            (Outcome::of(*check, 34, findings), None)
        })
        .collect();
    if !failed.contains(&named) {
        result.verdict = Verdict::Failed;
    }
    result
}

/// What five drills of one scenario lost, with so many seconds in the median.
pub fn spread(median_seconds: f64) -> RpoSpread {
    RpoSpread {
        suite: "deltacrown".to_owned(),
        scenario: "database-corruption".to_owned(),
        component: "db".to_owned(),
        drills: 5,
        unmeasured: 0,
        most_seconds: 3480.0,
        objective_seconds: Some(3600.0),
        median_seconds,
        typical_objective_seconds: Some(1800.0),
    }
}
