//! Networks: what counts as one sender where senders are limited.

use std::net::{IpAddr, Ipv6Addr};

/// The part of an IPv6 address that identifies its network.
const NETWORK: u128 = u128::MAX << 64;

/// The sender behind an address: an IPv4 address itself, or the /64 network of an IPv6 address, since a host
/// usually controls all of it.
pub fn of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & NETWORK)),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_one_host_controls_are_one_sender() {
        let sender = |text: &str| of(text.parse().unwrap()).to_string();
        assert_eq!(sender("192.0.2.1"), "192.0.2.1");
        assert_eq!(sender("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(sender("2001:db8::1"), "2001:db8::");
        assert_eq!(sender("2001:db8::ffff:1"), sender("2001:db8::2"));
        assert_ne!(sender("2001:db8:0:1::1"), sender("2001:db8::1"));
    }
}
