//! Where an artifact's bytes go, and what artifacts of one backup share: a few files that they all name, and content, of
//! which there may be very much.
//!
//! Not here: the artifact's own files and its manifest (see [`super::ArtifactWriter`]).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::{Keys, lock};
use crate::context::Context;
use crate::error::{Doing, Error, Result};
use crate::evidence::Digest;
use crate::pipeline::stream::{self, As};
use crate::repository::Repository;
use crate::repository::contents::{self, Contents, Named};
use crate::repository::manifest::ManifestFile;
use crate::service::Reading;
use crate::service::reading::{channel, line};
use crate::shelf::Shelf;

pub(super) struct Store {
    pub backup: String,
    pub metadata: BTreeMap<String, String>,
    pub repositories: Vec<Arc<dyn Repository>>,
    pub keys: Option<Keys>,
    /// Files that belong to other artifacts too, by name.
    pub shared: Mutex<BTreeMap<String, ManifestFile>>,
    /// Where spools may lie.
    pub dir: PathBuf,
    /// Shared content, by name, once there is any.
    pub contents: Mutex<Option<Arc<Shelf<Named>>>>,
    /// Keys of shared content that is being stored.
    pub storing: Mutex<BTreeSet<String>>,
}

impl Store {
    pub async fn put(
        &self,
        ctx: &Context,
        key: &str,
        body: Reading,
        known: Option<Digest>,
    ) -> Result<stream::Kept> {
        let recipient = self.keys.as_ref().map(|keys| &keys.recipient);
        let named = self.named(key);
        stream::store(ctx, &self.repositories, named, body, known, recipient).await
    }

    fn named<'a>(&'a self, key: &'a str) -> As<'a> {
        As {
            key,
            metadata: &self.metadata,
            new: false,
        }
    }

    fn enter(&self, name: &str, content: &Named) -> Result<()> {
        let mut contents = lock(&self.contents);
        let shelf = match &*contents {
            Some(shelf) => shelf,
            None => {
                let shelf = Shelf::new(&self.dir).doing("note shared content")?;
                contents.insert(Arc::new(shelf))
            }
        };
        let entered = shelf.insert(name, content).map(drop);
        entered.doing("note shared content")
    }

    /// Writes the list of shared content, in the clear; `None` where there is none.
    pub async fn list(&self, ctx: &Context, id: &str) -> Result<Option<Contents>> {
        let Some(shelf) = lock(&self.contents).clone() else {
            return Ok(None);
        };
        let (feeder, body) = channel(64);
        let feeding = tokio::task::spawn_blocking(move || {
            let (mut count, mut stored_bytes) = (0, 0);
            for content in shelf.each() {
                let (name, content) = content.doing("go through shared content")?;
                count += 1;
                stored_bytes += content.bytes;
                if !feeder.send_blocking(line(&content.content(name))?) {
                    // Who stores it says why it was given up.
                    break;
                }
            }
            feeder.end_blocking();
            Ok::<_, Error>((count, stored_bytes))
        });
        let key = contents::key_of(&self.backup, id);
        let (to, named) = (&self.repositories, self.named(&key));
        let kept = stream::store(ctx, to, named, body, None, None).await?;
        let (count, stored_bytes) = feeding.await.doing("wait for a list")??;
        Ok(Some(Contents {
            count,
            stored_bytes,
            bytes: kept.stored.0,
            sha256: kept.stored.1,
        }))
    }
}

/// What artifacts of one backup share. A cheap handle on an [`ArtifactWriter`](super::ArtifactWriter).
#[derive(Clone)]
pub struct Blobs(pub(super) Arc<Store>);

impl Blobs {
    /// The recipient that content is encrypted to; empty when it is stored in the clear.
    pub fn recipient(&self) -> String {
        self.0
            .keys
            .as_ref()
            .map(Keys::recipient)
            .unwrap_or_default()
    }

    /// Where shared content is kept in a repository: ends in `/`.
    pub fn prefix(&self) -> String {
        contents::prefix(&self.0.backup)
    }

    /// Stores content with this SHA-256 under a name that is not in use in any of the repositories.
    pub async fn store(
        &self,
        ctx: &Context,
        name: &str,
        sha256: Digest,
        body: Reading,
    ) -> Result<()> {
        let key = format!("{}{name}", self.prefix());
        lock(&self.0.storing).insert(key.clone());
        let kept = self.0.put(ctx, &key, body, Some(sha256)).await?;
        let content = Named {
            bytes: kept.stored.0,
            sha256: kept.stored.1.parse::<Digest>().doing("note a hash")?,
            plain_bytes: kept.plain.0,
            new: true,
        };
        self.0.enter(name, &content)?;
        lock(&self.0.storing).remove(&key);
        Ok(())
    }

    /// Names content of an earlier artifact in this one.
    pub fn name(&self, name: &str, content: &Named) -> Result<()> {
        self.0.enter(
            name,
            &Named {
                new: false,
                ..content.clone()
            },
        )
    }

    /// The content that this artifact names by now.
    pub fn named(&self) -> Option<Arc<Shelf<Named>>> {
        lock(&self.0.contents).clone()
    }

    /// Names a file of another artifact in this one.
    pub fn reuse(&self, file: ManifestFile) {
        lock(&self.0.shared).insert(file.name.clone(), file);
    }
}
