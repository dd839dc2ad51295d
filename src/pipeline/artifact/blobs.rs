//! Where an artifact's bytes go, and the content that artifacts of one backup share.
//!
//! Not here: the artifact's own files and its manifest (see [`super::ArtifactWriter`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use super::{Keys, lock};
use crate::context::Context;
use crate::error::Result;
use crate::pipeline::stream;
use crate::repository::Repository;
use crate::repository::manifest::ManifestFile;
use crate::service::Reading;

pub(super) struct Store {
    pub backup: String,
    pub metadata: BTreeMap<String, String>,
    pub repositories: Vec<Arc<dyn Repository>>,
    pub keys: Option<Keys>,
    /// Shared content, by name.
    pub shared: Mutex<BTreeMap<String, Shared>>,
    /// Keys of shared content that is being stored.
    pub storing: Mutex<BTreeSet<String>>,
}

/// Shared content that an artifact names: its entry in the manifest but for the name.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub file: ManifestFile,
    /// This artifact brought it.
    pub new: bool,
}

impl Shared {
    pub fn named(self, name: String) -> ManifestFile {
        ManifestFile { name, ..self.file }
    }
}

impl Store {
    /// Keys of shared content that this artifact brought, or was about to.
    pub fn brought(&self) -> Vec<String> {
        let mut keys: Vec<String> = lock(&self.storing).iter().cloned().collect();
        let shared = lock(&self.shared);
        let new = shared.values().filter(|shared| shared.new);
        keys.extend(new.map(|shared| shared.file.key.clone()));
        keys
    }

    fn enter(&self, mut file: ManifestFile, new: bool) {
        let name = std::mem::take(&mut file.name);
        lock(&self.shared).insert(name, Shared { file, new });
    }

    pub async fn put(&self, ctx: &Context, key: &str, body: Reading) -> Result<stream::Kept> {
        let recipient = self.keys.as_ref().map(|keys| &keys.recipient);
        stream::store(
            ctx,
            &self.repositories,
            key,
            &self.metadata,
            body,
            recipient,
        )
        .await
    }
}

/// The content that artifacts of one backup share, by name. A cheap handle on an [`ArtifactWriter`](super::ArtifactWriter).
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
        format!("{}/blobs/", self.0.backup)
    }

    /// Stores content under a name that is not in use in any of the repositories.
    pub async fn store(&self, ctx: &Context, name: &str, body: Reading) -> Result<()> {
        let key = format!("{}{name}", self.prefix());
        lock(&self.0.storing).insert(key.clone());
        let kept = self.0.put(ctx, &key, body).await?;
        let file = ManifestFile {
            name: name.to_owned(),
            key: key.clone(),
            bytes: kept.stored.0,
            sha256: kept.stored.1,
            plain_bytes: kept.plain.0,
            plain_sha256: String::new(),
            shared: true,
            metadata: BTreeMap::new(),
        };
        self.0.enter(file, true);
        lock(&self.0.storing).remove(&key);
        Ok(())
    }

    /// Names content of an earlier artifact in this one.
    pub fn reuse(&self, file: ManifestFile) {
        self.0.enter(file, false);
    }

    /// The first key of an earlier artifact's content, named in this one, that `there` does not hold.
    pub fn first_lost(&self, there: impl Fn(&str) -> bool) -> Option<String> {
        let shared = lock(&self.0.shared);
        let mut reused = shared.values().filter(|shared| !shared.new);
        let lost = reused.find(|shared| !there(&shared.file.key))?;
        Some(lost.file.key.clone())
    }

    /// Whether this artifact names content of an earlier one.
    pub fn reuses(&self) -> bool {
        lock(&self.0.shared).values().any(|shared| !shared.new)
    }
}
