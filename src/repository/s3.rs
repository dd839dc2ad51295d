//! A repository in a bucket of an S3 server.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt, TryStreamExt};

use crate::context::Context;
use crate::error::{Doing, Error, Kind, Result};
use crate::repository::{Place, Repository, Stored, taken};
use crate::service::s3::{Headers, Listed, S3Client};
use crate::service::{Endpoint, Reading, Tls};

/// A bucket that keeps artifacts: keys are object keys, metadata is user metadata.
pub struct S3Repository {
    name: String,
    client: S3Client,
    bucket: String,
    over_tls: Option<(Endpoint, Tls)>,
}

impl S3Repository {
    /// The repository `name` in `bucket`, which must exist before anything is stored ([`S3Repository::create`]).
    pub fn new(name: impl Into<String>, client: S3Client, bucket: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            client,
            bucket: bucket.into(),
            over_tls: None,
        }
    }

    /// The same repository, with how tools reach its server that insist on TLS.
    #[must_use]
    pub fn over_tls(mut self, endpoint: Endpoint, tls: Tls) -> Self {
        self.over_tls = Some((endpoint, tls));
        self
    }

    /// Creates the bucket; one that is there already is no error.
    pub async fn create(&self, ctx: &Context) -> Result<()> {
        self.client
            .create_bucket(ctx, &self.bucket)
            .await
            .doing_with(|| self.doing())
    }

    /// The client and the bucket behind it, for looking at what the protocol knows and a repository does not
    /// (unfinished uploads).
    pub fn bucket(&self) -> (&S3Client, &str) {
        (&self.client, &self.bucket)
    }

    fn doing(&self) -> String {
        format!("use repository {}", self.name)
    }
}

/// Gateways that pass headers on as variables (Ceph's, for one) turn the `_` of a name into `-`: redrill's own
/// metadata names have only `_`, so it is turned back.
fn as_named(metadata: BTreeMap<String, String>) -> BTreeMap<String, String> {
    metadata
        .into_iter()
        .map(|(name, value)| (name.replace('-', "_"), value))
        .collect()
}

fn described(metadata: &BTreeMap<String, String>) -> Headers {
    Headers {
        content_type: Some("application/octet-stream".to_owned()),
        metadata: metadata.clone(),
        ..Headers::default()
    }
}

fn stored(listed: Listed, metadata: BTreeMap<String, String>) -> Stored {
    Stored {
        key: listed.key,
        bytes: listed.bytes,
        metadata,
        written: listed.written,
    }
}

#[async_trait]
impl Repository for S3Repository {
    fn name(&self) -> &str {
        &self.name
    }

    async fn put(
        &self,
        ctx: &Context,
        key: &str,
        body: Reading,
        metadata: &BTreeMap<String, String>,
    ) -> Result<u64> {
        let headers = described(metadata);
        let put = self.client.put(ctx, &self.bucket, key, body, &headers);
        let (bytes, _) = put.await.doing_with(|| self.doing())?;
        Ok(bytes)
    }

    /// Where a server takes no notice of the condition (Ceph's gateway does not at the end of an upload in parts), what is there
    /// is overwritten: look first.
    async fn put_new(
        &self,
        ctx: &Context,
        key: &str,
        body: Reading,
        metadata: &BTreeMap<String, String>,
    ) -> Result<u64> {
        let headers = described(metadata);
        let put = self
            .client
            .put_new(ctx, &self.bucket, key, body, &headers)
            .await;
        match put {
            Err(error) if error.kind() == Kind::Refused => Err(taken(key, &self.name)),
            put => Ok(put.doing_with(|| self.doing())?.0),
        }
    }

    async fn open(&self, ctx: &Context, key: &str) -> Result<(Stored, Reading)> {
        let found = self.client.get(ctx, &self.bucket, key).await;
        match found.doing_with(|| self.doing())? {
            Some(object) => {
                let metadata = as_named(object.headers.metadata);
                Ok((stored(object.listed, metadata), object.body))
            }
            None => Err(Error::failed(format!("{key} is not there")).doing(self.doing())),
        }
    }

    async fn head(&self, ctx: &Context, key: &str) -> Result<Option<Stored>> {
        let found = self.client.head(ctx, &self.bucket, key).await;
        let found = found.doing_with(|| self.doing())?;
        Ok(found.map(|(listed, headers)| stored(listed, as_named(headers.metadata))))
    }

    async fn list(&self, ctx: &Context, prefix: &str) -> Result<Vec<Stored>> {
        self.walk(ctx, prefix).try_collect().await
    }

    fn walk<'a>(&'a self, ctx: &'a Context, prefix: &'a str) -> BoxStream<'a, Result<Stored>> {
        let objects = self.client.objects(ctx, &self.bucket, prefix);
        let all = objects.map(|listed| {
            let listed = listed.doing_with(|| self.doing())?;
            Ok(stored(listed, BTreeMap::new()))
        });
        all.boxed()
    }

    async fn unfinished(&self, ctx: &Context) -> Result<Vec<String>> {
        let uploads = self.client.uploads(ctx, &self.bucket).await;
        let uploads = uploads.doing_with(|| self.doing())?.into_iter();
        Ok(uploads.map(|(key, _)| key).collect())
    }

    fn place(&self) -> Result<Place> {
        let Some((endpoint, tls)) = self.over_tls.clone() else {
            return Err(Error::unavailable(format!(
                "repository {} is not reached over TLS",
                self.name
            )));
        };
        Ok(Place::Bucket {
            bucket: self.bucket.clone(),
            endpoint,
            tls,
        })
    }

    async fn delete(&self, ctx: &Context, keys: &[String]) -> Result<()> {
        let deleted = self.client.delete(ctx, &self.bucket, keys).await;
        deleted.doing_with(|| self.doing())
    }
}
