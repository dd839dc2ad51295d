//! Two runs side by side: what got worse, what got better, what is gone.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Entry, Metric};
use crate::record::{DrillKind, LineKind, Record, Verdict};

/// A change smaller than this is none, in percent.
const NOTEWORTHY: f64 = 5.0;

/// What differs between two runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The changes, what got worse first.
    pub changes: Vec<Change>,
}

impl Comparison {
    /// Whether anything got worse.
    pub fn got_worse(&self) -> bool {
        self.changes.iter().any(|change| change.worse == Some(true))
    }
}

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// The drill.
    pub drill: String,
    /// The figure, test or check.
    pub what: String,
    /// What it was.
    pub before: String,
    /// What it is.
    pub after: String,
    /// Whether that is worse; none where it is neither.
    pub worse: Option<bool>,
}

/// What differs between an earlier run and a later one.
pub fn compare(earlier: &Record, later: &Record) -> Comparison {
    let mut changes = verdicts(earlier, later);
    changes.extend(figures(earlier, later));
    changes.sort_by_key(|change| match change.worse {
        Some(true) => 0,
        None => 1,
        Some(false) => 2,
    });
    Comparison { changes }
}

type Judged = BTreeMap<(String, String), Option<Verdict>>;

fn judged(record: &Record) -> Judged {
    let mut all = Judged::new();
    for drill in &record.drills {
        for check in &drill.checks {
            let name = check.test.clone().unwrap_or_else(|| check.id.clone());
            let known = all.entry((drill.id.clone(), name)).or_default();
            *known = (*known).max(Some(check.verdict));
        }
        all.insert(
            (drill.id.clone(), "the whole drill".to_owned()),
            Some(drill.verdict),
        );
    }
    for line in record.lines() {
        if line.verdict.is_none() && line.kind != LineKind::Fault {
            all.insert((line.drill.to_owned(), line.name.to_owned()), None);
        }
    }
    all
}

fn verdicts(earlier: &Record, later: &Record) -> Vec<Change> {
    let (before, after) = (judged(earlier), judged(later));
    let say = |verdict: Option<&Option<Verdict>>| match verdict {
        Some(Some(Verdict::Passed)) => "passed",
        Some(Some(Verdict::Undetermined)) => "undetermined",
        Some(Some(Verdict::Failed)) => "failed",
        Some(None) => "not run",
        None => "not there",
    };
    // What was judged and is not any more is worse than undetermined, and better than nothing known against it.
    let rank = |verdict: Option<&Option<Verdict>>| match verdict {
        Some(Some(Verdict::Passed)) => 0,
        Some(Some(Verdict::Undetermined)) => 1,
        Some(None) | None => 2,
        Some(Some(Verdict::Failed)) => 3,
    };
    let mut keys: Vec<_> = before.keys().chain(after.keys()).collect();
    keys.sort();
    keys.dedup();
    keys.into_iter()
        .filter(|key| before.get(*key) != after.get(*key))
        .map(|key| {
            let (was, is) = (before.get(key), after.get(key));
            Change {
                drill: key.0.clone(),
                what: key.1.clone(),
                before: say(was).to_owned(),
                after: say(is).to_owned(),
                worse: match rank(is).cmp(&rank(was)) {
                    std::cmp::Ordering::Greater => Some(true),
                    std::cmp::Ordering::Less => Some(false),
                    std::cmp::Ordering::Equal => None,
                },
            }
        })
        .collect()
}

fn figures(earlier: &Record, later: &Record) -> Vec<Change> {
    let is_compared =
        |entry: &Entry| matches!(entry.kind, DrillKind::Scenario | DrillKind::WorstMoment);
    let before = Entry::of_run(earlier, "");
    let mut changes = Vec::new();
    for entry in Entry::of_run(later, "").into_iter().filter(is_compared) {
        let Some(old) = before.iter().find(|old| old.drill == entry.drill) else {
            continue;
        };
        for metric in Metric::ALL {
            let Some((was, is)) = metric.of(old).zip(metric.of(&entry)) else {
                continue;
            };
            let difference = (is - was).abs();
            if metric.is_noise(difference) || difference <= was.abs() * NOTEWORTHY / 100.0 {
                continue;
            }
            changes.push(Change {
                drill: entry.drill.clone(),
                what: metric.name().to_owned(),
                before: metric.say(was),
                after: metric.say(is),
                worse: metric.more_is_worse().map(|more| more == (is > was)),
            });
        }
    }
    changes
}
