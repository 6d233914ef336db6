//! Counters that tell whether something changed while it was being loaded.
//!
//! A load reads the generation of its key before it asks the store, and again after its answer is
//! in the cache; an invalidation moves the generation before it removes from the cache. Whichever
//! way the two interleave, an answer from before the invalidation does not stay.

use std::sync::atomic::{AtomicU64, Ordering};

const STRIPES: usize = 1024;

/// Striped by the key's hash: two keys may share a counter, which costs a load, never exactness.
pub struct Generations {
    stripes: Box<[AtomicU64]>,
}

impl Generations {
    /// All at zero.
    pub fn new() -> Self {
        Self { stripes: (0..STRIPES).map(|_| AtomicU64::new(0)).collect() }
    }

    /// The generation of the keys with this hash.
    pub fn current(&self, head: u64) -> u64 {
        self.stripe(head).load(Ordering::SeqCst)
    }

    /// Something with this hash changed.
    pub fn advance(&self, head: u64) {
        self.stripe(head).fetch_add(1, Ordering::SeqCst);
    }

    /// Anything may have changed.
    pub fn advance_all(&self) {
        for stripe in &self.stripes {
            stripe.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn stripe(&self, head: u64) -> &AtomicU64 {
        let index = usize::try_from(head % STRIPES as u64).unwrap_or_default();
        #[expect(clippy::indexing_slicing, reason = "there are STRIPES stripes")]
        &self.stripes[index]
    }
}

impl Default for Generations {
    fn default() -> Self {
        Self::new()
    }
}
