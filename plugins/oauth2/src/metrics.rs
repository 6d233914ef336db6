//! What the plugin counts. Handles are resolved once; no token, user or client is ever a label.

use prometheus::{IntCounter, IntCounterVec};
use tollgate_plugin::cache::CacheMetrics;

/// What the names of the metrics begin with.
pub const PREFIXES: [&str; 2] = ["token", "tokens"];

/// The plugin's metrics.
#[derive(Clone)]
pub struct Metrics {
    /// Of the token cache.
    pub cache: CacheMetrics,
    /// Refused by the checksum, without cache or store.
    pub forged: IntCounter,
    /// Found, but no longer valid.
    pub expired: IntCounter,
    /// Tokens issued, by grant and outcome.
    pub issued: IntCounterVec,
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// A name is taken.
    pub fn register(metrics: &tollgate_plugin::Metrics) -> Result<Self, prometheus::Error> {
        let cache = CacheMetrics::register(metrics, "token", "tokens")?;
        let issued = "tokens_issued_total";
        Ok(Self {
            forged: cache.result("forged"),
            expired: cache.result("expired"),
            cache,
            issued: metrics.counters(issued, "Token requests by grant and outcome", &["grant", "outcome"])?,
        })
    }
}
