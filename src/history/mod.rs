//! What was drilled before: `history.jsonl` in the reports folder, one line for each drill of each run, appended when
//! the run has ended. It is an index of the records beside it and holds the figures that trends are made of; what a
//! gate decides on it reads from the record itself, whose SHA-256 the line names.
//!
//! Because it is an index, nothing is lost with a line that is torn: a run whose folder is there and that no line
//! names is read from its record. So the folders of several shards are merged by putting them into one.
//!
//! Not here: whether figures are good (see [`crate::check`]), or how they are shown (see [`crate::report`]).

mod compare;
mod file;
mod line;
mod trend;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use crate::error::{Error, Result};
use crate::record::Record;
use crate::sha256;

pub use compare::{Change, Comparison, compare};
pub use file::{HISTORY, update};
use line::instant;
pub use line::{Entry, Head};
pub use trend::{Metric, WORDS, judge, series};

/// What is known of earlier runs.
#[derive(Debug, Default)]
pub struct History {
    folder: PathBuf,
    /// The lines of the file, and of runs that it does not name.
    text: Vec<u8>,
    /// Where the lines of each suite stand in it.
    places: BTreeMap<String, Vec<Range<usize>>>,
    /// Runs that only their folder tells of.
    unnamed: BTreeSet<String>,
    /// What could not be used, and why.
    pub notes: Vec<String>,
}

impl History {
    /// The history of a reports folder; an empty one where there is none.
    pub fn read(folder: &Path) -> Result<Self> {
        file::read(folder)
    }

    /// Whether the file has a line of a run, which names the record that was written when it ended.
    pub fn names(&self, run: &str) -> bool {
        !self.unnamed.contains(run)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The lines of a suite, with their heads.
    fn lines<'h>(&'h self, suite: &str) -> impl Iterator<Item = (Head<'h>, &'h [u8])> {
        let places = self.places.get(suite).into_iter().flatten();
        places.filter_map(|place| {
            let line = self.text.get(place.clone())?;
            Some((Head::of(line)?, line))
        })
    }

    /// The suites that there is anything of.
    pub fn suites(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// The entries of a suite that `wanted` asks for by their head, in the order of the file. A line that cannot be
    /// read is left out here, and told in [`History::notes`].
    pub fn entries(&self, suite: &str, wanted: impl Fn(&Head<'_>) -> bool) -> Vec<Entry> {
        let lines = self.lines(suite).filter(|(head, _)| wanted(head));
        lines.filter_map(|(_, line)| Entry::of(line)).collect()
    }

    /// For each drill of a suite the entry that ranks highest, and of those the newest; of two of the same time, the
    /// later line. What has no rank is left out.
    pub fn newest<R: Ord>(
        &self,
        suite: &str,
        rank: impl Fn(&Head<'_>) -> Option<R>,
    ) -> BTreeMap<String, Entry> {
        self.chosen(suite, |_| true, rank)
    }

    /// The same as known at an instant. An entry dated later gives way to those that were appended after it: no date
    /// could say so.
    pub fn newest_at<R: Ord>(
        &self,
        suite: &str,
        now: DateTime<Utc>,
        rank: impl Fn(&Head<'_>) -> Option<R>,
    ) -> BTreeMap<String, Entry> {
        let now = instant(now);
        self.chosen(suite, |at| at <= now.as_str(), rank)
    }

    fn chosen<R: Ord>(
        &self,
        suite: &str,
        is_past: impl Fn(&str) -> bool,
        rank: impl Fn(&Head<'_>) -> Option<R>,
    ) -> BTreeMap<String, Entry> {
        let mut newest: BTreeMap<&str, (R, &str, &[u8])> = BTreeMap::new();
        for (head, line) in self.lines(suite) {
            let Some(rank) = rank(&head) else {
                continue;
            };
            let stays = newest.get(head.drill).is_some_and(|(known, at, _)| {
                rank < *known || rank == *known && is_past(at) && head.at < *at
            });
            if !stays {
                newest.insert(head.drill, (rank, head.at, line));
            }
        }
        let entries = newest
            .into_values()
            .filter_map(|(_, _, line)| Entry::of(line));
        entries.map(|entry| (entry.drill.clone(), entry)).collect()
    }

    /// The entries of the drills of a run, of it and of those before, by drill, oldest first.
    pub fn of_drills(&self, record: &Record) -> BTreeMap<String, Vec<Entry>> {
        let wanted: BTreeSet<&str> = record.drills.iter().map(|it| it.id.as_str()).collect();
        let suites = record.suites.iter();
        let entries =
            suites.flat_map(|suite| self.entries(&suite.name, |head| wanted.contains(head.drill)));
        series(entries.collect())
    }

    /// The runs of the history, oldest first.
    pub fn runs(&self) -> Vec<String> {
        let mut runs: BTreeSet<(&str, &str)> = BTreeSet::new();
        for (head, _) in self.suites().flat_map(|suite| self.lines(suite)) {
            runs.insert((head.at, head.run));
        }
        runs.into_iter().map(|(_, run)| run.to_owned()).collect()
    }

    /// The record of a run of this folder.
    pub fn record(&self, run: &str) -> Result<Record> {
        Record::read(&file::record_path(&self.folder, run)?)
    }

    /// The record that an entry is of. One that was changed since its run ended is an error.
    pub fn sealed(&self, entry: &Entry) -> Result<Record> {
        let path = self.record_path(&entry.run)?;
        let (record, bytes) = Record::read_with_bytes(&path)?;
        if sha256::hex_of(&bytes) != entry.record_sha256 {
            return Err(Error::failed(format!(
                "the record of run {} is not the one that was written when it ended",
                entry.run
            )));
        }
        Ok(record)
    }

    /// Why an entry cannot be relied on: its record was changed since its run ended, or cannot be read.
    pub fn doubt(&self, entry: &Entry) -> Option<String> {
        self.sealed(entry).err().map(|error| error.message())
    }

    /// The path of a run's record.
    pub fn record_path(&self, run: &str) -> Result<PathBuf> {
        file::record_path(&self.folder, run)
    }
}

#[cfg(test)]
mod tests;
