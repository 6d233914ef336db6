//! Metrics of third-party tokens, by authority: those that are configured, so their number is bounded.

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};
use tollgate_plugin::Metrics;
use tollgate_plugin::cache::CacheMetrics;

/// The prefix of all names: each plugin that shares them has it among its own.
pub const PREFIX: &str = "third_party_token";

/// From a cached key's signature check to the longest useful timeout, in seconds.
const BUCKETS: [f64; 15] =
    [2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.25, 1.0, 2.5, 10.0];

/// The metric families.
pub(crate) struct TokenMetrics {
    pub(crate) cache: CacheMetrics,
    lookups: IntCounterVec,
    seconds: HistogramVec,
    left_out: IntCounterVec,
}

impl TokenMetrics {
    /// Fails if they are registered already.
    pub(crate) fn register(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        let name = |rest: &str| format!("{PREFIX}_{rest}");
        Ok(Self {
            cache: CacheMetrics::register(metrics, PREFIX, "third-party tokens")?,
            lookups: metrics.counters(
                &name("authority_lookups_total"),
                "Look-ups of third-party tokens by authority and result",
                &["authority", "result"],
            )?,
            seconds: metrics.histograms(
                &name("verification_seconds"),
                "Time to verify a token that is not cached, by authority",
                &["authority"],
                &BUCKETS,
            )?,
            left_out: metrics.counters(
                &name("claims_left_out_total"),
                "Claims that no header can carry, by authority and claim",
                &["authority", "claim"],
            )?,
        })
    }

    /// The metrics of one authority.
    pub(crate) fn of(&self, authority: &str) -> AuthorityMetrics {
        let result = |result| self.lookups.with_label_values(&[authority, result]);
        AuthorityMetrics {
            hit: result("hit"),
            stale: result("stale"),
            expired: result("expired"),
            active: result("active"),
            inactive: result("inactive"),
            cannot_tell: result("cannot_tell"),
            seconds: self.seconds.with_label_values(&[authority]),
        }
    }

    /// A claim of an authority's tokens cannot be carried by a header.
    pub(crate) fn left_out(&self, authority: &str, claim: &str) {
        self.left_out.with_label_values(&[authority, claim]).inc();
    }

    /// How often that was so.
    #[cfg(test)]
    pub(crate) fn left_out_count(&self, authority: &str, claim: &str) -> u64 {
        self.left_out.with_label_values(&[authority, claim]).get()
    }
}

/// The metrics of one authority.
pub(crate) struct AuthorityMetrics {
    /// Accepted from the cache.
    pub(crate) hit: IntCounter,
    /// Accepted from the cache beyond its `ttl`, since the authority cannot tell (`serve_stale_for`).
    pub(crate) stale: IntCounter,
    /// Cached, and expired by its own `exp`.
    pub(crate) expired: IntCounter,
    /// The authority said that it is valid.
    pub(crate) active: IntCounter,
    /// The authority said that it is not.
    pub(crate) inactive: IntCounter,
    /// The authority could not be asked, or its response cannot be used.
    pub(crate) cannot_tell: IntCounter,
    /// Time of look-ups that asked the authority.
    pub(crate) seconds: Histogram,
}
