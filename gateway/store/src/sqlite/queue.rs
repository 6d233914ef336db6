//! The bounded queue of the database threads.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tollgate_core::error::StoreError;

use crate::metrics::{Load, Metrics};
use crate::options::Options;

/// Further jobs wait for space in the queue, at most as long as for their turn.
const LENGTH: usize = 1024;

/// The sending end.
pub(super) struct Queue<J> {
    sender: mpsc::Sender<Waiting<J>>,
    acquire_timeout: Duration,
    load: Arc<Load>,
}

/// The receiving end; shared by threads that do the same work. Closed when the last [`Queue`] is dropped.
pub(super) struct Turns<J> {
    receiver: Arc<Mutex<mpsc::Receiver<Waiting<J>>>>,
    acquire_timeout: Duration,
    metrics: Metrics,
    load: Arc<Load>,
}

/// A job with the time at which it was queued.
struct Waiting<J> {
    job: J,
    since: Instant,
}

/// A job that can be refused when it has waited too long.
pub(super) trait Job: Send + 'static {
    fn refuse(self, error: StoreError);
}

/// Creates both ends.
pub(super) fn queue<J: Job>(options: &Options, metrics: &Metrics, load: &Arc<Load>) -> (Queue<J>, Turns<J>) {
    let (sender, receiver) = mpsc::channel(LENGTH);
    let acquire_timeout = options.acquire_timeout;
    let turns = Turns {
        receiver: Arc::new(Mutex::new(receiver)),
        acquire_timeout,
        metrics: metrics.clone(),
        load: load.clone(),
    };
    (Queue { sender, acquire_timeout, load: load.clone() }, turns)
}

impl<J: Job> Queue<J> {
    /// Queues a job, waiting for space if necessary.
    pub(super) async fn push(&self, job: J) -> Result<(), StoreError> {
        let since = Instant::now();
        let room = tokio::time::timeout(self.acquire_timeout, self.sender.reserve()).await;
        let permit = room.map_err(|_| StoreError::Busy(self.acquire_timeout))?.map_err(|_| super::gone())?;
        self.load.waiting.fetch_add(1, Ordering::Relaxed);
        permit.send(Waiting { job, since });
        Ok(())
    }

    pub(super) fn acquire_timeout(&self) -> Duration {
        self.acquire_timeout
    }
}

impl<J: Job> Turns<J> {
    /// Blocks until there is a job. `None`: all senders are gone.
    pub(super) fn next(&self) -> Option<J> {
        // The lock is held while waiting: the other threads wait for the lock instead.
        let mut receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(job) = self.admit(receiver.blocking_recv()?) {
                return Some(job);
            }
        }
    }

    /// A job that is already queued.
    pub(super) fn next_ready(&self) -> Option<J> {
        let mut receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(job) = self.admit(receiver.try_recv().ok()?) {
                return Some(job);
            }
        }
    }

    /// Counts a thread as busy while `work` runs.
    pub(super) fn working<T>(&self, work: impl FnOnce() -> T) -> T {
        self.load.running.fetch_add(1, Ordering::Relaxed);
        let result = work();
        self.load.running.fetch_sub(1, Ordering::Relaxed);
        result
    }

    /// Refuses a job that waited too long: its caller may have given up, and later jobs are then served in
    /// time.
    fn admit(&self, waiting: Waiting<J>) -> Option<J> {
        self.load.waiting.fetch_sub(1, Ordering::Relaxed);
        let waited = waiting.since.elapsed();
        self.metrics.waited(waited);
        if waited > self.acquire_timeout {
            waiting.job.refuse(StoreError::Busy(self.acquire_timeout));
            return None;
        }
        Some(waiting.job)
    }
}

impl<J> Clone for Queue<J> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), acquire_timeout: self.acquire_timeout, load: self.load.clone() }
    }
}

impl<J> Clone for Turns<J> {
    fn clone(&self) -> Self {
        Self {
            receiver: self.receiver.clone(),
            acquire_timeout: self.acquire_timeout,
            metrics: self.metrics.clone(),
            load: self.load.clone(),
        }
    }
}
