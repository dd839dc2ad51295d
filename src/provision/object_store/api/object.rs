//! Writing objects: put, copy, delete.

use s3s::dto::{
    CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource, DeleteObjectInput,
    DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, ETagCondition,
    Error, Metadata, MetadataDirective, ObjectCannedACL, PutObjectInput, PutObjectOutput,
    StorageClass, TaggingDirective,
};
use s3s::{S3Request, S3Result, s3_error};

use super::{Api, check_version};
use crate::provision::object_store::body::{MAX_BODY, Sink, blocking, receive};
use crate::provision::object_store::checksum::{
    Algorithm, Announced, Checksum, echo_checksum, given_checksum,
};
use crate::provision::object_store::condition::{ReadCondition, WriteCondition};
use crate::provision::object_store::meta::{Described, Etag, Meta, now, timestamp};
use crate::provision::object_store::refusal::{disk, refuse_fields, unsupported};
use crate::provision::object_store::store::check_key;

/// Most bytes of user metadata, names and values together, as in S3.
const MAX_USER_METADATA: usize = 2048;
/// Most keys of one batch delete, as in S3.
const MAX_BATCH: usize = 1000;

/// Refuses what this store does not keep, of any of the requests that create objects.
macro_rules! refuse_unkept {
    ($input:expr) => {
        refuse_fields!($input;
            grant_full_control, grant_read, grant_read_acp, grant_write_acp,
            object_lock_legal_hold_status, object_lock_mode, object_lock_retain_until_date,
            sse_customer_algorithm, sse_customer_key, sse_customer_key_md5,
            ssekms_encryption_context, ssekms_key_id, server_side_encryption, bucket_key_enabled,
        );
        $crate::provision::object_store::api::object::refuse_class_and_acl(
            $input.storage_class.as_ref(),
            $input.acl.as_ref(),
        )?;
    };
}

/// Takes what the client says about an object out of any of the requests that create objects.
macro_rules! described_by {
    ($input:expr) => {
        $crate::provision::object_store::meta::Described {
            content_type: $input.content_type.take(),
            cache_control: $input.cache_control.take(),
            content_disposition: $input.content_disposition.take(),
            content_encoding: $crate::provision::object_store::api::object::content_encoding(
                $input.content_encoding.take(),
            ),
            content_language: $input.content_language.take(),
            expires: $input.expires.take(),
            redirect: $input.website_redirect_location.take(),
            user: $crate::provision::object_store::api::object::user_metadata(
                $input.metadata.take(),
            )?,
            tags: $crate::provision::object_store::api::tags::from_header(
                $input.tagging.as_deref(),
            )?,
        }
    };
}
pub(super) use {described_by, refuse_unkept};

impl Api {
    pub(super) async fn put_object(
        &self,
        req: S3Request<PutObjectInput>,
    ) -> S3Result<PutObjectOutput> {
        let mut input = req.input;
        refuse_unkept!(input);
        refuse_fields!(input; write_offset_bytes);
        let bucket = self.store.bucket(&input.bucket)?;
        let condition = WriteCondition::new(input.if_match.take(), input.if_none_match.take())?;
        bucket.check(&input.key, &condition)?;
        let announced = Announced::new(
            input.content_md5.take(),
            given_checksum!(input)?,
            input
                .checksum_algorithm
                .as_ref()
                .map(|named| named.as_str()),
            None,
            &req.headers,
            req.trailing_headers,
        )?;
        let described = described_by!(input);
        let received = receive(
            self.store.tmp(),
            input.body.take(),
            input.content_length,
            announced.algorithm(),
        )
        .await?;
        let meta = blocking(move || {
            let written = received.finish()?;
            announced.verify(&written.md5, written.checksum.as_ref())?;
            let meta = Meta {
                key: input.key,
                size: written.size,
                etag: Etag {
                    md5: written.md5,
                    parts: 0,
                },
                modified: now(),
                described,
                checksum: written.checksum,
                parts: Vec::new(),
            };
            bucket.commit(written.kept, meta.clone(), &condition)?;
            Ok(meta)
        })
        .await?;
        let mut output = PutObjectOutput {
            e_tag: Some(meta.etag.to_dto()),
            checksum_type: meta.checksum.as_ref().map(Checksum::kind),
            ..PutObjectOutput::default()
        };
        echo_checksum!(output, &meta.checksum);
        Ok(output)
    }

    pub(super) async fn copy_object(
        &self,
        req: S3Request<CopyObjectInput>,
    ) -> S3Result<CopyObjectOutput> {
        let mut input = req.input;
        refuse_unkept!(input);
        refuse_fields!(input; copy_source_sse_customer_algorithm, copy_source_sse_customer_key);
        let (source_bucket, source_key) = source_of(&input.copy_source)?;
        let new_headers = input
            .metadata_directive
            .as_ref()
            .is_some_and(|directive| directive.as_str() == MetadataDirective::REPLACE);
        let new_tags = input
            .tagging_directive
            .as_ref()
            .is_some_and(|directive| directive.as_str() == TaggingDirective::REPLACE);
        if !new_headers && !new_tags && source_bucket == input.bucket && source_key == input.key {
            return Err(s3_error!(
                InvalidRequest,
                "this copy request is illegal because it is trying to copy an object to itself \
                 without changing the object's metadata"
            ));
        }
        let condition = ReadCondition {
            if_match: input.copy_source_if_match.take(),
            if_none_match: input.copy_source_if_none_match.take(),
            if_modified_since: input.copy_source_if_modified_since.take(),
            if_unmodified_since: input.copy_source_if_unmodified_since.take(),
        };
        let algorithm = input
            .checksum_algorithm
            .as_ref()
            .map(|named| Algorithm::find(named.as_str()))
            .transpose()?;
        let replacement = described_by!(input);
        let store = self.store.clone();
        let source = store.bucket(&source_bucket)?;
        let target = store.bucket(&input.bucket)?;
        let meta = blocking(move || {
            let opened = source.open(&source_key)?;
            condition.check_source(&opened.meta.entry())?;
            if opened.meta.size > MAX_BODY {
                return Err(s3_error!(InvalidRequest, "a copy source has at most 5 GiB"));
            }
            let kept = opened.meta.described.clone();
            let tags = if new_tags {
                &replacement.tags
            } else {
                &kept.tags
            }
            .clone();
            let described = Described {
                tags,
                ..if new_headers { replacement } else { kept }
            };
            let algorithm = algorithm.or(opened
                .meta
                .checksum
                .as_ref()
                .map(|checksum| checksum.algorithm));
            let mut sink = Sink::new(store.tmp(), algorithm);
            sink.copy(&opened, 0, opened.meta.size).map_err(disk)?;
            let written = sink.finish();
            let meta = Meta {
                key: input.key,
                size: written.size,
                etag: Etag {
                    md5: written.md5,
                    parts: 0,
                },
                modified: now(),
                described,
                checksum: written.checksum,
                parts: Vec::new(),
            };
            target.commit(written.kept, meta.clone(), &WriteCondition::default())?;
            Ok(meta)
        })
        .await?;
        let mut result = CopyObjectResult {
            e_tag: Some(meta.etag.to_dto()),
            last_modified: Some(timestamp(meta.modified)),
            checksum_type: meta.checksum.as_ref().map(Checksum::kind),
            ..CopyObjectResult::default()
        };
        echo_checksum!(result, &meta.checksum);
        Ok(CopyObjectOutput {
            copy_object_result: Some(result),
            ..CopyObjectOutput::default()
        })
    }

    pub(super) async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<DeleteObjectOutput> {
        let input = req.input;
        check_version(input.version_id.as_deref())?;
        refuse_fields!(input; if_match_last_modified_time, if_match_size);
        let bucket = self.store.bucket(&input.bucket)?;
        let condition = WriteCondition::new(input.if_match, None)?;
        blocking(move || bucket.delete(&input.key, &condition)).await?;
        Ok(DeleteObjectOutput::default())
    }

    pub(super) async fn delete_objects(
        &self,
        req: S3Request<DeleteObjectsInput>,
    ) -> S3Result<DeleteObjectsOutput> {
        let input = req.input;
        let quiet = input.delete.quiet == Some(true);
        if !(1..=MAX_BATCH).contains(&input.delete.objects.len()) {
            return Err(s3_error!(
                MalformedXML,
                "a batch has between 1 and {MAX_BATCH} keys"
            ));
        }
        let bucket = self.store.bucket(&input.bucket)?;
        blocking(move || {
            let (mut deleted, mut errors) = (Vec::new(), Vec::new());
            for object in input.delete.objects {
                let result = check_version(object.version_id.as_deref())
                    .and_then(|()| WriteCondition::new(object.e_tag.map(ETagCondition::ETag), None))
                    .and_then(|condition| bucket.delete(&object.key, &condition));
                match result {
                    Ok(()) if quiet => {}
                    Ok(()) => deleted.push(DeletedObject {
                        key: Some(object.key),
                        ..DeletedObject::default()
                    }),
                    Err(error) => errors.push(Error {
                        code: Some(error.code().as_str().to_owned()),
                        message: error.message().map(str::to_owned),
                        key: Some(object.key),
                        version_id: object.version_id,
                    }),
                }
            }
            Ok(DeleteObjectsOutput {
                deleted: Some(deleted),
                errors: Some(errors),
                request_charged: None,
            })
        })
        .await
    }
}

/// The bucket and key of a copy source.
pub(super) fn source_of(source: &CopySource) -> S3Result<(String, String)> {
    match source {
        CopySource::Bucket {
            bucket,
            key,
            version_id,
        } => {
            check_version(version_id.as_deref())?;
            check_key(key)?;
            Ok((bucket.to_string(), key.to_string()))
        }
        _ => Err(unsupported("a copy source given as ARN")),
    }
}

/// Refuses storage classes and canned ACLs that would change nothing here.
pub(super) fn refuse_class_and_acl(
    class: Option<&StorageClass>,
    acl: Option<&ObjectCannedACL>,
) -> S3Result<()> {
    if class.is_some_and(|class| class.as_str() != StorageClass::STANDARD) {
        return Err(s3_error!(
            InvalidStorageClass,
            "the only storage class here is STANDARD"
        ));
    }
    match acl.map(ObjectCannedACL::as_str) {
        None | Some(ObjectCannedACL::PRIVATE | ObjectCannedACL::BUCKET_OWNER_FULL_CONTROL) => {
            Ok(())
        }
        Some(acl) => Err(unsupported(&format!("the ACL {acl}"))),
    }
}

/// The encoding of the content, without that of the transfer.
pub(super) fn content_encoding(header: Option<String>) -> Option<String> {
    let header = header?;
    let kept: Vec<&str> = header
        .split(',')
        .map(str::trim)
        .filter(|encoding| !encoding.is_empty() && !encoding.eq_ignore_ascii_case("aws-chunked"))
        .collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

/// User metadata, held against the limit of S3.
pub(super) fn user_metadata(
    given: Option<Metadata>,
) -> S3Result<std::collections::BTreeMap<String, String>> {
    let given = given.unwrap_or_default();
    let size: usize = given
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if size > MAX_USER_METADATA {
        return Err(s3_error!(
            MetadataTooLarge,
            "your metadata headers exceed the maximum allowed metadata size"
        ));
    }
    Ok(given.into_iter().collect())
}
