//! A write of this node, from its beginning until its outcome is known and announced.
//!
//! The outcome is unknown from the moment at which the database is told to commit until it responds:
//! a connection that breaks in between leaves open whether the write took place. Whoever executes a
//! write says when that time begins ([`Write::is_sent`]) and, when the database refuses, that it is
//! over ([`Write::is_refused`]). A write that ends within it, whichever way it ends, puts the feed
//! in doubt. One that records no changes cannot make a cache wrong, whatever became of it.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use tollgate_core::change::Change;
use tollgate_core::error::StoreError;
use tollgate_core::random::{Random, SystemRandom};
use uuid::Uuid;

use crate::feed::Feed;

/// With more than this many announced writes unread, the rows of further ones are acted on again
/// when they are read, which is harmless.
const MOST: usize = 100_000;

/// Nothing of it is in the database.
const NOTHING: u8 = 0;
/// It may be committed.
const SENT: u8 = 1;
/// It is committed, and the listeners have not all acted.
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

    /// The writes announced so far. Their rows are in every reading that begins from now on, or
    /// were in one before.
    pub(crate) fn take_announced(&self) -> std::collections::HashSet<Uuid> {
        std::mem::take(&mut *self.lock_announced())
    }

    /// Whether a write was announced since they were last taken.
    pub(crate) fn is_announced(&self, write: Uuid) -> bool {
        self.lock_announced().contains(&write)
    }

    fn lock_announced(&self) -> std::sync::MutexGuard<'_, std::collections::HashSet<Uuid>> {
        self.inner.announced.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Write {
    /// What the write's rows in `changes` have in the column `origin`, by which the feed tells
    /// whether they were announced. Who asks is going to record changes.
    pub(crate) fn origin(&self) -> Uuid {
        self.records_changes.store(true, Ordering::Release);
        self.id
    }

    /// Whether there may be rows of it in `changes`.
    pub(crate) fn records_changes(&self) -> bool {
        self.records_changes.load(Ordering::Acquire)
    }

    /// What commits it is about to be sent.
    pub(crate) fn is_going_to_commit(&self) {
        if self.records_changes() {
            self.is_sent();
        }
    }

    /// From now on the write may take place.
    pub(crate) fn is_sent(&self) {
        self.state.store(SENT, Ordering::Release);
    }

    /// The database has said that the write did not take place.
    pub(crate) fn is_refused(&self) {
        self.state.store(NOTHING, Ordering::Release);
    }

    /// Runs the listeners, in order, on what the write has committed, and tells the other nodes to
    /// look. Returns when all listeners have acted. An error: not all have; the changes are offered
    /// again until they do. Changes to entities are completed with the entities' documents, so
    /// [`Change::document`] need not be given.
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
        self.feed.inner.written.notify_one();
        let acted = self.feed.receive(changes).await;
        self.state.store(NOTHING, Ordering::Release);
        acted
    }

    /// The write has failed. When it may have taken place all the same, nothing that this node
    /// knows is trusted from now on, and this waits, within bounds, until the feed has found out.
    pub(crate) async fn find_out(&self) {
        if self.state.swap(NOTHING, Ordering::AcqRel) == SENT {
            self.feed.doubt();
            self.feed.resolved().await;
        }
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        match *self.state.get_mut() {
            SENT => self.feed.doubt(),
            // Its rows are skipped when they are read, so they must not count as acted on.
            COMMITTED => {
                self.feed.pending().require_reset();
                self.feed.doubt();
            }
            _ => {}
        }
    }
}
