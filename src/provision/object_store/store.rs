//! Buckets and objects on disk, and the sorted index of every bucket.
//!
//! ```text
//! DIR/lock                     held by the one store that serves DIR
//! DIR/buckets/NAME/bucket.json when and where the bucket was created
//! DIR/buckets/NAME/log         its objects, small bodies included (see `log`)
//! DIR/buckets/NAME/<16 hex>    the body of a larger object, under the name that the log gives it
//! DIR/uploads/                 multipart uploads in progress (see `uploads`)
//! DIR/tmp/                     bodies that are still arriving; emptied at every start
//! ```
//!
//! An object becomes visible, is replaced and vanishes by one record in its bucket's log, so a kill at any moment
//! leaves the old object or the new one. Nothing is synced to the disk: a loss of power is not covered.
//! The index is rebuilt from the log, on the disk too, as there may be very many objects: at the start, and when the disk
//! refused it something, as it takes nothing more then. Everything here blocks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use chrono::{DateTime, Utc};
use s3s::{S3Result, s3_error};
use serde::{Deserialize, Serialize};

use super::body::Kept;
use super::condition::WriteCondition;
use super::listing::{Page, Query, page};
use super::log::{Log, Said};
use super::meta::{Entry, Meta, now};
use super::refusal::disk;
use super::uploads::Uploads;
use crate::error::{Doing, Error, Result};
use crate::shelf::Shelf;

/// The name of a bucket's log.
const LOG: &str = "log";
/// Longest key in bytes of UTF-8, as in S3.
const MAX_KEY: usize = 1024;
/// The file names of larger bodies: random numbers in hex.
const NAME_LENGTH: usize = 16;

/// Everything the server keeps.
pub struct Store {
    root: PathBuf,
    tmp: PathBuf,
    buckets: RwLock<BTreeMap<String, Arc<Bucket>>>,
    /// Multipart uploads in progress.
    pub uploads: Uploads,
    lock: Mutex<Option<File>>,
}

/// One bucket.
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// When and where it was created.
    pub about: About,
    dir: PathBuf,
    tmp: PathBuf,
    contents: RwLock<Contents>,
}

/// What is stored of a bucket itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct About {
    /// When it was created.
    pub created: DateTime<Utc>,
    /// The location constraint that it was created with.
    pub location: Option<String>,
}

/// The objects of a bucket, as long as it is open to writes.
struct Contents {
    open: bool,
    objects: Shelf<Entry>,
    log: Log,
}

/// An object opened for reading: it stays whole whatever happens to its key meanwhile.
pub struct Opened {
    /// The file that the body is in.
    pub file: Arc<File>,
    /// Where the body begins in it; it has [`Meta::size`] bytes.
    pub start: u64,
    /// What is stored of it.
    pub meta: Meta,
}

impl Store {
    /// Opens the store in a directory, which is created when it is not there.
    pub fn open(root: &Path) -> Result<Self> {
        let tmp = root.join("tmp");
        for dir in [root, &root.join("buckets"), &root.join("uploads")] {
            fs::create_dir_all(dir).doing_with(|| format!("create {}", dir.display()))?;
        }
        let lock = lock(root)?;
        if tmp.exists() {
            fs::remove_dir_all(&tmp).doing("remove what unfinished uploads left")?;
        }
        fs::create_dir(&tmp).doing_with(|| format!("create {}", tmp.display()))?;
        let mut buckets = BTreeMap::new();
        for dir in list(&root.join("buckets"))? {
            let bucket = Bucket::load(dir, tmp.clone())?;
            buckets.insert(bucket.name.clone(), Arc::new(bucket));
        }
        Ok(Self {
            uploads: Uploads::load(root.join("uploads"), tmp.clone())?,
            root: root.to_owned(),
            tmp,
            buckets: RwLock::new(buckets),
            lock: Mutex::new(Some(lock)),
        })
    }

    /// Lets nothing more be written and gives the directory free; reads of opened objects go on.
    pub fn close(&self) {
        let buckets = write(&self.buckets);
        for bucket in buckets.values() {
            write(&bucket.contents).open = false;
        }
        self.uploads.close();
        drop(
            self.lock
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }

    /// Where bodies arrive.
    pub fn tmp(&self) -> &Path {
        &self.tmp
    }

    /// A new name in the directory for things to be removed or not yet there.
    pub fn tmp_name(&self) -> PathBuf {
        self.tmp.join(format!("{:032x}", rand::random::<u128>()))
    }

    /// All buckets, by name.
    pub fn buckets(&self) -> Vec<Arc<Bucket>> {
        read(&self.buckets).values().cloned().collect()
    }

    /// The bucket of this name.
    pub fn bucket(&self, name: &str) -> S3Result<Arc<Bucket>> {
        read(&self.buckets)
            .get(name)
            .cloned()
            .ok_or_else(|| s3_error!(NoSuchBucket, "the specified bucket does not exist"))
    }

    /// Creates a bucket; one that is there already is refused, as all buckets have the same owner.
    pub fn create_bucket(&self, name: &str, location: Option<String>) -> S3Result<()> {
        let mut buckets = write(&self.buckets);
        if self.closed() {
            return Err(s3_error!(ServiceUnavailable, "the store is stopping"));
        }
        if buckets.contains_key(name) {
            return Err(s3_error!(
                BucketAlreadyOwnedByYou,
                "your previous request to create the named bucket succeeded and you already own it"
            ));
        }
        let about = About {
            created: now(),
            location,
        };
        let fresh = self.tmp_name();
        let dir = self.root.join("buckets").join(name);
        fs::create_dir(&fresh)
            .and_then(|()| fs::write(fresh.join("bucket.json"), serde_json::to_vec(&about)?))
            .and_then(|()| fs::rename(&fresh, &dir))
            .map_err(disk)?;
        let contents = Contents::load(&dir, &self.tmp).map_err(disk)?;
        let bucket = Bucket {
            name: name.to_owned(),
            about,
            dir,
            tmp: self.tmp.clone(),
            contents: RwLock::new(contents),
        };
        buckets.insert(name.to_owned(), Arc::new(bucket));
        Ok(())
    }

    /// Deletes an empty bucket, and the uploads in progress in it.
    pub fn delete_bucket(&self, name: &str) -> S3Result<()> {
        let mut buckets = write(&self.buckets);
        let Some(bucket) = buckets.get(name) else {
            return Err(s3_error!(
                NoSuchBucket,
                "the specified bucket does not exist"
            ));
        };
        let mut contents = bucket.writable()?;
        if !contents.objects.is_empty() {
            return Err(s3_error!(
                BucketNotEmpty,
                "the bucket you tried to delete is not empty"
            ));
        }
        let old = self.tmp_name();
        fs::rename(&bucket.dir, &old).map_err(disk)?;
        contents.open = false;
        drop(contents);
        buckets.remove(name);
        self.uploads.abort_all(name, self);
        fs::remove_dir_all(old).map_err(disk)
    }

    fn closed(&self) -> bool {
        self.lock
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_none()
    }
}

impl Bucket {
    fn load(dir: PathBuf, tmp: PathBuf) -> Result<Self> {
        let doing = || format!("read bucket {}", dir.display());
        let about = fs::read(dir.join("bucket.json"))
            .and_then(|json| Ok(serde_json::from_slice(&json)?))
            .doing_with(doing)?;
        let contents = Contents::load(&dir, &tmp).doing_with(doing)?;
        // The body of an object that was never acknowledged, or that has been replaced since.
        let mut named = BTreeSet::new();
        for object in contents.objects.each() {
            named.insert(object.doing_with(doing)?.1.place.file);
        }
        for path in list(&dir)? {
            let name = file_name(&path);
            if name.len() == NAME_LENGTH
                && u64::from_str_radix(&name, 16).is_ok_and(|file| !named.contains(&file))
            {
                fs::remove_file(&path).doing_with(|| format!("remove {}", path.display()))?;
            }
        }
        Ok(Self {
            name: file_name(&dir),
            about,
            dir,
            tmp,
            contents: RwLock::new(contents),
        })
    }

    /// A page of the objects.
    pub fn page(&self, query: &Query<'_>) -> S3Result<Page<Entry>> {
        self.looked_up(|objects| page(objects, query))
    }

    /// Whether a condition holds for what is there now: what cannot be written is refused before it is sent.
    pub fn check(&self, key: &str, condition: &WriteCondition) -> S3Result<()> {
        if condition.is_none() {
            return Ok(());
        }
        let existing = self.looked_up(|objects| objects.get(key))?;
        condition.check(existing.as_ref())
    }

    /// What the index says, which is made anew once where it says nothing.
    fn looked_up<T>(&self, look: impl Fn(&Shelf<Entry>) -> io::Result<T>) -> S3Result<T> {
        let found = look(&read(&self.contents).objects);
        found.or_else(|_| self.writable()?.indexed(self, look))
    }

    /// Opens an object for reading.
    pub fn open(&self, key: &str) -> S3Result<Opened> {
        self.looked_up(|objects| objects.get(key).map(drop))?;
        let contents = read(&self.contents);
        let Some(entry) = contents.objects.get(key).map_err(disk)? else {
            return Err(s3_error!(NoSuchKey, "the specified key does not exist"));
        };
        let place = entry.place;
        let (file, start) = match place.file {
            0 => (contents.log.file(), place.start()),
            file => (Arc::new(File::open(self.path(file)).map_err(disk)?), 0),
        };
        let meta = contents.log.meta(place).map_err(disk)?;
        Ok(Opened { file, start, meta })
    }

    /// Makes a body visible under its key, if the condition holds for what is there at that moment.
    pub fn commit(&self, body: Kept, meta: Meta, condition: &WriteCondition) -> S3Result<()> {
        let mut contents = self.writable()?;
        let existing = contents.indexed(self, |objects| objects.get(&meta.key))?;
        condition.check(existing.as_ref())?;
        let (key, entry) = (meta.key.clone(), meta.entry());
        let place = match body {
            Kept::Small(bytes) => {
                let meta = Box::new(meta);
                contents.log.append(&bytes, &Said::Put { meta, file: 0 })
            }
            Kept::Large(body) => {
                let file = rand::random::<u64>().max(1);
                let path = self.path(file);
                body.persist(&path).map_err(|error| disk(error.error))?;
                let meta = Box::new(meta);
                let appended = contents.log.append(b"", &Said::Put { meta, file });
                if appended.is_err() {
                    fs::remove_file(&path).map_err(disk)?;
                }
                appended
            }
        };
        let place = place.map_err(disk)?;
        let entry = Entry { place, ..entry };
        contents.indexed(self, |objects| objects.insert(&key, &entry))?;
        self.discard(&mut contents, existing)
    }

    /// Deletes an object, if the condition holds; one that is not there is deleted already.
    pub fn delete(&self, key: &str, condition: &WriteCondition) -> S3Result<()> {
        check_key(key)?;
        let mut contents = self.writable()?;
        let existing = contents.indexed(self, |objects| objects.get(key))?;
        condition.check(existing.as_ref())?;
        if existing.is_some() {
            let said = Said::Deleted(key.to_owned());
            contents.log.append(b"", &said).map_err(disk)?;
            contents.indexed(self, |objects| objects.remove(key))?;
        }
        self.discard(&mut contents, existing)
    }

    /// Gives up the space of what is no longer there.
    fn discard(&self, contents: &mut Contents, old: Option<Entry>) -> S3Result<()> {
        let Some(old) = old else {
            return Ok(());
        };
        if old.place.file != 0 {
            fs::remove_file(self.path(old.place.file)).map_err(disk)?;
        }
        contents.log.forget(old.place);
        contents.tidy(&self.tmp).map_err(disk)
    }

    fn writable(&self) -> S3Result<RwLockWriteGuard<'_, Contents>> {
        let contents = write(&self.contents);
        if contents.open {
            Ok(contents)
        } else {
            Err(s3_error!(NoSuchBucket, "the bucket is gone"))
        }
    }

    fn path(&self, file: u64) -> PathBuf {
        self.dir.join(format!("{file:016x}"))
    }
}

impl Contents {
    /// What the log in a bucket's directory says, its index in `tmp`.
    fn load(dir: &Path, tmp: &Path) -> io::Result<Self> {
        let objects: Shelf<Entry> = Shelf::new(tmp)?;
        let mut dead = 0;
        let mut log = Log::open(&dir.join(LOG), |said, place| {
            let old = match said {
                Said::Put { meta, .. } => {
                    let entry = meta.entry();
                    objects.insert(&meta.key, &Entry { place, ..entry })?
                }
                Said::Deleted(key) => {
                    dead += place.length();
                    objects.remove(&key)?
                }
            };
            dead += old.map_or(0, |old| old.place.length());
            Ok(())
        })?;
        log.dead = dead;
        Ok(Self {
            open: true,
            objects,
            log,
        })
    }

    /// Works on the index; where that is refused, on one that is made anew of the log, once.
    fn indexed<T>(
        &mut self,
        bucket: &Bucket,
        work: impl Fn(&Shelf<Entry>) -> io::Result<T>,
    ) -> S3Result<T> {
        if let Ok(done) = work(&self.objects) {
            return Ok(done);
        }
        *self = Self::load(&bucket.dir, &bucket.tmp).map_err(disk)?;
        work(&self.objects).map_err(disk)
    }

    /// Writes the log anew where much of it is dead.
    fn tidy(&mut self, tmp: &Path) -> io::Result<()> {
        if !self.log.is_mostly_dead() {
            return Ok(());
        }
        let objects = Shelf::new(tmp)?;
        let tell = |key: &str, entry: Entry| objects.insert(key, &entry).map(drop);
        self.log = self.log.anew(self.objects.each(), tell)?;
        self.objects = objects;
        Ok(())
    }
}

/// Refuses a key that is longer than S3 allows.
pub fn check_key(key: &str) -> S3Result<()> {
    if key.len() > MAX_KEY {
        return Err(s3_error!(KeyTooLongError, "your key is too long"));
    }
    Ok(())
}

/// Takes the directory, so that no second store serves it.
fn lock(root: &Path) -> Result<File> {
    let path = root.join("lock");
    let file = File::create(&path).doing_with(|| format!("create {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::refused(format!(
            "another object store serves {}",
            root.display()
        ))),
        Err(TryLockError::Error(error)) => {
            Err(error).doing_with(|| format!("lock {}", path.display()))
        }
    }
}

/// The paths in a directory, in no order.
pub fn list(dir: &Path) -> Result<Vec<PathBuf>> {
    fs::read_dir(dir)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .doing_with(|| format!("list {}", dir.display()))
}

/// The last component of a path that this store named itself.
pub fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
