//! Reading objects: get and head, ranges, part numbers, conditions.

use std::ops;

use s3s::dto::{
    ChecksumMode, GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput, Range,
    StreamingBlob,
};
use s3s::{S3Request, S3Result, s3_error};

use super::{Api, check_version};
use crate::provision::object_store::body::{blocking, send};
use crate::provision::object_store::checksum::{Checksum, echo_checksum};
use crate::provision::object_store::condition::ReadCondition;
use crate::provision::object_store::meta::{Meta, timestamp};
use crate::provision::object_store::refusal::{self, refuse_fields};

/// What of an object is wanted.
struct Wanted {
    condition: ReadCondition,
    range: Option<Range>,
    part: Option<i32>,
    checksum: bool,
}

/// What of an object is answered.
struct Answer {
    meta: Meta,
    /// The bytes, when only some of them were asked for.
    range: Option<ops::Range<u64>>,
    /// Set when a part was asked for by its number.
    parts_count: Option<i32>,
    /// The whole object's checksum, when it was asked for and is answered whole.
    checksum: Option<Checksum>,
}

/// Takes what is wanted out of one of the two request types.
macro_rules! wanted {
    ($input:expr) => {{
        check_version($input.version_id.as_deref())?;
        refuse_fields!($input; sse_customer_algorithm, sse_customer_key, sse_customer_key_md5);
        Wanted {
            condition: ReadCondition {
                if_match: $input.if_match.take(),
                if_none_match: $input.if_none_match.take(),
                if_modified_since: $input.if_modified_since.take(),
                if_unmodified_since: $input.if_unmodified_since.take(),
            },
            range: $input.range,
            part: $input.part_number,
            checksum: $input
                .checksum_mode
                .as_ref()
                .is_some_and(|mode| mode.as_str() == ChecksumMode::ENABLED),
        }
    }};
}

/// Fills one of the two response types, honouring the `response-*` overrides of the request.
macro_rules! described {
    ($output:ident, $answer:expr, $input:expr) => {{
        let answer = $answer;
        let said = answer.meta.described;
        let mut output = $output {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(length(&answer.meta.size, &answer.range) as i64),
            content_range: answer.range.as_ref().map(|range| {
                format!(
                    "bytes {}-{}/{}",
                    range.start,
                    range.end.saturating_sub(1),
                    answer.meta.size
                )
            }),
            e_tag: Some(answer.meta.etag.to_dto()),
            last_modified: Some(timestamp(answer.meta.modified)),
            content_type: $input
                .response_content_type
                .or(said.content_type)
                .or_else(|| Some("binary/octet-stream".to_owned())),
            cache_control: $input.response_cache_control.or(said.cache_control),
            content_disposition: $input
                .response_content_disposition
                .or(said.content_disposition),
            content_encoding: $input.response_content_encoding.or(said.content_encoding),
            content_language: $input.response_content_language.or(said.content_language),
            expires: $input.response_expires.or(said.expires),
            website_redirect_location: said.redirect,
            metadata: Some(said.user.into_iter().collect()),
            parts_count: answer.parts_count,
            checksum_type: answer.checksum.as_ref().map(Checksum::kind),
            ..$output::default()
        };
        echo_checksum!(output, &answer.checksum);
        output
    }};
}

impl Api {
    pub(super) async fn get_object(
        &self,
        req: S3Request<GetObjectInput>,
    ) -> S3Result<GetObjectOutput> {
        let mut input = req.input;
        let wanted = wanted!(input);
        let (answer, body) = self.read(&input.bucket, input.key, wanted, true).await?;
        let tags = answer.meta.described.tags.len();
        let mut output = described!(GetObjectOutput, answer, input);
        output.tag_count = (tags > 0).then_some(tags as i32);
        output.body = body;
        Ok(output)
    }

    pub(super) async fn head_object(
        &self,
        req: S3Request<HeadObjectInput>,
    ) -> S3Result<HeadObjectOutput> {
        let mut input = req.input;
        let wanted = wanted!(input);
        let (answer, _) = self.read(&input.bucket, input.key, wanted, false).await?;
        Ok(described!(HeadObjectOutput, answer, input))
    }

    async fn read(
        &self,
        bucket: &str,
        key: String,
        wanted: Wanted,
        with_body: bool,
    ) -> S3Result<(Answer, Option<StreamingBlob>)> {
        let bucket = self.store.bucket(bucket)?;
        blocking(move || {
            let opened = bucket.open(&key)?;
            let meta = opened.meta.clone();
            wanted.condition.check(&meta.entry())?;
            let (range, parts_count) = match (wanted.range, wanted.part) {
                (Some(_), Some(_)) => {
                    return Err(s3_error!(
                        InvalidRequest,
                        "cannot specify both Range header and partNumber query parameter"
                    ));
                }
                (Some(range), None) => (Some(bytes(range, meta.size)?), None),
                (None, Some(number)) => part(&meta, number)?,
                (None, None) => (None, None),
            };
            let body = if with_body {
                let start = range.as_ref().map_or(0, |range| range.start);
                Some(send(&opened, start, length(&meta.size, &range))?)
            } else {
                None
            };
            let checksum = meta
                .checksum
                .clone()
                .filter(|_| wanted.checksum && range.is_none());
            let answer = Answer {
                meta,
                range,
                parts_count,
                checksum,
            };
            Ok((answer, body))
        })
        .await
    }
}

fn length(size: &u64, range: &Option<ops::Range<u64>>) -> u64 {
    range
        .as_ref()
        .map_or(*size, |range| range.end - range.start)
}

fn bytes(range: Range, size: u64) -> S3Result<ops::Range<u64>> {
    if size == 0 {
        return Err(s3_error!(
            InvalidRange,
            "the requested range is not satisfiable"
        ));
    }
    Ok(range.check(size)?)
}

/// The bytes of a part, and how many parts there are. An object uploaded whole is its own only part.
fn part(meta: &Meta, number: i32) -> S3Result<(Option<ops::Range<u64>>, Option<i32>)> {
    let index = usize::try_from(number)
        .ok()
        .and_then(|number| number.checked_sub(1));
    let missing = || {
        refusal::custom(
            "InvalidPartNumber",
            http::StatusCode::RANGE_NOT_SATISFIABLE,
            "the requested part number is not satisfiable",
        )
    };
    let index = index.ok_or_else(missing)?;
    if meta.parts.is_empty() {
        return if index == 0 {
            Ok((None, None))
        } else {
            Err(missing())
        };
    }
    let size = meta.parts.get(index).ok_or_else(missing)?.size;
    let start = meta.parts[..index].iter().map(|part| part.size).sum();
    Ok((Some(start..start + size), Some(meta.parts.len() as i32)))
}
