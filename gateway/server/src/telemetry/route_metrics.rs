//! The metric handles of one route: a request finds them without looking up a label.
//!
//! Handles are made at a route's first request, not for 10,000 routes nobody calls, and are kept
//! from one snapshot to the next.

use std::sync::OnceLock;
use std::time::Duration;

use http::StatusCode;
use prometheus::{Histogram, IntCounter};

use super::metrics::Families;

/// Statuses with a handle of their own; others are rare enough to be looked up.
const COMMON: [u16; 28] = [
    200, 201, 202, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 409, 410, 413, 415, 422, 426, 429,
    500, 501, 502, 503, 504,
];

/// Who chose the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The upstream.
    Service,
    /// The gateway: a plugin's answer, or an error.
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

/// What is counted of a finished request.
#[derive(Debug, Clone, Copy)]
pub struct Observation {
    /// The status sent.
    pub status: StatusCode,
    /// Who chose it.
    pub source: Source,
    /// From the head to the end of the answer.
    pub total: Duration,
    /// The part spent waiting for the upstream's head.
    pub upstream: Option<Duration>,
    /// Body bytes from the client.
    pub bytes_in: u64,
    /// Body bytes to the client.
    pub bytes_out: u64,
}

/// The `service` and `route` label of a route; both empty: requests that matched none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Labels {
    /// The service's name, or else its host.
    pub service: String,
    /// The route's name, or else its id.
    pub route: String,
}

#[derive(Debug)]
struct StatusHandles {
    requests: IntCounter,
    kong_requests: IntCounter,
}

#[derive(Debug)]
struct Handles {
    statuses: [[OnceLock<StatusHandles>; COMMON.len()]; 2],
    duration: Histogram,
    upstream_duration: Histogram,
    ingress: IntCounter,
    egress: IntCounter,
    kong_latency: Histogram,
    kong_upstream_latency: Histogram,
    kong_request_latency: Histogram,
}

/// The handles of one route.
#[derive(Debug)]
pub struct RouteMetrics {
    pub(super) labels: Labels,
    families: Families,
    handles: OnceLock<Box<Handles>>,
}

impl RouteMetrics {
    pub(super) fn new(labels: Labels, families: Families) -> Self {
        Self { labels, families, handles: OnceLock::new() }
    }

    /// Counts a finished request of a route.
    pub fn observe(&self, seen: &Observation) {
        let handles = self.handles();
        let status = self.status_handles(handles, seen);
        status.0.inc();
        status.1.inc();
        handles.ingress.inc_by(seen.bytes_in);
        handles.egress.inc_by(seen.bytes_out);
        handles.duration.observe(seen.total.as_secs_f64());
        handles.kong_request_latency.observe(millis(seen.total));
        let own = seen.total.saturating_sub(seen.upstream.unwrap_or_default());
        handles.kong_latency.observe(millis(own));
        if let Some(upstream) = seen.upstream {
            handles.upstream_duration.observe(upstream.as_secs_f64());
            handles.kong_upstream_latency.observe(millis(upstream));
        }
    }

    /// Removes the series of a route that is gone.
    pub(super) fn forget(&self) {
        if self.handles.get().is_some() {
            self.families.remove(&self.labels, &COMMON, &[Source::Service.label(), Source::Gateway.label()]);
        }
    }

    fn handles(&self) -> &Handles {
        self.handles.get_or_init(|| {
            let both = [self.labels.service.as_str(), self.labels.route.as_str()];
            let [service, route] = both;
            let kong = [service, route, "default"];
            let families = &self.families;
            Box::new(Handles {
                statuses: std::array::from_fn(|_| std::array::from_fn(|_| OnceLock::new())),
                duration: families.duration.with_label_values(&both),
                upstream_duration: families.upstream_duration.with_label_values(&[service]),
                ingress: families.kong_bandwidth.with_label_values(&[service, route, "ingress", "default", ""]),
                egress: families.kong_bandwidth.with_label_values(&[service, route, "egress", "default", ""]),
                kong_latency: families.kong_latency.with_label_values(&kong),
                kong_upstream_latency: families.kong_upstream_latency.with_label_values(&kong),
                kong_request_latency: families.kong_request_latency.with_label_values(&kong),
            })
        })
    }

    fn status_handles(&self, handles: &Handles, seen: &Observation) -> (IntCounter, IntCounter) {
        let slot = COMMON.binary_search(&seen.status.as_u16()).ok().and_then(|index| {
            let [service, gateway] = &handles.statuses;
            match seen.source {
                Source::Service => service.get(index),
                Source::Gateway => gateway.get(index),
            }
        });
        let Some(slot) = slot else {
            let made = self.make_status_handles(seen);
            return (made.requests, made.kong_requests);
        };
        let kept = slot.get_or_init(|| self.make_status_handles(seen));
        (kept.requests.clone(), kept.kong_requests.clone())
    }

    fn make_status_handles(&self, seen: &Observation) -> StatusHandles {
        let Labels { service, route } = &self.labels;
        let (service, route, code) = (service.as_str(), route.as_str(), seen.status.as_str());
        let kong = [service, route, code, seen.source.label(), "default", ""];
        StatusHandles {
            requests: self.families.requests.with_label_values(&[service, route, code]),
            kong_requests: self.families.kong_requests.with_label_values(&kong),
        }
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
