//! Metrics of key sets, by authority.

use prometheus::{IntCounterVec, IntGaugeVec};
use tollgate_plugin::Metrics;

/// Registered once by a plugin, under its own prefix. Cheap to clone.
#[derive(Clone)]
pub struct KeySourceMetrics {
    refreshes: IntCounterVec,
    keys: IntGaugeVec,
    fetched: IntGaugeVec,
}

/// Those of one authority.
pub(super) struct AuthorityMetrics {
    all: KeySourceMetrics,
    authority: String,
}

impl KeySourceMetrics {
    /// Registers `tollgate_<prefix>_key_set_…`.
    ///
    /// # Errors
    /// The names are taken, or do not belong to the plugin.
    pub fn register(metrics: &Metrics, prefix: &str) -> Result<Self, prometheus::Error> {
        let name = |of: &str| format!("{prefix}_key_set_{of}");
        let fetched = "When the keys of an authority were last fetched; their age is time() minus this.";
        Ok(Self {
            refreshes: metrics.counters(
                &name("refreshes_total"),
                "Attempts to fetch the keys of an authority, by outcome.",
                &["authority", "outcome"],
            )?,
            keys: metrics.gauges(&name("keys"), "Usable keys of an authority.", &["authority"])?,
            fetched: metrics.gauges(&name("fetched_timestamp_seconds"), fetched, &["authority"])?,
        })
    }

    pub(super) fn of(&self, authority: &str) -> AuthorityMetrics {
        AuthorityMetrics { all: self.clone(), authority: authority.to_owned() }
    }
}

impl AuthorityMetrics {
    /// A set with so many usable keys was fetched.
    pub(super) fn fetched(&self, keys: usize, now: i64) {
        self.all.refreshes.with_label_values(&[&*self.authority, "ok"]).inc();
        // Found again each time: what replaces this authority may have its name.
        self.all.keys.with_label_values(&[&*self.authority]).set(i64::try_from(keys).unwrap_or(i64::MAX));
        self.all.fetched.with_label_values(&[&*self.authority]).set(now);
    }

    pub(super) fn failed(&self, outcome: &str) {
        self.all.refreshes.with_label_values(&[&*self.authority, outcome]).inc();
    }

    /// Its keys are no longer used.
    pub(super) fn expired(&self) {
        self.all.keys.with_label_values(&[&*self.authority]).set(0);
    }
}

/// An authority that is no longer configured has no keys.
impl Drop for AuthorityMetrics {
    fn drop(&mut self) {
        // Fails only if they are removed already.
        let _ = self.all.keys.remove_label_values(&[&*self.authority]);
        let _ = self.all.fetched.remove_label_values(&[&*self.authority]);
    }
}
