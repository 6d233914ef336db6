//! Objects that all who use them share: found by id for as long as anybody does, and marked when they
//! no longer tell the truth.
//!
//! Unlike what is kept in a cache, an object outlives its place: a token that was looked up long ago
//! refers to it. So an object is not stamped but marked, and whoever holds one checks the mark on every
//! use. Invariant: when [`InUse::end`] has returned, every object of that id that was read before is
//! marked, or will be when its reader comes to add it. This is one lock: under it a change moves
//! the generation and marks what it finds, and under it a reader adds what it has read, if the generation
//! still is the one of its [`Ticket`]. Only a marked object ever gives up its place while it is used.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};

use uuid::Uuid;

use crate::generation::{Generation, head};
use crate::sync::{AtomicBool, Mutex, MutexGuard};

const SHARDS: usize = if cfg!(test) { 4 } else { 64 };

/// Whether an object still tells the truth. Once it does not, it never does again.
#[derive(Debug)]
pub(crate) struct Mark(AtomicBool);

impl Mark {
    pub(crate) fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn set(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Something that can stop being true.
pub(crate) trait Ends {
    /// Its own mark.
    fn mark(&self) -> &Mark;

    /// Whether it, with what it is made of, is still what the store says.
    fn is_current(&self) -> bool;
}

/// What to do when, meanwhile, another has added an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meanwhile {
    /// It is as good: share it.
    Share,
    /// It may be out of date, as this node does not hear of changes: end it.
    Replace,
}

/// Taken before the store is asked for an object, given back with it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    generation: Generation,
    meanwhile: Meanwhile,
}

impl Ticket {
    /// Tickets of one generation read the same.
    pub(crate) fn generation(self) -> Generation {
        self.generation
    }

    pub(crate) fn meanwhile(self) -> Meanwhile {
        self.meanwhile
    }
}

/// Objects in use, by id. Each of them is current, or marked, or of one that is.
pub(crate) struct InUse<T> {
    shards: Box<[Mutex<Shard<T>>]>,
}

struct Shard<T> {
    /// Moves with every change of an object of the shard.
    generation: Generation,
    objects: HashMap<Uuid, Weak<T>>,
}

impl<T: Ends> Shard<T> {
    fn current(&self, id: Uuid) -> Option<Arc<T>> {
        self.objects.get(&id).and_then(Weak::upgrade).filter(|object| object.is_current())
    }

    fn put(&mut self, id: Uuid, object: &Arc<T>) {
        if self.objects.len() == self.objects.capacity() {
            // Before the map grows, it forgets what nobody uses any more.
            self.objects.retain(|_, known| known.strong_count() > 0);
        }
        let previous = self.objects.insert(id, Arc::downgrade(object));
        if let Some(previous) = previous.and_then(|previous| previous.upgrade()) {
            previous.mark().set();
        }
    }
}

impl<T: Ends> InUse<T> {
    pub(crate) fn new() -> Self {
        let shard = || Mutex::new(Shard { generation: Generation::FIRST, objects: HashMap::new() });
        Self { shards: (0..SHARDS).map(|_| shard()).collect() }
    }

    /// The current object of this id.
    pub(crate) fn get(&self, id: Uuid) -> Option<Arc<T>> {
        self.lock(id).current(id)
    }

    /// To be taken before the store is asked.
    pub(crate) fn ticket(&self, id: Uuid, meanwhile: Meanwhile) -> Ticket {
        Ticket { generation: self.lock(id).generation, meanwhile }
    }

    /// The object that all share from now on: this one, or the one that another has added. If it has
    /// changed since the ticket was taken, this one, marked.
    pub(crate) fn add(&self, id: Uuid, ticket: Ticket, object: T) -> Arc<T> {
        let object = Arc::new(object);
        let mut shard = self.lock(id);
        if shard.generation != ticket.generation {
            object.mark().set();
            return object;
        }
        if ticket.meanwhile == Meanwhile::Share
            && let Some(known) = shard.current(id)
        {
            return known;
        }
        shard.put(id, &object);
        object
    }

    /// The current object of this id, or one that is made without asking the store.
    pub(crate) fn get_or_add(&self, id: Uuid, object: impl FnOnce() -> T) -> Arc<T> {
        let mut shard = self.lock(id);
        shard.current(id).unwrap_or_else(|| {
            let object = Arc::new(object());
            shard.put(id, &object);
            object
        })
    }

    /// What the store says of this id has changed.
    pub(crate) fn end(&self, id: Uuid) {
        let mut shard = self.lock(id);
        shard.generation = shard.generation.next();
        if let Some(known) = shard.objects.remove(&id).and_then(|known| known.upgrade()) {
            known.mark().set();
        }
    }

    /// What the store says of anything may have changed.
    pub(crate) fn end_all(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.generation = shard.generation.next();
            for known in shard.objects.drain().filter_map(|(_, known)| known.upgrade()) {
                known.mark().set();
            }
        }
    }

    fn lock(&self, id: Uuid) -> MutexGuard<'_, Shard<T>> {
        let index = usize::try_from(head(id) % SHARDS as u64).unwrap_or_default();
        #[expect(clippy::indexing_slicing, reason = "there are SHARDS shards")]
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Uuid = Uuid::from_u128(7);

    struct Object(u32, Mark);

    impl Object {
        fn new(read: u32) -> Self {
            Self(read, Mark::new())
        }
    }

    impl Ends for Object {
        fn mark(&self) -> &Mark {
            &self.1
        }

        fn is_current(&self) -> bool {
            !self.1.is_set()
        }
    }

    #[test]
    fn an_object_is_shared_until_it_ends() {
        let objects = InUse::new();
        let ticket = objects.ticket(ID, Meanwhile::Share);
        let first = objects.add(ID, ticket, Object::new(1));
        assert!(Arc::ptr_eq(&first, &objects.add(ID, ticket, Object::new(2))));
        assert!(Arc::ptr_eq(&first, &objects.get(ID).unwrap()));
        objects.end(ID);
        assert!(!first.is_current() && objects.get(ID).is_none());
    }

    #[test]
    fn what_was_read_before_a_change_is_given_to_nobody_after_it() {
        let objects = InUse::new();
        let old = objects.ticket(ID, Meanwhile::Share);
        objects.end(ID);
        let new = objects.ticket(ID, Meanwhile::Share);
        let late = objects.add(ID, old, Object::new(1));
        assert!(!late.is_current(), "its reader is told");
        let read = objects.add(ID, new, Object::new(2));
        assert_eq!((read.0, objects.get(ID).unwrap().0), (2, 2));
        assert!(!objects.add(ID, old, Object::new(1)).is_current());
        assert!(Arc::ptr_eq(&read, &objects.get(ID).unwrap()), "and does not end what was read later");
        objects.end_all();
        assert!(!objects.add(ID, new, Object::new(2)).is_current());
    }

    #[test]
    fn what_gives_up_its_place_is_marked() {
        let objects = InUse::new();
        let first = objects.add(ID, objects.ticket(ID, Meanwhile::Share), Object::new(1));
        let second = objects.add(ID, objects.ticket(ID, Meanwhile::Replace), Object::new(2));
        assert_eq!((first.is_current(), second.is_current()), (false, true));
    }
}
