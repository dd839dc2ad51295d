//! An artifact as it lies in a repository: listed, and every stored byte of it read, once.
//!
//! In that one reading the stored bytes are counted, hashed and searched for a text that must not be in them, and
//! shared content is decrypted and hashed where there is a key. Facts only; not here: what they mean (see
//! [`crate::check`]).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use futures::StreamExt;
use tokio_util::io::InspectReader;

use crate::context::Context;
use crate::error::{Doing, Error, Result};
use crate::evidence::{Digest, FileFact, StoredFact};
use crate::pipeline::artifact::ArtifactReader;
use crate::pipeline::search::{Found, Search};
use crate::pipeline::stream::{Sums, spawn};
use crate::repository::manifest::{Manifest, ManifestFile};
use crate::repository::{Repository, Stored};
use crate::service::Reading;

/// How many files are read at once.
const READERS: usize = 8;
/// How many complaints are quoted.
const COMPLAINTS: usize = 5;

/// Stored objects of one repository that were read to their ends, by key.
pub type Seen = HashMap<Box<str>, SeenObject>;
/// Bytes and SHA-256 of content that was decrypted on the way, by the key of what is stored.
pub type Contents = HashMap<Box<str>, (u64, Digest)>;

/// What the reading of one stored object came to.
#[derive(Debug, Clone)]
pub struct SeenObject {
    /// When the repository says it was last written.
    pub written: Option<DateTime<Utc>>,
    /// What was found in its bytes.
    pub found: Found,
    /// Its name and what else stands beside it: how many texts, and whether the needle is in one of them.
    pub names: (u32, bool),
}

/// A stored object that was read, and the sums of it that nobody needs for long.
struct ReadObject {
    seen: SeenObject,
    /// SHA-256 of the stored bytes, in hex.
    sha256: String,
    /// Bytes and SHA-256 of its content, where it was decrypted too.
    plain: Option<(u64, Digest)>,
}

/// Lists and reads every stored file of an artifact, and searches it for `needle`. The manifest is read from the
/// repository; that of `artifact`, as it was committed, only says where it is, and what to look for when it is gone.
pub async fn inspect(
    ctx: &Context,
    artifact: &ArtifactReader,
    needle: &[u8],
) -> Result<(StoredFact, Seen, Contents)> {
    let (manifest, repository) = (&artifact.manifest, artifact.repository());
    let mut fact = StoredFact {
        repository: repository.name().to_owned(),
        ..StoredFact::default()
    };
    let listing = repository
        .list(ctx, &format!("{}/", manifest.backup))
        .await?;
    let listing: HashMap<&str, &Stored> = listing
        .iter()
        .map(|stored| (stored.key.as_str(), stored))
        .collect();
    let mut complaints = Vec::new();
    let found = Manifest::load(ctx, repository.as_ref(), &manifest.key()).await;
    ctx.go_on()?;
    let manifest = match found {
        Ok(found) => {
            fact.committed = true;
            fact.taken_at = Some(found.taken_at);
            fact.run = found.run.clone();
            // One is enough: it may name very many files.
            if found == **manifest {
                manifest.clone()
            } else {
                Arc::new(found)
            }
        }
        Err(error) => {
            complaints.push(error.message());
            manifest.clone()
        }
    };
    let marker = listing.get(manifest.key().as_str());
    fact.manifest_last = marker.and_then(|marker| marker.written).map(|committed| {
        let files = manifest.files.iter();
        let mut written = files.filter_map(|file| listing.get(file.key.as_str())?.written);
        written.all(|written| written <= committed)
    });
    if let Some(first) = manifest.files.first() {
        match repository.head(ctx, &first.key).await {
            Ok(found) => fact.metadata = found.map(|found| found.metadata).unwrap_or_default(),
            Err(error) => complaints.push(error.message()),
        }
    }
    let listed = |file: &ManifestFile| Some(listing.get(file.key.as_str())?.bytes);
    fact.bytes = manifest.files.iter().filter_map(listed).sum();
    let (reader, needle) = (Arc::new(artifact.clone()), Arc::<[u8]>::from(needle));
    let files = &manifest.files;
    let reads = (0..files.len()).map(|at| {
        let file = &files[at];
        let listed = listed(file);
        let (ctx, reader, needle) = (ctx.clone(), reader.clone(), needle.clone());
        async move {
            let read = match listed {
                Some(_) => spawn(read_file(ctx, reader, file.clone(), needle))
                    .await
                    .unwrap_or_else(|error| Err(error.to_string())),
                None => Err(format!("{} is not there", file.key)),
            };
            (file, listed, read)
        }
    });
    let (mut seen, mut contents) = (Seen::new(), Contents::new());
    let mut reads = futures::stream::iter(reads).buffered(READERS);
    while let Some((file, listed, read)) = reads.next().await {
        let found = as_found(file, listed, &read, &mut complaints);
        if found.is_sound() {
            fact.sound += 1;
        } else {
            fact.amiss.push(found);
        }
        if let Ok(object) = read {
            seen.insert(file.key.as_str().into(), object.seen);
            let plain = object.plain;
            contents.extend(plain.map(|plain| (file.key.as_str().into(), plain)));
        }
    }
    ctx.go_on()?;
    if !complaints.is_empty() {
        let more = complaints.len().saturating_sub(COMPLAINTS);
        complaints.truncate(COMPLAINTS);
        let rest = if more > 0 {
            format!("; and {more} more")
        } else {
            String::new()
        };
        fact.error = Some(complaints.join("; ") + &rest);
    }
    Ok((fact, seen, contents))
}

/// Reads one stored object to its end and searches it.
pub async fn read_object(
    ctx: &Context,
    repository: &dyn Repository,
    key: &str,
    needle: &[u8],
) -> Result<SeenObject> {
    let read = read_stored(ctx, repository, key, needle).await?;
    Ok(read.seen)
}

async fn read_stored(
    ctx: &Context,
    repository: &dyn Repository,
    key: &str,
    needle: &[u8],
) -> Result<ReadObject> {
    let (stored, body) = repository.open(ctx, key).await?;
    let (watch, body) = Watch::over(body, needle);
    let read = tokio::select! {
        () = ctx.cancel.cancelled() => return Err(Error::interrupted()),
        read = Sums::of(body) => read,
    };
    read.doing_with(|| format!("read {key}"))?;
    Ok(seen(stored, needle, &watch, None))
}

/// Reads one file of an artifact; shared content is decrypted on the way, as nothing else will read it before a
/// restore does.
async fn read_file(
    ctx: Context,
    artifact: Arc<ArtifactReader>,
    file: ManifestFile,
    needle: Arc<[u8]>,
) -> std::result::Result<ReadObject, String> {
    let repository = artifact.repository();
    if file.shared {
        let both = async {
            let (stored, body) = repository.open(&ctx, &file.key).await?;
            let (watch, body) = Watch::over(body, &needle);
            let content = artifact.content_of(&file, body).await?;
            let plain = Sums::over(content).await.doing("read it")?.digest();
            Ok::<_, Error>(seen(stored, &needle, &watch, Some(plain)))
        };
        let both = tokio::select! {
            () = ctx.cancel.cancelled() => Err(Error::interrupted()),
            both = both => both,
        };
        // What does not decrypt may have been read in part only: it is read again as it lies there.
        if let Ok(both) = both {
            return Ok(both);
        }
    }
    let read = read_stored(&ctx, repository.as_ref(), &file.key, &needle).await;
    read.map_err(|error| error.message())
}

/// Takes note of the bytes that are read through it.
struct Watch {
    sums: Sums,
    search: Search,
}

impl Watch {
    fn over(body: Reading, needle: &[u8]) -> (Arc<Mutex<Self>>, Reading) {
        let watch = Arc::new(Mutex::new(Self {
            sums: Sums::default(),
            search: Search::new(needle),
        }));
        let noting = watch.clone();
        let body = InspectReader::new(body, move |bytes: &[u8]| {
            let mut watch = noting.lock().unwrap_or_else(PoisonError::into_inner);
            watch.sums.update(bytes);
            watch.search.update(bytes);
        });
        (watch, Box::new(body))
    }
}

fn seen(
    stored: Stored,
    needle: &[u8],
    watch: &Mutex<Watch>,
    plain: Option<(u64, Digest)>,
) -> ReadObject {
    let mut watch = watch.lock().unwrap_or_else(PoisonError::into_inner);
    let (_, sha256) = std::mem::take(&mut watch.sums).finish();
    let texts =
        std::iter::once(&stored.key).chain(stored.metadata.iter().flat_map(|(k, v)| [k, v]));
    let in_names = texts
        .clone()
        .any(|text| !needle.is_empty() && memchr::memmem::find(text.as_bytes(), needle).is_some());
    ReadObject {
        seen: SeenObject {
            written: stored.written,
            found: watch.search.found().clone(),
            names: (texts.count() as u32, in_names),
        },
        sha256,
        plain,
    }
}

fn as_found(
    file: &ManifestFile,
    listed: Option<u64>,
    read: &std::result::Result<ReadObject, String>,
    complaints: &mut Vec<String>,
) -> FileFact {
    let (found_bytes, found_sha256) = match read {
        Ok(read) => (Some(read.seen.found.bytes), Some(read.sha256.clone())),
        Err(complaint) => {
            complaints.push(complaint.clone());
            (listed, None)
        }
    };
    FileFact {
        key: file.key.clone(),
        bytes: file.bytes,
        sha256: file.sha256.clone(),
        found_bytes,
        found_sha256,
    }
}
