//! A write of this node, from its start until its outcome is known and announced.
//!
//! The outcome is unknown from the moment the commit is sent to the database until it responds: if the
//! connection breaks in between, the write may or may not have taken place. The code that executes a write
//! marks the beginning of that period ([`Write::mark_sent`]) and, if the database refuses, its end
//! ([`Write::mark_refused`]). If a write ends during that period, in whatever way, its outcome is unknown to
//! the feed. A write that records no changes cannot make a cache stale, so its outcome does not matter.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use tollgate_core::change::Change;
use tollgate_core::error::StoreError;
use tollgate_core::random::{Random, SystemRandom};
use uuid::Uuid;

use crate::feed::Feed;

/// If more announced writes than this are unread, the rows of further ones are applied again when they are
/// read, which is harmless.
const MOST: usize = 100_000;

/// Nothing of the write is in the database.
const NOTHING: u8 = 0;
/// The write may be committed.
const SENT: u8 = 1;
/// The write is committed, but not all listeners have applied it.
const COMMITTED: u8 = 2;

/// A write of this node.
pub(crate) struct Write {
    feed: Feed,
    id: Uuid,
    records_changes: AtomicBool,
    state: AtomicU8,
}

impl Feed {
    /// Begins a write.
    pub(crate) fn begin(&self) -> Write {
        let (records_changes, state) = (AtomicBool::new(false), AtomicU8::new(NOTHING));
        Write { feed: self.clone(), id: SystemRandom.uuid(), records_changes, state }
    }

    /// Returns the writes announced so far and clears them. Their rows are in every reading that begins from
    /// now on, or were in an earlier one.
    pub(crate) fn take_announced(&self) -> std::collections::HashSet<Uuid> {
        std::mem::take(&mut *self.lock_announced())
    }

    /// Whether a write was announced since [`Feed::take_announced`].
    pub(crate) fn is_announced(&self, write: Uuid) -> bool {
        self.lock_announced().contains(&write)
    }

    fn lock_announced(&self) -> std::sync::MutexGuard<'_, std::collections::HashSet<Uuid>> {
        self.inner.announced.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Write {
    /// The value of the column `origin` in the write's rows in `changes`, by which the feed recognises
    /// announced writes. Calling this means that changes will be recorded.
    pub(crate) fn origin(&self) -> Uuid {
        self.records_changes.store(true, Ordering::Release);
        self.id
    }

    /// Whether `changes` may contain rows of this write.
    pub(crate) fn records_changes(&self) -> bool {
        self.records_changes.load(Ordering::Acquire)
    }

    /// Called before the commit is sent.
    pub(crate) fn before_commit(&self) {
        if self.records_changes() {
            self.mark_sent();
        }
    }

    /// The write may take place from now on.
    pub(crate) fn mark_sent(&self) {
        self.state.store(SENT, Ordering::Release);
    }

    /// The database has reported that the write did not take place.
    pub(crate) fn mark_refused(&self) {
        self.state.store(NOTHING, Ordering::Release);
    }

    /// Calls the listeners, in order, with the changes that the write committed, and notifies the other
    /// nodes. Returns when all listeners have applied them. An error means that not all have; the changes are
    /// retried until they succeed. Changes to entities are completed with the entities' documents, so
    /// [`Change::document`] need not be set.
    pub(crate) async fn announce(&self, changes: &[Change]) -> Result<(), StoreError> {
        if changes.is_empty() {
            self.state.store(NOTHING, Ordering::Release);
            return Ok(());
        }
        self.state.store(COMMITTED, Ordering::Release);
        {
            let mut announced = self.feed.lock_announced();
            if announced.len() < MOST {
                announced.insert(self.id);
            }
        }
        // Before caches are told, so that what is read afterwards includes this write.
        if let Some(replicas) = self.feed.replicas() {
            replicas.position().write_announced();
        }
        self.feed.inner.written.notify_one();
        let acted = self.feed.receive(changes).await;
        self.state.store(NOTHING, Ordering::Release);
        acted
    }

    /// The write has failed. If it may have taken place nevertheless, the node's caches are bypassed from now
    /// on, and this waits, up to a limit, until the feed knows the outcome.
    pub(crate) async fn resolve_outcome(&self) {
        if self.state.swap(NOTHING, Ordering::AcqRel) == SENT {
            self.feed.mark_outcome_unknown();
            self.feed.resolved().await;
        }
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        match *self.state.get_mut() {
            SENT => self.feed.mark_outcome_unknown(),
            // Its rows are skipped when they are read, so the changes must not count as applied.
            COMMITTED => {
                self.feed.pending().require_reset();
                self.feed.mark_outcome_unknown();
            }
            _ => {}
        }
    }
}
