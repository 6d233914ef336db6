//! The token cache: what tokens are, never what may be done with them.
//!
//! Invariants:
//! - After [`TokenCache::forget`] returns, or after a shared object of [`crate::facts`] is marked,
//!   nobody is given what was true before: everything that is kept bears the generation that its
//!   token had before the store was asked, here and in the threads' own caches, and counts in no other
//!   ([`crate::generation`]). A load of an older generation is not joined.
//! - Unknown tokens are remembered for a short while and in bounded number; a store failure is
//!   never remembered.
//! - A node that has lost the change feed trusts nothing in here.
//!
//! Bounds are by weight: an entry weighs [`ENTRY_BYTES`] and the length of its user id.
//! Credential, consumer and scope are shared and weigh nothing here.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Instant;

use http::HeaderValue;
use moka::notification::RemovalCause;
use moka::sync::Cache;
use tollgate_core::clock::Clock;
use tollgate_core::error::StoreError;

use crate::facts::{Directory, Holder, render};
use crate::flight::{Boarding, Flights, Landed};
use crate::generation::{Counter, Generation, Generations, Stamped};
use crate::metrics::Metrics;
use crate::near::{self, CacheId};
use crate::store::{Token, Tokens};
use crate::sync::{self, Map};
use crate::token::Digest;
use crate::token_facts::{Facts, Terms};

/// Bytes of an entry without its user id: resident memory of a million tokens with user ids of 12
/// characters, each presented once, was 339 bytes a token, of which moka takes 265
/// (`cargo bench -p tollgate-bench --bench token_cache`, docs/performance.md); and 16 for the
/// generation, the allocator's next size for what moka allocates for an entry.
pub const ENTRY_BYTES: u32 = 343;

/// Unknown tokens that are remembered at most, at about 400 bytes each.
const NEGATIVE_ENTRIES: u64 = 20_000;

/// Distinct scopes that are shared at most.
const SCOPES: u64 = 10_000;

/// How often a load starts over because what it read changed under it.
const ATTEMPTS: usize = 4;

/// What the cache knows of a token without asking.
#[derive(Debug, Clone)]
pub enum Known {
    /// What it is.
    Token(Facts),
    /// The store did not know it a moment ago.
    Unknown,
}

/// Whether this node still hears of every change.
pub trait Trust: Send + Sync + 'static {
    /// `false`: what is cached may be out of date.
    fn is_current(&self) -> bool;
}

/// Bounds of the cache.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The most that all entries together may weigh.
    pub bytes: u64,
    /// How long an unknown token is remembered, in milliseconds.
    pub negative_millis: i64,
}

/// Digests are hashes already.
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

fn weight(facts: &Facts) -> u32 {
    ENTRY_BYTES.saturating_add(u32::try_from(facts.userid_bytes()).unwrap_or(u32::MAX))
}

type ByDigest<V> = Map<Digest, Stamped<V>, BuildHasherDefault<HeadHasher>>;

/// What may change while a load is under way, as it was before the store was asked.
#[derive(Clone, Copy)]
struct Before {
    token: Generation,
    deletions: Generation,
}

/// The cache in front of the token store. Cheap to clone.
#[derive(Clone)]
pub struct TokenCache {
    inner: Arc<Inner>,
}

struct Inner {
    id: CacheId,
    tokens: ByDigest<Facts>,
    /// When the entry ends, in milliseconds.
    negatives: ByDigest<i64>,
    scopes: Map<String, Arc<HeaderValue>>,
    flights: Flights<Digest, Option<Facts>>,
    /// Of tokens.
    generations: Generations,
    /// Moves with every deletion that takes tokens with it.
    deletions: Counter,
    directory: Directory,
    store: Arc<dyn Tokens>,
    trust: Arc<dyn Trust>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    negative_millis: i64,
}

impl TokenCache {
    /// An empty cache.
    pub fn new(
        bounds: Bounds,
        store: Arc<dyn Tokens>,
        directory: Directory,
        trust: Arc<dyn Trust>,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Self {
        let evictions = metrics.evictions.clone();
        let tokens = Cache::builder()
            .max_capacity(bounds.bytes)
            .weigher(|_, facts: &Stamped<Facts>| weight(facts.unchecked()))
            .eviction_listener(move |_, _, cause| {
                if cause == RemovalCause::Size {
                    evictions.inc();
                }
            })
            .build_with_hasher(BuildHasherDefault::default());
        let negatives = Cache::builder().max_capacity(NEGATIVE_ENTRIES);
        let inner = Inner {
            id: CacheId::new(),
            tokens: sync::map(tokens),
            negatives: sync::map(negatives.build_with_hasher(BuildHasherDefault::default())),
            scopes: sync::map(Cache::new(SCOPES)),
            flights: Flights::new(),
            generations: Generations::new(),
            deletions: Counter::new(),
            directory,
            store,
            trust,
            clock,
            metrics,
            negative_millis: bounds.negative_millis,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Calls `then` with the facts of a token that this thread has just seen, if they still count.
    /// Touches nothing that other threads write but the generation. `None`: ask [`Self::get`].
    pub fn near<T>(&self, digest: &Digest, then: impl FnOnce(&Facts) -> T) -> Option<T> {
        let inner = &*self.inner;
        if !inner.trust.is_current() {
            return None;
        }
        let then = |facts: &Facts| facts.is_current().then(|| then(facts));
        let found = near::find(inner.id, digest, self.generation(digest), then).flatten();
        if found.is_some() {
            inner.metrics.hit.inc();
        }
        found
    }

    /// What is known without asking the store; `None` when it has to be asked. Takes no lock and
    /// allocates nothing.
    pub fn get(&self, digest: &Digest) -> Option<Known> {
        let inner = &*self.inner;
        if !inner.trust.is_current() {
            return None;
        }
        let started = (digest.head().trailing_zeros() >= 6).then(Instant::now);
        let generation = self.generation(digest);
        let known = self.token(digest, generation).or_else(|| self.negative(digest, generation));
        match &known {
            Some(Known::Token(_)) => inner.metrics.hit.inc(),
            Some(Known::Unknown) => inner.metrics.negative.inc(),
            None => {}
        }
        if let (Some(started), Some(_)) = (started, &known) {
            inner.metrics.cache_seconds.observe(started.elapsed().as_secs_f64());
        }
        known
    }

    /// Asks the store, together with whoever asks for the same token. `None`: it is unknown.
    pub async fn load(&self, digest: Digest) -> Landed<Option<Facts>> {
        for _ in 1..ATTEMPTS {
            let before = Before { token: self.generation(&digest), deletions: self.inner.deletions.current() };
            let cache = self.clone();
            let load = move || async move { cache.ask(digest, before).await };
            let generation = before.token.and(before.deletions);
            let (boarding, flight) = self.inner.flights.board(digest, digest.head(), generation, load);
            match boarding {
                Boarding::Leader => self.inner.metrics.miss.inc(),
                Boarding::Joined => self.inner.metrics.coalesced.inc(),
            }
            let landed = flight.await?;
            if landed.as_ref().is_none_or(|facts| facts.is_current()) {
                return Ok(landed);
            }
        }
        // Its surroundings change without pause. Each part of what one own look finds has been true
        // since this request came, which is good enough for it; it is not kept.
        self.inner.metrics.miss.inc();
        self.read(digest).await
    }

    /// The token changed: nothing learnt of it before counts any more.
    pub fn forget(&self, digest: &Digest) {
        self.inner.generations.advance(digest.head());
        // What this misses takes room, and nothing else.
        self.inner.tokens.invalidate(digest);
        self.inner.negatives.invalidate(digest);
    }

    /// A credential, consumer or service may have been deleted, and tokens with it. To be called before
    /// the directory is told, which then marks what the tokens that are kept refer to; what is being
    /// loaded may come to refer to one of the same id that was made since, and is not kept.
    pub fn tokens_deleted(&self) {
        self.inner.deletions.advance();
    }

    /// Nothing learnt before counts any more.
    pub fn forget_all(&self) {
        self.inner.generations.advance_all();
        self.inner.directory.reset();
        self.inner.tokens.invalidate_all();
        self.inner.negatives.invalidate_all();
    }

    /// As if the token had given way to others.
    #[cfg(test)]
    pub(crate) fn evict(&self, digest: &Digest) {
        self.inner.tokens.invalidate(digest);
    }

    /// Brings the gauges up to date.
    pub fn measure(&self) {
        let entries = i64::try_from(self.inner.tokens.entry_count()).unwrap_or(i64::MAX);
        let weight = i64::try_from(self.inner.tokens.weighted_size()).unwrap_or(i64::MAX);
        self.inner.metrics.cache_entries.set(entries);
        self.inner.metrics.cache_weight.set(weight);
    }

    /// The header value of a scope, shared with other tokens of the same.
    pub fn scope(&self, scope: &str) -> Option<Arc<HeaderValue>> {
        if let Some(known) = self.inner.scopes.get(scope) {
            return Some(known);
        }
        let value = Arc::new(render(scope)?);
        self.inner.scopes.insert(scope.to_owned(), Arc::clone(&value));
        Some(value)
    }

    fn token(&self, digest: &Digest, generation: Generation) -> Option<Known> {
        let kept = self.inner.tokens.get(digest)?;
        let facts = kept.at(generation).filter(|facts| facts.is_current())?.clone();
        near::keep(self.inner.id, *digest, kept);
        Some(Known::Token(facts))
    }

    fn negative(&self, digest: &Digest, generation: Generation) -> Option<Known> {
        let kept = self.inner.negatives.get(digest)?;
        let until = kept.at(generation)?;
        (self.inner.clock.now_millis() < *until).then_some(Known::Unknown)
    }

    fn generation(&self, digest: &Digest) -> Generation {
        self.inner.generations.current(digest.head())
    }

    async fn ask(&self, digest: Digest, before: Before) -> Landed<Option<Facts>> {
        let started = Instant::now();
        let read = self.read(digest).await;
        self.inner.metrics.store_seconds.observe(started.elapsed().as_secs_f64());
        match &read {
            Ok(found) => self.keep(digest, before, found.as_ref()),
            Err(error) => {
                tracing::warn!(error = &**error as &dyn std::error::Error, "a token could not be looked up");
            }
        }
        read
    }

    /// Keeps what a load found. What has changed meanwhile would not count and could take the place of
    /// what does.
    fn keep(&self, digest: Digest, before: Before, found: Option<&Facts>) {
        // By now the facts refer to what a deletion marks. One that was heard of before they did is
        // counted here.
        if self.inner.deletions.current() != before.deletions || self.generation(&digest) != before.token {
            return;
        }
        match found {
            Some(facts) => self.inner.tokens.insert(digest, Stamped::new(before.token, facts.clone())),
            None => {
                let until = self.inner.clock.now_millis().saturating_add(self.inner.negative_millis);
                self.inner.negatives.insert(digest, Stamped::new(before.token, until));
            }
        }
    }

    async fn read(&self, digest: Digest) -> Landed<Option<Facts>> {
        let now = self.inner.clock.now();
        let found = self.inner.store.find_tokens(&[digest], now).await.map_err(Arc::new)?;
        let Some(token) = found.into_iter().find(|token| token.access_token == digest) else { return Ok(None) };
        let Some(holder) = self.inner.directory.holder(token.credential_id).await? else { return Ok(None) };
        self.facts(&token, holder).map(Some).map_err(Arc::new)
    }

    fn facts(&self, token: &Token, holder: Arc<Holder>) -> Result<Facts, StoreError> {
        let corrupt = |what| StoreError::Corrupt { kind: "oauth2_tokens", what };
        // Identity that cannot be told to the upstream is not left out silently.
        let scope = token.scope.as_deref().map(|scope| self.scope(scope).ok_or(corrupt("scope"))).transpose()?;
        let userid = token.authenticated_userid.as_deref();
        if userid.is_some_and(|userid| render(userid).is_none()) {
            return Err(corrupt("authenticated_userid"));
        }
        let service = token.service_id.map(|id| self.inner.directory.service(id));
        Ok(Facts::new(Terms { holder, service, valid_until: valid_until(token), scope }, userid))
    }
}

/// A token whose age equals `expires_in` is still valid (oauth2.md §3.9), and a row is
/// there until its `ttl` has passed.
fn valid_until(token: &Token) -> i64 {
    let expiry = if token.expires_in <= 0 { i64::MAX } else { token.created_at.saturating_add(token.expires_in) };
    expiry.min(token.ttl.unwrap_or(i64::MAX))
}
