//! Facts about a recovered server and its recovery: its replay, how sound the cluster is on disk, what ties it to others, and
//! what came into its source's archive.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

/// How archived logs were replayed onto a restored base, by the recovered server's own words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplayFact {
    /// Where it was told to stop.
    pub target: String,
    /// Where it says that it stopped, and why.
    pub stopped: String,
    /// When the last transaction was committed that it replayed; none where there was none in the logs.
    pub last_commit: Option<DateTime<Utc>>,
    /// The place in the log where it stopped.
    pub lsn: String,
    /// In which way that is not where it was told to stop.
    pub missed: Option<String>,
    /// What the archive holds of timelines that were left on the way, and is not part of it, in words.
    pub abandoned: Vec<String>,
    /// The timeline that it replayed up to, and the newest that the repository has.
    pub timelines: (u32, u32),
    /// The cluster's identity, and that of the base backup.
    pub identities: (String, String),
    /// The base backup has data checksums; `None` where its control file could not be asked.
    pub checksums: Option<bool>,
}

impl ReplayFact {
    /// Whether it stopped before a place in the log.
    pub fn stopped_before(&self, lsn: &str) -> bool {
        let place = |lsn: &str| {
            let (high, low) = lsn.split_once('/')?;
            let part = |text| u64::from_str_radix(text, 16).ok();
            Some(part(high)? << 32 | part(low)?)
        };
        let (stopped, at) = (place(&self.lsn), place(lsn));
        stopped.zip(at).is_some_and(|(stopped, at)| stopped < at)
    }
}

/// How sound a recovered cluster is on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IntegrityFact {
    /// Databases looked at.
    pub databases: u64,
    /// Relations of which every page was read.
    pub relations: u64,
    /// Pages read.
    pub pages: u64,
    /// Indexes checked against their tables.
    pub indexes: u64,
    /// What is not sound, by database and relation, with the server's words.
    pub damaged: BTreeMap<String, String>,
    /// Indexes that can be asked nothing, by their kind or definition or because they hold nothing, and why.
    pub unchecked: BTreeMap<String, String>,
    /// Indexes of which only a part was looked at, and how much.
    pub sampled: BTreeMap<String, String>,
    /// Databases, and relations of them, that could not be looked at as they should be, and why.
    pub unable: BTreeMap<String, Unable>,
    /// Data checksums are on.
    pub checksums: bool,
}

/// Why a database, or a relation of one, could not be looked at as it should be, with the server's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unable {
    /// An extension that this takes is not installed with the server.
    Lacks(String),
    /// The database lets nobody in, and could not be opened.
    Closed(String),
    /// The server gave no answer, or not in time.
    Unanswered(String),
    /// Dropping the database was begun and not ended: nobody can open it any more, and only dropping it is left.
    HalfDropped,
}

/// What ties a recovered server to others, as it runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TiesFact {
    /// What writes into the archive of its source, follows it or is fed by it: settings, connections and subscriptions, by name.
    pub ties: Vec<String>,
    /// Processes that are none of the engine's own.
    pub workers: Vec<String>,
}

/// A file in the archive of a source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct InArchive {
    /// The timeline that it is of, by its name.
    pub timeline: u32,
    /// Its name.
    pub name: String,
    /// Where it lies: a repository, or the directory that the source archives to.
    pub place: String,
}

/// What came into the archive of a source while a copy of it was recovered and read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ArchiveWatch {
    /// The source still answers, and archives what it writes on its own timeline.
    pub lives: bool,
    /// The newest timeline that was there when the recovery began.
    pub newest: u32,
    /// What was not there then.
    pub came: Vec<InArchive>,
}

impl ArchiveWatch {
    /// What neither the source nor the drill can have put there: both are on timelines that were there before.
    pub fn foreign(&self) -> impl Iterator<Item = &InArchive> {
        let own = |it: &InArchive| self.lives && it.timeline <= self.newest;
        self.came.iter().filter(move |it| !own(it))
    }
}
