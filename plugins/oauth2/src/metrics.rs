//! The plugin's metrics. Handles are resolved once; no token or user is ever a label, and of
//! clients a bounded number, on request.

use prometheus::{IntCounter, IntCounterVec};
use tollgate_plugin::cache::CacheMetrics;

/// The prefixes of the metric names.
pub const PREFIXES: [&str; 3] = ["token", "tokens", "oauth2"];

/// The plugin's metrics.
#[derive(Clone)]
pub struct Metrics {
    /// Metrics of the token cache.
    pub cache: CacheMetrics,
    /// Refused by the checksum, without cache or store.
    pub forged: IntCounter,
    /// Not looked up, as too many without our checksum are.
    pub unproven: IntCounter,
    /// Found, but expired or revoked.
    pub expired: IntCounter,
    /// Tokens issued, by grant and outcome.
    pub issued: IntCounterVec,
    /// Requests that profile `bcp` would refuse, by behaviour and credential (`log_only`).
    pub deviations: IntCounterVec,
    /// Requests refused after too many failed authentications, by what has failed too often.
    pub limited: IntCounterVec,
}

impl Metrics {
    /// Registers all metrics.
    ///
    /// # Errors
    /// A name is taken.
    pub fn register(metrics: &tollgate_plugin::Metrics) -> Result<Self, prometheus::Error> {
        let cache = CacheMetrics::register(metrics, "token", "tokens")?;
        let deviations = "oauth2_bcp_would_refuse_total";
        let (issued, limited) = ("tokens_issued_total", "token_requests_limited_total");
        Ok(Self {
            forged: cache.result("forged"),
            unproven: cache.result("limited"),
            expired: cache.result("expired"),
            cache,
            deviations: metrics.counters(
                deviations,
                "Accepted requests that profile bcp would refuse (log_only)",
                &["behaviour", "credential"],
            )?,
            limited: metrics.counters(limited, "Requests refused with 429 after too many failures", &["by"])?,
            issued: metrics.counters(issued, "Token requests by grant and outcome", &["grant", "outcome"])?,
        })
    }
}
