//! A bucket that somebody else fills: its objects and their bytes counted by a listing, and nothing written.

use futures::TryStreamExt;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::evidence::Held;
use crate::service::s3::{Account, S3Client};

/// A live source.
pub struct Live {
    client: S3Client,
    bucket: String,
    prefix: String,
}

impl Live {
    /// The bucket that `bucket/prefix?endpoint=URL` names; Amazon's own, or that of the account, where it names no address.
    pub fn parse(
        text: &str,
        account: impl FnOnce(Option<String>) -> Result<Account>,
    ) -> Result<Self> {
        let (place, query) = text.split_once('?').unwrap_or((text, ""));
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let endpoint = query.strip_prefix("endpoint=");
        if bucket.is_empty() || !query.is_empty() && endpoint.is_none() {
            return Err(Error::usage("the bucket of the live source cannot be read")
                .hint("as s3://bucket/prefix, or s3://bucket/prefix?endpoint=https://s3.example"));
        }
        Ok(Self {
            client: S3Client::of(&account(endpoint.map(str::to_owned))?),
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        })
    }

    /// Counts its objects and their bytes.
    pub async fn count(&self, ctx: &Context) -> Result<Held> {
        let mut held = Held::default();
        let mut all = self.client.objects(ctx, &self.bucket, &self.prefix);
        while let Some(listed) = all.try_next().await? {
            // What only stands for a folder is no file of a backup.
            if !listed.key.ends_with('/') {
                held.objects += 1;
                held.bytes += listed.bytes;
            }
        }
        Ok(held)
    }
}
