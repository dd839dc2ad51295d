//! A bucket of an S3 server as a service under test.
//!
//! The run's own objects lie under `redrill/`: the nonce in `redrill/run`, the canary there and in the name of
//! another object, ledger entry N in `redrill/ledger/<N>`. Not here: the protocol (see [`crate::service::s3`]).

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::Utc;
use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;

use crate::clock::Stopwatch;
use crate::context::Context;
use crate::error::{Doing, Error, Kind, Result};
use crate::evidence::{Digest, ObjectFact, Objects, Observation, SmokeFact};
use crate::service::reading::channel;
use crate::service::s3::{Headers, Listed, S3Client};
use crate::service::{Running, Service};
use crate::sha256::Sha256;
use crate::shelf::Shelf;
use crate::suite::Smoke;

pub mod live;
pub mod seed;

/// How many objects are worked on at once.
pub const LANES: usize = 16;
/// The object that holds the nonce (first line) and the canary (second line, and user metadata).
pub const RUN_KEY: &str = "redrill/run";
/// The object that holds the canary in its name: this, and the canary.
pub const CANARY_PREFIX: &str = "redrill/canary/";
/// The objects that are the ledger: this, and the number.
pub const LEDGER_PREFIX: &str = "redrill/ledger/";
/// The smoke question for the number of objects; any other question is a key.
const COUNT: &str = "count";

/// A component that is a bucket.
pub struct BucketService {
    server: Arc<dyn Running>,
    client: S3Client,
    bucket: String,
    objects: u64,
}

impl BucketService {
    /// The bucket `bucket` on `server`, to be seeded with `objects` objects at scale 1.
    pub fn new(server: Arc<dyn Running>, bucket: impl Into<String>, objects: u64) -> Self {
        let client = S3Client::new(&server.endpoint());
        Self {
            server,
            client,
            bucket: bucket.into(),
            objects,
        }
    }

    /// The bucket's name.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The client of its server.
    pub fn client(&self) -> &S3Client {
        &self.client
    }

    async fn put_text(
        &self,
        ctx: &Context,
        key: &str,
        text: String,
        metadata: BTreeMap<String, String>,
    ) -> Result<String> {
        let headers = Headers {
            content_type: Some("text/plain; charset=utf-8".to_owned()),
            metadata,
            ..Headers::default()
        };
        let body = Box::new(Cursor::new(text.into_bytes()));
        let put = self.client.put(ctx, &self.bucket, key, body, &headers);
        Ok(put.await?.1)
    }

    /// The answer to one smoke question.
    async fn answer(&self, ctx: &Context, ask: &str) -> Result<String> {
        if ask == COUNT {
            let count = self.client.count(ctx, &self.bucket).await?;
            return Ok(count.to_string());
        }
        match self.client.get(ctx, &self.bucket, ask).await? {
            Some(mut object) => {
                let read = tokio::io::copy(&mut object.body, &mut tokio::io::sink()).await;
                Ok(read.doing_with(|| format!("read {ask}"))?.to_string())
            }
            None => Err(Error::failed(format!("there is no object {ask}"))),
        }
    }
}

#[async_trait]
impl Service for BucketService {
    fn server(&self) -> Arc<dyn Running> {
        self.server.clone()
    }

    async fn create(&self, ctx: &Context) -> Result<()> {
        let watch = Stopwatch::start();
        self.client.create_bucket(ctx, &self.bucket).await?;
        let what = format!("create bucket {}", self.bucket);
        ctx.note(what, None, watch.seconds(), Path::new(""));
        Ok(())
    }

    async fn seed(&self, ctx: &Context, scale: f64, seed: u64) -> Result<()> {
        let planned = seed::planned(self.objects, scale, seed);
        let uploads = planned.map(|object| {
            let (client, bucket, ctx) = (self.client.clone(), self.bucket.clone(), ctx.clone());
            async move {
                let (feeder, body) = channel(2);
                let content = object.content();
                let feed = async move {
                    for chunk in content {
                        if !feeder.send(chunk).await {
                            return;
                        }
                    }
                    feeder.end().await;
                };
                let put = client.put(&ctx, &bucket, &object.key, body, &object.headers);
                let (stored, ()) = tokio::join!(put, feed);
                stored.map(drop)
            }
        });
        in_lanes(stream::iter(uploads.map(Ok)), |()| Ok(()))
            .await
            .doing_with(|| format!("seed bucket {}", self.bucket))
    }

    async fn plant(&self, ctx: &Context, nonce: &str, canary: &str) -> Result<()> {
        let metadata = BTreeMap::from([("canary".to_owned(), canary.to_owned())]);
        self.put_text(ctx, RUN_KEY, format!("{nonce}\n{canary}\n"), metadata)
            .await?;
        let named = format!("{CANARY_PREFIX}{canary}");
        self.put_text(ctx, &named, "named\n".to_owned(), BTreeMap::new())
            .await
            .map(drop)
    }

    async fn write(&self, ctx: &Context, number: u64) -> Result<String> {
        let key = format!("{LEDGER_PREFIX}{number}");
        self.put_text(ctx, &key, format!("{number}\n"), BTreeMap::new())
            .await
    }

    async fn population(&self, ctx: &Context) -> Result<u64> {
        if !self.client.bucket_exists(ctx, &self.bucket).await? {
            return Ok(0);
        }
        self.client.count(ctx, &self.bucket).await
    }

    async fn observe(&self, ctx: &Context) -> Result<Observation> {
        let doing = || format!("observe bucket {}", self.bucket);
        let mut seen = Observation {
            identity: self.bucket.clone(),
            taken_at: Utc::now(),
            ..Observation::default()
        };
        let objects = Shelf::new(&ctx.dir).doing_with(doing)?;
        let listed = self.client.objects(ctx, &self.bucket, "");
        let reads = listed.map_ok(|listed| {
            let (client, bucket, ctx) = (self.client.clone(), self.bucket.clone(), ctx.clone());
            async move { Ok(read(&ctx, &client, &bucket, listed).await) }
        });
        in_lanes(reads, |object| {
            seen.bytes += object.listed.bytes;
            match object.outcome {
                Ok(read) => {
                    note(&mut seen, &object.listed.key, &read);
                    let put = objects.insert(&object.listed.key, &read.fact);
                    put.doing("note an object")?;
                }
                Err(error) if error.kind() == Kind::Interrupted => return Err(error),
                Err(error) => {
                    let words = error.message();
                    seen.unreadable.insert(object.listed.key, words);
                }
            }
            Ok(())
        })
        .await
        .doing_with(doing)?;
        seen.objects = Some(Objects(Arc::new(objects)));
        Ok(seen)
    }

    async fn smoke(&self, ctx: &Context, questions: &[Smoke]) -> Result<Vec<SmokeFact>> {
        let mut facts = Vec::new();
        for question in questions {
            let watch = Stopwatch::start();
            let answer = self.answer(ctx, &question.ask).await;
            let what = match question.ask.as_str() {
                COUNT => format!("count the objects of bucket {}", self.bucket),
                key => format!("read {key} of bucket {} to its end", self.bucket),
            };
            ctx.note(what, None, watch.seconds(), Path::new(""));
            ctx.go_on()?;
            let answer = answer.map_err(|error| error.message());
            facts.push(SmokeFact::of(question, answer));
        }
        Ok(facts)
    }

    async fn symptom(&self, ctx: &Context) -> Option<String> {
        // Of a server that is gone, the first refusal is what users see.
        let client = self.client.asking_once();
        match client.get(ctx, &self.bucket, RUN_KEY).await {
            Ok(Some(mut object)) => {
                let read = tokio::io::copy(&mut object.body, &mut tokio::io::sink()).await;
                read.err().map(|error| format!("GET {RUN_KEY}: {error}"))
            }
            Ok(None) => Some(format!("GET {RUN_KEY}: NoSuchKey")),
            Err(error) => Some(error.message()),
        }
    }
}

/// Work in at most [`LANES`] tasks at a time. Dropping it ends them all.
pub struct Lanes<T>(JoinSet<Result<T>>);

impl<T: Send + 'static> Lanes<T> {
    /// No work yet.
    #[expect(clippy::new_without_default, reason = "a default says nothing here")]
    pub fn new() -> Self {
        Self(JoinSet::new())
    }

    /// Begins work, after waiting for a free lane; returns what the task before it in that lane came to.
    pub async fn begin(
        &mut self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<Option<T>> {
        let done = if self.0.len() < LANES {
            None
        } else {
            self.next().await?
        };
        self.0.spawn(work);
        Ok(done)
    }

    /// Lets what is still running end, after an error: an upload that is dropped would leave its parts behind.
    pub async fn settle(mut self) {
        while self.0.join_next().await.is_some() {}
    }

    /// What the next task to end came to; `None` when all have.
    pub async fn next(&mut self) -> Result<Option<T>> {
        match self.0.join_next().await {
            Some(done) => done.doing("wait for a task")?.map(Some),
            None => Ok(None),
        }
    }
}

/// Runs work in [`Lanes`] and takes the results as they come; the first error is returned, after what was running
/// has ended.
pub async fn in_lanes<T, F>(
    work: impl Stream<Item = Result<F>>,
    mut take: impl FnMut(T) -> Result<()>,
) -> Result<()>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    let mut lanes = Lanes::new();
    let mut work = std::pin::pin!(work);
    let running = async {
        while let Some(work) = work.next().await {
            if let Some(done) = lanes.begin(work?).await? {
                take(done)?;
            }
        }
        while let Some(done) = lanes.next().await? {
            take(done)?;
        }
        Ok(())
    };
    let done = running.await;
    lanes.settle().await;
    done
}

struct Seen {
    listed: Listed,
    outcome: Result<Read>,
}

/// What was read of an object.
struct Read {
    fact: ObjectFact,
    /// The first bytes of the object that holds the nonce.
    text: Vec<u8>,
}

async fn read(ctx: &Context, client: &S3Client, bucket: &str, listed: Listed) -> Seen {
    let work = async {
        let object = client.get(ctx, bucket, &listed.key).await?;
        let Some(mut object) = object else {
            return Err(Error::failed("it is listed, but not there"));
        };
        let mut hasher = Sha256::new();
        let mut chunk = vec![0; 64 << 10];
        let (mut bytes, mut text) = (0, Vec::new());
        loop {
            let n = object.body.read(&mut chunk).await.doing("read it")?;
            if n == 0 {
                break;
            }
            hasher.update(&chunk[..n]);
            bytes += n as u64;
            if listed.key == RUN_KEY && text.len() < 1024 {
                text.extend_from_slice(&chunk[..n]);
            }
        }
        let fact = ObjectFact {
            bytes,
            sha256: Digest::of(&hasher.finish()),
            headers: described(&object.headers),
        };
        Ok(Read { fact, text })
    };
    let outcome = work.await;
    Seen { listed, outcome }
}

fn note(seen: &mut Observation, key: &str, read: &Read) {
    if key == RUN_KEY {
        let text = String::from_utf8_lossy(&read.text);
        let mut marks = text.lines().map(str::to_owned);
        let mut mark = || marks.next().filter(|mark| !mark.is_empty());
        (seen.nonce, seen.canary) = (mark(), mark());
    }
    let number = key.strip_prefix(LEDGER_PREFIX);
    seen.ledger
        .extend(number.and_then(|number| number.parse::<u64>().ok()));
}

/// Headers as one line: content type, the others, then user metadata as `x-amz-meta-…`, each sorted by name.
pub fn described(headers: &Headers) -> String {
    let kind = headers.content_type.as_deref().unwrap_or("(none)");
    let others = headers.others.iter();
    let others = others.map(|(name, value)| format!("{name}: {value}"));
    let metadata = headers.metadata.iter();
    let metadata = metadata.map(|(name, value)| format!("x-amz-meta-{name}: {value}"));
    std::iter::once(format!("content-type: {kind}"))
        .chain(others)
        .chain(metadata)
        .collect::<Vec<_>>()
        .join("; ")
}
