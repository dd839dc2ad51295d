//! A fingerprint of content as facts hold it: in 32 bytes, where hex would take a hundred. There is one for each object.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A SHA-256, or a shorter fingerprint with zeros behind it; shown in hex.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The bytes of a fingerprint, up to 32.
    pub fn of(bytes: &[u8]) -> Self {
        let mut whole = [0; 32];
        for (to, from) in whole.iter_mut().zip(bytes) {
            *to = *from;
        }
        Self(whole)
    }
}

impl From<u128> for Digest {
    fn from(sum: u128) -> Self {
        Self::of(&sum.to_be_bytes())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Digest {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut whole = [0; 32];
        hex::decode_to_slice(text, &mut whole).map(|()| Self(whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_it_is_shown_and_one_cut_short_is_none() {
        let digest = Digest::from(0x8000_0000_0000_0003_u128);
        let shown = digest.to_string();
        assert_eq!(shown.len(), 64);
        assert_eq!(shown.parse(), Ok(digest));
        assert!(shown[2..].parse::<Digest>().is_err());
        assert_ne!(digest, Digest::default());
    }
}
