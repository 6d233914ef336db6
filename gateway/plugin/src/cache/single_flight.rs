//! Single flight: concurrent look-ups of one key share one look-up.
//!
//! A look-up carries the generation that its key had when it began. Followers join it only while that
//! generation is current, so nobody gets a result older than their request. A look-up is dropped when its
//! last caller is dropped.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use tollgate_core::error::StoreError;

use super::generation::Generation;
use super::model::{Mutex, MutexGuard};

/// The result of a look-up. All callers that waited share the error: the store's, unless the facts come from
/// elsewhere.
pub type Loaded<V, E = StoreError> = Result<V, Arc<E>>;

/// A look-up in progress; awaiting it returns its result.
pub type Lookup<V, E = StoreError> = Shared<BoxFuture<'static, Loaded<V, E>>>;

/// A caller's role in a look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It started the look-up.
    Leader,
    /// It joined one in progress.
    Follower,
}

impl Role {
    /// Its name in traces.
    pub fn name(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
        }
    }
}

const SHARDS: usize = 64;

struct Entry<V, E> {
    generation: Generation,
    lookup: WeakShared<BoxFuture<'static, Loaded<V, E>>>,
}

type Shard<K, V, E> = Mutex<HashMap<K, Entry<V, E>>>;

/// The look-ups in progress. Cheap to clone.
pub struct SingleFlight<K, V, E = StoreError> {
    shards: Arc<[Shard<K, V, E>]>,
}

impl<K, V, E> SingleFlight<K, V, E>
where
    K: Copy + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    /// Starts with none in progress.
    pub fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::new(HashMap::new())).collect() }
    }

    /// Joins the look-up of `key`, or starts one with `load`. `head` selects the shard; `generation` is the
    /// key's, taken by the caller beforehand.
    pub fn join<F>(&self, key: K, head: u64, generation: Generation, load: impl FnOnce() -> F) -> (Role, Lookup<V, E>)
    where
        F: Future<Output = Loaded<V, E>> + Send + 'static,
    {
        let mut lookups = self.lock(head);
        let under_way = lookups.get(&key).filter(|entry| entry.generation == generation);
        if let Some(lookup) = under_way.and_then(|entry| entry.lookup.upgrade()) {
            return (Role::Follower, lookup);
        }
        let removal = Removal { single_flight: Self { shards: Arc::clone(&self.shards) }, key, head, generation };
        let load = load();
        let lookup: Lookup<V, E> = async move {
            let _removal = removal;
            load.await
        }
        .boxed()
        .shared();
        let previous = lookup.downgrade().and_then(|lookup| lookups.insert(key, Entry { generation, lookup }));
        // Dropping it may end the look-up it replaces, which takes the same lock.
        drop(lookups);
        drop(previous);
        (Role::Leader, lookup)
    }

    fn lock(&self, head: u64) -> MutexGuard<'_, HashMap<K, Entry<V, E>>> {
        let index = usize::try_from(head % SHARDS as u64).unwrap_or_default();
        #[expect(clippy::indexing_slicing, reason = "there are SHARDS shards")]
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, V, E> Default for SingleFlight<K, V, E>
where
    K: Copy + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    fn default() -> Self {
        Self::new()
    }
}

/// Removes a look-up when it has ended or was abandoned.
struct Removal<K, V, E>
where
    K: Copy + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    single_flight: SingleFlight<K, V, E>,
    key: K,
    head: u64,
    generation: Generation,
}

impl<K, V, E> Drop for Removal<K, V, E>
where
    K: Copy + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    fn drop(&mut self) {
        let mut lookups = self.single_flight.lock(self.head);
        let removed = match lookups.get(&self.key) {
            Some(entry) if entry.generation == self.generation => lookups.remove(&self.key),
            _ => None,
        };
        drop(lookups);
        drop(removed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;

    /// A store whose reads wait for the test to release them.
    struct Store {
        single_flight: SingleFlight<u64, usize>,
        reads: Arc<AtomicUsize>,
        gate: Arc<Notify>,
    }

    impl Store {
        fn new() -> Self {
            Self { single_flight: SingleFlight::new(), reads: Arc::default(), gate: Arc::default() }
        }

        fn look_up(&self, generation: Generation) -> (Role, Lookup<usize>) {
            let (reads, gate) = (Arc::clone(&self.reads), Arc::clone(&self.gate));
            self.single_flight.join(7, 7, generation, move || async move {
                let number = reads.fetch_add(1, Ordering::SeqCst);
                gate.notified().await;
                Ok(number)
            })
        }

        fn under_way(&self) -> usize {
            self.single_flight.lock(7).len()
        }
    }

    #[tokio::test]
    async fn concurrent_callers_share_one_look_up() {
        let store = Store::new();
        let (first, leader) = store.look_up(Generation::FIRST);
        let (second, follower) = store.look_up(Generation::FIRST);
        assert_eq!((first, second), (Role::Leader, Role::Follower));
        store.gate.notify_one();
        let (leader, follower) = futures::join!(leader, follower);
        assert_eq!((leader.unwrap(), follower.unwrap()), (0, 0));
        assert_eq!(store.reads.load(Ordering::SeqCst), 1);
        assert_eq!(store.under_way(), 0);
    }

    #[tokio::test]
    async fn a_later_generation_does_not_join_an_older_look_up() {
        let store = Store::new();
        let (_, old) = store.look_up(Generation::FIRST);
        let (role, new) = store.look_up(Generation::FIRST.next());
        assert_eq!(role, Role::Leader);
        drop(old);
        assert_eq!(store.under_way(), 1, "an abandoned older look-up leaves the newer one");
        store.gate.notify_one();
        assert_eq!(new.await.unwrap(), 0);
        assert_eq!(store.under_way(), 0);
    }

    #[tokio::test]
    async fn an_abandoned_look_up_is_removed() {
        let store = Store::new();
        let (_, lookup) = store.look_up(Generation::FIRST);
        drop(lookup);
        assert_eq!(store.under_way(), 0);
    }
}
