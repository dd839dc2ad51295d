//! Facts about what comes from outside of a suite: an artifact that somebody else made, and a release.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::{Observation, SmokeFact};
use crate::suite::Engine;

/// An artifact that somebody else made, and what there is to hold it against.
#[derive(Debug, Clone, Default)]
pub struct GivenFact {
    /// What it is and where it lies, in words and without secrets.
    pub what: String,
    /// What it is a backup of is a whole cluster, of which one database is looked at.
    pub cluster: Option<ClusterFact>,
    /// The folder that it lies in, without what names a day.
    pub folder: String,
    /// Somebody said of what it is a backup.
    pub is_named: bool,
    /// The time that its content gives.
    pub taken_at: Option<DateTime<Utc>>,
    /// When it was read.
    pub read_at: DateTime<Utc>,
    /// A manifest of its own says what every file of it holds, and it was held to that.
    pub manifest: bool,
    /// What the last one of its lineage held that was verified; why that is not known, where it should be.
    pub baseline: Option<Result<Baseline, String>>,
    /// What the live source holds; why that is not known.
    pub live: Option<Result<Held, String>>,
    /// Newer ones beside it that are not whole, and why.
    pub left: Vec<(String, String)>,
}

/// The databases of a cluster, counted: all the same, whichever of them is looked at.
#[derive(Debug, Clone, Default)]
pub struct ClusterFact {
    /// The one that was looked at.
    pub database: String,
    /// Rows of the others, part by part, each with its database's name before it.
    pub rows: BTreeMap<String, u64>,
    /// The size of the others, in bytes.
    pub bytes: u64,
    /// Those that could not be counted, and why.
    pub uncounted: Vec<(String, String)>,
}

impl ClusterFact {
    /// How a part of one of the databases is called.
    pub fn name(database: &str, part: &str) -> String {
        format!("{database}.{part}")
    }
}

impl GivenFact {
    /// What came back of it, of all databases where it is a cluster.
    pub fn held(&self, observation: &Observation, engine: Engine) -> Held {
        let mut held = Held::of(observation, engine);
        if let Some(cluster) = &self.cluster {
            let rows = std::mem::take(&mut held.rows).into_iter();
            held.rows = rows
                .map(|(part, rows)| (ClusterFact::name(&cluster.database, &part), rows))
                .collect();
            held.rows.extend(cluster.rows.clone());
            held.objects += cluster.rows.len() as u64;
            held.bytes += cluster.bytes;
        }
        held
    }
}

/// What an earlier artifact of the same lineage held when it was verified.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Baseline {
    /// The run that verified it.
    pub run: String,
    /// The folder that it lay in.
    pub folder: Option<String>,
    /// What it held.
    pub held: Held,
    /// The most of each that it and those before it held: what is lost bit by bit shows beside that.
    pub most: Held,
}

/// How much there is of what, without its content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// Size as the server itself reports it, in bytes; 0 where it was not asked.
    pub bytes: u64,
    /// Objects: tables, databases of keys by type, files.
    pub objects: u64,
    /// Rows or keys, part by part; empty where the parts are files.
    pub rows: BTreeMap<String, u64>,
}

impl Held {
    /// The larger of both, one by one.
    #[must_use]
    pub fn most(mut self, other: &Self) -> Self {
        self.bytes = self.bytes.max(other.bytes);
        self.objects = self.objects.max(other.objects);
        for (name, rows) in &other.rows {
            let known = self.rows.entry(name.clone()).or_default();
            *known = (*known).max(*rows);
        }
        self
    }

    /// The same of an observation. Files are counted, and not named.
    pub fn of(observation: &Observation, engine: Engine) -> Self {
        let rows = observation
            .parts
            .iter()
            .map(|(name, part)| (name.to_string(), part.count));
        Self {
            bytes: observation.bytes,
            objects: match &observation.objects {
                Some(objects) => objects.0.len(),
                None => observation.parts.len() as u64,
            },
            rows: match engine {
                Engine::Bucket => BTreeMap::new(),
                Engine::Postgres | Engine::Redis => rows.collect(),
            },
        }
    }
}

/// What an artifact needs of the server that it is restored on, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NeedsFact {
    /// How many roles and extensions it names.
    pub named: u64,
    /// Roles that are not there.
    pub roles: Vec<String>,
    /// Roles that were created for it, as asked.
    pub created: Vec<String>,
    /// Extensions that the server does not have.
    pub extensions: Vec<String>,
}

/// A release, tried on what a recovery brought back.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReleaseFact {
    /// Its migrations, up to the first that failed.
    pub migrations: Vec<MigrationFact>,
    /// Answers after them; `None` when one of them failed.
    pub smoke: Option<Vec<SmokeFact>>,
}

/// A migration that was run.
#[derive(Debug, Clone, PartialEq)]
pub struct MigrationFact {
    /// The file, or the command.
    pub name: String,
    /// How long it took.
    pub seconds: f64,
    /// Why it failed, when it did.
    pub error: Option<String>,
}
