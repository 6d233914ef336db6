//! The traits of cached facts and their keys.

use std::hash::Hash;

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
