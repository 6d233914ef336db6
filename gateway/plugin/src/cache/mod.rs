//! Caches of facts, generic over the fact: what a token is, whom a key belongs to, which groups a consumer is
//! in. Never verdicts: what may be done with a fact is decided on every request.
//!
//! - [`FactCache`]: by key, in front of the store: a cache of the thread's own, a bounded one that all
//!   threads share, unknown keys for a short while, and one look-up for all who ask at the same time.
//! - [`SharedFacts`]: objects that many facts refer to (the consumer of a million tokens), which are
//!   invalidated in place when they change.
//! - [`Generations`] and [`Stamped`]: how both stay exact. They are public for caches of another shape.
//!
//! Invariant: a request that comes after a write was answered is judged only by what was read after that
//! write was committed, whatever other threads do meanwhile. Without the change feed nothing that is cached
//! counts ([`Trust`]).

mod fact;
mod fact_cache;
mod generation;
mod metrics;
pub mod model;
mod shared_facts;
mod single_flight;
mod thread_cache;

use tollgate_store::Feed;

pub use fact::{CacheKey, Fact};
pub use fact_cache::{Bounds, FactCache, HeadHasher, Known, Source};
pub use generation::{Counter, Generation, Generations, Stamped, head};
pub use metrics::CacheMetrics;
pub use shared_facts::{Invalidation, OnConflict, SharedFact, SharedFacts, Ticket};
pub use single_flight::{Loaded, Lookup, Role, SingleFlight};
pub use thread_cache::{PerThread, ThreadCache, ThreadCached};

/// Whether this node still hears of every change.
pub trait Trust: Send + Sync + 'static {
    /// `false`: what is cached may be out of date.
    fn is_current(&self) -> bool;
}

/// The store's change feed tells.
impl Trust for Feed {
    fn is_current(&self) -> bool {
        Self::is_current(self)
    }
}

/// What a key of the Admin API's `/cache/{key}` is of: `<kind>:<name>:::::<workspace>`, the kind with its colon
/// being `prefix` (oauth2.md §5).
pub fn named<'k>(key: &'k str, prefix: &str) -> Option<&'k str> {
    let rest = key.strip_prefix(prefix)?;
    rest.rfind(":::::").and_then(|end| rest.get(..end))
}
