//! The log of one bucket: every object that was put and every one that was deleted, in order. What it says is what is
//! there.
//!
//! A record is sixteen bytes (magic, then the lengths of body and description, 4 bytes each, little-endian), the body
//! and the description as JSON. Small bodies stand in the record, as very many small files would cost more than what
//! is in them; a larger one lies in a file that the description names, which is there before the record is. A kill
//! can only cut the last record short: it is dropped, as it was never acknowledged. Not here: the index (see
//! [`super::store`]). Everything here blocks.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::meta::{Entry, Meta};

const MAGIC: &[u8; 8] = b"redrill2";
const HEAD: u64 = 16;
/// Space that may be lost to what was replaced or deleted before the log is written anew.
const DEAD: u64 = 64 << 20;

/// Where an object lies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Where its record begins.
    at: u64,
    /// The length of the body in the record.
    body: u32,
    /// The length of the description.
    description: u32,
    /// The file with its body; 0 when that is in the record.
    pub file: u64,
}

impl Place {
    /// Where its body begins in the log.
    pub fn start(&self) -> u64 {
        self.at + HEAD
    }

    /// How much of the log its record takes.
    pub fn length(&self) -> u64 {
        HEAD + u64::from(self.body) + u64::from(self.description)
    }
}

/// One description.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Said {
    /// An object was put, replacing the one of the same key.
    Put {
        /// What is stored of it.
        meta: Box<Meta>,
        /// The file with its body; 0 when it is in the record.
        #[serde(default, skip_serializing_if = "is_zero")]
        file: u64,
    },
    /// The object of this key was deleted.
    Deleted(String),
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde wants it")]
fn is_zero(file: &u64) -> bool {
    *file == 0
}

/// A log that is open for appending.
pub struct Log {
    path: PathBuf,
    file: Arc<File>,
    end: u64,
    /// Bytes of records that say nothing any more.
    pub dead: u64,
}

impl Log {
    /// Opens the log at a path, which is created when it is not there, and tells what it says, in order.
    pub fn open(
        path: &Path,
        mut tell: impl FnMut(Said, Place) -> io::Result<()>,
    ) -> io::Result<Self> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)?;
        let total = file.metadata()?.len();
        let mut reader = io::BufReader::with_capacity(1 << 20, &file);
        let mut at = 0;
        while total - at >= HEAD {
            let mut head = [0; HEAD as usize];
            reader.read_exact(&mut head)?;
            let (magic, lengths) = head.split_at(8);
            if magic != MAGIC {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("the log is damaged at byte {at}"),
                ));
            }
            let length = |at: usize| {
                let bytes = [
                    lengths[at],
                    lengths[at + 1],
                    lengths[at + 2],
                    lengths[at + 3],
                ];
                u32::from_le_bytes(bytes)
            };
            let mut place = Place {
                at,
                body: length(0),
                description: length(4),
                file: 0,
            };
            if place.length() > total - at {
                break;
            }
            reader.seek_relative(i64::from(place.body))?;
            let mut description = vec![0; place.description as usize];
            reader.read_exact(&mut description)?;
            let said: Said = serde_json::from_slice(&description)?;
            if let Said::Put { file, .. } = &said {
                place.file = *file;
            }
            tell(said, place)?;
            at += place.length();
        }
        // What was cut short was never acknowledged.
        file.set_len(at)?;
        Ok(Self {
            path: path.to_owned(),
            file: Arc::new(file),
            end: at,
            dead: 0,
        })
    }

    /// Appends a record; when that fails, nothing of it is left.
    pub fn append(&mut self, body: &[u8], said: &Said) -> io::Result<Place> {
        let description = serde_json::to_vec(said)?;
        let too_long = |_| io::Error::from(io::ErrorKind::FileTooLarge);
        let place = Place {
            at: self.end,
            body: u32::try_from(body.len()).map_err(too_long)?,
            description: u32::try_from(description.len()).map_err(too_long)?,
            file: match said {
                Said::Put { file, .. } => *file,
                Said::Deleted(_) => 0,
            },
        };
        let mut record = Vec::with_capacity(place.length() as usize);
        record.extend_from_slice(MAGIC);
        record.extend_from_slice(&place.body.to_le_bytes());
        record.extend_from_slice(&place.description.to_le_bytes());
        record.extend_from_slice(body);
        record.extend_from_slice(&description);
        if let Err(error) = self.file.write_all_at(&record, self.end) {
            self.file.set_len(self.end)?;
            return Err(error);
        }
        self.end += place.length();
        if matches!(said, Said::Deleted(_)) {
            self.forget(place);
        }
        Ok(place)
    }

    /// The record at a place says nothing any more.
    pub fn forget(&mut self, place: Place) {
        self.dead += place.length();
    }

    /// What is stored of the object at a place.
    pub fn meta(&self, place: Place) -> io::Result<Meta> {
        let mut description = vec![0; place.description as usize];
        let at = place.start() + u64::from(place.body);
        self.file.read_exact_at(&mut description, at)?;
        match serde_json::from_slice(&description)? {
            Said::Put { meta, .. } => Ok(*meta),
            Said::Deleted(key) => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{key} was deleted"),
            )),
        }
    }

    /// The file, for reading bodies from. What was opened stays whole, also when the log is written anew.
    pub fn file(&self) -> Arc<File> {
        self.file.clone()
    }

    /// Whether so much of it is dead that it is worth writing anew.
    pub fn is_mostly_dead(&self) -> bool {
        self.dead >= DEAD && self.dead >= self.end / 2
    }

    /// The log written anew, with the records of these objects only; where each is then is told. It takes the place of
    /// this one at the very end.
    pub fn anew(
        &self,
        live: impl Iterator<Item = io::Result<(String, Entry)>>,
        mut tell: impl FnMut(&str, Entry) -> io::Result<()>,
    ) -> io::Result<Self> {
        let fresh = self.path.with_extension("fresh");
        let mut file = File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(&fresh)?;
        let mut end = 0;
        for object in live {
            let (key, mut entry) = object?;
            let mut from = &*self.file;
            from.seek(SeekFrom::Start(entry.place.at))?;
            io::copy(&mut from.take(entry.place.length()), &mut file)?;
            entry.place.at = end;
            end += entry.place.length();
            tell(&key, entry)?;
        }
        std::fs::rename(&fresh, &self.path)?;
        Ok(Self {
            path: self.path.clone(),
            file: Arc::new(file),
            end,
            dead: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::meta::{Described, Etag, now};
    use super::*;

    fn meta(key: &str, size: u64) -> Meta {
        Meta {
            key: key.to_owned(),
            size,
            etag: Etag {
                md5: [3; 16],
                parts: 0,
            },
            modified: now(),
            described: Described::default(),
            checksum: None,
            parts: Vec::new(),
        }
    }

    /// The bodies that a log says are there.
    fn read(path: &Path) -> BTreeMap<String, Vec<u8>> {
        let mut places = BTreeMap::new();
        let log = Log::open(path, |said, place| {
            match said {
                Said::Put { meta, .. } => drop(places.insert(meta.key, place)),
                Said::Deleted(key) => drop(places.remove(&key)),
            }
            Ok(())
        })
        .expect("opened");
        let body = |place: &Place| {
            let meta = log.meta(*place).expect("described");
            let mut body = vec![0; meta.size as usize];
            log.file()
                .read_exact_at(&mut body, place.start())
                .expect("read");
            body
        };
        places
            .iter()
            .map(|(key, place)| (key.clone(), body(place)))
            .collect()
    }

    proptest! {
        #[test]
        fn a_log_cut_anywhere_says_what_was_acknowledged_before_the_cut(
            steps in proptest::collection::vec(("[abc]", proptest::option::of(0..40_usize)), 1..20),
            cut in 0.0..1.0,
        ) {
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().join("log");
            let mut log = Log::open(&path, |_, _| Ok(())).expect("opened");
            let mut expected = vec![(0, BTreeMap::new())];
            for (number, (key, size)) in steps.into_iter().enumerate() {
                let mut there: BTreeMap<String, Vec<u8>> =
                    expected.last().map(|(_, there)| there.clone()).unwrap_or_default();
                if let Some(size) = size {
                    let body = vec![number as u8; size];
                    let said = Said::Put { meta: Box::new(meta(&key, size as u64)), file: 0 };
                    log.append(&body, &said).expect("appended");
                    there.insert(key, body);
                } else {
                    log.append(b"", &Said::Deleted(key.clone())).expect("appended");
                    there.remove(&key);
                }
                expected.push((log.end, there));
            }
            let cut = (log.end as f64 * cut) as u64;
            drop(log);
            File::options().write(true).open(&path).expect("opened").set_len(cut).expect("cut");
            let (_, there) = expected.iter().rev().find(|(end, _)| *end <= cut).expect("the start");
            prop_assert_eq!(&read(&path), there);
            prop_assert_eq!(&read(&path), there, "and again");
        }
    }

    #[test]
    fn a_log_that_is_mostly_dead_is_written_anew_and_says_the_same() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log");
        let mut log = Log::open(&path, |_, _| Ok(())).expect("opened");
        let put = |log: &mut Log, key: &str, body: &[u8]| {
            let said = Said::Put {
                meta: Box::new(meta(key, body.len() as u64)),
                file: 0,
            };
            log.append(body, &said).expect("appended")
        };
        let kept = put(&mut log, "kept", b"small");
        let large = vec![7; 1 << 20];
        for _ in 0..=(DEAD >> 20) {
            let place = put(&mut log, "replaced", &large);
            log.forget(place);
        }
        let last = put(&mut log, "replaced", b"last");
        let opened = log.file();
        assert!(log.is_mostly_dead());
        let live = [("kept", kept), ("replaced", last)].map(|(key, place)| {
            let entry = meta(key, 5).entry();
            Ok((key.to_owned(), Entry { place, ..entry }))
        });
        let mut moved = Vec::new();
        let told = |_: &str, entry: Entry| {
            moved.push(entry.place);
            Ok(())
        };
        let mut log = log.anew(live.into_iter(), told).expect("written anew");
        assert!(log.end < 1 << 10 && !log.is_mostly_dead());
        assert_eq!(log.meta(moved[1]).expect("described").key, "replaced");
        assert!(opened.metadata().expect("still open").len() > DEAD);
        put(&mut log, "new", b"after");
        let there = read(&path);
        assert_eq!(there.len(), 3);
        assert_eq!(there["kept"], b"small");
        assert_eq!(there["replaced"], b"last");
        assert_eq!(there["new"], b"after");
    }

    #[test]
    fn a_damaged_log_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log");
        std::fs::write(&path, [0; 64]).expect("written");
        assert!(Log::open(&path, |_, _| Ok(())).is_err());
    }
}
