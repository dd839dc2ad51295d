//! What is stored of an object, and the file that holds a part of an upload.
//!
//! The file of a part is the body, then [`Meta`] as JSON, then the JSON's length (8 bytes, little-endian) and eight
//! magic bytes. Body and description become visible by one rename, so neither is ever seen without the other.
//! Not here: where such files lie (see [`super::uploads`]), and where objects do ([`super::log`]).

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::str::FromStr;

use chrono::{DateTime, SubsecRound, Utc};
use s3s::dto::{ETag, Timestamp};
use serde::{Deserialize, Serialize};

use super::checksum::Checksum;
use super::log::Place;
use crate::clock::{Clock, SystemClock};

const MAGIC: &[u8; 8] = b"redrill1";
const TAIL: u64 = 16;
/// Read from the end of a file in one go: enough for the description of nearly every object.
const GUESS: u64 = 2048;

/// An S3 ETag: the MD5 of the body, or the MD5 of the MD5s of its parts with their count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Etag {
    /// The digest.
    pub md5: [u8; 16],
    /// The number of parts; 0 when the body was uploaded whole.
    pub parts: u32,
}

impl Etag {
    /// The ETag as `s3s` carries it.
    pub fn to_dto(self) -> ETag {
        ETag::Strong(self.to_string())
    }
}

impl fmt::Display for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.md5))?;
        match self.parts {
            0 => Ok(()),
            parts => write!(f, "-{parts}"),
        }
    }
}

impl FromStr for Etag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (digest, parts) = text.split_once('-').unwrap_or((text, "0"));
        let mut md5 = [0; 16];
        hex::decode_to_slice(digest, &mut md5).map_err(|error| format!("ETag {text}: {error}"))?;
        let parts = parts
            .parse()
            .map_err(|error| format!("ETag {text}: {error}"))?;
        Ok(Self { md5, parts })
    }
}

impl TryFrom<String> for Etag {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Etag> for String {
    fn from(etag: Etag) -> Self {
        etag.to_string()
    }
}

/// What listings and conditions need of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its ETag.
    pub etag: Etag,
    /// Its size in bytes.
    pub size: u64,
    /// When it was written, to the second, as S3 keeps it.
    #[serde(with = "chrono::serde::ts_seconds")]
    pub modified: DateTime<Utc>,
    /// Where it lies.
    pub place: Place,
}

/// What the client said about an object, given back as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Described {
    /// `Content-Type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// `Cache-Control`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
    /// `Content-Disposition`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_disposition: Option<String>,
    /// `Content-Encoding`, without the `aws-chunked` of the transfer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    /// `Content-Language`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_language: Option<String>,
    /// `Expires`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// `x-amz-website-redirect-location`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<String>,
    /// `x-amz-meta-*`, names without the prefix.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub user: BTreeMap<String, String>,
    /// Object tags.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// One part of an object that was uploaded in parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its size in bytes.
    pub size: u64,
}

/// Everything stored of an object besides its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// The key.
    pub key: String,
    /// The size of the body in bytes.
    pub size: u64,
    /// The ETag.
    pub etag: Etag,
    /// When it was written, to the second.
    pub modified: DateTime<Utc>,
    /// What the client said about it.
    #[serde(default)]
    pub described: Described,
    /// Its checksum, where one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
    /// Its parts in order; empty when it was uploaded whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
}

impl Meta {
    /// What the index has of it.
    pub fn entry(&self) -> Entry {
        Entry {
            etag: self.etag,
            size: self.size,
            modified: self.modified,
            place: Place::default(),
        }
    }

    /// Appends the description to a file that holds the body and nothing else.
    pub fn seal(&self, file: &mut File) -> io::Result<()> {
        let mut tail = serde_json::to_vec(self)?;
        let length = tail.len() as u64;
        tail.extend_from_slice(&length.to_le_bytes());
        tail.extend_from_slice(MAGIC);
        file.write_all(&tail)
    }

    /// Reads the description from the end of a stored file.
    pub fn read(file: &File) -> io::Result<Self> {
        let total = file.metadata()?.len();
        let guess = total.min(GUESS);
        let mut tail = vec![0; guess as usize];
        file.read_exact_at(&mut tail, total - guess)?;
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "its description is damaged");
        let Some((rest, end)) = tail.split_last_chunk::<{ TAIL as usize }>() else {
            return Err(damaged());
        };
        let (length, magic) = end.split_at(8);
        let length = u64::from_le_bytes(length.try_into().map_err(|_| damaged())?);
        if magic != MAGIC || length > total - TAIL {
            return Err(damaged());
        }
        let meta: Self = if length <= rest.len() as u64 {
            serde_json::from_slice(&rest[rest.len() - length as usize..])?
        } else {
            let mut json = vec![0; length as usize];
            file.read_exact_at(&mut json, total - TAIL - length)?;
            serde_json::from_slice(&json)?
        };
        if meta.size != total - TAIL - length {
            return Err(damaged());
        }
        Ok(meta)
    }
}

/// The present instant, to the second.
pub fn now() -> DateTime<Utc> {
    SystemClock.now().trunc_subsecs(0)
}

/// An instant as `s3s` carries it.
pub fn timestamp(instant: DateTime<Utc>) -> Timestamp {
    Timestamp::from(std::time::SystemTime::from(instant))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_sealed_is_read_back(
            body in prop::collection::vec(any::<u8>(), 0..5000),
            key in "\\PC{1,300}",
            user in prop::collection::btree_map("[a-z]{1,20}", "\\PC{0,400}", 0..12),
            parts in prop::collection::vec(any::<u64>(), 0..200),
        ) {
            let meta = Meta {
                key,
                size: body.len() as u64,
                etag: Etag { md5: super::super::checksum::md5(&body), parts: parts.len() as u32 },
                modified: now(),
                described: Described { user, expires: Some(timestamp(now())), ..Described::default() },
                checksum: None,
                parts: parts.into_iter().map(|size| Part { size }).collect(),
            };
            let mut file = tempfile::tempfile().expect("temporary file");
            file.write_all(&body).expect("write");
            meta.seal(&mut file).expect("seal");
            prop_assert_eq!(Meta::read(&file).expect("read"), meta);
        }

        #[test]
        fn a_file_cut_anywhere_is_never_taken_for_whole(cut in 1u64..200) {
            let mut file = tempfile::tempfile().expect("temporary file");
            file.write_all(b"the body").expect("write");
            let meta = Meta {
                key: "k".into(), size: 8, etag: Etag { md5: [7; 16], parts: 0 }, modified: now(),
                described: Described::default(), checksum: None, parts: Vec::new(),
            };
            meta.seal(&mut file).expect("seal");
            let length = file.metadata().expect("metadata").len();
            file.set_len(length.saturating_sub(cut)).expect("cut");
            prop_assert!(Meta::read(&file).is_err());
        }
    }

    #[test]
    fn an_etag_reads_back_as_written() {
        for text in [
            "0123456789abcdef0123456789abcdef",
            "0123456789abcdef0123456789abcdef-17",
        ] {
            assert_eq!(text.parse::<Etag>().expect("valid").to_string(), text);
        }
        assert!("0123".parse::<Etag>().is_err());
    }
}
