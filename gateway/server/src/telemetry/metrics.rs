//! The data plane's metric families, under Tollgate's names and under the `kong_*` names of
//! gateway.md §11.
//!
//! Invariant: the series of deleted routes are removed ([`Metrics::prune`]), so the number
//! of series depends on the configuration and not its history. No token, user or client is a label.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use prometheus::core::{Collector, Desc};
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use tollgate_core::header_text;

use super::limit_metrics::{Limit, LimitMetrics};
use super::route_metrics::{Labels, Observation, RouteMetrics, Routes};
use super::tasks::Tasks;
use crate::build_info::{self, BuildInfo};

/// The data plane's metrics. Created once, shared by everything that counts.
#[derive(Debug)]
pub struct Metrics {
    routes: Routes,
    requests: IntGauge,
    refused: IntCounterVec,
    accepted: IntGauge,
    open: IntGauge,
    open_by_listener: [IntGauge; 2],
    under_way: IntGauge,
    datastore_reachable: IntGauge,
    access_log_dropped: IntCounter,
    audit_log_dropped: IntCounter,
    limits: LimitMetrics,
    tasks: Tasks,
    target_health: AtomicBool,
}

/// `kong_nginx_connections_total`. Three of its states are counted; the others are derived from them
/// on export.
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
        let writing = self.state("writing").get();
        // Requests, although the name says connections: tools look for them here.
        self.state("total").set(self.requests.get());
        self.state("handled").set(accepted);
        // A request is counted once its head is read. Over HTTP/2 a connection has several.
        self.state("reading").set(0);
        self.state("waiting").set((active - writing).max(0));
        self.states.collect()
    }
}

/// A listener of the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listener {
    /// Plain HTTP.
    Http,
    /// TLS.
    Https,
}

impl Listener {
    fn label(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Totals of the proxy since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// Connections.
    pub accepted: u64,
    /// Client connections that are open.
    pub open: u64,
    /// Requests in progress.
    pub under_way: u64,
    /// Requests.
    pub requests: u64,
}

impl Metrics {
    /// Creates and registers every family. Fails only if one is already registered.
    pub fn register(registry: &Registry, node_id: &str, version: &str) -> Result<Self, prometheus::Error> {
        let routes = Routes::new()?;
        registry.register(Box::new(routes.clone()))?;
        let limits = LimitMetrics::new()?;
        limits.add_source(Limit::HeaderValue, header_text::too_long);
        registry.register(Box::new(limits.clone()))?;
        let tasks = Tasks::new()?;
        registry.register(Box::new(tasks.clone()))?;
        let requests =
            IntGaugeVec::new(Opts::new("kong_nginx_requests_total", "Requests received."), &["node_id", "subsystem"])?;
        let node = IntGaugeVec::new(Opts::new("kong_node_info", "This node."), &["node_id", "version"])?;
        let datastore_reachable = IntGauge::new("kong_datastore_reachable", "Whether the store responds: 1 or 0.")?;
        let access_log_dropped = IntCounter::new(
            "tollgate_access_log_dropped_total",
            "Access log lines dropped because their buffer was full.",
        )?;
        let audit_log_dropped = IntCounter::new(
            "tollgate_audit_log_dropped_total",
            "Audit log lines dropped because their buffer was full.",
        )?;
        registry.register(Box::new(audit_log_dropped.clone()))?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(node.clone()))?;
        registry.register(Box::new(datastore_reachable.clone()))?;
        registry.register(Box::new(access_log_dropped.clone()))?;
        node.with_label_values(&[node_id, version]).set(1);
        registry.register(Box::new(build_info(build_info::THIS)?))?;
        let about = Opts::new(
            "tollgate_refused_requests_total",
            "Requests to which the gateway itself responded, by the reason in the access log.",
        );
        let refused = IntCounterVec::new(about, &["reason"])?;
        registry.register(Box::new(refused.clone()))?;
        let about = Opts::new("tollgate_connections_open", "Client connections that are open, by listener.");
        let by_listener = IntGaugeVec::new(about, &["listener"])?;
        registry.register(Box::new(by_listener.clone()))?;
        let open_by_listener =
            [Listener::Http, Listener::Https].map(|listener| by_listener.with_label_values(&[listener.label()]));
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let requests = requests.with_label_values(&[node_id, "http"]);
        let connections = ConnectionStates::new(node_id, requests.clone())?;
        let accepted = connections.state("accepted");
        let (open, under_way) = (connections.state("active"), connections.state("writing"));
        registry.register(Box::new(connections))?;
        Ok(Self {
            requests,
            refused,
            accepted,
            open,
            open_by_listener,
            under_way,
            routes,
            datastore_reachable,
            access_log_dropped,
            audit_log_dropped,
            limits,
            tasks,
            target_health: AtomicBool::new(true),
        })
    }

    /// The metrics of a route; the same for the same labels, in every snapshot.
    pub fn route(&self, labels: Labels) -> Arc<RouteMetrics> {
        self.routes.route(labels)
    }

    /// Removes the series of routes that no snapshot and no request holds any more. Call this
    /// after a snapshot was replaced.
    pub fn prune(&self) {
        self.routes.prune();
    }

    /// Counts a request that matched no route.
    pub(crate) fn observe_unmatched(&self, seen: &Observation) {
        self.routes.unmatched().observe(seen);
    }

    /// The connection and request counters, for `/status` and for draining.
    pub fn traffic(&self) -> Traffic {
        let count = |gauge: &IntGauge| u64::try_from(gauge.get()).unwrap_or(0);
        Traffic {
            accepted: count(&self.accepted),
            open: count(&self.open),
            under_way: count(&self.under_way),
            requests: count(&self.requests),
        }
    }

    /// Counts a new request.
    pub(crate) fn request_started(&self) {
        self.requests.inc();
        self.under_way.inc();
    }

    /// Counts a new connection.
    pub(crate) fn connection_opened(&self, listener: Listener) {
        self.accepted.inc();
        self.open.inc();
        self.of_listener(listener).inc();
    }

    /// Counts a closed connection.
    pub(crate) fn connection_closed(&self, listener: Listener) {
        self.open.dec();
        self.of_listener(listener).dec();
    }

    fn of_listener(&self, listener: Listener) -> &IntGauge {
        let [http, https] = &self.open_by_listener;
        match listener {
            Listener::Http => http,
            Listener::Https => https,
        }
    }

    /// Counts a response of the gateway itself. Its reason is one of a fixed set.
    pub(crate) fn refused(&self, reason: &'static str) {
        self.refused.with_label_values(&[reason]).inc();
    }

    /// Counts a finished request, whatever the outcome.
    pub(crate) fn request_ended(&self) {
        self.under_way.dec();
    }

    /// 1 while the store responds, else 0.
    pub fn datastore_reachable(&self) -> &IntGauge {
        &self.datastore_reachable
    }

    /// How often limits were reached.
    pub fn limits(&self) -> &LimitMetrics {
        &self.limits
    }

    /// The tasks of the process.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Whether the health of targets is exported under the names of the compatible gateway.
    pub fn exports_target_health(&self) -> bool {
        self.target_health.load(Ordering::Relaxed)
    }

    /// Exports it from now on, or no more.
    pub(crate) fn export_target_health(&self, wanted: bool) {
        self.target_health.store(wanted, Ordering::Relaxed);
    }

    /// The counter of dropped audit log lines.
    pub fn audit_log_dropped(&self) -> IntCounter {
        self.audit_log_dropped.clone()
    }

    /// The counter of dropped access log lines.
    pub fn access_log_dropped(&self) -> IntCounter {
        self.access_log_dropped.clone()
    }
}

/// 1, with build information as labels; Pingora as published has no series.
fn build_info(build: BuildInfo) -> Result<IntGaugeVec, prometheus::Error> {
    let about = Opts::new("tollgate_build_info", "What this binary was built from.");
    let gauge = IntGaugeVec::new(about, &["version", "pingora", "pingora_patches", "pingora_series"])?;
    let (patches, series) = build.pingora.series.map_or(("0", ""), |series| (series.patches, series.digest));
    gauge.with_label_values(&[build.version, build.pingora.version, patches, series]).set(1);
    Ok(gauge)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::StatusCode;
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
    fn the_build_is_exported_with_its_pingora() {
        use crate::build_info::{Pingora, Series};

        let exported = |series| {
            let registry = Registry::new();
            let build = BuildInfo { version: "1.2.3", pingora: Pingora { version: "0.9.1", series } };
            registry.register(Box::new(build_info(build).unwrap())).unwrap();
            text(&registry).lines().last().unwrap_or_default().to_owned()
        };
        let published =
            r#"tollgate_build_info{pingora="0.9.1",pingora_patches="0",pingora_series="",version="1.2.3"} 1"#;
        assert_eq!(exported(None), published);
        let series = Series { patches: "14", digest: "0123456789ab" };
        let patched = published.replace(r#""0""#, r#""14""#).replace(r#"series="""#, r#"series="0123456789ab""#);
        assert_eq!(exported(Some(series)), patched);
    }

    #[test]
    fn connections_are_exported_in_every_state() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry, "node", "3.10.0").unwrap();
        for listener in [Listener::Http, Listener::Https, Listener::Http] {
            metrics.connection_opened(listener);
        }
        metrics.connection_closed(Listener::Http);
        (0..3).for_each(|_| metrics.request_started());
        metrics.request_ended();
        let text = text(&registry);
        for line in
            [r#"tollgate_connections_open{listener="http"} 1"#, r#"tollgate_connections_open{listener="https"} 1"#]
        {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        let states = [
            ("accepted", 3),
            ("handled", 3),
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
    fn a_request_without_a_route_is_counted_only_under_our_names() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry, "node", "3.10.0").unwrap();
        let seen = Observation { status: StatusCode::NOT_FOUND, source: Source::Gateway, ..observation() };
        metrics.observe_unmatched(&seen);
        let text = text(&registry);
        assert!(text.contains(r#"tollgate_requests_total{code="404",route="",service=""} 1"#), "{text}");
        assert!(!text.contains("kong_http_requests_total{"), "{text}");
    }

    #[test]
    fn histograms_are_exported_in_the_units_and_bounds_of_each_family() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry, "node", "3.10.0").unwrap();
        metrics.route(labels("r")).observe(&observation());
        let text = text(&registry);
        for line in [
            r#"tollgate_request_duration_seconds_bucket{route="r",service="api",le="0.025"} 0"#,
            r#"tollgate_request_duration_seconds_bucket{route="r",service="api",le="0.05"} 1"#,
            r#"tollgate_request_duration_seconds_sum{route="r",service="api"} 0.03"#,
            r#"tollgate_gateway_duration_seconds_bucket{route="r",service="api",le="0.005"} 0"#,
            r#"tollgate_gateway_duration_seconds_bucket{route="r",service="api",le="0.01"} 1"#,
            r#"tollgate_upstream_duration_seconds_bucket{service="api",le="0.025"} 1"#,
            r#"kong_upstream_latency_ms_bucket{route="r",service="api",workspace="default",le="25"} 1"#,
            r#"kong_request_latency_ms_bucket{route="r",service="api",workspace="default",le="25"} 0"#,
            r#"kong_request_latency_ms_bucket{route="r",service="api",workspace="default",le="+Inf"} 1"#,
            r#"kong_kong_latency_ms_bucket{route="r",service="api",workspace="default",le="7"} 0"#,
            r#"kong_kong_latency_ms_bucket{route="r",service="api",workspace="default",le="10"} 1"#,
            r#"kong_kong_latency_ms_sum{route="r",service="api",workspace="default"} 10"#,
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn the_counters_of_a_service_do_not_fall_when_one_of_its_routes_is_deleted() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry, "node", "3.10.0").unwrap();
        let kept = metrics.route(labels("kept"));
        kept.observe(&observation());
        metrics.route(labels("gone")).observe(&observation());
        let line = r#"tollgate_upstream_duration_seconds_count{service="api"} 2"#;
        assert!(text(&registry).contains(line));
        metrics.prune();
        assert!(text(&registry).contains(line), "{}", text(&registry));
        drop(kept);
        metrics.prune();
        assert!(!text(&registry).contains("tollgate_upstream_duration_seconds"));
    }

    #[test]
    fn series_of_a_route_in_use_stay_and_those_of_a_removed_one_are_deleted() {
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
