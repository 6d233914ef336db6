//! The traits of cached facts and their keys.

use std::hash::{Hash, Hasher};

use uuid::Uuid;

use super::generation::head;

/// The key of a fact. If clients choose it, it is a digest of what they sent.
pub trait CacheKey: Copy + Eq + Hash + Send + Sync + 'static {
    /// A hash of the key, which selects shard and slot.
    fn head(&self) -> u64;
}

impl CacheKey for Uuid {
    fn head(&self) -> u64 {
        head(*self)
    }
}

/// Something that the store knows about a key. Cheap to clone.
pub trait Fact: Clone + Send + Sync + 'static {
    /// Its key.
    type Key: CacheKey;

    /// Whether the shared facts it refers to are still current.
    fn is_current(&self) -> bool;

    /// The memory it takes in the cache, in bytes, without what it shares with others.
    fn weight(&self) -> u32;
}

/// Keys are hashed by their [head](CacheKey::head): a digest is a hash already.
#[derive(Default)]
pub struct HeadHasher(u64);

impl Hasher for HeadHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, head: u64) {
        self.0 = head;
    }
}

/// A key in the maps. Its head is what is hashed, whichever way its type hashes itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ByHead<K>(pub(crate) K);

impl<K: CacheKey> Hash for ByHead<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.head());
    }
}
