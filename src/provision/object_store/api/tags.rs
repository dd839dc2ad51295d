//! Object tags. They are part of an object's description, so changing them rewrites the object's file.

use std::collections::BTreeMap;

use s3s::dto::{
    DeleteObjectTaggingInput, DeleteObjectTaggingOutput, ETagCondition, GetObjectTaggingInput,
    GetObjectTaggingOutput, PutObjectTaggingInput, PutObjectTaggingOutput, Tag,
};
use s3s::{S3Request, S3Result, s3_error};

use super::{Api, check_version};
use crate::provision::object_store::body::{Sink, blocking};
use crate::provision::object_store::condition::WriteCondition;
use crate::provision::object_store::refusal::disk;

/// Limits of S3: tags on an object, characters of a tag's key and value.
const MAX_TAGS: usize = 10;
const MAX_TAG_KEY: usize = 128;
const MAX_TAG_VALUE: usize = 256;

impl Api {
    pub(super) async fn get_object_tagging(
        &self,
        req: S3Request<GetObjectTaggingInput>,
    ) -> S3Result<GetObjectTaggingOutput> {
        let input = req.input;
        check_version(input.version_id.as_deref())?;
        let bucket = self.store.bucket(&input.bucket)?;
        let opened = blocking(move || bucket.open(&input.key)).await?;
        let tags = opened.meta.described.tags.into_iter();
        Ok(GetObjectTaggingOutput {
            tag_set: tags
                .map(|(key, value)| Tag {
                    key: Some(key),
                    value: Some(value),
                })
                .collect(),
            version_id: None,
        })
    }

    pub(super) async fn put_object_tagging(
        &self,
        req: S3Request<PutObjectTaggingInput>,
    ) -> S3Result<PutObjectTaggingOutput> {
        let input = req.input;
        check_version(input.version_id.as_deref())?;
        let tags = input.tagging.tag_set.into_iter();
        let pairs = tags.map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default()));
        self.set_tags(&input.bucket, input.key, checked(pairs)?)
            .await?;
        Ok(PutObjectTaggingOutput::default())
    }

    pub(super) async fn delete_object_tagging(
        &self,
        req: S3Request<DeleteObjectTaggingInput>,
    ) -> S3Result<DeleteObjectTaggingOutput> {
        let input = req.input;
        check_version(input.version_id.as_deref())?;
        self.set_tags(&input.bucket, input.key, BTreeMap::new())
            .await?;
        Ok(DeleteObjectTaggingOutput::default())
    }

    async fn set_tags(
        &self,
        bucket: &str,
        key: String,
        tags: BTreeMap<String, String>,
    ) -> S3Result<()> {
        let store = self.store.clone();
        let bucket = store.bucket(bucket)?;
        blocking(move || {
            let mut opened = bucket.open(&key)?;
            let mut sink = Sink::new(store.tmp(), None).without_md5();
            sink.copy(&opened, 0, opened.meta.size).map_err(disk)?;
            let written = sink.finish();
            // Tags must not bring back an object that was replaced meanwhile.
            let unchanged =
                WriteCondition::new(Some(ETagCondition::ETag(opened.meta.etag.to_dto())), None)?;
            opened.meta.described.tags = tags;
            bucket.commit(written.kept, opened.meta, &unchanged)
        })
        .await
    }
}

/// The tags of an `x-amz-tagging` header: an URL-encoded query.
pub(super) fn from_header(header: Option<&str>) -> S3Result<BTreeMap<String, String>> {
    let pairs = header
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(key)?, decode(value)?))
        })
        .collect::<S3Result<Vec<_>>>()?;
    checked(pairs.into_iter())
}

fn checked(pairs: impl Iterator<Item = (String, String)>) -> S3Result<BTreeMap<String, String>> {
    let mut tags = BTreeMap::new();
    for (key, value) in pairs {
        let (key_length, value_length) = (key.chars().count(), value.chars().count());
        if !(1..=MAX_TAG_KEY).contains(&key_length) || value_length > MAX_TAG_VALUE {
            return Err(s3_error!(
                InvalidTag,
                "a tag's key or value is too long or empty"
            ));
        }
        if tags.insert(key, value).is_some() {
            return Err(s3_error!(InvalidTag, "two tags have the same key"));
        }
    }
    if tags.len() > MAX_TAGS {
        return Err(s3_error!(
            InvalidTag,
            "an object has at most {MAX_TAGS} tags"
        ));
    }
    Ok(tags)
}

fn decode(text: &str) -> S3Result<String> {
    let invalid = || s3_error!(InvalidArgument, "the x-amz-tagging header is not valid");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let pair = [rest.next(), rest.next()].map(Option::unwrap_or_default);
                hex::decode(pair).map_err(|_| invalid())?[0]
            }
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tagging_header_is_an_url_encoded_query() {
        let tags = from_header(Some("a=1&b%20c=d+e%2B")).expect("valid");
        assert_eq!(tags["a"], "1");
        assert_eq!(tags["b c"], "d e+");
        assert!(from_header(Some("a=%zz")).is_err());
        assert!(from_header(Some("a=1&a=2")).is_err());
        assert!(from_header(None).expect("valid").is_empty());
    }
}
