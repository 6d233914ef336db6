//! Thread-local caches: the facts that a thread has just seen, in front of the cache that all threads share.
//!
//! Invariant: this cache is as exact as the shared one. An entry carries the generation that it has there,
//! the one under which it was read from the store, so the next look-up of every thread sees an acknowledged
//! change. Nothing has to be removed for that.
//!
//! Bounded: [`PLACES`] entries per thread. A place goes to another key only if its own key was not requested
//! since another last competed for it, so frequently used keys stay.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::LocalKey;

use super::fact::{CacheKey, Fact};
use super::generation::{Generation, Stamped};

/// A power of two. A place is 64 bytes if the key has 32 bytes and the fact is a pointer, so a thread's cache
/// takes a mebibyte. With Zipf-distributed requests for 100,000 keys, three of four look-ups end here.
const PLACES: usize = 1 << 14;

/// After this number of hits the shared cache is queried anyway, so that its eviction policy sees the key.
const HITS_BETWEEN: u32 = 32;

/// A fact that is cached per thread. Implemented by [`thread_cache!`](crate::thread_cache).
pub trait ThreadCached: Fact {
    /// Calls `then` with this thread's cache.
    fn with_thread_cache<T>(then: impl FnOnce(&mut ThreadCache<Self>) -> T) -> T;
}

/// Gives a type of facts its thread-local caches.
#[macro_export]
macro_rules! thread_cache {
    ($fact:ty) => {
        impl $crate::cache::ThreadCached for $fact {
            fn with_thread_cache<T>(then: impl FnOnce(&mut $crate::cache::ThreadCache<Self>) -> T) -> T {
                ::std::thread_local! {
                    static CACHE: ::std::cell::RefCell<$crate::cache::PerThread<$fact>> =
                        const { ::std::cell::RefCell::new($crate::cache::PerThread::new()) };
                }
                $crate::cache::PerThread::with(&CACHE, then)
            }
        }
    };
}

/// A cache line if the key has 32 bytes and the fact is a pointer.
#[repr(align(64))]
struct Entry<F: Fact> {
    key: F::Key,
    /// The cache it belongs to.
    cache: CacheId,
    fact: Stamped<F>,
    recent: Recent,
}

/// Whether the key was requested since another last competed for its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recent {
    Used,
    Unused,
}

/// The cache of one thread.
pub struct ThreadCache<F: Fact> {
    /// Created when the first fact arrives.
    places: Vec<Option<Entry<F>>>,
    hits: u32,
}

impl<F: Fact> ThreadCache<F> {
    const fn new() -> Self {
        Self { places: Vec::new(), hits: 0 }
    }
}

/// The caches of one OS thread: one, unless a test's scheduler runs several of its own threads on it
/// ([`super::model`]).
#[cfg(not(debug_assertions))]
pub struct PerThread<F: Fact>(ThreadCache<F>);

#[cfg(not(debug_assertions))]
impl<F: Fact> PerThread<F> {
    /// Creates an empty cache.
    #[expect(clippy::new_without_default, reason = "only the macro creates it")]
    pub const fn new() -> Self {
        Self(ThreadCache::new())
    }

    /// Calls `then` with this thread's cache.
    pub fn with<T>(key: &'static LocalKey<RefCell<Self>>, then: impl FnOnce(&mut ThreadCache<F>) -> T) -> T {
        key.with_borrow_mut(|caches| then(&mut caches.0))
    }
}

/// The caches of one OS thread: one, unless a test's scheduler runs several of its own threads on it
/// ([`super::model`]).
#[cfg(debug_assertions)]
pub struct PerThread<F: Fact>(std::collections::BTreeMap<Option<usize>, std::rc::Rc<RefCell<ThreadCache<F>>>>);

#[cfg(debug_assertions)]
impl<F: Fact> PerThread<F> {
    /// Creates an empty cache.
    #[expect(clippy::new_without_default, reason = "only the macro creates it")]
    pub const fn new() -> Self {
        Self(std::collections::BTreeMap::new())
    }

    /// Calls `then` with this thread's cache.
    pub fn with<T>(key: &'static LocalKey<RefCell<Self>>, then: impl FnOnce(&mut ThreadCache<F>) -> T) -> T {
        let new = || std::rc::Rc::new(RefCell::new(ThreadCache::new()));
        let cache = key
            .with_borrow_mut(|caches| std::rc::Rc::clone(caches.0.entry(super::model::thread()).or_insert_with(new)));
        then(&mut cache.borrow_mut())
    }
}

/// Distinguishes the caches of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CacheId(u64);

impl CacheId {
    /// Returns a new id each time.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

fn place(key: &impl CacheKey) -> usize {
    // Other bits than those that select stripes of generations.
    usize::try_from(key.head() >> 32).unwrap_or_default() % PLACES
}

/// Calls `then` with a key's fact if this thread has just seen it and it is current in this generation.
/// `then` must not use the same thread's cache itself.
pub(crate) fn find<F: ThreadCached, T>(
    cache: CacheId,
    key: &F::Key,
    generation: Generation,
    then: impl FnOnce(&F) -> T,
) -> Option<T> {
    F::with_thread_cache(|thread| {
        let entry = thread.places.get_mut(place(key))?.as_mut()?;
        if entry.key != *key || entry.cache != cache {
            return None;
        }
        let fact = entry.fact.at(generation)?;
        entry.recent = Recent::Used;
        thread.hits = thread.hits.wrapping_add(1);
        if thread.hits.is_multiple_of(HITS_BETWEEN) {
            return None;
        }
        Some(then(fact))
    })
}

/// Keeps a key's entry of the shared cache, unless its place is in use.
pub(crate) fn keep<F: ThreadCached>(cache: CacheId, key: F::Key, fact: Stamped<F>) {
    F::with_thread_cache(|thread| {
        if thread.places.is_empty() {
            thread.places = (0..PLACES).map(|_| None).collect();
        }
        let Some(place) = thread.places.get_mut(place(&key)) else { return };
        match place {
            // Stale and unused entries make room.
            Some(other) if other.key != key && other.cache == cache && other.recent == Recent::Used => {
                other.recent = Recent::Unused;
            }
            _ => *place = Some(Entry { key, cache, fact, recent: Recent::Unused }),
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Counter;

    #[derive(Clone)]
    struct Number(Box<i64>);

    impl Fact for Number {
        type Key = [u64; 4];

        fn is_current(&self) -> bool {
            true
        }

        fn weight(&self) -> u32 {
            1
        }
    }

    crate::thread_cache!(Number);

    impl CacheKey for [u64; 4] {
        fn head(&self) -> u64 {
            self[0]
        }
    }

    fn key(number: u64) -> [u64; 4] {
        [number << 32, number, 0, 0]
    }

    fn keep(cache: CacheId, key: [u64; 4], generation: Generation, number: i64) {
        super::keep(cache, key, Stamped::new(generation, Number(Box::new(number))));
    }

    /// Two consecutive generations.
    fn generations() -> (Generation, Generation) {
        let counter = Counter::new();
        let first = counter.current();
        counter.advance();
        (first, counter.current())
    }

    fn found(cache: CacheId, key: &[u64; 4], generation: Generation) -> Option<i64> {
        find(cache, key, generation, |number: &Number| *number.0)
    }

    #[test]
    fn an_entry_is_found_while_its_generation_is_current() {
        let (cache, one, (first, second)) = (CacheId::new(), key(1), generations());
        assert_eq!(found(cache, &one, first), None);
        keep(cache, one, first, 1);
        assert_eq!(found(cache, &one, first), Some(1));
        assert_eq!(found(cache, &one, second), None);
        assert_eq!(found(CacheId::new(), &one, first), None);
        assert_eq!(found(cache, &key(2), first), None);
    }

    #[test]
    fn a_place_goes_to_another_key_when_its_own_is_not_requested() {
        let (cache, (now, _)) = (CacheId::new(), generations());
        let (first, second) = (key(1), key(1 + PLACES as u64));
        assert_eq!(place(&first), place(&second));
        keep(cache, first, now, 1);
        keep(cache, second, now, 2);
        assert_eq!((found(cache, &first, now), found(cache, &second, now)), (None, Some(2)));
        // In use: it stays while it is requested between two attempts to take its place.
        for _ in 0..3 {
            assert_eq!(found(cache, &second, now), Some(2));
            keep(cache, first, now, 1);
            assert_eq!(found(cache, &first, now), None);
        }
        keep(cache, first, now, 1);
        keep(cache, first, now, 1);
        assert_eq!((found(cache, &first, now), found(cache, &second, now)), (Some(1), None));
    }

    #[test]
    fn an_entry_is_a_cache_line() {
        assert_eq!(size_of::<Option<Entry<Number>>>(), 64);
    }

    #[test]
    fn the_shared_cache_is_queried_now_and_then() {
        let (cache, one, (now, _)) = (CacheId::new(), key(1), generations());
        keep(cache, one, now, 1);
        let asked = (0..10 * HITS_BETWEEN).filter(|_| found(cache, &one, now).is_none()).count();
        assert_eq!(asked, 10);
    }

    #[test]
    fn another_thread_does_not_see_it() {
        let (cache, one, (now, _)) = (CacheId::new(), key(1), generations());
        keep(cache, one, now, 1);
        assert_eq!(std::thread::spawn(move || found(cache, &one, now)).join().unwrap(), None);
    }
}
