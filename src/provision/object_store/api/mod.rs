//! The S3 operations: request types in, response types out, one module per kind of resource.
//!
//! What is not listed here answers `NotImplemented` (versioning, object lock, policies, lifecycle, encryption,
//! ACLs), and so does every header that would otherwise be silently ignored.

mod bucket;
mod list;
mod multipart;
mod object;
mod read;
mod tags;

use std::sync::Arc;

use s3s::auth::{S3Auth, SecretKey};
use s3s::dto;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};

use super::store::Store;

/// The S3 operations over a store.
#[derive(Clone)]
pub struct Api {
    store: Arc<Store>,
    owner: String,
}

impl Api {
    /// The operations over `store`, whose objects all belong to the holder of `access_key`.
    pub fn new(store: Arc<Store>, access_key: &str) -> Self {
        Self {
            store,
            owner: access_key.to_owned(),
        }
    }

    fn owner(&self) -> dto::Owner {
        dto::Owner {
            id: Some(self.owner.clone()),
            display_name: Some(self.owner.clone()),
        }
    }
}

/// The one key pair that is let in.
pub struct KeyPair {
    access_key: String,
    secret_key: SecretKey,
}

impl KeyPair {
    /// Lets in who signs with this pair.
    pub fn new(access_key: &str, secret_key: &str) -> Self {
        Self {
            access_key: access_key.to_owned(),
            secret_key: SecretKey::from(secret_key),
        }
    }
}

#[async_trait::async_trait]
impl S3Auth for KeyPair {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if access_key == self.access_key {
            Ok(self.secret_key.clone())
        } else {
            Err(s3_error!(
                InvalidAccessKeyId,
                "the access key id you provided does not exist in our records"
            ))
        }
    }
}

/// Only the one version that an unversioned object has can be asked for.
fn check_version(version: Option<&str>) -> S3Result<()> {
    match version {
        None | Some("null") => Ok(()),
        Some(_) => Err(s3_error!(
            NoSuchVersion,
            "the specified version does not exist"
        )),
    }
}

macro_rules! operations {
    ($($operation:ident: $input:ident => $output:ident;)+) => {
        #[async_trait::async_trait]
        impl S3 for Api {
            $(async fn $operation(
                &self,
                req: S3Request<dto::$input>,
            ) -> S3Result<S3Response<dto::$output>> {
                Ok(S3Response::new(Api::$operation(self, req).await?))
            })+
        }
    };
}

operations! {
    list_buckets: ListBucketsInput => ListBucketsOutput;
    create_bucket: CreateBucketInput => CreateBucketOutput;
    head_bucket: HeadBucketInput => HeadBucketOutput;
    delete_bucket: DeleteBucketInput => DeleteBucketOutput;
    get_bucket_location: GetBucketLocationInput => GetBucketLocationOutput;
    put_object: PutObjectInput => PutObjectOutput;
    get_object: GetObjectInput => GetObjectOutput;
    head_object: HeadObjectInput => HeadObjectOutput;
    delete_object: DeleteObjectInput => DeleteObjectOutput;
    delete_objects: DeleteObjectsInput => DeleteObjectsOutput;
    copy_object: CopyObjectInput => CopyObjectOutput;
    list_objects: ListObjectsInput => ListObjectsOutput;
    list_objects_v2: ListObjectsV2Input => ListObjectsV2Output;
    create_multipart_upload: CreateMultipartUploadInput => CreateMultipartUploadOutput;
    upload_part: UploadPartInput => UploadPartOutput;
    upload_part_copy: UploadPartCopyInput => UploadPartCopyOutput;
    list_parts: ListPartsInput => ListPartsOutput;
    list_multipart_uploads: ListMultipartUploadsInput => ListMultipartUploadsOutput;
    complete_multipart_upload: CompleteMultipartUploadInput => CompleteMultipartUploadOutput;
    abort_multipart_upload: AbortMultipartUploadInput => AbortMultipartUploadOutput;
    get_object_tagging: GetObjectTaggingInput => GetObjectTaggingOutput;
    put_object_tagging: PutObjectTaggingInput => PutObjectTaggingOutput;
    delete_object_tagging: DeleteObjectTaggingInput => DeleteObjectTaggingOutput;
}
