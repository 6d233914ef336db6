//! The version of HTTP towards an upstream.
//!
//! - `http`: HTTP/1.1.
//! - `https`: HTTP/1.1; with `proxy.upstream_http2`, HTTP/2 where the upstream offers it in the handshake (ALPN).
//! - `grpc`, `grpcs`: HTTP/2 and nothing else; without TLS from the first byte (RFC 9113 §3.3).
//!
//! Requests of several clients share an HTTP/2 connection. The windows are such that a client that does not read its
//! response holds up nobody else's.

use pingora_core::upstreams::peer::PeerOptions;

use super::service::Transport;

/// Concurrent requests on one connection.
const STREAMS: u32 = 32;
/// What an upstream may send of one response before it is passed on, in bytes.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Enough for all of them.
const CONNECTION_WINDOW: u32 = STREAMS * STREAM_WINDOW;

/// Whether `https` upstreams are asked for HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OfferedHttp2 {
    /// They get HTTP/1.1.
    #[default]
    Declined,
    /// They get HTTP/2 if they offer it.
    Used,
}

/// Sets the version.
pub(crate) fn set(options: &mut PeerOptions, transport: Transport, offered: OfferedHttp2) {
    match (transport, offered) {
        (Transport::Grpc | Transport::Grpcs(_), _) => options.set_http_version(2, 2),
        (Transport::Https(_), OfferedHttp2::Used) => options.set_http_version(2, 1),
        _ => return,
    }
    options.max_h2_streams = usize::try_from(STREAMS).unwrap_or(1);
    options.h2_stream_window_size = Some(STREAM_WINDOW);
    options.h2_connection_window_size = Some(CONNECTION_WINDOW);
    // A stream of messages in both directions has no end to wait for: silence of both counts.
    #[cfg(pingora_patched)]
    {
        options.read_timeout_during_request = transport.is_grpc();
    }
}

#[cfg(test)]
mod tests {
    use pingora_core::upstreams::peer::ALPN;

    use super::*;
    use crate::upstream::service::Verification;

    #[test]
    fn https_gets_http2_if_the_setting_and_the_upstream_say_so_and_grpc_always() {
        use OfferedHttp2::{Declined, Used};
        let https = Transport::Https(Verification::On);
        let rows = [
            (Transport::Http, Declined, ALPN::H1),
            (Transport::Http, Used, ALPN::H1),
            (https, Declined, ALPN::H1),
            (https, Used, ALPN::H2H1),
            (Transport::Grpc, Declined, ALPN::H2),
            (Transport::Grpcs(Verification::On), Declined, ALPN::H2),
            (Transport::Grpcs(Verification::Off), Used, ALPN::H2),
        ];
        for (transport, offered, expected) in rows {
            let mut options = PeerOptions::new();
            set(&mut options, transport, offered);
            assert_eq!(options.alpn, expected, "{transport:?} {offered:?}");
        }
    }
}
