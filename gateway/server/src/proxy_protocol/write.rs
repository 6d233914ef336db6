//! Writes a header.

use std::net::{IpAddr, SocketAddr};

use super::{SIGNATURE, Version};

/// The header of a connection that is passed on. If the two addresses are of different families, both are written as
/// IPv6.
pub fn write(version: Version, source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let (source_ip, destination_ip) = match (source.ip().to_canonical(), destination.ip().to_canonical()) {
        both @ ((IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_))) => both,
        (one, other) => (IpAddr::V6(mapped(one)), IpAddr::V6(mapped(other))),
    };
    match version {
        Version::V1 => {
            let family = if source_ip.is_ipv4() { "TCP4" } else { "TCP6" };
            let (source, destination) = (source.port(), destination.port());
            format!("PROXY {family} {source_ip} {destination_ip} {source} {destination}\r\n").into_bytes()
        }
        Version::V2 => {
            let (family, length) = if source_ip.is_ipv4() { (0x11, 12_u16) } else { (0x21, 36) };
            let mut header = SIGNATURE.to_vec();
            header.extend([0x21, family]);
            header.extend(length.to_be_bytes());
            for ip in [source_ip, destination_ip] {
                match ip {
                    IpAddr::V4(four) => header.extend(four.octets()),
                    IpAddr::V6(six) => header.extend(six.octets()),
                }
            }
            header.extend(source.port().to_be_bytes());
            header.extend(destination.port().to_be_bytes());
            header
        }
    }
}

/// The header of a connection of the gateway's own, such as a health check: `UNKNOWN` or `LOCAL`, which state no address.
pub fn write_own(version: Version) -> Vec<u8> {
    match version {
        Version::V1 => b"PROXY UNKNOWN\r\n".to_vec(),
        Version::V2 => [&SIGNATURE[..], &[0x20, 0x00, 0, 0]].concat(),
    }
}

fn mapped(ip: IpAddr) -> std::net::Ipv6Addr {
    match ip {
        IpAddr::V4(four) => four.to_ipv6_mapped(),
        IpAddr::V6(six) => six,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_written_as_others_read_them() {
        let (source, destination) = ("192.0.2.1:56324".parse().unwrap(), "192.0.2.2:443".parse().unwrap());
        assert_eq!(write(Version::V1, source, destination), b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n");
        let expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\xdc\x04\x01\xbb";
        assert_eq!(write(Version::V2, source, destination), expected);
        let six = "[2001:db8::1]:1".parse().unwrap();
        assert_eq!(write(Version::V1, six, destination), b"PROXY TCP6 2001:db8::1 ::ffff:192.0.2.2 1 443\r\n");
        let mapped = "[::ffff:192.0.2.1]:56324".parse().unwrap();
        assert_eq!(write(Version::V1, mapped, destination), write(Version::V1, source, destination));
    }
}
