//! Whole runs of the made-up drills.

use std::time::Duration;

use super::*;
use crate::origin::Origin;
use crate::record::{Record, Start};

fn start(command: &str, suites: &[Suite], drills: &[Drill]) -> Record {
    Record::new(&Start {
        run: &RunId::from_text("20250112-150000-0badcafe"),
        at: instant("2025-01-12T15:00:00Z"),
        mode: "local",
        reason: "no container engine answers; initdb and redis-server found in /usr",
        command: command.to_owned(),
        suites,
        drills,
        origin: &Origin::sample(),
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
