//! Generations: what was read from the store is valid until something it depends on changes.
//!
//! 1. Before the store is queried, the generation of the key is taken. The cached result carries
//!    it ([`Stamped`]), in whichever cache it is kept.
//! 2. A change increments the generation of its key: after its commit, before it is acknowledged.
//! 3. A look-up accepts only entries with the key's current generation.
//!
//! A look-up after a change was acknowledged sees a generation that nobody had before the commit, so
//! what it accepts was read after the commit. The order in which other threads read, keep, pass on and
//! remove entries meanwhile does not matter: nothing has to be removed, and nothing can become newer than
//! it was when it was read.

use std::sync::atomic::Ordering;

use uuid::Uuid;

use super::model::AtomicU64;

const STRIPES: usize = 1024;

/// How often something that a key depends on has changed, as far as this node knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation(u64);

impl Generation {
    /// The generation of a thing that has not changed yet.
    pub const FIRST: Self = Self(0);

    /// The next generation.
    pub(crate) fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// The generation of what depends on both. Each only grows, so the sum changes when either does; and
    /// one that is taken during a change is no later than one that is taken afterwards.
    pub fn and(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }
}

/// The generation of one thing.
#[derive(Debug)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Starts at zero.
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Its current generation.
    pub fn current(&self) -> Generation {
        Generation(self.0.load(Ordering::SeqCst))
    }

    /// Records a change.
    pub fn advance(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Default for Counter {
    fn default() -> Self {
        Self::new()
    }
}

/// The generations of many keys. Striped by their hashes: two keys may share a counter, which costs a
/// load, never exactness.
pub struct Generations {
    stripes: Box<[Counter]>,
}

impl Generations {
    /// All start at zero.
    pub fn new() -> Self {
        Self { stripes: (0..STRIPES).map(|_| Counter::new()).collect() }
    }

    /// The current generation of keys with this hash.
    pub fn current(&self, head: u64) -> Generation {
        self.stripe(head).current()
    }

    /// Records a change of something with this hash.
    pub fn advance(&self, head: u64) {
        self.stripe(head).advance();
    }

    /// Records that anything may have changed.
    pub fn advance_all(&self) {
        self.stripes.iter().for_each(Counter::advance);
    }

    fn stripe(&self, head: u64) -> &Counter {
        let index = usize::try_from(head % STRIPES as u64).unwrap_or_default();
        #[expect(clippy::indexing_slicing, reason = "there are STRIPES stripes")]
        &self.stripes[index]
    }
}

impl Default for Generations {
    fn default() -> Self {
        Self::new()
    }
}

/// A value that was read, with the generation that its key had before the read.
#[derive(Debug, Clone)]
pub struct Stamped<V> {
    generation: Generation,
    value: V,
}

impl<V> Stamped<V> {
    /// Stamps a `value` that was read after `generation` was taken.
    pub fn new(generation: Generation, value: V) -> Self {
        Self { generation, value }
    }

    /// The value, if it is current in this generation.
    pub fn at(&self, generation: Generation) -> Option<&V> {
        (self.generation == generation).then_some(&self.value)
    }

    /// The value, current or not: for properties that do not depend on the generation, such as its size.
    pub(crate) fn unchecked(&self) -> &V {
        &self.value
    }

    /// The value, if it is current in the generation that the function returns for it.
    pub fn at_its(&self, generation: impl FnOnce(&V) -> Generation) -> Option<&V> {
        self.at(generation(&self.value))
    }
}

/// A hash of an id. Clients of the Admin API may choose ids, so it uses both halves, and every bit of the
/// hash depends on them: shards are picked by the low bits, segments of a cache by the high ones.
pub fn head(id: Uuid) -> u64 {
    let (high, low) = id.as_u64_pair();
    let product = (high ^ low.rotate_left(17)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    product ^ (product >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_read_before_a_change_is_stale_after_it() {
        let generations = Generations::new();
        let kept = Stamped::new(generations.current(7), "read");
        assert_eq!(kept.at(generations.current(7)), Some(&"read"));
        generations.advance(8);
        assert_eq!(kept.at_its(|_| generations.current(7)), Some(&"read"));
        generations.advance(7);
        assert_eq!(kept.at(generations.current(7)), None);
        let kept = Stamped::new(generations.current(7), "read");
        generations.advance_all();
        assert_eq!(kept.at_its(|_| generations.current(7)), None);
    }

    #[test]
    fn a_value_that_depends_on_two_things_ends_with_either() {
        let (one, other) = (Counter::new(), Counter::new());
        let both = || one.current().and(other.current());
        for change in [&one, &other] {
            let before = both();
            change.advance();
            assert_ne!(before, both());
        }
    }
}
