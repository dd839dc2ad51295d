//! Figures over time, and the judgement of a run against the runs before it: a recovery that still meets its objective
//! and takes half as long again as it used to is worth stopping for, when the suite says so.
//!
//! Only like is compared with like: the same drill, with as much data, on the same kind of services, passed.

use std::collections::BTreeMap;

use super::{Entry, History};
use crate::record::format::{CheckRecord, Finding, Severity};
use crate::record::{DrillKind, DrillRecord, Record, Verdict};
use crate::report::text;
use crate::suite::{Suite, Trend};

/// The words of a trend, for `redrill explain`.
pub const WORDS: [(&str, &str); 2] = [
    (
        "trend",
        "a figure of this drill is no further from the median of its earlier runs than [trend] in the suite allows",
    ),
    (
        "regression",
        "a figure is further from what it usually was than [trend] allows, whether or not it is within its objective",
    ),
];

/// Fewer earlier runs are no trend.
const LEAST: usize = 3;
/// A difference in time that is smaller than this is noise, in seconds.
const NOISE: f64 = 1.0;

/// A figure that is followed over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// The recovery time.
    Rto,
    /// The recovery time projected to the production size.
    Projected,
    /// The loss window.
    Rpo,
    /// The bytes of the artifacts.
    Size,
    /// The restore throughput.
    Throughput,
}

impl Metric {
    /// Every figure.
    pub const ALL: [Self; 5] = [
        Self::Rto,
        Self::Projected,
        Self::Rpo,
        Self::Size,
        Self::Throughput,
    ];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rto => "RTO",
            Self::Projected => "projected RTO",
            Self::Rpo => "RPO",
            Self::Size => "artifact size",
            Self::Throughput => "throughput",
        }
    }

    /// The figure of an entry.
    pub fn of(self, entry: &Entry) -> Option<f64> {
        match self {
            Self::Rto => entry.rto,
            Self::Projected => entry.projected,
            Self::Rpo => entry.rpo,
            Self::Size => entry.artifact_bytes.map(|bytes| bytes as f64),
            Self::Throughput => entry.gb_per_min,
        }
    }

    /// Its objective in an entry.
    pub fn objective(self, entry: &Entry) -> Option<f64> {
        match self {
            Self::Rto | Self::Projected => entry.rto_objective,
            Self::Rpo => entry.rpo_objective,
            Self::Size | Self::Throughput => None,
        }
    }

    /// Whether more of it is worse; none where it depends.
    pub fn more_is_worse(self) -> Option<bool> {
        match self {
            Self::Rto | Self::Projected | Self::Rpo => Some(true),
            Self::Throughput => Some(false),
            Self::Size => None,
        }
    }

    /// A value of it in words.
    pub fn say(self, value: f64) -> String {
        match self {
            Self::Rto | Self::Projected | Self::Rpo => text::duration(value),
            Self::Size => text::size(value as u64),
            Self::Throughput => text::rate(value),
        }
    }

    /// Whether a difference is no more than chance would make.
    pub(super) fn is_noise(self, difference: f64) -> bool {
        let timed = matches!(self, Self::Rto | Self::Projected | Self::Rpo);
        difference <= if timed { NOISE } else { 0.0 }
    }

    fn limit(self, trend: &Trend) -> Option<f64> {
        match self {
            Self::Rto => trend.rto,
            Self::Rpo => trend.rpo,
            Self::Size => trend.size,
            Self::Throughput => trend.throughput,
            Self::Projected => None,
        }
    }

    /// How far `now` is worse than usual, in percent; none where it is not, or only by noise.
    fn worse_by(self, usual: f64, now: f64) -> Option<f64> {
        let difference = match self.more_is_worse() {
            Some(true) => now - usual,
            Some(false) => usual - now,
            None => (now - usual).abs(),
        };
        (!self.is_noise(difference)).then(|| difference / usual.max(f64::MIN_POSITIVE) * 100.0)
    }
}

/// The entries of every drill, oldest first: what tables and charts are drawn from.
pub fn series(entries: Vec<Entry>) -> BTreeMap<String, Vec<Entry>> {
    let mut series: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
    for entry in entries {
        series.entry(entry.drill.clone()).or_default().push(entry);
    }
    for entries in series.values_mut() {
        entries.sort_by_key(|entry| entry.at);
    }
    series
}

/// Judges the drills of a run against those before it, where their suites ask for it.
pub fn judge(record: &mut Record, history: &History, suites: &[Suite]) {
    let mut found = Vec::new();
    for drill in &record.drills {
        let Some(suite) = suites.iter().find(|suite| suite.name == drill.suite) else {
            continue;
        };
        let asked = Metric::ALL
            .iter()
            .any(|it| it.limit(&suite.trend).is_some());
        let is_scenario = matches!(drill.kind, DrillKind::Scenario | DrillKind::WorstMoment);
        if !asked || !is_scenario {
            continue;
        }
        if let Some(check) = of_drill(record, drill, history, &suite.trend) {
            found.push((drill.id.clone(), check));
        }
    }
    for (drill, check) in found {
        record.add(&drill, check);
    }
}

fn of_drill(
    record: &Record,
    drill: &DrillRecord,
    history: &History,
    trend: &Trend,
) -> Option<CheckRecord> {
    let mut earlier = history.entries(&drill.suite, |head| {
        head.drill == drill.id && head.run != record.run_id
    });
    earlier.retain(|entry| {
        entry.verdict == Verdict::Passed
            && entry.scale == drill.scale
            && entry.mode == record.services.mode
            && entry.at < record.started_at
    });
    earlier.sort_by_key(|entry| entry.at);
    let skipped = earlier.len().saturating_sub(trend.runs as usize);
    let earlier = &earlier[skipped..];
    let now = Entry::of_run(record, "");
    let now = now.iter().find(|entry| entry.drill == drill.id)?;
    let mut findings = Vec::new();
    let mut observed = 0;
    for metric in Metric::ALL {
        let Some((limit, now)) = metric.limit(trend).zip(metric.of(now)) else {
            continue;
        };
        let mut known: Vec<f64> = earlier.iter().filter_map(|it| metric.of(it)).collect();
        if known.len() < LEAST {
            continue;
        }
        observed += known.len() as u64;
        known.sort_by(f64::total_cmp);
        let usual = known[known.len() / 2];
        if let Some(share) = metric.worse_by(usual, now).filter(|share| *share > limit) {
            findings.push(regression(metric, known.len(), usual, now, share, limit));
        }
    }
    let verdict = match findings.is_empty() {
        true => Verdict::Passed,
        false => Verdict::Failed,
    };
    (observed > 0).then(|| CheckRecord {
        id: "trend".to_owned(),
        test: None,
        verdict,
        seconds: 0.0,
        findings,
        observed,
    })
}

fn regression(
    metric: Metric,
    runs: usize,
    usual: f64,
    now: f64,
    share: f64,
    limit: f64,
) -> Finding {
    let (name, word) = (metric.name(), if now > usual { "above" } else { "below" });
    let (now, usual) = (metric.say(now), metric.say(usual));
    let share = match share {
        share if share < 1e6 => format!("{share:.0} %"),
        _ => "far".to_owned(),
    };
    Finding {
        kind: "regression".to_owned(),
        severity: Severity::Error,
        message: format!(
            "{name} is {now}, {share} {word} the median {usual} of {runs} earlier runs; {limit} % are allowed"
        ),
        remedy: "`redrill history compare` shows what changed; if it is meant to stay, raise the limit in [trend]"
            .to_owned(),
        subject: String::new(),
    }
}
