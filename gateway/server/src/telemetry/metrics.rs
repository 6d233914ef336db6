//! The data plane's metric families, under Tollgate's names and under the `kong_*` names of
//! contract gateway.md §11.
//!
//! Invariant: the series of routes that are gone are removed ([`Metrics::prune`]), so the number
//! of series follows the configuration and not its history. No token, user or client is a label.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use http::StatusCode;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use super::route_metrics::{Labels, RouteMetrics};

const SECONDS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];
const KONG_LATENCY: [f64; 17] =
    [1.0, 2.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 50.0, 75.0, 100.0, 200.0, 500.0, 750.0, 1000.0, 3000.0, 6000.0];
const UPSTREAM_LATENCY: [f64; 13] =
    [25.0, 50.0, 80.0, 100.0, 250.0, 400.0, 700.0, 1000.0, 2000.0, 5000.0, 10000.0, 30000.0, 60000.0];

/// The families that are labelled by route.
#[derive(Debug, Clone)]
pub(super) struct Families {
    pub(super) requests: IntCounterVec,
    pub(super) duration: HistogramVec,
    pub(super) upstream_duration: HistogramVec,
    pub(super) kong_requests: IntCounterVec,
    pub(super) kong_bandwidth: IntCounterVec,
    pub(super) kong_latency: HistogramVec,
    pub(super) kong_upstream_latency: HistogramVec,
    pub(super) kong_request_latency: HistogramVec,
}

impl Families {
    fn new() -> Result<Self, prometheus::Error> {
        let both = ["service", "route"];
        let kong = ["service", "route", "workspace"];
        Ok(Self {
            requests: IntCounterVec::new(
                Opts::new("tollgate_requests_total", "Requests by service, route and status."),
                &["service", "route", "code"],
            )?,
            duration: histograms(
                "tollgate_request_duration_seconds",
                "From the request's head to the end of the answer.",
                &SECONDS,
                &both,
            )?,
            upstream_duration: histograms(
                "tollgate_upstream_duration_seconds",
                "From sending the request upstream to the head of its answer.",
                &SECONDS,
                &["service"],
            )?,
            kong_requests: IntCounterVec::new(
                Opts::new("kong_http_requests_total", "Requests by service, route, status and who chose it."),
                &["service", "route", "code", "source", "workspace", "consumer"],
            )?,
            kong_bandwidth: IntCounterVec::new(
                Opts::new("kong_bandwidth_bytes", "Body bytes by direction."),
                &["service", "route", "direction", "workspace", "consumer"],
            )?,
            kong_latency: histograms("kong_kong_latency_ms", "Time spent in the gateway.", &KONG_LATENCY, &kong)?,
            kong_upstream_latency: histograms(
                "kong_upstream_latency_ms",
                "Time spent waiting for the upstream.",
                &UPSTREAM_LATENCY,
                &kong,
            )?,
            kong_request_latency: histograms(
                "kong_request_latency_ms",
                "Time spent on the whole request.",
                &UPSTREAM_LATENCY,
                &kong,
            )?,
        })
    }

    fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.requests.clone()))?;
        registry.register(Box::new(self.duration.clone()))?;
        registry.register(Box::new(self.upstream_duration.clone()))?;
        registry.register(Box::new(self.kong_requests.clone()))?;
        registry.register(Box::new(self.kong_bandwidth.clone()))?;
        registry.register(Box::new(self.kong_latency.clone()))?;
        registry.register(Box::new(self.kong_upstream_latency.clone()))?;
        registry.register(Box::new(self.kong_request_latency.clone()))
    }

    /// Removing what is not there is harmless: most statuses were never seen.
    pub(super) fn remove(&self, labels: &Labels, codes: &[u16], sources: &[&str]) {
        let (service, route) = (labels.service.as_str(), labels.route.as_str());
        for code in codes {
            let code = code.to_string();
            let _ = self.requests.remove_label_values(&[service, route, &code]);
            for source in sources {
                let _ = self.kong_requests.remove_label_values(&[service, route, &code, source, "default", ""]);
            }
        }
        let _ = self.duration.remove_label_values(&[service, route]);
        for direction in ["ingress", "egress"] {
            let _ = self.kong_bandwidth.remove_label_values(&[service, route, direction, "default", ""]);
        }
        for family in [&self.kong_latency, &self.kong_upstream_latency, &self.kong_request_latency] {
            let _ = family.remove_label_values(&[service, route, "default"]);
        }
    }
}

fn histograms(name: &str, help: &str, buckets: &[f64], labels: &[&str]) -> Result<HistogramVec, prometheus::Error> {
    HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)
}

/// The data plane's metrics. Made once, shared by everything that counts.
#[derive(Debug)]
pub struct Metrics {
    families: Families,
    unmatched: [IntCounter; 2],
    unmatched_duration: Histogram,
    requests: IntGauge,
    accepted: IntGauge,
    active: IntGauge,
    datastore_reachable: IntGauge,
    access_log_dropped: IntCounter,
    routes: Mutex<HashMap<Labels, Arc<RouteMetrics>>>,
}

/// `kong_nginx_connections_total`. Of its states only two are counted; the others follow from them,
/// and are worked out when somebody asks.
struct ConnectionStates {
    node_id: String,
    states: IntGaugeVec,
    requests: IntGauge,
}

impl ConnectionStates {
    fn new(node_id: &str, requests: IntGauge) -> Result<Self, prometheus::Error> {
        let about = Opts::new("kong_nginx_connections_total", "Client connections by state.");
        let states = IntGaugeVec::new(about, &["node_id", "subsystem", "state"])?;
        Ok(Self { node_id: node_id.to_owned(), states, requests })
    }

    fn state(&self, name: &str) -> IntGauge {
        self.states.with_label_values(&[self.node_id.as_str(), "http", name])
    }
}

impl Collector for ConnectionStates {
    fn desc(&self) -> Vec<&Desc> {
        self.states.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let (accepted, active) = (self.state("accepted").get(), self.state("active").get());
        // Requests, although it is called so among connections: it is where tools look for them.
        self.state("total").set(self.requests.get());
        self.state("handled").set(accepted);
        self.state("writing").set(active);
        // A request is counted once its head is read, and idle connections not at all.
        self.state("reading").set(0);
        self.state("waiting").set(0);
        self.states.collect()
    }
}

/// What went through the proxy since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// Connections.
    pub accepted: u64,
    /// Requests that are not answered yet.
    pub under_way: u64,
    /// Requests.
    pub requests: u64,
}

impl Metrics {
    /// Makes and registers every family. Fails only when one is registered already.
    pub fn register(registry: &Registry, node_id: &str, version: &str) -> Result<Self, prometheus::Error> {
        let families = Families::new()?;
        families.register(registry)?;
        let requests =
            IntGaugeVec::new(Opts::new("kong_nginx_requests_total", "Requests received."), &["node_id", "subsystem"])?;
        let node = IntGaugeVec::new(Opts::new("kong_node_info", "This node."), &["node_id", "version"])?;
        let datastore_reachable = IntGauge::new("kong_datastore_reachable", "Whether the store answers: 1 or 0.")?;
        let access_log_dropped = IntCounter::new(
            "tollgate_access_log_dropped_total",
            "Access log lines dropped because their buffer was full.",
        )?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(node.clone()))?;
        registry.register(Box::new(datastore_reachable.clone()))?;
        registry.register(Box::new(access_log_dropped.clone()))?;
        node.with_label_values(&[node_id, version]).set(1);
        let requests = requests.with_label_values(&[node_id, "http"]);
        let connections = ConnectionStates::new(node_id, requests.clone())?;
        let (accepted, active) = (connections.state("accepted"), connections.state("active"));
        registry.register(Box::new(connections))?;
        Ok(Self {
            unmatched: ["404", "400"].map(|code| families.requests.with_label_values(&["", "", code])),
            unmatched_duration: families.duration.with_label_values(&["", ""]),
            requests,
            accepted,
            active,
            families,
            datastore_reachable,
            access_log_dropped,
            routes: Mutex::default(),
        })
    }

    /// The handles of a route; the same ones for the same labels, whatever the snapshot.
    pub fn route(&self, labels: Labels) -> Arc<RouteMetrics> {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let made = |labels: &Labels| Arc::new(RouteMetrics::new(labels.clone(), self.families.clone()));
        Arc::clone(routes.entry(labels).or_insert_with_key(made))
    }

    /// Removes the series of routes that no snapshot and no request holds any more. To be called
    /// after a snapshot was replaced.
    pub fn prune(&self) {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.retain(|_, metrics| {
            let used = Arc::strong_count(metrics) > 1;
            if !used {
                metrics.forget();
            }
            used
        });
    }

    /// Counts a request that matched no route.
    pub(crate) fn observe_unmatched(&self, status: StatusCode, total: std::time::Duration) {
        let [not_found, bad_request] = &self.unmatched;
        match status {
            StatusCode::NOT_FOUND => not_found.inc(),
            StatusCode::BAD_REQUEST => bad_request.inc(),
            other => self.families.requests.with_label_values(&["", "", other.as_str()]).inc(),
        }
        self.unmatched_duration.observe(total.as_secs_f64());
    }

    /// The connection and request counters, for `/status` and for draining.
    pub fn traffic(&self) -> Traffic {
        let count = |gauge: &IntGauge| u64::try_from(gauge.get()).unwrap_or(0);
        Traffic { accepted: count(&self.accepted), under_way: count(&self.active), requests: count(&self.requests) }
    }

    /// A request begins.
    pub(crate) fn request_started(&self) {
        self.requests.inc();
        self.active.inc();
    }

    /// A request is the first on its connection.
    pub(crate) fn connection_seen(&self) {
        self.accepted.inc();
    }

    /// A request is over, however it ended.
    pub(crate) fn request_ended(&self) {
        self.active.dec();
    }

    /// 1 while the store answers, else 0.
    pub fn datastore_reachable(&self) -> &IntGauge {
        &self.datastore_reachable
    }

    /// Lines the access log lost.
    pub fn access_log_dropped(&self) -> IntCounter {
        self.access_log_dropped.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus::TextEncoder;

    use super::*;
    use crate::telemetry::route_metrics::{Observation, Source};

    fn labels(route: &str) -> Labels {
        Labels { service: "api".to_owned(), route: route.to_owned() }
    }

    fn observation() -> Observation {
        Observation {
            status: StatusCode::OK,
            source: Source::Service,
            total: Duration::from_millis(30),
            upstream: Some(Duration::from_millis(20)),
            bytes_in: 5,
            bytes_out: 7,
        }
    }

    fn text(registry: &Registry) -> String {
        TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
    }

    #[test]
    fn a_request_is_counted_under_both_families_of_names() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry, "node", "3.10.0").unwrap();
        metrics.route(labels("r")).observe(&observation());
        let text = text(&registry);
        for line in [
            r#"tollgate_requests_total{code="200",route="r",service="api"} 1"#,
            r#"kong_bandwidth_bytes{consumer="",direction="egress",route="r",service="api",workspace="default"} 7"#,
            r#"kong_node_info{node_id="node",version="3.10.0"} 1"#,
            r#"kong_kong_latency_ms_count{route="r",service="api",workspace="default"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn connections_are_told_in_every_state() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry, "node", "3.10.0").unwrap();
        metrics.connection_seen();
        (0..3).for_each(|_| metrics.request_started());
        metrics.request_ended();
        let text = text(&registry);
        let states = [
            ("accepted", 1),
            ("handled", 1),
            ("total", 3),
            ("active", 2),
            ("writing", 2),
            ("reading", 0),
            ("waiting", 0),
        ];
        for (state, count) in states {
            let line =
                format!(r#"kong_nginx_connections_total{{node_id="node",state="{state}",subsystem="http"}} {count}"#);
            assert!(text.contains(&line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn series_of_a_route_in_use_stay_and_those_of_a_removed_one_go() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry, "node", "3.10.0").unwrap();
        let kept = metrics.route(labels("kept"));
        kept.observe(&observation());
        metrics.route(labels("gone")).observe(&observation());
        metrics.prune();
        let text = text(&registry);
        assert!(text.contains(r#"route="kept""#));
        assert!(!text.contains(r#"route="gone""#), "{text}");
    }
}
