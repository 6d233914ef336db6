//! Trusted peers: who a request is from, with or without a trusted peer's claims (gateway.md §7.1).
//!
//! 1. [`client`]: the client's address; a trusted peer may name it in `X-Real-IP`.
//! 2. [`scheme`], [`host`]: the client's scheme and host as seen by a trusted peer, for the responses to it.

use std::net::{IpAddr, SocketAddr};

use http::header::HeaderMap;
use ipnet::IpNet;
use tollgate_core::forwarded::{self, Sender};
use tollgate_core::host::Host;

use super::hop::X_REAL_IP;
use crate::scheme::Scheme;

/// The peers whose claims about earlier hops are trusted; none by default.
#[derive(Debug, Clone, Default)]
pub struct TrustedIps(Box<[IpNet]>);

impl TrustedIps {
    /// These networks.
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        Self(networks.into_iter().collect())
    }

    /// Whether an address is in one of them; also an IPv4 address in the form of a dual-stack listener.
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

impl From<Peer> for Sender {
    fn from(peer: Peer) -> Self {
        match peer {
            Peer::Trusted => Self::Trusted,
            Peer::Untrusted => Self::Untrusted,
        }
    }
}

/// The source of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Client {
    /// The client, as far as known; the peer unless a trusted one named another.
    pub(crate) address: IpAddr,
    /// Whether the peer is trusted.
    pub(crate) peer: Peer,
}

/// The client of a request: the peer, or the address that a trusted peer names in `X-Real-IP`.
///
/// Of several addresses the last is used, since the peer itself added it.
pub(crate) fn client(peer: IpAddr, headers: &HeaderMap, trusted: &TrustedIps) -> Client {
    let peer = peer.to_canonical();
    if !trusted.contains(peer) {
        return Client { address: peer, peer: Peer::Untrusted };
    }
    let named = headers.get_all(X_REAL_IP.name).iter().next_back().and_then(|value| value.to_str().ok());
    let named = named.and_then(|value| address(value.rsplit(',').next().unwrap_or(value).trim()));
    Client { address: named.unwrap_or(peer), peer: Peer::Trusted }
}

/// Parses an address, perhaps with a port or in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    text.parse().ok().or_else(with_port).or_else(bracketed).map(|address: IpAddr| address.to_canonical())
}

/// The client's scheme: on the connection to us, or in a trusted peer's `X-Forwarded-Proto`. With several
/// values it is unknown which is right, so they do not count as `https`.
pub(crate) fn scheme(ours: Scheme, standing: Peer, headers: &HeaderMap) -> Scheme {
    if forwarded::is_https(ours == Scheme::Https, standing.into(), headers) { Scheme::Https } else { Scheme::Http }
}

/// The requested host according to a trusted peer.
pub(crate) fn host(standing: Peer, headers: &HeaderMap) -> Option<Host<'_>> {
    forwarded::authority(standing.into(), headers).map(|authority| authority.host)
}

#[cfg(test)]
pub(super) mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    pub(in crate::proxy) const PEER: &str = "10.0.0.9";

    pub(in crate::proxy) fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    pub(in crate::proxy) fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    pub(in crate::proxy) fn trusted() -> TrustedIps {
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

    #[test]
    fn only_a_trusted_peer_may_state_the_clients_scheme() {
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
        for (ours, standing, claimed, expected) in rows {
            let claimed: Vec<_> = claimed.iter().map(|value| ("x-forwarded-proto", *value)).collect();
            assert_eq!(scheme(ours, standing, &headers(&claimed)), expected, "{ours:?} {standing:?} {claimed:?}");
        }
    }

    #[test]
    fn a_trusted_peer_may_state_the_host_in_any_spelling() {
        let rows = [
            (Peer::Trusted, "Shop.Example.:8443", Some("shop.example")),
            (Peer::Trusted, "[0::1]:8443", Some("[::1]")),
            (Peer::Trusted, "a.test, b.test", None),
            (Peer::Untrusted, "shop.example", None),
        ];
        for (standing, claimed, expected) in rows {
            let sent = headers(&[("x-forwarded-host", claimed)]);
            assert_eq!(host(standing, &sent).map(|host| host.to_string()).as_deref(), expected, "{claimed}");
        }
    }
}
