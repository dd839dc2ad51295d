//! Repositories: where artifacts are kept. Plain named bytes, and the manifest that commits an artifact.
//!
//! Layout: `<backup>/<artifact>/<file>`, `<backup>/<artifact>/manifest.json`, and for backups that store content
//! once, `<backup>/blobs/<name>` and [`contents`]; archived WAL: [`wal`]; what pgBackRest stores by itself: `<backup>/pgbackrest/`. Not here: what the bytes are (see [`crate::pipeline`]).

pub mod contents;
pub mod local;
pub mod manifest;
pub mod retention;
pub mod s3;
pub mod wal;

pub use local::LocalRepository;
pub use s3::S3Repository;

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;
use futures::TryFutureExt;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::{Doing, Error, Result};
use crate::service::{Endpoint, Reading, Tls};
use crate::shelf::Shelf;

/// An object in a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stored {
    /// Its full key.
    pub key: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its user metadata; only filled by [`Repository::head`] and [`Repository::open`].
    pub metadata: BTreeMap<String, String>,
    /// When the repository says it was last written (its own clock, for ordering only).
    pub written: Option<chrono::DateTime<chrono::Utc>>,
}

/// Where a repository is, for tools that read and write it by themselves.
#[derive(Debug, Clone)]
pub enum Place {
    /// A directory of this machine.
    Directory(PathBuf),
    /// A directory of this machine that is somebody else's: the tool's own repository itself, which is only read.
    Given(PathBuf),
    /// A bucket, reached over TLS.
    Bucket {
        /// The bucket's name.
        bucket: String,
        /// Who is let in; its host and port are those of the plain protocol.
        endpoint: Endpoint,
        /// The same server over TLS.
        tls: Tls,
    },
}

/// A place that keeps named bytes.
#[async_trait]
pub trait Repository: Send + Sync {
    /// Its name in the suite.
    fn name(&self) -> &str;
    /// Stores a stream of unknown length under `key`, all or nothing; returns the bytes written.
    async fn put(
        &self,
        ctx: &Context,
        key: &str,
        body: Reading,
        metadata: &BTreeMap<String, String>,
    ) -> Result<u64>;
    /// The same, and refused where something is there under `key` by then, which stays as it is: of several that store it at once,
    /// one does. Where the place itself cannot hold them to that, it is looked for first.
    async fn put_new(
        &self,
        ctx: &Context,
        key: &str,
        body: Reading,
        metadata: &BTreeMap<String, String>,
    ) -> Result<u64> {
        match self.head(ctx, key).await? {
            Some(_) => Err(taken(key, self.name())),
            None => self.put(ctx, key, body, metadata).await,
        }
    }
    /// Opens an object for reading, with its size and metadata; an object that is not there is an error.
    async fn open(&self, ctx: &Context, key: &str) -> Result<(Stored, Reading)>;
    /// Opens an object for reading; an object that is not there is an error.
    async fn get(&self, ctx: &Context, key: &str) -> Result<Reading> {
        Ok(self.open(ctx, key).await?.1)
    }
    /// Size and metadata; `None` when it is not there.
    async fn head(&self, ctx: &Context, key: &str) -> Result<Option<Stored>>;
    /// Every object whose key starts with `prefix`, on every page, in key order.
    async fn list(&self, ctx: &Context, prefix: &str) -> Result<Vec<Stored>>;
    /// What was begun and never became whole, by name: uploads whose parts were not put together, files without their
    /// names. No listing shows it and no pruner sees it. What is only read has none.
    async fn unfinished(&self, _ctx: &Context) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
    /// The same, one after the other: there may be very many.
    fn walk<'a>(&'a self, ctx: &'a Context, prefix: &'a str) -> BoxStream<'a, Result<Stored>> {
        let listed = self.list(ctx, prefix);
        let listed = listed.map_ok(|all| stream::iter(all).map(Ok));
        listed.try_flatten_stream().boxed()
    }
    /// Where it is.
    fn place(&self) -> Result<Place> {
        Err(Error::unavailable(format!(
            "repository {} can only be reached through redrill",
            self.name()
        )))
    }
    /// Removes objects; those that are not there are no error.
    async fn delete(&self, ctx: &Context, keys: &[String]) -> Result<()>;
}

/// What is not stored, as its key is taken.
fn taken(key: &str, repository: &str) -> Error {
    Error::refused(format!(
        "{key} is in repository {repository} already, and is not overwritten"
    ))
}

/// What a repository says of an object when it lists it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct ListedObject {
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was last written (the repository's own clock, for ordering only).
    pub written: Option<chrono::DateTime<chrono::Utc>>,
}

impl ListedObject {
    /// Under its key.
    pub fn stored(self, key: String) -> Stored {
        Stored {
            key,
            bytes: self.bytes,
            metadata: BTreeMap::new(),
            written: self.written,
        }
    }
}

/// Everything that a repository lists of a backup, by key.
pub async fn listing_of(
    ctx: &Context,
    repository: &dyn Repository,
    backup: &str,
) -> Result<Shelf<ListedObject>> {
    const NOTING: &str = "note what lies in a repository";
    let listing = Shelf::new(&ctx.dir).doing(NOTING)?;
    let prefix = format!("{backup}/");
    let mut all = repository.walk(ctx, &prefix);
    while let Some(stored) = all.try_next().await? {
        let listed = ListedObject {
            bytes: stored.bytes,
            written: stored.written,
        };
        listing.insert(&stored.key, &listed).doing(NOTING)?;
    }
    Ok(listing)
}
