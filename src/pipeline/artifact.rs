//! Artifacts: written file by file to every repository of a backup and committed by a manifest, written last; read
//! back verified and decrypted. Everything is streamed; nothing is held.
//!
//! Stored names say nothing of the content: `<backup>/<artifact>/<n>.age` (`<n>` in the clear), and
//! `<backup>/blobs/<name>` for content that several artifacts share. Not here: what the bytes are, and the stream
//! itself (see [`crate::pipeline::stream`]).

mod blobs;
mod keys;

pub use blobs::Blobs;
pub use keys::Keys;

use blobs::Store;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use age::x25519::Identity;
use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use tokio::io::AsyncWriteExt;
use tokio::sync::OnceCell;

use crate::context::Context;
use crate::error::{Doing, Error, Result};
use crate::evidence::Digest;
use crate::pipeline::stream::{self, As, decrypted, decrypted_small};
use crate::pipeline::verify::Contents;
use crate::repository::Repository;
use crate::repository::contents::{self, Content};
use crate::repository::manifest::{self, Manifest, ManifestFile};
use crate::service::Reading;
use crate::service::reading::Checked;

/// How many objects are removed at once.
const BATCH: usize = 1000;

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

impl Origin {
    /// Metadata stored with every object: `rpo`, the taken-at in seconds since 1970, and `db_version`, the engine.
    fn metadata(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("rpo".to_owned(), self.taken_at.timestamp().to_string()),
            ("db_version".to_owned(), self.engine.clone()),
        ])
    }
}

/// Where a backup goes, and with which keys.
#[derive(Clone)]
pub struct Destination {
    /// The backup in the suite.
    pub backup: String,
    /// Its repositories, nearest first.
    pub repositories: Vec<Arc<dyn Repository>>,
    keys: Option<Keys>,
}

impl Destination {
    /// The repositories of a backup, and the keys it is encrypted with.
    pub fn new(
        backup: impl Into<String>,
        repositories: Vec<Arc<dyn Repository>>,
        keys: Option<Keys>,
    ) -> Self {
        Self {
            backup: backup.into(),
            repositories,
            keys,
        }
    }

    /// What reads an artifact that is here, from one of the repositories.
    pub fn reader(&self, manifest: Manifest, repository: &Arc<dyn Repository>) -> ArtifactReader {
        ArtifactReader::new(manifest, repository.clone(), self.keys.clone())
    }

    /// Whether what is stored here is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.keys.is_some()
    }

    /// What tools that encrypt by themselves encrypt with, where this is encrypted.
    pub fn passphrase(&self) -> Option<String> {
        self.keys.as_ref().and_then(Keys::passphrase)
    }

    /// Streams one object into some of the repositories.
    pub async fn put(
        &self,
        ctx: &Context,
        repositories: &[Arc<dyn Repository>],
        named: As<'_>,
        body: Reading,
    ) -> Result<stream::Kept> {
        let recipient = self.keys.as_ref().map(|keys| &keys.recipient);
        stream::store(ctx, repositories, named, body, None, recipient).await
    }
}

/// Writes one artifact to one or more repositories.
pub struct ArtifactWriter {
    /// What is known before the first byte.
    pub origin: Origin,
    /// The artifact's id.
    pub id: String,
    blobs: Blobs,
    numbers: AtomicU64,
    files: Mutex<Vec<(u64, ManifestFile)>>,
    unused: OnceCell<()>,
}

impl ArtifactWriter {
    /// A new artifact: `<taken_at as %Y%m%dT%H%M%SZ>-<last 8 characters of the run id>`.
    pub fn new(
        ctx: &Context,
        origin: Origin,
        repositories: Vec<Arc<dyn Repository>>,
        keys: Option<Keys>,
    ) -> Self {
        let run = ctx.run.as_str();
        let from = run.char_indices().rev().nth(7).map_or(0, |(at, _)| at);
        let id = format!(
            "{}-{}",
            origin.taken_at.format("%Y%m%dT%H%M%SZ"),
            &run[from..]
        );
        let blobs = Blobs(Arc::new(Store {
            backup: origin.backup.clone(),
            metadata: origin.metadata(),
            repositories,
            keys,
            shared: Mutex::default(),
            dir: ctx.dir.clone(),
            contents: Mutex::default(),
            storing: Mutex::default(),
        }));
        Self {
            origin,
            id,
            blobs,
            numbers: AtomicU64::new(1),
            files: Mutex::default(),
            unused: OnceCell::new(),
        }
    }

    /// The repositories it goes to, nearest first.
    pub fn repositories(&self) -> &[Arc<dyn Repository>] {
        &self.blobs.0.repositories
    }

    /// The same places and keys, for what belongs to the backup and to no single artifact.
    pub fn destination(&self) -> Destination {
        Destination::new(
            &self.origin.backup,
            self.blobs.0.repositories.clone(),
            self.blobs.0.keys.clone(),
        )
    }

    /// Where content that several artifacts share is stored.
    pub fn blobs(&self) -> Blobs {
        self.blobs.clone()
    }

    /// Streams one file into every repository (encrypted when there are keys; the stored key then ends in `.age`).
    /// `metadata` goes into the manifest, in the clear.
    pub async fn file(
        &self,
        ctx: &Context,
        name: &str,
        body: Reading,
        metadata: BTreeMap<String, String>,
    ) -> Result<()> {
        self.unused
            .get_or_try_init(|| self.check_unused(ctx))
            .await?;
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let store = &self.blobs.0;
        let ending = if store.keys.is_some() { ".age" } else { "" };
        let key = format!("{}/{}/{number}{ending}", self.origin.backup, self.id);
        let kept = store.put(ctx, &key, body, None).await?;
        let file = ManifestFile {
            name: name.to_owned(),
            key,
            bytes: kept.stored.0,
            sha256: kept.stored.1,
            plain_bytes: kept.plain.0,
            plain_sha256: kept.plain.1,
            shared: false,
            metadata,
        };
        lock(&self.files).push((number, file));
        Ok(())
    }

    /// Stores what another artifact holds, as this one: read back, decrypted, and stored anew.
    pub async fn copy(&self, ctx: &Context, of: &ArtifactReader) -> Result<()> {
        self.share(ctx, of).await?;
        let files = of.manifest.files.iter().map(|file| async move {
            if file.shared {
                self.blobs.reuse(file.clone());
                return Ok(());
            }
            let body = of.open(ctx, &file.name).await?;
            self.file(ctx, &file.name, body, file.metadata.clone())
                .await
        });
        futures::future::try_join_all(files).await.map(drop)
    }

    /// Names all content that another artifact shares.
    pub async fn share(&self, ctx: &Context, of: &ArtifactReader) -> Result<()> {
        let mut contents = contents::each(ctx, of.repository.as_ref(), &of.manifest);
        while let Some(content) = contents.try_next().await? {
            self.blobs.name(&content.name, &content.named()?)?;
        }
        Ok(())
    }

    /// Adds to the metadata of a file that was written, in the manifest and in the clear.
    pub fn describe(&self, name: &str, key: &str, value: impl Into<String>) {
        let value = value.into();
        let mut files = lock(&self.files);
        for (_, file) in files.iter_mut().filter(|(_, file)| file.name == name) {
            file.metadata.insert(key.to_owned(), value.clone());
        }
    }

    /// Two artifacts of one backup, second and run would have one name: the later one must not replace the first.
    async fn check_unused(&self, ctx: &Context) -> Result<()> {
        let key = manifest::key_of(&self.origin.backup, &self.id);
        for repository in self.repositories() {
            if repository.head(ctx, &key).await?.is_some() {
                return Err(Error::failed(format!(
                    "artifact {} of backup {} is in repository {} already",
                    self.id,
                    self.origin.backup,
                    repository.name()
                )));
            }
        }
        Ok(())
    }

    /// A manifest with everything that is known by now; the caller fills in the rest and commits it.
    pub fn draft(&self, ctx: &Context) -> Manifest {
        let own = lock(&self.files).clone();
        let shared = lock(&self.blobs.0.shared).clone();
        self.manifest_of(ctx, own, shared)
    }

    fn manifest_of(
        &self,
        ctx: &Context,
        mut own: Vec<(u64, ManifestFile)>,
        shared: BTreeMap<String, ManifestFile>,
    ) -> Manifest {
        own.sort_by_key(|(number, _)| *number);
        let store = &self.blobs.0;
        Manifest {
            schema_version: manifest::SCHEMA_VERSION,
            id: self.id.clone(),
            backup: self.origin.backup.clone(),
            component: self.origin.component.clone(),
            run: ctx.run.to_string(),
            taken_at: self.origin.taken_at,
            engine: self.origin.engine.clone(),
            tool: String::new(),
            parent: None,
            compression: self.origin.compression.clone(),
            recipients: store.keys.iter().map(Keys::recipient).collect(),
            source_identity: String::new(),
            source_fingerprint: String::new(),
            ledger_high_water: 0,
            files: own
                .into_iter()
                .map(|(_, file)| file)
                .chain(shared.into_values())
                .collect(),
            contents: None,
        }
    }

    /// Writes the manifest, last, to every repository. What the writer knows (id, backup, run, times, recipients,
    /// files) is taken from it and not from `manifest`.
    pub async fn commit(self, ctx: &Context, manifest: Manifest) -> Result<Manifest> {
        // There may be very many files: they are handed over, and not copied.
        let own = std::mem::take(&mut *lock(&self.files));
        let shared = std::mem::take(&mut *lock(&self.blobs.0.shared));
        let doing = || format!("commit artifact {}", self.id);
        let contents = self.blobs.0.list(ctx, &self.id).await.doing_with(doing)?;
        let manifest = Manifest {
            tool: manifest.tool,
            parent: manifest.parent,
            source_identity: manifest.source_identity,
            source_fingerprint: manifest.source_fingerprint,
            ledger_high_water: manifest.ledger_high_water,
            contents,
            ..self.manifest_of(ctx, own, shared)
        };
        if manifest.files.is_empty() {
            return Err(Error::defect("it has no files").doing(doing()));
        }
        let manifest = Arc::new(manifest);
        for repository in self.repositories() {
            let body = manifest.clone().written();
            repository
                .put(ctx, &manifest.key(), body, &self.origin.metadata())
                .await
                .doing_with(doing)?;
        }
        Ok(Arc::unwrap_or_clone(manifest))
    }

    /// Removes what was written of an artifact that will not be committed.
    pub async fn abandon(self, ctx: &Context) -> Result<()> {
        let own = format!("{}/{}/", self.origin.backup, self.id);
        for repository in self.repositories() {
            let listing = repository.list(ctx, &own).await?;
            let mut keys: Vec<String> = listing.into_iter().map(|stored| stored.key).collect();
            keys.extend(lock(&self.blobs.0.storing).iter().cloned());
            let prefix = self.blobs.prefix();
            let named = self.blobs.named();
            for content in named.iter().flat_map(|named| named.each()) {
                let (name, content) = content.doing("go through what was stored")?;
                if content.new {
                    keys.push(format!("{prefix}{name}"));
                }
                if keys.len() >= BATCH {
                    repository.delete(ctx, &std::mem::take(&mut keys)).await?;
                }
            }
            if !keys.is_empty() {
                repository.delete(ctx, &keys).await?;
            }
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads one committed artifact from one repository.
#[derive(Clone)]
pub struct ArtifactReader {
    /// Its manifest.
    pub manifest: Arc<Manifest>,
    repository: Arc<dyn Repository>,
    keys: Option<Keys>,
    /// Where its files stand in the manifest, by name.
    by_name: Arc<[u32]>,
    contents: Option<Arc<Contents>>,
}

impl std::fmt::Debug for ArtifactReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} in {}", self.manifest.key(), self.repository.name())
    }
}

/// A stream that ends in this error.
fn failing(error: std::io::Error) -> Reading {
    let stream = futures::stream::iter([Err::<bytes::Bytes, _>(error)]);
    Box::new(tokio_util::io::StreamReader::new(stream))
}

impl ArtifactReader {
    /// Opens an artifact by its manifest.
    pub fn new(
        manifest: impl Into<Arc<Manifest>>,
        repository: Arc<dyn Repository>,
        keys: Option<Keys>,
    ) -> Self {
        let manifest = manifest.into();
        let mut by_name: Vec<u32> = (0..manifest.files.len() as u32).collect();
        by_name.sort_by_key(|at| &manifest.files[*at as usize].name);
        Self {
            manifest,
            repository,
            keys,
            by_name: by_name.into(),
            contents: None,
        }
    }

    /// The same artifact by another manifest.
    #[must_use]
    pub fn by(&self, manifest: Manifest) -> Self {
        Self::new(manifest, self.repository.clone(), self.keys.clone())
    }

    /// The same artifact, read through another view of its repository.
    #[must_use]
    pub fn through(&self, repository: Arc<dyn Repository>) -> Self {
        Self::new(self.manifest.clone(), repository, self.keys.clone())
    }

    /// The repository it is read from.
    pub fn repository(&self) -> &Arc<dyn Repository> {
        &self.repository
    }

    /// What the manifest says of a file.
    pub fn file(&self, name: &str) -> Result<&ManifestFile> {
        let files = &self.manifest.files;
        let found = self
            .by_name
            .binary_search_by_key(&name, |at| files[*at as usize].name.as_str());
        let at = found.map_err(|_| {
            Error::failed(format!("artifact {} has no file {name}", self.manifest.id))
        })?;
        Ok(&files[self.by_name[at] as usize])
    }

    /// The same artifact, with what [`inspect`](crate::pipeline::verify::inspect) has just read of it: it is not read
    /// a second time to learn the same.
    #[must_use]
    pub fn inspected(mut self, contents: Contents) -> Self {
        self.contents = Some(Arc::new(contents));
        self
    }

    /// Streams a file, decrypted. The stream ends in an error, not in an early end, when the stored bytes are not
    /// those of the manifest or do not decrypt.
    pub async fn open(&self, ctx: &Context, name: &str) -> Result<Reading> {
        let encrypted = !self.manifest.recipients.is_empty();
        self.open_file(ctx, self.file(name)?, encrypted).await
    }

    /// The same for a file of the backup that the manifest does not name. A hash that is empty is not known.
    pub async fn open_file(
        &self,
        ctx: &Context,
        file: &ManifestFile,
        encrypted: bool,
    ) -> Result<Reading> {
        // Without its key nothing is fetched.
        self.identity(file, encrypted)?;
        let stored = self.repository.get(ctx, &file.key).await?;
        self.plain(file, stored, encrypted).await
    }

    /// The content of a file that the manifest names from its stored bytes, as [`ArtifactReader::open`] gives it, except
    /// that these are not hashed: whoever reads them does.
    pub async fn content_of(&self, file: &ManifestFile, stored: Reading) -> Result<Reading> {
        let encrypted = !self.manifest.recipients.is_empty();
        let file = ManifestFile {
            sha256: String::new(),
            ..file.clone()
        };
        self.plain(&file, stored, encrypted).await
    }

    /// The content of a file from its stored bytes.
    async fn plain(
        &self,
        file: &ManifestFile,
        stored: Reading,
        encrypted: bool,
    ) -> Result<Reading> {
        let what = format!("{} in repository {}", file.key, self.repository.name());
        let mut stored = Checked::new(stored, what, file.bytes);
        if !file.sha256.is_empty() {
            stored = stored.sha256(&file.sha256);
        }
        let Some(identity) = self.identity(file, encrypted)? else {
            return Ok(Box::new(stored));
        };
        let plain = match decrypted_small(&mut stored, file.bytes, &identity).await {
            Some(Ok(plain)) => Box::new(std::io::Cursor::new(plain)),
            Some(Err(error)) => failing(error),
            None => decrypted(stored, identity),
        };
        let what = format!("{} decrypted", file.key);
        let mut plain = Checked::new(plain, what, file.plain_bytes);
        if !file.plain_sha256.is_empty() {
            plain = plain.sha256(&file.plain_sha256);
        }
        Ok(Box::new(plain))
    }

    /// What opens a file; `None` when it is stored in the clear.
    fn identity(&self, file: &ManifestFile, encrypted: bool) -> Result<Option<Identity>> {
        if !encrypted {
            return Ok(None);
        }
        let identity = self.keys.as_ref().and_then(|keys| keys.identity.clone());
        identity.map(Some).ok_or_else(|| {
            let recipients = self.manifest.recipients.join(", ");
            Error::failed(format!(
                "open {}: it is encrypted to {recipients}, and there is no identity to open it",
                file.key
            ))
            .hint("restore with the identity that belongs to this recipient")
        })
    }

    /// What opens an artifact whose tool encrypts by itself.
    pub fn passphrase(&self) -> Option<String> {
        self.keys.as_ref().and_then(Keys::passphrase)
    }

    /// Streams shared content, decrypted, and held to the size and the hash that it has before it is stored.
    pub async fn shared(
        &self,
        ctx: &Context,
        name: &str,
        bytes: u64,
        sha256: &str,
    ) -> Result<Reading> {
        let encrypted = !self.manifest.recipients.is_empty();
        let content = Content {
            name: name.to_owned(),
            bytes: 0,
            sha256: String::new(),
            plain_bytes: bytes,
        };
        let file = content.file(&self.manifest.backup);
        // Without its key nothing is fetched.
        self.identity(&file, encrypted)?;
        let (stored, body) = self.repository.open(ctx, &file.key).await?;
        let file = ManifestFile {
            bytes: stored.bytes,
            sha256: if encrypted { "" } else { sha256 }.to_owned(),
            plain_sha256: sha256.to_owned(),
            ..file
        };
        self.plain(&file, body, encrypted).await
    }

    /// Bytes and SHA-256 of shared content, where it was read just now.
    pub fn known(&self, name: &str) -> Result<Option<(u64, Digest)>> {
        match &self.contents {
            Some(contents) => contents.get(name).doing("look up what was read"),
            None => Ok(None),
        }
    }

    /// Decrypts a file to `path`, by a temporary name beside it: on any error no output is left. Only this user can
    /// read it.
    pub async fn save(&self, ctx: &Context, name: &str, path: &Path) -> Result<u64> {
        let work = async {
            let mut reading = self.open(ctx, name).await?;
            let directory = path.parent().unwrap_or(Path::new("."));
            let temporary = tempfile::Builder::new()
                .prefix(".unfinished-")
                .tempfile_in(directory)
                .doing_with(|| format!("create a file in {}", directory.display()))?;
            let (file, temporary) = temporary.into_parts();
            let mut file = tokio::fs::File::from_std(file);
            file.set_max_buf_size(1 << 20);
            let bytes = tokio::select! {
                () = ctx.cancel.cancelled() => return Err(Error::interrupted()),
                copied = tokio::io::copy(&mut reading, &mut file) => copied.doing("read it")?,
            };
            file.flush().await.doing("write it")?;
            let renamed = temporary.persist(path).map_err(|error| error.error);
            renamed.doing("give it its name")?;
            Ok(bytes)
        };
        work.await
            .doing_with(|| format!("save {name} to {}", path.display()))
    }
}

#[cfg(test)]
mod tests;
