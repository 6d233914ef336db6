//! Hashing for the router's tables.
//!
//! The tables hold what the operator configured and never grow by a request, so a client who finds
//! a collision gains one comparison; a keyed hash would cost more than the lookup.

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

/// The hash of a text that grows at its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RollingHash(u64);

impl RollingHash {
    /// The hash of nothing.
    pub(crate) const EMPTY: Self = Self(FACTOR);

    /// The hash of the text with these bytes behind it, however it is cut into pieces.
    pub(crate) fn extend(self, bytes: &[u8]) -> Self {
        Self(bytes.iter().fold(self.0, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)))
    }

    /// The value so far.
    pub(crate) fn value(self) -> u64 {
        self.0
    }
}
