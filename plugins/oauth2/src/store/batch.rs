//! Look-ups that arrive at the same time become one statement.
//!
//! An idle store is asked at once. While [`STATEMENTS`] statements are in flight, look-ups wait and
//! then go together: the busier the store, the fewer statements a look-up costs. The queue is
//! bounded, and so is the wait in it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tollgate_core::error::StoreError;

use super::Token;
use crate::token::Digest;

/// Statements in flight at most.
const STATEMENTS: usize = 2;
/// Digests of one statement at most, unless a single look-up has more.
const WIDTH: usize = 64;
/// Look-ups that may wait.
const QUEUE: usize = 4096;
/// How long a look-up takes at most, the wait included.
const PATIENCE: Duration = Duration::from_secs(5);

/// What answers a batch.
#[async_trait]
pub(super) trait Lookup: Send + Sync + 'static {
    /// Tokens by access token that are visible at `now`.
    async fn look_up(&self, access_tokens: &[Digest], now: i64) -> Result<Vec<Token>, StoreError>;
}

struct Waiting {
    access_tokens: Vec<Digest>,
    now: i64,
    answer: oneshot::Sender<Result<Vec<Token>, StoreError>>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    in_flight: usize,
}

/// Batches look-ups.
pub(super) struct Batcher<L> {
    shared: Arc<Shared<L>>,
    runtime: Handle,
}

struct Shared<L> {
    lookup: L,
    queue: Mutex<Queue>,
}

/// A statement's place among those in flight; given back on drop, so also when its task ends early.
struct Flight<L> {
    shared: Arc<Shared<L>>,
    landed: bool,
}

impl<L> Drop for Flight<L> {
    fn drop(&mut self) {
        if !self.landed {
            self.shared.lock().in_flight -= 1;
        }
    }
}

impl<L> Shared<L> {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L: Lookup> Batcher<L> {
    /// Batches for `lookup`; statements run on `runtime`, whichever callers are dropped.
    pub(super) fn new(lookup: L, runtime: Handle) -> Self {
        Self { shared: Arc::new(Shared { lookup, queue: Mutex::default() }), runtime }
    }

    /// Tokens by access token that are visible at `now`.
    pub(super) async fn find(&self, access_tokens: &[Digest], now: i64) -> Result<Vec<Token>, StoreError> {
        let (answer, receiver) = oneshot::channel();
        self.push(Waiting { access_tokens: access_tokens.to_vec(), now, answer })?;
        match tokio::time::timeout(PATIENCE, receiver).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(StoreError::Unavailable("a look-up ended without an answer".into())),
            Err(_) => Err(StoreError::Busy(PATIENCE)),
        }
    }

    fn push(&self, waiting: Waiting) -> Result<(), StoreError> {
        let mut queue = self.shared.lock();
        if queue.waiting.len() >= QUEUE {
            return Err(StoreError::Busy(Duration::ZERO));
        }
        queue.waiting.push_back(waiting);
        if queue.in_flight < STATEMENTS {
            queue.in_flight += 1;
            drop(queue);
            self.runtime.spawn(fly(Flight { shared: Arc::clone(&self.shared), landed: false }));
        }
        Ok(())
    }
}

/// Asks for batches until nobody waits.
async fn fly<L: Lookup>(mut flight: Flight<L>) {
    loop {
        let batch = board(&mut flight);
        if batch.is_empty() {
            return;
        }
        // The earliest now sees the most rows; each look-up then leaves out what is too old for it.
        let now = batch.iter().map(|waiting| waiting.now).min().unwrap_or(i64::MAX);
        let mut access_tokens: Vec<Digest> =
            batch.iter().flat_map(|waiting| waiting.access_tokens.iter().copied()).collect();
        access_tokens.sort_unstable();
        access_tokens.dedup();
        let found = flight.shared.lookup.look_up(&access_tokens, now).await;
        deliver(batch, found);
    }
}

/// Takes the next batch. When there is none it gives the place back under the same lock, so that no
/// look-up arrives in between and waits for nobody.
fn board<L>(flight: &mut Flight<L>) -> Vec<Waiting> {
    let mut queue = flight.shared.lock();
    let mut batch = Vec::new();
    let mut width = 0;
    while let Some(next) = queue.waiting.pop_front() {
        // A caller that has gone away asks nothing any more.
        if next.answer.is_closed() {
            continue;
        }
        let wider = width + next.access_tokens.len();
        if !batch.is_empty() && wider > WIDTH {
            queue.waiting.push_front(next);
            break;
        }
        width = wider;
        batch.push(next);
    }
    if batch.is_empty() {
        queue.in_flight -= 1;
        flight.landed = true;
    }
    batch
}

fn deliver(batch: Vec<Waiting>, found: Result<Vec<Token>, StoreError>) {
    let found: Result<HashMap<Digest, Token>, Arc<StoreError>> =
        found.map(|tokens| tokens.into_iter().map(|token| (token.access_token, token)).collect()).map_err(Arc::new);
    for Waiting { access_tokens, now, answer } in batch {
        let own = found.as_ref().map_err(shared_error).map(|tokens| {
            let known = access_tokens.iter().filter_map(|digest| tokens.get(digest));
            known.filter(|token| token.ttl.is_none_or(|ttl| ttl >= now)).cloned().collect()
        });
        // Nobody listens any more when the caller was dropped.
        let _ = answer.send(own);
    }
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
