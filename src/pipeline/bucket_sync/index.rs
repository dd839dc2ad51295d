//! The index of one run: every key of the bucket with its content's name, size, hash and headers, as one JSON object
//! a line, in no particular order. It is encrypted like everything else, and the only place that says which
//! content is whose: stored names and the manifest do not.

use serde::{Deserialize, Serialize};

use crate::service::reading::Lines;
use crate::service::s3::Headers;

/// The index's name in the artifact.
pub const NAME: &str = "index.json";
/// The metadata of the index in the manifest that says how many objects it lists.
pub const OBJECTS: &str = "objects";

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

/// The entries of an index being read. The end is an error when it comes early (see
/// [`ArtifactReader::open`](crate::pipeline::artifact::ArtifactReader::open)).
pub type Entries = Lines<Entry>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::reading::line;

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
        let one = line(&entry).expect("a line");
        let mut bytes = [&one[..], &one[..]].concat();
        bytes.truncate(bytes.len() - 3);
        let mut entries = Entries::new(Box::new(std::io::Cursor::new(bytes)));
        assert_eq!(entries.next().await.expect("whole"), Some(entry));
        assert!(entries.next().await.is_err());
    }
}
