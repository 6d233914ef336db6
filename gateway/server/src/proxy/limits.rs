//! What clients may cost (`limits.*`): connections, heads, slow bodies, HTTP/2 frames.

use std::time::Duration;

#[cfg(pingora_patched)]
use pingora_core::protocols::http::MinBodyPace;
use pingora_core::protocols::http::v2::server::{H2Options, default_h2_options};

/// What HTTP/2 counts for a field in addition to its name and value (RFC 9113 §6.5.2).
const FIELD_OVERHEAD: usize = 32;

/// The library's limit, if ours is lower.
const LIST_BYTES: u32 = 64 * 1024;

/// The limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Open client connections; 0: as many as there are file descriptors for.
    pub connections: usize,
    /// Those of one address; 0: no limit.
    pub connections_per_address: usize,
    /// Open connections to the Admin API, and as many to the status listener; 0: no limit.
    pub operator_connections: usize,
    /// Those of one address; 0: no limit.
    pub operator_connections_per_address: usize,
    /// Timeout of a TLS handshake, and of a PROXY header before it.
    pub tls_handshake_timeout: Duration,
    /// Bytes of a request target.
    pub target_bytes: usize,
    /// Bytes of a head.
    pub head_bytes: usize,
    /// Fields of a head.
    pub header_count: usize,
    /// Bytes per second of a request body; 0: no limit.
    pub body_min_rate: u32,
    /// Time that a body has in addition.
    pub body_grace: Duration,
    /// Streams of an HTTP/2 connection.
    pub http2_streams: u32,
    /// Frames without content in excess of those that requests and bodies need; 0: no limit.
    pub http2_excess_frames: u32,
    /// How much is buffered.
    pub buffer_bytes: BufferBytes,
}

/// How much of a request and its response is buffered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BufferBytes {
    /// Bytes of a request's body that are read before the upstream is asked.
    pub request: usize,
    /// Bytes of a response that are read ahead of the client.
    pub response: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 0,
            connections_per_address: 8192,
            operator_connections: 512,
            operator_connections_per_address: 256,
            tls_handshake_timeout: Duration::from_secs(15),
            target_bytes: 8 * 1024,
            head_bytes: 32 * 1024,
            header_count: 256,
            body_min_rate: 128,
            body_grace: Duration::from_secs(30),
            http2_streams: 100,
            http2_excess_frames: 1000,
            buffer_bytes: BufferBytes { request: 64 * 1024, response: 64 * 1024 },
        }
    }
}

impl Limits {
    /// The minimum pace of a request body.
    #[cfg(pingora_patched)]
    pub(super) fn body_pace(&self) -> Option<MinBodyPace> {
        let bytes_per_second = self.body_min_rate;
        (bytes_per_second > 0).then_some(MinBodyPace { bytes_per_second, grace: self.body_grace })
    }

    /// The library has its own limit of a head, for which it responds itself. It is not below ours, so that a head that is
    /// a little too long is refused like one over HTTP/1.1.
    pub(super) fn h2_options(&self) -> H2Options {
        let mut options = default_h2_options();
        let list = self.target_bytes + self.head_bytes + FIELD_OVERHEAD * self.header_count;
        options.max_header_list_size(u32::try_from(list).unwrap_or(u32::MAX).max(LIST_BYTES));
        options.max_concurrent_streams(self.http2_streams);
        options
    }
}
