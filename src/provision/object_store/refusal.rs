//! How trouble becomes an S3 error: codes that `s3s` has no name for, disk errors, features that are refused
//! rather than silently ignored.

use std::io;

use http::StatusCode;
use s3s::{S3Error, S3ErrorCode, s3_error};

/// An S3 error under a code that `s3s` has no name for.
pub fn custom(code: &'static str, status: StatusCode, message: impl Into<String>) -> S3Error {
    let mut error = S3Error::with_message(S3ErrorCode::Custom(code.into()), message.into());
    error.set_status_code(status);
    error
}

/// A disk that did not do as it was told. The client sees the system's own words ("No space left on device").
pub fn disk(error: io::Error) -> S3Error {
    s3_error!(InternalError, "storage: {error}")
}

/// A header or rule that this store does not keep and therefore does not accept.
pub fn unsupported(what: &str) -> S3Error {
    s3_error!(
        NotImplemented,
        "{what} is not supported by this object store"
    )
}

/// A body that broke off or was not what its signature covers. The types of these errors are private to
/// `s3s`; their texts are all there is to tell them apart.
pub fn body(error: &(dyn std::error::Error + Send + Sync + 'static)) -> S3Error {
    let text = error.to_string();
    if text.contains("Sha256Mismatch") {
        custom(
            "XAmzContentSHA256Mismatch",
            StatusCode::BAD_REQUEST,
            "the provided x-amz-content-sha256 header does not match what was computed",
        )
    } else if text.contains("SignatureMismatch") {
        s3_error!(
            SignatureDoesNotMatch,
            "the signature of a chunk does not match"
        )
    } else {
        s3_error!(
            IncompleteBody,
            "the body could not be read to its end: {text}"
        )
    }
}

/// Refuses a request that sets any of the named fields.
macro_rules! refuse_fields {
    ($input:expr; $($field:ident),+ $(,)?) => {
        $(if $input.$field.is_some() {
            return Err($crate::provision::object_store::refusal::unsupported(
                &stringify!($field).replace('_', "-"),
            ));
        })+
    };
}
pub(super) use refuse_fields;
