//! The list of the content that an artifact shares with others of its backup: beside the manifest and in the clear like it, as
//! the pruner has no key. One JSON object a line, sorted by name: there may be very many, so that it is only ever read
//! through.
//!
//! Content lies under `<backup>/blobs/<name>`; its name says nothing of what it is.

use std::collections::BTreeMap;

use futures::stream::{self, BoxStream, StreamExt};
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::{Doing, Result};
use crate::evidence::Digest;
use crate::repository::Repository;
use crate::repository::manifest::{Manifest, ManifestFile};
use crate::service::reading::{Checked, Lines};

/// The file name of every such list.
pub const FILE_NAME: &str = "contents.json";

/// What the manifest says of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contents {
    /// How many contents it lists.
    pub count: u64,
    /// Stored bytes of all of them.
    pub stored_bytes: u64,
    /// Its own bytes.
    pub bytes: u64,
    /// SHA-256 of its own bytes, in hex.
    pub sha256: String,
}

/// One content that is stored once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// Its name.
    pub name: String,
    /// Stored bytes.
    pub bytes: u64,
    /// SHA-256 of the stored bytes, in hex.
    pub sha256: String,
    /// Bytes before encryption.
    pub plain_bytes: u64,
}

impl Content {
    /// What is noted of it beside its name, by an artifact that did not bring it.
    pub fn named(&self) -> Result<Named> {
        Ok(Named {
            bytes: self.bytes,
            sha256: self.sha256.parse::<Digest>().doing("understand a hash")?,
            plain_bytes: self.plain_bytes,
            new: false,
        })
    }

    /// As a file of an artifact of this backup. Its hash before encryption only the encrypted index names.
    pub fn file(self, backup: &str) -> ManifestFile {
        ManifestFile {
            key: format!("{}{}", prefix(backup), self.name),
            name: self.name,
            bytes: self.bytes,
            sha256: self.sha256,
            plain_bytes: self.plain_bytes,
            plain_sha256: String::new(),
            shared: true,
            metadata: BTreeMap::new(),
        }
    }
}

/// Where the contents of a backup lie: ends in `/`.
pub fn prefix(backup: &str) -> String {
    format!("{backup}/blobs/")
}

/// The key of an artifact's list.
pub fn key_of(backup: &str, id: &str) -> String {
    format!("{backup}/{id}/{FILE_NAME}")
}

/// The list itself as a file of its artifact; `None` where it shares nothing.
pub fn list_of(manifest: &Manifest) -> Option<ManifestFile> {
    let list = manifest.contents.as_ref()?;
    Some(ManifestFile {
        name: FILE_NAME.to_owned(),
        key: key_of(&manifest.backup, &manifest.id),
        bytes: list.bytes,
        sha256: list.sha256.clone(),
        plain_bytes: list.bytes,
        plain_sha256: list.sha256.clone(),
        shared: false,
        metadata: BTreeMap::new(),
    })
}

/// Every content that an artifact shares, one after the other, held to what the manifest says of the list.
pub fn each<'a>(
    ctx: &'a Context,
    repository: &'a dyn Repository,
    manifest: &Manifest,
) -> BoxStream<'a, Result<Content>> {
    let Some(list) = list_of(manifest) else {
        return stream::empty().boxed();
    };
    let lines = stream::try_unfold(None, move |lines| {
        let list = list.clone();
        async move {
            let doing = || format!("read {} in repository {}", list.key, repository.name());
            let mut lines: Lines<Content> = match lines {
                Some(lines) => lines,
                None => {
                    let reading = repository.get(ctx, &list.key).await?;
                    let reading = Checked::new(reading, &list.key, list.bytes).sha256(&list.sha256);
                    Lines::new(Box::new(reading))
                }
            };
            let next = lines.next().await.doing_with(doing)?;
            Ok(next.map(|content| (content, Some(lines))))
        }
    });
    lines.boxed()
}

/// What is noted of a content while an artifact is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Named {
    /// Stored bytes.
    pub bytes: u64,
    /// SHA-256 of the stored bytes.
    pub sha256: Digest,
    /// Bytes before encryption.
    pub plain_bytes: u64,
    /// The artifact that is being written brought it.
    pub new: bool,
}

impl Named {
    /// As it is listed.
    pub fn content(&self, name: String) -> Content {
        Content {
            name,
            bytes: self.bytes,
            sha256: self.sha256.to_string(),
            plain_bytes: self.plain_bytes,
        }
    }
}
