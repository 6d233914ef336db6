//! The client's limits. They are constants: an operator who needs to change one has an authority for which
//! this client is not suitable yet.

use std::time::Duration;

/// The maximum size of a response's head, in bytes. Twice what common servers send, cookies included.
pub(crate) const MAX_HEAD: usize = 32 * 1024;

/// The maximum number of header lines in a response.
pub(crate) const MAX_HEADER_LINES: usize = 100;

/// The limits of a client; tests use small ones.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Authorities known at the same time. Configuration names them, so exceeding this is a configuration
    /// error.
    pub(crate) authorities: usize,
    /// Calls in flight for each authority: 64 calls of 10 ms each are 6,400 per second.
    pub(crate) calls: usize,
    /// Calls that wait for one of those to end. More would wait longer than their clients do.
    pub(crate) queue: usize,
    /// Idle HTTP/1.1 connections kept for each authority and TLS profile.
    pub(crate) idle: usize,
    /// How long a connection may be idle. Shorter than on most servers, so that they seldom close first.
    pub(crate) idle_timeout: Duration,
    /// How old a connection may be when it takes a call; DNS changes are followed within this time.
    pub(crate) max_age: Duration,
    /// How often idle and old connections and unused authorities are removed.
    pub(crate) sweep: Duration,
    /// How long an HTTP/1.1 connection may take to become ready for the next call after the end of a
    /// response. It takes longer only if the server responded without reading the request: then the
    /// connection is closed.
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
