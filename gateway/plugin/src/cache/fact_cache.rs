//! A cache of facts by key, in front of the store.
//!
//! Invariants:
//! - After [`FactCache::forget`] returns, or after a shared fact that others refer to is invalidated, no caller
//!   gets a stale fact. Every entry, here and in the thread-local caches, carries the generation that its key
//!   had before the store was queried, and is valid only in that generation. Callers do not join a look-up of an
//!   older generation.
//! - Unknown keys are remembered briefly and in bounded number; a store failure is never
//!   remembered.
//! - A node that has lost the change feed trusts nothing in this cache. If that is because the store is away, it may
//!   serve facts as they were when it last heard of changes ([`FactCache::get_for`]), and says so in the request.

use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use moka::sync::Cache;
use tollgate_core::clock::Clock;
use tollgate_core::request::Request;
use tollgate_core::span::{self, Ended};

use super::Trust;
use super::evictions::Evictions;
use super::fact::{ByHead, CacheKey, Fact, HeadHasher};
use super::generation::{Counter, Generation, Generations, Stamped};
use super::metrics::CacheMetrics;
use super::model::{self, Map};
use super::outage::ServeCached;
use super::single_flight::{Loaded, Role, SingleFlight};
use super::thread_cache::{self, CacheId, ThreadCached};

/// The maximum number of remembered unknown keys, at about 400 bytes each.
const NEGATIVE_ENTRIES: u64 = 20_000;

/// How often a look-up is retried because its data changed while it was read.
const ATTEMPTS: usize = 4;

/// How many keys are looked up at the same time to warm the cache.
const WARMED: usize = 256;

/// How often the gauges are updated.
const MEASURE: Duration = Duration::from_secs(5);

/// Where facts are read from.
pub trait Source<F: Fact>: Send + Sync + 'static {
    /// What a query needs besides the key: the clear value of which the key is a digest.
    type Question: Clone + Send + 'static;
    /// Why a query failed: [`StoreError`](tollgate_core::error::StoreError) if the facts come from the store.
    type Error: Send + Sync + 'static;

    /// The name of a look-up in traces.
    const LOOK_UP: &'static str = "store look-up";

    /// Reads from the store, or from wherever the facts come. `None`: the key is unknown.
    fn read(
        &self,
        key: F::Key,
        question: Self::Question,
    ) -> impl Future<Output = Loaded<Option<F>, Self::Error>> + Send;

    /// Increases with every change that may end facts without naming their keys, before the shared facts that
    /// they refer to are invalidated. Reads in progress at that time are not kept.
    fn endings(&self) -> Generation {
        Generation::FIRST
    }

    /// Increases with every change that may add a fact without naming its key. Unknown keys are then queried again.
    fn additions(&self) -> Generation {
        Generation::FIRST
    }
}

/// What the cache knows about a key without querying the store.
#[derive(Debug, Clone)]
pub enum Known<F> {
    /// The fact.
    Fact(F),
    /// The store did not know the key a moment ago.
    Unknown,
}

/// Limits of the cache.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The maximum total weight of all facts.
    pub bytes: u64,
    /// How long an unknown key is remembered, in milliseconds.
    pub negative_millis: i64,
}

type ByKey<K, V> = Map<ByHead<K>, Stamped<V>, BuildHasherDefault<HeadHasher>>;

/// What may change during a look-up, as it was before the store was queried.
#[derive(Clone, Copy)]
struct Before {
    key: Generation,
    endings: Generation,
    additions: Generation,
}

impl Before {
    /// The generation of everything: look-ups that began with the same value may share one read.
    fn all(self) -> Generation {
        self.key.and(self.endings).and(self.additions)
    }
}

/// A cache in front of a source. Cheap to clone.
pub struct FactCache<F: ThreadCached, S: Source<F>> {
    inner: Arc<Inner<F, S>>,
}

impl<F: ThreadCached, S: Source<F>> Clone for FactCache<F, S> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

struct Inner<F: ThreadCached, S: Source<F>> {
    id: CacheId,
    facts: ByKey<F::Key, F>,
    /// When the entry expires, in milliseconds.
    negatives: ByKey<F::Key, i64>,
    single_flight: SingleFlight<F::Key, Option<F>, S::Error>,
    /// Generations of keys.
    generations: Generations,
    /// Increases with [`FactCache::facts_ended`].
    endings: Counter,
    evictions: Evictions,
    source: S,
    trust: Arc<dyn Trust>,
    clock: Arc<dyn Clock>,
    metrics: CacheMetrics,
    negative_millis: i64,
}

impl<F: ThreadCached, S: Source<F>> FactCache<F, S> {
    /// Creates an empty cache.
    pub fn new(bounds: Bounds, source: S, trust: Arc<dyn Trust>, clock: Arc<dyn Clock>, metrics: CacheMetrics) -> Self {
        let facts = Cache::builder()
            .max_capacity(bounds.bytes)
            .weigher(|_, fact: &Stamped<F>| fact.unchecked().weight())
            .build_with_hasher(BuildHasherDefault::default());
        let negatives = Cache::builder().max_capacity(NEGATIVE_ENTRIES);
        let inner = Inner {
            id: CacheId::new(),
            facts: model::map(facts),
            negatives: model::map(negatives.build_with_hasher(BuildHasherDefault::default())),
            single_flight: SingleFlight::new(),
            generations: Generations::new(),
            endings: Counter::new(),
            evictions: Evictions::new(metrics.evictions.clone()),
            source,
            trust,
            clock,
            metrics,
            negative_millis: bounds.negative_millis,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The source.
    pub fn source(&self) -> &S {
        &self.inner.source
    }

    /// Calls `then` with a key's fact if this thread has just seen it and it is still current. Touches nothing
    /// that other threads write except the generation. `None`: use [`Self::get`].
    pub fn of_this_thread<T>(&self, key: &F::Key, then: impl FnOnce(&F) -> T) -> Option<T> {
        let inner = &*self.inner;
        if !inner.trust.is_current() {
            return None;
        }
        let then = |fact: &F| fact.is_current().then(|| then(fact));
        let found = thread_cache::find(inner.id, key, self.generation(key), then).flatten();
        if found.is_some() {
            inner.metrics.hit.inc();
        }
        found
    }

    /// What is known without querying the store; `None` when it has to be queried. Takes no lock and allocates
    /// nothing.
    pub fn get(&self, key: &F::Key) -> Option<Known<F>> {
        let inner = &*self.inner;
        if !inner.trust.is_current() {
            return None;
        }
        let started = (key.head().trailing_zeros() >= 6).then(Instant::now);
        let generation = self.generation(key);
        let known = self.fact(key, generation).or_else(|| self.negative(key, generation));
        match &known {
            Some(Known::Fact(_)) => inner.metrics.hit.inc(),
            Some(Known::Unknown) => inner.metrics.negative.inc(),
            None => {}
        }
        if let (Some(started), Some(_)) = (started, &known) {
            inner.metrics.cache_seconds.observe(started.elapsed().as_secs_f64());
        }
        known
    }

    /// As [`Self::get`], for a request. While the store is away, also a fact as it was when this node last heard of
    /// changes, if the instance serves it; the request is marked then.
    pub fn get_for(&self, key: &F::Key, rule: ServeCached, request: &mut Request<'_>) -> Option<Known<F>> {
        self.get(key).or_else(|| self.unheard(key, rule, request).map(Known::Fact))
    }

    /// As [`Self::load`], for a request that found nothing with [`Self::get_for`]. If the store turns out to be away,
    /// what is served then.
    ///
    /// # Errors
    /// The store failed, and there is nothing to be served.
    pub async fn load_for(
        &self,
        key: F::Key,
        question: S::Question,
        rule: ServeCached,
        request: &mut Request<'_>,
    ) -> Loaded<Option<F>, S::Error> {
        match self.load(key, question).await {
            Ok(found) => Ok(found),
            Err(error) => self.unheard(&key, rule, request).map(Some).ok_or(error),
        }
    }

    fn unheard(&self, key: &F::Key, rule: ServeCached, request: &mut Request<'_>) -> Option<F> {
        let inner = &*self.inner;
        let age = inner.trust.outage().filter(|age| rule.admits(*age))?;
        let kept = inner.facts.get(&ByHead(*key))?;
        let fact = kept.at(self.generation(key)).filter(|fact| fact.is_current())?.clone();
        inner.metrics.stale.inc();
        request.serve_stale(age);
        Some(fact)
    }

    /// Queries the store, in single flight with other callers for the same key. `None`: the key is unknown.
    ///
    /// # Errors
    /// The store failed, for all callers that waited.
    pub async fn load(&self, key: F::Key, question: S::Question) -> Loaded<Option<F>, S::Error> {
        for _ in 1..ATTEMPTS {
            let before = self.before(&key);
            let (cache, asked) = (self.clone(), question.clone());
            let load = move || async move { cache.ask(key, asked, before).await };
            let (role, lookup) = self.inner.single_flight.join(key, key.head(), before.all(), load);
            match role {
                Role::Leader => self.inner.metrics.miss.inc(),
                Role::Follower => self.inner.metrics.coalesced.inc(),
            }
            let described = |loaded: &Loaded<Option<F>, S::Error>| Ended {
                attributes: vec![("tollgate.look_up.role", role.name().into())],
                error: loaded.is_err().then_some("unavailable".into()),
            };
            let loaded = span::measured(S::LOOK_UP, span::Kind::Internal, lookup, described).await?;
            if loaded.as_ref().is_none_or(Fact::is_current) {
                return Ok(loaded);
            }
        }
        // The data keeps changing. Each part of a single read has been true since this request arrived, which is
        // good enough for this request; it is not cached.
        self.inner.metrics.miss.inc();
        self.inner.source.read(key, question).await
    }

    /// The keys of facts that are cached, at most so many, in no order. Rarely used ones have been evicted.
    pub fn keys(&self, most: usize) -> Vec<F::Key> {
        self.inner.facts.iter().map(|(key, _)| key.0).take(most).collect()
    }

    /// Looks keys up so that they are cached, so many at the same time: as many as that share a statement. Ends early if
    /// the store fails.
    pub async fn warm(&self, keys: impl IntoIterator<Item = F::Key, IntoIter: Send> + Send, question: S::Question)
    where
        S::Question: Sync,
    {
        let lookups = keys.into_iter().map(|key| self.load(key, question.clone()));
        let mut lookups = futures::stream::iter(lookups).buffer_unordered(WARMED);
        while let Some(looked_up) = lookups.next().await {
            if looked_up.is_err() {
                return;
            }
        }
    }

    /// A key changed in the store: nothing read about it before is valid any more.
    pub fn forget(&self, key: &F::Key) {
        self.inner.generations.advance(key.head());
        // An entry that this misses only takes up space.
        if self.inner.facts.remove(&ByHead(*key)).is_some() {
            self.inner.evictions.removed(1);
        }
        self.inner.negatives.invalidate(&ByHead(*key));
    }

    /// Facts may have ended without their keys being known: reads in progress are not kept. Call this before
    /// invalidating the shared facts that cached facts refer to; a read in progress may come to refer to one of
    /// the same id that was created since.
    pub fn facts_ended(&self) {
        self.inner.endings.advance();
    }

    /// Nothing read before is valid any more, except shared facts, which their owner invalidates.
    pub fn forget_all(&self) {
        self.inner.generations.advance_all();
        self.inner.evictions.removed(self.inner.facts.entry_count());
        self.inner.facts.invalidate_all();
        self.inner.negatives.invalidate_all();
    }

    /// As if the fact had been evicted, for tests.
    #[doc(hidden)]
    pub fn evict(&self, key: &F::Key) {
        self.inner.facts.invalidate(&ByHead(*key));
    }

    /// Updates the gauges, and counts evictions.
    pub fn measure(&self) {
        let entries = self.inner.evictions.count(|| {
            self.inner.facts.run_pending_tasks();
            self.inner.facts.entry_count()
        });
        let entries = i64::try_from(entries).unwrap_or(i64::MAX);
        let weight = i64::try_from(self.inner.facts.weighted_size()).unwrap_or(i64::MAX);
        self.inner.metrics.entries.set(entries);
        self.inner.metrics.weight.set(weight);
    }

    /// Keeps the gauges up to date while it is polled: a task for the plugin to
    /// [spawn](crate::Host::spawn).
    pub async fn keep_measuring(self) {
        let mut ticks = tokio::time::interval(MEASURE);
        loop {
            ticks.tick().await;
            self.measure();
        }
    }

    fn fact(&self, key: &F::Key, generation: Generation) -> Option<Known<F>> {
        let kept = self.inner.facts.get(&ByHead(*key))?;
        let fact = kept.at(generation).filter(|fact| fact.is_current())?.clone();
        thread_cache::keep(self.inner.id, *key, kept);
        Some(Known::Fact(fact))
    }

    fn negative(&self, key: &F::Key, generation: Generation) -> Option<Known<F>> {
        let kept = self.inner.negatives.get(&ByHead(*key))?;
        let until = kept.at(generation.and(self.inner.source.additions()))?;
        (self.inner.clock.now_millis() < *until).then_some(Known::Unknown)
    }

    fn generation(&self, key: &F::Key) -> Generation {
        self.inner.generations.current(key.head())
    }

    fn endings(&self) -> Generation {
        self.inner.endings.current().and(self.inner.source.endings())
    }

    fn before(&self, key: &F::Key) -> Before {
        Before { key: self.generation(key), endings: self.endings(), additions: self.inner.source.additions() }
    }

    async fn ask(&self, key: F::Key, question: S::Question, before: Before) -> Loaded<Option<F>, S::Error> {
        let started = Instant::now();
        let read = self.inner.source.read(key, question).await;
        self.inner.metrics.store_seconds.observe(started.elapsed().as_secs_f64());
        if let Ok(found) = &read {
            self.keep(key, before, found.as_ref());
        }
        read
    }

    /// Caches the result of a look-up. If anything changed meanwhile, the result is stale and must not replace a
    /// current entry.
    fn keep(&self, key: F::Key, before: Before, found: Option<&F>) {
        // The fact now refers to shared facts that a deletion invalidates. A deletion received before that has
        // increased `endings`.
        if self.endings() != before.endings || self.generation(&key) != before.key {
            return;
        }
        match found {
            Some(fact) => {
                let is_new = !self.inner.facts.contains_key(&ByHead(key));
                self.inner.facts.insert(ByHead(key), Stamped::new(before.key, fact.clone()));
                if is_new {
                    self.inner.evictions.inserted();
                }
            }
            None => {
                let until = self.inner.clock.now_millis().saturating_add(self.inner.negative_millis);
                self.inner.negatives.insert(ByHead(key), Stamped::new(before.key.and(before.additions), until));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tollgate_core::clock::ManualClock;
    use uuid::Uuid;

    use super::*;
    use crate::metrics::Metrics;
    use crate::testing::Feed;
    use crate::thread_cache;

    /// Room for so many facts.
    const ROOM: u64 = 100;

    #[derive(Clone)]
    struct Number(u64);

    thread_cache!(Number);

    impl Fact for Number {
        type Key = Uuid;

        fn is_current(&self) -> bool {
            true
        }

        fn weight(&self) -> u32 {
            1
        }
    }

    struct Numbers;

    impl Source<Number> for Numbers {
        type Question = u64;
        type Error = &'static str;

        async fn read(&self, _: Uuid, number: u64) -> Loaded<Option<Number>, &'static str> {
            Ok(Some(Number(number)))
        }
    }

    fn key(number: u64) -> Uuid {
        Uuid::from_u64_pair(number.wrapping_mul(0x9e37_79b9_7f4a_7c15), number)
    }

    #[tokio::test]
    async fn what_a_full_cache_gives_up_is_counted_and_what_is_removed_is_not() {
        let metrics =
            CacheMetrics::register(&Metrics::new(prometheus::Registry::new(), ["n"]), "n", "numbers").unwrap();
        let bounds = Bounds { bytes: ROOM, negative_millis: 1000 };
        let cache = FactCache::new(bounds, Numbers, Feed::new(), Arc::new(ManualClock::at(0)), metrics.clone());
        let load = async |numbers: std::ops::Range<u64>| {
            for number in numbers {
                let found = cache.load(key(number), number).await.unwrap().unwrap();
                assert_eq!(found.0, number);
            }
        };
        let counted = || {
            cache.measure();
            (metrics.entries.get(), metrics.evictions.get())
        };
        load(0..60).await;
        assert_eq!(counted(), (60, 0));
        // Read again, as after a change.
        load(0..60).await;
        assert_eq!(counted(), (60, 0));
        (0..20).for_each(|number| cache.forget(&key(number)));
        assert_eq!(counted(), (40, 0));
        load(100..200).await;
        assert_eq!(counted(), (100, 40));
        cache.forget_all();
        assert_eq!(counted(), (0, 40));
        load(300..420).await;
        assert_eq!(counted(), (100, 60));
    }
}
