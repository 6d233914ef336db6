//! The configuration as requests see it: compiled, immutable, swapped whole.
//!
//! A request takes the current snapshot once and keeps what it matched; a change of configuration
//! is a new snapshot. Nothing is looked up by name while a request is served: plugins,
//! peers and metric handles are resolved when the snapshot is created.

mod captures;
mod certificates;
pub mod configuration;
mod mirror;
mod upstreams;

use std::collections::HashMap;
use std::sync::Arc;

use http::StatusCode;
use regex::Regex;
use serde::Deserialize;
use tollgate_core::request::Target;
use tollgate_router::path::Strip;
use tollgate_router::{CompileError, CompiledRoute, RouteSpec, Router};
use uuid::Uuid;

use crate::chain::Chain;
use crate::telemetry::route_metrics::RouteMetrics;
use crate::upstream::service::ServiceEntry;

/// The kinds of requests that a route accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocols {
    /// Plain HTTP, with or without TLS.
    Http,
    /// HTTP over TLS; plain requests are redirected or told to upgrade.
    HttpsOnly,
    /// gRPC, plain or over TLS.
    Grpc,
    /// gRPC over TLS.
    GrpcsOnly,
    /// TCP, TLS or UDP streams: accepted in the configuration, not proxied yet.
    Stream,
}

impl Protocols {
    /// Reads the `protocols` field of a route.
    pub fn of(names: &[String]) -> Self {
        let has = |name: &str| names.iter().any(|given| given == name);
        match (has("http"), has("https"), has("grpc"), has("grpcs")) {
            (true, ..) => Self::Http,
            (false, true, ..) => Self::HttpsOnly,
            (.., true, _) => Self::Grpc,
            (.., true) => Self::GrpcsOnly,
            _ => Self::Stream,
        }
    }
}

/// The fields of a `routes` entity that proxying needs besides [`RouteSpec`]; deserializes from
/// the entity.
#[derive(Debug, Clone, Deserialize)]
pub struct RouteFields {
    /// The id.
    pub id: Uuid,
    /// The name.
    pub name: Option<String>,
    /// The protocols it accepts.
    pub protocols: Vec<String>,
    /// 426, or a redirect.
    pub https_redirect_status_code: u16,
    /// Whether the matched prefix is removed from the upstream's path.
    pub strip_path: bool,
    /// Whether the upstream gets the client's `Host`.
    pub preserve_host: bool,
    /// Whether a request's body is read before the upstream is asked; true when null.
    #[serde(default)]
    pub request_buffering: Option<bool>,
    /// Whether a response is read ahead of the client; true when null.
    #[serde(default)]
    pub response_buffering: Option<bool>,
}

/// The `Host` sent upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamHost {
    /// The service's.
    Service,
    /// The client's.
    Client,
}

/// A compiled route; with its reference counts, two cache lines.
pub struct RouteEntry {
    /// The route and its service, in the form that plugins see.
    pub target: Target,
    /// The requests it accepts.
    pub protocols: Protocols,
    /// The status of the reply to plain requests of an HTTPS-only route.
    pub https_redirect: StatusCode,
    /// The path sent upstream.
    pub strip: Strip,
    /// The `Host` sent upstream.
    pub upstream_host: UpstreamHost,
    /// Whether a request's body is read before the upstream is asked.
    pub buffers_requests: bool,
    /// Whether a response is read ahead of the client.
    pub buffers_responses: bool,
    /// Its service.
    pub service: Option<Arc<ServiceEntry>>,
    /// Its plugins.
    pub chain: Chain,
    /// Its metric handles.
    pub metrics: Arc<RouteMetrics>,
}

impl RouteEntry {
    /// Compiles a route.
    pub fn new(
        fields: &RouteFields,
        service: Option<Arc<ServiceEntry>>,
        chain: Chain,
        metrics: Arc<RouteMetrics>,
    ) -> Self {
        Self {
            target: Target { route_id: fields.id, service_id: service.as_ref().map(|service| service.id) },
            protocols: Protocols::of(&fields.protocols),
            https_redirect: StatusCode::from_u16(fields.https_redirect_status_code)
                .unwrap_or(StatusCode::UPGRADE_REQUIRED),
            strip: if fields.strip_path { Strip::Matched } else { Strip::Nothing },
            upstream_host: if fields.preserve_host { UpstreamHost::Client } else { UpstreamHost::Service },
            buffers_requests: fields.request_buffering != Some(false),
            buffers_responses: fields.response_buffering != Some(false),
            service,
            chain,
            metrics,
        }
    }
}

/// All routes that requests may match.
pub struct Snapshot {
    /// The routes.
    pub router: Router<Arc<RouteEntry>>,
    /// By route: the paths with named captures.
    captures: HashMap<Uuid, Arc<[Regex]>>,
}

impl Snapshot {
    /// Compiles the routes.
    pub fn compile(routes: impl IntoIterator<Item = (RouteSpec, Arc<RouteEntry>)>) -> Result<Self, CompileError> {
        Ok(Self { router: Router::compile(routes)?, captures: HashMap::new() })
    }

    /// The route with this id or name. For operators: it looks at all of them.
    pub fn route(&self, id_or_name: &str) -> Option<Arc<RouteEntry>> {
        let id = Uuid::parse_str(id_or_name).ok();
        let is_meant =
            |route: &&Arc<RouteEntry>| id == Some(route.target.route_id) || route.metrics.labels().route == id_or_name;
        self.router.values().find(is_meant).cloned()
    }

    /// Arranges compiled routes.
    pub fn of_compiled(routes: Vec<(Arc<CompiledRoute>, Arc<RouteEntry>)>) -> Result<Self, CompileError> {
        Ok(Self { router: Router::of_compiled(routes)?, captures: HashMap::new() })
    }

    /// With the paths of routes that have named captures.
    #[must_use]
    pub fn with_captures(self, captures: HashMap<Uuid, Arc<[Regex]>>) -> Self {
        Self { captures, ..self }
    }

    /// The text of a named capture in the path of a request to a route.
    pub fn capture(&self, route: Uuid, path: &str, name: &str) -> Option<String> {
        let found = self.captures.get(&route)?.iter().find_map(|regex| regex.captures(path))?;
        found.name(name).map(|text| text.as_str().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_two_cache_lines() {
        let size = 2 * size_of::<usize>() + size_of::<RouteEntry>();
        assert!((113..=128).contains(&size), "{size}: allocations start at a cache line only in this size class");
    }

    #[test]
    fn protocols_are_read_as_valid_sets() {
        let rows: [(&[&str], Protocols); 7] = [
            (&["http", "https"], Protocols::Http),
            (&["http"], Protocols::Http),
            (&["https"], Protocols::HttpsOnly),
            (&["grpc", "grpcs"], Protocols::Grpc),
            (&["grpcs"], Protocols::GrpcsOnly),
            (&["tcp", "tls"], Protocols::Stream),
            (&["tls_passthrough"], Protocols::Stream),
        ];
        for (names, expected) in rows {
            let names: Vec<_> = names.iter().map(ToString::to_string).collect();
            assert_eq!(Protocols::of(&names), expected, "{names:?}");
        }
    }
}
