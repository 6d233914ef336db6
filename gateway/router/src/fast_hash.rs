//! Hashing for the router's tables.
//!
//! The tables hold what the operator configured, and requests add nothing to them, so a client who finds a
//! collision gains one comparison; a keyed hash would cost more than the lookup.

use std::hash::{BuildHasherDefault, Hasher};

/// A map for the router's tables.
pub(crate) type FastMap<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<FastHasher>>;

const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Multiply and fold, eight bytes at a time.
#[derive(Debug, Default)]
pub(crate) struct FastHasher(u64);

impl Hasher for FastHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.write_u64(u64::from_le_bytes(*word));
        }
        let rest = rest.iter().fold(0, |word: u64, byte| (word << 8) | u64::from(*byte));
        self.write_u64(rest);
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(FACTOR);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }
}

/// Hashes of increasingly long prefixes of a text, in one pass.
#[derive(Debug)]
pub(crate) struct PrefixHashes<'t> {
    text: &'t [u8],
    /// The hash of the complete words before `done`.
    words: u64,
    done: usize,
}

impl<'t> PrefixHashes<'t> {
    /// Starts at the beginning of this text.
    pub(crate) fn new(text: &'t [u8]) -> Self {
        Self { text, words: FACTOR, done: 0 }
    }

    /// The hash of the first `length` bytes, or `None` if the text is shorter. Call with ascending lengths.
    pub(crate) fn next(&mut self, length: usize) -> Option<u64> {
        if length > self.text.len() {
            return None;
        }
        while self.done + 8 <= length {
            self.words = step(self.words, self.word());
            self.done += 8;
        }
        let over = length - self.done;
        let tail = self.word() & !(u64::MAX << (8 * over));
        Some(step(self.words ^ tail, over as u64))
    }

    /// The next eight bytes, padded with zeros at the end of the text.
    fn word(&self) -> u64 {
        let rest = self.text.get(self.done..).unwrap_or_default();
        match rest.first_chunk::<8>() {
            Some(word) => u64::from_le_bytes(*word),
            None => rest.iter().rev().fold(0, |word, byte| (word << 8) | u64::from(*byte)),
        }
    }
}

/// The hash of a whole text, equal to that of [`PrefixHashes`].
pub(crate) fn hash_of(text: &[u8]) -> u64 {
    PrefixHashes::new(text).next(text.len()).unwrap_or_default()
}

fn step(hash: u64, word: u64) -> u64 {
    let product = (hash ^ word).wrapping_mul(FACTOR);
    product ^ (product >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_hashes_like_the_same_text() {
        let text = b"/service-17/api/items/4711";
        let mut hashes = PrefixHashes::new(text);
        for length in 0..=text.len() {
            assert_eq!(hashes.next(length), Some(hash_of(&text[..length])), "{length}");
        }
        assert_eq!(hashes.next(text.len() + 1), None);
    }

    #[test]
    fn prefixes_of_different_lengths_differ() {
        let text = [0; 64];
        let mut hashes = PrefixHashes::new(&text);
        let all: std::collections::HashSet<_> = (0..=64).map(|length| hashes.next(length)).collect();
        assert_eq!(all.len(), 65);
    }
}
