//! A suite as meant: one system, its components, repositories, backups, scenarios and tests, fully resolved.
//! The way here is `text → Raw → Suite` ([`load`]), with every problem of the file reported at once.
//!
//! A suite can be short. This one dumps a database every night, loses its server at the worst moment, recovers it and
//! judges everything there is to judge:
//!
//! ```toml
//! [component.chinook]
//! kind = "postgres"
//! seed = "chinook.sql"             # beside this file, or beside the folder it is in
//!
//! [backup.nightly]
//! schedule = "0 2 * * *"           # cron, in UTC
//!
//! [scenario.server-lost]
//! strike = [{ component = "chinook", fault = "server-lost" }]
//! rpo = "25h"                      # a day, and as long as a dump takes
//! rto = "15m"
//! ```
//!
//! What is not said has a default: the title and a database's or bucket's name come from the name of what they belong
//! to; the repository is an S3 bucket off the backed-up host; a reference to a component, repository or scenario may be left out where
//! there is only one; a method is the engine's own (`pg-dump` at level 6, `redis-rdb`, `bucket-sync`); artifacts are
//! kept for seven days, in the clear; a backup may take an hour; a scenario strikes at the worst moment, which is held to the
//! objective where no other is stated, and recovers what it struck, with four jobs, owners and grants, from the newest artifact, beside what is left. `[schedule]`,
//! `[gate]` and `[trend]` say when it is drilled and what is asked of its records; `[release]` which migrations `redrill gate --run` tries on the restored copy; `redrill.toml` says the gate's for all
//! suites ([`site`]). `suites/deltacrown.toml`
//! says most of what can be said; `suites/dumps.toml` every kind of dump; `suites/mowe-sport.toml` how else a server is
//! struck and recovered: started again (`restart`), noticed late (`unnoticed`), from the newest good artifact of several
//! backups (`pick`), in place (`mode`), to just before the strike (`target`), at random moments.
//!
//! Not here: how a suite unfolds into drills (see [`crate::plan`]), or anything that runs.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};

pub mod app;
pub mod ask;
pub mod brought;
mod convert;
pub mod dump;
mod find;
pub mod findings;
pub mod fit;
pub mod pattern;
pub mod pgbackrest;
pub mod policy;
pub(crate) mod problem;
mod raw;
pub mod release;
pub mod schedule;
pub mod site;
pub mod unplanted;
pub mod words;

pub use app::App;
pub use ask::{Ask, Drop};
pub use brought::Brought;
pub use convert::parse;
pub use dump::{Compression, Dump, DumpFormat, Only};
pub use find::{all, find, load};
pub use pgbackrest::{BackupType, PgBackRest, RestCompression};
pub use policy::{Due, Policy, Trend, Zone};
pub use problem::Problem;
pub use release::Release;
pub use site::Site;
pub use words::{Check, Coordinate, Engine, Fault, Mode, Pick, Strike};

/// One system and how its backups are tested.
#[derive(Debug, Clone, PartialEq)]
pub struct Suite {
    /// The file's stem; the name on the command line.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// SHA-256 of the file's bytes, in hex: says which suite a record was made from.
    pub sha256: String,
    /// The title in reports.
    pub title: String,
    /// One paragraph for `redrill list` and reports; may be empty.
    pub description: String,
    /// What holds data, in file order.
    pub components: Vec<Component>,
    /// Where backups go, in file order.
    pub repositories: Vec<RepositorySpec>,
    /// The backups, in file order.
    pub backups: Vec<Backup>,
    /// The disasters, in file order.
    pub scenarios: Vec<Scenario>,
    /// The retention rehearsals that the suite asks for.
    pub retention: Vec<RetentionRehearsal>,
    /// The tests by name, in file order.
    pub tests: Vec<Test>,
    /// The detection drills, in file order.
    pub detections: Vec<Detection>,
    /// They are to make every check fail that they reach: one that none does fails the run.
    pub every_check: bool,
    /// What the gate asks of its evidence, where it differs from the usual.
    pub gate: Policy,
    /// When it is drilled, when it says so.
    pub due: Option<Due>,
    /// How far its figures may drift.
    pub trend: Trend,
    /// What a release changes, where the gate is to try it.
    pub release: Option<Release>,
}

impl Suite {
    /// What tells the migrations of its release from others; none where it has no release.
    pub fn release_sha256(&self) -> Option<crate::error::Result<String>> {
        let home = self.path.parent().unwrap_or(Path::new("."));
        let release = self.release.as_ref()?;
        Some(release.sha256(home))
    }
}

/// A thing that holds data.
#[derive(Debug, Clone, PartialEq)]
pub struct Component {
    /// Its name in the suite.
    pub name: String,
    /// What it is, and what only that kind has.
    pub kind: ComponentKind,
    /// The version wanted of the engine (a prefix: "15" or "15.18"); any when `None`.
    pub version: Option<String>,
    /// Its size in production, in bytes, for projections.
    pub production_size: Option<u64>,
    /// Questions with known answers, asked of the recovered service.
    pub smoke: Vec<Smoke>,
    /// An application that is started on the recovered service, and asked too.
    pub app: Option<App>,
}

impl Component {
    /// How many questions are asked of what came back, by itself and through its application.
    pub fn questions(&self) -> usize {
        let requests = self.app.as_ref().map_or(0, |app| app.requests.len());
        self.smoke.len() + requests
    }

    /// The engine of this component.
    pub fn engine(&self) -> Engine {
        match self.kind {
            ComponentKind::Postgres { .. } => Engine::Postgres,
            ComponentKind::Redis { .. } => Engine::Redis,
            ComponentKind::Bucket { .. } => Engine::Bucket,
        }
    }
}

/// What a component is, with what only that kind has.
#[derive(Debug, Clone, PartialEq)]
pub enum ComponentKind {
    /// A PostgreSQL server with one database of interest.
    Postgres {
        /// The database's name.
        database: String,
        /// A psql script that fills it; it gets the psql variables `scale` and `seed`.
        seed: Option<PathBuf>,
        /// Server settings beyond redrill's defaults.
        settings: BTreeMap<String, String>,
    },
    /// A Redis server.
    Redis {
        /// How many keys redrill's generator makes at scale 1 (every type, several databases); 0 for none.
        keys: u64,
        /// Server settings beyond redrill's defaults.
        settings: BTreeMap<String, String>,
    },
    /// A bucket.
    Bucket {
        /// The bucket's name.
        bucket: String,
        /// How many objects redrill's generator makes at scale 1; 0 for none.
        objects: u64,
    },
}

/// A question with a known answer, asked of the recovered service.
#[derive(Debug, Clone, PartialEq)]
pub struct Smoke {
    /// What it shows, in a few words.
    pub name: String,
    /// The question: SQL giving one value for Postgres, a command for Redis, a key for a bucket.
    pub ask: String,
    /// The answer that passes.
    pub expect: Expect,
}

/// The answer that passes a smoke question.
#[derive(Debug, Clone, PartialEq)]
pub enum Expect {
    /// Exactly this text.
    Equals(String),
    /// A number of at least this much.
    AtLeast(f64),
    /// A number within this range, ends included.
    Between(f64, f64),
    /// A text with this in it.
    Contains(String),
}

impl Expect {
    /// Whether an answer passes. One that is no number is never enough where a number is wanted.
    pub fn holds(&self, answer: &str) -> bool {
        let number = answer.trim().parse::<f64>();
        match self {
            Self::Equals(text) => answer == text,
            Self::AtLeast(least) => number.is_ok_and(|number| number >= *least),
            Self::Between(least, most) => {
                number.is_ok_and(|number| (*least..=*most).contains(&number))
            }
            Self::Contains(part) => answer.contains(part),
        }
    }

    /// Whether every count passes, that of nothing too.
    pub fn is_any_count(&self) -> bool {
        matches!(self, Self::AtLeast(least) if *least <= 0.0)
    }
}

impl std::fmt::Display for Expect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Equals(text) => f.write_str(text),
            Self::AtLeast(least) => write!(f, "at least {least}"),
            Self::Between(least, most) => write!(f, "between {least} and {most}"),
            Self::Contains(part) => write!(f, "containing `{part}`"),
        }
    }
}

/// Where backups go.
#[derive(Debug, Clone, PartialEq)]
pub struct RepositorySpec {
    /// Its name in the suite.
    pub name: String,
    /// Which kind, with what only that kind has.
    pub kind: RepositoryKind,
}

/// The kinds of repository.
#[derive(Debug, Clone, PartialEq)]
pub enum RepositoryKind {
    /// A directory on the backed-up host (lost with it). A drill keeps it inside its own directory.
    Local,
    /// A bucket of an S3 server that the run starts.
    S3 {
        /// The bucket's name.
        bucket: String,
    },
}

/// A backup: component, method, repositories, schedule, retention, encryption.
#[derive(Debug, Clone, PartialEq)]
pub struct Backup {
    /// Its name in the suite.
    pub name: String,
    /// The component it protects.
    pub component: String,
    /// The repositories it writes to, nearest first; a recovery reads the last one, the farthest.
    pub repositories: Vec<String>,
    /// How it is taken.
    pub method: Method,
    /// When it is taken: a cron expression, in UTC.
    pub schedule: String,
    /// How long artifacts are kept.
    pub keep: Keep,
    /// How artifacts are encrypted; `None` stores them in the clear.
    pub encrypt: Option<Encryption>,
    /// The range in which its stored size is expected, in bytes at scale 1.
    pub size: Option<SizeRange>,
    /// A backup that takes longer is ended and counts as failed.
    pub deadline: Duration,
}

/// How a backup is taken.
#[derive(Debug, Clone, PartialEq)]
pub enum Method {
    /// `pg_dump`, and `pg_dumpall` for the roles.
    PgDump(Dump),
    /// `pg_basebackup` of the whole cluster, and its WAL archived continuously.
    PgBasebackup {
        /// How the base backup is compressed.
        compress: BaseCompression,
        /// No commit waits longer than this to be archived (`archive_timeout`, on the drill's clock).
        archive_timeout: Duration,
    },
    /// `pgbackrest`: full, differential and incremental backups of the whole cluster into a repository of its own, and its
    /// WAL pushed there.
    PgBackRest(PgBackRest),
    /// `BGSAVE` and the RDB file; with the AOF directory when asked for.
    RedisRdb {
        /// Whether the append-only directory is kept beside the RDB.
        aof: bool,
    },
    /// Every object, stored once by content, listed per run; deletions follow the source.
    BucketSync {
        /// Glob patterns of keys that are left out.
        exclude: Vec<String>,
        /// A run that would drop more than this share of the previous run's objects is refused (0 to 100).
        max_delete_percent: u8,
    },
    /// A tar file of files, which somebody gives: no suite says it.
    FilesTar,
}

impl Method {
    /// How long a commit waits at most to be archived, where WAL is archived continuously: then a recovery can be to any
    /// moment, and of the whole cluster.
    pub fn archive_timeout(&self) -> Option<Duration> {
        match self {
            Self::PgBasebackup {
                archive_timeout, ..
            } => Some(*archive_timeout),
            Self::PgBackRest(rest) => Some(rest.archive_timeout),
            Self::PgDump(_) | Self::RedisRdb { .. } | Self::BucketSync { .. } | Self::FilesTar => {
                None
            }
        }
    }

    /// Whether it is a physical backup, with archived WAL.
    pub fn archives(&self) -> bool {
        self.archive_timeout().is_some()
    }
}

/// How `pg_basebackup` compresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BaseCompression {
    /// Not at all.
    None,
    /// gzip, 1 to 9.
    Gzip(u8),
    /// zstd, 1 to 19.
    Zstd(u8),
}

impl fmt::Display for BaseCompression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Gzip(level) => write!(f, "gzip:{level}"),
            Self::Zstd(level) => write!(f, "zstd:{level}"),
        }
    }
}

/// How long artifacts are kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Keep {
    /// Every artifact younger than this stays.
    pub within: Duration,
    /// The same of the repositories that keep longer, or not as long.
    pub elsewhere: BTreeMap<String, Duration>,
}

impl Keep {
    /// Every artifact younger than this stays, wherever it is.
    pub fn within(within: Duration) -> Self {
        Self {
            within,
            elsewhere: BTreeMap::new(),
        }
    }

    /// How long a repository keeps artifacts.
    pub fn of(&self, repository: &str) -> Duration {
        *self.elsewhere.get(repository).unwrap_or(&self.within)
    }
}

/// How artifacts are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// age (age-encryption.org/v1) to an X25519 recipient made for the run.
    Age,
    /// pgBackRest's own, with a passphrase made for the run.
    Aes256Cbc,
}

/// An expected range of sizes, in bytes, ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeRange {
    /// Smallest.
    pub min: u64,
    /// Largest.
    pub max: u64,
}

/// A disaster: what is struck and when, what must be recovered and how well.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scenario {
    /// Its name in the suite.
    pub name: String,
    /// The title in reports.
    pub title: String,
    /// Why it is not drilled, when it is not: it stands in the report and never counts as passed.
    pub pending: Option<String>,
    /// What is struck, all at once.
    pub strikes: Vec<(String, Strike)>,
    /// When: one drill for each.
    pub at: Vec<StrikeTime>,
    /// After how many runs of the first backup to recover from the damage is noticed: it is in all of these. 0 when at
    /// once.
    pub unnoticed: u32,
    /// Whether the server is started again first, and only recovered when that fails.
    pub restart: bool,
    /// The backups to recover from, each onto its component: one, its definitions and its rows, or, where the newest good
    /// one is picked, any number.
    pub recover: Vec<String>,
    /// Which artifact of them is taken.
    pub pick: Pick,
    /// How what is recovered takes its place.
    pub mode: Mode,
    /// How the restore is done.
    pub restore: RestoreOptions,
    /// Replay ends just before the strike, told so by this, and not at [`RestoreOptions::target`].
    pub before_strike: Option<Coordinate>,
    /// The largest loss allowed, per component.
    pub rpo: BTreeMap<String, Duration>,
    /// The largest loss allowed in the median of the scenario's drills, per component.
    pub rpo_typical: BTreeMap<String, Duration>,
    /// The longest recovery allowed.
    pub rto: Option<Duration>,
}

impl Scenario {
    /// Whether it is struck so long after a backup: where it is not, its objectives are held at the worst moment.
    pub fn states_a_moment(&self) -> bool {
        let mut moments = self.at.iter();
        moments.any(|at| matches!(at, StrikeTime::After { .. }))
    }

    /// What a recovery from a backup replays of the log that continues it.
    pub fn replays(&self, backup: &Backup) -> Replays {
        match &self.restore.target {
            _ if !backup.method.archives() => Replays::Nothing,
            _ if self.before_strike.is_some() => Replays::ToAMoment,
            RecoveryTarget::Immediate => Replays::Nothing,
            RecoveryTarget::EndOfWal | RecoveryTarget::Unbroken => Replays::Everything,
            RecoveryTarget::Time(_) | RecoveryTarget::Lsn(_) | RecoveryTarget::Name(_) => {
                Replays::ToAMoment
            }
        }
    }
}

/// What is replayed of the log that continues a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replays {
    /// Nothing, or there is none.
    Nothing,
    /// All that was archived.
    Everything,
    /// What was committed before a moment that is told.
    ToAMoment,
}

/// When a scenario strikes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StrikeTime {
    /// So long after the last run of this backup.
    After {
        /// The backup.
        backup: String,
        /// The time since its last run started.
        offset: Duration,
    },
    /// Just before the next run of the slowest-scheduled backup of the scenario would have completed.
    Worst,
    /// At a moment drawn from the drill's seed, between two runs of that backup.
    Random {
        /// Which of the scenario's, from 1.
        number: u32,
    },
}

/// How a restore is done.
#[derive(Debug, Clone, PartialEq)]
pub struct RestoreOptions {
    /// `pg_restore --jobs`.
    pub jobs: u32,
    /// Whether owners are restored.
    pub owner: bool,
    /// Whether grants are restored.
    pub acl: bool,
    /// The version of the new server that is restored onto, when it is not the component's own.
    pub version: Option<String>,
    /// How far archived WAL is replayed.
    pub target: RecoveryTarget,
}

/// How far archived WAL is replayed onto a base backup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum RecoveryTarget {
    /// Everything that the repository has.
    #[default]
    EndOfWal,
    /// Up to the first segment that is missing or damaged: what is later is given up.
    Unbroken,
    /// Only until the base backup is consistent.
    Immediate,
    /// Everything committed up to this instant of the server's own clock.
    Time(DateTime<Utc>),
    /// Everything before this place in the log (`0/3000028`).
    Lsn(String),
    /// Up to a restore point of this name.
    Name(String),
}

impl fmt::Display for RecoveryTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EndOfWal => f.write_str("the end of the archived WAL"),
            Self::Unbroken => f.write_str("the end of the unbroken WAL"),
            Self::Immediate => f.write_str("the end of the base backup"),
            Self::Time(at) => write!(f, "the time {}", at.to_rfc3339()),
            Self::Lsn(lsn) => write!(f, "LSN {lsn}"),
            Self::Name(name) => write!(f, "the restore point {name:?}"),
        }
    }
}

/// The pruner at work over many virtual days, on a small source.
#[derive(Debug, Clone, PartialEq)]
pub struct RetentionRehearsal {
    /// Its drill: `retention`, or `retention-NAME` where a suite has several.
    pub name: String,
    /// How many virtual days of backups are taken.
    pub days: u32,
    /// The backups to take and prune.
    pub backups: Vec<String>,
}

/// A named test: one check of one drill.
#[derive(Debug, Clone, PartialEq)]
pub struct Test {
    /// Its name.
    pub name: String,
    /// What is judged.
    pub check: Check,
    /// Where it is judged: a scenario's name (its first drill), or a retention rehearsal's.
    pub drill: String,
    /// Only facts about this backup count, when said.
    pub backup: Option<String>,
}

/// A fault to plant, and who must catch it.
#[derive(Debug, Clone, PartialEq)]
pub struct Detection {
    /// What is planted.
    pub fault: Fault,
    /// Who must catch it.
    pub caught_by: Catch,
    /// The scenario in whose drill it is planted.
    pub scenario: String,
}

/// What a planted fault must lead to: a check that fails for another reason has not caught it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catch {
    /// The check that must fail because of the fault.
    pub check: Check,
    /// The kind of the finding by which it must, or several of which one is enough.
    pub findings: Vec<String>,
    /// Words that this finding must hold, where its kind alone does not tell the fault from an accident.
    pub says: Option<String>,
    /// Checks that must fail as well.
    pub also: Vec<Check>,
}

#[cfg(test)]
mod tests;
