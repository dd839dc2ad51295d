//! Multipart uploads in progress, on disk until they are completed or aborted; they outlive a restart.
//!
//! ```text
//! DIR/uploads/ID/upload.json  what the object will be
//! DIR/uploads/ID/00001        a part (the same kind of file as an object, see `meta`)
//! ```
//!
//! An upload comes and goes by one rename of its directory, a part by one rename of its file. Everything here blocks.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use s3s::{S3Error, S3Result, s3_error};
use serde::{Deserialize, Serialize};

use super::body::{Sink, Written};
use super::checksum::{Algorithm, Checksum, md5};
use super::condition::WriteCondition;
use super::meta::{Described, Etag, Meta, Part, now};
use super::refusal::disk;
use super::store::{Opened, Store, file_name, list};
use crate::error::{Doing, Result};

/// The smallest part that is not the last one, as in S3: 5 MiB.
const MIN_PART: u64 = 5 << 20;
/// The highest part number, as in S3.
pub const MAX_PARTS: i32 = 10_000;

/// What the object of an upload will be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Upload {
    /// The bucket it will be in.
    pub bucket: String,
    /// Its key.
    pub key: String,
    /// When the upload was created.
    pub initiated: DateTime<Utc>,
    /// What the client said about it.
    pub described: Described,
    /// The checksum it will have.
    pub algorithm: Option<Algorithm>,
    /// Whether that checksum covers the whole object's bytes or its parts' checksums.
    pub whole: bool,
}

/// A part as named by the client that completes the upload.
#[derive(Debug, Clone)]
pub struct NamedPart {
    /// Its number.
    pub number: i32,
    /// The ETag that it had when it was uploaded.
    pub etag: String,
    /// Its checksum, where the client says it.
    pub checksum: Option<Checksum>,
}

/// All uploads in progress.
pub struct Uploads {
    dir: PathBuf,
    /// Where parts are written before they get their names.
    tmp: PathBuf,
    all: Mutex<BTreeMap<String, Arc<Upload>>>,
}

impl Uploads {
    /// Reads the uploads in progress from their directory.
    pub fn load(dir: PathBuf, tmp: PathBuf) -> Result<Self> {
        let mut all = BTreeMap::new();
        for path in list(&dir)? {
            let upload: Upload = fs::read(path.join("upload.json"))
                .and_then(|json| Ok(serde_json::from_slice(&json)?))
                .doing_with(|| format!("read upload {}", path.display()))?;
            all.insert(file_name(&path), Arc::new(upload));
        }
        Ok(Self {
            dir,
            tmp,
            all: Mutex::new(all),
        })
    }

    /// Forgets every upload, on disk they stay: nothing more can be written to them.
    pub fn close(&self) {
        self.all().clear();
    }

    /// Creates an upload and returns its id.
    pub fn create(&self, upload: Upload, store: &Store) -> S3Result<String> {
        let id = format!("{:032x}", rand::random::<u128>());
        let fresh = store.tmp_name();
        let json = serde_json::to_vec(&upload).map_err(|error| disk(error.into()))?;
        fs::create_dir(&fresh)
            .and_then(|()| fs::write(fresh.join("upload.json"), json))
            .and_then(|()| fs::rename(&fresh, self.dir.join(&id)))
            .map_err(disk)?;
        self.all().insert(id.clone(), Arc::new(upload));
        Ok(id)
    }

    /// The upload of this id, if it is for this bucket and key.
    pub fn get(&self, id: &str, bucket: &str, key: &str) -> S3Result<Arc<Upload>> {
        self.all()
            .get(id)
            .filter(|upload| upload.bucket == bucket && upload.key == key)
            .cloned()
            .ok_or_else(no_such_upload)
    }

    /// All uploads into a bucket with their ids, by key and then by age.
    pub fn of_bucket(&self, bucket: &str) -> Vec<(String, Arc<Upload>)> {
        let mut found: Vec<_> = self
            .all()
            .iter()
            .filter(|(_, upload)| upload.bucket == bucket)
            .map(|(id, upload)| (id.clone(), Arc::clone(upload)))
            .collect();
        found.sort_by(|(id, upload), (other_id, other)| {
            (&upload.key, upload.initiated, id).cmp(&(&other.key, other.initiated, other_id))
        });
        found
    }

    /// Keeps a part, in the place of an earlier one of the same number.
    pub fn put_part(
        &self,
        id: &str,
        upload: &Upload,
        number: i32,
        written: Written,
    ) -> S3Result<Meta> {
        let meta = Meta {
            key: upload.key.clone(),
            size: written.size,
            etag: Etag {
                md5: written.md5,
                parts: 0,
            },
            modified: now(),
            described: Described::default(),
            checksum: written.checksum,
            parts: Vec::new(),
        };
        let mut file = written.kept.into_file(&self.tmp).map_err(disk)?;
        meta.seal(file.as_file_mut()).map_err(disk)?;
        self.get(id, &upload.bucket, &upload.key)?;
        file.persist(self.part_path(id, number))
            .map_err(|error| gone_or_broken(error.error))?;
        Ok(meta)
    }

    /// The parts that have arrived, by number.
    pub fn parts(&self, id: &str) -> S3Result<BTreeMap<i32, Meta>> {
        let mut parts = BTreeMap::new();
        for entry in fs::read_dir(self.dir.join(id)).map_err(gone_or_broken)? {
            let path = entry.map_err(disk)?.path();
            let Ok(number) = file_name(&path).parse() else {
                continue;
            };
            let file = File::open(path).map_err(gone_or_broken)?;
            parts.insert(number, Meta::read(&file).map_err(disk)?);
        }
        Ok(parts)
    }

    /// Puts the named parts together and makes them the object.
    pub fn complete(
        &self,
        id: &str,
        upload: &Upload,
        named: &[NamedPart],
        expected: &Expected,
        condition: &WriteCondition,
        store: &Store,
    ) -> S3Result<Meta> {
        let bucket = store.bucket(&upload.bucket)?;
        bucket.check(&upload.key, condition)?;
        let metas = self.check_parts(id, named)?;
        let size = metas.iter().map(|meta| meta.size).sum();
        if expected.size.is_some_and(|expected| expected != size) {
            return Err(s3_error!(
                InvalidRequest,
                "the object size you specified is not the sum of the part sizes"
            ));
        }
        let whole = upload.algorithm.filter(|_| upload.whole);
        let mut sink = Sink::new(store.tmp(), whole).without_md5();
        for (part, meta) in named.iter().zip(&metas) {
            let opened = self.open_part(id, part)?;
            if opened.meta.etag != meta.etag {
                return Err(invalid_part());
            }
            sink.copy(&opened, 0, meta.size).map_err(disk)?;
        }
        let written = sink.finish();
        let checksum = match upload.algorithm {
            Some(algorithm) if !upload.whole => Some(composite(algorithm, &metas)?),
            _ => written.checksum,
        };
        if let (Some(expected), Some(computed)) = (&expected.checksum, &checksum)
            && expected != computed
        {
            return Err(s3_error!(
                BadDigest,
                "the checksum you specified did not match the calculated checksum"
            ));
        }
        let digests: Vec<u8> = metas.iter().flat_map(|meta| meta.etag.md5).collect();
        let meta = Meta {
            key: upload.key.clone(),
            size,
            etag: Etag {
                md5: md5(&digests),
                parts: metas.len() as u32,
            },
            modified: now(),
            described: upload.described.clone(),
            checksum,
            parts: metas.iter().map(|meta| Part { size: meta.size }).collect(),
        };
        bucket.commit(written.kept, meta.clone(), condition)?;
        // A second completion may have removed it first: the object is there all the same.
        match self.abort(id, store) {
            Err(error) if error.code().as_str() != "NoSuchUpload" => Err(error),
            _ => Ok(meta),
        }
    }

    /// Removes an upload and its parts.
    pub fn abort(&self, id: &str, store: &Store) -> S3Result<()> {
        if self.all().remove(id).is_none() {
            return Err(no_such_upload());
        }
        let old = store.tmp_name();
        fs::rename(self.dir.join(id), &old)
            .and_then(|()| fs::remove_dir_all(old))
            .map_err(gone_or_broken)
    }

    /// Removes every upload into a bucket that is being deleted; what fails is removed with the directory.
    pub fn abort_all(&self, bucket: &str, store: &Store) {
        for (id, _) in self.of_bucket(bucket) {
            self.abort(&id, store).ok();
        }
    }

    fn check_parts(&self, id: &str, named: &[NamedPart]) -> S3Result<Vec<Meta>> {
        if named.is_empty() {
            return Err(s3_error!(
                MalformedXML,
                "you must specify at least one part"
            ));
        }
        if !named.is_sorted_by(|one, next| one.number < next.number) {
            return Err(s3_error!(
                InvalidPartOrder,
                "the list of parts was not in ascending order"
            ));
        }
        let metas: Vec<Meta> = named
            .iter()
            .map(|part| Ok(self.open_part(id, part)?.meta))
            .collect::<S3Result<_>>()?;
        let middle = &metas[..metas.len() - 1];
        if middle.iter().any(|meta| meta.size < MIN_PART) {
            return Err(s3_error!(
                EntityTooSmall,
                "your proposed upload is smaller than the minimum allowed size"
            ));
        }
        Ok(metas)
    }

    fn open_part(&self, id: &str, part: &NamedPart) -> S3Result<Opened> {
        let file = match File::open(self.part_path(id, part.number)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(invalid_part()),
            Err(error) => return Err(disk(error)),
        };
        let meta = Meta::read(&file).map_err(disk)?;
        if part.etag != meta.etag.to_string() {
            return Err(invalid_part());
        }
        match (&part.checksum, &meta.checksum) {
            (Some(named), Some(stored)) if named != stored => Err(invalid_part()),
            _ => Ok(Opened {
                file: Arc::new(file),
                start: 0,
                meta,
            }),
        }
    }

    fn part_path(&self, id: &str, number: i32) -> PathBuf {
        self.dir.join(id).join(format!("{number:05}"))
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Upload>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the client that completes an upload expects of the whole object.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// Its size in bytes.
    pub size: Option<u64>,
    /// Its checksum.
    pub checksum: Option<Checksum>,
}

fn composite(algorithm: Algorithm, parts: &[Meta]) -> S3Result<Checksum> {
    let values: Vec<String> = parts
        .iter()
        .filter_map(|meta| meta.checksum.as_ref())
        .filter(|checksum| checksum.algorithm == algorithm)
        .map(|checksum| checksum.value.clone())
        .collect();
    if values.len() != parts.len() {
        return Err(s3_error!(
            InvalidPart,
            "a part has no {} checksum",
            algorithm.name()
        ));
    }
    Checksum::composite(algorithm, &values)
}

fn no_such_upload() -> S3Error {
    s3_error!(
        NoSuchUpload,
        "the specified upload does not exist; it may have been aborted or completed"
    )
}

fn invalid_part() -> S3Error {
    s3_error!(
        InvalidPart,
        "one or more of the specified parts could not be found, or its entity tag did not match"
    )
}

/// A directory that is not there any more is an upload that was aborted meanwhile.
fn gone_or_broken(error: io::Error) -> S3Error {
    if error.kind() == io::ErrorKind::NotFound {
        no_such_upload()
    } else {
        disk(error)
    }
}
