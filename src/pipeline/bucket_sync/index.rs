//! The index of one run: every key of the bucket with its content's name, size, hash and headers, as one JSON object
//! a line, in no particular order. It is encrypted like everything else, and the only place that says which
//! content is whose: stored names and the manifest do not.

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

use crate::error::{Doing, Error, Result};
use crate::service::Reading;
use crate::service::s3::Headers;

/// The index's name in the artifact.
pub const NAME: &str = "index.json";
/// The metadata of the index in the manifest that says how many objects it lists.
pub const OBJECTS: &str = "objects";
/// The most bytes a line may have: a key of 1 KiB, 2 KiB of metadata, headers, all escaped, and to spare.
const MAX_LINE: u64 = 1 << 20;

/// An object of the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// The name of its content in the artifact.
    pub blob: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its SHA-256 in hex.
    pub sha256: String,
    /// Its headers.
    #[serde(default)]
    pub headers: Headers,
}

impl Entry {
    /// As a line.
    pub fn line(&self) -> Result<Vec<u8>> {
        let mut line = serde_json::to_vec(self).doing("write the index")?;
        line.push(b'\n');
        Ok(line)
    }
}

/// The entries of an index being read.
pub struct Entries(BufReader<Reading>);

impl Entries {
    /// Reads an index.
    pub fn new(index: Reading) -> Self {
        Self(BufReader::with_capacity(64 << 10, index))
    }

    /// The next entry; `None` at the end, which is an error when it comes early (see
    /// [`ArtifactReader::open`](crate::pipeline::artifact::ArtifactReader::open)).
    pub async fn next(&mut self) -> Result<Option<Entry>> {
        let mut line = Vec::new();
        let mut limited = (&mut self.0).take(MAX_LINE);
        let read = limited.read_until(b'\n', &mut line).await;
        if read.doing("read the index")? == 0 {
            return Ok(None);
        }
        if line.last() != Some(&b'\n') {
            return Err(Error::failed("a line has no end").doing("read the index"));
        }
        serde_json::from_slice(&line)
            .doing("read the index")
            .map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn entries_come_back_from_their_lines_and_a_cut_line_is_an_error() {
        let entry = Entry {
            key: "caf\u{e9}\n\"quoted\"".to_owned(),
            blob: "ab".to_owned(),
            bytes: 3,
            sha256: "cd".to_owned(),
            headers: Headers {
                content_type: Some("image/jpeg".to_owned()),
                ..Headers::default()
            },
        };
        let mut bytes = entry.line().expect("a line");
        bytes.extend(entry.line().expect("a line"));
        bytes.truncate(bytes.len() - 3);
        let mut entries = Entries::new(Box::new(std::io::Cursor::new(bytes)));
        assert_eq!(entries.next().await.expect("whole"), Some(entry));
        assert!(entries.next().await.is_err());
    }
}
