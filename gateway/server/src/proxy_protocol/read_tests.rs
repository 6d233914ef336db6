use super::super::{Version, write, write_own};
use super::*;

fn ends(source: &str, destination: &str) -> (SocketAddr, SocketAddr) {
    (source.parse().unwrap(), destination.parse().unwrap())
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// What a connection with these bytes says, and what is left of it.
fn of(bytes: &[u8]) -> (Result<Header, String>, Vec<u8>) {
    let mut rest = bytes;
    let header = run(read(&mut rest)).map_err(|fault| fault.to_string());
    (header, rest.to_vec())
}

/// A header of version 2 with this command, family, and rest.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.extend([command, family]);
    header.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
    header.extend(rest);
    header
}

const FOUR: [u8; 12] = [192, 0, 2, 1, 192, 0, 2, 2, 0xdc, 4, 1, 0xbb];

#[test]
fn what_is_written_is_read_and_nothing_after_it() {
    for (source, destination) in [("192.0.2.1:56324", "192.0.2.2:443"), ("[2001:db8::1]:1", "[::1]:65535")] {
        let (source, destination) = ends(source, destination);
        for version in [Version::V1, Version::V2] {
            let mut bytes = write(version, source, destination);
            bytes.extend(b"GET / HTTP/1.1\r\n");
            let expected = (Ok(Header::Proxied { source, destination }), b"GET / HTTP/1.1\r\n".to_vec());
            assert_eq!(of(&bytes), expected, "{version:?} {source}");
        }
    }
}

#[test]
fn a_connection_of_the_proxys_own_says_nobody_elses_address() {
    let rows: [&[u8]; 7] = [
        &write_own(Version::V1),
        &write_own(Version::V2),
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN ffff::1 anything 99999\r\n",
        &v2(0x20, 0x00, &[]),
        &v2(0x20, 0x11, &[1, 2, 3]),
        &v2(0x21, 0x00, &FOUR),
    ];
    for bytes in rows {
        assert_eq!(of(bytes), (Ok(Header::Own), Vec::new()), "{}", bytes.escape_ascii());
    }
}

#[test]
fn what_is_not_exactly_a_header_is_none() {
    let line = |text: &str| text.as_bytes().to_vec();
    let rows = [
        (line("GET / HTTP/1.1\r\n\r\n"), "it does not begin with a PROXY header"),
        (line("proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n"), "it does not begin with a PROXY header"),
        (line(" PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n"), "it does not begin with a PROXY header"),
        (line("PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n"), "its PROXY header is not valid: not a line"),
        (line("PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\r\n"), "its PROXY header is not valid: not a line"),
        (line("PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n"), "its PROXY header is not valid: not five fields"),
        (line("PROXY TCP4 1.1.1.1 2.2.2.2 1 2 \r\n"), "its PROXY header is not valid: not five fields"),
        (line("PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n"), "its PROXY header is not valid: not five fields"),
        (line("PROXY TCP5 1.1.1.1 2.2.2.2 1 2\r\n"), "its PROXY header is not valid: no such address or port"),
        (line("PROXY TCP4 01.1.1.1 2.2.2.2 1 2\r\n"), "its PROXY header is not valid: no such address or port"),
        (line("PROXY TCP4 1.1.1 2.2.2.2 1 2\r\n"), "its PROXY header is not valid: no such address or port"),
        (line("PROXY TCP4 ::1 ::1 1 2\r\n"), "its PROXY header is not valid: no such address or port"),
        (line("PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n"), "its PROXY header is not valid: no such address or port"),
        (line("PROXY TCP4 1.1.1.1 2.2.2.2 65536 2\r\n"), "its PROXY header is not valid: no such address or port"),
        (line("PROXY TCP4 1.1.1.1 2.2.2.2 +1 2\r\n"), "its PROXY header is not valid: no such address or port"),
        (line("PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n"), "its PROXY header is not valid: no such address or port"),
        (
            line(&format!("PROXY UNKNOWN {}\r\n", "x".repeat(100))),
            "its PROXY header is not valid: longer than 107 bytes",
        ),
        (line("PROXY TCP4 1.1.1.1 2.2"), "it ended within its PROXY header"),
        (line("PROXY"), "it ended within its PROXY header"),
        (v2(0x11, 0x11, &FOUR), "its PROXY header is not valid: not version 2, or an unknown command"),
        (v2(0x22, 0x11, &FOUR), "its PROXY header is not valid: not version 2, or an unknown command"),
        (v2(0x21, 0x12, &FOUR), "its PROXY header is not valid: not TCP over IPv4 or IPv6"),
        (v2(0x21, 0x31, &[0; 216]), "its PROXY header is not valid: not TCP over IPv4 or IPv6"),
        (v2(0x21, 0x11, &FOUR[..11]), "its PROXY header is not valid: too short for its addresses"),
        (v2(0x21, 0x21, &FOUR), "its PROXY header is not valid: too short for its addresses"),
        (
            v2(0x21, 0x11, &[&FOUR[..], &[4, 0, 2, 1]].concat()),
            "its PROXY header is not valid: cut short after its addresses",
        ),
        (v2(0x21, 0x11, &[0; 4097]), "its PROXY header is not valid: longer than 4096 bytes"),
        (v2(0x21, 0x11, &FOUR)[..20].to_vec(), "it ended within its PROXY header"),
    ];
    for (bytes, fault) in rows {
        assert_eq!(of(&bytes).0, Err(fault.to_owned()), "{}", bytes.escape_ascii());
    }
}

#[test]
fn what_a_proxy_adds_is_skipped_and_its_checksum_verified() {
    let (source, destination) = ends("192.0.2.1:56324", "192.0.2.2:443");
    let with = |added: &[u8]| v2(0x21, 0x11, &[&FOUR[..], added].concat());
    let plain = with(&[0x04, 0, 3, 0, 0, 0]);
    assert_eq!(of(&plain).0, Ok(Header::Proxied { source, destination }));
    let unsigned = with(&[CRC32C, 0, 4, 0, 0, 0, 0]);
    let sum = crc32c(&unsigned, 0..0).to_be_bytes();
    let signed = with(&[&[CRC32C, 0, 4][..], &sum].concat());
    assert_eq!(of(&signed).0, Ok(Header::Proxied { source, destination }));
    for wrong in [unsigned, with(&[CRC32C, 0, 3, 0, 0, 0])] {
        let fault = "its PROXY header is not valid: its checksum is wrong".to_owned();
        assert_eq!(of(&wrong).0, Err(fault), "{}", wrong.escape_ascii());
    }
    // The check value of the polynomial.
    assert_eq!(crc32c(b"123456789", 0..0), 0xE306_9283);
}
