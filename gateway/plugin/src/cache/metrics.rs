//! Metrics of a cache of facts. Handles are resolved once; no key is ever a label.

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};

use crate::metrics::Metrics;

/// Caches respond in well under a microsecond, stores in up to seconds.
const BUCKETS: [f64; 16] =
    [1e-7, 3e-7, 1e-6, 3e-6, 1e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.05, 0.25, 1.0, 5.0];

/// The metrics of a cache, named `tollgate_<fact>_lookups_total` and so on.
#[derive(Clone)]
pub struct CacheMetrics {
    lookups: IntCounterVec,
    /// Found in the cache.
    pub hit: IntCounter,
    /// Queried from the store.
    pub miss: IntCounter,
    /// Found in the cache as unknown.
    pub negative: IntCounter,
    /// Found in the cache and served while the store was away.
    pub stale: IntCounter,
    /// Waited for a look-up in progress.
    pub coalesced: IntCounter,
    /// Time of look-ups in the cache; one key in 64 is measured.
    pub cache_seconds: Histogram,
    /// Time of look-ups that queried the store.
    pub store_seconds: Histogram,
    /// Facts in the cache.
    pub entries: IntGauge,
    /// Their weight in bytes.
    pub weight: IntGauge,
    /// Evicted facts.
    pub evictions: IntCounter,
}

impl CacheMetrics {
    /// Registers the metrics of a cache of facts: `fact` is part of the names, `facts` of the help texts.
    ///
    /// # Errors
    /// A name is taken, or does not belong to the plugin.
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
            stale: lookups.with_label_values(&["stale"]),
            coalesced: lookups.with_label_values(&["coalesced"]),
            lookups,
            cache_seconds: seconds.with_label_values(&["cache"]),
            store_seconds: seconds.with_label_values(&["store"]),
            entries: metrics.gauge(&name("cache_entries"), &format!("Cached {facts}"))?,
            weight: metrics.gauge(&name("cache_weight_bytes"), &format!("Weight of cached {facts}"))?,
            evictions: metrics.counter(&name("cache_evictions_total"), &format!("Evicted {facts}"))?,
        })
    }

    /// The counter of look-ups with another, plugin-specific result.
    pub fn result(&self, result: &str) -> IntCounter {
        self.lookups.with_label_values(&[result])
    }
}
