//! Moving one run's objects: each is read and hashed, and stored unless an earlier run has stored its content.
//!
//! What is reused must be named by the newest manifest and be in every repository with its size. Content that lies
//! there by the same name, but is not so known, is never written over (an older artifact may rest on it): the new
//! copy gets a name of its own. What is known of each content lies on the disk, as there may be very much.

use std::collections::{BTreeMap, HashMap};
use std::io::Cursor;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::stream::{BoxStream, TryStreamExt};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::sync::{OnceCell, Semaphore};

use super::index::{self, Entry};
use super::{LARGE_LANES, Previous, SMALL, lane};
use crate::context::Context;
use crate::error::{Doing, Error, Result};
use crate::evidence::Digest;
use crate::pipeline::artifact::{ArtifactWriter, Blobs};
use crate::pipeline::stream::Sums;
use crate::repository::contents::{self, Named};
use crate::service::Reading;
use crate::service::bucket::in_lanes;
use crate::service::reading::{Checked, Feeder, channel, line};
use crate::service::s3::{Listed, Object, S3Client};
use crate::sha256::{self, Sha256};
use crate::shelf::Shelf;

/// The name under which content is stored, once it is.
type Name = Arc<OnceCell<String>>;

/// Content that lies in the repositories, by its own name.
#[derive(Default, Serialize, Deserialize)]
struct Lying {
    /// By which name the previous run has it, and what it says of it.
    known: Option<(String, Named)>,
    /// How many repositories have just that.
    places: u32,
    /// Its own name is in use in some repository.
    taken: bool,
    /// The name under which this run has it, once it does: equal objects are stored once.
    stored: Option<String>,
}

/// What all objects of a run share.
struct Run {
    ctx: Context,
    client: S3Client,
    bucket: String,
    artifact: String,
    blobs: Blobs,
    contents: Shelf<Lying>,
    /// Content that is being stored.
    storing: Mutex<HashMap<Digest, Name>>,
    repositories: u32,
    large: Semaphore,
    index: Feeder,
    index_gone: AtomicBool,
    objects: AtomicU64,
    new: AtomicU64,
}

/// Moves `listed` into the artifact and writes its index; says what was moved.
pub(super) async fn run(
    ctx: &Context,
    client: &S3Client,
    bucket: &str,
    listed: BoxStream<'_, Result<Listed>>,
    artifact: &ArtifactWriter,
    previous: Option<Previous>,
) -> Result<String> {
    let (contents, unknown) = lying(ctx, artifact, previous).await?;
    let (feeder, index) = channel(64);
    let run = Arc::new(Run {
        ctx: ctx.clone(),
        client: client.clone(),
        bucket: bucket.to_owned(),
        artifact: artifact.id.clone(),
        blobs: artifact.blobs(),
        contents,
        storing: Mutex::default(),
        repositories: artifact.repositories().len() as u32,
        large: Semaphore::new(LARGE_LANES),
        index: feeder,
        index_gone: AtomicBool::new(false),
        objects: AtomicU64::new(0),
        new: AtomicU64::new(0),
    });
    let moving = async {
        let objects = listed.map_ok(|object| {
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
    let why = unknown.map_or(String::new(), |why| {
        format!("; all is stored anew, as what the backup before has cannot be told: {why}")
    });
    Ok(format!("{objects} objects, {new} new contents{why}"))
}

const NOTING: &str = "note what is stored already";

/// What the previous run stored and every repository still has; and all content whose name is in use. Where its list cannot be
/// read, nothing of it is known, and why: what is wrong with one backup must not end all that come after it.
async fn lying(
    ctx: &Context,
    artifact: &ArtifactWriter,
    previous: Option<Previous>,
) -> Result<(Shelf<Lying>, Option<String>)> {
    let listed = listed(ctx, previous).await;
    ctx.go_on()?;
    let (contents, unknown) = match listed {
        Ok(contents) => (contents, None),
        Err(error) => {
            let nothing = Shelf::new(&ctx.dir).doing(NOTING)?;
            (nothing, Some(error.in_a_sentence()))
        }
    };
    let prefix = artifact.blobs().prefix();
    for repository in artifact.repositories() {
        let mut all = repository.walk(ctx, &prefix);
        while let Some(stored) = all.try_next().await? {
            let Some(name) = stored.key.strip_prefix(&prefix) else {
                continue;
            };
            let content = own_name(name);
            let mut lying = contents.get(content).doing(NOTING)?.unwrap_or_default();
            lying.taken |= name == content;
            if let Some((known, file)) = &lying.known {
                lying.places += u32::from(known == name && file.bytes == stored.bytes);
            }
            contents.insert(content, &lying).doing(NOTING)?;
        }
    }
    Ok((contents, unknown))
}

/// What the previous run says that it stored.
async fn listed(ctx: &Context, previous: Option<Previous>) -> Result<Shelf<Lying>> {
    let contents = Shelf::<Lying>::new(&ctx.dir).doing(NOTING)?;
    let Some((manifest, repository)) = previous else {
        return Ok(contents);
    };
    let mut each = contents::each(ctx, repository.as_ref(), &manifest);
    while let Some(content) = each.try_next().await? {
        let lying = Lying {
            known: Some((content.name.clone(), content.named()?)),
            ..Lying::default()
        };
        contents
            .insert(own_name(&content.name), &lying)
            .doing(NOTING)?;
    }
    drop(each);
    Ok(contents)
}

/// The content's own name in one that may say more.
fn own_name(name: &str) -> &str {
    name.split_once('.').map_or(name, |(content, _)| content)
}

/// What was reused must not have been pruned meanwhile.
async fn still_there(ctx: &Context, artifact: &ArtifactWriter) -> Result<()> {
    const LOOKING: &str = "look whether all that is reused is still there";
    let blobs = artifact.blobs();
    let Some(named) = blobs.named() else {
        return Ok(());
    };
    let mut reused = 0_u64;
    for content in named.each() {
        reused += u64::from(!content.doing(LOOKING)?.1.new);
    }
    if reused == 0 {
        return Ok(());
    }
    let prefix = blobs.prefix();
    for repository in artifact.repositories() {
        let mut there = 0;
        let mut all = repository.walk(ctx, &prefix);
        while let Some(stored) = all.try_next().await? {
            if let Some(name) = stored.key.strip_prefix(&prefix) {
                let content = named.get(name).doing(LOOKING)?;
                there += u64::from(content.is_some_and(|content| !content.new));
            }
        }
        if there < reused {
            return Err(Error::failed(format!(
                "{} of {reused} contents of earlier backups were removed from repository {} while the backup was running",
                reused - there,
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
            if !self.index.send(line(&entry)?).await {
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
            let mut content = Vec::with_capacity(bytes as usize);
            object
                .body
                .read_to_end(&mut content)
                .await
                .doing("read it")?;
            let sha256 = Digest::of(&sha256::of(&content));
            let content = Bytes::from(content);
            let body = async || Ok(Box::new(Cursor::new(content.clone())) as Reading);
            (sha256, self.keep(sha256, body).await?)
        } else {
            if lane_held.is_none() {
                lane_held = lane(&self.large, bytes).await?;
            }
            let (_, sha256) = Sums::over(object.body).await.doing("read it")?.digest();
            let body = async || self.again(&listed.key, bytes, &sha256.to_string()).await;
            (sha256, self.keep(sha256, body).await?)
        };
        drop(lane_held);
        Ok(Some(Entry {
            key: listed.key.clone(),
            blob,
            bytes,
            sha256: sha256.to_string(),
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
        sha256: Digest,
        body: impl AsyncFnOnce() -> Result<Reading>,
    ) -> Result<String> {
        let content = self.content_name(sha256);
        let plainly = content.to_string();
        let name = {
            let mut storing = self.storing.lock().unwrap_or_else(PoisonError::into_inner);
            match self.lying(&plainly)?.stored {
                Some(name) => return Ok(name),
                None => storing.entry(content).or_default().clone(),
            }
        };
        let name = name.get_or_try_init(async || {
            let lying = self.lying(&plainly)?;
            let everywhere = lying.places == self.repositories;
            let name = match lying.known {
                Some((name, known)) if everywhere => {
                    self.blobs.name(&name, &known)?;
                    name
                }
                _ => {
                    let name = match lying.taken {
                        true => format!("{content}.{}", self.artifact),
                        false => plainly.clone(),
                    };
                    let body = body().await?;
                    self.blobs.store(&self.ctx, &name, sha256, body).await?;
                    self.new.fetch_add(1, Ordering::Relaxed);
                    name
                }
            };
            let stored = Lying {
                stored: Some(name.clone()),
                ..Lying::default()
            };
            let noted = self.contents.insert(&plainly, &stored);
            noted.doing("note what is stored")?;
            Ok::<_, Error>(name)
        });
        let name = name.await?.clone();
        let mut storing = self.storing.lock().unwrap_or_else(PoisonError::into_inner);
        storing.remove(&content);
        Ok(name)
    }

    fn lying(&self, content: &str) -> Result<Lying> {
        let found = self.contents.get(content);
        Ok(found.doing("look up what is stored")?.unwrap_or_default())
    }

    fn content_name(&self, sha256: Digest) -> Digest {
        let mut name = Sha256::new();
        name.update(b"redrill shared content v1\0");
        name.update(self.blobs.recipient());
        name.update(b"\0");
        name.update(sha256.to_string());
        Digest::of(&name.finish())
    }
}
