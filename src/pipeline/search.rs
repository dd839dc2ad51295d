//! Searching a stream for a text while it passes, and telling ciphertext by how it begins.
//!
//! Not here: what is searched and what a find means (see [`crate::drill`] and [`crate::check`]).

use serde::{Deserialize, Serialize};

/// How an age file begins (age-encryption.org/v1, "Header").
pub const AGE_MAGIC: &[u8] = b"age-encryption.org/v1\n";
/// How a file begins that pgBackRest enciphered, in OpenSSL's form with its salt.
pub const SALTED_MAGIC: &[u8] = b"Salted__";

/// What a search came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Bytes that were searched.
    pub bytes: u64,
    /// The text was among them.
    pub needle: bool,
    /// They begin as an age file does.
    pub begins_as_age: bool,
    /// They begin as a file does that pgBackRest enciphered.
    pub begins_salted: bool,
}

/// A search in progress, also across the borders of what is fed to it.
pub struct Search {
    needle: Vec<u8>,
    window: Vec<u8>,
    found: Found,
}

impl Search {
    /// Searches for `needle`; an empty one is never found.
    pub fn new(needle: &[u8]) -> Self {
        Self {
            needle: needle.to_owned(),
            window: Vec::new(),
            found: Found::default(),
        }
    }

    /// The next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.window.extend_from_slice(bytes);
        if self.found.bytes < AGE_MAGIC.len() as u64 {
            self.found.begins_as_age = self.window.starts_with(AGE_MAGIC);
            self.found.begins_salted = self.window.starts_with(SALTED_MAGIC);
        }
        self.found.bytes += bytes.len() as u64;
        self.found.needle |=
            !self.needle.is_empty() && memchr::memmem::find(&self.window, &self.needle).is_some();
        if self.found.bytes >= AGE_MAGIC.len() as u64 {
            let keep = self.window.len().saturating_sub(self.needle.len());
            self.window.drain(..keep);
        }
    }

    /// What was found so far.
    pub fn found(&self) -> &Found {
        &self.found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_needle_is_found_wherever_the_stream_is_cut(
            before in proptest::collection::vec(b'a'..b'f', 0..60),
            after in proptest::collection::vec(b'a'..b'f', 0..60),
            cuts in proptest::collection::vec(1..9_usize, 1..40),
        ) {
            let bytes = [&before[..], b"needle", &after[..]].concat();
            let (mut found, mut missed) = (Search::new(b"needle"), Search::new(b"noodle"));
            let mut rest = &bytes[..];
            for cut in cuts.into_iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (chunk, more) = rest.split_at(cut.min(rest.len()));
                found.update(chunk);
                missed.update(chunk);
                rest = more;
            }
            prop_assert_eq!(
                found.found(),
                &Found { bytes: bytes.len() as u64, needle: true, begins_as_age: false, begins_salted: false }
            );
            prop_assert!(!missed.found().needle);
        }
    }

    #[test]
    fn ciphertext_is_known_by_its_first_line_even_byte_by_byte() {
        let bytes = [AGE_MAGIC, b"-> X25519 abc"].concat();
        let mut search = Search::new(b"x");
        bytes.iter().for_each(|byte| search.update(&[*byte]));
        assert!(search.found().begins_as_age);
        let mut short = Search::new(b"");
        short.update(&AGE_MAGIC[..5]);
        assert!(!short.found().begins_as_age);
    }
}
