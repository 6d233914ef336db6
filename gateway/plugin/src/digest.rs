//! Digests, which are kept instead of secrets.

use std::fmt;
use std::hash::{Hash, Hasher};

use crate::cache::CacheKey;

/// The BLAKE3 digest of a secret that clients present: the key under which stores and caches know it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

/// Only the head is hashed: it is already random.
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

    /// The digest from a row or a change; `None` if the length is wrong.
    pub fn read(stored: &[u8]) -> Option<Self> {
        stored.try_into().ok().map(Self)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(…)")
    }
}

/// The first eight bytes: as random as a hash of the digest, and cheaper.
impl CacheKey for Digest {
    fn head(&self) -> u64 {
        let (head, _) = self.0.split_at(8);
        head.iter().fold(0, |value, &byte| (value << 8) | u64::from(byte))
    }
}
