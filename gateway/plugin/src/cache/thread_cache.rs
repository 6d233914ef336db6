//! The facts that a thread has just seen, in front of the cache that all threads share.
//!
//! Invariant: what is here is as exact as the shared cache. An entry bears the generation that it has there,
//! the one under which it was read from the store, so a change that was answered is seen by the next look-up
//! of every thread. Nothing has to be removed for that.
//!
//! Bounded: [`PLACES`] entries a thread. A place goes to another key only when its own was not asked for since
//! another last wanted it, so that what is asked for often stays.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::LocalKey;

use super::fact::{CacheKey, Fact};
use super::generation::{Generation, Stamped};

/// A power of two; of 64 bytes each where the key has 32 bytes and the fact is a pointer, so that a thread's
/// are a mebibyte. By Zipf's law over 100,000 keys, three of four look-ups end here.
const PLACES: usize = 1 << 14;

/// Every so many hits, the shared cache is asked all the same: it keeps what is asked for.
const HITS_BETWEEN: u32 = 32;

/// A fact that threads cache each for itself. Implemented by [`thread_cache!`](crate::thread_cache).
pub trait ThreadCached: Fact {
    /// Hands over the cache of this thread.
    fn with_thread_cache<T>(then: impl FnOnce(&mut ThreadCache<Self>) -> T) -> T;
}

/// Gives a type of facts its caches, one for each thread.
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

/// A cache line, where the key has 32 bytes and the fact is a pointer.
#[repr(align(64))]
struct Entry<F: Fact> {
    key: F::Key,
    /// Which cache it is from.
    cache: CacheId,
    fact: Stamped<F>,
    recent: Recent,
}

/// Whether a key was asked for since another last wanted its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recent {
    Used,
    Unused,
}

/// The cache of one thread.
pub struct ThreadCache<F: Fact> {
    /// Made when the first fact comes.
    places: Vec<Option<Entry<F>>>,
    hits: u32,
}

impl<F: Fact> ThreadCache<F> {
    const fn new() -> Self {
        Self { places: Vec::new(), hits: 0 }
    }
}

/// The caches of one thread of the system: one, unless a test's scheduler runs several of its own on it
/// ([`super::model`]).
#[cfg(not(debug_assertions))]
pub struct PerThread<F: Fact>(ThreadCache<F>);

#[cfg(not(debug_assertions))]
impl<F: Fact> PerThread<F> {
    /// Empty.
    #[expect(clippy::new_without_default, reason = "made by the macro alone")]
    pub const fn new() -> Self {
        Self(ThreadCache::new())
    }

    /// Hands over the cache of this thread.
    pub fn with<T>(key: &'static LocalKey<RefCell<Self>>, then: impl FnOnce(&mut ThreadCache<F>) -> T) -> T {
        key.with_borrow_mut(|caches| then(&mut caches.0))
    }
}

/// The caches of one thread of the system: one, unless a test's scheduler runs several of its own on it
/// ([`super::model`]).
#[cfg(debug_assertions)]
pub struct PerThread<F: Fact>(std::collections::BTreeMap<Option<usize>, std::rc::Rc<RefCell<ThreadCache<F>>>>);

#[cfg(debug_assertions)]
impl<F: Fact> PerThread<F> {
    /// Empty.
    #[expect(clippy::new_without_default, reason = "made by the macro alone")]
    pub const fn new() -> Self {
        Self(std::collections::BTreeMap::new())
    }

    /// Hands over the cache of this thread.
    pub fn with<T>(key: &'static LocalKey<RefCell<Self>>, then: impl FnOnce(&mut ThreadCache<F>) -> T) -> T {
        let new = || std::rc::Rc::new(RefCell::new(ThreadCache::new()));
        let cache = key
            .with_borrow_mut(|caches| std::rc::Rc::clone(caches.0.entry(super::model::thread()).or_insert_with(new)));
        then(&mut cache.borrow_mut())
    }
}

/// Tells caches of one process apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CacheId(u64);

impl CacheId {
    /// Another one each time.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

fn place(key: &impl CacheKey) -> usize {
    // Other bits than those that pick stripes of generations.
    usize::try_from(key.head() >> 32).unwrap_or_default() % PLACES
}

/// Calls `then` with the fact of a key that this thread has just seen, if it counts in this generation.
/// `then` must not look into the same thread's cache itself.
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

/// Keeps what the shared cache has of a key, unless its place is in use.
pub(crate) fn keep<F: ThreadCached>(cache: CacheId, key: F::Key, fact: Stamped<F>) {
    F::with_thread_cache(|thread| {
        if thread.places.is_empty() {
            thread.places = (0..PLACES).map(|_| None).collect();
        }
        let Some(place) = thread.places.get_mut(place(&key)) else { return };
        match place {
            // What no longer counts, or is not asked for, makes room.
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

    /// Two generations, one after the other.
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
    fn what_was_kept_is_found_while_its_generation_lasts() {
        let (cache, one, (first, second)) = (CacheId::new(), key(1), generations());
        assert_eq!(found(cache, &one, first), None);
        keep(cache, one, first, 1);
        assert_eq!(found(cache, &one, first), Some(1));
        assert_eq!(found(cache, &one, second), None);
        assert_eq!(found(CacheId::new(), &one, first), None);
        assert_eq!(found(cache, &key(2), first), None);
    }

    #[test]
    fn a_place_goes_to_another_key_when_its_own_is_not_asked_for() {
        let (cache, (now, _)) = (CacheId::new(), generations());
        let (first, second) = (key(1), key(1 + PLACES as u64));
        assert_eq!(place(&first), place(&second));
        keep(cache, first, now, 1);
        keep(cache, second, now, 2);
        assert_eq!((found(cache, &first, now), found(cache, &second, now)), (None, Some(2)));
        // In use: it stays for as long as it is asked for between two wishes for its place.
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
    fn the_shared_cache_is_asked_now_and_then() {
        let (cache, one, (now, _)) = (CacheId::new(), key(1), generations());
        keep(cache, one, now, 1);
        let asked = (0..10 * HITS_BETWEEN).filter(|_| found(cache, &one, now).is_none()).count();
        assert_eq!(asked, 10);
    }

    #[test]
    fn another_thread_has_not_seen_it() {
        let (cache, one, (now, _)) = (CacheId::new(), key(1), generations());
        keep(cache, one, now, 1);
        assert_eq!(std::thread::spawn(move || found(cache, &one, now)).join().unwrap(), None);
    }
}
