//! How many facts a full cache has given up.
//!
//! moka tells a listener of each, but locks the key of every insertion then, which costs about a third of an
//! insertion. So they are reckoned from time to time: what was inserted, is not there, and was not removed, was evicted. A
//! change at the same moment may be counted the next time.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::IntCounter;

/// See the module.
pub(crate) struct Evictions {
    inserted: AtomicU64,
    removed: AtomicU64,
    counted: IntCounter,
}

impl Evictions {
    /// None so far.
    pub(crate) fn new(counted: IntCounter) -> Self {
        Self { inserted: AtomicU64::new(0), removed: AtomicU64::new(0), counted }
    }

    /// There is another entry.
    pub(crate) fn inserted(&self) {
        self.inserted.fetch_add(1, Ordering::Relaxed);
    }

    /// So many entries were removed on purpose.
    pub(crate) fn removed(&self, count: u64) {
        self.removed.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts what was evicted since the last time. `entries` counts the entries, which are returned.
    pub(crate) fn count(&self, entries: impl FnOnce() -> u64) -> u64 {
        // Before: what is inserted meanwhile is among the entries, or does not matter yet.
        let inserted = self.inserted.load(Ordering::Relaxed);
        let entries = entries();
        let gone = inserted.saturating_sub(entries);
        let evicted = gone.saturating_sub(self.removed.load(Ordering::Relaxed));
        self.counted.inc_by(evicted.saturating_sub(self.counted.get()));
        entries
    }
}
