//! Who is at the other end of the connection.

use std::net::IpAddr;

use http::HeaderMap;
use ipnet::IpNet;
use pingora_proxy::Session;

/// The server name of a client's TLS handshake. The listener's certificate callback returns one
/// (in an `Arc`) from `handshake_complete_callback`, and routing by SNI finds it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerName(pub String);

/// Whether the peer's forwarded headers are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// It is in `trusted_ips`.
    Trusted,
    /// It is not.
    Untrusted,
}

/// Where a request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Client {
    /// The TCP peer.
    pub(crate) peer: IpAddr,
    /// Whether it is believed.
    pub(crate) trust: Trust,
    /// The client, which is the peer unless a trusted peer named another.
    pub(crate) address: IpAddr,
    /// Whether the connection is TLS.
    pub(crate) tls: bool,
    /// The port it was accepted on.
    pub(crate) port: u16,
}

impl Client {
    /// Reads the connection and, from a trusted peer, `X-Real-IP`. `None`: not a TCP connection,
    /// or one that is gone.
    pub(crate) fn of(session: &Session, trusted_ips: &[IpNet]) -> Option<Self> {
        let peer = session.client_addr()?.as_inet()?.ip().to_canonical();
        let port = session.server_addr()?.as_inet()?.port();
        let tls = session.digest().is_some_and(|digest| digest.ssl_digest.is_some());
        let trust = trust(peer, trusted_ips);
        let named = named_address(&session.req_header().headers).filter(|_| trust == Trust::Trusted);
        Some(Self { peer, trust, address: named.unwrap_or(peer), tls, port })
    }

    /// `http` or `https`.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }
}

fn trust(peer: IpAddr, trusted_ips: &[IpNet]) -> Trust {
    if trusted_ips.iter().any(|network| network.contains(&peer)) { Trust::Trusted } else { Trust::Untrusted }
}

/// `X-Real-IP`, if it is one address.
fn named_address(headers: &HeaderMap) -> Option<IpAddr> {
    headers.get("x-real-ip")?.to_str().ok()?.trim().parse().ok()
}

/// The server name the client asked for.
pub(crate) fn server_name(session: &Session) -> Option<String> {
    let tls = session.digest()?.ssl_digest.as_ref()?;
    tls.extension.get::<ServerName>().map(|name| name.0.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_networks_are_trusted() {
        let networks = ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        for (peer, expected) in [
            ("10.1.2.3", Trust::Trusted),
            ("::1", Trust::Trusted),
            ("11.0.0.1", Trust::Untrusted),
            ("127.0.0.1", Trust::Untrusted),
        ] {
            assert_eq!(trust(peer.parse().unwrap(), &networks), expected, "{peer}");
        }
        assert_eq!(trust("127.0.0.1".parse().unwrap(), &[]), Trust::Untrusted);
    }
}
