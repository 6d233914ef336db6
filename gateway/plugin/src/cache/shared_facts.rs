//! Facts that many others refer to: found by id while they are in use, and invalidated in place.
//!
//! Unlike a cache entry, such a fact outlives its place: a token that was looked up long ago refers
//! to its consumer. So it is not stamped with a generation but carries an [`Invalidation`], which its
//! holders check on every use. Invariant: when [`SharedFacts::invalidate`] has returned, every fact of that
//! id that was read before is invalid, or will be when its reader adds it. One lock ensures this: under it
//! a change increments the generation and invalidates what it finds, and under it a reader adds what it has
//! read, if the generation is still that of its [`Ticket`]. Only an invalid fact ever gives up its place while
//! it is in use.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};

use uuid::Uuid;

use super::generation::{Generation, head};
use super::model::{AtomicBool, Mutex, MutexGuard};

const SHARDS: usize = 64;

/// Whether a fact is invalid. Once it is, it stays so.
#[derive(Debug)]
pub struct Invalidation(AtomicBool);

impl Invalidation {
    /// The state of a valid fact.
    pub fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Whether the fact is invalid.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn set(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Default for Invalidation {
    fn default() -> Self {
        Self::new()
    }
}

/// A fact that others refer to.
pub trait SharedFact {
    /// Its own invalidation.
    fn invalidation(&self) -> &Invalidation;

    /// Whether it and the facts it refers to are still current.
    fn is_current(&self) -> bool {
        !self.invalidation().is_set()
    }
}

/// What to do with a fact of the same id that another thread has added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnConflict {
    /// It is equally good: use it.
    Share,
    /// It may be stale, since this node does not receive changes: invalidate it.
    Replace,
}

/// Taken before the store is queried for a fact, returned with the fact.
#[derive(Debug, Clone, Copy)]
pub struct Ticket {
    generation: Generation,
    on_conflict: OnConflict,
}

impl Ticket {
    /// Look-ups with tickets of one generation may share one read.
    pub fn generation(self) -> Generation {
        self.generation
    }

    /// The id it was taken for.
    pub fn on_conflict(self) -> OnConflict {
        self.on_conflict
    }
}

/// Facts in use, by id.
pub struct SharedFacts<T> {
    shards: Box<[Mutex<Shard<T>>]>,
}

struct Shard<T> {
    /// Incremented with every change of a fact in the shard.
    generation: Generation,
    facts: HashMap<Uuid, Weak<T>>,
}

impl<T: SharedFact> Shard<T> {
    fn current(&self, id: Uuid) -> Option<Arc<T>> {
        self.facts.get(&id).and_then(Weak::upgrade).filter(|fact| fact.is_current())
    }

    fn put(&mut self, id: Uuid, fact: &Arc<T>) {
        if self.facts.len() == self.facts.capacity() {
            // Before the map grows, it drops facts that are no longer used.
            self.facts.retain(|_, known| known.strong_count() > 0);
        }
        let previous = self.facts.insert(id, Arc::downgrade(fact));
        if let Some(previous) = previous.and_then(|previous| previous.upgrade()) {
            previous.invalidation().set();
        }
    }
}

impl<T: SharedFact> SharedFacts<T> {
    /// Creates an empty map.
    pub fn new() -> Self {
        let shard = || Mutex::new(Shard { generation: Generation::FIRST, facts: HashMap::new() });
        Self { shards: (0..SHARDS).map(|_| shard()).collect() }
    }

    /// The current fact of this id.
    pub fn get(&self, id: Uuid) -> Option<Arc<T>> {
        self.lock(id).current(id)
    }

    /// Takes a ticket; call this before querying the store.
    pub fn ticket(&self, id: Uuid, on_conflict: OnConflict) -> Ticket {
        Ticket { generation: self.lock(id).generation, on_conflict }
    }

    /// Adds a fact and returns the one that all share from now on: this one, or the one that another thread has
    /// added. If it has changed since the ticket was taken, returns this one, invalid.
    pub fn add(&self, id: Uuid, ticket: Ticket, fact: T) -> Arc<T> {
        let fact = Arc::new(fact);
        let mut shard = self.lock(id);
        if shard.generation != ticket.generation {
            fact.invalidation().set();
            return fact;
        }
        if ticket.on_conflict == OnConflict::Share
            && let Some(known) = shard.current(id)
        {
            return known;
        }
        shard.put(id, &fact);
        fact
    }

    /// The current fact of this id, or one that is created without querying the store.
    pub fn get_or_add(&self, id: Uuid, fact: impl FnOnce() -> T) -> Arc<T> {
        let mut shard = self.lock(id);
        shard.current(id).unwrap_or_else(|| {
            let fact = Arc::new(fact());
            shard.put(id, &fact);
            fact
        })
    }

    /// Records that this id has changed in the store.
    pub fn invalidate(&self, id: Uuid) {
        let mut shard = self.lock(id);
        shard.generation = shard.generation.next();
        if let Some(known) = shard.facts.remove(&id).and_then(|known| known.upgrade()) {
            known.invalidation().set();
        }
    }

    /// Records that any id may have changed in the store.
    pub fn invalidate_all(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.generation = shard.generation.next();
            for known in shard.facts.drain().filter_map(|(_, known)| known.upgrade()) {
                known.invalidation().set();
            }
        }
    }

    fn lock(&self, id: Uuid) -> MutexGuard<'_, Shard<T>> {
        let index = usize::try_from(head(id) % SHARDS as u64).unwrap_or_default();
        #[expect(clippy::indexing_slicing, reason = "there are SHARDS shards")]
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: SharedFact> Default for SharedFacts<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Uuid = Uuid::from_u128(7);

    struct Fact(u32, Invalidation);

    impl Fact {
        fn new(read: u32) -> Self {
            Self(read, Invalidation::new())
        }
    }

    impl SharedFact for Fact {
        fn invalidation(&self) -> &Invalidation {
            &self.1
        }
    }

    #[test]
    fn a_fact_is_shared_until_it_is_invalidated() {
        let facts = SharedFacts::new();
        let ticket = facts.ticket(ID, OnConflict::Share);
        let first = facts.add(ID, ticket, Fact::new(1));
        assert!(Arc::ptr_eq(&first, &facts.add(ID, ticket, Fact::new(2))));
        assert!(Arc::ptr_eq(&first, &facts.get(ID).unwrap()));
        facts.invalidate(ID);
        assert!(!first.is_current() && facts.get(ID).is_none());
    }

    #[test]
    fn a_fact_read_before_a_change_is_returned_to_nobody_after_it() {
        let facts = SharedFacts::new();
        let old = facts.ticket(ID, OnConflict::Share);
        facts.invalidate(ID);
        let new = facts.ticket(ID, OnConflict::Share);
        let late = facts.add(ID, old, Fact::new(1));
        assert!(!late.is_current(), "its reader sees that it is invalid");
        let read = facts.add(ID, new, Fact::new(2));
        assert_eq!((read.0, facts.get(ID).unwrap().0), (2, 2));
        assert!(!facts.add(ID, old, Fact::new(1)).is_current());
        assert!(Arc::ptr_eq(&read, &facts.get(ID).unwrap()), "and does not replace what was read later");
        facts.invalidate_all();
        assert!(!facts.add(ID, new, Fact::new(2)).is_current());
    }

    #[test]
    fn a_fact_that_gives_up_its_place_is_invalid() {
        let facts = SharedFacts::new();
        let first = facts.add(ID, facts.ticket(ID, OnConflict::Share), Fact::new(1));
        let second = facts.add(ID, facts.ticket(ID, OnConflict::Replace), Fact::new(2));
        assert_eq!((first.is_current(), second.is_current()), (false, true));
    }
}
