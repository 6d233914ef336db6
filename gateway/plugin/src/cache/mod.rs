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
//! trusted ([`Trust`]), but while the store is away, for as long as the operator says ([`ServeCached`]).
//!
//! # Which invalidation?
//!
//! A change of an entity names its id. A deletion has no more than that, and an update has the new values alone: the
//! value under which a fact is cached may be an old one. So:
//!
//! - the fact refers to a [`SharedFact`] by the entity's id ([`SharedFacts`]; [`crate::CredentialFacts`] where it
//!   authenticates), which the listener invalidates; before that it calls [`FactCache::facts_ended`], so that
//!   what is being read at the moment is not kept;
//! - where there is a document, the listener also [forgets](FactCache::forget) the key that the document has now,
//!   which may be cached as unknown.
//!
//! A [`Source`] whose facts end or begin with changes that do not pass through such a listener says so in
//! [`Source::endings`] and [`Source::additions`].
//!
//! # Example
//!
//! Consumers by an address of theirs, from the store's entities:
//!
//! ```
//! use std::sync::Arc;
//!
//! use async_trait::async_trait;
//! use tollgate_plugin::cache::{Fact, FactCache, Invalidation, Known, Loaded, SharedFact, SharedFacts, Source};
//! use tollgate_plugin::{Change, ChangeListener, Collection, Digest, Key, StoreError, thread_cache};
//! use uuid::Uuid;
//!
//! /// Whose an address is.
//! #[derive(Clone)]
//! struct Owner {
//!     consumer: Uuid,
//!     row: Arc<Row>,
//! }
//!
//! /// Whether the entity is as it was read.
//! struct Row(Invalidation);
//!
//! impl SharedFact for Row {
//!     fn invalidation(&self) -> &Invalidation {
//!         &self.0
//!     }
//! }
//!
//! thread_cache!(Owner);
//!
//! impl Fact for Owner {
//!     type Key = Digest;
//!
//!     fn is_current(&self) -> bool {
//!         self.row.is_current()
//!     }
//!
//!     /// An entry of the cache is about 400 bytes.
//!     fn weight(&self) -> u32 {
//!         450
//!     }
//! }
//!
//! struct Addresses {
//!     entities: Arc<dyn Collection>,
//!     rows: SharedFacts<Row>,
//! }
//!
//! impl Source<Owner> for Addresses {
//!     /// The address, of which the key is a digest.
//!     type Question = String;
//!     type Error = StoreError;
//!
//!     async fn read(&self, _: Digest, address: String) -> Loaded<Option<Owner>> {
//!         let found = self.entities.find(&Key::Unique { field: "address", value: address }).await?;
//!         let owner = found.and_then(|entity| Some((entity.id()?, entity.reference("consumer")?)));
//!         Ok(owner.map(|(id, consumer)| {
//!             let row = self.rows.get_or_add(id, || Row(Invalidation::new()));
//!             Owner { consumer, row }
//!         }))
//!     }
//! }
//!
//! /// Subscribed to the change feed when the plugin starts: `host.store.feed().subscribe(…)`.
//! struct Listener(FactCache<Owner, Addresses>);
//!
//! #[async_trait]
//! impl ChangeListener for Listener {
//!     async fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
//!         for change in changes.iter().filter(|change| change.kind == "addresses") {
//!             self.0.facts_ended();
//!             self.0.source().rows.invalidate(change.id);
//!             let address = change.document.as_ref().and_then(|document| document.text("address"));
//!             if let Some(address) = address {
//!                 self.0.forget(&Digest::of(address));
//!             }
//!         }
//!         Ok(())
//!     }
//!
//!     async fn reset(&self) -> Result<(), StoreError> {
//!         self.0.forget_all();
//!         Ok(())
//!     }
//! }
//!
//! /// On a request: what this thread has seen, what the node has cached, and only then the store
//! /// (in `Access::Pending`).
//! async fn consumer(cache: &FactCache<Owner, Addresses>, address: &str) -> Loaded<Option<Uuid>> {
//!     let key = Digest::of(address);
//!     if let Some(consumer) = cache.of_this_thread(&key, |owner| owner.consumer) {
//!         return Ok(Some(consumer));
//!     }
//!     let owner = match cache.get(&key) {
//!         Some(Known::Fact(owner)) => Some(owner),
//!         Some(Known::Unknown) => None,
//!         None => cache.load(key, address.to_owned()).await?,
//!     };
//!     Ok(owner.map(|owner| owner.consumer))
//! }
//! ```
//!
//! The cache is made when the plugin starts: `FactCache::new(bounds, source, host.trust(), host.clock, metrics)`,
//! with [`CacheMetrics::register`]; [`FactCache::keep_measuring`] is spawned so that its gauges move. If the
//! store cannot be read, the plugin logs the error and responds with `Reply::unavailable`.

#[cfg(test)]
mod against_model;
mod evictions;
mod fact;
mod fact_cache;
mod generation;
mod metrics;
pub mod model;
pub mod outage;
mod shared_facts;
mod single_flight;
mod thread_cache;

use std::time::Duration;

use tollgate_store::Feed;

pub use fact::{CacheKey, Fact, HeadHasher};
pub use fact_cache::{Bounds, FactCache, Known, Source};
pub use generation::{Counter, Generation, Generations, Stamped, head};
pub use metrics::CacheMetrics;
pub use outage::ServeCached;
pub use shared_facts::{Invalidation, OnConflict, SharedFact, SharedFacts, Ticket};
pub use single_flight::{Loaded, Lookup, Role, SingleFlight};
pub use thread_cache::{PerThread, ThreadCache, ThreadCached};

/// Whether this node still receives every change.
pub trait Trust: Send + Sync + 'static {
    /// `false`: what is cached may be out of date.
    fn is_current(&self) -> bool;

    /// While the store is away, and the node serves what is cached: for how long this node has received no changes.
    fn outage(&self) -> Option<Duration> {
        None
    }
}

/// As reported by the store's change feed.
impl Trust for Feed {
    fn is_current(&self) -> bool {
        Self::is_current(self)
    }

    fn outage(&self) -> Option<Duration> {
        Self::outage(self)
    }
}

/// The subject of an Admin API `/cache/{key}` key: `<kind>:<name>:::::<workspace>`, where `prefix` is the kind
/// with its colon (oauth2.md §5).
pub fn named<'k>(key: &'k str, prefix: &str) -> Option<&'k str> {
    let rest = key.strip_prefix(prefix)?;
    rest.rfind(":::::").and_then(|end| rest.get(..end))
}
