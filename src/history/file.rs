//! The file of the history: read whole, appended to under a lock, never rewritten.
//!
//! A crash can tear the last line only. It stays where it is, is told, and the next append begins on a line of its own;
//! the run it belonged to is found again by its folder.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Entry, Head, History};
use crate::error::{Doing, Error, Result};
use crate::record::{Record, State};
use crate::sha256;

/// The name of the history in a reports folder.
pub const HISTORY: &str = "history.jsonl";

/// The name of a run's record in its folder.
const RECORD: &str = "record.json";

/// How long another process may hold the history.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to wait before the lock is tried again.
const PAUSE: Duration = Duration::from_millis(20);

/// How many unusable lines or runs are told one by one.
const TOLD: usize = 5;

/// The lines of a history, each with where it stands.
fn lines(text: &[u8]) -> impl Iterator<Item = (Range<usize>, &[u8])> {
    let mut from = 0;
    memchr::memchr_iter(b'\n', text)
        .chain([text.len()])
        .map(move |end| {
            let range = from.min(end)..end;
            from = end + 1;
            (range.clone(), &text[range])
        })
}

pub(super) fn read(folder: &Path) -> Result<History> {
    let path = folder.join(HISTORY);
    let mut text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error).doing_with(|| format!("read {}", path.display())),
    };
    let mut scanned = Scanned::of(&text, folders(folder)?);
    let unnamed = scanned.unnamed(folder);
    if !unnamed.is_empty() {
        text.push(b'\n');
    }
    for entry in unnamed {
        let from = text.len();
        serde_json::to_writer(&mut text, &entry).doing("write an entry")?;
        let places = scanned.places.entry(entry.suite).or_default();
        places.push(from..text.len());
        text.push(b'\n');
    }
    Ok(History {
        folder: folder.to_owned(),
        text,
        places: scanned.places,
        unnamed: scanned.unnamed.into_keys().collect(),
        notes: scanned.notes,
    })
}

/// Takes every run of a reports folder into its history that has ended and is not in it yet. Several may do so at
/// once; returns what could not be taken, and why.
pub fn update(folder: &Path) -> Result<Vec<String>> {
    update_within(folder, PATIENCE)
}

pub(super) fn update_within(folder: &Path, patience: Duration) -> Result<Vec<String>> {
    let path = folder.join(HISTORY);
    let what = || format!("append to {}", path.display());
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .open(&path)
        .doing_with(what)?;
    let until = Instant::now() + patience;
    while let Err(error) = file.try_lock() {
        match error {
            TryLockError::WouldBlock if Instant::now() < until => std::thread::sleep(PAUSE),
            TryLockError::WouldBlock => {
                return Ok(vec![format!(
                    "{} was held by another process for {}: the next run takes this one into it too",
                    path.display(),
                    humantime::format_duration(patience)
                )]);
            }
            TryLockError::Error(error) => return Err(error).doing_with(what),
        }
    }
    let mut text = Vec::new();
    file.read_to_end(&mut text).doing_with(what)?;
    let mut scanned = Scanned::of(&text, folders(folder)?);
    let mut new = Vec::new();
    for entry in scanned.unnamed(folder) {
        serde_json::to_writer(&mut new, &entry).doing_with(what)?;
        new.push(b'\n');
    }
    if !new.is_empty() {
        if !text.is_empty() && !text.ends_with(b"\n") {
            new.insert(0, b'\n');
        }
        append(&mut file, &new).doing_with(what)?;
    }
    // Closing the file gives up the lock.
    Ok(scanned.notes)
}

/// One write, made durable; what a full disk has cut is taken away again.
fn append(file: &mut File, new: &[u8]) -> std::io::Result<()> {
    let before = file.metadata()?.len();
    let written = file.write_all(new).and_then(|()| file.sync_all());
    if written.is_err() {
        file.set_len(before)?;
    }
    written
}

/// What one pass over the lines has found.
#[derive(Default)]
struct Scanned {
    /// Where the lines of each suite stand.
    places: BTreeMap<String, Vec<Range<usize>>>,
    /// The runs that have a folder and no line, or of which a crash may have written a part: then with the drills
    /// that have a line.
    unnamed: BTreeMap<String, HashSet<String>>,
    notes: Vec<String>,
}

impl Scanned {
    fn of(text: &[u8], folders: Vec<String>) -> Self {
        let mut scanned = Self::default();
        let mut named: HashMap<&str, bool> =
            folders.iter().map(|run| (run.as_str(), false)).collect();
        // Runs that a crash may have written a part of.
        let mut torn: HashSet<&str> = HashSet::new();
        let mut last = "";
        let mut broken = Vec::new();
        for (number, (place, line)) in lines(text).enumerate() {
            let Some(head) = Head::of(line) else {
                if !line.is_empty() {
                    torn.insert(last);
                    broken.push(format!(
                        "line {} of {HISTORY} is torn or foreign, and left out: a run is read from its record instead",
                        number + 1
                    ));
                }
                continue;
            };
            match scanned.places.get_mut(head.suite) {
                Some(places) => places.push(place),
                None => {
                    scanned.places.insert(head.suite.to_owned(), vec![place]);
                }
            }
            if head.run != last {
                last = head.run;
                if let Some(named) = named.get_mut(last) {
                    *named = true;
                }
            }
        }
        scanned.note(broken);
        for (run, named) in named {
            if !named || torn.contains(run) {
                scanned.unnamed.insert(run.to_owned(), HashSet::new());
            }
        }
        if !torn.is_empty() {
            for head in lines(text).filter_map(|(_, line)| Head::of(line)) {
                if let Some(drills) = scanned.unnamed.get_mut(head.run) {
                    drills.insert(head.drill.to_owned());
                }
            }
        }
        scanned
    }

    /// The entries of drills that have a record and no line; notes what cannot be used.
    fn unnamed(&mut self, folder: &Path) -> Vec<Entry> {
        let mut found = Vec::new();
        let mut unusable = Vec::new();
        for (run, drills) in &self.unnamed {
            match entries(folder, run) {
                Ok(entries) => {
                    found.extend(entries.into_iter().filter(|it| !drills.contains(&it.drill)));
                }
                Err(why) => unusable.push(format!("run {run} is left out: {why}")),
            }
        }
        self.note(unusable);
        found.sort_by(|a, b| (a.at, &a.run).cmp(&(b.at, &b.run)));
        found
    }

    fn note(&mut self, notes: Vec<String>) {
        let more = notes.len().saturating_sub(TOLD);
        self.notes.extend(notes.into_iter().take(TOLD));
        if more > 0 {
            self.notes.push(format!("and {more} more"));
        }
    }
}

/// The folders of runs, by name; none where there is no reports folder.
fn folders(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).doing_with(|| format!("list {}", folder.display())),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.doing_with(|| format!("list {}", folder.display()))?;
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if let (true, Some(name)) = (is_folder, entry.file_name().to_str()) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// The entries of a run that has ended; the error says in words why there are none.
fn entries(folder: &Path, run: &str) -> std::result::Result<Vec<Entry>, String> {
    let path = folder.join(run).join(RECORD);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        // A folder of something else.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.to_string()),
    };
    let text = String::from_utf8_lossy(&bytes);
    let record = Record::from_json(&text).map_err(|error| error.message())?;
    if record.run_id != run {
        return Err(format!("its record is of the run {}", record.run_id));
    }
    if record.state == State::Running {
        return Err("it has not ended, or was killed".to_owned());
    }
    Ok(Entry::of_run(&record, &sha256::hex_of(&bytes)))
}

/// The path of a run's record; a name that leads elsewhere is refused.
pub(super) fn record_path(folder: &Path, run: &str) -> Result<PathBuf> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if run.is_empty() || !run.chars().all(plain) {
        return Err(Error::usage(format!("{run:?} is not the name of a run"))
            .hint("`redrill history` shows the names of runs"));
    }
    Ok(folder.join(run).join(RECORD))
}
