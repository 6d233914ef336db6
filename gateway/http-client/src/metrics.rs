//! Metrics of calls, by the plugin that makes them: names in the source, so their number is bounded. And of
//! breakers, by authority: those come from the configuration, and their number is limited.

use std::time::Instant;

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::connection::Protocol;
use crate::error::Error;

/// Seconds: from a server in the same rack to the longest timeout that is useful while a client waits.
const BOUNDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The metric families.
pub(crate) struct Metrics {
    requests: IntCounterVec,
    seconds: HistogramVec,
    in_flight: IntGaugeVec,
    connections: IntCounterVec,
    breakers: IntGaugeVec,
}

impl Metrics {
    /// Fails only if they are already registered.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let requests = Opts::new("tollgate_outbound_requests_total", "Outbound requests of plugins by outcome.");
        let seconds = HistogramOpts::new(
            "tollgate_outbound_request_duration_seconds",
            "Duration of plugins' outbound requests, including queueing and connecting.",
        );
        let in_flight = Opts::new("tollgate_outbound_requests_in_flight", "Outbound requests in flight or waiting.");
        let connections = Opts::new("tollgate_outbound_connections_total", "Outbound connections opened.");
        let breakers = Opts::new(
            "tollgate_outbound_breaker_state",
            "Whether calls to an authority pass: 0 all (closed), 1 one at a time (half-open), 2 none (open).",
        );
        let metrics = Self {
            requests: IntCounterVec::new(requests, &["plugin", "outcome"])?,
            seconds: HistogramVec::new(seconds.buckets(BOUNDS.to_vec()), &["plugin"])?,
            in_flight: IntGaugeVec::new(in_flight, &["plugin"])?,
            connections: IntCounterVec::new(connections, &["plugin", "protocol"])?,
            breakers: IntGaugeVec::new(breakers, &["authority"])?,
        };
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.seconds.clone()))?;
        registry.register(Box::new(metrics.in_flight.clone()))?;
        registry.register(Box::new(metrics.connections.clone()))?;
        registry.register(Box::new(metrics.breakers.clone()))?;
        Ok(metrics)
    }

    /// The state of one authority's breaker. There is one value for an authority at a time.
    pub(crate) fn of_breaker(&self, authority: &str) -> BreakerGauge {
        let gauge = self.breakers.with_label_values(&[authority]);
        BreakerGauge { authority: authority.to_owned(), gauge, all: self.breakers.clone() }
    }

    /// The metrics of one plugin.
    pub(crate) fn of_plugin(&self, plugin: &'static str) -> PluginMetrics {
        PluginMetrics {
            plugin,
            requests: self.requests.clone(),
            seconds: self.seconds.with_label_values(&[plugin]),
            in_flight: self.in_flight.with_label_values(&[plugin]),
            connections: self.connections.clone(),
        }
    }
}

/// The time series of one breaker, which ends when this is dropped.
pub(crate) struct BreakerGauge {
    authority: String,
    gauge: IntGauge,
    all: IntGaugeVec,
}

impl BreakerGauge {
    /// The current state.
    pub(crate) fn set(&self, state: i64) {
        self.gauge.set(state);
    }
}

impl Drop for BreakerGauge {
    fn drop(&mut self) {
        // It fails only if there is no such series.
        let _ = self.all.remove_label_values(&[&self.authority]);
    }
}

/// The time series of one plugin.
#[derive(Clone)]
pub(crate) struct PluginMetrics {
    plugin: &'static str,
    requests: IntCounterVec,
    seconds: Histogram,
    in_flight: IntGauge,
    connections: IntCounterVec,
}

impl PluginMetrics {
    /// A call begins.
    pub(crate) fn started(&self) -> InFlight<'_> {
        self.in_flight.inc();
        InFlight { metrics: self, since: Instant::now(), outcome: "canceled" }
    }

    /// A connection was opened.
    pub(crate) fn connected(&self, protocol: Protocol) {
        self.connections.with_label_values(&[self.plugin, protocol.name()]).inc();
    }
}

/// A call in flight. Counts as canceled if it is dropped before its outcome is known.
pub(crate) struct InFlight<'a> {
    metrics: &'a PluginMetrics,
    since: Instant,
    outcome: &'static str,
}

impl InFlight<'_> {
    /// Records the end of the call.
    pub(crate) fn ended<T>(mut self, result: &Result<T, Error>) {
        self.outcome = result.as_ref().map_or_else(Error::outcome, |_| "response");
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
        self.metrics.seconds.observe(self.since.elapsed().as_secs_f64());
        self.metrics.requests.with_label_values(&[self.metrics.plugin, self.outcome]).inc();
    }
}
