//! Buckets: create, head, list, delete, location.

use std::collections::BTreeMap;

use s3s::dto::{
    Bucket, BucketLocationConstraint, CreateBucketInput, CreateBucketOutput, DeleteBucketInput,
    DeleteBucketOutput, GetBucketLocationInput, GetBucketLocationOutput, HeadBucketInput,
    HeadBucketOutput, ListBucketsInput, ListBucketsOutput,
};
use s3s::{S3Request, S3Result};

use super::Api;
use crate::provision::object_store::body::blocking;
use crate::provision::object_store::listing::{Position, Query, page};
use crate::provision::object_store::meta::timestamp;
use crate::provision::object_store::refusal::{disk, refuse_fields, unsupported};

/// Most buckets on a page, as in S3.
const MAX_BUCKETS: i32 = 10_000;
/// The region of a bucket that was created without one.
const REGION: &str = "us-east-1";

impl Api {
    pub(super) async fn list_buckets(
        &self,
        req: S3Request<ListBucketsInput>,
    ) -> S3Result<ListBucketsOutput> {
        let input = req.input;
        let all: BTreeMap<_, _> = self
            .store
            .buckets()
            .into_iter()
            .map(|bucket| (bucket.name.clone(), bucket))
            .collect();
        let query = Query {
            prefix: input.prefix.as_deref().unwrap_or_default(),
            delimiter: None,
            after: input
                .continuation_token
                .as_deref()
                .map(Position::from_token)
                .transpose()?,
            limit: input
                .max_buckets
                .unwrap_or(MAX_BUCKETS)
                .clamp(1, MAX_BUCKETS) as usize,
        };
        let page = page(&all, &query).map_err(disk)?;
        let buckets = page.objects.into_iter().map(|(name, bucket)| Bucket {
            name: Some(name),
            creation_date: Some(timestamp(bucket.about.created)),
            bucket_region: None,
        });
        Ok(ListBucketsOutput {
            buckets: Some(buckets.collect()),
            continuation_token: page.next.map(|next| next.to_token()),
            owner: Some(self.owner()),
            prefix: input.prefix,
        })
    }

    pub(super) async fn create_bucket(
        &self,
        req: S3Request<CreateBucketInput>,
    ) -> S3Result<CreateBucketOutput> {
        let input = req.input;
        refuse_fields!(input; grant_full_control, grant_read, grant_read_acp, grant_write, grant_write_acp);
        if input.object_lock_enabled_for_bucket == Some(true) {
            return Err(unsupported("object lock"));
        }
        let location = input
            .create_bucket_configuration
            .and_then(|configuration| configuration.location_constraint)
            .map(|constraint| constraint.as_str().to_owned());
        let store = self.store.clone();
        let place = format!("/{}", input.bucket);
        blocking(move || store.create_bucket(&input.bucket, location)).await?;
        Ok(CreateBucketOutput {
            location: Some(place),
        })
    }

    pub(super) async fn head_bucket(
        &self,
        req: S3Request<HeadBucketInput>,
    ) -> S3Result<HeadBucketOutput> {
        let bucket = self.store.bucket(&req.input.bucket)?;
        let region = bucket.about.location.as_deref().unwrap_or(REGION);
        Ok(HeadBucketOutput {
            bucket_region: Some(region.to_owned()),
            ..HeadBucketOutput::default()
        })
    }

    pub(super) async fn delete_bucket(
        &self,
        req: S3Request<DeleteBucketInput>,
    ) -> S3Result<DeleteBucketOutput> {
        let store = self.store.clone();
        blocking(move || store.delete_bucket(&req.input.bucket)).await?;
        Ok(DeleteBucketOutput::default())
    }

    pub(super) async fn get_bucket_location(
        &self,
        req: S3Request<GetBucketLocationInput>,
    ) -> S3Result<GetBucketLocationOutput> {
        let bucket = self.store.bucket(&req.input.bucket)?;
        let location = bucket.about.location.clone();
        Ok(GetBucketLocationOutput {
            location_constraint: location.map(BucketLocationConstraint::from),
        })
    }
}
