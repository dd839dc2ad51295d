//! One line of the history: a drill of a run, compact. Its first fields stand in a fixed order and are plain text, so
//! that a hundred thousand lines are gone through by looking at their beginnings alone.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use crate::record::{DrillKind, DrillRecord, Record, Verdict};

/// A drill of a run. [`Head`] reads the first six fields: their order is part of the format.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// When the run began, in UTC, with milliseconds always: as text it sorts as the time does.
    #[serde(serialize_with = "fixed")]
    pub at: DateTime<Utc>,
    /// The suite.
    pub suite: String,
    /// The drill's id.
    pub drill: String,
    /// The run.
    pub run: String,
    /// The commit; empty where none was known.
    pub commit: String,
    /// SHA-256 of the suite's file.
    pub suite_sha256: String,
    /// SHA-256 of the run's `record.json`.
    pub record_sha256: String,
    /// What kind of drill it was.
    pub kind: DrillKind,
    /// What came of it.
    pub verdict: Verdict,
    /// How much data.
    pub scale: f64,
    /// Where services came from.
    pub mode: String,
    /// How long it took.
    pub seconds: f64,
    /// The recovery time measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rto: Option<f64>,
    /// The longest allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rto_objective: Option<f64>,
    /// The recovery time projected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projected: Option<f64>,
    /// The loss window measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpo: Option<f64>,
    /// The largest allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpo_objective: Option<f64>,
    /// Bytes of the artifacts restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_bytes: Option<u64>,
    /// Restore throughput.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gb_per_min: Option<f64>,
}

fn fixed<S: serde::Serializer>(at: &DateTime<Utc>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&instant(*at))
}

/// An instant as it stands in a line.
pub fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

impl Entry {
    /// The entries of a run, one for each of its drills.
    pub fn of_run(record: &Record, record_sha256: &str) -> Vec<Self> {
        let entry = |drill: &DrillRecord| {
            let suite = record.suites.iter().find(|suite| suite.name == drill.suite);
            let stored = drill.throughput.iter().map(|it| it.artifact_bytes);
            Self {
                at: record.started_at,
                suite: drill.suite.clone(),
                drill: drill.id.clone(),
                run: record.run_id.clone(),
                commit: record.origin.commit.clone().unwrap_or_default(),
                suite_sha256: suite.map(|it| it.sha256.clone()).unwrap_or_default(),
                record_sha256: record_sha256.to_owned(),
                kind: drill.kind,
                verdict: drill.verdict,
                scale: drill.scale,
                mode: record.services.mode.clone(),
                seconds: drill.seconds,
                rto: drill.rto.as_ref().map(|it| it.total_seconds),
                rto_objective: drill.rto.as_ref().and_then(|it| it.objective_seconds),
                projected: drill
                    .rto
                    .as_ref()
                    .and_then(|it| Some(it.projected.as_ref()?.seconds)),
                rpo: drill.rpo.as_ref().map(|it| it.window_seconds),
                rpo_objective: drill.rpo.as_ref().and_then(|it| it.objective_seconds),
                artifact_bytes: stored.reduce(|a, b| a + b),
                gb_per_min: drill.throughput_gb_per_min,
            }
        };
        record.drills.iter().map(entry).collect()
    }

    /// The entry of a line; none when the line is not a whole one.
    pub fn of(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }
}

/// The beginning of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head<'l> {
    /// When the run began, as text that sorts as the time does.
    pub at: &'l str,
    /// The suite.
    pub suite: &'l str,
    /// The drill's id.
    pub drill: &'l str,
    /// The run.
    pub run: &'l str,
    /// The commit; empty where none was known.
    pub commit: &'l str,
    /// SHA-256 of the suite's file.
    pub suite_sha256: &'l str,
}

impl<'l> Head<'l> {
    /// The beginning of a line; none when the line is cut, or is no line of a history. Only as much is looked at.
    pub fn of(line: &'l [u8]) -> Option<Self> {
        let mut rest = line.strip_suffix(b"}")?.strip_prefix(b"{")?;
        let mut field = |name: &str| {
            let value = rest.strip_prefix(b"\"")?.strip_prefix(name.as_bytes())?;
            let value = value.strip_prefix(b"\":\"")?;
            let (value, after) = value.split_at(memchr::memchr(b'"', value)?);
            rest = after.strip_prefix(b"\",")?;
            // An escape would make it something else than what stands there.
            let plain = memchr::memchr(b'\\', value).is_none();
            std::str::from_utf8(value).ok().filter(|_| plain)
        };
        Some(Self {
            at: field("at")?,
            suite: field("suite")?,
            drill: field("drill")?,
            run: field("run")?,
            commit: field("commit")?,
            suite_sha256: field("suite_sha256")?,
        })
    }
}
