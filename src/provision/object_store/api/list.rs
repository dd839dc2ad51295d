//! Listings of objects, V2 and V1: pages of at most 1,000 keys and groups.

use s3s::dto::{
    CommonPrefix, EncodingType, ListObjectsInput, ListObjectsOutput, ListObjectsV2Input,
    ListObjectsV2Output, Object, ObjectStorageClass, Owner,
};
use s3s::{S3Request, S3Result, s3_error};

use super::Api;
use crate::provision::object_store::listing::{MAX_PAGE, Position, Query, url_encode};
use crate::provision::object_store::meta::{Entry, timestamp};

impl Api {
    pub(super) async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<ListObjectsV2Output> {
        let input = req.input;
        let after = match (&input.continuation_token, &input.start_after) {
            (Some(token), _) => Some(Position::from_token(token)?),
            (None, start) => start.clone().map(Position::Key),
        };
        let encode = encoder(input.encoding_type.as_ref())?;
        let owner = (input.fetch_owner == Some(true)).then(|| self.owner());
        let listed = self.list(
            &input.bucket,
            input.prefix.as_deref(),
            input.delimiter.as_deref(),
            after,
            input.max_keys,
            encode,
            owner.as_ref(),
        )?;
        Ok(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(encode(input.prefix.as_deref().unwrap_or_default())),
            max_keys: Some(listed.limit as i32),
            key_count: Some((listed.contents.len() + listed.groups.len()) as i32),
            continuation_token: input.continuation_token,
            is_truncated: Some(listed.next.is_some()),
            next_continuation_token: listed.next.map(|next| next.to_token()),
            contents: Some(listed.contents),
            common_prefixes: Some(listed.groups),
            delimiter: input.delimiter.as_deref().map(encode),
            encoding_type: input.encoding_type,
            start_after: input.start_after.as_deref().map(encode),
            request_charged: None,
        })
    }

    pub(super) async fn list_objects(
        &self,
        req: S3Request<ListObjectsInput>,
    ) -> S3Result<ListObjectsOutput> {
        let input = req.input;
        let encode = encoder(input.encoding_type.as_ref())?;
        let prefix = input.prefix.as_deref().unwrap_or_default();
        let after = input
            .marker
            .clone()
            .filter(|marker| !marker.is_empty())
            .map(|marker| Position::from_marker(marker, prefix, input.delimiter.as_deref()));
        let owner = self.owner();
        let listed = self.list(
            &input.bucket,
            input.prefix.as_deref(),
            input.delimiter.as_deref(),
            after,
            input.max_keys,
            encode,
            Some(&owner),
        )?;
        Ok(ListObjectsOutput {
            name: Some(input.bucket),
            prefix: Some(encode(prefix)),
            marker: Some(encode(input.marker.as_deref().unwrap_or_default())),
            max_keys: Some(listed.limit as i32),
            is_truncated: Some(listed.next.is_some()),
            contents: Some(listed.contents),
            common_prefixes: Some(listed.groups),
            delimiter: input.delimiter.as_deref().map(encode),
            next_marker: listed.next.map(|next| encode(next.text())),
            encoding_type: input.encoding_type,
            request_charged: None,
        })
    }

    #[allow(clippy::too_many_arguments)]
    fn list(
        &self,
        bucket: &str,
        prefix: Option<&str>,
        delimiter: Option<&str>,
        after: Option<Position>,
        limit: Option<i32>,
        encode: fn(&str) -> String,
        owner: Option<&Owner>,
    ) -> S3Result<Listed> {
        let limit = page_size(limit)?;
        let query = Query {
            prefix: prefix.unwrap_or_default(),
            delimiter: delimiter.filter(|delimiter| !delimiter.is_empty()),
            after,
            limit,
        };
        let bucket = self.store.bucket(bucket)?;
        let page = bucket.page(&query)?;
        let show = |(key, entry): &(String, Entry)| Object {
            key: Some(encode(key)),
            e_tag: Some(entry.etag.to_dto()),
            size: Some(entry.size as i64),
            last_modified: Some(timestamp(entry.modified)),
            storage_class: Some(ObjectStorageClass::from_static(
                ObjectStorageClass::STANDARD,
            )),
            owner: owner.cloned(),
            ..Object::default()
        };
        Ok(Listed {
            contents: page.objects.iter().map(show).collect(),
            groups: common_prefixes(&page.groups, encode),
            next: page.next,
            limit,
        })
    }
}

struct Listed {
    contents: Vec<Object>,
    groups: Vec<CommonPrefix>,
    next: Option<Position>,
    limit: usize,
}

/// Groups as they are answered.
pub(super) fn common_prefixes(
    groups: &[impl AsRef<str>],
    encode: fn(&str) -> String,
) -> Vec<CommonPrefix> {
    let groups = groups.iter();
    let prefixes = groups.map(|group| CommonPrefix {
        prefix: Some(encode(group.as_ref())),
    });
    prefixes.collect()
}

/// The size of a page: what was asked for, at most 1,000.
pub(super) fn page_size(wanted: Option<i32>) -> S3Result<usize> {
    let wanted = wanted.unwrap_or(MAX_PAGE as i32);
    usize::try_from(wanted)
        .map(|wanted| wanted.min(MAX_PAGE))
        .map_err(|_| s3_error!(InvalidArgument, "the size of a page cannot be negative"))
}

/// How keys are written in an answer.
pub(super) fn encoder(kind: Option<&EncodingType>) -> S3Result<fn(&str) -> String> {
    match kind.map(EncodingType::as_str) {
        None => Ok(str::to_owned),
        Some(EncodingType::URL) => Ok(url_encode),
        Some(_) => Err(s3_error!(InvalidArgument, "the only encoding-type is url")),
    }
}
