//! Why there is no response, as facts on which a plugin can decide.
//!
//! Invariant: no variant contains a query, credentials, a header or a body. A place is scheme, host, port and
//! path.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::destination::Refused;

/// Where a call went: scheme, host, port and path.
pub(crate) type Place = Arc<str>;

/// Why a call has no response.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request cannot be sent as it is. Nothing was sent.
    #[error("invalid outbound request: {reason}")]
    InvalidRequest {
        /// What is wrong, and how to correct it.
        reason: &'static str,
    },
    /// The host has no address that may be called ([`Destinations`](crate::Destinations)). Nothing was sent.
    #[error("{place}: {refused}")]
    Refused {
        /// Where.
        place: Place,
        /// The first of the host's addresses, and why it is refused.
        refused: Refused,
    },
    /// The authority's breaker is open, since the authority failed or was too slow. Nothing was sent.
    #[error("{place}: not called, since recent calls failed or were too slow; next attempt in {retry_after:?}")]
    Open {
        /// Where.
        place: Place,
        /// How long to wait before a retry.
        retry_after: Duration,
    },
    /// The authority has the maximum number of calls. Nothing was sent.
    #[error(
        "{place}: too many calls in flight ({calls}) and waiting ({waiting}); the server is slow or called too often"
    )]
    Overloaded {
        /// Where.
        place: Place,
        /// Calls in flight.
        calls: usize,
        /// Waiting calls.
        waiting: usize,
    },
    /// The maximum number of authorities is in use. Nothing was sent.
    #[error("{place}: calls to {authorities} other authorities are in flight; configure fewer authorities")]
    TooManyAuthorities {
        /// Where.
        place: Place,
        /// How many.
        authorities: usize,
    },
    /// The host does not resolve. Nothing was sent.
    #[error("{place}: cannot resolve host; check the name and this node's resolver")]
    Resolve {
        /// Where.
        place: Place,
        /// The resolver's error.
        #[source]
        source: io::Error,
    },
    /// None of the host's addresses accepts a connection. Nothing was sent.
    #[error("{place}: cannot connect; check that the server listens and that the network lets this node reach it")]
    Connect {
        /// Where.
        place: Place,
        /// The error for the last address tried.
        #[source]
        source: io::Error,
    },
    /// The TLS handshake failed. Nothing was sent.
    #[error("{place}: TLS handshake failed: {reason}; check the server's certificate and the trusted authorities")]
    Tls {
        /// Where.
        place: Place,
        /// OpenSSL's error.
        reason: String,
    },
    /// A timeout expired.
    #[error("{place}: timeout after {after:?} while {phase}")]
    Timeout {
        /// Where.
        place: Place,
        /// What the call was waiting for.
        phase: Phase,
        /// The timeout.
        after: Duration,
    },
    /// The connection broke before the end of the response. The server may have acted on the request.
    #[error("{place}: connection lost before the end of the response {part}; see the server's log")]
    Lost {
        /// Where.
        place: Place,
        /// How much of the response had arrived.
        part: Part,
        /// The cause.
        #[source]
        source: hyper::Error,
    },
    /// The response is too large.
    #[error("{place}: response {part} is larger than {limit} bytes; check the URL")]
    TooLarge {
        /// Where.
        place: Place,
        /// Which part is too large.
        part: Part,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The response is not valid HTTP.
    #[error("{place}: invalid response {part}; check the URL, and that the server speaks HTTP there")]
    InvalidResponse {
        /// Where.
        place: Place,
        /// Which part is invalid.
        part: Part,
        /// The cause.
        #[source]
        source: hyper::Error,
    },
    /// The server switches protocols, which no request asks for.
    #[error("{place}: unexpected protocol switch (101); check the URL")]
    Upgrade {
        /// Where.
        place: Place,
    },
    /// The gateway is shutting down.
    #[error("{place}: the gateway is shutting down; outbound calls are cancelled")]
    Stopped {
        /// Where.
        place: Place,
    },
}

/// What a caller can do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Correct the request, the configuration or the settings: a retry cannot succeed.
    InvalidRequest,
    /// Retry later: the authority is unreachable, too slow or overloaded.
    Unavailable,
    /// Check the authority: it responded, but the response is unusable.
    BadResponse,
}

/// What a call was waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// For a call in flight to end.
    Queue,
    /// For a connection: name resolution, TCP and TLS.
    Connect,
    /// For the end of the response.
    Response,
}

/// A part of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The status line and headers.
    Head,
    /// The body.
    Body,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Queue => "waiting for other calls to end; the server is slow or called too often",
            Self::Connect => "connecting; check that the network lets this node reach the server",
            Self::Response => "waiting for the response; the server is slow",
        })
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Head => "head",
            Self::Body => "body",
        })
    }
}

impl Error {
    /// What a caller can do about it.
    pub fn class(&self) -> Class {
        match self {
            Self::InvalidRequest { .. } | Self::Refused { .. } => Class::InvalidRequest,
            Self::Open { .. }
            | Self::Overloaded { .. }
            | Self::TooManyAuthorities { .. }
            | Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::Tls { .. }
            | Self::Timeout { .. }
            | Self::Lost { .. }
            | Self::Stopped { .. } => Class::Unavailable,
            Self::TooLarge { .. } | Self::InvalidResponse { .. } | Self::Upgrade { .. } => Class::BadResponse,
        }
    }

    /// How long to wait before a retry, if that is known: what to send in `Retry-After`, rounded up.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Open { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }

    /// The label in metrics.
    pub(crate) fn outcome(&self) -> &'static str {
        match self {
            Self::InvalidRequest { .. } => "invalid_request",
            Self::Refused { .. } => "refused",
            Self::Open { .. } => "open",
            Self::Overloaded { .. } | Self::TooManyAuthorities { .. } => "overloaded",
            Self::Resolve { .. } => "resolve",
            Self::Connect { .. } => "connect",
            Self::Tls { .. } => "tls",
            Self::Timeout { .. } => "timeout",
            Self::Lost { .. } => "lost",
            Self::TooLarge { .. } => "too_large",
            Self::InvalidResponse { .. } | Self::Upgrade { .. } => "invalid_response",
            Self::Stopped { .. } => "stopped",
        }
    }
}
