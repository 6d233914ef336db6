//! Headers about the hop to us: `X-Forwarded-*`, `X-Real-IP` and `Via` (gateway.md §7.1).
//!
//! Claims about earlier hops are kept from a trusted peer and replaced from any other.

use std::net::IpAddr;

use http::header::HeaderValue;
use tollgate_core::host::Host;
use tollgate_router::path::escape;

use super::head::{Field, Head};
use super::trusted_peer::Peer;
use crate::scheme::Scheme;

pub(super) const X_REAL_IP: Field = Field::new("x-real-ip", "X-Real-IP");
const X_FORWARDED_FOR: Field = Field::new("x-forwarded-for", "X-Forwarded-For");
const X_FORWARDED_PROTO: Field = Field::new("x-forwarded-proto", "X-Forwarded-Proto");
const X_FORWARDED_HOST: Field = Field::new("x-forwarded-host", "X-Forwarded-Host");
const X_FORWARDED_PORT: Field = Field::new("x-forwarded-port", "X-Forwarded-Port");
const X_FORWARDED_PATH: Field = Field::new("x-forwarded-path", "X-Forwarded-Path");
const X_FORWARDED_PREFIX: Field = Field::new("x-forwarded-prefix", "X-Forwarded-Prefix");
const VIA: Field = Field::new("via", "Via");
/// The request's id.
pub(crate) const X_KONG_REQUEST_ID: Field = Field::new("x-kong-request-id", "X-Kong-Request-Id");

/// Headers about the request that the upstream gets on every route.
pub(crate) static FIELDS: [Field; 9] = [
    X_REAL_IP,
    X_FORWARDED_FOR,
    X_FORWARDED_PROTO,
    X_FORWARDED_HOST,
    X_FORWARDED_PORT,
    X_FORWARDED_PATH,
    X_FORWARDED_PREFIX,
    VIA,
    X_KONG_REQUEST_ID,
];

/// The hop from the client, or the proxy before us, to us.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hop<'r> {
    /// The TCP peer, as text.
    pub(crate) peer: &'r HeaderValue,
    /// The client's address, as text.
    pub(crate) client: &'r HeaderValue,
    /// Whether the peer's claims about earlier hops are kept.
    pub(crate) standing: Peer,
    /// The scheme of the connection.
    pub(crate) scheme: Scheme,
    /// Our entry in `Via`.
    pub(crate) via: &'static [u8],
    /// The requested host.
    pub(crate) host: Option<&'r Host<'r>>,
    /// The port that accepted the connection.
    pub(crate) listener_port: u16,
    /// The request's path as received, without its query.
    pub(crate) path: &'r str,
    /// The prefix that `strip_path` removes from the path, if any.
    pub(crate) stripped: Option<&'r str>,
}

/// An address in the form used in headers.
pub(crate) fn address_value(address: IpAddr) -> Option<HeaderValue> {
    HeaderValue::try_from(address.to_canonical().to_string()).ok()
}

impl Hop<'_> {
    /// Writes the headers about this hop into a head that is otherwise the client's.
    pub(crate) fn apply(&self, head: &mut impl Head) {
        match joined(head, &X_FORWARDED_FOR, self.peer.as_bytes()) {
            Some(joined) => head.set(&X_FORWARDED_FOR, &joined),
            None => head.set(&X_FORWARDED_FOR, self.client.as_bytes()),
        }
        head.set(&X_REAL_IP, self.client.as_bytes());
        set_via(head, self.via);
        self.claim(head, &X_FORWARDED_PROTO, Some(self.scheme.as_str().as_bytes()));
        self.claim(head, &X_FORWARDED_HOST, self.host.map(|host| host.as_str().as_bytes()));
        self.claim(head, &X_FORWARDED_PORT, Some(itoa::Buffer::new().format(self.listener_port).as_bytes()));
        self.claim(head, &X_FORWARDED_PATH, Some(self.path.as_bytes()));
        let stripped = self.stripped.filter(|prefix| !matches!(*prefix, "" | "/")).map(escape);
        self.claim(head, &X_FORWARDED_PREFIX, stripped.as_deref().map(str::as_bytes));
    }

    /// Keeps a trusted peer's value; otherwise sets our own, or removes the field if we have none.
    fn claim(&self, head: &mut impl Head, field: &Field, value: Option<&[u8]>) {
        if self.standing == Peer::Trusted && head.has(field) {
            return;
        }
        match value {
            Some(value) => head.set(field, value),
            None => head.remove(&field.name),
        }
    }
}

/// Sets `Via` with our entry after the existing ones; for requests and responses.
pub(crate) fn set_via(head: &mut impl Head, ours: &'static [u8]) {
    match joined(head, &VIA, ours) {
        Some(joined) => head.set(&VIA, &joined),
        None => head.set(&VIA, ours),
    }
}

/// All values of a field, and one more, joined; `None`: the field is absent.
fn joined(head: &impl Head, field: &Field, last: &[u8]) -> Option<Vec<u8>> {
    if !head.has(field) {
        return None;
    }
    let mut value = Vec::with_capacity(64);
    for earlier in head.headers().get_all(&field.name) {
        value.extend_from_slice(earlier.as_bytes());
        value.extend_from_slice(b", ");
    }
    value.extend_from_slice(last);
    Some(value)
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use pingora::http::RequestHeader;

    use super::*;
    use crate::proxy::head::Edited;
    use crate::proxy::trusted_peer::tests::{PEER, headers, ip, trusted};
    use crate::proxy::trusted_peer::{Client, client};

    /// The headers sent upstream for a request to `https://Shop.Example:8443/api/x`, with `/api` stripped.
    fn upstream(peer: &str, sent: &[(&'static str, &'static str)]) -> HeaderMap {
        let headers = headers(sent);
        let client = client(ip(peer), &headers, &trusted());
        let hop = Hop {
            peer: &address_value(ip(peer)).unwrap(),
            client: &address_value(client.address).unwrap(),
            standing: client.peer,
            scheme: Scheme::Https,
            via: b"2 tollgate",
            host: Some(&Host::parse("Shop.Example.").unwrap()),
            listener_port: 8443,
            path: "/api/x",
            stripped: Some("/api"),
        };
        applied(&hop, &headers)
    }

    /// The headers sent upstream for a request with `headers` over this hop.
    fn applied(hop: &Hop<'_>, headers: &HeaderMap) -> HeaderMap {
        let mut upstream = RequestHeader::build("GET", b"/", None).unwrap();
        for (name, value) in headers {
            upstream.append_header(name, value.clone()).unwrap();
        }
        hop.apply(&mut Edited::new(&mut upstream, 0));
        upstream.as_owned_parts().headers
    }

    const CLAIMS: [(&str, &str); 8] = [
        ("x-forwarded-for", "5.6.7.8"),
        ("x-real-ip", "5.6.7.8"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "other.example"),
        ("x-forwarded-port", "1"),
        ("x-forwarded-path", "/other"),
        ("x-forwarded-prefix", "/other"),
        ("via", "1.1 before"),
    ];

    #[test]
    fn a_request_without_claims_gets_ours() {
        let expected = headers(&[
            ("x-forwarded-for", "1.2.3.4"),
            ("x-real-ip", "1.2.3.4"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "shop.example"),
            ("x-forwarded-port", "8443"),
            ("x-forwarded-path", "/api/x"),
            ("x-forwarded-prefix", "/api"),
            ("via", "2 tollgate"),
        ]);
        assert_eq!(upstream("1.2.3.4", &[]), expected);
    }

    #[test]
    fn the_claims_of_an_untrusted_peer_are_replaced() {
        let expected = headers(&[
            ("x-forwarded-for", "5.6.7.8, 1.2.3.4"),
            ("x-real-ip", "1.2.3.4"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "shop.example"),
            ("x-forwarded-port", "8443"),
            ("x-forwarded-path", "/api/x"),
            ("x-forwarded-prefix", "/api"),
            ("via", "1.1 before, 2 tollgate"),
        ]);
        assert_eq!(upstream("1.2.3.4", &CLAIMS), expected);
    }

    #[test]
    fn the_claims_of_a_trusted_peer_are_kept() {
        let mut expected = headers(&CLAIMS);
        expected.insert("x-forwarded-for", HeaderValue::from_static("5.6.7.8, 10.0.0.9"));
        expected.insert("via", HeaderValue::from_static("1.1 before, 2 tollgate"));
        assert_eq!(upstream(PEER, &CLAIMS), expected);
    }

    #[test]
    fn the_addresses_of_several_headers_are_joined() {
        let sent = [("x-forwarded-for", "1.1.1.1, 2.2.2.2"), ("x-forwarded-for", "3.3.3.3")];
        let joined = upstream("1.2.3.4", &sent);
        assert_eq!(joined.get("x-forwarded-for").unwrap(), "1.1.1.1, 2.2.2.2, 3.3.3.3, 1.2.3.4");
        assert_eq!(joined.get_all("x-forwarded-for").iter().count(), 1);
    }

    #[test]
    fn nothing_stripped_means_no_prefix_header() {
        let sent = headers(&CLAIMS);
        for stripped in [None, Some("/"), Some("")] {
            let client = Client { address: ip("1.2.3.4"), peer: Peer::Untrusted };
            let hop = Hop {
                peer: &address_value(client.address).unwrap(),
                client: &address_value(client.address).unwrap(),
                standing: client.peer,
                scheme: Scheme::Http,
                via: b"1.1 tollgate",
                host: None,
                listener_port: 9000,
                path: "/",
                stripped,
            };
            let upstream = applied(&hop, &sent);
            assert!(!upstream.contains_key("x-forwarded-prefix"), "{stripped:?}");
            assert!(!upstream.contains_key("x-forwarded-host"));
            assert_eq!(upstream.get("x-forwarded-port").unwrap(), "9000");
        }
    }
}
