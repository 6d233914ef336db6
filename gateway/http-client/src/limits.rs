//! What bounds the client. Constants: an operator who must change one has found an authority that this
//! client does not suit yet.

use std::time::Duration;

/// A response's head, in bytes. Twice what common servers send at most, cookies included.
pub(crate) const MAX_HEAD: usize = 32 * 1024;

/// A response's header lines.
pub(crate) const MAX_HEADER_LINES: usize = 100;

/// The bounds of a client; tests make them small.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Authorities known at once. Configuration names them, so this many is a mistake in it.
    pub(crate) authorities: usize,
    /// Calls under way for each authority: 64 calls of 10 ms are 6,400 a second.
    pub(crate) calls: usize,
    /// Calls that wait for one of those to end. More would wait for longer than their clients do.
    pub(crate) queue: usize,
    /// Idle HTTP/1.1 connections kept for each authority and TLS profile.
    pub(crate) idle: usize,
    /// How long a connection stays idle. Shorter than most servers wait, so that they seldom close first.
    pub(crate) idle_timeout: Duration,
    /// How old a connection may be when it takes a call: how late a change in DNS is followed.
    pub(crate) max_age: Duration,
    /// How often idle and old connections, and authorities that nobody calls, are looked for.
    pub(crate) sweep: Duration,
    /// How long an HTTP/1.1 connection may take to be ready for the next call after the end of a response.
    /// Longer only when the server responded without reading the request: then the connection is closed.
    pub(crate) settle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            authorities: 1024,
            calls: 64,
            queue: 256,
            idle: 16,
            idle_timeout: Duration::from_secs(30),
            max_age: Duration::from_secs(120),
            sweep: Duration::from_secs(5),
            settle: Duration::from_millis(20),
        }
    }
}
