//! What a record shows of the controls that auditors ask about: a table for the report, not a certificate.
//!
//! Only what the record holds is counted; a control of which it shows nothing says so.

use crate::record::{DrillRecord, Record, Verdict};

use super::view::{self, Standing};

/// A control, and what the record shows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// Its name in its standard.
    pub id: &'static str,
    /// What it asks, in short.
    pub asks: &'static str,
    /// What the record shows.
    pub shown: String,
    /// How that stands.
    pub standing: Standing,
}

/// The controls of the map.
pub fn controls(record: &Record) -> Vec<Control> {
    let checks = |ids: &'static [&'static str], word: &str| counted(record, ids, word);
    let scenarios: Vec<&DrillRecord> = record
        .drills
        .iter()
        .filter(|drill| view::is_scenario(drill))
        .collect();
    let passed = scenarios.iter().filter(|it| it.verdict == Verdict::Passed);
    let recovered = share(passed.count(), scenarios.len(), "recovery drills");
    let timed = scenarios
        .iter()
        .filter(|it| it.rpo.is_some() && it.rto.is_some());
    let measured = share(timed.count(), scenarios.len(), "recovery drills");
    let control = |id, asks, (shown, standing): (String, Standing)| Control {
        id,
        asks,
        shown,
        standing,
    };
    vec![
        control(
            "ISO/IEC 27001:2022 A.8.13",
            "backups are kept by a policy and regularly tested",
            checks(
                &[
                    "artifact",
                    "readable",
                    "fresh",
                    "retention",
                    "restore",
                    "content",
                ],
                "checks of backups, retention and restores",
            ),
        ),
        control(
            "SOC 2 A1.2",
            "data are backed up and protected, and can be recovered",
            checks(
                &["artifact", "readable", "encryption", "secrets", "restore"],
                "checks of backups, their protection and restores",
            ),
        ),
        control(
            "SOC 2 A1.3",
            "recovery procedures are tested",
            recovered.clone(),
        ),
        control(
            "DORA art. 12 (1, 2)",
            "backup and restore procedures are there and tested periodically",
            recovered,
        ),
        control(
            "DORA art. 12 (6)",
            "recovery time and recovery point objectives are set and met",
            both(
                measured,
                checks(&["rpo", "rto"], "checks of an objective"),
                "measured both",
            ),
        ),
        control(
            "DORA art. 12 (7)",
            "the integrity of recovered data is checked",
            checks(
                &["content", "catalogue", "integrity", "sequences", "smoke"],
                "checks of recovered data",
            ),
        ),
    ]
}

/// How many of the checks with these ids passed.
fn counted(record: &Record, ids: &[&str], word: &str) -> (String, Standing) {
    let drills = record.drills.iter().filter(|it| !view::is_detection(it));
    let own: Vec<Verdict> = drills
        .flat_map(|drill| &drill.checks)
        .filter(|check| ids.contains(&check.id.as_str()))
        .map(|check| check.verdict)
        .collect();
    let passed = own.iter().filter(|it| **it == Verdict::Passed).count();
    share(passed, own.len(), word)
}

fn share(passed: usize, of: usize, word: &str) -> (String, Standing) {
    let standing = match of {
        0 => Standing::Unknown,
        of if of == passed => Standing::Good,
        _ => Standing::Bad,
    };
    let shown = match of {
        0 => "nothing is shown by this record".to_owned(),
        _ => format!("{passed} of {of} {word} passed"),
    };
    (shown, standing)
}

/// Two statements in one; the worse stands.
fn both(first: (String, Standing), second: (String, Standing), word: &str) -> (String, Standing) {
    if first.1 == Standing::Unknown {
        return first;
    }
    let standing = match (first.1, second.1) {
        (Standing::Good, other) => other,
        (worse, _) => worse,
    };
    let said = first.0.replace("passed", word);
    (format!("{said}; {}", second.0), standing)
}
