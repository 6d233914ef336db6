//! Numbers the readings of the feed, so that a caller can wait for one that begins after its call.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Notify, watch};

/// The readings of a store, in order.
pub(super) struct Readings {
    begun: AtomicU64,
    done: watch::Sender<u64>,
    wanted: Notify,
}

impl Default for Readings {
    fn default() -> Self {
        Self { begun: AtomicU64::new(0), done: watch::Sender::new(0), wanted: Notify::new() }
    }
}

impl Readings {
    /// Begins a reading and returns its number.
    pub(super) fn begin(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Marks this reading and all earlier ones as done.
    pub(super) fn finish(&self, number: u64) {
        self.done.send_if_modified(|done| {
            let later = number > *done;
            *done = number.max(*done);
            later
        });
    }

    /// Waits until a reading is done that begins after this call, and requests one.
    pub(super) async fn next(&self) {
        let next = self.begun.load(Ordering::SeqCst) + 1;
        self.wanted.notify_one();
        // The sender is a field of `self`, so it still exists.
        let _ = self.done.subscribe().wait_for(|done| *done >= next).await;
    }

    /// Waits until a caller needs a reading.
    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_reading_that_has_already_begun_does_not_count() {
        let readings = Readings::default();
        let under_way = readings.begin();
        let mut waiting = std::pin::pin!(readings.next());
        assert!(waiting.as_mut().now_or_never().is_none());
        readings.finish(under_way);
        assert!(waiting.as_mut().now_or_never().is_none());
        readings.wanted().await;
        readings.finish(readings.begin());
        waiting.await;
    }
}
