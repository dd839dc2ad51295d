//! Moving one run's objects: each is read and hashed, and stored unless an earlier run has stored its content.
//!
//! What is reused must be named by the newest manifest and be in every repository with its size. Content that lies
//! there by the same name, but is not so known, is never written over (an older artifact may rest on it): the new
//! copy gets a name of its own.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Cursor;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt;
use tokio::sync::{OnceCell, Semaphore};

use super::index::{self, Entry};
use super::{LARGE_LANES, SMALL, lane};
use crate::context::Context;
use crate::error::{Doing, Error, Result};
use crate::evidence::Digest;
use crate::pipeline::artifact::{ArtifactWriter, Blobs};
use crate::pipeline::stream::Sums;
use crate::repository::manifest::{Manifest, ManifestFile};
use crate::service::Reading;
use crate::service::bucket::in_lanes;
use crate::service::reading::{Checked, Feeder, channel};
use crate::service::s3::{Listed, Object, S3Client};

/// Under which name a content is stored, once it is; `None` under its own.
type Stored = Arc<OnceCell<Option<Box<str>>>>;

/// What all objects of a run share.
struct Run {
    ctx: Context,
    client: S3Client,
    bucket: String,
    artifact: String,
    blobs: Blobs,
    /// Content that need not be stored again, until it is named once more.
    known: Mutex<HashMap<Digest, ManifestFile>>,
    /// Content whose name is in use in some repository.
    taken: HashSet<Digest>,
    /// Content of this run, so that equal objects are stored once; with its name, where that says more than the content.
    stored: Mutex<HashMap<Digest, Stored>>,
    large: Semaphore,
    index: Feeder,
    index_gone: AtomicBool,
    objects: AtomicU64,
    new: AtomicU64,
}

/// Moves `listed` into the artifact and writes its index; says what was moved.
pub(super) async fn run(
    ctx: &Context,
    client: S3Client,
    bucket: &str,
    listed: Vec<Listed>,
    artifact: &ArtifactWriter,
    previous: Option<Manifest>,
) -> Result<String> {
    let (known, taken) = known(ctx, artifact, previous).await?;
    let (feeder, index) = channel(64);
    let run = Arc::new(Run {
        ctx: ctx.clone(),
        client,
        bucket: bucket.to_owned(),
        artifact: artifact.id.clone(),
        blobs: artifact.blobs(),
        known: Mutex::new(known),
        taken,
        stored: Mutex::default(),
        large: Semaphore::new(LARGE_LANES),
        index: feeder,
        index_gone: AtomicBool::new(false),
        objects: AtomicU64::new(0),
        new: AtomicU64::new(0),
    });
    let moving = async {
        let objects = listed.into_iter().map(|object| {
            let run = run.clone();
            async move { run.sync(object).await }
        });
        let moved = in_lanes(objects, Ok).await;
        let gone = run.index_gone.load(Ordering::Relaxed);
        let (objects, new) = (
            run.objects.load(Ordering::Relaxed),
            run.new.load(Ordering::Relaxed),
        );
        let run = Arc::into_inner(run);
        match (moved, run) {
            (Ok(()), Some(run)) => {
                run.index.end().await;
                Ok((objects, new))
            }
            (Ok(()), None) => Err((false, Error::defect("a task outlived its lane"))),
            (Err(error), _) => Err((gone, error)),
        }
    };
    let (moved, filed) = tokio::join!(
        moving,
        artifact.file(ctx, index::NAME, index, BTreeMap::new())
    );
    let (objects, new) = match (moved, filed) {
        (Ok(moved), Ok(())) => moved,
        (Ok(_) | Err((true, _)), Err(error)) | (Err((_, error)), _) => return Err(error),
    };
    artifact.describe(index::NAME, index::OBJECTS, objects.to_string());
    still_there(ctx, artifact).await?;
    Ok(format!("{objects} objects, {new} new contents"))
}

/// What the previous run stored and every repository still has; and all content whose name is in use.
async fn known(
    ctx: &Context,
    artifact: &ArtifactWriter,
    previous: Option<Manifest>,
) -> Result<(HashMap<Digest, ManifestFile>, HashSet<Digest>)> {
    let prefix = artifact.blobs().prefix();
    let mut known: HashMap<Digest, ManifestFile> = previous
        .into_iter()
        .flat_map(|manifest| manifest.files)
        .filter(|file| file.shared)
        .filter_map(|file| {
            let content = file.name.split('.').next()?.parse().ok()?;
            Some((content, file))
        })
        .collect();
    let mut taken = HashSet::new();
    for repository in artifact.repositories() {
        let listing = repository.list(ctx, &prefix).await?;
        let sizes: HashMap<&str, u64> = listing
            .iter()
            .map(|stored| (stored.key.as_str(), stored.bytes))
            .collect();
        known.retain(|_, file| sizes.get(file.key.as_str()) == Some(&file.bytes));
        let names = sizes.keys().filter_map(|key| key.strip_prefix(&prefix));
        taken.extend(names.filter_map(|name| name.parse::<Digest>().ok()));
    }
    Ok((known, taken))
}

/// What was reused must not have been pruned meanwhile.
async fn still_there(ctx: &Context, artifact: &ArtifactWriter) -> Result<()> {
    let blobs = artifact.blobs();
    if !blobs.reuses() {
        return Ok(());
    }
    for repository in artifact.repositories() {
        let listing = repository.list(ctx, &blobs.prefix()).await?;
        let there: HashSet<&str> = listing.iter().map(|stored| stored.key.as_str()).collect();
        if let Some(lost) = blobs.first_lost(|key| there.contains(key)) {
            return Err(Error::failed(format!(
                "{lost} was removed from repository {} while the backup was running",
                repository.name()
            ))
            .hint("do not prune a backup while it is being taken; take it again"));
        }
    }
    Ok(())
}

impl Run {
    /// Moves one object and enters it in the index. One that has been deleted since it was listed is not in it.
    async fn sync(self: Arc<Self>, listed: Listed) -> Result<()> {
        let entry = self.object(&listed).await;
        let entry = entry.doing_with(|| format!("back up {}", listed.key))?;
        if let Some(entry) = entry {
            self.objects.fetch_add(1, Ordering::Relaxed);
            if !self.index.send(entry.line()?.into()).await {
                self.index_gone.store(true, Ordering::Relaxed);
                return Err(Error::failed("the index could not be written"));
            }
        }
        Ok(())
    }

    async fn get(&self, key: &str) -> Result<Option<Object>> {
        self.client.get(&self.ctx, &self.bucket, key).await
    }

    async fn object(&self, listed: &Listed) -> Result<Option<Entry>> {
        let mut lane_held = lane(&self.large, listed.bytes).await?;
        let Some(mut object) = self.get(&listed.key).await? else {
            return Ok(None);
        };
        let bytes = object.listed.bytes;
        let (sha256, blob) = if bytes <= SMALL {
            let mut content = Vec::new();
            object
                .body
                .read_to_end(&mut content)
                .await
                .doing("read it")?;
            let sha256 = hex::encode(Sha256::digest(&content));
            let content = Bytes::from(content);
            let body = async || Ok(Box::new(Cursor::new(content.clone())) as Reading);
            let blob = self.keep(&sha256, body).await?;
            (sha256, blob)
        } else {
            if lane_held.is_none() {
                lane_held = lane(&self.large, bytes).await?;
            }
            let (_, sha256) = Sums::of(object.body).await.doing("read it")?;
            let body = async || self.again(&listed.key, bytes, &sha256).await;
            let blob = self.keep(&sha256, body).await?;
            (sha256, blob)
        };
        drop(lane_held);
        Ok(Some(Entry {
            key: listed.key.clone(),
            blob,
            bytes,
            sha256,
            headers: object.headers,
        }))
    }

    /// A large object's second reading: the first one only told its name.
    async fn again(&self, key: &str, bytes: u64, sha256: &str) -> Result<Reading> {
        let Some(object) = self.get(key).await? else {
            return Err(Error::failed("it was deleted while it was backed up"));
        };
        let what = format!("{key}, read again");
        Ok(Box::new(
            Checked::new(object.body, what, bytes).sha256(sha256),
        ))
    }

    /// Makes sure that content is stored, and returns the name by which it is.
    async fn keep(
        &self,
        sha256: &str,
        body: impl AsyncFnOnce() -> Result<Reading>,
    ) -> Result<String> {
        let content = self.content_name(sha256);
        let plainly = content.to_string();
        let cell = {
            let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
            stored.entry(content).or_default().clone()
        };
        let otherwise = |name: &str| (name != plainly).then(|| Box::from(name));
        let name = cell.get_or_try_init(async || {
            let known = {
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                known.remove(&content)
            };
            if let Some(file) = known {
                let name = otherwise(&file.name);
                self.blobs.reuse(file);
                return Ok(name);
            }
            let name = if self.taken.contains(&content) {
                format!("{content}.{}", self.artifact)
            } else {
                plainly.clone()
            };
            self.blobs.store(&self.ctx, &name, body().await?).await?;
            self.new.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Error>(otherwise(&name))
        });
        let name = name.await?.as_deref();
        Ok(name.unwrap_or(&plainly).to_owned())
    }

    fn content_name(&self, sha256: &str) -> Digest {
        let mut name = Sha256::new_with_prefix(b"redrill shared content v1\0");
        name.update(self.blobs.recipient());
        name.update(b"\0");
        name.update(sha256);
        Digest::of(&name.finalize())
    }
}
