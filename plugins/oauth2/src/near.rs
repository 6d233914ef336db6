//! The tokens that a thread has just seen, in front of the cache that all threads share.
//!
//! Invariant: what is here is as exact as the shared cache. An entry bears the generation that it has
//! there, the one under which it was read from the store ([`crate::generation`]), so a change that was
//! answered is seen by the next look-up of every thread. Nothing has to be removed for that.
//!
//! Bounded: [`PLACES`] entries a thread. A place goes to another token only when its own has not been
//! asked for since another last wanted it, so that what is asked for often stays.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::generation::{Generation, Stamped};
use crate::token::Digest;
use crate::token_facts::Facts;

/// A power of two; of 64 bytes each, so that a thread's are a mebibyte. By Zipf's law over 100,000
/// tokens, three of four look-ups end here.
const PLACES: usize = if cfg!(test) { 1 << 6 } else { 1 << 14 };

/// Every so many hits, the shared cache is asked all the same: it keeps what is asked for.
const HITS_BETWEEN: u32 = 32;

/// A cache line.
#[repr(align(64))]
struct Entry {
    digest: Digest,
    /// Which cache it is from.
    cache: CacheId,
    facts: Stamped<Facts>,
    use_since: Use,
}

/// Whether a token was asked for since another last wanted its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Some,
    None,
}

#[derive(Default)]
struct Near {
    /// Made when the first token comes.
    places: Vec<Option<Entry>>,
    hits: u32,
}

#[cfg(not(test))]
fn of_this_thread<T>(then: impl FnOnce(&mut Near) -> T) -> T {
    thread_local! {
        static NEAR: RefCell<Near> = const { RefCell::new(Near { places: Vec::new(), hits: 0 }) };
    }
    NEAR.with_borrow_mut(then)
}

/// Threads of the model are not the system's (`sync.rs`).
#[cfg(test)]
fn of_this_thread<T>(then: impl FnOnce(&mut Near) -> T) -> T {
    use std::collections::HashMap;
    use std::rc::Rc;
    thread_local! {
        static NEAR: RefCell<HashMap<Option<usize>, Rc<RefCell<Near>>>> = RefCell::default();
    }
    let near = NEAR.with_borrow_mut(|near| Rc::clone(near.entry(crate::sync::thread()).or_default()));
    then(&mut near.borrow_mut())
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

fn place(digest: &Digest) -> usize {
    // Other bits than those that pick stripes of generations.
    usize::try_from(digest.head() >> 32).unwrap_or_default() % PLACES
}

/// Calls `then` with the facts of a token that this thread has just seen, if they count in this
/// generation. `then` must not look for a token itself.
pub(crate) fn find<T>(
    cache: CacheId,
    digest: &Digest,
    generation: Generation,
    then: impl FnOnce(&Facts) -> T,
) -> Option<T> {
    of_this_thread(|near| {
        let entry = near.places.get_mut(place(digest))?.as_mut()?;
        if entry.digest != *digest || entry.cache != cache {
            return None;
        }
        let facts = entry.facts.at(generation)?;
        entry.use_since = Use::Some;
        near.hits = near.hits.wrapping_add(1);
        if near.hits.is_multiple_of(HITS_BETWEEN) {
            return None;
        }
        Some(then(facts))
    })
}

/// Keeps what the shared cache has of a token, unless its place is in use.
pub(crate) fn keep(cache: CacheId, digest: Digest, facts: Stamped<Facts>) {
    of_this_thread(|near| {
        if near.places.is_empty() {
            near.places = (0..PLACES).map(|_| None).collect();
        }
        let Some(place) = near.places.get_mut(place(&digest)) else { return };
        match place {
            // What no longer counts, or is not asked for, makes room.
            Some(other) if other.digest != digest && other.cache == cache && other.use_since == Use::Some => {
                other.use_since = Use::None;
            }
            _ => *place = Some(Entry { digest, cache, facts, use_since: Use::None }),
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::sample::holder;
    use crate::generation::Counter;
    use crate::token_facts::Terms;

    fn keep(cache: CacheId, digest: Digest, generation: Generation, last_second: i64) {
        let holder = holder("client", "bob");
        let facts = Facts::new(Terms { holder, service: None, valid_until: last_second, scope: None }, None);
        super::keep(cache, digest, Stamped::new(generation, facts));
    }

    /// Two generations, one after the other.
    fn generations() -> (Generation, Generation) {
        let counter = Counter::new();
        let first = counter.current();
        counter.advance();
        (first, counter.current())
    }

    fn found(cache: CacheId, digest: &Digest, generation: Generation) -> Option<i64> {
        find(cache, digest, generation, |facts| facts.terms().valid_until)
    }

    #[test]
    fn what_was_kept_is_found_while_its_generation_lasts() {
        let (cache, digest, (first, second)) = (CacheId::new(), Digest::of("a"), generations());
        assert_eq!(found(cache, &digest, first), None);
        keep(cache, digest, first, 1);
        assert_eq!(found(cache, &digest, first), Some(1));
        assert_eq!(found(cache, &digest, second), None);
        assert_eq!(found(CacheId::new(), &digest, first), None);
        assert_eq!(found(cache, &Digest::of("b"), first), None);
    }

    #[test]
    fn a_place_goes_to_another_token_when_its_own_is_not_asked_for() {
        let (cache, (now, _)) = (CacheId::new(), generations());
        let mut places = std::collections::HashMap::new();
        let pair = (0_u64..).map(|number| Digest::of(&number.to_string())).find_map(|digest| {
            let other = places.insert(place(&digest), digest)?;
            Some((other, digest))
        });
        let (first, second) = pair.unwrap();
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
        assert_eq!(size_of::<Option<Entry>>(), 64);
    }

    #[test]
    fn the_shared_cache_is_asked_now_and_then() {
        let (cache, digest, (now, _)) = (CacheId::new(), Digest::of("a"), generations());
        keep(cache, digest, now, 1);
        let asked = (0..10 * HITS_BETWEEN).filter(|_| found(cache, &digest, now).is_none()).count();
        assert_eq!(asked, 10);
    }

    #[test]
    fn another_thread_has_not_seen_it() {
        let (cache, digest, (now, _)) = (CacheId::new(), Digest::of("a"), generations());
        keep(cache, digest, now, 1);
        assert_eq!(std::thread::spawn(move || found(cache, &digest, now)).join().unwrap(), None);
    }
}
