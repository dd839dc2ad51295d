//! The JSON of a run, schema version 2: its own types, so that a change inside redrill never changes a file
//! that was written before. Field order here is field order in the file. Every duration is in seconds with
//! millisecond precision, every size in bytes, every instant in RFC 3339 and UTC.
//!
//! Not here: how these are made from results (`convert`), counted (`count`) or stored (`file`).

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// The version of this format. A reader refuses any other.
pub const SCHEMA_VERSION: u32 = 2;

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The run's name.
    pub run_id: String,
    /// The version of redrill that made it.
    pub redrill_version: String,
    /// When the run began.
    pub started_at: DateTime<Utc>,
    /// The services used.
    pub services: Services,
    /// The counts; see [`Record::lines`] for what is counted.
    pub summary: Summary,
    /// What is lost at most and typically, of scenarios that are struck at random moments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rpo: Vec<RpoSpread>,
    /// The drills that ran, in the order in which they ended.
    pub drills: Vec<DrillRecord>,
    /// Drills that were planned and have not run: never counted as passed.
    pub not_run: Vec<NotRun>,
    /// Scenarios that the suites name and do not cover yet: shown, and not counted.
    pub pending: Vec<Pending>,
    /// The suites that the drills come from.
    pub suites: Vec<SuiteRecord>,
    /// How far the run got.
    pub state: State,
    /// When it ended; `null` while it is running, and for ever when it was killed.
    pub ended_at: Option<DateTime<Utc>>,
    /// The command that runs the same again, with the same seed.
    pub command: String,
    /// Where it was made.
    pub origin: Origin,
}

/// Where a run was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// The commit that was checked out; `null` where none was known.
    pub commit: Option<String>,
    /// Whether files differed from the commit, or were added that git does not ignore; `null` where git did not say.
    pub dirty: Option<bool>,
    /// Who told the commit: a variable of the CI job, or `git`; empty where none was known.
    pub told_by: String,
    /// The machine.
    pub host: String,
}

/// How far a run got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It has not ended, or was killed.
    Running,
    /// It ended by itself.
    Finished,
    /// It was interrupted, and ended after teardown.
    Interrupted,
}

/// The services of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Services {
    /// `local` or `containers`.
    pub mode: String,
    /// Why this mode.
    pub reason: String,
    /// Every service that was started, by name.
    pub versions: Vec<ServiceVersion>,
}

/// A service that was started.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceVersion {
    /// The component or repository it served.
    pub name: String,
    /// What answered.
    pub product: String,
    /// The version it reported.
    pub version: String,
    /// `local`, `containers` or `embedded`.
    pub mode: String,
    /// The suite that it was started for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub suite: String,
}

/// The counts of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// What holds.
    pub passed: u64,
    /// What does not hold.
    pub failed: u64,
    /// What could not be established.
    pub undetermined: u64,
    /// What was asked for and did not run.
    pub ignored: u64,
}

/// A suite that drills come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuiteRecord {
    /// Its name.
    pub name: String,
    /// Its title.
    pub title: String,
    /// SHA-256 of its file, in hex.
    pub sha256: String,
    /// The names of all its tests, in file order.
    pub tests: Vec<String>,
    /// The faults that it plants, where these are to make every check fail that they reach.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
    /// SHA-256 of the migrations of its release, in hex, where it names some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_sha256: Option<String>,
    /// How long after a run the next one of it is overdue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_seconds: Option<f64>,
}

/// A drill that was planned and has not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotRun {
    /// Its id.
    pub id: String,
    /// Its suite.
    pub suite: String,
    /// Its title.
    pub title: String,
    /// The tests that it would have judged.
    pub tests: Vec<String>,
    /// What kind of drill it is.
    pub kind: DrillKind,
}

/// A scenario that is not covered yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pending {
    /// Its suite.
    pub suite: String,
    /// Its name.
    pub scenario: String,
    /// Its title.
    pub title: String,
    /// Why it is not covered.
    pub reason: String,
    /// The largest loss it would allow, per component.
    pub rpo_objective_seconds: BTreeMap<String, f64>,
    /// The longest recovery it would allow.
    pub rto_objective_seconds: Option<f64>,
}

/// One drill.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillRecord {
    /// Its id, unique in the run.
    pub id: String,
    /// The suite's name.
    pub suite: String,
    /// The scenario's name; `null` for the retention rehearsal.
    pub scenario: Option<String>,
    /// Its verdict.
    pub verdict: Verdict,
    /// The seed of everything that was left to chance.
    pub seed: u64,
    /// The measured loss.
    pub rpo: Option<Rpo>,
    /// The measured recovery time.
    pub rto: Option<Rto>,
    /// Restore throughput of the component with the most data, in 10^9 bytes of the source per minute.
    pub throughput_gb_per_min: Option<f64>,
    /// What was judged. In a detection drill the one entry is the fault: passed when it was caught.
    pub checks: Vec<CheckRecord>,
    /// The commands that ran.
    pub steps: Vec<Step>,
    /// Everything that was removed afterwards.
    pub teardown: Vec<Teardown>,
    /// The title in reports.
    pub title: String,
    /// What kind of drill it is.
    pub kind: DrillKind,
    /// How much data, 1 being the suite's normal size.
    pub scale: f64,
    /// How long it took, in all.
    pub seconds: f64,
    /// The disaster; `null` when the drill never got there.
    pub strike: Option<Strike>,
    /// The recoveries that were tried.
    pub recoveries: Vec<Recovery>,
    /// Restore throughput, component by component.
    pub throughput: Vec<Throughput>,
    /// What was planted and who noticed, in a detection drill.
    pub detection: Option<Detection>,
    /// What went wrong outside of backups and recoveries.
    pub failures: Vec<Failure>,
    /// What the pruner left, in a retention rehearsal.
    pub retention: Vec<Retention>,
}

/// What the pruner left of one backup in one repository.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// The backup.
    pub backup: String,
    /// The repository.
    pub repository: String,
    /// When the pruner last ran, on the virtual timeline.
    pub pruned_at: Option<DateTime<Utc>>,
    /// Every artifact that was taken, in the order in which it was.
    pub artifacts: Vec<Kept>,
}

/// An artifact under retention.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// When it was taken, on the virtual timeline.
    pub at: DateTime<Utc>,
    /// Whether it is a good one.
    pub good: bool,
    /// Whether it is still there.
    pub kept: bool,
}

/// What kind of drill it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrillKind {
    /// A scenario, struck at a given moment.
    Scenario,
    /// A scenario, struck at the worst moment.
    WorstMoment,
    /// A scenario, struck at a moment drawn from the seed.
    RandomMoment,
    /// A scenario at another size, for projections.
    Calibration,
    /// The retention rehearsal.
    Retention,
    /// An artifact that somebody else made.
    Verify,
    /// A scenario, and the release tried on what came back.
    Release,
    /// A scenario with a fault planted.
    Detection,
    /// The same scenario without the fault: nothing may be reported.
    HealthyTwin,
}

/// A verdict; the order is the order of badness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Everything looked at holds.
    Passed,
    /// It could not be established.
    Undetermined,
    /// Something does not hold.
    Failed,
}

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Changes no verdict.
    Warning,
    /// Could not be established.
    Unknown,
    /// A defect.
    Error,
}

/// The measured loss of a drill: the figures of the component that fared worst against its objective, then all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rpo {
    /// Acknowledged writes of that component that did not come back.
    pub lost_writes: u64,
    /// Strike − commit of the oldest of them; 0 when none is missing.
    pub window_seconds: f64,
    /// The largest window that it allows.
    pub objective_seconds: Option<f64>,
    /// Every component.
    pub components: Vec<ComponentRpo>,
}

/// The measured loss of one component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComponentRpo {
    /// The component.
    pub component: String,
    /// Acknowledged writes before the strike.
    pub acknowledged_writes: u64,
    /// Those that did not come back.
    pub lost_writes: u64,
    /// Strike − commit of the oldest of them; 0 when none is missing.
    pub window_seconds: f64,
    /// The largest window allowed.
    pub objective_seconds: Option<f64>,
    /// The largest median allowed of the windows of the scenario's drills.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typical_objective_seconds: Option<f64>,
}

/// The losses of one component over the drills of a scenario that is struck at random moments too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RpoSpread {
    /// The suite's name.
    pub suite: String,
    /// The scenario's name.
    pub scenario: String,
    /// The component.
    pub component: String,
    /// How many drills measured a loss.
    pub drills: u64,
    /// How many drills of it did not.
    pub unmeasured: u64,
    /// The largest window.
    pub most_seconds: f64,
    /// The largest window allowed.
    pub objective_seconds: Option<f64>,
    /// The median of the windows.
    pub median_seconds: f64,
    /// The largest median allowed.
    pub typical_objective_seconds: Option<f64>,
}

/// The measured recovery time of a drill.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rto {
    /// Loss declared to the last component's first verified read.
    pub total_seconds: f64,
    /// Its parts by name; components recovered in parallel overlap.
    pub phases: BTreeMap<String, f64>,
    /// The longest recovery allowed.
    pub objective_seconds: Option<f64>,
    /// Carried to the production size.
    pub projected: Option<Projected>,
}

/// A time projected to the production size. Never a measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Projected {
    /// The production size.
    pub bytes: u64,
    /// The time.
    pub seconds: f64,
}

/// The measured restore of one component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Throughput {
    /// The component.
    pub component: String,
    /// 10^9 bytes of the source over minutes of the restore phase; `null` when no time passed.
    pub gb_per_min: Option<f64>,
    /// Bytes of the source, as the server itself reports its size.
    pub source_bytes: u64,
    /// Stored bytes of the artifact.
    pub artifact_bytes: u64,
    /// This component's recovery carried to its production size.
    pub projected: Option<Projected>,
}

/// What one check said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckRecord {
    /// The check, or the fault of a detection drill.
    pub id: String,
    /// The suite's test that asked for it.
    pub test: Option<String>,
    /// Its verdict.
    pub verdict: Verdict,
    /// Seconds of the drill's work that it rests on.
    pub seconds: f64,
    /// Everything found, worst first.
    pub findings: Vec<Finding>,
    /// How many facts were looked at.
    pub observed: u64,
}

/// One defect. Holds no row values and no secrets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// Its type, stable across versions.
    pub kind: String,
    /// How much it weighs.
    pub severity: Severity,
    /// What is wrong, with what was expected and what was found.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
    /// What it is about, where several drills say it of the same thing (a backup's schedule).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject: String,
}

/// One command that ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The part of the drill.
    pub phase: String,
    /// The component; empty for the whole drill.
    pub component: String,
    /// The command line.
    pub command: String,
    /// The exit code; `null` when a signal or the deadline ended it.
    pub exit: Option<i32>,
    /// How long it took.
    pub seconds: f64,
    /// Its log, relative to the log directory; empty for redrill's own work.
    pub log: String,
}

/// Something that was removed after the drill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Teardown {
    /// What.
    pub what: String,
    /// Why it could not be removed; `null` when it was.
    pub error: Option<String>,
}

/// The disaster as it happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Strike {
    /// Virtual instant.
    pub at: DateTime<Utc>,
    /// The last run of which backup it came after, and how long; `null` at the worst moment.
    pub after: Option<After>,
    /// What was struck.
    pub struck: Vec<Struck>,
}

/// A time after a backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct After {
    /// The backup.
    pub backup: String,
    /// The time since its last run.
    pub seconds: f64,
}

/// A component that was struck.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Struck {
    /// The component.
    pub component: String,
    /// With what.
    pub fault: String,
    /// The symptom that was then observed; empty when there was none.
    pub symptom: String,
}

/// A recovery that was tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recovery {
    /// The component.
    pub component: String,
    /// The backup used.
    pub backup: String,
    /// The artifact used.
    pub artifact: Option<String>,
    /// Loss declared to this component's first verified read.
    pub seconds: Option<f64>,
    /// Seconds per phase.
    pub phases: BTreeMap<String, f64>,
    /// Why it failed, when it did.
    pub error: Option<String>,
    /// What came back, where an artifact that somebody gives was verified: what the next of its lineage is compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
}

/// How much came back of what, without its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// Size as the server itself reports it.
    pub bytes: u64,
    /// Tables, databases of keys by type, or files.
    pub objects: u64,
    /// Rows or keys, part by part; empty where the parts are files.
    pub rows: BTreeMap<String, u64>,
    /// The folder that the artifact lay in, with a sign for what names a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
}

/// What was planted in a detection drill, and who noticed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detection {
    /// The fault.
    pub fault: String,
    /// What it is.
    pub planted: String,
    /// The check that must fail because of it.
    pub must_be_caught_by: String,
    /// The kind of the finding by which it must; empty in records of before it was asked for.
    #[serde(default)]
    pub finding: String,
    /// The checks that failed, the named one first.
    pub caught_by: Vec<String>,
    /// What every check said.
    pub outcomes: Vec<CheckRecord>,
}

/// Something that went wrong outside of a backup or a recovery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// The part of the drill.
    pub phase: String,
    /// What went wrong.
    pub message: String,
    /// A needed program, engine or capability was missing.
    pub unavailable: bool,
}
