//! The store's Prometheus metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// Handles of the store's metrics. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Registry,
    wait_seconds: Histogram,
    up: IntGauge,
    breaker: IntGauge,
    rows_deleted: IntCounterVec,
    revocation_lag_seconds: Histogram,
    feed_changes: IntCounterVec,
    feed_resets: IntCounter,
    replica_reads: IntCounterVec,
}

impl Metrics {
    /// Creates and registers the metrics. A second store in one registry has no metrics there.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let wait = HistogramOpts::new("tollgate_store_wait_seconds", "Time spent waiting for a store connection.")
            .buckets(vec![0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0]);
        let deleted = Opts::new("tollgate_cleaner_rows_deleted_total", "Expired rows removed by the cleaner.");
        let lag = HistogramOpts::new(
            "tollgate_revocation_lag_seconds",
            "From the commit of another node's change until it is in force on this node.",
        )
        .buckets(vec![0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0]);
        let changes = Opts::new("tollgate_feed_changes_total", "Changes read that this node had not applied yet.");
        let resets = "How often all caches were cleared because changes may have been missed, or were too many.";
        let replica = Opts::new("tollgate_store_replica_reads_total", "Reads offered to replicas, by result.");
        let metrics = Self {
            registry: registry.clone(),
            wait_seconds: Histogram::with_opts(wait)?,
            up: IntGauge::new("tollgate_store_up", "Whether the store responded to the last query (1) or not (0).")?,
            breaker: IntGauge::new(
                "tollgate_store_breaker_state",
                "Whether calls to the store pass (0), wait for a probe (1), or fail at once because it is away (2).",
            )?,
            rows_deleted: IntCounterVec::new(deleted, &["table"])?,
            revocation_lag_seconds: Histogram::with_opts(lag)?,
            feed_changes: IntCounterVec::new(changes, &["kind"])?,
            feed_resets: IntCounter::new("tollgate_feed_resets_total", resets)?,
            replica_reads: IntCounterVec::new(replica, &["result"])?,
        };
        metrics.add(metrics.wait_seconds.clone());
        metrics.add(metrics.up.clone());
        metrics.add(metrics.breaker.clone());
        metrics.add(metrics.rows_deleted.clone());
        metrics.add(metrics.revocation_lag_seconds.clone());
        metrics.add(metrics.feed_changes.clone());
        metrics.add(metrics.feed_resets.clone());
        metrics.add(metrics.replica_reads.clone());
        Ok(metrics)
    }

    pub(crate) fn waited(&self, time: Duration) {
        self.wait_seconds.observe(time.as_secs_f64());
    }

    pub(crate) fn mark_up(&self) {
        self.up.set(1);
    }

    pub(crate) fn mark_down(&self) {
        self.up.set(0);
    }

    /// 0: closed, 1: a probe decides, 2: open.
    pub(crate) fn breaker_is(&self, state: i64) {
        self.breaker.set(state);
    }

    /// Reports, at every scrape, for how long changes have not been heard.
    pub(crate) fn watch_outage(&self, unheard: impl Fn() -> Duration + Send + Sync + 'static) {
        let about = "For how long this node has not heard the change feed, while its caches are not current; else 0.";
        if let Ok(gauge) = Gauge::new("tollgate_store_outage_seconds", about) {
            self.add(OutageCollector { gauge, unheard: Box::new(unheard) });
        }
    }

    pub(crate) fn deleted(&self, table: &str, rows: u64) {
        self.rows_deleted.with_label_values(&[table]).inc_by(rows);
    }

    /// A change of another node is in force this long after its commit.
    pub(crate) fn took_effect(&self, lag: Duration) {
        self.revocation_lag_seconds.observe(lag.as_secs_f64());
    }

    pub(crate) fn change_read(&self, kind: &str) {
        self.feed_changes.with_label_values(&[kind]).inc();
    }

    pub(crate) fn feed_reset(&self) {
        self.feed_resets.inc();
    }

    /// Reports the age of the last reading of the feed at every scrape.
    pub(crate) fn watch_feed_age(&self, age: impl Fn() -> Option<Duration> + Send + Sync + 'static) {
        let help = "How long ago everything that other nodes had committed was last read and applied.";
        if let Ok(gauge) = Gauge::new("tollgate_feed_age_seconds", help) {
            self.add(AgeCollector { gauge, age: Box::new(age) });
        }
    }

    pub(crate) fn replica_read(&self, result: &str) {
        self.replica_reads.with_label_values(&[result]).inc();
    }

    /// Reports a pool's connections at every scrape.
    pub(crate) fn watch_pool(&self, status: impl Fn() -> deadpool::Status + Send + Sync + 'static) {
        self.watch(move || {
            let status = status();
            let in_use = status.size.saturating_sub(status.available);
            [in_use, status.available, status.waiting].map(|count| i64::try_from(count).unwrap_or(i64::MAX))
        });
    }

    /// Reports the jobs of a thread pool: running, free threads, waiting.
    pub(crate) fn watch_threads(&self, load: Arc<Load>) {
        self.watch(move || {
            let running = load.running.load(Ordering::Relaxed);
            [running, load.threads - running, load.waiting.load(Ordering::Relaxed)]
        });
    }

    fn watch(&self, read: impl Fn() -> [i64; 3] + Send + Sync + 'static) {
        let opts =
            Opts::new("tollgate_store_pool_connections", "Store connections by state, and callers waiting for one.");
        if let Ok(gauge) = IntGaugeVec::new(opts, &["state"]) {
            self.add(PoolCollector { gauge, read: Box::new(read) });
        }
    }

    fn add(&self, collector: impl Collector + 'static) {
        if let Err(error) = self.registry.register(Box::new(collector)) {
            tracing::debug!(%error, "store metrics are already registered");
        }
    }
}

/// The load on the threads of an embedded store.
pub(crate) struct Load {
    pub(crate) threads: i64,
    pub(crate) running: AtomicI64,
    pub(crate) waiting: AtomicI64,
}

/// Reads a pool's counts when it is scraped, so that no count is kept twice.
struct PoolCollector {
    gauge: IntGaugeVec,
    read: Box<dyn Fn() -> [i64; 3] + Send + Sync>,
}

impl Collector for PoolCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        for (state, count) in ["in_use", "idle", "waiting"].iter().zip((self.read)()) {
            self.gauge.with_label_values(&[*state]).set(count);
        }
        self.gauge.collect()
    }
}

/// Computes an age when it is scraped.
struct OutageCollector {
    gauge: Gauge,
    unheard: Box<dyn Fn() -> Duration + Send + Sync>,
}

impl Collector for OutageCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.gauge.set((self.unheard)().as_secs_f64());
        self.gauge.collect()
    }
}

/// Reads the age of the last reading when it is scraped.
struct AgeCollector {
    gauge: Gauge,
    age: Box<dyn Fn() -> Option<Duration> + Send + Sync>,
}

impl Collector for AgeCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(age) = (self.age)() else { return Vec::new() };
        self.gauge.set(age.as_secs_f64());
        self.gauge.collect()
    }
}
