//! What the batcher sends when the store is slow.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::{join, join_all};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tollgate_core::error::StoreError;

use crate::batch::{Batch, Batcher, QUEUE, WIDTH, Waiting};

/// A store that responds when the test lets it.
struct Slow {
    gate: Semaphore,
    widths: Mutex<Vec<usize>>,
    running: AtomicUsize,
    most: AtomicUsize,
    down: AtomicBool,
}

#[async_trait]
impl Batch for Arc<Slow> {
    type Request = usize;
    type Response = usize;

    const IN_FLIGHT: usize = 2;

    async fn run(&self, requests: Vec<usize>) -> Result<Vec<usize>, StoreError> {
        self.widths.lock().unwrap().push(requests.len());
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        self.gate.acquire().await.unwrap().forget();
        self.running.fetch_sub(1, Ordering::SeqCst);
        match self.down.load(Ordering::SeqCst) {
            true => Err(StoreError::Timeout(Duration::from_secs(1))),
            false => Ok(requests),
        }
    }
}

fn slow() -> (Arc<Slow>, Batcher<Arc<Slow>>) {
    let slow = Arc::new(Slow {
        gate: Semaphore::new(0),
        widths: Mutex::default(),
        running: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
        down: AtomicBool::new(false),
    });
    (slow.clone(), Batcher::new(slow, Handle::current()))
}

/// Opens the gate once both statements wait at it.
async fn release(slow: &Slow) {
    while slow.running.load(Ordering::SeqCst) < Arc::<Slow>::IN_FLIGHT {
        tokio::task::yield_now().await;
    }
    slow.gate.add_permits(Semaphore::MAX_PERMITS);
}

#[tokio::test]
async fn waiting_requests_are_batched_and_each_gets_its_own_response() {
    let (slow, batcher) = slow();
    let all = join_all((0..200).map(|number| {
        let batcher = &batcher;
        async move { batcher.submit(number).await }
    }));
    let (found, ()) = join(all, release(&slow)).await;
    let responses: Vec<usize> = found.into_iter().map(Result::unwrap).collect();
    assert_eq!(responses, (0..200).collect::<Vec<_>>());
    let widths = slow.widths.lock().unwrap().clone();
    assert_eq!(widths.iter().sum::<usize>(), 200);
    assert!(widths.len() <= 6 && widths.iter().all(|width| *width <= WIDTH), "{widths:?}");
    assert_eq!(slow.most.load(Ordering::SeqCst), Arc::<Slow>::IN_FLIGHT);
    assert_eq!(batcher.in_flight(), 0);
}

#[tokio::test]
async fn every_caller_of_a_batch_gets_its_error() {
    let (slow, batcher) = slow();
    slow.down.store(true, Ordering::SeqCst);
    let all = join_all((0..200).map(|number| {
        let batcher = &batcher;
        async move { batcher.submit(number).await }
    }));
    let (found, ()) = join(all, release(&slow)).await;
    assert!(found.iter().all(|found| matches!(found, Err(StoreError::Timeout(_)))));
}

#[tokio::test]
async fn a_full_queue_refuses() {
    let (_slow, batcher) = slow();
    let mut responses = Vec::new();
    for number in 0..QUEUE {
        let (caller, response) = oneshot::channel();
        batcher.push(Waiting { request: number, caller }).unwrap();
        responses.push(response);
    }
    assert!(matches!(batcher.submit(0).await, Err(StoreError::Busy(_))));
}

#[tokio::test]
async fn requests_of_dropped_callers_are_not_sent() {
    let (slow, batcher) = slow();
    for number in 0..10 {
        let (caller, _) = oneshot::channel();
        batcher.push(Waiting { request: number, caller }).unwrap();
    }
    slow.gate.add_permits(1);
    batcher.submit(10).await.unwrap();
    assert_eq!(*slow.widths.lock().unwrap(), [1]);
}
