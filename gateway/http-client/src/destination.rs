//! Which addresses may be called: one list for all outbound calls, and one for all upstreams.
//!
//! URLs come from the configuration, and names from DNS, which others control. So addresses that no authority
//! has are refused: link-local ones, among them the metadata services of clouds, which hand out credentials;
//! multicast and the like; and this gateway's own listeners, the Admin API among them, which trusts whoever
//! reaches it. Loopback and private networks are permitted as such: authorities often live there.
//!
//! Invariant: an IPv6 address that carries an IPv4 address is judged as both.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use ipnet::IpNet;

/// Metadata services that are not link-local: Alibaba Cloud, Azure, Oracle Cloud, and over IPv6 AWS (two) and
/// Google Cloud.
const METADATA: [IpAddr; 6] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0023)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254)),
];

/// The address that most clouds' metadata services have; link-local, but a better name for it.
const COMMON_METADATA: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));

/// The addresses that may be called: all but those in the module's list, and the exceptions to it. The default
/// has no exceptions and knows no listeners.
#[derive(Debug, Clone, Default)]
pub struct Destinations {
    allowed: Vec<IpNet>,
    listeners: Vec<SocketAddr>,
    purpose: Purpose,
}

/// What goes to the addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Purpose {
    /// Calls of plugins.
    #[default]
    OutboundCalls,
    /// Requests of clients.
    Upstreams,
}

impl fmt::Display for Purpose {
    /// What an operator can do about it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutboundCalls => "outbound calls go there only if the setting outbound.allowed_addresses contains it",
            Self::Upstreams => {
                "requests are proxied there only if the setting proxy.allowed_upstream_addresses contains it"
            }
        })
    }
}

impl Destinations {
    /// With the networks to which calls go in any case, and the addresses on which this gateway listens. A
    /// listener on `0.0.0.0` or `[::]` has every address of this machine.
    pub fn new(allowed: impl IntoIterator<Item = IpNet>, listeners: impl IntoIterator<Item = SocketAddr>) -> Self {
        let (allowed, listeners) = (allowed.into_iter().collect(), listeners.into_iter().collect());
        Self { allowed, listeners, purpose: Purpose::default() }
    }

    /// The same, for another purpose.
    #[must_use]
    pub fn for_purpose(self, purpose: Purpose) -> Self {
        Self { purpose, ..self }
    }

    /// Fails if this address may not be called.
    ///
    /// # Errors
    /// It is on the module's list, and no exception.
    pub fn check(&self, address: SocketAddr) -> Result<(), Refused> {
        let forms = [address.ip().to_canonical(), embedded(address.ip())];
        let allowed = |ip: IpAddr| self.allowed.iter().any(|network| network.contains(&ip));
        if allowed(address.ip()) || forms.into_iter().any(allowed) {
            return Ok(());
        }
        let refusal = |ip: IpAddr| refusal(ip).or_else(|| self.is_listener(ip, address.port()));
        match forms.into_iter().find_map(refusal) {
            Some(reason) => Err(Refused { address, reason, purpose: self.purpose }),
            None => Ok(()),
        }
    }

    /// The same for a host that need not be looked up: an address without brackets, or `localhost`
    /// (RFC 6761 §6.3). Other names pass.
    ///
    /// # Errors
    /// As for [`Destinations::check`].
    pub fn check_literal(&self, host: &str, port: u16) -> Result<(), Refused> {
        if let Ok(ip) = host.parse() {
            return self.check(SocketAddr::new(ip, port));
        }
        let name = host.strip_suffix('.').unwrap_or(host);
        if name == "localhost" || name.ends_with(".localhost") {
            self.check(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port))?;
            self.check(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port))?;
        }
        Ok(())
    }

    fn is_listener(&self, ip: IpAddr, port: u16) -> Option<Refusal> {
        let is = |listener: &SocketAddr| {
            let bound = listener.ip().to_canonical();
            listener.port() == port && (bound == ip || (bound.is_unspecified() && is_of_this_machine(ip)))
        };
        self.listeners.iter().any(is).then_some(Refusal::OwnListener)
    }
}

/// An address that may not be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{address} is {reason}; {purpose}")]
pub struct Refused {
    /// The address.
    pub address: SocketAddr,
    /// Why it is refused.
    pub reason: Refusal,
    /// What would have gone there.
    pub purpose: Purpose,
}

/// Why an address is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A cloud's metadata service.
    Metadata,
    /// Link-local: 169.254.0.0/16, fe80::/10.
    LinkLocal,
    /// 0.0.0.0/8, `[::]`.
    Unspecified,
    /// 224.0.0.0/4, ff00::/8.
    Multicast,
    /// 255.255.255.255.
    Broadcast,
    /// This gateway itself: its proxy, its Admin API, or its status listener.
    OwnListener,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Metadata => "the address of a cloud's metadata service",
            Self::LinkLocal => "a link-local address",
            Self::Unspecified => "an unspecified address",
            Self::Multicast => "a multicast address",
            Self::Broadcast => "the broadcast address",
            Self::OwnListener => "a listener of this gateway",
        })
    }
}

fn refusal(ip: IpAddr) -> Option<Refusal> {
    let (link_local, unspecified, broadcast) = match ip {
        IpAddr::V4(ip) => (ip.is_link_local(), ip.octets()[0] == 0, ip.is_broadcast()),
        IpAddr::V6(ip) => (ip.is_unicast_link_local(), ip.is_unspecified(), false),
    };
    if ip == COMMON_METADATA || METADATA.contains(&ip) {
        Some(Refusal::Metadata)
    } else if link_local {
        Some(Refusal::LinkLocal)
    } else if unspecified {
        Some(Refusal::Unspecified)
    } else if ip.is_multicast() {
        Some(Refusal::Multicast)
    } else if broadcast {
        Some(Refusal::Broadcast)
    } else {
        None
    }
}

/// The IPv4 address to which a translator or tunnel delivers: IPv4-mapped and -compatible (RFC 4291 §2.5.5),
/// NAT64 (RFC 6052 §2.1), 6to4 (RFC 3056 §2). Other addresses are returned unchanged.
fn embedded(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    let [a, b, c, d, e, f, high, low] = v6.segments();
    let v4 = |high: u16, low: u16| {
        let ([first, second], [third, fourth]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(first, second, third, fourth))
    };
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0] => v4(high, low),
        // `::` and `::1` are addresses of their own.
        [0, 0, 0, 0, 0, 0] if high != 0 => v4(high, low),
        [0x2002, first, second, ..] => v4(first, second),
        _ => ip,
    }
}

/// Whether a wildcard listener has this address: only a machine's own addresses can be bound. (With
/// `net.ipv4.ip_nonlocal_bind` all can; then too much is refused rather than too little.)
fn is_of_this_machine(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(destinations: &Destinations, address: &str) -> Option<Refusal> {
        destinations.check(address.parse().unwrap()).err().map(|refused| refused.reason)
    }

    fn networks(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// An address of this machine that is not loopback; none in a network namespace without interfaces.
    fn interface_address() -> Option<IpAddr> {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        // Sends nothing: it only chooses a route.
        socket.connect("192.0.2.1:9").ok()?;
        Some(socket.local_addr().unwrap().ip())
    }

    #[test]
    fn addresses_that_no_authority_has_are_refused_in_every_spelling() {
        use Refusal::{Broadcast, LinkLocal, Metadata, Multicast, Unspecified};
        let destinations = Destinations::default();
        for (address, expected) in [
            ("169.254.169.254:80", Some(Metadata)),
            ("[::ffff:169.254.169.254]:80", Some(Metadata)),
            ("[::169.254.169.254]:80", Some(Metadata)),
            ("[64:ff9b::169.254.169.254]:80", Some(Metadata)),
            ("[2002:a9fe:a9fe::1]:80", Some(Metadata)),
            ("[fd00:ec2::254]:80", Some(Metadata)),
            ("[fd20:ce::254]:80", Some(Metadata)),
            ("100.100.100.200:443", Some(Metadata)),
            ("168.63.129.16:80", Some(Metadata)),
            ("169.254.0.1:443", Some(LinkLocal)),
            ("[fe80::1]:443", Some(LinkLocal)),
            ("[febf::1]:443", Some(LinkLocal)),
            ("0.0.0.0:443", Some(Unspecified)),
            ("0.1.2.3:443", Some(Unspecified)),
            ("[::]:443", Some(Unspecified)),
            ("[::ffff:0.0.0.0]:443", Some(Unspecified)),
            ("224.0.0.1:443", Some(Multicast)),
            ("239.255.255.255:443", Some(Multicast)),
            ("[ff02::1]:443", Some(Multicast)),
            ("255.255.255.255:443", Some(Broadcast)),
            ("127.0.0.1:443", None),
            ("[::1]:443", None),
            ("10.0.0.1:443", None),
            ("192.168.1.1:443", None),
            ("[fd00::1]:443", None),
            ("192.0.2.1:443", None),
            ("[2001:db8::1]:443", None),
            ("[64:ff9b::10.0.0.1]:443", None),
        ] {
            assert_eq!(refused(&destinations, address), expected, "{address}");
        }
    }

    #[test]
    fn this_gateways_listeners_are_refused_at_their_addresses_alone() {
        let listeners = ["127.0.0.1:8001", "[::1]:8007", "0.0.0.0:8000"].map(|text| text.parse().unwrap());
        let destinations = Destinations::new([], listeners);
        for (address, expected) in [
            ("127.0.0.1:8001", true),
            ("[::ffff:127.0.0.1]:8001", true),
            ("127.0.0.2:8001", false),
            ("127.0.0.1:8002", false),
            ("[::1]:8001", false),
            ("[::1]:8007", true),
            ("127.0.0.1:8000", true),
            ("127.9.9.9:8000", true),
            ("[::1]:8000", true),
            // For documentation (RFC 5737): no machine has it.
            ("192.0.2.1:8000", false),
        ] {
            let expected = expected.then_some(Refusal::OwnListener);
            assert_eq!(refused(&destinations, address), expected, "{address}");
        }
        if let Some(ip) = interface_address() {
            let at = |port: u16| destinations.check(SocketAddr::new(ip, port)).is_err();
            assert_eq!((at(8000), at(8001)), (true, false), "{ip}");
        }
    }

    #[test]
    fn allowed_networks_are_exceptions_in_every_spelling() {
        let allowed = networks(&["169.254.10.0/24", "127.0.0.1/32", "fe80::/64"]);
        let destinations = Destinations::new(allowed, ["127.0.0.1:8001".parse().unwrap()]);
        for (address, expected) in [
            ("169.254.10.7:80", None),
            ("[::ffff:169.254.10.7]:80", None),
            ("169.254.11.7:80", Some(Refusal::LinkLocal)),
            ("[fe80::1]:80", None),
            ("127.0.0.1:8001", None),
        ] {
            assert_eq!(refused(&destinations, address), expected, "{address}");
        }
    }

    #[test]
    fn a_literal_is_an_address_or_localhost() {
        let destinations = Destinations::new([], ["127.0.0.1:8001".parse().unwrap()]);
        for (host, port, expected) in [
            ("127.0.0.1", 8001, true),
            ("::ffff:127.0.0.1", 8001, true),
            ("localhost", 8001, true),
            ("localhost.", 8001, true),
            ("admin.localhost", 8001, true),
            ("localhost", 8002, false),
            ("notlocalhost", 8001, false),
            ("issuer.test", 8001, false),
            ("169.254.169.254", 80, true),
        ] {
            assert_eq!(destinations.check_literal(host, port).is_err(), expected, "{host}:{port}");
        }
    }
}
