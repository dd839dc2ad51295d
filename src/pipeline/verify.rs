//! An artifact as it lies in a repository: listed, and every stored byte of it read, once.
//!
//! In that one reading the stored bytes are counted, hashed and searched for a text that must not be in them, and
//! shared content is decrypted and hashed where there is a key. Facts only; not here: what they mean (see
//! [`crate::check`]).

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use futures::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use tokio_util::io::InspectReader;

use crate::context::Context;
use crate::error::{Doing, Error, Result};
use crate::evidence::{Digest, FileFact, StoredFact};
use crate::pipeline::artifact::ArtifactReader;
use crate::pipeline::search::{Found, Search};
use crate::pipeline::stream::{Sums, spawn};
use crate::repository::manifest::{Manifest, ManifestFile};
use crate::repository::{Repository, Stored, contents, listing_of};
use crate::service::Reading;
use crate::shelf::Shelf;

/// How many files are read at once.
const READERS: usize = 8;
/// How many complaints are quoted.
const COMPLAINTS: usize = 5;
/// How many files of an artifact are named that are amiss in one way: of a repository that was emptied, all would be.
const NAMED: usize = 100;

/// What was complained of, as far as it is told.
#[derive(Default)]
struct Complaints {
    first: Vec<String>,
    more: u64,
}

impl Complaints {
    fn push(&mut self, complaint: String) {
        match self.first.len() < COMPLAINTS {
            true => self.first.push(complaint),
            false => self.more += 1,
        }
    }

    fn in_words(self) -> Option<String> {
        let Self { first, more } = self;
        let rest = match more {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        (!first.is_empty()).then(|| first.join("; ") + &rest)
    }
}

/// Counts a file, and names it where it is one of the first that are amiss in this way: not there, not as it should be, or
/// not read.
fn count(fact: &mut StoredFact, found: FileFact) {
    let kind = |it: &FileFact| (it.found_bytes.is_some(), it.found_sha256.is_some());
    let of_its_kind = fact.amiss.iter().filter(|it| kind(it) == kind(&found));
    if found.is_sound() {
        fact.sound += 1;
    } else if of_its_kind.count() < NAMED {
        fact.amiss.push(found);
    } else {
        fact.more_amiss += 1;
    }
}
const NOTING: &str = "note what lies in a repository";

/// Stored objects of one repository that were read to their ends, by key.
pub type Seen = Shelf<SeenObject>;
/// Bytes and SHA-256 of shared content that was decrypted on the way, by name.
pub type Contents = Shelf<(u64, Digest)>;

/// What the reading of one stored object came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SeenObject {
    /// When the repository says it was last written.
    pub written: Option<DateTime<Utc>>,
    /// What was found in its bytes.
    pub found: Found,
    /// How many texts name it: its key, and its metadata.
    pub names: u32,
    /// The needle is in its key.
    pub in_name: bool,
    /// The needle is in its metadata.
    pub in_metadata: bool,
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
    let listing = listing_of(ctx, repository.as_ref(), &manifest.backup).await?;
    let mut complaints = Complaints::default();
    let found = Manifest::load(ctx, repository.as_ref(), &manifest.key()).await;
    ctx.go_on()?;
    let manifest = match found {
        Ok(found) => {
            fact.committed = true;
            fact.taken_at = Some(found.taken_at);
            fact.run = found.run.clone();
            Arc::new(found)
        }
        Err(error) => {
            complaints.push(error.message());
            manifest.clone()
        }
    };
    if let Some(first) = manifest.files.first() {
        match repository.head(ctx, &first.key).await {
            Ok(found) => fact.metadata = found.map(|found| found.metadata).unwrap_or_default(),
            Err(error) => complaints.push(error.message()),
        }
    }
    let (reader, needle) = (Arc::new(artifact.clone()), Arc::<[u8]>::from(needle));
    let own = manifest.files.iter().cloned();
    let own = own.chain(contents::list_of(&manifest)).map(Ok);
    let shared = contents::each(ctx, repository.as_ref(), &manifest);
    let shared = shared.map_ok(|content| content.file(&manifest.backup));
    let mut reads = stream::iter(own)
        .chain(shared)
        .map(|file: Result<ManifestFile>| {
            let (ctx, reader, needle) = (ctx.clone(), reader.clone(), needle.clone());
            let listing = &listing;
            async move {
                let file = file?;
                let listed = listing.get(&file.key).doing(NOTING)?;
                let read = match listed {
                    Some(_) => spawn(read_file(ctx, reader, file.clone(), needle))
                        .await
                        .unwrap_or_else(|error| Err(error.to_string())),
                    None => Err(format!("{} is not there", file.key)),
                };
                Ok::<_, Error>((file, listed, read))
            }
        })
        .buffered(READERS);
    let seen = Seen::new(&ctx.dir).doing(NOTING)?;
    let plain = Contents::new(&ctx.dir).doing(NOTING)?;
    let mut latest = None;
    while let Some(read) = reads.next().await {
        let (file, listed, read) = match read {
            Ok(read) => read,
            // The list of what is shared cannot be read on: its own reading tells what is wrong with it.
            Err(error) => {
                complaints.push(error.message());
                break;
            }
        };
        if let Some(listed) = &listed {
            fact.bytes += listed.bytes;
            latest = latest.max(listed.written);
        }
        let found = as_found(&file, listed.map(|it| it.bytes), &read, &mut complaints);
        count(&mut fact, found);
        if let Ok(object) = read {
            seen.insert(&file.key, &object.seen).doing(NOTING)?;
            if let Some(sums) = object.plain {
                plain.insert(&file.name, &sums).doing(NOTING)?;
            }
        }
    }
    drop(reads);
    let marker = listing.get(&manifest.key()).doing(NOTING)?;
    fact.manifest_last = marker
        .and_then(|marker| marker.written)
        .map(|committed| latest.is_none_or(|latest| latest <= committed));
    ctx.go_on()?;
    fact.error = complaints.in_words();
    Ok((fact, seen, plain))
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
    let has_it = |text: &String| {
        !needle.is_empty() && memchr::memmem::find(text.as_bytes(), needle).is_some()
    };
    let mut metadata = stored
        .metadata
        .iter()
        .flat_map(|(name, value)| [name, value]);
    ReadObject {
        seen: SeenObject {
            written: stored.written,
            found: watch.search.found().clone(),
            names: 1 + 2 * stored.metadata.len() as u32,
            in_name: has_it(&stored.key),
            in_metadata: metadata.any(has_it),
        },
        sha256,
        plain,
    }
}

fn as_found(
    file: &ManifestFile,
    listed: Option<u64>,
    read: &std::result::Result<ReadObject, String>,
    complaints: &mut Complaints,
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::context::RunId;
    use crate::repository::LocalRepository;

    #[tokio::test]
    async fn a_needle_is_found_in_the_bytes_the_name_and_the_metadata_of_an_object_and_in_no_other()
    {
        let dir = tempfile::tempdir().expect("a directory");
        let (run, top) = (RunId::fresh(Utc::now()), dir.path().join("drill"));
        let ctx = Context::new(run, top.clone(), top.join("logs"), CancellationToken::new());
        let ctx = ctx.expect("a context");
        let repository = LocalRepository::new("here", dir.path().join("repository"));
        let repository = repository.expect("a repository");
        for (key, name, value, bytes, found) in [
            ("b/plain", "title", "none", "nothing", (false, false, false)),
            ("b/bytes", "title", "none", "a needle", (true, false, false)),
            (
                "b/the-needle.age",
                "title",
                "none",
                "nothing",
                (false, true, false),
            ),
            (
                "b/value",
                "title",
                "the needle",
                "nothing",
                (false, false, true),
            ),
            ("b/word", "needle", "none", "nothing", (false, false, true)),
        ] {
            let metadata = BTreeMap::from([(name.to_owned(), value.to_owned())]);
            let body = Box::new(std::io::Cursor::new(bytes.as_bytes().to_vec()));
            let put = repository.put(&ctx, key, body, &metadata).await;
            put.expect("stored");
            let seen = read_object(&ctx, &repository, key, b"needle").await;
            let seen = seen.expect("read");
            assert_eq!(
                (seen.found.needle, seen.in_name, seen.in_metadata),
                found,
                "{key}"
            );
            assert_eq!(seen.names, 3, "{key}");
        }
    }

    #[test]
    fn of_very_many_files_that_are_amiss_the_first_of_each_kind_are_named_and_all_are_counted() {
        let file = |found_bytes, found: Option<&str>| FileFact {
            key: "k".to_owned(),
            bytes: 1,
            sha256: "right".to_owned(),
            found_bytes,
            found_sha256: found.map(str::to_owned),
        };
        let mut fact = StoredFact::default();
        for _ in 0..1_000 {
            count(&mut fact, file(None, None));
        }
        for _ in 0..3 {
            count(&mut fact, file(Some(1), Some("wrong")));
            count(&mut fact, file(Some(1), Some("right")));
        }
        assert_eq!((fact.sound, fact.amiss.len()), (3, NAMED + 3));
        assert_eq!(fact.more_amiss, 1_000 - NAMED as u64);
        let mut complaints = Complaints::default();
        assert_eq!(Complaints::default().in_words(), None);
        for n in 0..1_000 {
            complaints.push(n.to_string());
        }
        let words = complaints.in_words();
        assert_eq!(words.as_deref(), Some("0; 1; 2; 3; 4; and 995 more"));
    }
}
