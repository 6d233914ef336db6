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
    /// Idle HTTP/1.1 connections kept for each authority, TLS profile and runtime: as many as calls, since under
    /// steady load each connection that is closed for being one too many is opened again for the next call.
    pub(crate) idle: usize,
    /// How long a connection may be idle, unless its profile says otherwise. Shorter than on most servers, so that
    /// they seldom close first.
    pub(crate) idle_timeout: Duration,
    /// How old a connection may be when it takes a call; DNS changes are followed within this time.
    pub(crate) max_age: Duration,
    /// How often idle and old connections and unused authorities are removed.
    pub(crate) sweep: Duration,
    /// How long an HTTP/1.1 connection may take to become ready for the next call after the end of a
    /// response. It takes longer only if the server responded without reading the request: then the
    /// connection is closed.
    pub(crate) settle: Duration,
    /// When calls to an authority are refused.
    pub(crate) breaker: BreakerLimits,
}

/// The limits of a breaker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BreakerLimits {
    /// Failures in a row after which it opens.
    pub(crate) in_a_row: u32,
    /// Recent calls from which shares of them count.
    pub(crate) calls: u32,
    /// How long calls are recent.
    pub(crate) window: Duration,
    /// The first open period; each further one is twice as long.
    pub(crate) shortest: Duration,
    /// The longest open period.
    pub(crate) longest: Duration,
    /// After how long without calls its state no longer matters.
    pub(crate) forget: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            authorities: 1024,
            calls: 64,
            queue: 256,
            idle: 64,
            idle_timeout: Duration::from_secs(30),
            max_age: Duration::from_secs(120),
            sweep: Duration::from_secs(5),
            settle: Duration::from_millis(20),
            breaker: BreakerLimits::default(),
        }
    }
}

impl Default for BreakerLimits {
    fn default() -> Self {
        Self {
            in_a_row: 5,
            calls: 20,
            window: Duration::from_secs(10),
            shortest: Duration::from_secs(1),
            longest: Duration::from_secs(30),
            forget: Duration::from_secs(60),
        }
    }
}
