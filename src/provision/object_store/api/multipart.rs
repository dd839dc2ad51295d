//! Multipart uploads: create, parts, part copies, listings, complete, abort.

use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, ChecksumAlgorithm, ChecksumType,
    CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CopyPartResult,
    CreateMultipartUploadInput, CreateMultipartUploadOutput, Initiator, ListMultipartUploadsInput,
    ListMultipartUploadsOutput, ListPartsInput, ListPartsOutput, MultipartUpload, Part, Range,
    StorageClass, UploadPartCopyInput, UploadPartCopyOutput, UploadPartInput, UploadPartOutput,
};
use s3s::{S3Request, S3Result, s3_error};

use super::Api;
use super::list::{common_prefixes, encoder, page_size};
use super::object::{described_by, refuse_unkept, source_of};
use crate::provision::object_store::body::{MAX_BODY, Sink, blocking, receive};
use crate::provision::object_store::checksum::{
    Algorithm, Announced, Checksum, echo_checksum, given_checksum,
};
use crate::provision::object_store::condition::{ReadCondition, WriteCondition};
use crate::provision::object_store::listing::group_of;
use crate::provision::object_store::meta::{now, timestamp};
use crate::provision::object_store::refusal::{disk, refuse_fields};
use crate::provision::object_store::uploads::{Expected, MAX_PARTS, NamedPart, Upload};

impl Api {
    pub(super) async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<CreateMultipartUploadOutput> {
        let mut input = req.input;
        refuse_unkept!(input);
        self.store.bucket(&input.bucket)?;
        let algorithm = input
            .checksum_algorithm
            .as_ref()
            .map(|named| Algorithm::find(named.as_str()))
            .transpose()?;
        let whole = covers_whole(algorithm, input.checksum_type.as_ref())?;
        let upload = Upload {
            bucket: input.bucket.clone(),
            key: input.key.clone(),
            initiated: now(),
            described: described_by!(input),
            algorithm,
            whole,
        };
        let store = self.store.clone();
        let id = blocking(move || store.uploads.create(upload, &store)).await?;
        Ok(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(id),
            checksum_type: algorithm.map(|_| kind(whole)),
            checksum_algorithm: input.checksum_algorithm,
            ..CreateMultipartUploadOutput::default()
        })
    }

    pub(super) async fn upload_part(
        &self,
        req: S3Request<UploadPartInput>,
    ) -> S3Result<UploadPartOutput> {
        let mut input = req.input;
        refuse_fields!(input; sse_customer_algorithm, sse_customer_key, sse_customer_key_md5);
        let number = part_number(input.part_number)?;
        let store = self.store.clone();
        let id = input.upload_id.clone();
        let upload = store.uploads.get(&id, &input.bucket, &input.key)?;
        let announced = Announced::new(
            input.content_md5.take(),
            given_checksum!(input)?,
            input
                .checksum_algorithm
                .as_ref()
                .map(|named| named.as_str()),
            upload.algorithm,
            &req.headers,
            req.trailing_headers,
        )?;
        let received = receive(
            store.tmp(),
            input.body.take(),
            input.content_length,
            announced.algorithm(),
        )
        .await?;
        let meta = blocking(move || {
            let written = received.finish()?;
            announced.verify(&written.md5, written.checksum.as_ref())?;
            store.uploads.put_part(&id, &upload, number, written)
        })
        .await?;
        let mut output = UploadPartOutput {
            e_tag: Some(meta.etag.to_dto()),
            ..UploadPartOutput::default()
        };
        echo_checksum!(output, &meta.checksum);
        Ok(output)
    }

    pub(super) async fn upload_part_copy(
        &self,
        req: S3Request<UploadPartCopyInput>,
    ) -> S3Result<UploadPartCopyOutput> {
        let mut input = req.input;
        refuse_fields!(input;
            sse_customer_algorithm, sse_customer_key, sse_customer_key_md5,
            copy_source_sse_customer_algorithm, copy_source_sse_customer_key,
        );
        let number = part_number(input.part_number)?;
        let (source_bucket, source_key) = source_of(&input.copy_source)?;
        let range = input
            .copy_source_range
            .as_deref()
            .map(Range::parse)
            .transpose()
            .map_err(|_| s3_error!(InvalidArgument, "the copy source range is not valid"))?;
        let condition = ReadCondition {
            if_match: input.copy_source_if_match.take(),
            if_none_match: input.copy_source_if_none_match.take(),
            if_modified_since: input.copy_source_if_modified_since.take(),
            if_unmodified_since: input.copy_source_if_unmodified_since.take(),
        };
        let store = self.store.clone();
        let id = input.upload_id;
        let upload = store.uploads.get(&id, &input.bucket, &input.key)?;
        let source = store.bucket(&source_bucket)?;
        let meta = blocking(move || {
            let opened = source.open(&source_key)?;
            condition.check_source(&opened.meta.entry())?;
            let size = opened.meta.size;
            let bytes = match range {
                None => 0..size,
                Some(Range::Int { last, .. }) if last.is_none_or(|last| last >= size) => {
                    return Err(s3_error!(
                        InvalidArgument,
                        "the copy source range must lie within the source of {size} bytes"
                    ));
                }
                Some(range) => range.check(size)?,
            };
            let length = bytes.end - bytes.start;
            if length > MAX_BODY {
                return Err(s3_error!(EntityTooLarge, "a part has at most 5 GiB"));
            }
            let mut sink = Sink::new(store.tmp(), upload.algorithm);
            sink.copy(&opened, bytes.start, length).map_err(disk)?;
            let written = sink.finish();
            store.uploads.put_part(&id, &upload, number, written)
        })
        .await?;
        let mut result = CopyPartResult {
            e_tag: Some(meta.etag.to_dto()),
            last_modified: Some(timestamp(meta.modified)),
            ..CopyPartResult::default()
        };
        echo_checksum!(result, &meta.checksum);
        Ok(UploadPartCopyOutput {
            copy_part_result: Some(result),
            ..UploadPartCopyOutput::default()
        })
    }

    pub(super) async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<CompleteMultipartUploadOutput> {
        let mut input = req.input;
        refuse_fields!(input; sse_customer_algorithm, sse_customer_key, sse_customer_key_md5);
        let store = self.store.clone();
        let id = input.upload_id.clone();
        let upload = store.uploads.get(&id, &input.bucket, &input.key)?;
        let condition = WriteCondition::new(input.if_match.take(), input.if_none_match.take())?;
        let expected = Expected {
            size: input.mpu_object_size.map(|size| size as u64),
            checksum: given_checksum!(input)?,
        };
        if input
            .checksum_type
            .as_ref()
            .is_some_and(|wanted| *wanted != kind(upload.whole))
        {
            return Err(s3_error!(
                InvalidRequest,
                "the checksum type is not the one the upload was created with"
            ));
        }
        let parts = input
            .multipart_upload
            .take()
            .and_then(|upload| upload.parts);
        let named = parts
            .unwrap_or_default()
            .into_iter()
            .map(|mut part| {
                Ok(NamedPart {
                    number: part_number(part.part_number.unwrap_or_default())?,
                    etag: part
                        .e_tag
                        .take()
                        .map(|tag| tag.into_value())
                        .unwrap_or_default(),
                    checksum: given_checksum!(part)?,
                })
            })
            .collect::<S3Result<Vec<_>>>()?;
        let meta = blocking(move || {
            store
                .uploads
                .complete(&id, &upload, &named, &expected, &condition, &store)
        })
        .await?;
        let mut output = CompleteMultipartUploadOutput {
            location: Some(format!("/{}/{}", input.bucket, input.key)),
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(meta.etag.to_dto()),
            checksum_type: meta.checksum.as_ref().map(Checksum::kind),
            ..CompleteMultipartUploadOutput::default()
        };
        echo_checksum!(output, &meta.checksum);
        Ok(output)
    }

    pub(super) async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<AbortMultipartUploadOutput> {
        let input = req.input;
        refuse_fields!(input; if_match_initiated_time);
        let store = self.store.clone();
        store
            .uploads
            .get(&input.upload_id, &input.bucket, &input.key)?;
        blocking(move || store.uploads.abort(&input.upload_id, &store)).await?;
        Ok(AbortMultipartUploadOutput::default())
    }

    pub(super) async fn list_parts(
        &self,
        req: S3Request<ListPartsInput>,
    ) -> S3Result<ListPartsOutput> {
        let input = req.input;
        let store = self.store.clone();
        let upload = store
            .uploads
            .get(&input.upload_id, &input.bucket, &input.key)?;
        let limit = page_size(input.max_parts)?;
        let after = input.part_number_marker.unwrap_or(0);
        let id = input.upload_id.clone();
        let all = blocking(move || store.uploads.parts(&id)).await?;
        let mut rest = all.range(after.saturating_add(1)..);
        let parts: Vec<Part> = rest
            .by_ref()
            .take(limit)
            .map(|(number, meta)| {
                let mut part = Part {
                    part_number: Some(*number),
                    size: Some(meta.size as i64),
                    e_tag: Some(meta.etag.to_dto()),
                    last_modified: Some(timestamp(meta.modified)),
                    ..Part::default()
                };
                echo_checksum!(part, &meta.checksum);
                part
            })
            .collect();
        let next = rest
            .next()
            .and_then(|_| parts.last().and_then(|part| part.part_number));
        Ok(ListPartsOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            part_number_marker: Some(after),
            next_part_number_marker: next,
            is_truncated: Some(next.is_some()),
            max_parts: Some(limit as i32),
            parts: Some(parts),
            checksum_algorithm: upload.algorithm.map(dto_algorithm),
            checksum_type: upload.algorithm.map(|_| kind(upload.whole)),
            owner: Some(self.owner()),
            initiator: Some(self.initiator()),
            storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
            ..ListPartsOutput::default()
        })
    }

    pub(super) async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<ListMultipartUploadsOutput> {
        let input = req.input;
        self.store.bucket(&input.bucket)?;
        let encode = encoder(input.encoding_type.as_ref())?;
        let limit = page_size(input.max_uploads)?;
        let prefix = input.prefix.as_deref().unwrap_or_default();
        let delimiter = input.delimiter.as_deref().unwrap_or_default();
        let key_marker = input.key_marker.as_deref().unwrap_or_default();
        let id_marker = input.upload_id_marker.as_deref().unwrap_or_default();
        let all = self.store.uploads.of_bucket(&input.bucket);
        // Without an id marker a page begins behind all uploads of the marker's key, with one behind that upload.
        let behind = all
            .iter()
            .position(|(id, upload)| upload.key == key_marker && id == id_marker)
            .map_or_else(
                || all.partition_point(|(_, upload)| upload.key.as_str() <= key_marker),
                |at| at + 1,
            );
        let (mut uploads, mut groups) = (Vec::new(), Vec::<&str>::new());
        let (mut last, mut truncated) = (None, false);
        for (id, upload) in &all[behind..] {
            let group = group_of(&upload.key, prefix, delimiter);
            let shown =
                group.is_some_and(|group| group == key_marker || groups.last() == Some(&group));
            if !upload.key.starts_with(prefix) || shown {
                continue;
            }
            if uploads.len() + groups.len() == limit {
                truncated = true;
                break;
            }
            if let Some(group) = group {
                groups.push(group);
                last = Some((group, ""));
                continue;
            }
            uploads.push(MultipartUpload {
                key: Some(encode(&upload.key)),
                upload_id: Some(id.clone()),
                initiated: Some(timestamp(upload.initiated)),
                checksum_algorithm: upload.algorithm.map(dto_algorithm),
                checksum_type: upload.algorithm.map(|_| kind(upload.whole)),
                owner: Some(self.owner()),
                initiator: Some(self.initiator()),
                storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
            });
            last = Some((upload.key.as_str(), id));
        }
        let last = last.filter(|_| truncated);
        Ok(ListMultipartUploadsOutput {
            uploads: Some(uploads),
            common_prefixes: Some(common_prefixes(&groups, encode)),
            is_truncated: Some(truncated),
            next_key_marker: last.map(|(key, _)| encode(key)),
            next_upload_id_marker: last.map(|(_, id)| id.to_owned()),
            max_uploads: Some(limit as i32),
            prefix: input.prefix.as_deref().map(encode),
            delimiter: input.delimiter.as_deref().map(encode),
            key_marker: input.key_marker.as_deref().map(encode),
            upload_id_marker: input.upload_id_marker,
            encoding_type: input.encoding_type,
            bucket: Some(input.bucket),
            request_charged: None,
        })
    }

    fn initiator(&self) -> Initiator {
        let owner = self.owner();
        Initiator {
            id: owner.id,
            display_name: owner.display_name,
        }
    }
}

fn part_number(number: i32) -> S3Result<i32> {
    if (1..=MAX_PARTS).contains(&number) {
        Ok(number)
    } else {
        Err(s3_error!(
            InvalidArgument,
            "part number must be an integer between 1 and {MAX_PARTS}, inclusive"
        ))
    }
}

fn kind(whole: bool) -> ChecksumType {
    ChecksumType::from_static(if whole {
        ChecksumType::FULL_OBJECT
    } else {
        ChecksumType::COMPOSITE
    })
}

fn dto_algorithm(algorithm: Algorithm) -> ChecksumAlgorithm {
    ChecksumAlgorithm::from_static(algorithm.name())
}

/// Whether the checksum of an upload covers the whole object; the pairs that S3 refuses are refused.
fn covers_whole(algorithm: Option<Algorithm>, wanted: Option<&ChecksumType>) -> S3Result<bool> {
    let Some(algorithm) = algorithm else {
        return Ok(false);
    };
    let whole = match wanted.map(ChecksumType::as_str) {
        None => algorithm.whole_by_default(),
        Some(kind) => kind == ChecksumType::FULL_OBJECT,
    };
    let possible = match algorithm {
        Algorithm::Crc64nvme => whole,
        Algorithm::Sha1 | Algorithm::Sha256 => !whole,
        Algorithm::Crc32 | Algorithm::Crc32c => true,
    };
    if possible {
        Ok(whole)
    } else {
        Err(s3_error!(
            InvalidRequest,
            "the checksum type cannot be used with the {} algorithm",
            algorithm.name()
        ))
    }
}
