//! A compiled service: its addresses, timeouts and connection options.
//!
//! Invariant: a TLS connection is unverified only if the service (or the gateway's default) says
//! so. Pingora turns verification off when the server name is empty, so a verified peer always
//! has one; for an IP literal that is its text, which is not sent but must be an address of the
//! certificate. The name is part of what makes connections exchangeable, so a connection made
//! under one name is never used under another.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use pingora_core::upstreams::peer::{H1UpgradePolicy, HttpPeer, HttpUpstreamRequestPolicy, PeerOptions};
use serde::{Deserialize, Deserializer};
use smallvec::SmallVec;
use tollgate_core::host::Authority;
use uuid::Uuid;

use super::addresses::{self, Addresses};
use super::balancing::{Balancer, Endpoint, Terms};
use super::trust::Trust;
use crate::scheme::{Scheme, host_value};

/// Whether the upstream's certificate and name are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verification {
    /// Checked against the system's authorities, or those of the service.
    On,
    /// Anything is accepted.
    Off,
}

/// The protocol of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// HTTP/1.1.
    Http,
    /// HTTP over TLS: HTTP/1.1, or HTTP/2 if it is offered.
    Https(Verification),
    /// HTTP/2, from its first byte.
    Grpc,
    /// HTTP/2 over TLS.
    Grpcs(Verification),
    /// A protocol that is accepted in the configuration but not proxied yet.
    NotProxied,
}

impl Transport {
    /// Whether it is gRPC's: HTTP/2 and nothing else.
    pub fn is_grpc(self) -> bool {
        matches!(self, Self::Grpc | Self::Grpcs(_))
    }

    /// Of the upstream's certificate, if it uses TLS.
    pub fn verification(self) -> Option<Verification> {
        match self {
            Self::Https(verification) | Self::Grpcs(verification) => Some(verification),
            Self::Http | Self::Grpc | Self::NotProxied => None,
        }
    }
}

/// The fields of a `services` entity that proxying needs; deserializes from the entity.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ServiceSpec {
    /// The id.
    pub id: Uuid,
    /// The name.
    pub name: Option<String>,
    /// `http`, `https`, `grpc`, …
    pub protocol: String,
    /// A host name or an IP literal.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Prepended to the path.
    pub path: Option<String>,
    /// Attempts after the first; 5 when null.
    #[serde(deserialize_with = "retries")]
    pub retries: u32,
    /// Milliseconds; a minute when null, like the other two.
    #[serde(deserialize_with = "timeout")]
    pub connect_timeout: u64,
    /// Milliseconds between two writes.
    #[serde(deserialize_with = "timeout")]
    pub write_timeout: u64,
    /// Milliseconds between two reads.
    #[serde(deserialize_with = "timeout")]
    pub read_timeout: u64,
    /// `None`: the gateway's default applies.
    pub tls_verify: Option<bool>,
}

fn retries<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(5))
}

fn timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(60_000))
}

/// The host is not valid in a `Host` header.
#[derive(Debug, thiserror::Error)]
#[error("service {0}: host is not valid in a Host header")]
pub struct InvalidHost(pub Uuid);

/// A compiled service; with its reference counts, three cache lines.
#[derive(Debug)]
pub struct ServiceEntry {
    /// The id.
    pub id: Uuid,
    /// The name, or else the host; the `service` label of metrics.
    pub label: Box<str>,
    /// Prepended to the path.
    pub path: Option<Box<str>>,
    /// Its protocol.
    pub transport: Transport,
    host: SmallVec<[u8; 32]>,
    /// The maximum number of attempts per request, at least one.
    pub attempts: u32,
    addresses: Addresses,
    server_name: Box<str>,
    /// `None`: no certificate is presented, and the system's authorities vouch for the upstream.
    trust: Option<Arc<Trust>>,
    connect_timeout: Millis,
    write_timeout: Millis,
    read_timeout: Millis,
}

/// Milliseconds; the entity allows no more than fit.
#[derive(Debug, Clone, Copy)]
struct Millis(u32);

impl Millis {
    fn new(millis: u64) -> Self {
        Self(u32::try_from(millis).unwrap_or(u32::MAX))
    }

    fn duration(self) -> Duration {
        Duration::from_millis(self.0.into())
    }
}

impl ServiceEntry {
    /// Compiles a service at these addresses; `default` applies if it does not say.
    pub fn new(spec: &ServiceSpec, default: Verification, addresses: Addresses) -> Result<Self, InvalidHost> {
        let verification = match spec.tls_verify {
            Some(true) => Verification::On,
            Some(false) => Verification::Off,
            None => default,
        };
        let transport = match spec.protocol.as_str() {
            "http" => Transport::Http,
            "https" => Transport::Https(verification),
            "grpc" => Transport::Grpc,
            "grpcs" => Transport::Grpcs(verification),
            _ => Transport::NotProxied,
        };
        Ok(Self {
            id: spec.id,
            label: spec.name.as_deref().unwrap_or(&spec.host).into(),
            path: spec.path.as_deref().map(Into::into),
            transport,
            host: host_header(spec).ok_or(InvalidHost(spec.id))?.as_bytes().into(),
            attempts: spec.retries.saturating_add(1),
            server_name: server_name(spec, transport, &addresses).into(),
            addresses,
            trust: None,
            connect_timeout: Millis::new(spec.connect_timeout),
            write_timeout: Millis::new(spec.write_timeout),
            read_timeout: Millis::new(spec.read_timeout),
        })
    }

    /// With other terms of TLS.
    #[must_use]
    pub fn with_trust(self, trust: Option<Trust>) -> Self {
        Self { trust: trust.map(Arc::new), ..self }
    }

    /// The same service at other addresses.
    #[must_use]
    pub fn at(&self, addresses: Addresses) -> Self {
        Self {
            id: self.id,
            label: self.label.clone(),
            path: self.path.clone(),
            transport: self.transport,
            host: self.host.clone(),
            attempts: self.attempts,
            addresses,
            server_name: self.server_name.clone(),
            trust: self.trust.clone(),
            connect_timeout: self.connect_timeout,
            write_timeout: self.write_timeout,
            read_timeout: self.read_timeout,
        }
    }

    /// How long a connection may take.
    pub fn connect_timeout(&self) -> Duration {
        self.connect_timeout.duration()
    }

    /// How long it may be silent.
    pub fn read_timeout(&self) -> Duration {
        self.read_timeout.duration()
    }

    /// The upstream that its host is, if it is one.
    pub fn balancer(&self) -> Option<&Arc<Balancer>> {
        self.addresses.balancer()
    }

    /// The `Host` sent to it, unless the route preserves the client's. Created on each call: shared among requests
    /// it would be two more blocks of memory, which are in no cache when there are many services.
    pub fn host_header(&self) -> Option<HeaderValue> {
        HeaderValue::from_bytes(&self.host).ok()
    }

    /// The peer of the next attempt. `preserved` is the client's host, if it is sent instead of the
    /// service's; `idle_timeout` is how long the idle connection is kept.
    pub async fn peer(
        &self,
        preserved: Option<&str>,
        idle_timeout: Duration,
    ) -> Result<Box<HttpPeer>, addresses::Error> {
        let address = self.addresses.next().await?;
        Ok(self.peer_at(address, self.server_name(preserved), idle_timeout))
    }

    /// The peer of an attempt at an endpoint of an upstream, which is sent `host` unless the client's is preserved.
    /// `None`: the upstream's certificate cannot be used.
    pub fn peer_of(
        &self,
        (balancer, endpoint): (&Balancer, &Endpoint),
        host: &str,
        preserved: Option<&str>,
        idle_timeout: Duration,
    ) -> Option<Box<HttpPeer>> {
        let name = self.asked_name(preserved).unwrap_or_else(|| match self.transport.verification() {
            Some(Verification::Off) if endpoint_is_literal(host) => String::new(),
            Some(_) => match Authority::parse(host) {
                Ok(authority) => name_of(authority.host.as_str()),
                Err(_) => name_of(host),
            },
            None => String::new(),
        });
        let mut peer = self.peer_at(endpoint.address, name, idle_timeout);
        match balancer.terms() {
            Terms::Unusable if self.transport.verification().is_some() => return None,
            Terms::Certificate(certificate, group) if peer.client_cert_key.is_none() => {
                peer.client_cert_key = Some(certificate);
                peer.group_key = peer.group_key.wrapping_add(group);
            }
            Terms::Plain | Terms::Certificate(..) | Terms::Unusable => {}
        }
        Some(peer)
    }

    /// The `Host` that addresses an endpoint at this host.
    pub fn host_at(&self, host: &str, port: u16) -> Option<HeaderValue> {
        let scheme = if self.transport.verification().is_some() { Scheme::Https } else { Scheme::Http };
        host_value(&bracketed(host), port, scheme)
    }

    fn peer_at(&self, address: SocketAddr, server_name: String, idle_timeout: Duration) -> Box<HttpPeer> {
        let tls = self.transport.verification().is_some();
        // A `SocketAddr` needs no resolving, so this cannot block or panic.
        let mut peer = Box::new(HttpPeer::new(address, tls, server_name));
        self.set_options(&mut peer.options);
        peer.options.idle_timeout = Some(idle_timeout);
        if let Some(trust) = &self.trust {
            trust.apply(&mut peer);
        }
        peer
    }

    /// The name to request and to verify: that of the `Host` that is sent.
    fn server_name(&self, preserved: Option<&str>) -> String {
        self.asked_name(preserved).unwrap_or_else(|| self.server_name.clone().into_string())
    }

    /// That of the client's host, if it is sent and can be one.
    fn asked_name(&self, preserved: Option<&str>) -> Option<String> {
        let verification = self.transport.verification()?;
        let asked = Authority::parse(preserved?).ok()?;
        let name = name_of(asked.host.as_str());
        let usable = !name.is_empty() && (verification == Verification::On || name.parse::<IpAddr>().is_err());
        usable.then_some(name)
    }

    fn set_options(&self, options: &mut PeerOptions) {
        let verified = self.transport.verification() != Some(Verification::Off);
        options.verify_cert = verified;
        options.verify_hostname = verified;
        options.connection_timeout = Some(self.connect_timeout.duration());
        options.total_connection_timeout = Some(self.connect_timeout.duration());
        options.read_timeout = Some(self.read_timeout.duration());
        options.write_timeout = Some(self.write_timeout.duration());
        // We remove hop-by-hop headers ourselves (`proxy::hop_by_hop`): Pingora would respond 400 to
        // a nominated `X-Forwarded-For` and would drop `Proxy-Authorization`, which may be a
        // bearer token that the operator wants to reach the upstream.
        options.http_upstream_request_policy = HttpUpstreamRequestPolicy {
            strip_hop_by_hop: false,
            strip_connection_nominated: false,
            reject_malformed_connection_nominations: false,
            h1_upgrade: H1UpgradePolicy::WebSocketOnly,
        };
    }
}

fn host_header(spec: &ServiceSpec) -> Option<HeaderValue> {
    let scheme = if matches!(spec.protocol.as_str(), "https" | "grpcs") { Scheme::Https } else { Scheme::Http };
    host_value(&bracketed(&spec.host), spec.port, scheme)
}

/// IPv6 addresses are in brackets.
fn bracketed(host: &str) -> Cow<'_, str> {
    let is_bare_ipv6 = host.contains(':') && !host.starts_with('[');
    if is_bare_ipv6 { Cow::Owned(format!("[{host}]")) } else { Cow::Borrowed(host) }
}

fn endpoint_is_literal(host: &str) -> bool {
    host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
}

fn server_name(spec: &ServiceSpec, transport: Transport, addresses: &Addresses) -> String {
    match transport.verification() {
        // An IP literal is not a server name (RFC 6066 §3); the name may be missing only if nothing is
        // verified.
        Some(Verification::Off) if addresses.is_literal() => String::new(),
        Some(_) => name_of(&spec.host),
        None => String::new(),
    }
}

/// A host as a server name, or as an address.
fn name_of(host: &str) -> String {
    host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::upstream::addresses::tests::network;

    fn at(host: &str, port: u16) -> Addresses {
        Addresses::new(host, port, &network())
    }

    /// A service at a host and port, with the entity's defaults.
    pub(crate) fn spec(protocol: &str, host: &str, port: u16) -> ServiceSpec {
        ServiceSpec {
            id: Uuid::from_u128(1),
            name: Some("api".to_owned()),
            protocol: protocol.to_owned(),
            host: host.to_owned(),
            port,
            path: None,
            retries: 5,
            connect_timeout: 60_000,
            write_timeout: 60_000,
            read_timeout: 60_000,
            tls_verify: None,
        }
    }

    #[test]
    fn a_service_is_three_cache_lines() {
        assert!(2 * size_of::<usize>() + size_of::<ServiceEntry>() <= 192);
    }

    #[test]
    fn the_host_header_names_the_port_unless_it_is_the_default() {
        let rows = [
            ("http", "a.test", 80, "a.test"),
            ("http", "a.test", 443, "a.test:443"),
            ("https", "a.test", 443, "a.test"),
            ("https", "a.test", 8443, "a.test:8443"),
            ("http", "::1", 8080, "[::1]:8080"),
            ("grpc", "a.test", 80, "a.test"),
            ("grpcs", "a.test", 443, "a.test"),
        ];
        for (protocol, host, port, expected) in rows {
            let entry = ServiceEntry::new(&spec(protocol, host, port), Verification::On, at(host, port)).unwrap();
            assert_eq!(entry.host_header().unwrap(), expected);
        }
    }

    #[test]
    fn a_verified_peer_always_has_a_server_name() {
        for host in ["API.test.", "127.0.0.1", "[::1]"] {
            let entry = ServiceEntry::new(&spec("https", host, 443), Verification::On, at(host, 443)).unwrap();
            assert!(!entry.server_name.is_empty(), "{host}");
        }
        let mut trusting = spec("https", "127.0.0.1", 443);
        trusting.tls_verify = Some(false);
        assert_eq!(
            ServiceEntry::new(&trusting, Verification::On, at("127.0.0.1", 443)).unwrap().server_name,
            "".into()
        );
    }

    #[test]
    fn the_server_name_follows_the_host_that_is_sent() {
        let rows = [
            (None, "a.test"),
            (Some("B.test:8443"), "b.test"),
            (Some("b.test."), "b.test"),
            (Some("[::1]:8443"), "::1"),
            (Some("127.0.0.1"), "127.0.0.1"),
            // Without a name, nothing would be verified.
            (Some(""), "a.test"),
            (Some("."), "a.test"),
            (Some("[]:1"), "a.test"),
        ];
        let entry = ServiceEntry::new(&spec("https", "a.test", 443), Verification::On, at("a.test", 443)).unwrap();
        for (preserved, expected) in rows {
            assert_eq!(entry.server_name(preserved), expected, "{preserved:?}");
        }
        let plain = ServiceEntry::new(&spec("http", "a.test", 80), Verification::On, at("a.test", 80)).unwrap();
        assert_eq!(plain.server_name(Some("b.test")), "");
        let trusting =
            ServiceEntry::new(&spec("https", "127.0.0.1", 443), Verification::Off, at("127.0.0.1", 443)).unwrap();
        assert_eq!(trusting.server_name(Some("b.test")), "b.test");
        assert_eq!(trusting.server_name(Some("127.0.0.2")), "");
    }

    #[test]
    fn tls_verify_of_the_service_wins_over_the_default() {
        let mut service = spec("https", "a.test", 443);
        for (field, default, expected) in [
            (None, Verification::On, Verification::On),
            (None, Verification::Off, Verification::Off),
            (Some(true), Verification::Off, Verification::On),
            (Some(false), Verification::On, Verification::Off),
        ] {
            service.tls_verify = field;
            assert_eq!(
                ServiceEntry::new(&service, default, at("a.test", 443)).unwrap().transport,
                Transport::Https(expected)
            );
        }
    }

    #[test]
    fn protocols_not_proxied_yet_are_recognised() {
        for protocol in ["tcp", "tls", "udp", "tls_passthrough"] {
            let entry = ServiceEntry::new(&spec(protocol, "a.test", 1), Verification::On, at("a.test", 1)).unwrap();
            assert_eq!(entry.transport, Transport::NotProxied);
        }
    }

    #[test]
    fn grpcs_is_verified_like_https() {
        let transport = |protocol| {
            let entry = ServiceEntry::new(&spec(protocol, "a.test", 1), Verification::On, at("a.test", 1)).unwrap();
            (entry.transport, entry.server_name.into_string())
        };
        assert_eq!(transport("grpc"), (Transport::Grpc, String::new()));
        assert_eq!(transport("grpcs"), (Transport::Grpcs(Verification::On), "a.test".to_owned()));
    }
}
