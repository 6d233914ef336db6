//! What is kept instead of a secret.

use std::fmt;
use std::hash::{Hash, Hasher};

use crate::cache::CacheKey;

/// The BLAKE3 digest of a secret that clients present: what stores and caches know it by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

/// Only the head is hashed: it is random already.
impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.head());
    }
}

impl Digest {
    /// The digest of a presented value.
    pub fn of(clear: &str) -> Self {
        Self(*blake3::hash(clear.as_bytes()).as_bytes())
    }

    /// The digest as a row or a change holds it; `None` when it has another length.
    pub fn read(stored: &[u8]) -> Option<Self> {
        stored.try_into().ok().map(Self)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(…)")
    }
}

/// Its first eight bytes: as random as a hash of it, and cheaper.
impl CacheKey for Digest {
    fn head(&self) -> u64 {
        let (head, _) = self.0.split_at(8);
        head.iter().fold(0, |value, &byte| (value << 8) | u64::from(byte))
    }
}
