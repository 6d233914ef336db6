//! The metrics of routes: counted in one [`RouteCounters`] per route, exported under Tollgate's names and under
//! the `kong_*` names of gateway.md §11.
//!
//! Invariant: no label is looked up and no string created for a request. Counters are kept from one
//! snapshot to the next, and routes without requests are not exported.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use tollgate_core::plugin::TrafficMetrics;
use uuid::Uuid;

use super::consumer_counters::{ConsumerCounters, Counts};
use super::route_counters::{Distribution, RouteCounters};

const SECONDS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];
/// What a gateway adds is mostly below a millisecond.
const GATEWAY_SECONDS: [f64; 14] =
    [0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 3.0, 10.0];
const KONG_LATENCY: [f64; 17] =
    [1.0, 2.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 50.0, 75.0, 100.0, 200.0, 500.0, 750.0, 1000.0, 3000.0, 6000.0];
const UPSTREAM_LATENCY: [f64; 13] =
    [25.0, 50.0, 80.0, 100.0, 250.0, 400.0, 700.0, 1000.0, 2000.0, 5000.0, 10000.0, 30000.0, 60000.0];

/// Who chose the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The upstream.
    Service,
    /// The gateway: a plugin's reply, or an error.
    Gateway,
}

impl Source {
    fn label(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Gateway => "kong",
        }
    }
}

/// The counted properties of a finished request.
#[derive(Debug, Clone, Copy)]
pub struct Observation {
    /// The status sent.
    pub status: StatusCode,
    /// Who chose it.
    pub source: Source,
    /// From the request's head to the end of the response.
    pub total: Duration,
    /// The part spent waiting for the upstream's head.
    pub upstream: Option<Duration>,
    /// Body bytes from the client.
    pub bytes_in: u64,
    /// Body bytes to the client.
    pub bytes_out: u64,
}

/// The `service` and `route` labels of a route; both empty: requests that matched none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Labels {
    /// The service's name, or else its host.
    pub service: String,
    /// The route's name, or else its id.
    pub route: String,
}

/// The counters of one route.
#[derive(Debug)]
pub struct RouteMetrics {
    labels: Labels,
    counters: RouteCounters,
    consumers: ConsumerCounters,
    exported: Mutex<Exported>,
}

impl RouteMetrics {
    fn new(labels: Labels) -> Self {
        let (counters, consumers) = (RouteCounters::new(), ConsumerCounters::default());
        Self { labels, counters, consumers, exported: Mutex::default() }
    }

    /// The names of the route and its service.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Counts a finished request.
    pub fn observe(&self, seen: &Observation) {
        self.observe_of(None, seen);
    }

    /// Counts a finished request of a consumer, if it is known whose it was.
    pub fn observe_of(&self, consumer: Option<Uuid>, seen: &Observation) {
        self.counters.add(seen);
        self.consumers.add(consumer, seen);
    }

    /// Chooses what is exported from now on.
    pub fn export(&self, chosen: TrafficMetrics) {
        let TrafficMetrics { statuses, latencies, bandwidth, consumers, .. } = chosen;
        *self.exported() = Exported { statuses, latencies, bandwidth };
        self.consumers.count_by(consumers, &self.counters);
    }

    fn exported(&self) -> MutexGuard<'_, Exported> {
        self.exported.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which families under the names of the compatible gateway are exported.
#[derive(Debug, Clone, Copy)]
struct Exported {
    statuses: bool,
    latencies: bool,
    bandwidth: bool,
}

impl Default for Exported {
    fn default() -> Self {
        Self { statuses: true, latencies: true, bandwidth: true }
    }
}

#[derive(Debug, Default)]
struct State {
    routes: HashMap<Labels, Arc<RouteMetrics>>,
    /// The upstream times of deleted routes of existing services.
    gone: HashMap<String, Distribution>,
}

/// The metrics of all routes.
#[derive(Debug, Clone)]
pub(super) struct Routes {
    state: Arc<Mutex<State>>,
    unmatched: Arc<RouteMetrics>,
    descriptions: Arc<Vec<Desc>>,
}

impl Routes {
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let described = Family::ALL.iter().map(|family| {
            let labels = family.labels().iter().map(|label| (*label).to_owned()).collect();
            Desc::new(family.name().to_owned(), family.help().to_owned(), labels, HashMap::new())
        });
        let nothing = Labels { service: String::new(), route: String::new() };
        Ok(Self {
            state: Arc::default(),
            unmatched: Arc::new(RouteMetrics::new(nothing)),
            descriptions: Arc::new(described.collect::<Result<_, _>>()?),
        })
    }

    /// The metrics of a route; the same for the same labels, in every snapshot.
    pub(super) fn route(&self, labels: Labels) -> Arc<RouteMetrics> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let made = |labels: &Labels| Arc::new(RouteMetrics::new(labels.clone()));
        Arc::clone(state.routes.entry(labels).or_insert_with_key(made))
    }

    /// The metrics of requests that matched no route.
    pub(super) fn unmatched(&self) -> &RouteMetrics {
        &self.unmatched
    }

    /// Removes routes that no snapshot and no request holds any more.
    pub(super) fn prune(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { routes, gone } = &mut *state;
        routes.retain(|_, route| {
            let used = Arc::strong_count(route) > 1;
            if !used {
                merge(gone, &route.labels.service, route.counters.upstream());
            }
            used
        });
        // A counter of a service must not fall while the service exists.
        gone.retain(|service, _| routes.keys().any(|labels| labels.service == *service));
    }
}

fn merge(into: &mut HashMap<String, Distribution>, service: &str, upstream: Distribution) {
    match into.get_mut(service) {
        Some(known) => known.merge(&upstream),
        None => {
            into.insert(service.to_owned(), upstream);
        }
    }
}

/// The families that are exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Family {
    Requests,
    Duration,
    GatewayDuration,
    UpstreamDuration,
    KongRequests,
    KongBandwidth,
    KongLatency,
    KongUpstreamLatency,
    KongRequestLatency,
}

impl Family {
    const ALL: [Self; 9] = [
        Self::Requests,
        Self::Duration,
        Self::GatewayDuration,
        Self::UpstreamDuration,
        Self::KongRequests,
        Self::KongBandwidth,
        Self::KongLatency,
        Self::KongUpstreamLatency,
        Self::KongRequestLatency,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Requests => "tollgate_requests_total",
            Self::Duration => "tollgate_request_duration_seconds",
            Self::GatewayDuration => "tollgate_gateway_duration_seconds",
            Self::UpstreamDuration => "tollgate_upstream_duration_seconds",
            Self::KongRequests => "kong_http_requests_total",
            Self::KongBandwidth => "kong_bandwidth_bytes",
            Self::KongLatency => "kong_kong_latency_ms",
            Self::KongUpstreamLatency => "kong_upstream_latency_ms",
            Self::KongRequestLatency => "kong_request_latency_ms",
        }
    }

    fn help(self) -> &'static str {
        match self {
            Self::Requests => "Requests by service, route and status.",
            Self::Duration => "From the request's head to the end of the response.",
            Self::GatewayDuration => "The part of a request that is not spent waiting for the upstream.",
            Self::UpstreamDuration => "From sending the request upstream to the head of its response.",
            Self::KongRequests => "Requests by service, route, status and who chose it.",
            Self::KongBandwidth => "Body bytes by direction.",
            Self::KongLatency => "Time spent in the gateway.",
            Self::KongUpstreamLatency => "Time spent waiting for the upstream.",
            Self::KongRequestLatency => "Time spent on the whole request.",
        }
    }

    /// In alphabetical order, as they are exported.
    fn labels(self) -> &'static [&'static str] {
        match self {
            Self::Requests => &["code", "route", "service"],
            Self::Duration | Self::GatewayDuration => &["route", "service"],
            Self::UpstreamDuration => &["service"],
            Self::KongRequests => &["code", "consumer", "route", "service", "source", "workspace"],
            Self::KongBandwidth => &["consumer", "direction", "route", "service", "workspace"],
            Self::KongLatency | Self::KongUpstreamLatency | Self::KongRequestLatency => {
                &["route", "service", "workspace"]
            }
        }
    }

    fn kind(self) -> MetricType {
        match self {
            Self::Requests | Self::KongRequests | Self::KongBandwidth => MetricType::COUNTER,
            _ => MetricType::HISTOGRAM,
        }
    }

    /// The upper bounds of a histogram, and how many of its unit make a second.
    fn bounds(self) -> (&'static [f64], f64) {
        match self {
            Self::GatewayDuration => (&GATEWAY_SECONDS, 1.0),
            Self::KongLatency => (&KONG_LATENCY, 1e3),
            Self::KongUpstreamLatency | Self::KongRequestLatency => (&UPSTREAM_LATENCY, 1e3),
            _ => (&SECONDS, 1.0),
        }
    }

    /// A sample; the values of the labels in the order of [`Self::labels`].
    fn metric(self, values: &[&str]) -> Metric {
        let pair = |(name, value): (&&str, &&str)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        };
        Metric::from_label(self.labels().iter().zip(values).map(pair).collect())
    }

    fn counter(self, values: &[&str], count: u64) -> Metric {
        let mut metric = self.metric(values);
        let mut counter = Counter::default();
        counter.set_value(count as f64);
        metric.set_counter(counter);
        metric
    }

    fn histogram(self, values: &[&str], times: &Distribution) -> Metric {
        let (bounds, unit) = self.bounds();
        let bucket = |bound: &f64| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(times.up_to(Duration::from_secs_f64(bound / unit)));
            bucket
        };
        let mut histogram = Histogram::default();
        histogram.set_bucket(bounds.iter().map(bucket).collect());
        histogram.set_sample_count(times.count());
        histogram.set_sample_sum(times.sum.as_secs_f64() * unit);
        let mut metric = self.metric(values);
        metric.set_histogram(histogram);
        metric
    }
}

impl Collector for Routes {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let (routes, mut services) = {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            (state.routes.values().cloned().collect::<Vec<_>>(), state.gone.clone())
        };
        let mut samples = Samples::default();
        for route in routes.iter().filter(|route| route.counters.is_used()) {
            samples.route(route);
            merge(&mut services, &route.labels.service, route.counters.upstream());
        }
        if self.unmatched.counters.is_used() {
            samples.requests(&self.unmatched.labels, &self.unmatched.counters);
        }
        for (service, upstream) in services.iter().filter(|(_, upstream)| upstream.count() > 0) {
            samples.add(Family::UpstreamDuration, Family::UpstreamDuration.histogram(&[service], upstream));
        }
        samples.families()
    }
}

/// Samples by family.
#[derive(Default)]
struct Samples(BTreeMap<Family, Vec<Metric>>);

impl Samples {
    fn add(&mut self, family: Family, metric: Metric) {
        self.0.entry(family).or_default().push(metric);
    }

    fn route(&mut self, metrics: &RouteMetrics) {
        let RouteMetrics { labels, counters, .. } = metrics;
        self.requests(labels, counters);
        let exported = *metrics.exported();
        if exported.statuses || exported.bandwidth {
            for (consumer, counts) in metrics.consumers.read(counters) {
                self.consumer(labels, &consumer, &counts, exported);
            }
        }
        if exported.latencies {
            self.latencies(labels, counters);
        }
    }

    fn consumer(&mut self, labels: &Labels, consumer: &str, counts: &Counts, exported: Exported) {
        let (service, route) = (labels.service.as_str(), labels.route.as_str());
        for ((status, source), count) in counts.statuses.iter().filter(|_| exported.statuses) {
            let code = status.to_string();
            let values = [&code, consumer, route, service, source.label(), "default"];
            self.add(Family::KongRequests, Family::KongRequests.counter(&values, *count));
        }
        for (direction, bytes) in ["ingress", "egress"].into_iter().zip(counts.bytes).filter(|_| exported.bandwidth) {
            let values = [consumer, direction, route, service, "default"];
            self.add(Family::KongBandwidth, Family::KongBandwidth.counter(&values, bytes));
        }
    }

    fn latencies(&mut self, labels: &Labels, counters: &RouteCounters) {
        let (service, route) = (labels.service.as_str(), labels.route.as_str());
        for (family, times) in [
            (Family::KongLatency, counters.own()),
            (Family::KongUpstreamLatency, counters.upstream()),
            (Family::KongRequestLatency, counters.total()),
        ] {
            self.add(family, family.histogram(&[route, service, "default"], &times));
        }
    }

    fn requests(&mut self, labels: &Labels, counters: &RouteCounters) {
        let (service, route) = (labels.service.as_str(), labels.route.as_str());
        let mut statuses = BTreeMap::<u16, u64>::new();
        for ((status, _), count) in counters.statuses() {
            *statuses.entry(status).or_default() += count;
        }
        for (status, count) in statuses {
            self.add(Family::Requests, Family::Requests.counter(&[&status.to_string(), route, service], count));
        }
        self.add(Family::Duration, Family::Duration.histogram(&[route, service], &counters.total()));
        self.add(Family::GatewayDuration, Family::GatewayDuration.histogram(&[route, service], &counters.own()));
    }

    fn families(self) -> Vec<MetricFamily> {
        let families = self.0.into_iter().map(|(family, metrics)| {
            let mut exported = MetricFamily::default();
            exported.set_name(family.name().to_owned());
            exported.set_help(family.help().to_owned());
            exported.set_field_type(family.kind());
            exported.set_metric(metrics);
            exported
        });
        families.collect()
    }
}
