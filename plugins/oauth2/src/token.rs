//! Tokens, codes and their digests.
//!
//! A clear value exists in the answer that issues it and in the request that presents it; what is
//! stored and cached is its BLAKE3 [`Digest`].

use std::fmt;

/// The BLAKE3 digest of a token or code: what the store and the caches know it by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of a presented value.
    pub fn of(clear: &str) -> Self {
        Self(*blake3::hash(clear.as_bytes()).as_bytes())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(…)")
    }
}
