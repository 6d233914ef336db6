//! Reads a header.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

use super::{Header, SIGNATURE, V1_MAX, V1_START, V2_MAX};

/// A checksum of what a proxy adds.
const CRC32C: u8 = 0x03;

/// Why a connection has no header.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It begins with something else.
    #[error("it does not begin with a PROXY header")]
    Missing,
    /// What begins like one is not valid.
    #[error("its PROXY header is not valid: {0}")]
    Invalid(&'static str),
    /// It ended, or failed.
    #[error("it ended within its PROXY header")]
    Ended(#[from] std::io::Error),
}

/// Reads a header of either version, and no byte after it.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Header, Fault> {
    let mut start = [0; SIGNATURE.len()];
    stream.read_exact(&mut start).await?;
    if start == SIGNATURE {
        return read_v2(stream).await;
    }
    if !start.starts_with(V1_START) {
        return Err(Fault::Missing);
    }
    let mut line = start.to_vec();
    while !line.ends_with(b"\n") {
        if line.len() == V1_MAX {
            return Err(Fault::Invalid("longer than 107 bytes"));
        }
        line.push(stream.read_u8().await?);
    }
    parse_v1(&line)
}

async fn read_v2(stream: &mut (impl AsyncRead + Unpin)) -> Result<Header, Fault> {
    let mut header = SIGNATURE.to_vec();
    header.resize(16, 0);
    stream.read_exact(header.get_mut(12..).unwrap_or_default()).await?;
    let length = header.last_chunk::<2>().map_or(0, |length| usize::from(u16::from_be_bytes(*length)));
    if length > V2_MAX {
        return Err(Fault::Invalid("longer than 4096 bytes"));
    }
    header.resize(16 + length, 0);
    stream.read_exact(header.get_mut(16..).unwrap_or_default()).await?;
    parse_v2(&header)
}

/// A whole line with its end: `PROXY TCP4 192.0.2.1 192.0.2.2 56324 443`.
pub fn parse_v1(line: &[u8]) -> Result<Header, Fault> {
    let text = line.strip_suffix(b"\r\n").and_then(|text| text.strip_prefix(V1_START));
    let text = text.and_then(|text| std::str::from_utf8(text).ok()).filter(|text| !text.contains(['\r', '\n']));
    let text = text.ok_or(Fault::Invalid("not a line"))?;
    if text == "UNKNOWN" || text.starts_with("UNKNOWN ") {
        return Ok(Header::Own);
    }
    let fields: Vec<&str> = text.split(' ').collect();
    let &[family, source, destination, source_port, destination_port] = fields.as_slice() else {
        return Err(Fault::Invalid("not five fields"));
    };
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse().ok().map(IpAddr::V4),
            "TCP6" => text.parse().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let end = |ip: &str, port: &str| Some(SocketAddr::new(address(ip)?, port_of(port)?));
    match (end(source, source_port), end(destination, destination_port)) {
        (Some(source), Some(destination)) => Ok(Header::Proxied { source, destination }),
        _ => Err(Fault::Invalid("no such address or port")),
    }
}

/// Digits, without a sign or leading zeros.
fn port_of(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

/// A whole header.
pub fn parse_v2(header: &[u8]) -> Result<Header, Fault> {
    let Some((&[command, family, length_high, length_low], rest)) =
        header.strip_prefix(&SIGNATURE).and_then(<[u8]>::split_first_chunk::<4>)
    else {
        return Err(Fault::Invalid("shorter than 16 bytes"));
    };
    if rest.len() != usize::from(u16::from_be_bytes([length_high, length_low])) {
        return Err(Fault::Invalid("another length than it says"));
    }
    match command {
        // The rest is to be ignored.
        0x20 => return Ok(Header::Own),
        0x21 => {}
        _ => return Err(Fault::Invalid("not version 2, or an unknown command")),
    }
    let (said, added) = match family {
        0x00 => return Ok(Header::Own),
        0x11 => addresses::<4>(rest),
        0x21 => addresses::<16>(rest),
        _ => return Err(Fault::Invalid("not TCP over IPv4 or IPv6")),
    }
    .ok_or(Fault::Invalid("too short for its addresses"))?;
    check_added(header, added)?;
    Ok(said)
}

/// Source and destination, and what comes after them; `N` is the length of an address.
fn addresses<const N: usize>(bytes: &[u8]) -> Option<(Header, &[u8])> {
    let (source, bytes) = bytes.split_first_chunk::<N>()?;
    let (destination, bytes) = bytes.split_first_chunk::<N>()?;
    let (source_port, bytes) = bytes.split_first_chunk::<2>()?;
    let (destination_port, bytes) = bytes.split_first_chunk::<2>()?;
    let end = |address: &[u8], port: &[u8; 2]| {
        let four = <[u8; 4]>::try_from(address).map(|octets| IpAddr::from(Ipv4Addr::from(octets)));
        let ip = four.or_else(|_| <[u8; 16]>::try_from(address).map(|octets| IpAddr::from(Ipv6Addr::from(octets))));
        Some(SocketAddr::new(ip.ok()?, u16::from_be_bytes(*port)))
    };
    let (source, destination) = (end(source, source_port)?, end(destination, destination_port)?);
    Some((Header::Proxied { source, destination }, bytes))
}

/// What is added has types, lengths and values; a checksum among them is right.
fn check_added(header: &[u8], mut added: &[u8]) -> Result<(), Fault> {
    const SHORT: Fault = Fault::Invalid("cut short after its addresses");
    while let Some((&kind, rest)) = added.split_first() {
        let (length, rest) = rest.split_first_chunk::<2>().ok_or(SHORT)?;
        let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or(SHORT)?;
        if kind == CRC32C {
            let sum = <[u8; 4]>::try_from(value).ok().map(u32::from_be_bytes);
            let at = header.len() - rest.len() - value.len();
            if sum != Some(crc32c(header, at..at + value.len())) {
                return Err(Fault::Invalid("its checksum is wrong"));
            }
        }
        added = rest;
    }
    Ok(())
}

/// CRC-32C (RFC 3720 §12.1) of bytes, of which some count as zero.
fn crc32c(bytes: &[u8], zeros: std::ops::Range<usize>) -> u32 {
    let mut sum = u32::MAX;
    for (index, byte) in bytes.iter().enumerate() {
        sum ^= if zeros.contains(&index) { 0 } else { u32::from(*byte) };
        for _ in 0..8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0x82F6_3B78 } else { sum >> 1 };
        }
    }
    !sum
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
