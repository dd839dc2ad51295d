//! Fingerprints that do not depend on order: SHA-256 of framed bytes, truncated to 128 bits and added up.
//!
//! Pure. Equal items do not cancel, as they would with exclusive or. Not here: what is read, or how.

use crate::evidence::Part;
use crate::sha256::Sha256;

/// A hash over a sequence of byte strings, each framed by its length, so that `("ab", "c")` and `("a", "bc")` differ.
#[derive(Clone, Default)]
pub struct Frames(Sha256);

impl Frames {
    /// A new, empty sequence.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one byte string.
    pub fn add(&mut self, bytes: &[u8]) -> &mut Self {
        self.begin(bytes.len() as u64).raw(bytes)
    }

    /// Adds a number.
    pub fn number(&mut self, number: u64) -> &mut Self {
        self.raw(&number.to_le_bytes())
    }

    /// Begins a byte string of a known length that comes in pieces through [`Frames::raw`].
    pub fn begin(&mut self, length: u64) -> &mut Self {
        self.number(length)
    }

    /// Adds bytes without a frame.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(bytes);
        self
    }

    /// The fingerprint: the first 128 bits of the hash.
    pub fn finish(self) -> u128 {
        let hash = self.0.finish();
        let mut first = [0_u8; 16];
        first.copy_from_slice(&hash[..16]);
        u128::from_be_bytes(first)
    }

    /// The fingerprint of a whole sequence at once.
    pub fn of(parts: &[&[u8]]) -> u128 {
        let mut frames = Self::new();
        for part in parts {
            frames.add(part);
        }
        frames.finish()
    }
}

/// A count and a wrapping sum of fingerprints: equal for equal content, in any order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// How many fingerprints were added.
    pub count: u64,
    sum: u128,
}

impl Sum {
    /// Adds one fingerprint.
    pub fn add(&mut self, fingerprint: u128) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(fingerprint);
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// The fingerprint of the whole, count included.
    pub fn finish(self) -> u128 {
        Frames::of(&[&self.count.to_le_bytes(), &self.sum.to_le_bytes()])
    }

    /// As evidence.
    pub fn part(self) -> Part {
        Part {
            count: self.count,
            hash: self.sum.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(items: &[Vec<u8>]) -> Sum {
        let mut sum = Sum::default();
        for item in items {
            sum.add(Frames::of(&[item]));
        }
        sum
    }

    proptest! {
        #[test]
        fn the_order_of_items_changes_nothing(
            items in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..8), 0..20),
            turn in 0_usize..20,
        ) {
            let mut turned = items.clone();
            if !turned.is_empty() {
                let by = turn % turned.len();
                turned.rotate_left(by);
            }
            prop_assert_eq!(sum(&items).part(), sum(&turned).part());
        }

        #[test]
        fn one_item_more_or_changed_is_seen(
            items in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..8), 1..20),
            flip in 0_u8..8,
        ) {
            let mut more = items.clone();
            more.push(items[0].clone());
            prop_assert_ne!(sum(&items).part(), sum(&more).part());
            let mut changed = items.clone();
            match changed[0].first_mut() {
                Some(byte) => *byte ^= 1 << flip,
                None => changed[0].push(0),
            }
            prop_assert_ne!(sum(&items).part(), sum(&changed).part());
        }

        #[test]
        fn where_one_piece_ends_and_the_next_begins_counts(text in "[a-z]{2,12}", cut in 1_usize..11) {
            let cut = cut.min(text.len() - 1);
            let whole = Frames::of(&[text.as_bytes(), b""]);
            let parts = Frames::of(&[&text.as_bytes()[..cut], &text.as_bytes()[cut..]]);
            prop_assert_ne!(whole, parts);
        }
    }

    #[test]
    fn equal_items_do_not_cancel() {
        let item = vec![7_u8];
        assert_ne!(sum(&[item.clone(), item]).part().hash, sum(&[]).part().hash);
    }
}
