//! Recorded facts of one drill, and nothing else: what was observed, by whom it was written, never what it
//! means. Judgement reads this ([`crate::check`]); the world writes it ([`crate::drill`] collects).
//!
//! Facts hold counts, hashes, names and times; never row values and never secrets.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::context::{Phase, Step};
use crate::suite::{Coordinate, Engine, RecoveryTarget, Smoke, Strike};

mod given;
mod hash;
mod objects;
mod observation;
mod physical;

pub use given::{Baseline, ClusterFact, GivenFact, Held, MigrationFact, NeedsFact, ReleaseFact};
pub use hash::Digest;
pub use objects::{Compared, Differing, Mirrored, ObjectFact, Objects};
pub use observation::{Observation, Part, SequenceFact};
pub use physical::{ArchiveWatch, InArchive, IntegrityFact, ReplayFact, TiesFact, Unable};

/// Everything observed in one drill.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// The run that the drill belongs to.
    pub run: String,
    /// The drill's id.
    pub drill: String,
    /// The nonce planted in the sources of this drill.
    pub nonce: String,
    /// When and with what the system was struck; `None` when the drill never got there.
    pub strike: Option<StrikeFact>,
    /// Every write that a service acknowledged.
    pub ledger: Vec<LedgerEntry>,
    /// Every backup that was tried, in order.
    pub backups: Vec<BackupFact>,
    /// Everything archived between backups, in order.
    pub archives: Vec<ArchiveFact>,
    /// Every recovery that was tried.
    pub recoveries: Vec<RecoveryFact>,
    /// Loss declared to the last component's first verified read, in seconds.
    pub recovery_seconds: Option<f64>,
    /// What the pruner left.
    pub retention: Vec<RetentionFact>,
    /// What was found out about encryption, per backup.
    pub encryption: Vec<EncryptionFact>,
    /// The backups tried on an emptied source, which the mass-delete guard must refuse.
    pub guards: Vec<BackupFact>,
    /// Where secrets and canaries were searched for, and where they were found.
    pub leaks: LeakSearch,
    /// Restore measurements at several sizes, for projections.
    pub samples: Vec<Sample>,
    /// What went wrong outside of backups and recoveries (provision, seed, teardown, …).
    pub failures: Vec<FailureFact>,
    /// The drill's facts as read back from disk after they were written there.
    pub written: Option<WrittenFact>,
    /// What was removed, and what could not be.
    pub teardown: Vec<TeardownFact>,
    /// The commands that ran.
    pub steps: Vec<Step>,
    /// The services used: name, engine, version, how they were provided.
    pub services: Vec<ServiceFact>,
    /// What a given artifact is held against, where one is verified.
    pub given: Option<GivenFact>,
    /// What became of the release on the restored copy, where it was tried.
    pub release: Option<ReleaseFact>,
}

impl Evidence {
    /// Forgets what was only held against each other, object by object, once it has been judged. Figures stay.
    pub fn judged(&mut self) {
        let backups = self.backups.iter_mut().chain(&mut self.guards);
        for backup in backups {
            backup.source.iter_mut().for_each(Observation::forget);
        }
        let strike = self.strike.iter_mut();
        let archived = self.archives.iter_mut();
        let recovered = self.recoveries.iter_mut();
        strike
            .flat_map(|strike| strike.whole.values_mut())
            .chain(archived.filter_map(|archived| archived.source.as_mut()))
            .chain(recovered.flat_map(|it| it.expected.iter_mut().chain(&mut it.restored)))
            .for_each(Observation::forget);
    }
}

/// A service that was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceFact {
    /// The component or repository it served.
    pub name: String,
    /// What answered, for instance "PostgreSQL".
    pub product: String,
    /// The version it reported.
    pub version: String,
    /// `local`, `containers` or `embedded`.
    pub mode: String,
}

/// The disaster as it happened.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StrikeFact {
    /// Virtual instant at which it was noticed.
    pub at: DateTime<Utc>,
    /// Virtual instant at which it happened: the same, unless it went unnoticed for a while.
    pub done: DateTime<Utc>,
    /// What was struck, and the symptom that was then really observed (empty when the strike showed none).
    pub struck: Vec<(String, Strike, String)>,
    /// By component, the moment just before it, where a recovery can be told of one.
    pub moments: BTreeMap<String, Moment>,
    /// By component, what it would hold had it not been struck, where all of that can come back.
    pub whole: BTreeMap<String, Observation>,
}

/// A moment of a server, in each way in which a recovery can be told to stop there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// By the server's own clock.
    pub at: DateTime<Utc>,
    /// The place in its log where everything that was committed before has ended.
    pub lsn: String,
    /// A restore point that was made then.
    pub name: String,
}

impl Moment {
    /// The moment as a recovery target.
    pub fn by(&self, coordinate: Coordinate) -> RecoveryTarget {
        match coordinate {
            Coordinate::Time => RecoveryTarget::Time(self.at),
            Coordinate::Lsn => RecoveryTarget::Lsn(self.lsn.clone()),
            Coordinate::Name => RecoveryTarget::Name(self.name.clone()),
        }
    }
}

/// A write that a service acknowledged.
#[derive(Debug, Clone, PartialEq)]
pub struct LedgerEntry {
    /// The component it was written to.
    pub component: String,
    /// Its number within the component, from 1, without gaps.
    pub number: u64,
    /// Virtual instant of the acknowledgement.
    pub at: DateTime<Utc>,
    /// The server's own coordinate (LSN, replication offset, ETag) after it.
    pub coordinate: String,
}

/// One backup run.
#[derive(Debug, Clone)]
pub struct BackupFact {
    /// The backup.
    pub backup: String,
    /// The component.
    pub component: String,
    /// The artifact it left.
    pub artifact: Option<String>,
    /// Virtual instant it was started.
    pub at: DateTime<Utc>,
    /// Real instants between which it ran.
    pub window: (DateTime<Utc>, DateTime<Utc>),
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Why it failed, when it did.
    pub error: Option<String>,
    /// It was refused by the mass-delete guard: objects before and after, in words.
    pub refused: Option<String>,
    /// The source as it was then.
    pub source: Option<Observation>,
    /// The highest ledger number acknowledged by then (0 for none).
    pub high_water: u64,
    /// The artifact as found in each repository.
    pub stored: Vec<StoredFact>,
    /// What the engine's tool said on reading it whole.
    pub readable: Option<ReadFact>,
    /// What was read, held against the source, where that is a bucket: for [`crate::suite::Check::Mirror`].
    pub mirrored: Option<Mirrored>,
}

/// An artifact as found in one repository, after the backup and any damage.
#[derive(Debug, Clone, Default)]
pub struct StoredFact {
    /// The repository.
    pub repository: String,
    /// The manifest was found and could be read.
    pub committed: bool,
    /// No file of the artifact was written after the manifest.
    pub manifest_last: Option<bool>,
    /// The manifest's taken-at (virtual).
    pub taken_at: Option<DateTime<Utc>>,
    /// The run that the manifest says made it.
    pub run: String,
    /// Sum of stored bytes as the repository lists them.
    pub bytes: u64,
    /// How many of its files are there as the manifest says.
    pub sound: u64,
    /// The other ones: what the manifest says and what is there; of very many, the first.
    pub amiss: Vec<FileFact>,
    /// How many more there are, each amiss in the way of some of them.
    pub more_amiss: u64,
    /// Metadata stored beside the first file.
    pub metadata: BTreeMap<String, String>,
    /// What could not be read, in words.
    pub error: Option<String>,
}

/// A file of an artifact: as the manifest says, and as found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileFact {
    /// Its key in the repository.
    pub key: String,
    /// Bytes, as the manifest says.
    pub bytes: u64,
    /// SHA-256, as the manifest says.
    pub sha256: String,
    /// Bytes found; `None` when it is not there.
    pub found_bytes: Option<u64>,
    /// SHA-256 of the bytes found.
    pub found_sha256: Option<String>,
}

impl FileFact {
    /// Whether what was found is what the manifest says.
    pub fn is_sound(&self) -> bool {
        self.found_bytes == Some(self.bytes) && self.found_sha256.as_ref() == Some(&self.sha256)
    }
}

/// What the engine's own tool said on reading an artifact to its end.
#[derive(Debug, Clone, Default)]
pub struct ReadFact {
    /// The tools used, for instance `pg_restore --file=/dev/null`.
    pub tool: String,
    /// Its complaint; `None` when it had none.
    pub error: Option<String>,
    /// Entries it found: table-of-contents entries, keys, objects.
    pub entries: u64,
    /// The instant that the content itself claims (RDB `ctime`, dump header), on the real clock.
    pub content_time: Option<DateTime<Utc>>,
    /// The objects of a bucket that are in it, with the SHA-256 of what was read of each.
    pub objects: Option<Objects<Digest>>,
}

/// What was committed between two backups, brought into the repositories.
#[derive(Debug, Clone, Default)]
pub struct ArchiveFact {
    /// The backup.
    pub backup: String,
    /// The component.
    pub component: String,
    /// Virtual instant.
    pub at: DateTime<Utc>,
    /// How long it took until every repository had it, in seconds.
    pub seconds: f64,
    /// Why it failed, when it did.
    pub error: Option<String>,
    /// The highest ledger number acknowledged by then (0 for none).
    pub high_water: u64,
    /// The source as it was then, where it is to be compared.
    pub source: Option<Observation>,
}

impl ArchiveFact {
    /// The last one of a backup that did not fail.
    pub fn last_of<'e>(
        all: impl DoubleEndedIterator<Item = &'e Self>,
        backup: &str,
    ) -> Option<&'e Self> {
        all.rev()
            .find(|archived| archived.backup == backup && archived.error.is_none())
    }
}

/// One recovery of one component.
#[derive(Debug, Clone, Default)]
pub struct RecoveryFact {
    /// The component.
    pub component: String,
    /// The backup used.
    pub backup: String,
    /// The artifact used.
    pub artifact: Option<String>,
    /// The newest committed artifact there was.
    pub newest: Option<String>,
    /// Every artifact there was, by its backup and its id, where any may be picked.
    pub offered: BTreeSet<(String, String)>,
    /// Seconds per phase, each entered once.
    pub phases: BTreeMap<PhaseName, f64>,
    /// Loss declared to this component's first verified read, in seconds.
    pub seconds: Option<f64>,
    /// Objects in the target before the restore, by the server's own count; `None` when it was not asked.
    pub target_before: Option<u64>,
    /// The target was started by this run.
    pub target_started_here: bool,
    /// There was a target to restore onto.
    pub provisioned: bool,
    /// The engine's restore really ran.
    pub restore_ran: bool,
    /// Stored bytes that were fetched.
    pub artifact_bytes: u64,
    /// Why it failed, when it did.
    pub error: Option<String>,
    /// The source as it was when the artifact was taken, from the harness's own memory and not the artifact.
    pub expected: Option<Observation>,
    /// What came back.
    pub restored: Option<Observation>,
    /// Both held against each other, object by object, where it is a bucket.
    pub objects: Option<Compared>,
    /// Answers to the smoke questions.
    pub smoke: Vec<SmokeFact>,
    /// How archived logs were replayed, where the method does.
    pub replay: Option<ReplayFact>,
    /// How sound the whole cluster is, where the method brings one back.
    pub integrity: Option<IntegrityFact>,
    /// The server that it was restored onto is not the source's own: nothing but the copy is on it.
    pub alone: bool,
    /// What ties what came back to others, where the engine has such ties; why that is not known.
    pub ties: Option<std::result::Result<TiesFact, String>>,
    /// The lost data set was kept aside under another name, when that is how the recovery works.
    pub kept_aside: Option<bool>,
    /// Starting the server again was tried first: that it then answered, or why it did not do.
    pub restart: Option<std::result::Result<(), String>>,
    /// The artifact that was made of what was left, before it was dropped.
    pub emergency: Option<String>,
    /// Newer artifacts that were tried before, and why each was of no use.
    pub skipped: Vec<SkippedFact>,
    /// Backups and artifacts that were restored onto the same target before this one: definitions before their rows.
    pub before: Vec<(String, String)>,
    /// How often the recovered server called the replication host that its source names; why nobody listens there. `None`
    /// where nothing is archived.
    pub called: Option<std::result::Result<u64, String>>,
    /// What came into the archive of its source until everything was read; why that is not known. `None` where nothing is
    /// archived.
    pub archive: Option<std::result::Result<ArchiveWatch, String>>,
    /// What a given artifact needs of the server.
    pub needs: Option<NeedsFact>,
}

/// An artifact that a recovery tried and left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedFact {
    /// Its backup.
    pub backup: String,
    /// The artifact; `None` where its repository did not say what it has.
    pub artifact: Option<String>,
    /// The repository that it was read from.
    pub repository: String,
    /// Why it was of no use.
    pub why: String,
}

impl RecoveryFact {
    /// Whether the server came back by being started again, so that nothing was restored.
    pub fn is_restarted(&self) -> bool {
        matches!(self.restart, Some(Ok(())))
    }

    /// Whether no other artifact was tried before: at most another copy of this one, or a repository that did not answer.
    pub fn is_the_newest(&self) -> bool {
        let mut left = self.skipped.iter().map(|skipped| &skipped.artifact);
        left.all(|artifact| artifact.is_none() || *artifact == self.artifact)
    }

    /// Whether something was restored from this backup.
    pub fn used(&self, backup: &str) -> bool {
        self.backup == backup || self.before.iter().any(|(name, _)| name == backup)
    }

    /// Every artifact that was restored from.
    pub fn artifacts(&self) -> impl Iterator<Item = String> {
        let before = self.before.iter().map(|(_, artifact)| artifact);
        before.chain(&self.artifact).cloned()
    }
}

/// [`Phase`] as an ordered key.
pub type PhaseName = Phase;

/// A smoke question and what was answered.
#[derive(Debug, Clone, PartialEq)]
pub struct SmokeFact {
    /// What it shows.
    pub name: String,
    /// What was expected, in words.
    pub expected: String,
    /// What came: the scalar or the server's complaint. Suites ask for counts and sums, never for row values.
    pub answer: Result<String, String>,
    /// Whether the answer is the expected one.
    pub holds: bool,
    /// Why even the expected answer shows nothing of the data that came back, where it does not.
    pub void: Option<&'static str>,
}

impl SmokeFact {
    /// A question with its answer, or with why there is none: an answer that cannot be had does not hold.
    pub fn of(question: &Smoke, answer: Result<String, String>) -> Self {
        Self {
            name: question.name.clone(),
            expected: question.expect.to_string(),
            holds: answer
                .as_deref()
                .is_ok_and(|answer| question.expect.holds(answer)),
            answer,
            void: question
                .expect
                .is_any_count()
                .then_some("no count is below what is expected"),
        }
    }

    /// What was asked, what came and what was expected.
    pub fn in_words(&self) -> String {
        let got = match &self.answer {
            Ok(value) => format!("answered `{value}`"),
            Err(words) => format!("could not be answered: {words}"),
        };
        format!("\"{}\" {got}, expected {}", self.name, self.expected)
    }
}

/// What the pruner left of one backup in one repository.
#[derive(Debug, Clone, Default)]
pub struct RetentionFact {
    /// The backup.
    pub backup: String,
    /// The repository.
    pub repository: String,
    /// Virtual instant of the last prune.
    pub now: Option<DateTime<Utc>>,
    /// Every artifact ever committed: id, taken-at, and whether it verified.
    pub taken: Vec<(String, DateTime<Utc>, bool)>,
    /// Artifacts that remain, by their manifests.
    pub remaining: BTreeSet<String>,
    /// Keys that belong to no remaining artifact.
    pub orphans: Vec<String>,
    /// Keys that a remaining artifact names but that are gone.
    pub broken: Vec<String>,
    /// The archived WAL that continues what remains, where redrill archives it.
    pub log: Option<LogFact>,
}

/// Archived WAL from the oldest base backup that remains to the last write that was archived.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogFact {
    /// How many segments of it were looked for.
    pub segments: u64,
    /// Those that are gone, in order.
    pub gone: Vec<String>,
}

/// What was found out about the encryption of one backup.
#[derive(Debug, Clone, Default)]
pub struct EncryptionFact {
    /// The backup.
    pub backup: String,
    /// The manifest says that it is encrypted.
    pub declared: bool,
    /// How many stored bytes were searched for the canary.
    pub searched_bytes: u64,
    /// How many names and metadata values were searched.
    pub searched_names: u64,
    /// How many places of temporary files were searched.
    pub searched_places: u64,
    /// What could not be looked at or tried, and why.
    pub unobserved: Vec<String>,
    /// What was begun in a repository and never became whole.
    pub unfinished: Vec<String>,
    /// The canary was read back from the source (a search for what was never planted proves nothing).
    pub canary_planted: bool,
    /// Stored files that are not ciphertext, by their first bytes (compressed plaintext hides a canary).
    pub plaintext_files: Vec<String>,
    /// The canary was found here.
    pub canary_found: Vec<String>,
    /// The key left to the operators opens every file, to its end; else the first that it does not, and why.
    pub opens_with_key: Option<std::result::Result<(), String>>,
    /// Attempts that must fail, and how each ended.
    pub attempts: Vec<AttemptFact>,
}

/// An attempt to read an artifact that must fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptFact {
    /// What was tried, on which file of which repository: `a wrong key, dump in offsite`.
    pub what: String,
    /// It failed, as it must.
    pub failed: bool,
    /// It left an output file behind.
    pub left_output: bool,
}

/// A search for what must not be seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeakSearch {
    /// Files and objects that were searched.
    pub places: u64,
    /// Secrets and canaries that were searched for.
    pub secrets: u64,
    /// What was found.
    pub found: Vec<LeakFact>,
}

/// A place where something was found that must not be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeakFact {
    /// The printable name of what was found (never its value).
    pub what: String,
    /// Where.
    pub place: String,
}

/// Something that was started, and its removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TeardownFact {
    /// What was removed.
    pub what: String,
    /// Why it could not be, when it could not.
    pub error: Option<String>,
}

/// A measured restore, for projections.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The component.
    pub component: String,
    /// Bytes of the source as the server reports them.
    pub bytes: u64,
    /// Seconds of those phases of the recovery that grow with the data.
    pub moving_seconds: f64,
    /// Seconds that the backup took.
    pub backup_seconds: f64,
}

/// Something that went wrong outside of a backup or a recovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureFact {
    /// In which part of the drill.
    pub phase: Phase,
    /// What went wrong, with its hint.
    pub message: String,
    /// A needed program, engine or capability was missing: nothing is known, rather than something bad.
    pub unavailable: bool,
}

/// The drill's facts as read back from disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenFact {
    /// The run that they say they are of.
    pub run: String,
    /// The drill that they say they are of.
    pub drill: String,
    /// The artifacts that they say were restored.
    pub artifacts: BTreeSet<String>,
}

/// How a service or suite word is shown; kept here because records and reports share it.
pub fn product(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres => "PostgreSQL",
        Engine::Redis => "Redis",
        Engine::Bucket => "S3",
    }
}
