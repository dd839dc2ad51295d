//! The stream between a tool and a repository: encrypt, hash, store on the way out; fetch, verify, decrypt on the
//! way in. Everything is streamed; nothing is held. An artifact exists once its manifest does.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::context::Context;
use crate::error::Result;
use crate::repository::Repository;
use crate::repository::manifest::{Manifest, ManifestFile};
use crate::service::Reading;

/// The keys of a run: what artifacts are encrypted to, and what opens them.
#[derive(Clone)]
pub struct Keys {
    recipient: age::x25519::Recipient,
    identity: Option<age::x25519::Identity>,
}

impl Keys {
    /// A fresh key pair; the identity is registered as a secret of the run.
    pub fn generate(ctx: &Context) -> Self {
        let _ = ctx;
        todo!()
    }

    /// The recipient as text (`age1…`).
    pub fn recipient(&self) -> String {
        todo!()
    }

    /// The same recipient with another pair's identity, or with none: what must not open anything.
    #[must_use]
    pub fn with_identity_of(&self, other: Option<&Self>) -> Self {
        let _ = other;
        todo!()
    }
}

/// What is known of an artifact before its first byte is written.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The backup in the suite.
    pub backup: String,
    /// The component in the suite.
    pub component: String,
    /// Instant of its start, on the drill's clock.
    pub taken_at: DateTime<Utc>,
    /// The engine and its version.
    pub engine: String,
    /// The compression asked for.
    pub compression: String,
}

/// Writes one artifact to one or more repositories.
pub struct ArtifactWriter {
    /// What is known before the first byte.
    pub origin: Origin,
    /// The artifact's id.
    pub id: String,
    repositories: Vec<Arc<dyn Repository>>,
    keys: Option<Keys>,
    files: Vec<ManifestFile>,
}

impl ArtifactWriter {
    /// A new artifact: `<taken_at as %Y%m%dT%H%M%SZ>-<last 8 characters of the run id>`.
    pub fn new(
        ctx: &Context,
        origin: Origin,
        repositories: Vec<Arc<dyn Repository>>,
        keys: Option<Keys>,
    ) -> Self {
        let _ = (ctx, origin, repositories, keys);
        todo!()
    }

    /// Streams one file into every repository (encrypted when there are keys; the stored key then ends in `.age`).
    pub async fn file(
        &mut self,
        ctx: &Context,
        name: &str,
        body: Reading,
        metadata: BTreeMap<String, String>,
    ) -> Result<()> {
        let _ = (
            ctx,
            name,
            body,
            metadata,
            &self.repositories,
            &self.keys,
            &self.files,
        );
        todo!()
    }

    /// Writes the manifest, last, to every repository.
    pub async fn commit(self, ctx: &Context, manifest: Manifest) -> Result<Manifest> {
        let _ = (ctx, manifest);
        todo!()
    }

    /// Removes what was written of an artifact that will not be committed.
    pub async fn abandon(self, ctx: &Context) -> Result<()> {
        let _ = ctx;
        todo!()
    }
}

/// Reads one committed artifact from one repository.
pub struct ArtifactReader {
    /// Its manifest.
    pub manifest: Manifest,
    repository: Arc<dyn Repository>,
    keys: Option<Keys>,
}

impl ArtifactReader {
    /// Opens an artifact by its manifest.
    pub fn new(manifest: Manifest, repository: Arc<dyn Repository>, keys: Option<Keys>) -> Self {
        Self {
            manifest,
            repository,
            keys,
        }
    }

    /// Streams a file, decrypted. The stream ends in an error, not in an early end, when the stored bytes are not
    /// those of the manifest or do not decrypt.
    pub async fn open(&self, ctx: &Context, name: &str) -> Result<Reading> {
        let _ = (ctx, name, &self.repository, &self.keys);
        todo!()
    }

    /// Decrypts a file to `path`, by a temporary name beside it: on any error no output is left.
    pub async fn save(&self, ctx: &Context, name: &str, path: &Path) -> Result<u64> {
        let _ = (ctx, name, path);
        todo!()
    }
}
