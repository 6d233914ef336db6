//! Admission: what a matched route requires of a request before its plugins run (gateway.md §6, "After a
//! match").

use http::header::{CONNECTION, CONTENT_TYPE, LOCATION, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tollgate_core::host::Host;
use tollgate_core::reply::{Body, Reply};
use tollgate_core::request::has_grpc_type;

use crate::scheme::Scheme;
use crate::snapshot::{Protocols, RouteEntry};

/// The properties of a request that admission checks.
pub(crate) struct Arrival<'r> {
    /// According to a trusted peer or the connection.
    pub(crate) scheme: Scheme,
    /// According to a trusted peer or the client.
    pub(crate) host: Option<Host<'r>>,
    /// Path and query as received.
    pub(crate) target: &'r str,
    /// Whether it came over HTTP/2.
    pub(crate) http2: bool,
    /// Its headers.
    pub(crate) headers: &'r HeaderMap,
}

/// The reply to a request that the route does not accept; `None`: it may pass.
pub(crate) fn refuse<'r>(route: &RouteEntry, arrival: impl FnOnce() -> Arrival<'r>) -> Option<Reply> {
    // Most routes accept every request: then nothing is looked up.
    if route.protocols == Protocols::Http {
        return None;
    }
    let arrival = &arrival();
    match route.protocols {
        Protocols::Http => None,
        Protocols::HttpsOnly if arrival.scheme == Scheme::Https => None,
        Protocols::HttpsOnly => Some(to_https(route.https_redirect, arrival)),
        Protocols::Grpc | Protocols::GrpcsOnly => refuse_grpc(route.protocols, arrival),
        Protocols::Stream => Some(protocol_not_supported()),
    }
}

/// The reply on a route with a protocol that is not proxied yet.
pub(crate) fn protocol_not_supported() -> Reply {
    let message = "The upstream server is currently unavailable";
    Reply::message(StatusCode::SERVICE_UNAVAILABLE, "protocol_not_supported", message)
}

fn to_https(status: StatusCode, arrival: &Arrival<'_>) -> Reply {
    let upgrade = || {
        Reply::message(StatusCode::UPGRADE_REQUIRED, "https_required", "Please use HTTPS protocol")
            .with_header(CONNECTION, HeaderValue::from_static("Upgrade"))
            .with_header(UPGRADE, HeaderValue::from_static("TLS/1.2, HTTP/1.1"))
    };
    let host = arrival.host.as_ref().filter(|_| status.is_redirection());
    let location = host.and_then(|host| HeaderValue::try_from(format!("https://{host}{}", arrival.target)).ok());
    match location {
        Some(location) => {
            Reply { status, headers: vec![(LOCATION, location)], body: Body::Empty, reason: "https_required" }
        }
        None => upgrade(),
    }
}

fn refuse_grpc(protocols: Protocols, arrival: &Arrival<'_>) -> Option<Reply> {
    if !has_grpc_type(arrival.headers) {
        let message = "Non-gRPC request matched gRPC route";
        return Some(Reply::message(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_grpc", message));
    }
    if !arrival.http2 {
        let reply = Reply::message(StatusCode::UPGRADE_REQUIRED, "http2_required", "Please use HTTP2 protocol")
            .with_header(CONNECTION, HeaderValue::from_static("Upgrade"))
            .with_header(UPGRADE, HeaderValue::from_static("HTTP/2"));
        return Some(reply);
    }
    (protocols == Protocols::GrpcsOnly && arrival.scheme != Scheme::Https).then(grpcs_required)
}

/// A gRPC client reads `grpc-status`, not the HTTP status.
fn grpcs_required() -> Reply {
    let headers = [
        (CONTENT_TYPE, "application/grpc"),
        (HeaderName::from_static("grpc-status"), "1"),
        (HeaderName::from_static("grpc-message"), "gRPC request matched gRPCs route"),
    ];
    let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value))).to_vec();
    Reply { status: StatusCode::OK, headers, body: Body::Empty, reason: "grpcs_required" }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use prometheus::Registry;
    use uuid::Uuid;

    use super::*;
    use crate::chain::{Chain, Plugins};
    use crate::snapshot::RouteFields;
    use crate::telemetry::metrics::Metrics;
    use crate::telemetry::route_metrics::Labels;

    fn route(protocols: &[&str], https_redirect_status_code: u16) -> RouteEntry {
        let metrics = Metrics::register(&Registry::new(), "n", "v").unwrap();
        let fields = RouteFields {
            id: Uuid::nil(),
            name: None,
            protocols: protocols.iter().map(ToString::to_string).collect(),
            https_redirect_status_code,
            strip_path: true,
            preserve_host: false,
            request_buffering: None,
            response_buffering: None,
        };
        let labels = Labels { service: String::new(), route: "r".to_owned() };
        RouteEntry::new(&fields, None, Chain::Ready(Plugins::default()), Arc::clone(&metrics.route(labels)))
    }

    const HTTP: Scheme = Scheme::Http;
    const HTTPS: Scheme = Scheme::Https;

    fn arrive(route: &RouteEntry, scheme: Scheme, http2: bool, content_type: Option<&'static str>) -> Option<Reply> {
        let mut headers = HeaderMap::new();
        headers.extend(content_type.map(|value| (CONTENT_TYPE, HeaderValue::from_static(value))));
        refuse(route, || Arrival {
            scheme,
            host: Host::parse("A.test").ok(),
            target: "/x?y=1",
            http2,
            headers: &headers,
        })
    }

    #[test]
    fn https_routes_upgrade_or_redirect_plain_requests() {
        assert_eq!(arrive(&route(&["http", "https"], 426), HTTP, false, None), None);
        assert_eq!(arrive(&route(&["http"], 426), HTTPS, false, None), None);
        assert_eq!(arrive(&route(&["https"], 426), HTTPS, false, None), None);
        let upgrade = arrive(&route(&["https"], 426), HTTP, false, None).unwrap();
        assert_eq!(upgrade.status, StatusCode::UPGRADE_REQUIRED);
        assert_eq!(upgrade.body, Body::Message("Please use HTTPS protocol".to_owned()));
        assert_eq!(upgrade.headers[1].1, "TLS/1.2, HTTP/1.1");
        for status in [301, 302, 307, 308] {
            let redirect = arrive(&route(&["https"], status), HTTP, false, None).unwrap();
            assert_eq!(redirect.status, status);
            assert_eq!(redirect.headers, [(LOCATION, HeaderValue::from_static("https://a.test/x?y=1"))]);
            assert_eq!(redirect.body, Body::Empty);
            let headers = HeaderMap::new();
            let arrival = || Arrival { scheme: HTTP, host: None, target: "/x", http2: false, headers: &headers };
            assert_eq!(refuse(&route(&["https"], status), arrival).unwrap().status, StatusCode::UPGRADE_REQUIRED);
        }
    }

    #[test]
    fn grpc_routes_refuse_by_the_table() {
        let grpc = route(&["grpc", "grpcs"], 426);
        let reason = |reply: Option<Reply>| reply.map(|reply| reply.reason);
        assert_eq!(reason(arrive(&grpc, HTTP, false, Some("text/plain"))), Some("not_grpc"));
        assert_eq!(reason(arrive(&grpc, HTTP, false, None)), Some("not_grpc"));
        assert_eq!(reason(arrive(&grpc, HTTP, true, None)), Some("not_grpc"));
        assert_eq!(reason(arrive(&grpc, HTTP, false, Some("application/grpc"))), Some("http2_required"));
        assert_eq!(reason(arrive(&grpc, HTTP, true, Some("application/grpc+proto"))), None);
        assert_eq!(reason(arrive(&grpc, HTTP, true, Some("Application/gRPC"))), None);
        let secure = route(&["grpcs"], 426);
        assert_eq!(reason(arrive(&secure, HTTP, true, Some("application/grpc"))), Some("grpcs_required"));
        assert_eq!(reason(arrive(&secure, HTTPS, true, Some("application/grpc"))), None);
    }

    #[test]
    fn stream_routes_are_not_supported_yet() {
        let reply = arrive(&route(&["tcp"], 426), HTTP, false, None).unwrap();
        assert_eq!((reply.status, reply.reason), (StatusCode::SERVICE_UNAVAILABLE, "protocol_not_supported"));
    }
}
