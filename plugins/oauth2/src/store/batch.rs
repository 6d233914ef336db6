//! Requests to the store that arrive at the same time become one statement.
//!
//! An idle store is asked at once. While [`Together::STATEMENTS`] are in flight, requests wait and then
//! go together: the busier the store, the fewer statements, and commits, a request costs. The queue is
//! bounded, and so is the wait in it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tollgate_core::error::StoreError;

/// Requests of one statement at most.
const WIDTH: usize = 64;
/// Requests that may wait.
const QUEUE: usize = 4096;
/// How long a request takes at most, the wait included.
const PATIENCE: Duration = Duration::from_secs(5);

/// What carries out many requests as one.
#[async_trait]
pub(super) trait Together: Send + Sync + 'static {
    /// One request.
    type Request: Send + Sync + 'static;
    /// Its answer.
    type Answer: Send + 'static;

    /// Statements in flight at most: enough to keep the store busy while an answer is on its way,
    /// and few enough that requests gather.
    const STATEMENTS: usize;

    /// The answers, in the order of the requests.
    async fn carry_out(&self, requests: Vec<Self::Request>) -> Result<Vec<Self::Answer>, StoreError>;
}

struct Waiting<W: Together> {
    request: W::Request,
    answer: oneshot::Sender<Result<W::Answer, StoreError>>,
}

struct Queue<W: Together> {
    waiting: VecDeque<Waiting<W>>,
    in_flight: usize,
}

/// Batches requests.
pub(super) struct Batcher<W: Together> {
    shared: Arc<Shared<W>>,
    runtime: Handle,
}

struct Shared<W: Together> {
    work: W,
    queue: Mutex<Queue<W>>,
}

/// A statement's place among those in flight; given back on drop, so also when its task ends early.
struct Flight<W: Together> {
    shared: Arc<Shared<W>>,
    landed: bool,
}

impl<W: Together> Drop for Flight<W> {
    fn drop(&mut self) {
        if !self.landed {
            self.shared.lock().in_flight -= 1;
        }
    }
}

impl<W: Together> Shared<W> {
    fn lock(&self) -> MutexGuard<'_, Queue<W>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Together> Batcher<W> {
    /// Batches for `work`; statements run on `runtime`, whichever callers are dropped.
    pub(super) fn new(work: W, runtime: Handle) -> Self {
        let queue = Mutex::new(Queue { waiting: VecDeque::new(), in_flight: 0 });
        Self { shared: Arc::new(Shared { work, queue }), runtime }
    }

    /// Carries out a request, perhaps together with others.
    pub(super) async fn ask(&self, request: W::Request) -> Result<W::Answer, StoreError> {
        let (answer, receiver) = oneshot::channel();
        self.push(Waiting { request, answer })?;
        match tokio::time::timeout(PATIENCE, receiver).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(StoreError::Unavailable("a request to the store ended without an answer".into())),
            Err(_) => Err(StoreError::Busy(PATIENCE)),
        }
    }

    fn push(&self, waiting: Waiting<W>) -> Result<(), StoreError> {
        let mut queue = self.shared.lock();
        if queue.waiting.len() >= QUEUE {
            return Err(StoreError::Busy(Duration::ZERO));
        }
        queue.waiting.push_back(waiting);
        if queue.in_flight < W::STATEMENTS {
            queue.in_flight += 1;
            drop(queue);
            self.runtime.spawn(fly(Flight { shared: Arc::clone(&self.shared), landed: false }));
        }
        Ok(())
    }
}

/// Carries out batches until nobody waits.
async fn fly<W: Together>(mut flight: Flight<W>) {
    loop {
        let batch = board(&mut flight);
        if batch.is_empty() {
            return;
        }
        let (requests, callers): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|Waiting { request, answer }| (request, answer)).unzip();
        match flight.shared.work.carry_out(requests).await {
            // Nobody listens any more where the caller was dropped.
            Ok(answers) => callers.into_iter().zip(answers).for_each(|(caller, answer)| drop(caller.send(Ok(answer)))),
            Err(error) => {
                let error = Arc::new(error);
                callers.into_iter().for_each(|caller| drop(caller.send(Err(shared_error(&error)))));
            }
        }
    }
}

/// Takes the next batch. When there is none it gives the place back under the same lock, so that no
/// request arrives in between and waits for nobody.
fn board<W: Together>(flight: &mut Flight<W>) -> Vec<Waiting<W>> {
    let mut queue = flight.shared.lock();
    let mut batch = Vec::new();
    while batch.len() < WIDTH {
        let Some(next) = queue.waiting.pop_front() else { break };
        // A caller that has gone away asks for nothing any more.
        if !next.answer.is_closed() {
            batch.push(next);
        }
    }
    if batch.is_empty() {
        queue.in_flight -= 1;
        flight.landed = true;
    }
    batch
}

/// One failure, told to each of those who waited.
fn shared_error(error: &Arc<StoreError>) -> StoreError {
    match **error {
        StoreError::Busy(limit) => StoreError::Busy(limit),
        StoreError::Timeout(limit) => StoreError::Timeout(limit),
        StoreError::Corrupt { kind, what } => StoreError::Corrupt { kind, what },
        StoreError::Unavailable(_) => StoreError::Unavailable(Box::new(Arc::clone(error))),
        StoreError::Statement { statement, .. } => {
            StoreError::Statement { statement, source: Box::new(Arc::clone(error)) }
        }
    }
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
