//! The PROXY protocol, versions 1 and 2: a header before everything else on a connection, in which a proxy that only
//! passes bytes on says whose connection it is (<https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt>).
//!
//! [`read`] is strict: what is not exactly such a header is none, and no byte after it is read. What follows it is the
//! client's own, so nothing but the address is believed on the word of the proxy.

mod read;
mod write;

use std::net::SocketAddr;

pub use read::{Fault, parse_v1, parse_v2, read};
pub use write::{write, write_own};

/// What every header of version 2 begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// What every header of version 1 begins with.
const V1_START: &[u8] = b"PROXY ";
/// The longest header of version 1, with its line end.
const V1_MAX: usize = 107;
/// The most bytes after the fixed part of version 2: addresses, and what a proxy adds about the connection.
const V2_MAX: usize = 4096;

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Text.
    V1,
    /// Binary.
    V2,
}

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// The connection is the proxy's own, such as a health check, or it does not say whose.
    Own,
    /// It is passed on for another.
    Proxied {
        /// The client.
        source: SocketAddr,
        /// The address to which the client has connected.
        destination: SocketAddr,
    },
}
