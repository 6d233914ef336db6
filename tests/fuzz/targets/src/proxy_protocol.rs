//! PROXY headers, of both versions: what is read, how much of the input that takes, and whether it can be written again.

use std::net::SocketAddr;

use tollgate::proxy_protocol::{Header, Version, parse_v1, parse_v2, read, write};

/// What a connection begins with.
pub fn proxy_protocol(data: &[u8]) {
    let (header, rest) = of(data);
    let used = &data[..data.len() - rest.len()];
    let Some(header) = header else { return };
    if used.starts_with(b"PROXY ") {
        assert!(used.len() <= 107 && used.ends_with(b"\r\n") && !used[..used.len() - 2].contains(&b'\n'));
        assert_eq!(parse_v1(used).ok(), Some(header));
    } else {
        assert_eq!(used.len(), 16 + usize::from(u16::from_be_bytes([used[14], used[15]])));
        assert_eq!(parse_v2(used).ok(), Some(header));
    }
    let Header::Proxied { source, destination } = header else { return };
    for version in [Version::V1, Version::V2] {
        let written = write(version, source, destination);
        let (again, rest) = of(&written);
        assert!(rest.is_empty());
        let Some(Header::Proxied { source: s, destination: d }) = again else { panic!("{header:?} is not read again") };
        assert_eq!([s, d].map(canonical), [source, destination].map(canonical));
    }
}

fn of(data: &[u8]) -> (Option<Header>, &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut rest = data;
    let header = runtime.block_on(read(&mut rest)).ok();
    (header, rest)
}

/// An IPv4 address in the form of IPv6 is that address.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
