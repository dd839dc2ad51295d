//! A bucket, synchronised: every object that is not excluded, stored once by content and shared between runs, and
//! an index per run. What has left the source is not in the next index; retention removes its content later.
//!
//! A run that would drop more of the previous run's objects than is allowed is refused. The count it is compared
//! with stands in the previous manifest, in the clear: whoever takes backups need not be able to read them.
//! Content is named by a hash over a constant, the recipient and the content's own hash, so that the name alone does
//! not confirm a guess at the content. Not here: picking and pruning artifacts (see [`crate::repository`]).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future;
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use tokio::sync::Semaphore;

use crate::clock::Stopwatch;
use crate::context::Context;
use crate::error::{Doing, Error, Result};
use crate::evidence::{Digest, Objects, ReadFact};
use crate::pipeline::artifact::{ArtifactReader, ArtifactWriter};
use crate::pipeline::stream::Sums;
use crate::pipeline::{Fetched, Pipeline, Taken};
use crate::repository::Repository;
use crate::repository::manifest::Manifest;
use crate::service::Service;
use crate::service::bucket::Lanes;
use crate::service::s3::{Listed, S3Client};
use crate::shelf::Shelf;
use crate::suite::RestoreOptions;

pub mod exclude;
pub mod index;
mod sync;

use exclude::Excluded;
use index::{Entries, Entry};

/// Objects up to this size are held in memory while they are moved, several at once.
const SMALL: u64 = 1 << 20;
/// How many larger ones are moved at once; each holds a few parts.
const LARGE_LANES: usize = 2;
/// How many complaints are quoted.
const COMPLAINTS: usize = 5;
/// How long work may go on after a cancellation, to take back what it has begun.
const GRACE: Duration = Duration::from_secs(5);
/// What made the artifact.
const TOOL: &str = concat!("redrill bucket-sync ", env!("CARGO_PKG_VERSION"));

/// The pipeline of [`Method::BucketSync`](crate::suite::Method::BucketSync).
pub struct BucketSync {
    bucket: String,
    excluded: Excluded,
    max_delete_percent: u8,
    /// How much of a listing is taken; all of it, unless a drill plants otherwise.
    pub listed: usize,
}

impl BucketSync {
    /// Synchronises `bucket` without the keys that match `exclude`; refuses to drop more than `max_delete_percent`
    /// (0 to 100) of the previous run's objects.
    pub fn new(
        bucket: impl Into<String>,
        exclude: &[String],
        max_delete_percent: u8,
    ) -> Result<Self> {
        Ok(Self {
            bucket: bucket.into(),
            excluded: Excluded::new(exclude)?,
            max_delete_percent,
            listed: usize::MAX,
        })
    }

    /// The objects of the source that are to be backed up.
    fn objects<'a>(
        &'a self,
        ctx: &'a Context,
        client: &'a S3Client,
    ) -> BoxStream<'a, Result<Listed>> {
        let all = client.objects(ctx, &self.bucket, "").take(self.listed);
        let wanted = |object: &Listed| future::ready(!self.excluded.matches(&object.key));
        all.try_filter(wanted).boxed()
    }

    /// Why a run of `now` objects after one of `before` is refused.
    fn refusal(&self, before: u64, now: u64) -> Option<String> {
        let dropped = before.saturating_sub(now);
        let allowed = u128::from(before) * u128::from(self.max_delete_percent);
        (u128::from(dropped) * 100 > allowed).then(|| {
            format!(
                "bucket {} holds {now} objects, the previous backup {before}: dropping {dropped} of them is more \
                 than the {} % that is allowed, so the backup was not taken",
                self.bucket, self.max_delete_percent
            )
        })
    }
}

/// The newest committed run in any of the repositories, and the one that it was found in.
async fn previous(ctx: &Context, artifact: &ArtifactWriter) -> Result<Option<Previous>> {
    let mut newest: Option<Previous> = None;
    for repository in artifact.repositories() {
        let backup = &artifact.origin.backup;
        let (found, mut broken) = Manifest::newest(ctx, repository, backup).await?;
        if found.is_none()
            && let Some((_, error)) = broken.pop()
        {
            return Err(error.doing("find the previous run").hint(
                "no manifest of this backup can be read, so nothing says how many objects it held; see what \
                 happened to the repository",
            ));
        }
        if let Some(new) = found {
            let later = |(old, _): &Previous| (new.taken_at, &new.id) > (old.taken_at, &old.id);
            if newest.as_ref().is_none_or(later) {
                newest = Some((new, repository.clone()));
            }
        }
    }
    Ok(newest)
}

/// An earlier run, and a repository that it is in.
type Previous = (Manifest, Arc<dyn Repository>);

/// How many objects a run held.
fn objects(manifest: &Manifest) -> Result<u64> {
    let count = manifest.file(index::NAME).and_then(|file| {
        let count = file.metadata.get(index::OBJECTS)?;
        count.parse().ok()
    });
    count.ok_or_else(|| {
        let id = &manifest.id;
        Error::failed(format!(
            "the manifest of {id} does not say how many objects it holds"
        ))
    })
}

/// Runs work and notes it among the steps. Once the run is cancelled, it has [`GRACE`] to end by itself.
async fn noted<T>(
    ctx: &Context,
    what: String,
    work: impl Future<Output = Result<(T, String)>>,
) -> Result<T> {
    let watch = Stopwatch::start();
    let cancelled = async {
        ctx.cancel.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    let done = tokio::select! {
        done = work => done,
        () = cancelled => Err(Error::interrupted()),
    };
    match done {
        Ok((done, outcome)) => {
            ctx.note(
                format!("{what}: {outcome}"),
                Some(0),
                watch.seconds(),
                Path::new(""),
            );
            Ok(done)
        }
        Err(error) => {
            ctx.note(&what, None, watch.seconds(), Path::new(""));
            Err(error.doing(what))
        }
    }
}

/// One entry's content, on its way to the target.
async fn restore_one(
    ctx: Context,
    artifact: Arc<ArtifactReader>,
    client: S3Client,
    bucket: String,
    large: Arc<Semaphore>,
    entry: Entry,
) -> Result<u64> {
    let _lane = lane(&large, entry.bytes).await?;
    let work = async {
        let content = artifact.shared(&ctx, &entry.blob, entry.bytes, &entry.sha256);
        let content = content.await?;
        let put = client.put(&ctx, &bucket, &entry.key, content, &entry.headers);
        Ok::<_, Error>(put.await?.0)
    };
    work.await.doing_with(|| format!("restore {}", entry.key))
}

async fn lane(large: &Semaphore, bytes: u64) -> Result<Option<tokio::sync::SemaphorePermit<'_>>> {
    if bytes <= SMALL {
        return Ok(None);
    }
    let lane = large.acquire().await;
    lane.map(Some)
        .map_err(|_| Error::defect("the lanes for large objects are closed"))
}

/// Reads one entry's content to its end; the complaint when it is not what the index says.
async fn read_one(
    ctx: Context,
    artifact: Arc<ArtifactReader>,
    entry: Entry,
) -> (Entry, Result<Digest>) {
    let work = async {
        let (bytes, sha256) = match artifact.known(&entry.blob)? {
            Some(known) => known,
            None => {
                let content = artifact.shared(&ctx, &entry.blob, entry.bytes, &entry.sha256);
                Sums::over(content.await?).await.doing("read it")?.digest()
            }
        };
        if bytes == entry.bytes && entry.sha256.parse() == Ok(sha256) {
            return Ok(sha256);
        }
        Err(Error::failed(format!(
            "its content has {bytes} bytes and SHA-256 {sha256}; the index says {} and {}",
            entry.bytes, entry.sha256
        )))
    };
    let read = work.await.doing_with(|| format!("read {}", entry.key));
    (entry, read)
}

#[async_trait]
impl Pipeline for BucketSync {
    fn leaves_out(&self, key: &str) -> bool {
        self.excluded.matches(key)
    }

    async fn backup(
        &self,
        ctx: &Context,
        source: &dyn Service,
        artifact: &mut ArtifactWriter,
    ) -> Result<Taken> {
        let client = S3Client::new(&source.server().endpoint());
        let taken = |refused| Taken {
            tool: TOOL.to_owned(),
            refused,
            parent: None,
        };
        let work = async {
            let previous = previous(ctx, artifact).await?;
            if let Some((previous, _)) = &previous {
                let objects_now = self.objects(ctx, &client);
                let now = objects_now.try_fold(0, |now, _| future::ready(Ok(now + 1)));
                if let Some(refusal) = self.refusal(objects(previous)?, now.await?) {
                    return Ok((taken(Some(refusal)), "refused".to_owned()));
                }
            }
            let wanted = self.objects(ctx, &client);
            let moving = sync::run(ctx, &client, &self.bucket, wanted, artifact, previous);
            Ok((taken(None), moving.await?))
        };
        noted(ctx, format!("sync bucket {}", self.bucket), work).await
    }

    async fn fetch(
        &self,
        ctx: &Context,
        artifact: &ArtifactReader,
        _target: &dyn Service,
    ) -> Result<Fetched> {
        let work = async {
            let mut entries = Entries::new(artifact.open(ctx, index::NAME).await?);
            let mut found = 0;
            while entries.next().await?.is_some() {
                ctx.go_on()?;
                found += 1;
            }
            let expected = objects(&artifact.manifest)?;
            if found != expected {
                return Err(Error::failed(format!(
                    "the index lists {found} objects, the manifest says {expected}"
                )));
            }
            let fetched = Fetched {
                stored_bytes: artifact.manifest.stored_bytes(),
                artifact: Some(Arc::new(artifact.clone())),
                ..Fetched::default()
            };
            Ok((fetched, format!("{found} objects")))
        };
        noted(
            ctx,
            format!("read the index of {}", artifact.manifest.id),
            work,
        )
        .await
    }

    async fn restore(
        &self,
        ctx: &Context,
        fetched: &Fetched,
        target: &dyn Service,
        _options: &RestoreOptions,
    ) -> Result<()> {
        let Some(artifact) = &fetched.artifact else {
            return Err(Error::defect("restore a bucket: nothing was fetched"));
        };
        let client = S3Client::new(&target.server().endpoint());
        let large = Arc::new(Semaphore::new(LARGE_LANES));
        let work = async {
            let mut entries = Entries::new(artifact.open(ctx, index::NAME).await?);
            let (mut objects, mut bytes) = (0_u64, 0);
            let mut lanes = Lanes::new();
            let restoring = async {
                while let Some(entry) = entries.next().await? {
                    objects += 1;
                    let one = restore_one(
                        ctx.clone(),
                        artifact.clone(),
                        client.clone(),
                        self.bucket.clone(),
                        large.clone(),
                        entry,
                    );
                    bytes += lanes.begin(one).await?.unwrap_or_default();
                }
                while let Some(more) = lanes.next().await? {
                    bytes += more;
                }
                Ok::<_, Error>(())
            };
            let restored = restoring.await;
            lanes.settle().await;
            restored?;
            Ok(((), format!("{objects} objects, {bytes} bytes")))
        };
        noted(ctx, format!("restore bucket {}", self.bucket), work).await
    }

    async fn read_through(
        &self,
        ctx: &Context,
        artifact: &ArtifactReader,
        _source: &dyn Service,
    ) -> Result<ReadFact> {
        let artifact = Arc::new(artifact.clone());
        let keys = Shelf::new(&ctx.dir).doing("note what is read")?;
        let (mut complaints, mut amiss) = (Vec::new(), 0);
        let work = async {
            let mut entries = Entries::new(artifact.open(ctx, index::NAME).await?);
            let mut lanes = Lanes::new();
            let mut take = |(entry, read): (Entry, Result<Digest>)| {
                match read {
                    Ok(sha256) => {
                        let noted = keys.insert(&entry.key, &sha256);
                        noted.doing("note what is read")?;
                    }
                    Err(error) => {
                        amiss += 1;
                        if complaints.len() < COMPLAINTS {
                            complaints.push(error.message());
                        }
                    }
                }
                Ok::<_, Error>(())
            };
            while let Some(entry) = entries.next().await? {
                let (ctx, artifact) = (ctx.clone(), artifact.clone());
                let reading = async move { Ok(read_one(ctx, artifact, entry).await) };
                if let Some(done) = lanes.begin(reading).await? {
                    take(done)?;
                }
            }
            while let Some(done) = lanes.next().await? {
                take(done)?;
            }
            Ok(((), "every object decrypted and hashed".to_owned()))
        };
        let read = noted(ctx, format!("read through {}", artifact.manifest.id), work).await;
        ctx.go_on()?;
        let said = read.and_then(|()| objects(&artifact.manifest));
        match said {
            Ok(said) if said != keys.len() && complaints.is_empty() => {
                let read = keys.len();
                complaints.push(format!(
                    "the index lists {read} keys, the manifest says {said}"
                ));
            }
            Ok(_) => {}
            Err(error) => complaints.insert(0, error.message()),
        }
        if amiss > COMPLAINTS {
            complaints.push(format!("and {} more", amiss - COMPLAINTS));
        }
        Ok(ReadFact {
            tool: format!("{TOOL} (every object decrypted and hashed)"),
            error: (!complaints.is_empty()).then(|| complaints.join("; ")),
            entries: keys.len(),
            content_time: None,
            objects: Some(Objects(Arc::new(keys))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_refused_only_when_it_drops_more_than_is_allowed() {
        let sync = BucketSync::new("media", &[], 20).expect("valid");
        for (before, now, refused) in [
            (100, 80, false),
            (100, 79, true),
            (2_500, 0, true),
            (0, 0, false),
            (10, 500, false),
            (1, 0, true),
        ] {
            assert_eq!(
                sync.refusal(before, now).is_some(),
                refused,
                "{before} {now}"
            );
        }
        let words = sync.refusal(2_500, 3).expect("refused");
        assert!(
            words.contains("3 objects") && words.contains("2500"),
            "{words}"
        );
        let any = BucketSync::new("media", &[], 100).expect("valid");
        assert_eq!(any.refusal(2_500, 0), None);
    }
}
