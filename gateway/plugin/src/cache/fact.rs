//! What a fact is to a cache.

use std::hash::Hash;

use uuid::Uuid;

use super::generation::head;

/// What a fact is found by. If clients choose it, it is a digest of what they sent.
pub trait CacheKey: Copy + Eq + Hash + Send + Sync + 'static {
    /// A hash of the key, by which shards and places are chosen.
    fn head(&self) -> u64;
}

impl CacheKey for Uuid {
    fn head(&self) -> u64 {
        head(*self)
    }
}

/// Something that the store says of a key. Cheap to clone.
pub trait Fact: Clone + Send + Sync + 'static {
    /// What it is found by.
    type Key: CacheKey;

    /// Whether the shared facts that it refers to are still what the store says.
    fn is_current(&self) -> bool;

    /// The memory that it takes in the cache, in bytes, without what it shares with others.
    fn weight(&self) -> u32;
}
