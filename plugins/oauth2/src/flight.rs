//! Single flight: concurrent questions with the same answer are asked once.
//!
//! A flight carries the generation of its key at take-off. A caller joins it only while that is
//! still the generation, so nobody is given an answer that is older than his question. A flight
//! whose callers all went away is dropped with the last of them.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use tollgate_core::error::StoreError;

use crate::generation::Generation;
use crate::sync::{Mutex, MutexGuard};

/// What a flight brings back. The error is shared by all who waited for it.
pub type Landed<V> = Result<V, Arc<StoreError>>;

/// Waits for a flight to land.
pub type Journey<V> = Shared<BoxFuture<'static, Landed<V>>>;

/// How a caller came to wait for a flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boarding {
    /// It started the flight.
    Leader,
    /// It joined one that was under way.
    Joined,
}

const SHARDS: usize = 64;

struct Entry<V> {
    generation: Generation,
    journey: WeakShared<BoxFuture<'static, Landed<V>>>,
}

type Shard<K, V> = Mutex<HashMap<K, Entry<V>>>;

/// The flights under way. Cheap to clone.
pub struct Flights<K, V> {
    shards: Arc<[Shard<K, V>]>,
}

impl<K, V> Flights<K, V>
where
    K: Copy + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// No flights.
    pub fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::new(HashMap::new())).collect() }
    }

    /// Joins the flight for `key`, or starts it with `load`. `head` picks the shard; `generation`
    /// is the key's, taken by the caller before it boards.
    pub fn board<F>(
        &self,
        key: K,
        head: u64,
        generation: Generation,
        load: impl FnOnce() -> F,
    ) -> (Boarding, Journey<V>)
    where
        F: Future<Output = Landed<V>> + Send + 'static,
    {
        let mut flights = self.lock(head);
        let under_way = flights.get(&key).filter(|entry| entry.generation == generation);
        if let Some(journey) = under_way.and_then(|entry| entry.journey.upgrade()) {
            return (Boarding::Joined, journey);
        }
        let landing = Landing { flights: Self { shards: Arc::clone(&self.shards) }, key, head, generation };
        let load = load();
        let journey: Journey<V> = async move {
            let _landing = landing;
            load.await
        }
        .boxed()
        .shared();
        let previous = journey.downgrade().and_then(|journey| flights.insert(key, Entry { generation, journey }));
        // Its drop may end the flight it replaces, which takes the same lock.
        drop(flights);
        drop(previous);
        (Boarding::Leader, journey)
    }

    fn lock(&self, head: u64) -> MutexGuard<'_, HashMap<K, Entry<V>>> {
        let index = usize::try_from(head % SHARDS as u64).unwrap_or_default();
        #[expect(clippy::indexing_slicing, reason = "there are SHARDS shards")]
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, V> Default for Flights<K, V>
where
    K: Copy + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn default() -> Self {
        Self::new()
    }
}

/// Takes a flight off the board when it lands or is abandoned.
struct Landing<K, V>
where
    K: Copy + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    flights: Flights<K, V>,
    key: K,
    head: u64,
    generation: Generation,
}

impl<K, V> Drop for Landing<K, V>
where
    K: Copy + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn drop(&mut self) {
        let mut flights = self.flights.lock(self.head);
        let removed = match flights.get(&self.key) {
            Some(entry) if entry.generation == self.generation => flights.remove(&self.key),
            _ => None,
        };
        drop(flights);
        drop(removed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;

    struct Airport {
        flights: Flights<u64, usize>,
        asked: Arc<AtomicUsize>,
        gate: Arc<Notify>,
    }

    impl Airport {
        fn new() -> Self {
            Self { flights: Flights::new(), asked: Arc::default(), gate: Arc::default() }
        }

        fn board(&self, generation: Generation) -> (Boarding, Journey<usize>) {
            let (asked, gate) = (Arc::clone(&self.asked), Arc::clone(&self.gate));
            self.flights.board(7, 7, generation, move || async move {
                let ticket = asked.fetch_add(1, Ordering::SeqCst);
                gate.notified().await;
                Ok(ticket)
            })
        }

        fn under_way(&self) -> usize {
            self.flights.lock(7).len()
        }
    }

    #[tokio::test]
    async fn concurrent_callers_share_one_flight() {
        let airport = Airport::new();
        let (first, leader) = airport.board(Generation::FIRST);
        let (second, joined) = airport.board(Generation::FIRST);
        assert_eq!((first, second), (Boarding::Leader, Boarding::Joined));
        airport.gate.notify_one();
        let (leader, joined) = futures::join!(leader, joined);
        assert_eq!((leader.unwrap(), joined.unwrap()), (0, 0));
        assert_eq!(airport.asked.load(Ordering::SeqCst), 1);
        assert_eq!(airport.under_way(), 0);
    }

    #[tokio::test]
    async fn a_later_generation_does_not_join_an_older_flight() {
        let airport = Airport::new();
        let (_, old) = airport.board(Generation::FIRST);
        let (boarding, new) = airport.board(Generation::FIRST.next());
        assert_eq!(boarding, Boarding::Leader);
        drop(old);
        assert_eq!(airport.under_way(), 1, "an abandoned older flight leaves the newer one on the board");
        airport.gate.notify_one();
        assert_eq!(new.await.unwrap(), 0);
        assert_eq!(airport.under_way(), 0);
    }

    #[tokio::test]
    async fn an_abandoned_flight_leaves_nothing_behind() {
        let airport = Airport::new();
        let (_, journey) = airport.board(Generation::FIRST);
        drop(journey);
        assert_eq!(airport.under_way(), 0);
    }
}
