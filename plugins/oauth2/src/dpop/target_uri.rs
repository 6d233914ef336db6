//! The URI that a request was sent to, as its client wrote it, and whether a proof is for it (RFC 9449 §4.3.9).
//!
//! Both are compared in normal form (RFC 3986 §6.2.2, §6.2.3), without query and fragment. The origin is the one that
//! the client used ([`Request::origin`]): behind a proxy in `trusted_ips`, the one that the proxy was sent to.

use std::borrow::Cow;

use tollgate_core::host::Authority;
use tollgate_core::path::normalise;
use tollgate_core::request::Request;

/// A URI without query and fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetUri<'r> {
    /// Without the port of its scheme.
    origin: String,
    path: Cow<'r, str>,
}

impl<'r> TargetUri<'r> {
    /// Of a request. `None`: it names no host.
    pub fn of(request: &Request<'r>) -> Option<Self> {
        Some(Self { origin: request.origin()?, path: Cow::Borrowed(request.path) })
    }

    /// Reads an absolute URI with `http` or `https`.
    pub fn parse(text: &'r str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let known = [("https", 443), ("http", 80)];
        let (scheme, usual) = known.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(scheme))?;
        let rest = rest.split(['?', '#']).next()?;
        let (authority, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
        let Authority { host, port } = Authority::parse(authority).ok()?;
        let origin = match port.filter(|port| *port != usual) {
            Some(port) => format!("{scheme}://{host}:{port}"),
            None => format!("{scheme}://{host}"),
        };
        Some(Self { origin, path: normalise(path).ok()? })
    }

    /// Whether a text names this URI.
    pub fn is(&self, text: &str) -> bool {
        TargetUri::parse(text).is_some_and(|named| named == *self)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use http::{HeaderMap, HeaderName, Method};
    use tollgate_core::request::{Addressed, Edits, RequestBody, Target};
    use uuid::Uuid;

    use super::*;

    type Row = (&'static str, bool, &'static [(&'static str, &'static str)], bool);

    /// Whether a proof for `uri` is for a request for `/a/b` of `host`.
    fn is_for(uri: &str, tls: bool, host: &str, trusted: bool, headers: &[(&'static str, &str)]) -> bool {
        let authority = Authority::parse(host).unwrap().into_owned();
        let pair = |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), value.parse().unwrap());
        let headers = HeaderMap::from_iter(headers.iter().map(pair));
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let request = Request {
            method: &Method::GET,
            path: "/a/b",
            query: Some("q"),
            headers: &headers,
            http2: false,
            tls,
            peer: ip,
            client: ip,
            peer_trusted: trusted,
            addressed: Addressed { host: Some(&authority.host), port: authority.port, matched: "" },
            certificate: None,
            arrival: &(),
            target: &Target { route_id: Uuid::nil(), service_id: None },
            body: RequestBody::Unread,
            edits: Edits::default(),
            response: Vec::new(),
            identity: None,
            served_stale: None,
            notes: None,
        };
        TargetUri::of(&request).unwrap().is(uri)
    }

    #[test]
    fn uris_are_compared_in_normal_form_rfc9449_4_3() {
        for (uri, expected) in [
            ("https://api.test/a/b", true),
            ("https://api.test:443/a/b", true),
            ("HTTPS://API.test/a/b", true),
            ("https://api.test/a/b?x=1", true),
            ("https://api.test/a/b#f", true),
            ("https://api.test/a/./b", true),
            ("https://api.test/a/c/../b", true),
            ("https://api.test/%61/b", true),
            ("https://api.test./a/b", true),
            ("https://api.test/a/b/", false),
            ("https://api.test/a/B", false),
            ("https://api.test/a%2Fb", false),
            ("https://api.test/a", false),
            ("http://api.test/a/b", false),
            ("http://api.test:443/a/b", false),
            ("https://api.test:8443/a/b", false),
            ("https://other.test/a/b", false),
            ("https://user@api.test/a/b", false),
            ("https://api.test:x/a/b", false),
            ("//api.test/a/b", false),
            ("/a/b", false),
            ("", false),
            ("https://api.test", false),
        ] {
            assert_eq!(is_for(uri, true, "API.test", false, &[]), expected, "{uri}");
        }
        assert!(is_for("http://127.0.0.1:8000/a/b", false, "127.0.0.1:8000", false, &[]));
        assert!(!is_for("http://127.0.0.1/a/b", false, "127.0.0.1:8000", false, &[]));
        assert!(is_for("http://[::1]:8000/a/b", false, "[::1]:8000", false, &[]));
    }

    #[test]
    fn behind_a_trusted_peer_the_uri_is_what_the_client_sent_there() {
        const PROTO: (&str, &str) = ("x-forwarded-proto", "https");
        const HOST: (&str, &str) = ("x-forwarded-host", "api.test");
        const PORT: (&str, &str) = ("x-forwarded-port", "8443");
        const OTHER: (&str, &str) = ("x-forwarded-host", "api.test:9443");
        let rows: [Row; 12] = [
            ("https://gateway.test/a/b", true, &[PROTO], true),
            ("http://gateway.test/a/b", true, &[], true),
            ("https://api.test/a/b", true, &[PROTO, HOST], true),
            ("https://api.test:8443/a/b", true, &[PROTO, HOST, PORT], true),
            ("https://api.test:9443/a/b", true, &[PROTO, OTHER, PORT], true),
            ("https://gateway.test:8443/a/b", true, &[PROTO, PORT], true),
            ("https://gateway.test/a/b", true, &[PROTO, HOST], false),
            ("https://api.test/a/b", true, &[HOST], false),
            ("https://gateway.test/a/b", true, &[PROTO, PROTO], false),
            ("https://gateway.test/a/b", true, &[("x-forwarded-proto", "https, http")], false),
            ("https://api.test/a/b", false, &[PROTO, HOST], false),
            ("http://gateway.test/a/b", false, &[PROTO, HOST, PORT], true),
        ];
        for (uri, trusted, headers, expected) in rows {
            assert_eq!(is_for(uri, false, "gateway.test", trusted, headers), expected, "{uri} {trusted} {headers:?}");
        }
    }
}
