//! How late the changes of other nodes take effect here: from their commit until every listener has applied them.
//!
//! Both ends are told by the database's clock, so that it does not matter what the nodes' clocks say. When a
//! transaction committed is not recorded; it lies between two times that are known: its change was written
//! before, and the previous reading, which did not see it, was before. The later of the two counts, so the lag
//! is never reported as shorter than it was. The end is the database's time in the response to the reading, plus
//! what has passed here since the reading was requested.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::metrics::Metrics;

/// More changes than this that wait for listeners are not measured.
const MOST: usize = 10_000;

/// Measures lags.
pub(super) struct Lag {
    metrics: Metrics,
    /// When changes were committed that a listener could not apply yet.
    waiting: Mutex<Vec<Instant>>,
}

/// The database's time, and the time here before it was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) here: Instant,
    /// In microseconds.
    pub(super) there: i64,
}

impl Asked {
    /// The time here at which a change was committed: at `written` or at the last reading that did not see it.
    pub(super) fn committed(self, written: i64, unseen: i64) -> Option<Instant> {
        let ago = self.there.saturating_sub(written.max(unseen));
        // A clock that was set back says that it is in the future.
        self.here.checked_sub(Duration::from_micros(u64::try_from(ago).unwrap_or(0)))
    }
}

impl Lag {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { metrics, waiting: Mutex::default() }
    }

    /// Changes were read, and applied or not.
    pub(super) fn read(&self, committed: Vec<Instant>, applied: bool) {
        if applied {
            self.took_effect(committed);
            return;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MOST.saturating_sub(waiting.len());
        waiting.extend(committed.into_iter().take(room));
    }

    /// Everything that was read is applied.
    pub(super) fn caught_up(&self) {
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        self.took_effect(waiting);
    }

    fn took_effect(&self, committed: Vec<Instant>) {
        committed.into_iter().for_each(|committed| self.metrics.took_effect(committed.elapsed()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_no_earlier_than_the_write_and_the_last_reading_that_did_not_see_it() {
        let here = Instant::now();
        let asked = Asked { here, there: 10_000_000 };
        let before = |micros| here.checked_sub(Duration::from_micros(micros));
        assert_eq!(asked.committed(9_000_000, 1_000_000), before(1_000_000));
        assert_eq!(asked.committed(1_000_000, 9_900_000), before(100_000));
        // The database's clock was set back.
        assert_eq!(asked.committed(11_000_000, 0), Some(here));
    }
}
