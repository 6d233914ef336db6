//! Changes that listeners have not applied yet.

use std::time::Instant;

use tollgate_core::change::Change;

/// With more than this number, dropping everything is cheaper than applying each change.
const MOST: usize = 10_000;

/// A queue whose entries are removed only once they are applied.
#[derive(Default)]
pub(super) struct Pending {
    changes: Vec<Change>,
    /// How many changes were ever added, and up to which of them all are applied.
    pushed: u64,
    done: u64,
    reset: bool,
    failing_since: Option<Instant>,
}

/// The work to be done now.
pub(super) struct Batch {
    pub(super) changes: Vec<Change>,
    pub(super) count: usize,
    pub(super) upto: u64,
    /// Everything must be dropped, which makes the changes irrelevant.
    pub(super) reset: bool,
}

impl Pending {
    /// Adds changes and returns the ticket that covers them.
    pub(super) fn push(&mut self, changes: &[Change]) -> u64 {
        self.pushed += u64::try_from(changes.len()).unwrap_or(u64::MAX);
        if self.changes.len() + changes.len() > MOST {
            self.reset = true;
            self.changes.clear();
        } else {
            self.changes.extend_from_slice(changes);
        }
        self.pushed
    }

    /// Requests a reset and returns the ticket that covers it.
    pub(super) fn require_reset(&mut self) -> u64 {
        self.reset = true;
        self.pushed += 1;
        self.pushed
    }

    pub(super) fn is_done(&self, ticket: u64) -> bool {
        self.done >= ticket
    }

    /// The ticket of the last change, if any is not applied.
    pub(super) fn waiting(&self) -> Option<u64> {
        (self.done < self.pushed).then_some(self.pushed)
    }

    /// Everything that is pending. It stays in the queue until [`Pending::finished`].
    pub(super) fn batch(&self) -> Batch {
        let changes = if self.reset { Vec::new() } else { self.changes.clone() };
        Batch { changes, count: self.changes.len(), upto: self.pushed, reset: self.reset }
    }

    /// A batch was applied. Changes that arrived meanwhile stay.
    pub(super) fn finished(&mut self, upto: u64, count: usize) {
        self.done = upto;
        self.changes.drain(..count.min(self.changes.len()));
        if self.done == self.pushed {
            self.reset = false;
        }
        self.failing_since = None;
    }

    /// A batch could not be applied.
    pub(super) fn failed(&mut self) {
        self.failing_since.get_or_insert_with(Instant::now);
    }

    pub(super) fn failing_since(&self) -> Option<Instant> {
        self.failing_since
    }
}

#[cfg(test)]
mod tests {
    use tollgate_core::change::Operation;
    use uuid::Uuid;

    use super::*;

    fn changes(count: usize) -> Vec<Change> {
        let change = Change {
            kind: "routes".into(),
            operation: Operation::Created,
            id: Uuid::nil(),
            key: Vec::new(),
            document: None,
        };
        vec![change; count]
    }

    #[test]
    fn changes_that_arrive_meanwhile_are_not_done_with_the_batch() {
        let mut pending = Pending::default();
        let first = pending.push(&changes(2));
        let batch = pending.batch();
        let second = pending.push(&changes(3));
        pending.finished(batch.upto, batch.count);
        assert!(pending.is_done(first));
        assert!(!pending.is_done(second));
        assert_eq!(pending.batch().count, 3);
    }

    #[test]
    fn too_many_changes_become_a_reset() {
        let mut pending = Pending::default();
        pending.push(&changes(MOST));
        let ticket = pending.push(&changes(1));
        let batch = pending.batch();
        assert!(batch.reset);
        pending.finished(batch.upto, batch.count);
        assert!(pending.is_done(ticket));
        assert!(!pending.batch().reset);
        assert_eq!(pending.waiting(), None);
    }

    #[test]
    fn a_failed_batch_stays() {
        let mut pending = Pending::default();
        let ticket = pending.push(&changes(1));
        pending.failed();
        assert!(pending.failing_since().is_some());
        assert_eq!(pending.waiting(), Some(ticket));
        assert_eq!(pending.batch().count, 1);
    }
}
