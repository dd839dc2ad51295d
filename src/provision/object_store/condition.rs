//! Conditional requests (RFC 9110, and S3's conditional writes), decided from an object's entry alone. Pure.

use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderValue};
use s3s::dto::{ETagCondition, Timestamp};
use s3s::{S3Error, S3Result, s3_error};

use super::meta::{Entry, timestamp};
use super::refusal::unsupported;

/// What a write demands of the object that it replaces or deletes.
#[derive(Debug, Clone, Default)]
pub struct WriteCondition {
    /// `If-Match`: the object is there, with this ETag.
    pub if_match: Option<ETagCondition>,
    /// `If-None-Match: *`: no object is there.
    pub if_none_match: Option<ETagCondition>,
}

impl WriteCondition {
    /// Refuses what S3 refuses: conditions that contradict each other, ETags in `If-None-Match`.
    pub fn new(
        if_match: Option<ETagCondition>,
        if_none_match: Option<ETagCondition>,
    ) -> S3Result<Self> {
        if if_none_match.as_ref().is_some_and(|value| !value.is_any()) {
            return Err(unsupported("If-None-Match with an ETag on a write"));
        }
        if if_match.is_some() && if_none_match.is_some() {
            return Err(unsupported("If-Match together with If-None-Match"));
        }
        Ok(Self {
            if_match,
            if_none_match,
        })
    }

    /// Whether nothing is demanded.
    pub fn is_none(&self) -> bool {
        self.if_match.is_none() && self.if_none_match.is_none()
    }

    /// Decides on the object that is there now.
    pub fn check(&self, existing: Option<&Entry>) -> S3Result<()> {
        match (&self.if_match, existing) {
            (Some(_), None) => return Err(s3_error!(NoSuchKey, "the object does not exist")),
            (Some(wanted), Some(entry)) if !matches(wanted, entry) => return Err(failed()),
            _ => {}
        }
        match (&self.if_none_match, existing) {
            (Some(_), Some(_)) => Err(failed()),
            _ => Ok(()),
        }
    }
}

/// What a read, or the source of a copy, demands of the object.
#[derive(Debug, Clone, Default)]
pub struct ReadCondition {
    /// `If-Match`.
    pub if_match: Option<ETagCondition>,
    /// `If-None-Match`.
    pub if_none_match: Option<ETagCondition>,
    /// `If-Modified-Since`, to the second.
    pub if_modified_since: Option<Timestamp>,
    /// `If-Unmodified-Since`, to the second.
    pub if_unmodified_since: Option<Timestamp>,
}

/// What became of a read condition.
enum Decision {
    Go,
    NotModified,
    Failed,
}

impl ReadCondition {
    /// Decides for a read: 412, or 304 with the validators that RFC 9110 asks for.
    pub fn check(&self, entry: &Entry) -> S3Result<()> {
        match self.decide(entry) {
            Decision::Go => Ok(()),
            Decision::Failed => Err(failed()),
            Decision::NotModified => Err(not_modified(entry)),
        }
    }

    /// Decides for the source of a copy, where every failed condition is a 412.
    pub fn check_source(&self, entry: &Entry) -> S3Result<()> {
        match self.decide(entry) {
            Decision::Go => Ok(()),
            Decision::Failed | Decision::NotModified => Err(failed()),
        }
    }

    fn decide(&self, entry: &Entry) -> Decision {
        let modified = timestamp(entry.modified);
        match (&self.if_match, &self.if_unmodified_since) {
            (Some(wanted), _) if !matches(wanted, entry) => return Decision::Failed,
            (None, Some(instant)) if modified > *instant => return Decision::Failed,
            _ => {}
        }
        match (&self.if_none_match, &self.if_modified_since) {
            (Some(unwanted), _) if matches(unwanted, entry) => Decision::NotModified,
            (None, Some(instant)) if modified <= *instant => Decision::NotModified,
            _ => Decision::Go,
        }
    }
}

fn matches(condition: &ETagCondition, entry: &Entry) -> bool {
    match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(tag) => tag.value() == entry.etag.to_string(),
    }
}

fn failed() -> S3Error {
    s3_error!(
        PreconditionFailed,
        "at least one of the preconditions you specified did not hold"
    )
}

fn not_modified(entry: &Entry) -> S3Error {
    let mut error = s3_error!(NotModified);
    let mut headers = HeaderMap::new();
    let values = [
        (http::header::ETAG, format!("\"{}\"", entry.etag)),
        (http::header::LAST_MODIFIED, http_date(entry.modified)),
    ];
    for (name, value) in values {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    error.set_headers(headers);
    error
}

fn http_date(instant: DateTime<Utc>) -> String {
    instant.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3s::dto::ETag;

    fn entry() -> Entry {
        Entry {
            etag: "0123456789abcdef0123456789abcdef".parse().expect("etag"),
            size: 1,
            modified: DateTime::from_timestamp(1_000_000, 0).expect("instant"),
            place: Default::default(),
        }
    }

    fn tag(text: &str) -> Option<ETagCondition> {
        Some(ETagCondition::ETag(ETag::Strong(text.to_owned())))
    }

    fn code(result: S3Result<()>) -> String {
        match result {
            Ok(()) => "ok".to_owned(),
            Err(error) => error.code().as_str().to_owned(),
        }
    }

    #[test]
    fn a_write_if_nothing_is_there_is_refused_over_an_object() {
        let create = WriteCondition::new(None, Some(ETagCondition::Any)).expect("valid");
        assert_eq!(code(create.check(None)), "ok");
        assert_eq!(code(create.check(Some(&entry()))), "PreconditionFailed");
    }

    #[test]
    fn a_swap_needs_the_object_and_its_etag() {
        let swap =
            WriteCondition::new(tag("0123456789abcdef0123456789abcdef"), None).expect("valid");
        assert_eq!(code(swap.check(Some(&entry()))), "ok");
        assert_eq!(code(swap.check(None)), "NoSuchKey");
        let stale = WriteCondition::new(tag("ff"), None).expect("valid");
        assert_eq!(code(stale.check(Some(&entry()))), "PreconditionFailed");
    }

    #[test]
    fn an_etag_that_matches_outweighs_a_date_that_does_not() {
        let earlier = Some(timestamp(
            DateTime::from_timestamp(999_999, 0).expect("instant"),
        ));
        let both = ReadCondition {
            if_match: tag("0123456789abcdef0123456789abcdef"),
            if_unmodified_since: earlier.clone(),
            ..ReadCondition::default()
        };
        assert_eq!(code(both.check(&entry())), "ok");
        let date_alone = ReadCondition {
            if_unmodified_since: earlier,
            ..ReadCondition::default()
        };
        assert_eq!(code(date_alone.check(&entry())), "PreconditionFailed");
    }

    #[test]
    fn an_unchanged_object_is_not_sent_again_but_names_its_validators() {
        let cached = ReadCondition {
            if_none_match: tag("0123456789abcdef0123456789abcdef"),
            ..ReadCondition::default()
        };
        let error = cached.check(&entry()).expect_err("not modified");
        assert_eq!(error.status_code(), Some(http::StatusCode::NOT_MODIFIED));
        let headers = error.headers().expect("validators");
        assert_eq!(headers["last-modified"], "Mon, 12 Jan 1970 13:46:40 GMT");
        assert_eq!(code(cached.check_source(&entry())), "PreconditionFailed");
    }
}
