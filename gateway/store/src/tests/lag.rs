//! How late changes of other nodes take effect, as the metrics report it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::Registry;
use uuid::Uuid;

use super::feed::INSERT;
use super::fixture::{Fixture, Recorder, eventually, postgres};
use crate::testing::Backend;
use crate::{Options, Store};

/// A node that only reads, and its metrics.
struct Reader {
    fixture: Fixture,
    store: Store,
    recorder: Arc<Recorder>,
    metrics: Registry,
}

impl Reader {
    async fn start() -> Self {
        let fixture = Fixture::new(Backend::Postgres).await;
        let options = Options { feed_bound: Duration::from_secs(60), ..fixture.database.options() };
        let metrics = options.metrics.clone();
        let store = Store::open(options).await.unwrap();
        let recorder = Arc::new(Recorder::default());
        store.feed().subscribe(recorder.clone());
        Self { fixture, store, recorder, metrics }
    }

    /// How many lags were observed, and their sum in seconds.
    fn lags(&self) -> (u64, f64) {
        let families = self.metrics.gather();
        let lag = families.iter().find(|family| family.name() == "tollgate_revocation_lag_seconds").unwrap();
        let lag = lag.get_metric()[0].get_histogram();
        (lag.get_sample_count(), lag.get_sample_sum())
    }

    fn value(&self, name: &str) -> f64 {
        let families = self.metrics.gather();
        let metric = &families.iter().find(|family| family.name() == name).unwrap().get_metric()[0];
        metric.get_gauge().get_value() + metric.get_counter().get_value()
    }

    async fn observed(&self, count: u64) -> f64 {
        eventually("the lag", || self.lags().0 == count).await;
        self.lags().1
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lag_is_measured_from_the_commit_by_the_database_s_clock() {
    let reader = Reader::start().await;
    let mut client = postgres(&reader.fixture.store).client().await.unwrap();
    // Its node says that it is 1970.
    let begun = Instant::now();
    client.execute(INSERT, &[&Uuid::from_u128(1)]).await.unwrap();
    let first = reader.observed(1).await;
    // It counts from before the request that read the change.
    assert!(first > 0.0 && first < begun.elapsed().as_secs_f64() + 0.5, "{first}");
    assert!(reader.value("tollgate_feed_changes_total") >= 1.0);

    // A transaction that stays open for longer than readings are apart is not late because of that.
    let transaction = client.transaction().await.unwrap();
    transaction.execute(INSERT, &[&Uuid::from_u128(2)]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let begun = Instant::now();
    transaction.commit().await.unwrap();
    let second = reader.observed(2).await - first;
    // The last reading that did not see it may have been a poll before.
    assert!(second < begun.elapsed().as_secs_f64() + 0.5, "{second}");
    drop(reader.store);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_a_listener_cannot_apply_is_late_until_it_does() {
    let reader = Reader::start().await;
    *reader.recorder.failing.lock().unwrap() = true;
    let client = postgres(&reader.fixture.store).client().await.unwrap();
    client.execute(INSERT, &[&Uuid::from_u128(1)]).await.unwrap();
    let begun = Instant::now();
    eventually("half a second", || begun.elapsed() > Duration::from_millis(500)).await;
    assert_eq!(reader.lags().0, 0);
    *reader.recorder.failing.lock().unwrap() = false;
    assert!(reader.observed(1).await >= 0.5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_age_of_the_feed_grows_while_it_cannot_be_read() {
    let reader = Reader::start().await;
    let mut client = postgres(&reader.fixture.store).client().await.unwrap();
    let transaction = client.transaction().await.unwrap();
    transaction.batch_execute("LOCK TABLE changes IN ACCESS EXCLUSIVE MODE").await.unwrap();
    eventually("an old feed", || reader.value("tollgate_feed_age_seconds") > 0.6).await;
    transaction.rollback().await.unwrap();
    eventually("a feed that was just read", || reader.value("tollgate_feed_age_seconds") < 0.5).await;
}
