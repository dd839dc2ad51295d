//! The S3 client: the one module that knows the AWS SDK. Everything streams, every call has a deadline and ends on
//! cancellation, every error says what was asked of whom.
//!
//! Uploads carry the MD5 of their bytes (`Content-MD5`, signed with the other headers), so that a server refuses what
//! was damaged on its way: it computes that for the ETag anyway, where the SHA-256 of a signed payload would be one more
//! pass over all bytes on either side. Flexible checksums are only sent where the protocol requires them, because
//! S3-compatible servers differ in them. No proxy is ever used: every server is one that a run has started, or one that the
//! user names to read an artifact from ([`Account`]).
//! Not here: what is stored (see [`crate::repository`] and [`crate::service::bucket`]).

mod account;
mod plain;
mod upload;

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::future::{self, BoxFuture};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;

use crate::context::Context;
use crate::error::{Doing, Error, Kind, Result, chain};
use crate::service::reading::Checked;
use crate::service::{Endpoint, Reading};

pub use account::Account;

/// Objects below this size go up in one request, others in parts of it.
pub const PART_BYTES: u64 = 8 << 20;
/// How many parts of one object are on their way at once (a further one is being read).
const PARTS_IN_FLIGHT: usize = 2;
/// The most parts an upload may have (the protocol's limit).
const MAX_PARTS: i32 = 10_000;
/// How many objects are removed by one request (the protocol's limit).
const BATCH: usize = 1000;
/// How long a download may stand still.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is stored with an object besides its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Headers {
    /// `Content-Type`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// `cache-control`, `content-disposition`, `content-encoding` and `content-language`, where they are set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub others: BTreeMap<String, String>,
    /// User metadata (`x-amz-meta-…`), by names without that prefix.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// An object without its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its ETag, without quotes.
    pub etag: String,
    /// When the server says it was last written.
    pub written: Option<DateTime<Utc>>,
}

/// An object being read.
pub struct Object {
    /// Its size, ETag and time.
    pub listed: Listed,
    /// Its headers.
    pub headers: Headers,
    /// Its bytes: ends in an error when fewer come than the server announced.
    pub body: Reading,
}

/// A client of one S3 server. Cheap to clone: clones share their connections.
#[derive(Clone)]
pub struct S3Client {
    client: Client,
    address: String,
}

/// Asks a server for its buckets with a signed request: it is ready when this succeeds.
pub async fn answers(ctx: &Context, endpoint: &Endpoint) -> Result<()> {
    S3Client::new(endpoint).buckets(ctx).await.map(drop)
}

impl S3Client {
    /// Asks for the names of all buckets: a real, authenticated query.
    pub async fn buckets(&self, ctx: &Context) -> Result<Vec<String>> {
        let answer = self.ask(ctx, self.client.list_buckets().send()).await;
        let answer = answer.doing_with(|| format!("list the buckets of {}", self.address))?;
        Ok(answer
            .buckets()
            .iter()
            .filter_map(|bucket| bucket.name().map(str::to_owned))
            .collect())
    }

    /// Creates a bucket; one that this account already owns is no error.
    pub async fn create_bucket(&self, ctx: &Context, bucket: &str) -> Result<()> {
        let request = self.client.create_bucket().bucket(bucket);
        match until_cancelled(ctx, request.send()).await? {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("BucketAlreadyOwnedByYou") => Ok(()),
            Err(error) => Err(self.explain(&error)),
        }
        .doing_with(|| format!("create bucket {bucket}"))
    }

    /// Whether a bucket is there.
    pub async fn bucket_exists(&self, ctx: &Context, bucket: &str) -> Result<bool> {
        let request = self.client.head_bucket().bucket(bucket);
        match until_cancelled(ctx, request.send()).await? {
            Ok(_) => Ok(true),
            Err(error) if status(&error) == Some(404) => Ok(false),
            Err(error) => Err(self.explain(&error)),
        }
        .doing_with(|| format!("look for bucket {bucket}"))
    }

    /// Removes an empty bucket.
    pub async fn delete_bucket(&self, ctx: &Context, bucket: &str) -> Result<()> {
        let request = self.client.delete_bucket().bucket(bucket);
        self.ask(ctx, request.send())
            .await
            .map(drop)
            .doing_with(|| format!("delete bucket {bucket}"))
    }

    /// Aborts every upload of a bucket, removes every object, and returns how many objects that were.
    pub async fn empty_bucket(&self, ctx: &Context, bucket: &str) -> Result<u64> {
        for (key, upload) in self.uploads(ctx, bucket).await? {
            self.abort_upload(ctx, bucket, &key, &upload).await?;
        }
        let mut removed = 0;
        let mut chunks = self.objects(ctx, bucket, "").try_chunks(BATCH);
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| error.1)?;
            let keys: Vec<String> = chunk.into_iter().map(|object| object.key).collect();
            self.delete(ctx, bucket, &keys).await?;
            removed += keys.len() as u64;
        }
        Ok(removed)
    }

    /// Opens an object; `None` when it is not there (a bucket that is not there is an error).
    pub async fn get(&self, ctx: &Context, bucket: &str, key: &str) -> Result<Option<Object>> {
        let request = self.client.get_object().bucket(bucket).key(key);
        let answer = match until_cancelled(ctx, request.send()).await? {
            Ok(answer) => answer,
            Err(error) if error.code() == Some("NoSuchKey") => return Ok(None),
            Err(error) => {
                let error = self.explain(&error);
                return Err(error.doing(format!("read {key} from bucket {bucket}")));
            }
        };
        let Some(bytes) = answer.content_length().and_then(|n| u64::try_from(n).ok()) else {
            return Err(Error::failed(format!(
                "read {key} from bucket {bucket}: the server announced no size"
            )));
        };
        let listed = Listed {
            key: key.to_owned(),
            bytes,
            etag: unquoted(answer.e_tag()),
            written: answer.last_modified().and_then(instant),
        };
        let headers = Headers {
            content_type: answer.content_type().map(str::to_owned),
            others: others([
                answer.cache_control(),
                answer.content_disposition(),
                answer.content_encoding(),
                answer.content_language(),
            ]),
            metadata: metadata(answer.metadata()),
        };
        let what = format!("{key} in bucket {bucket}");
        let body = Box::new(answer.body.into_async_read());
        let body = Checked::new(body, what, bytes).patience(PATIENCE);
        Ok(Some(Object {
            listed,
            headers,
            body: Box::new(body),
        }))
    }

    /// The first bytes of an object that has any, so many at most; `None` when it is not there.
    pub async fn beginning(
        &self,
        ctx: &Context,
        bucket: &str,
        key: &str,
        most: u64,
    ) -> Result<Option<Vec<u8>>> {
        let doing = || format!("read the beginning of {key} from bucket {bucket}");
        let request = self.client.get_object().bucket(bucket).key(key);
        let range = format!("bytes=0-{}", most.saturating_sub(1));
        let answer = match until_cancelled(ctx, request.range(range).send()).await? {
            Ok(answer) => answer,
            Err(error) if error.code() == Some("NoSuchKey") => return Ok(None),
            Err(error) => return Err(self.explain(&error).doing(doing())),
        };
        let size = size(answer.content_length());
        let body = Box::new(answer.body.into_async_read());
        let what = format!("{key} in bucket {bucket}");
        let body = Checked::new(body, what, size).patience(PATIENCE);
        // A server that does not know ranges begins at the beginning, too.
        let mut head = Vec::new();
        body.take(most)
            .read_to_end(&mut head)
            .await
            .doing_with(doing)?;
        Ok(Some(head))
    }

    /// Size and headers; `None` when it is not there.
    pub async fn head(
        &self,
        ctx: &Context,
        bucket: &str,
        key: &str,
    ) -> Result<Option<(Listed, Headers)>> {
        let request = self.client.head_object().bucket(bucket).key(key);
        let answer = match until_cancelled(ctx, request.send()).await? {
            Ok(answer) => answer,
            Err(error) if status(&error) == Some(404) => return Ok(None),
            Err(error) => {
                let error = self.explain(&error);
                return Err(error.doing(format!("look for {key} in bucket {bucket}")));
            }
        };
        let listed = Listed {
            key: key.to_owned(),
            bytes: size(answer.content_length()),
            etag: unquoted(answer.e_tag()),
            written: answer.last_modified().and_then(instant),
        };
        let headers = Headers {
            content_type: answer.content_type().map(str::to_owned),
            others: others([
                answer.cache_control(),
                answer.content_disposition(),
                answer.content_encoding(),
                answer.content_language(),
            ]),
            metadata: metadata(answer.metadata()),
        };
        Ok(Some((listed, headers)))
    }

    /// Every object whose key starts with `prefix`, page after page, in the server's order (by key). There may be very
    /// many: no more than a page is held.
    pub fn objects<'a>(
        &'a self,
        ctx: &'a Context,
        bucket: &'a str,
        prefix: &'a str,
    ) -> BoxStream<'a, Result<Listed>> {
        let pages = stream::try_unfold(Some(None), move |from| async move {
            let Some(from) = from else {
                return Ok(None);
            };
            let (page, next) = self.page(ctx, bucket, prefix, from).await?;
            let page = stream::iter(page.into_iter().map(Ok));
            Ok::<_, Error>(Some((page, next.map(Some))))
        });
        pages.try_flatten().boxed()
    }

    /// The same at once, where there are not many.
    pub async fn list(&self, ctx: &Context, bucket: &str, prefix: &str) -> Result<Vec<Listed>> {
        self.objects(ctx, bucket, prefix).try_collect().await
    }

    /// How many objects a bucket has.
    pub async fn count(&self, ctx: &Context, bucket: &str) -> Result<u64> {
        let objects = self.objects(ctx, bucket, "");
        let counted = objects.try_fold(0, |count, _| future::ready(Ok(count + 1)));
        counted.await
    }

    /// One page of a listing, and where the next one begins.
    async fn page(
        &self,
        ctx: &Context,
        bucket: &str,
        prefix: &str,
        from: Option<String>,
    ) -> Result<(Vec<Listed>, Option<String>)> {
        let request = self
            .client
            .list_objects_v2()
            .bucket(bucket)
            .prefix(prefix)
            .set_continuation_token(from);
        let page = self.ask(ctx, request.send()).await;
        let page = page.doing_with(|| format!("list bucket {bucket}"))?;
        let objects = page.contents().iter().map(|object| Listed {
            key: object.key().unwrap_or_default().to_owned(),
            bytes: size(object.size()),
            etag: unquoted(object.e_tag()),
            written: object.last_modified().and_then(instant),
        });
        let next = match (page.is_truncated(), page.next_continuation_token()) {
            (Some(true), Some(token)) => Some(token.to_owned()),
            (Some(true), None) => {
                return Err(Error::failed(format!(
                    "list bucket {bucket}: a page says that more follows, but not where"
                )));
            }
            _ => None,
        };
        Ok((objects.collect(), next))
    }

    /// Removes objects; those that are not there are no error.
    pub async fn delete(&self, ctx: &Context, bucket: &str, keys: &[String]) -> Result<()> {
        let doing = || format!("delete {} objects from bucket {bucket}", keys.len());
        if let [key] = keys {
            let request = self.client.delete_object().bucket(bucket).key(key);
            return self
                .ask(ctx, request.send())
                .await
                .map(drop)
                .doing_with(|| format!("delete {key} from bucket {bucket}"));
        }
        for batch in keys.chunks(BATCH) {
            let objects = batch
                .iter()
                .map(|key| ObjectIdentifier::builder().key(key).build())
                .collect::<std::result::Result<Vec<_>, _>>();
            let delete = objects.and_then(|objects| {
                Delete::builder()
                    .set_objects(Some(objects))
                    .quiet(true)
                    .build()
            });
            let delete = delete.map_err(|error| Error::defect(error.to_string()))?;
            let request = self.client.delete_objects().bucket(bucket).delete(delete);
            let answer = self.ask(ctx, request.send()).await.doing_with(doing)?;
            if let Some(error) = answer.errors().first() {
                let key = error.key().unwrap_or_default();
                let words = error
                    .message()
                    .or(error.code())
                    .unwrap_or("no reason given");
                return Err(Error::failed(format!("{key}: {words}")).doing(doing()));
            }
        }
        Ok(())
    }

    /// Every upload in parts that was begun and neither completed nor aborted: key and upload id.
    pub async fn uploads(&self, ctx: &Context, bucket: &str) -> Result<Vec<(String, String)>> {
        let mut all = Vec::new();
        let (mut key_marker, mut id_marker) = (None, None);
        loop {
            let request = self
                .client
                .list_multipart_uploads()
                .bucket(bucket)
                .set_key_marker(key_marker.take())
                .set_upload_id_marker(id_marker.take());
            let page = self.ask(ctx, request.send()).await;
            let page = page.doing_with(|| format!("list the uploads of bucket {bucket}"))?;
            all.extend(page.uploads().iter().filter_map(|upload| {
                Some((upload.key()?.to_owned(), upload.upload_id()?.to_owned()))
            }));
            if page.is_truncated() != Some(true) || page.next_key_marker().is_none() {
                return Ok(all);
            }
            key_marker = page.next_key_marker().map(str::to_owned);
            id_marker = page.next_upload_id_marker().map(str::to_owned);
        }
    }

    /// Gives an upload in parts up; one that is gone is no error.
    pub async fn abort_upload(
        &self,
        ctx: &Context,
        bucket: &str,
        key: &str,
        upload: &str,
    ) -> Result<()> {
        let request = self
            .client
            .abort_multipart_upload()
            .bucket(bucket)
            .key(key)
            .upload_id(upload);
        match until_cancelled(ctx, request.send()).await? {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("NoSuchUpload") => Ok(()),
            Err(error) => Err(self.explain(&error)),
        }
        .doing_with(|| format!("abort the upload of {key} in bucket {bucket}"))
    }

    fn ask<'a, T, E>(
        &'a self,
        ctx: &'a Context,
        request: impl Future<Output = std::result::Result<T, SdkError<E, HttpResponse>>> + Send + 'a,
    ) -> BoxFuture<'a, Result<T>>
    where
        T: Send + 'a,
        E: ProvideErrorMetadata + std::error::Error + Send + 'static,
    {
        let request = until_cancelled(ctx, request);
        Box::pin(async move { request.await?.map_err(|error| self.explain(&error)) })
    }

    /// An SDK error in our words: kind, whole chain of causes, and what can be done.
    fn explain<E>(&self, error: &SdkError<E, HttpResponse>) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let address = &self.address;
        match error {
            SdkError::DispatchFailure(_) => {
                Error::unavailable(format!("no answer from {address}: {}", chain(error)))
                    .hint("see in its log whether the S3 server is still running")
            }
            SdkError::TimeoutError(_) => Error::new(
                Kind::TimedOut,
                format!("{address} did not answer in time: {}", chain(error)),
            )
            .hint("see in the S3 server's log what it is busy with"),
            SdkError::ServiceError(_) => {
                let number = status(error).unwrap_or_default();
                let message = match (error.code(), error.message()) {
                    (Some(code), Some(words)) => format!("{code}: {words} (HTTP {number})"),
                    (Some(code), None) => format!("{code} (HTTP {number})"),
                    (None, _) => format!("HTTP {number} from {address}: {}", chain(error)),
                };
                let failed = Error::failed(message.clone());
                match error.code() {
                    // The second is one that is being stored at the same time.
                    Some("PreconditionFailed" | "ConditionalRequestConflict") => {
                        Error::refused(message)
                    }
                    Some("NoSuchBucket") => {
                        failed.hint("the bucket was never created, or something deleted it")
                    }
                    Some("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "AccessDenied") => failed
                        .hint(format!(
                            "access key or secret key are not those of {address}"
                        )),
                    Some("RequestTimeTooSkewed") => failed.hint("set the clock of this machine"),
                    _ if number == 403 => failed.hint(format!(
                        "access key or secret key are not those of {address}"
                    )),
                    _ => failed,
                }
            }
            _ => Error::failed(format!("{address}: {}", chain(error))),
        }
    }
}

/// Boxed, because the SDK's futures are so deep that the compiler gives up on what is built of them.
fn until_cancelled<'a, T: 'a>(
    ctx: &'a Context,
    work: impl Future<Output = T> + Send + 'a,
) -> BoxFuture<'a, Result<T>> {
    Box::pin(async move {
        tokio::select! {
            () = ctx.cancel.cancelled() => Err(Error::interrupted()),
            done = work => Ok(done),
        }
    })
}

fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error.raw_response().map(|raw| raw.status().as_u16())
}

fn unquoted(etag: Option<&str>) -> String {
    etag.unwrap_or_default().trim_matches('"').to_owned()
}

fn size(bytes: Option<i64>) -> u64 {
    bytes
        .and_then(|n| u64::try_from(n).ok())
        .unwrap_or_default()
}

fn instant(time: &aws_sdk_s3::primitives::DateTime) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(time.secs(), time.subsec_nanos())
}

fn others(values: [Option<&str>; 4]) -> BTreeMap<String, String> {
    let names = [
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
    ];
    names
        .into_iter()
        .zip(values)
        .filter_map(|(name, value)| {
            let value = value.filter(|value| !value.is_empty())?;
            Some((name.to_owned(), value.to_owned()))
        })
        .collect()
}

fn metadata(found: Option<&std::collections::HashMap<String, String>>) -> BTreeMap<String, String> {
    found
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}
