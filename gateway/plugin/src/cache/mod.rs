//! Caches of facts, generic over the fact: what a token is, who owns a key, which groups a consumer is
//! in. Never verdicts: what a fact permits is decided on every request.
//!
//! - [`FactCache`]: by key, in front of the store: a thread-local cache, a bounded cache shared by all
//!   threads, negative caching of unknown keys, and single flight for concurrent look-ups.
//! - [`SharedFacts`]: objects that many facts refer to (the consumer of a million tokens), which are
//!   invalidated in place when they change.
//! - [`Generations`] and [`Stamped`]: how both stay exact. They are public for caches of other shapes.
//!
//! Invariant: a request that arrives after a write was acknowledged is decided only on data read after that
//! write was committed, whatever other threads do meanwhile. Without the change feed no cached data is
//! trusted ([`Trust`]).

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

/// Whether this node still receives every change.
pub trait Trust: Send + Sync + 'static {
    /// `false`: what is cached may be out of date.
    fn is_current(&self) -> bool;
}

/// As reported by the store's change feed.
impl Trust for Feed {
    fn is_current(&self) -> bool {
        Self::is_current(self)
    }
}

/// The subject of an Admin API `/cache/{key}` key: `<kind>:<name>:::::<workspace>`, where `prefix` is the kind
/// with its colon (oauth2.md §5).
pub fn named<'k>(key: &'k str, prefix: &str) -> Option<&'k str> {
    let rest = key.strip_prefix(prefix)?;
    rest.rfind(":::::").and_then(|end| rest.get(..end))
}
