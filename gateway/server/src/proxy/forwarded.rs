//! Who a request is from and what the upstream hears of the hop to us (gateway.md §7.1).
//!
//! 1. [`client`]: the client's address; a trusted peer may name it in `X-Real-IP`.
//! 2. [`Hop::apply`]: `X-Forwarded-*`, `X-Real-IP` and `Via` of the upstream request. What the peer
//!    claims about earlier hops is kept from a trusted peer and replaced otherwise.
//! 3. [`scheme`], [`host`]: what the client spoke and asked for before a trusted peer, for the answers to it.
//! 4. [`host_value`]: the `Host` a service is addressed by.
//!
//! Pure: which header map is edited, and when, is the caller's business.

use std::net::{IpAddr, SocketAddr};

use http::header::{HeaderMap, HeaderValue};
use ipnet::IpNet;
use tollgate_core::host::{Authority, Host};
use tollgate_router::path::escape;

use super::head::{Field, Head};

const X_REAL_IP: Field = Field::new("x-real-ip", "X-Real-IP");
const X_FORWARDED_FOR: Field = Field::new("x-forwarded-for", "X-Forwarded-For");
const X_FORWARDED_PROTO: Field = Field::new("x-forwarded-proto", "X-Forwarded-Proto");
const X_FORWARDED_HOST: Field = Field::new("x-forwarded-host", "X-Forwarded-Host");
const X_FORWARDED_PORT: Field = Field::new("x-forwarded-port", "X-Forwarded-Port");
const X_FORWARDED_PATH: Field = Field::new("x-forwarded-path", "X-Forwarded-Path");
const X_FORWARDED_PREFIX: Field = Field::new("x-forwarded-prefix", "X-Forwarded-Prefix");
const VIA: Field = Field::new("via", "Via");
/// The request's id.
pub(crate) const X_KONG_REQUEST_ID: Field = Field::new("x-kong-request-id", "X-Kong-Request-Id");

/// Everything that the upstream hears of the request from us, on any route.
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

/// Our entry in `Via` for a message that came over HTTP/1.
pub(crate) const VIA_HTTP1: &str = "1.1 kong/3.10.0";
/// Our entry in `Via` for a message that came over HTTP/2.
pub(crate) const VIA_HTTP2: &str = "2 kong/3.10.0";

/// The peers whose word about earlier hops is taken; by default none.
#[derive(Debug, Clone, Default)]
pub struct TrustedIps(Box<[IpNet]>);

impl TrustedIps {
    /// These networks.
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        Self(networks.into_iter().collect())
    }

    /// Whether an address is in one of them; one of IPv4 also as a listener for both families shows it.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// Whether the TCP peer is one of [`TrustedIps`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Its `X-Forwarded-*` and `X-Real-IP` are believed.
    Trusted,
    /// They are replaced.
    Untrusted,
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Client {
    /// The client, as far as can be known; the peer unless a trusted one named another.
    pub(crate) address: IpAddr,
    /// The peer's standing.
    pub(crate) peer: Peer,
}

/// The client of a request: the peer, or whom a trusted peer names in `X-Real-IP`.
///
/// Of several addresses the last counts, being the one that the peer itself added.
pub(crate) fn client(peer: IpAddr, headers: &HeaderMap, trusted: &TrustedIps) -> Client {
    let peer = peer.to_canonical();
    if !trusted.contains(peer) {
        return Client { address: peer, peer: Peer::Untrusted };
    }
    let named = headers.get_all(X_REAL_IP.name).iter().next_back().and_then(|value| value.to_str().ok());
    let named = named.and_then(|value| address(value.rsplit(',').next().unwrap_or(value).trim()));
    Client { address: named.unwrap_or(peer), peer: Peer::Trusted }
}

/// Reads an address, perhaps with a port or in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    text.parse().ok().or_else(with_port).or_else(bracketed).map(|address: IpAddr| address.to_canonical())
}

/// What a connection speaks, whatever version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// In the clear: `http`, `grpc`.
    Http,
    /// TLS: `https`, `grpcs`.
    Https,
}

impl Scheme {
    /// Its name in `X-Forwarded-Proto`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// Its own port.
    pub(crate) fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// What the client speaks: to us, or to a trusted peer, which says so in `X-Forwarded-Proto`. Of several
/// values nobody knows whose counts, so they are not `https`.
pub(crate) fn scheme(ours: Scheme, standing: Peer, headers: &HeaderMap) -> Scheme {
    if standing == Peer::Untrusted {
        return ours;
    }
    let mut told = headers.get_all(&X_FORWARDED_PROTO.name).iter();
    match (told.next(), told.next()) {
        (None, _) => ours,
        (Some(one), None) if one.as_bytes().trim_ascii().eq_ignore_ascii_case(b"https") => Scheme::Https,
        _ => Scheme::Http,
    }
}

/// The host that a trusted peer says the client asked for.
pub(crate) fn host(standing: Peer, headers: &HeaderMap) -> Option<Host<'_>> {
    let told = headers.get(&X_FORWARDED_HOST.name).filter(|_| standing == Peer::Trusted)?;
    Authority::parse(told.to_str().ok()?).ok().map(|authority| authority.host)
}

/// The hop from the client, or the proxy before us, to us.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hop<'r> {
    /// The TCP peer, as text.
    pub(crate) peer: &'r HeaderValue,
    /// The client's address, as text.
    pub(crate) client: &'r HeaderValue,
    /// Whether what the peer says of earlier hops is kept.
    pub(crate) standing: Peer,
    /// What the connection speaks.
    pub(crate) scheme: Scheme,
    /// Our entry in `Via`: [`VIA_HTTP1`] or [`VIA_HTTP2`].
    pub(crate) via: &'static str,
    /// The host asked for.
    pub(crate) host: Option<&'r Host<'r>>,
    /// The port that the connection came to.
    pub(crate) listener_port: u16,
    /// The request's path as it came, without its query.
    pub(crate) path: &'r str,
    /// What `strip_path` takes off the path, if it takes anything.
    pub(crate) stripped: Option<&'r str>,
}

/// An address as it stands in headers.
pub(crate) fn text(address: IpAddr) -> Option<HeaderValue> {
    HeaderValue::try_from(address.to_canonical().to_string()).ok()
}

impl Hop<'_> {
    /// Writes the headers that tell of this hop, into a head that is otherwise the request's own.
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

    /// Keeps what a trusted peer says; else says it ourselves or, having nothing to say, removes it.
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

/// Sets `Via` with our entry behind those that are there; for requests and for answers.
pub(crate) fn set_via(head: &mut impl Head, ours: &'static str) {
    match joined(head, &VIA, ours.as_bytes()) {
        Some(joined) => head.set(&VIA, &joined),
        None => head.set(&VIA, ours.as_bytes()),
    }
}

/// All values of a field, and one more, in one; `None`: there are none.
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

/// The `Host` that addresses a service or target: with its port unless that is the scheme's own.
/// To be made when configuration is compiled, not on each request.
pub(crate) fn host_value(host: &str, port: u16, scheme: Scheme) -> Option<HeaderValue> {
    if port == scheme.default_port() {
        HeaderValue::from_str(host).ok()
    } else {
        HeaderValue::try_from(format!("{host}:{port}")).ok()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;
    use pingora::http::RequestHeader;

    use super::*;
    use crate::proxy::head::Edited;

    const PEER: &str = "10.0.0.9";

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    fn trusted() -> TrustedIps {
        TrustedIps::new(["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()])
    }

    type Row = (&'static str, &'static [(&'static str, &'static str)], &'static str, Peer);

    #[test]
    fn the_client_is_the_peer_unless_a_trusted_one_names_another() {
        let rows: [Row; 10] = [
            ("1.2.3.4", &[], "1.2.3.4", Peer::Untrusted),
            ("1.2.3.4", &[("x-real-ip", "5.6.7.8")], "1.2.3.4", Peer::Untrusted),
            (PEER, &[], PEER, Peer::Trusted),
            (PEER, &[("x-real-ip", "5.6.7.8")], "5.6.7.8", Peer::Trusted),
            (PEER, &[("x-real-ip", "5.6.7.8:1234")], "5.6.7.8", Peer::Trusted),
            (PEER, &[("x-real-ip", "[2001:db8::1]")], "2001:db8::1", Peer::Trusted),
            (PEER, &[("x-real-ip", "nonsense")], PEER, Peer::Trusted),
            (PEER, &[("x-real-ip", "6.6.6.6"), ("x-real-ip", "5.6.7.8")], "5.6.7.8", Peer::Trusted),
            (PEER, &[("x-forwarded-for", "5.6.7.8")], PEER, Peer::Trusted),
            ("::ffff:10.0.0.9", &[("x-real-ip", "5.6.7.8")], "5.6.7.8", Peer::Trusted),
        ];
        for (peer, sent, address, standing) in rows {
            let expected = Client { address: ip(address), peer: standing };
            assert_eq!(client(ip(peer), &headers(sent), &trusted()), expected, "{peer} {sent:?}");
        }
    }

    /// The headers upstream of a request to `https://Shop.Example:8443/api/x`, `/api` stripped.
    fn upstream(peer: &str, sent: &[(&'static str, &'static str)]) -> HeaderMap {
        let headers = headers(sent);
        let client = client(ip(peer), &headers, &trusted());
        let hop = Hop {
            peer: &text(ip(peer)).unwrap(),
            client: &text(client.address).unwrap(),
            standing: client.peer,
            scheme: Scheme::Https,
            via: VIA_HTTP2,
            host: Some(&Host::parse("Shop.Example.").unwrap()),
            listener_port: 8443,
            path: "/api/x",
            stripped: Some("/api"),
        };
        applied(&hop, &headers)
    }

    /// The headers upstream of a request with `headers` that came over this hop.
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
            ("via", "2 kong/3.10.0"),
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
            ("via", "1.1 before, 2 kong/3.10.0"),
        ]);
        assert_eq!(upstream("1.2.3.4", &CLAIMS), expected);
    }

    #[test]
    fn the_claims_of_a_trusted_peer_are_kept() {
        let mut expected = headers(&CLAIMS);
        expected.insert("x-forwarded-for", HeaderValue::from_static("5.6.7.8, 10.0.0.9"));
        expected.insert("via", HeaderValue::from_static("1.1 before, 2 kong/3.10.0"));
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
                peer: &text(client.address).unwrap(),
                client: &text(client.address).unwrap(),
                standing: client.peer,
                scheme: Scheme::Http,
                via: VIA_HTTP1,
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

    #[test]
    fn only_a_trusted_peer_tells_what_the_client_speaks() {
        use Peer::{Trusted, Untrusted};
        use Scheme::{Http, Https};
        let rows: [(Scheme, Peer, &[&'static str], Scheme); 13] = [
            (Http, Untrusted, &[], Http),
            (Http, Untrusted, &["https"], Http),
            (Https, Untrusted, &["http"], Https),
            (Http, Trusted, &[], Http),
            (Https, Trusted, &[], Https),
            (Http, Trusted, &["https"], Https),
            (Http, Trusted, &["HTTPS"], Https),
            (Http, Trusted, &[" Https "], Https),
            (Https, Trusted, &["http"], Http),
            (Http, Trusted, &["https, http"], Http),
            (Https, Trusted, &["https,https"], Http),
            (Https, Trusted, &["https", "https"], Http),
            (Http, Trusted, &["wss"], Http),
        ];
        for (ours, standing, told, expected) in rows {
            let told: Vec<_> = told.iter().map(|value| ("x-forwarded-proto", *value)).collect();
            assert_eq!(scheme(ours, standing, &headers(&told)), expected, "{ours:?} {standing:?} {told:?}");
        }
    }

    #[test]
    fn a_trusted_peer_tells_the_host_in_any_spelling() {
        let rows = [
            (Peer::Trusted, "Shop.Example.:8443", Some("shop.example")),
            (Peer::Trusted, "[0::1]:8443", Some("[::1]")),
            (Peer::Trusted, "a.test, b.test", None),
            (Peer::Untrusted, "shop.example", None),
        ];
        for (standing, told, expected) in rows {
            let sent = headers(&[("x-forwarded-host", told)]);
            assert_eq!(host(standing, &sent).map(|host| host.to_string()).as_deref(), expected, "{told}");
        }
    }

    #[test]
    fn a_service_is_addressed_with_its_port_unless_it_is_the_usual_one() {
        let rows = [
            ("a.com", 80, Scheme::Http, "a.com"),
            ("a.com", 443, Scheme::Http, "a.com:443"),
            ("a.com", 443, Scheme::Https, "a.com"),
            ("a.com", 80, Scheme::Https, "a.com:80"),
            ("a.com", 3000, Scheme::Http, "a.com:3000"),
        ];
        for (host, port, scheme, expected) in rows {
            assert_eq!(host_value(host, port, scheme).unwrap(), expected);
        }
    }
}
