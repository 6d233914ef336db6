//! Combines requests to the store that arrive at the same time into one statement.
//!
//! A request to an idle store is sent at once. While [`Batch::IN_FLIGHT`] statements are in flight, requests
//! wait and are then sent together: the busier the store, the fewer statements and commits each request
//! costs. The queue is bounded, and so is the time spent in it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tollgate_core::error::{BreakerOpen, StoreError};

/// The maximum number of requests per statement.
pub(crate) const WIDTH: usize = 64;
/// The maximum number of waiting requests.
pub(crate) const QUEUE: usize = 4096;
/// The timeout of a request, including the time in the queue.
const LIMIT: Duration = Duration::from_secs(5);

/// Executes many requests as one.
#[async_trait]
pub trait Batch: Send + Sync + 'static {
    /// One request.
    type Request: Send + Sync + 'static;
    /// Its response.
    type Response: Send + 'static;

    /// The maximum number of statements in flight: enough to keep the store busy while a response is under
    /// way, and few enough that requests accumulate.
    const IN_FLIGHT: usize;

    /// The responses, in the order of the requests.
    async fn run(&self, requests: Vec<Self::Request>) -> Result<Vec<Self::Response>, StoreError>;
}

/// A request and its caller.
pub(crate) struct Waiting<B: Batch> {
    pub(crate) request: B::Request,
    pub(crate) caller: oneshot::Sender<Result<B::Response, StoreError>>,
}

struct Queue<B: Batch> {
    waiting: VecDeque<Waiting<B>>,
    in_flight: usize,
}

/// Batches requests.
pub struct Batcher<B: Batch> {
    shared: Arc<Shared<B>>,
    runtime: Handle,
}

struct Shared<B: Batch> {
    batch: B,
    queue: Mutex<Queue<B>>,
}

/// One of the statements in flight; released on drop, and so also if its task ends early.
struct InFlight<B: Batch> {
    shared: Arc<Shared<B>>,
    given_back: bool,
}

impl<B: Batch> Drop for InFlight<B> {
    fn drop(&mut self) {
        if !self.given_back {
            self.shared.lock().in_flight -= 1;
        }
    }
}

impl<B: Batch> Shared<B> {
    fn lock(&self) -> MutexGuard<'_, Queue<B>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Batch> Batcher<B> {
    /// Batches for `batch`; statements run on `runtime`, even if callers are dropped.
    pub fn new(batch: B, runtime: Handle) -> Self {
        let queue = Mutex::new(Queue { waiting: VecDeque::new(), in_flight: 0 });
        Self { shared: Arc::new(Shared { batch, queue }), runtime }
    }

    /// Executes a request, possibly together with others.
    ///
    /// # Errors
    /// [`StoreError::Busy`]: too many requests are waiting, or this one waited too long. Otherwise the error
    /// of the statement that contained it.
    pub async fn submit(&self, request: B::Request) -> Result<B::Response, StoreError> {
        let (caller, response) = oneshot::channel();
        self.push(Waiting { request, caller })?;
        match tokio::time::timeout(LIMIT, response).await {
            Ok(Ok(response)) => response,
            Ok(Err(_)) => Err(StoreError::Unavailable("a request to the store ended without a response".into())),
            Err(_) => Err(StoreError::Busy(LIMIT)),
        }
    }

    pub(crate) fn push(&self, waiting: Waiting<B>) -> Result<(), StoreError> {
        let mut queue = self.shared.lock();
        if queue.waiting.len() >= QUEUE {
            return Err(StoreError::Busy(Duration::ZERO));
        }
        queue.waiting.push_back(waiting);
        if queue.in_flight < B::IN_FLIGHT {
            queue.in_flight += 1;
            drop(queue);
            self.runtime.spawn(run(InFlight { shared: Arc::clone(&self.shared), given_back: false }));
        }
        Ok(())
    }

    /// The number of statements in flight.
    #[cfg(test)]
    pub(crate) fn in_flight(&self) -> usize {
        self.shared.lock().in_flight
    }
}

/// Executes batches until no request waits.
async fn run<B: Batch>(mut in_flight: InFlight<B>) {
    loop {
        let batch = take(&mut in_flight);
        if batch.is_empty() {
            return;
        }
        let (requests, callers): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|Waiting { request, caller }| (request, caller)).unzip();
        match in_flight.shared.batch.run(requests).await {
            // The caller may have been dropped.
            Ok(responses) => {
                callers.into_iter().zip(responses).for_each(|(caller, response)| drop(caller.send(Ok(response))));
            }
            Err(error) => {
                let error = Arc::new(error);
                callers.into_iter().for_each(|caller| drop(caller.send(Err(shared_error(&error)))));
            }
        }
    }
}

/// Takes the next batch. If there is none, it releases the statement under the same lock, so that no request
/// can arrive in between and wait forever.
fn take<B: Batch>(in_flight: &mut InFlight<B>) -> Vec<Waiting<B>> {
    let mut queue = in_flight.shared.lock();
    let mut batch = Vec::new();
    while batch.len() < WIDTH {
        let Some(next) = queue.waiting.pop_front() else { break };
        // A dropped caller needs no result.
        if !next.caller.is_closed() {
            batch.push(next);
        }
    }
    if batch.is_empty() {
        queue.in_flight -= 1;
        in_flight.given_back = true;
    }
    batch
}

/// Shares one error among all callers of a batch.
fn shared_error(error: &Arc<StoreError>) -> StoreError {
    match **error {
        StoreError::Busy(limit) => StoreError::Busy(limit),
        StoreError::Timeout(limit) => StoreError::Timeout(limit),
        StoreError::Corrupt { kind, what } => StoreError::Corrupt { kind, what },
        StoreError::Unavailable(_) if error.is_reported() => BreakerOpen.into(),
        StoreError::Unavailable(_) => StoreError::Unavailable(Box::new(Arc::clone(error))),
        StoreError::Statement { statement, .. } => {
            StoreError::Statement { statement, source: Box::new(Arc::clone(error)) }
        }
    }
}
