//! Metrics of a plugin, under its own prefixes.

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// The prefix of every name.
const NAMESPACE: &str = "tollgate_";

/// Registers metrics, all of them named `tollgate_` and one of the plugin's prefixes. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    prefixes: Vec<String>,
}

impl Metrics {
    /// Registers metrics in this registry, with names that have one of these prefixes.
    pub fn new(registry: Registry, prefixes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { registry, prefixes: prefixes.into_iter().map(Into::into).collect() }
    }

    /// A counter; `name` begins with one of the plugin's prefixes; `tollgate_` is prepended.
    ///
    /// # Errors
    /// The name is taken, or does not belong to the plugin.
    pub fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.register(name, |name| IntCounter::new(name, help))
    }

    /// Counters distinguished by labels.
    ///
    /// # Errors
    /// As in [`Self::counter`].
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
        self.register(name, |name| IntCounterVec::new(Opts::new(name, help), labels))
    }

    /// A gauge.
    ///
    /// # Errors
    /// As in [`Self::counter`].
    pub fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.register(name, |name| IntGauge::new(name, help))
    }

    /// Gauges distinguished by labels.
    ///
    /// # Errors
    /// As in [`Self::counter`].
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, prometheus::Error> {
        self.register(name, |name| IntGaugeVec::new(Opts::new(name, help), labels))
    }

    /// A histogram.
    ///
    /// # Errors
    /// As in [`Self::counter`].
    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram, prometheus::Error> {
        let options = |name| HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.register(name, |name| Histogram::with_opts(options(name)))
    }

    /// Histograms distinguished by labels.
    ///
    /// # Errors
    /// As in [`Self::counter`].
    pub fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> Result<HistogramVec, prometheus::Error> {
        let options = |name| HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.register(name, |name| HistogramVec::new(options(name), labels))
    }

    fn register<C: Collector + Clone + 'static>(
        &self,
        name: &str,
        make: impl FnOnce(String) -> Result<C, prometheus::Error>,
    ) -> Result<C, prometheus::Error> {
        let is_own = |prefix: &String| name.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.starts_with('_'));
        if !self.prefixes.iter().any(is_own) {
            let prefixes = self.prefixes.join(", ");
            let message = format!("metric {name}: its name must begin with a prefix of the plugin and `_`: {prefixes}");
            return Err(prometheus::Error::Msg(message));
        }
        let collector = make(format!("{NAMESPACE}{name}"))?;
        self.registry.register(Box::new(collector.clone()))?;
        Ok(collector)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_registers_names_under_its_own_prefixes_only() {
        let registry = Registry::new();
        let metrics = Metrics::new(registry.clone(), ["key_auth"]);
        metrics.counter("key_auth_lookups_total", "Look-ups").unwrap().inc();
        let error = metrics.counter("token_lookups_total", "Look-ups").unwrap_err();
        assert_eq!(
            error.to_string(),
            "Error: metric token_lookups_total: its name must begin with a prefix of the plugin and `_`: key_auth"
        );
        assert!(metrics.counter("key_authority_total", "Another's").is_err());
        assert!(metrics.gauge("key_auth_lookups_total", "Taken").is_err());
        let names: Vec<_> = registry.gather().iter().map(|family| family.name().to_owned()).collect();
        assert_eq!(names, ["tollgate_key_auth_lookups_total"]);
    }
}
