//! Changes are deleted, but never before a node that reads has read them; a node that was away for longer clears
//! its caches.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::Registry;
use uuid::Uuid;

use super::feed::INSERT;
use super::fixture::{Fixture, Recorder, eventually, postgres};
use crate::feed::postgres::{Cursor, run};
use crate::metrics::Metrics;
use crate::testing::Backend;
use crate::{Options, Store};

const SHORT: Duration = Duration::from_secs(3);

/// A store that keeps changes for a short time.
struct Node {
    fixture: Fixture,
    store: Store,
    recorder: Arc<Recorder>,
    metrics: Registry,
}

impl Node {
    async fn start() -> Self {
        let fixture = Fixture::new(Backend::Postgres).await;
        let options = Options { change_retention: SHORT, ..fixture.database.options() };
        let metrics = options.metrics.clone();
        let store = Store::open(options).await.unwrap();
        let recorder = Arc::new(Recorder::default());
        store.feed().subscribe(recorder.clone());
        Self { fixture, store, recorder, metrics }
    }

    async fn write(&self, number: u128) {
        let client = postgres(&self.fixture.store).client().await.unwrap();
        client.execute(INSERT, &[&Uuid::from_u128(number)]).await.unwrap();
    }

    async fn clean(&self) -> u64 {
        self.store.clean_changes(SHORT).await.unwrap()
    }

    fn resets(&self) -> usize {
        *self.recorder.resets.lock().unwrap()
    }

    async fn cursor(&self) -> Cursor {
        self.store.database().read((), async |(), session| Cursor::now(session).await).await.unwrap()
    }

    /// Cleans until a change is deleted, and returns how long that took.
    async fn cleaned(&self) -> Duration {
        let begun = Instant::now();
        while self.clean().await == 0 {
            assert!(begun.elapsed() < 10 * SHORT, "no change is deleted");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        begun.elapsed()
    }

    /// How many changes were read, by any reader.
    fn changes_read(&self) -> f64 {
        let families = self.metrics.gather();
        let changes = families.iter().find(|family| family.name() == "tollgate_feed_changes_total");
        changes.map_or(0.0, |changes| changes.get_metric()[0].get_counter().get_value())
    }

    /// Reads on from there as another reader of this node, until it has read something.
    async fn read_on(&self, from: Cursor) {
        let before = (self.changes_read(), self.resets());
        let metrics = Metrics::register(&Registry::new()).unwrap();
        let reader = run(self.store.feed().clone(), postgres(&self.store).clone(), from, metrics);
        let reader = tokio::spawn(reader);
        eventually("what the reader missed", || (self.changes_read(), self.resets()) != before).await;
        reader.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_away_for_longer_than_changes_are_kept_clears_its_caches() {
    let node = Node::start().await;
    let away = node.cursor().await;
    node.write(1).await;
    let kept = node.cleaned().await;
    // The snapshot by which it was deleted is at least that old, in whole seconds.
    assert!(kept >= SHORT - Duration::from_secs(1), "deleted after {kept:?}");
    assert_eq!(node.resets(), 0);
    node.read_on(away).await;
    assert_eq!(node.resets(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_away_for_a_shorter_time_reads_what_it_missed() {
    let node = Node::start().await;
    node.write(1).await;
    node.cleaned().await;
    let away = node.cursor().await;
    node.write(2).await;
    eventually("the change", || node.recorder.summary().len() == 2).await;
    node.clean().await;
    assert_eq!((node.changes_read(), node.resets()), (2.0, 0));
    node.read_on(away).await;
    assert_eq!((node.changes_read(), node.resets()), (3.0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_change_is_deleted_before_a_live_node_has_read_it() {
    let node = Node::start().await;
    let (begun, mut written, mut deleted) = (Instant::now(), 0, 0);
    while begun.elapsed() < 2 * SHORT || deleted == 0 {
        assert!(begun.elapsed() < 10 * SHORT, "no change is deleted");
        for _ in 0..20 {
            written += 1;
            node.write(written).await;
        }
        deleted += node.clean().await;
    }
    let all: Vec<Uuid> = (1..=written).map(Uuid::from_u128).collect();
    eventually("every change", || node.recorder.summary().len() >= all.len()).await;
    let received: Vec<Uuid> = node.recorder.summary().into_iter().map(|(_, _, id)| id).collect();
    assert_eq!((received == all, node.resets()), (true, 0), "{} of {written}", received.len());
}
