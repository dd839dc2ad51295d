//! SHA-256 (FIPS 180-4), by which contents, records and suites are told apart: one implementation for all of them.
//!
//! It is that of AWS-LC, which TLS uses too: where the processor has no instructions for SHA, it takes little more than
//! half of the time that portable code does, and a drill hashes gigabytes. Not here: what a hash stands for.

use aws_lc_rs::digest::{Context, SHA256};

/// A hash over bytes that come in pieces.
#[derive(Clone)]
pub struct Sha256(Context);

impl Default for Sha256 {
    fn default() -> Self {
        Self::new()
    }
}

impl Sha256 {
    /// The hash over nothing yet.
    pub fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    /// Goes on with these bytes.
    pub fn update(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.update(bytes.as_ref());
    }

    /// The hash over all of them.
    pub fn finish(self) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(self.0.finish().as_ref());
        hash
    }
}

/// The hash of bytes that are all there.
pub fn of(bytes: impl AsRef<[u8]>) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(bytes);
    hash.finish()
}

/// The same in hex, as it is written in manifests, records and by `sha256sum`.
pub fn hex_of(bytes: impl AsRef<[u8]>) -> String {
    hex::encode(of(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_standard_whole_and_in_pieces() {
        // The examples that NIST publishes with FIPS 180-4.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let none = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!((hex_of("abc").as_str(), hex_of("").as_str()), (abc, none));
        let mut pieces = Sha256::default();
        for piece in ["a", "", "bc"] {
            pieces.update(piece);
        }
        assert_eq!(hex::encode(pieces.clone().finish()), abc);
        pieces.update("d");
        assert_eq!(pieces.finish(), of("abcd"));
    }
}
