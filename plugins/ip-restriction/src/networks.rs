//! Whether an address is in one of many networks: by binary search in ranges that do not overlap.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// The length of the prefix that IPv4 addresses have as IPv6 ones (RFC 4291 §2.5.5.2).
const MAPPED: u8 = 96;

/// Reads an address or a network.
pub(crate) fn network(text: &str) -> Option<IpNet> {
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok()?;
    let mapped = match (network.addr().to_canonical(), network.prefix_len().checked_sub(MAPPED)) {
        (IpAddr::V4(address), Some(length)) if network.addr().is_ipv6() => Ipv4Net::new(address, length).ok(),
        _ => None,
    };
    Some(mapped.map_or(network, IpNet::V4))
}

/// Networks, as ranges of each address family in ascending order.
#[derive(Debug)]
pub(crate) struct Networks {
    v4: Vec<(u128, u128)>,
    v6: Vec<(u128, u128)>,
}

impl Networks {
    /// The addresses of all of these.
    pub(crate) fn new(networks: Vec<IpNet>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in IpNet::aggregate(&networks) {
            let range = (number(network.network()), number(network.broadcast()));
            if network.addr().is_ipv4() { v4.push(range) } else { v6.push(range) }
        }
        v4.sort_unstable();
        v6.sort_unstable();
        Self { v4, v6 }
    }

    /// Whether one of them contains the address.
    pub(crate) fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let ranges = if address.is_ipv4() { &self.v4 } else { &self.v6 };
        let wanted = number(address);
        let after = ranges.partition_point(|(first, _)| *first <= wanted);
        after.checked_sub(1).and_then(|last| ranges.get(last)).is_some_and(|(_, end)| wanted <= *end)
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_networks_are_read() {
        for (text, shown) in [
            ("192.0.2.1", "192.0.2.1/32"),
            ("10.1.2.3/8", "10.1.2.3/8"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::ffff:192.0.2.1", "192.0.2.1/32"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(network(text).unwrap().to_string(), shown);
        }
        for text in ["", "hello", "10.0.0.0/33", "10.0.0", "10.0.0.1/", "1.2.3.4:80"] {
            assert_eq!(network(text), None, "{text}");
        }
    }

    #[test]
    fn an_address_is_found_wherever_it_is_in_a_range() {
        let networks = ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.7", "2001:db8::/32", "0.0.0.0/32"];
        let networks = Networks::new(networks.iter().map(|text| network(text).unwrap()).collect());
        for inside in ["10.0.0.0", "10.255.255.255", "192.0.2.7", "2001:db8::1", "0.0.0.0", "::ffff:10.0.0.1"] {
            assert!(networks.contain(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["9.255.255.255", "11.0.0.0", "192.0.2.8", "2001:db9::", "::1", "0.0.0.1", "::a00:1"] {
            assert!(!networks.contain(outside.parse().unwrap()), "{outside}");
        }
        assert!(!Networks::new(Vec::new()).contain([0, 0, 0, 0].into()));
    }
}
