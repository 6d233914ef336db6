//! What every cache of facts counts. Handles are resolved once; no key is ever a label.

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};

use crate::metrics::Metrics;

/// Caches answer in well under a microsecond, stores in up to seconds.
const BUCKETS: [f64; 16] =
    [1e-7, 3e-7, 1e-6, 3e-6, 1e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.05, 0.25, 1.0, 5.0];

/// The metrics of a cache, named `tollgate_<fact>_lookups_total` and so on.
#[derive(Clone)]
pub struct CacheMetrics {
    lookups: IntCounterVec,
    /// Answered by the cache.
    pub hit: IntCounter,
    /// Asked of the store.
    pub miss: IntCounter,
    /// Known to be unknown, answered by the cache.
    pub negative: IntCounter,
    /// Waited for a look-up that was already under way.
    pub coalesced: IntCounter,
    /// Time of look-ups in the cache; one key in 64 is measured.
    pub cache_seconds: Histogram,
    /// Time of look-ups that asked the store.
    pub store_seconds: Histogram,
    /// Facts in the cache.
    pub entries: IntGauge,
    /// What they weigh, in bytes.
    pub weight: IntGauge,
    /// Facts that gave way to others.
    pub evictions: IntCounter,
}

impl CacheMetrics {
    /// Registers the metrics of a cache of these facts: `fact` stands in names, `facts` in help texts.
    ///
    /// # Errors
    /// A name is taken, or not the plugin's to take.
    pub fn register(metrics: &Metrics, fact: &str, facts: &str) -> Result<Self, prometheus::Error> {
        let name = |rest: &str| format!("{fact}_{rest}");
        let lookups =
            metrics.counters(&name("lookups_total"), &format!("Look-ups of {facts} by result"), &["result"])?;
        let help = format!("Time of look-ups of {facts} by source");
        let seconds = metrics.histograms(&name("lookup_seconds"), &help, &["source"], &BUCKETS)?;
        Ok(Self {
            hit: lookups.with_label_values(&["hit"]),
            miss: lookups.with_label_values(&["miss"]),
            negative: lookups.with_label_values(&["negative"]),
            coalesced: lookups.with_label_values(&["coalesced"]),
            lookups,
            cache_seconds: seconds.with_label_values(&["cache"]),
            store_seconds: seconds.with_label_values(&["store"]),
            entries: metrics.gauge(&name("cache_entries"), &format!("Cached {facts}"))?,
            weight: metrics.gauge(&name("cache_weight_bytes"), &format!("Weight of cached {facts}"))?,
            evictions: metrics.counter(&name("cache_evictions_total"), &format!("Evicted {facts}"))?,
        })
    }

    /// The counter of look-ups with another result, decided by the plugin.
    pub fn result(&self, result: &str) -> IntCounter {
        self.lookups.with_label_values(&[result])
    }
}
