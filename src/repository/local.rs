//! A repository in a directory: one file per key, written under another name and renamed when it is whole and on
//! disk. Metadata lies beside it in `.<file>.meta`.
//!
//! Every `/` of a key is a directory. Bytes of a key that are not plain (letters, digits, `-_.+=@`) are written as
//! `%XX`, and so is a leading dot, so that no key can leave the directory, hide in it or meet a sidecar. A key that
//! would need a file where a directory is, or the other way round, is refused; redrill's own keys never do.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write as _};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::TryFutureExt;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use tokio::io::AsyncWriteExt;

use crate::context::Context;
use crate::error::{Doing, Error, Result};
use crate::repository::{ListedObject, Place, Repository, Stored, taken};
use crate::service::Reading;
use crate::shelf::Shelf;

/// Where files lie until they are whole.
const UNFINISHED: &str = ".unfinished";
/// What whoever stores something new holds.
const LOCK: &str = ".lock";
/// How many files are listed at a time.
const CHUNK: usize = 1000;
/// The longest file name of common file systems, less what a sidecar's name adds.
const MAX_SEGMENT: usize = 240;

/// A directory that keeps artifacts.
pub struct LocalRepository {
    name: String,
    root: PathBuf,
}

impl LocalRepository {
    /// The repository `name` in the directory `root`, created when it is not there.
    pub fn new(name: impl Into<String>, root: impl Into<PathBuf>) -> Result<Self> {
        let (name, root) = (name.into(), root.into());
        std::fs::create_dir_all(root.join(UNFINISHED))
            .doing_with(|| format!("create repository {name} in {}", root.display()))?;
        Ok(Self { name, root })
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn path(&self, key: &str) -> Result<PathBuf> {
        let path = key.split('/').map(encoded).collect::<Option<Vec<_>>>();
        match path {
            Some(segments) => Ok(segments
                .iter()
                .fold(self.root.clone(), |path, segment| path.join(segment))),
            None => Err(Error::usage(format!(
                "repository {} keeps files, and the key {key:?} is no file name",
                self.name
            ))),
        }
    }

    async fn write(&self, ctx: &Context, temporary: &Path, body: Reading) -> Result<u64> {
        let mut file = tokio::fs::File::create(temporary)
            .await
            .doing_with(|| format!("create {}", temporary.display()))?;
        file.set_max_buf_size(1 << 20);
        let mut body = tokio::io::BufReader::with_capacity(1 << 18, body);
        let copied = tokio::select! {
            () = ctx.cancel.cancelled() => return Err(Error::interrupted()),
            copied = tokio::io::copy_buf(&mut body, &mut file) => copied,
        };
        let bytes = copied.doing("write what is to be stored")?;
        file.flush().await.doing("write what is to be stored")?;
        file.sync_all().await.doing("bring it to the disk")?;
        Ok(bytes)
    }

    /// Stores a file under its key; one that is to be `new`, unless there is one.
    async fn store(
        &self,
        ctx: &Context,
        key: &str,
        body: Reading,
        metadata: &BTreeMap<String, String>,
        new: bool,
    ) -> Result<u64> {
        let path = self.path(key)?;
        let temporary =
            self.root
                .join(UNFINISHED)
                .join(format!("{}-{:016x}", ctx.run, rand::random::<u64>()));
        let stored = async {
            let bytes = self.write(ctx, &temporary, body).await?;
            let (temporary, metadata) = (temporary.clone(), metadata.clone());
            let (root, taken) = (self.root.clone(), taken(key, &self.name));
            let settling = move || {
                let _alone = new.then(|| alone(&root)).transpose()?;
                if new && path.try_exists().doing("look for it")? {
                    return Err(taken);
                }
                settle(&temporary, &path, &metadata)
            };
            tokio::task::spawn_blocking(settling)
                .await
                .doing("wait for the disk")??;
            Ok::<_, Error>(bytes)
        };
        let stored = stored.await;
        if stored.is_err() {
            // It may never have been created; what matters is that nothing is left.
            let _ = tokio::fs::remove_file(&temporary).await;
            let _ = tokio::fs::remove_file(beside(&temporary)).await;
        }
        stored.doing_with(|| format!("store {key} in repository {}", self.name))
    }
}

/// Alone with what is new, until it is dropped, or its process ends: a file and its metadata get their names one after the
/// other, so that no link by itself would keep two writers apart. Held for that only, by whoever holds it.
fn alone(root: &Path) -> Result<std::fs::File> {
    let lock = || {
        let mut file = std::fs::OpenOptions::new();
        let file = file.create(true).truncate(false).write(true);
        let file = file.open(root.join(LOCK))?;
        file.lock()?;
        Ok::<_, std::io::Error>(file)
    };
    lock().doing("wait for other writers")
}

#[async_trait]
impl Repository for LocalRepository {
    fn name(&self) -> &str {
        &self.name
    }

    async fn put(
        &self,
        ctx: &Context,
        key: &str,
        body: Reading,
        metadata: &BTreeMap<String, String>,
    ) -> Result<u64> {
        self.store(ctx, key, body, metadata, false).await
    }

    async fn put_new(
        &self,
        ctx: &Context,
        key: &str,
        body: Reading,
        metadata: &BTreeMap<String, String>,
    ) -> Result<u64> {
        self.store(ctx, key, body, metadata, true).await
    }

    async fn open(&self, ctx: &Context, key: &str) -> Result<(Stored, Reading)> {
        let doing = || format!("read {key} from repository {}", self.name);
        let file = tokio::fs::File::open(self.path(key)?).await;
        let file = file.doing_with(doing)?;
        let stored = self.head(ctx, key).await?;
        let stored = stored.ok_or_else(|| Error::failed("it is not there").doing(doing()))?;
        // Every read is a trip to another thread: few large ones.
        let reading = tokio::io::BufReader::with_capacity(1 << 18, file);
        Ok((stored, Box::new(reading)))
    }

    async fn head(&self, _ctx: &Context, key: &str) -> Result<Option<Stored>> {
        let doing = || format!("look for {key} in repository {}", self.name);
        let path = self.path(key)?;
        let found = match tokio::fs::metadata(&path).await {
            Ok(found) if found.is_file() => found,
            Ok(_) => return Ok(None),
            Err(error) if gone(&error) => return Ok(None),
            Err(error) => return Err(error).doing_with(doing),
        };
        let metadata = match tokio::fs::read(sidecar(&path)).await {
            Ok(bytes) => serde_json::from_slice(&bytes).doing_with(doing)?,
            Err(error) if gone(&error) => BTreeMap::new(),
            Err(error) => return Err(error).doing_with(doing),
        };
        Ok(Some(Stored {
            key: key.to_owned(),
            bytes: found.len(),
            metadata,
            written: found.modified().ok().map(DateTime::<Utc>::from),
        }))
    }

    async fn list(&self, ctx: &Context, prefix: &str) -> Result<Vec<Stored>> {
        self.walk(ctx, prefix).try_collect().await
    }

    fn walk<'a>(&'a self, ctx: &'a Context, prefix: &'a str) -> BoxStream<'a, Result<Stored>> {
        let doing = || format!("list repository {}", self.name);
        let sorted = async move {
            let sorted = Arc::new(Shelf::new(&ctx.dir).doing_with(doing)?);
            let (found, root, prefix) = (sorted.clone(), self.root.clone(), prefix.to_owned());
            let tell = move |key: &str, object| found.insert(key, &object).map(drop);
            let walking = tokio::task::spawn_blocking(move || walk(&root, "", &prefix, &tell));
            let walked = walking.await.doing("wait for the disk")?;
            walked.doing_with(doing).map(|()| sorted)
        };
        let chunks = sorted.map_ok(move |sorted| {
            stream::try_unfold(
                Some(Bound::Unbounded),
                move |from: Option<Bound<String>>| {
                    let sorted = sorted.clone();
                    async move {
                        let Some(from) = from else {
                            return Ok(None);
                        };
                        let from = from.as_ref().map(String::as_str);
                        let chunk = sorted.some(from, CHUNK).doing_with(doing)?;
                        let last = chunk.last().map(|(key, _)| key.clone());
                        let objects = chunk
                            .into_iter()
                            .map(|(key, object)| Ok(object.stored(key)));
                        Ok::<_, Error>(Some((stream::iter(objects), last.map(Bound::Excluded))))
                    }
                },
            )
        });
        chunks.try_flatten_stream().try_flatten().boxed()
    }

    async fn unfinished(&self, _ctx: &Context) -> Result<Vec<String>> {
        let doing = || format!("look for unfinished files of repository {}", self.name);
        let entries = std::fs::read_dir(self.root.join(UNFINISHED)).doing_with(doing)?;
        let named = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.map(|entry| format!("{UNFINISHED}/{}", entry.file_name().to_string_lossy()))
        };
        entries
            .map(named)
            .collect::<std::io::Result<_>>()
            .doing_with(doing)
    }

    fn place(&self) -> Result<Place> {
        Ok(Place::Directory(self.root.clone()))
    }

    async fn delete(&self, _ctx: &Context, keys: &[String]) -> Result<()> {
        let paths = keys
            .iter()
            .map(|key| self.path(key))
            .collect::<Result<Vec<_>>>()?;
        let root = self.root.clone();
        tokio::task::spawn_blocking(move || paths.iter().try_for_each(|path| remove(&root, path)))
            .await
            .doing("wait for the disk")?
            .doing_with(|| format!("delete from repository {}", self.name))
    }
}

/// Gives a whole file its name. Its metadata comes first: a file that is there has its metadata.
fn settle(temporary: &Path, path: &Path, metadata: &BTreeMap<String, String>) -> Result<()> {
    let mut settled = rename(temporary, path, metadata);
    // A pruner may remove an empty directory just before it is used: then it is made again.
    for _ in 0..2 {
        match &settled {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                settled = rename(temporary, path, metadata);
            }
            _ => break,
        }
    }
    settled.doing_with(|| format!("name it {}", path.display()))
}

fn rename(
    temporary: &Path,
    path: &Path,
    metadata: &BTreeMap<String, String>,
) -> std::io::Result<()> {
    let (parent, sidecar) = (path.parent().unwrap_or(path), sidecar(path));
    std::fs::create_dir_all(parent)?;
    if metadata.is_empty() {
        remove_file(&sidecar)?;
    } else {
        let beside = beside(temporary);
        let mut file = std::fs::File::create(&beside)?;
        file.write_all(&serde_json::to_vec(metadata)?)?;
        file.sync_all()?;
        std::fs::rename(&beside, &sidecar)?;
    }
    std::fs::rename(temporary, path)?;
    std::fs::File::open(parent)?.sync_all()
}

fn remove(root: &Path, path: &Path) -> std::io::Result<()> {
    remove_file(path)?;
    remove_file(&sidecar(path))?;
    for parent in path.ancestors().skip(1).take_while(|at| *at != root) {
        // Fails, as it should, on the first one that is not empty.
        if std::fs::remove_dir(parent).is_err() {
            break;
        }
    }
    Ok(())
}

fn remove_file(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if !gone(&error) => Err(error),
        _ => Ok(()),
    }
}

fn gone(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Where metadata lies until its file is whole.
fn beside(temporary: &Path) -> PathBuf {
    temporary.with_extension("meta")
}

fn sidecar(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.meta"))
}

/// Tells of every file below a directory whose key begins with a prefix, in no order.
fn walk(
    directory: &Path,
    key: &str,
    prefix: &str,
    tell: &impl Fn(&str, ListedObject) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if gone(&error) => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(segment) = name.to_str().filter(|name| !name.starts_with('.')) else {
            continue;
        };
        let Some(segment) = decoded(segment) else {
            continue;
        };
        let key = format!("{key}{segment}");
        let found = match entry.metadata() {
            Err(error) if gone(&error) => continue,
            found => found?,
        };
        if found.is_dir() {
            let key = format!("{key}/");
            if key.starts_with(prefix) || prefix.starts_with(&key) {
                walk(&entry.path(), &key, prefix, tell)?;
            }
        } else if key.starts_with(prefix) {
            let object = ListedObject {
                bytes: found.len(),
                written: found.modified().ok().map(DateTime::<Utc>::from),
            };
            tell(&key, object)?;
        }
    }
    Ok(())
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.+=@".contains(&byte)
}

fn encoded(segment: &str) -> Option<String> {
    let mut name = String::with_capacity(segment.len());
    for (at, byte) in segment.bytes().enumerate() {
        if is_plain(byte) && !(at == 0 && byte == b'.') {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    (!name.is_empty() && name.len() <= MAX_SEGMENT).then_some(name)
}

fn decoded(name: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'%' {
            let (digits, after) = tail.split_at_checked(2)?;
            bytes.extend(hex::decode(digits).ok()?);
            rest = after;
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_segment_has_one_file_name_and_that_name_leads_back(segment in "\\PC{1,40}") {
            let Some(name) = encoded(&segment) else {
                return Ok(());
            };
            prop_assert!(!name.starts_with('.') && !name.contains('/') && name.is_ascii());
            prop_assert_eq!(decoded(&name), Some(segment));
        }
    }

    #[test]
    fn no_key_leads_out_of_the_directory() {
        let root = tempfile::tempdir().expect("a directory");
        let repository = LocalRepository::new("here", root.path()).expect("a repository");
        for key in ["", "/etc/passwd", "a//b", "a/"] {
            assert!(repository.path(key).is_err(), "{key}");
        }
        let path = repository.path("../../etc/.passwd").expect("a path");
        assert_eq!(path, root.path().join("%2E./%2E./etc/%2Epasswd"));
    }
}
