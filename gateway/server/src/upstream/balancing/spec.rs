//! The entities `upstreams` and `targets`, as balancing reads them. Null is the default.

use serde::Deserialize;
use uuid::Uuid;

use super::health::Thresholds;
use crate::upstream::trust::Reference;

/// How targets are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// In turn, in proportion to their weights.
    #[default]
    RoundRobin,
    /// By a hash of something in the request.
    ConsistentHashing,
    /// The one with the fewest requests under way.
    LeastConnections,
    /// The one that responds fastest.
    Latency,
}

/// What is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HashOn {
    /// Nothing.
    #[default]
    None,
    /// The consumer.
    Consumer,
    /// The client's address.
    Ip,
    /// A header.
    Header,
    /// A cookie, which is set if there is none.
    Cookie,
    /// The path.
    Path,
    /// A query argument.
    QueryArg,
    /// A capture of the route's path.
    UriCapture,
}

/// An `upstreams` entity.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[expect(missing_docs, reason = "named as the fields of the entity")]
pub struct UpstreamSpec {
    pub id: Uuid,
    pub name: String,
    #[serde(default)]
    pub algorithm: Option<Algorithm>,
    #[serde(default)]
    pub hash_on: Option<HashOn>,
    #[serde(default)]
    pub hash_fallback: Option<HashOn>,
    #[serde(default)]
    pub hash_on_header: Option<String>,
    #[serde(default)]
    pub hash_fallback_header: Option<String>,
    #[serde(default)]
    pub hash_on_cookie: Option<String>,
    #[serde(default)]
    pub hash_on_cookie_path: Option<String>,
    #[serde(default)]
    pub hash_on_query_arg: Option<String>,
    #[serde(default)]
    pub hash_fallback_query_arg: Option<String>,
    #[serde(default)]
    pub hash_on_uri_capture: Option<String>,
    #[serde(default)]
    pub hash_fallback_uri_capture: Option<String>,
    #[serde(default)]
    pub slots: Option<u32>,
    #[serde(default)]
    pub healthchecks: Option<HealthChecks>,
    #[serde(default)]
    pub host_header: Option<String>,
    #[serde(default)]
    pub client_certificate: Option<Reference>,
    #[serde(default)]
    pub use_srv_name: Option<bool>,
}

/// The record `healthchecks`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct HealthChecks {
    pub threshold: Option<f64>,
    pub active: Option<Active>,
    pub passive: Option<Passive>,
}

/// The record `healthchecks.active`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct Active {
    pub r#type: Option<CheckType>,
    pub timeout: Option<f64>,
    pub concurrency: Option<u32>,
    pub http_path: Option<String>,
    pub https_sni: Option<String>,
    pub https_verify_certificate: Option<bool>,
    pub headers: Option<std::collections::BTreeMap<String, Vec<String>>>,
    pub healthy: Option<Side>,
    pub unhealthy: Option<Side>,
}

/// The record `healthchecks.passive`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct Passive {
    pub r#type: Option<CheckType>,
    pub healthy: Option<Side>,
    pub unhealthy: Option<Side>,
}

/// What makes an endpoint healthy, or unhealthy.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct Side {
    pub interval: Option<f64>,
    pub http_statuses: Option<Vec<u16>>,
    pub successes: Option<u32>,
    pub tcp_failures: Option<u32>,
    pub timeouts: Option<u32>,
    pub http_failures: Option<u32>,
}

/// How an endpoint is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckType {
    /// By a connection.
    Tcp,
    /// By a request.
    #[default]
    Http,
    /// By a request over TLS.
    Https,
    /// By the health service of gRPC.
    Grpc,
    /// The same over TLS.
    Grpcs,
}

impl CheckType {
    /// Whether TLS is used.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Grpcs)
    }

    /// Whether the health service of gRPC is called.
    pub fn is_grpc(self) -> bool {
        matches!(self, Self::Grpc | Self::Grpcs)
    }
}

/// A `targets` entity.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "named as the fields of the entity")]
pub struct TargetSpec {
    pub id: Uuid,
    pub upstream: Reference,
    /// `host:port`, IPv6 addresses in brackets.
    pub target: String,
    #[serde(default)]
    pub weight: Option<u32>,
}

impl TargetSpec {
    /// The weight.
    pub fn weight(&self) -> u32 {
        self.weight.unwrap_or_else(|| tollgate_core::entity::target::DEFAULT_WEIGHT.into())
    }

    /// Host (an address without brackets) and port.
    pub fn host_and_port(&self) -> Option<(&str, u16)> {
        let (host, port) = self.target.rsplit_once(':')?;
        Some((host.trim_matches(['[', ']']), port.parse().ok()?))
    }
}

impl HealthChecks {
    /// What requests say.
    pub(super) fn passive(&self) -> Thresholds {
        let passive = self.passive.clone().unwrap_or_default();
        let kind = passive.r#type.unwrap_or_default();
        thresholds(kind, passive.healthy.as_ref(), passive.unhealthy.as_ref())
    }

    /// What probes say.
    pub(super) fn active(&self) -> Thresholds {
        let active = self.active.clone().unwrap_or_default();
        let kind = active.r#type.unwrap_or_default();
        thresholds(kind, active.healthy.as_ref(), active.unhealthy.as_ref())
    }

    /// Seconds between two probes of healthy endpoints, and of others; 0 for none.
    pub(super) fn intervals(&self) -> (f64, f64) {
        let of = |side: Option<&Side>| side.and_then(|side| side.interval).unwrap_or(0.0);
        let active = self.active.as_ref();
        (of(active.and_then(|active| active.healthy.as_ref())), of(active.and_then(|active| active.unhealthy.as_ref())))
    }

    /// Whether anything can make an endpoint unhealthy.
    pub(super) fn are_on(&self) -> bool {
        let (healthy, unhealthy) = self.intervals();
        healthy > 0.0 || unhealthy > 0.0 || self.passive().can_fail()
    }
}

fn thresholds(kind: CheckType, healthy: Option<&Side>, unhealthy: Option<&Side>) -> Thresholds {
    let statuses = |side: Option<&Side>| {
        let given = side.and_then(|side| side.http_statuses.clone()).unwrap_or_default();
        // By a connection nobody sees a status.
        if kind == CheckType::Tcp { Vec::new() } else { given }
    };
    let count = |side: Option<&Side>, of: fn(&Side) -> Option<u32>| side.and_then(of).unwrap_or(0);
    Thresholds {
        successes: count(healthy, |side| side.successes),
        tcp_failures: count(unhealthy, |side| side.tcp_failures),
        timeouts: count(unhealthy, |side| side.timeouts),
        http_failures: count(unhealthy, |side| side.http_failures),
        healthy_statuses: statuses(healthy),
        unhealthy_statuses: statuses(unhealthy),
    }
}
