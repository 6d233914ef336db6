//! What the plugin counts. Handles are resolved once; no token, user or client is ever a label.

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// The plugin's metrics.
#[derive(Clone)]
pub struct Metrics {
    /// Answered by the token cache.
    pub hit: IntCounter,
    /// Asked of the store.
    pub miss: IntCounter,
    /// Known to be unknown, answered by the cache.
    pub negative: IntCounter,
    /// Refused by the checksum, without cache or store.
    pub forged: IntCounter,
    /// Found, but no longer valid.
    pub expired: IntCounter,
    /// Waited for a look-up that was already under way.
    pub coalesced: IntCounter,
    /// Time of look-ups in the cache; one token in 64 is measured.
    pub cache_seconds: Histogram,
    /// Time of look-ups that asked the store.
    pub store_seconds: Histogram,
    /// Tokens issued, by grant and outcome.
    pub issued: IntCounterVec,
    /// Tokens in the cache.
    pub cache_entries: IntGauge,
    /// What they weigh.
    pub cache_weight: IntGauge,
    /// Tokens that gave way to others.
    pub evictions: IntCounter,
}

impl Metrics {
    /// Registers everything. An error means that a name is taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let lookups = counters(registry, "tollgate_token_lookups_total", "Token look-ups by result", &["result"])?;
        // Caches answer in well under a microsecond, stores in up to seconds.
        let buckets =
            [1e-7, 3e-7, 1e-6, 3e-6, 1e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.05, 0.25, 1.0, 5.0];
        let options = HistogramOpts::new("tollgate_token_lookup_seconds", "Time of token look-ups by source");
        let seconds = HistogramVec::new(options.buckets(buckets.to_vec()), &["source"])?;
        register(registry, &seconds)?;
        Ok(Self {
            hit: lookups.with_label_values(&["hit"]),
            miss: lookups.with_label_values(&["miss"]),
            negative: lookups.with_label_values(&["negative"]),
            forged: lookups.with_label_values(&["forged"]),
            expired: lookups.with_label_values(&["expired"]),
            coalesced: lookups.with_label_values(&["coalesced"]),
            cache_seconds: seconds.with_label_values(&["cache"]),
            store_seconds: seconds.with_label_values(&["store"]),
            issued: counters(
                registry,
                "tollgate_tokens_issued_total",
                "Token requests by grant and outcome",
                &["grant", "outcome"],
            )?,
            cache_entries: gauge(registry, "tollgate_token_cache_entries", "Tokens in the cache")?,
            cache_weight: gauge(registry, "tollgate_token_cache_weight_bytes", "Weight of the token cache")?,
            evictions: counter(registry, "tollgate_token_cache_evictions_total", "Tokens evicted for want of room")?,
        })
    }
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: &C) -> Result<(), prometheus::Error> {
    registry.register(Box::new(collector.clone()))
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
    let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
    register(registry, &counters)?;
    Ok(counters)
}

fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    let counter = IntCounter::new(name, help)?;
    register(registry, &counter)?;
    Ok(counter)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    let gauge = IntGauge::new(name, help)?;
    register(registry, &gauge)?;
    Ok(gauge)
}
