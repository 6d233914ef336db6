//! How much of the primary's log a replica must have replayed before this node may read it.
//!
//! A look-up is cached under the generation that its key had before the read; a change advances the generation.
//! So a read may come from a replica only if the replica shows every change that advanced a generation before the
//! read began. For changes read by the feed, the primary's position is taken after they were read and before they
//! are applied. Of a write of this node only its announcement is known: until a reading that began after that has
//! taken a position, the primary is asked.
//!
//! Positions of different servers cannot be compared, so a position names its server. While the feed has no
//! position on the server that it reads, the primary is asked.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A position in the log of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Required {
    /// When the server was started: what `change/mark_server.sql` writes.
    pub(super) server: i64,
    pub(super) position: i64,
}

/// What replicas must have replayed.
#[derive(Debug, Default)]
pub(crate) struct Position {
    state: Mutex<State>,
    /// How many writes of this node were announced.
    announced: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    required: Option<Required>,
    /// How many of the announced writes the position includes.
    covered: u64,
}

impl Position {
    /// A write of this node is about to be announced.
    pub(crate) fn write_announced(&self) {
        self.announced.fetch_add(1, Ordering::SeqCst);
    }

    /// The number of announced writes, to be [covered](Self::cover) by a reading that begins now.
    pub(crate) fn announced(&self) -> u64 {
        self.announced.load(Ordering::SeqCst)
    }

    /// Whether a reading must take a position: there is none, or it is about to apply changes, or writes of this
    /// node wait for one.
    pub(crate) fn is_wanted(&self, announced: u64, finds_changes: bool) -> bool {
        let state = self.state();
        finds_changes || state.required.is_none() || state.covered < announced
    }

    /// Replicas must have replayed up to here, on this server.
    pub(crate) fn require(&self, server: i64, position: i64) {
        let mut state = self.state();
        let before = state.required.filter(|required| required.server == server);
        let position = before.map_or(position, |before| before.position.max(position));
        state.required = Some(Required { server, position });
    }

    /// The position includes these writes of this node.
    pub(crate) fn cover(&self, announced: u64) {
        let mut state = self.state();
        state.covered = state.covered.max(announced);
    }

    /// The feed reads another server: nothing is known of its log.
    pub(crate) fn lose(&self) {
        self.state().required = None;
    }

    /// What a replica must have replayed for a read that begins now. `None`: only the primary will do.
    pub(super) fn required(&self) -> Option<Required> {
        let state = self.state();
        let covered = state.covered >= self.announced();
        state.required.filter(|_| covered)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_are_read_only_from_the_position_of_everything_applied_here() {
        let position = Position::default();
        assert_eq!(position.required(), None, "before the first reading");
        assert!(position.is_wanted(0, false));
        position.require(1, 100);
        assert_eq!(position.required(), Some(Required { server: 1, position: 100 }));
        assert!(!position.is_wanted(0, false) && position.is_wanted(0, true));
        position.require(1, 90);
        assert_eq!(position.required(), Some(Required { server: 1, position: 100 }), "positions do not go back");
        position.lose();
        assert_eq!(position.required(), None);
        position.require(2, 50);
        assert_eq!(position.required(), Some(Required { server: 2, position: 50 }), "another server counts anew");
    }

    #[test]
    fn after_a_write_of_this_node_only_the_primary_will_do_until_a_later_reading_has_a_position() {
        let position = Position::default();
        position.require(1, 100);
        let under_way = position.announced();
        position.write_announced();
        position.require(1, 110);
        position.cover(under_way);
        assert_eq!(position.required(), None, "the reading began before the write was announced");
        let later = position.announced();
        assert!(position.is_wanted(later, false));
        position.require(1, 120);
        position.cover(later);
        assert_eq!(position.required(), Some(Required { server: 1, position: 120 }));
    }
}
