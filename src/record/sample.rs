//! Runs made up for tests: each is built from results, as a drill fills them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Record, Start};
use crate::context::{Phase, RunId, Step};
use crate::evidence::{Evidence, FailureFact, LedgerEntry, RecoveryFact, ServiceFact, StrikeFact};
use crate::outcome::{
    DrillResult, Finding, Outcome, RpoFigure, RtoFigure, ThroughputFigure, Verdict,
};
use crate::plan::{Drill, DrillKind, Timeline};
use crate::suite::{Check, Fault, RestoreOptions, Scenario, Strike, StrikeTime, Suite, Test};

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
            strikes: vec![],
            at: vec![],
            recover: vec![],
            restore: RestoreOptions {
                jobs: 1,
                ..RestoreOptions::default()
            },
            rpo: BTreeMap::from([("db".to_owned(), minutes(1440))]),
            rto: Some(minutes(120)),
        }],
        retention: None,
        tests: TESTS
            .iter()
            .flat_map(|(name, _, place)| {
                let mut own = tests(place);
                own.retain(|test| test.name == *name);
                own
            })
            .collect(),
        detections: vec![],
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
        caught_by: Some(by),
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
            DrillKind::Retention,
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
    let log = match exit {
        Some(_) => PathBuf::from(format!("{}.log", phase.name())),
        None => PathBuf::new(),
    };
    Step {
        phase,
        component: component.to_owned(),
        command: command.to_owned(),
        exit,
        seconds,
        log,
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
    let retention = drill.kind == DrillKind::Retention;
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
    result.outcomes = [named]
        .iter()
        .chain(failed.iter().filter(|check| **check != named))
        .map(|check| {
            let findings = match failed.contains(check) {
                true => vec![Finding::error(
                    "row-count-differs",
                    "1,000 rows instead of 1,001",
                    "none: it was planted",
                )],
                false => vec![],
            };
            (Outcome::of(*check, 34, findings), None)
        })
        .collect();
    if !failed.contains(&named) {
        result.verdict = Verdict::Failed;
    }
    result
}

fn start(command: &str, suites: &[Suite], drills: &[Drill]) -> Record {
    Record::new(&Start {
        run: &RunId::from_text("20250112-150000-0badcafe"),
        at: instant("2025-01-12T15:00:00Z"),
        mode: "local",
        reason: "no container engine answers; initdb and redis-server found in /usr",
        command: command.to_owned(),
        suites,
        drills,
    })
}

fn finish(mut record: Record, interrupted: bool) -> Record {
    record.end(instant("2025-01-12T15:00:48.25Z"), interrupted);
    record.redrill_version = "0.1.0".to_owned();
    record
}

const AGAIN: &str = "redrill drill deltacrown --services local --seed 20250112";

pub fn running() -> Record {
    start(AGAIN, &[deltacrown()], &deltacrown_drills())
}

/// Ten of ten, with a schedule that cannot keep its objective.
pub fn green() -> Record {
    let mut record = running();
    for drill in deltacrown_drills() {
        record.push(&if drill.id.ends_with("@worst") {
            good_at_worst(&drill)
        } else if drill.id.ends_with("server-failure") {
            everything(&drill)
        } else {
            good(&drill)
        });
    }
    finish(record, false)
}

/// A row changed, a step that failed, an objective missed and something left behind.
pub fn red() -> Record {
    let mut record = running();
    for drill in deltacrown_drills() {
        let mut result = good(&drill);
        if drill.id == "deltacrown/database-corruption" {
            result.verdict = Verdict::Failed;
            let changed = Finding::error(
                "content-differs",
                "table `public.teams|odd` has the fingerprint 1f2e instead of 77aa over 1,200 rows\nand `sports.\"matches\"` 990 rows instead of 1,000",
                "compare the newest artifact with the source; see `redrill explain content`",
            );
            result.outcomes.pop();
            result
                .outcomes
                .push((Outcome::of(Check::Content, 34, vec![changed]), None));
            if let Some(it) = result
                .outcomes
                .iter_mut()
                .find(|(it, _)| it.check == Check::Rto)
            {
                let slow = Finding::error(
                    "rto-missed",
                    "projected to 12.3 GB the recovery takes 21 m 40 s, and 15 m is allowed",
                    "restore with more jobs, or restore physically",
                );
                it.0.findings = vec![slow];
                it.0.verdict = Verdict::Failed;
            }
            if let Some(rto) = &mut result.rto {
                rto.projected = Some((12_300_000_000, Duration::from_secs(1300)));
            }
            result.evidence.steps[2].exit = Some(1);
            result.teardown[0].1 = Err("the process does not end".into());
        }
        record.push(&result);
    }
    finish(record, false)
}

/// Three faults caught, one missed altogether, one noticed only by the wrong check.
pub fn missed() -> Record {
    let results = [
        twin_result(),
        caught(
            Fault::A1,
            Check::Readable,
            &[Check::Content, Check::Readable],
        ),
        caught(Fault::D8, Check::Expiry, &[Check::Expiry]),
        caught(Fault::A9, Check::Sequences, &[]),
        caught(Fault::A13, Check::TargetEmpty, &[Check::Content]),
    ];
    let drills: Vec<Drill> = results.iter().map(|it| it.drill.clone()).collect();
    let command = "redrill drill detection --services local --seed 20250112";
    let mut record = start(command, &[detection_suite()], &drills);
    for result in &results {
        record.push(result);
    }
    finish(record, false)
}

/// A server that could not be had: nothing is known of the cache.
pub fn undetermined() -> Record {
    let mut record = running();
    for drill in deltacrown_drills() {
        let mut result = good(&drill);
        if drill.id == "deltacrown/redis-failure" {
            result.verdict = Verdict::Undetermined;
            result.outcomes.clear();
            result.evidence = Evidence {
                failures: vec![FailureFact {
                    phase: Phase::Prepare,
                    message:
                        "start redis: redis-server: not found\n  hint: apt-get install redis-server"
                            .into(),
                    unavailable: true,
                }],
                ..Evidence::default()
            };
            result.rpo.clear();
            result.rto = None;
            result.throughput.clear();
            result.teardown.clear();
        }
        record.push(&result);
    }
    finish(record, false)
}

/// Ctrl-C after the first drill.
pub fn interrupted() -> Record {
    let mut record = running();
    record.push(&good(&deltacrown_drills()[0]));
    finish(record, true)
}
