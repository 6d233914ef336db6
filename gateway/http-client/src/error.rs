//! Why there is no response, as facts that a plugin can decide by.
//!
//! Invariant: no variant holds a query, credentials, a header or a body. A place is scheme, host, port and
//! path.

use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Where a call went: scheme, host, port and path.
pub(crate) type Place = Arc<str>;

/// What became of a call that has no response.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request cannot be sent as it is. Nothing was sent.
    #[error("invalid outbound request: {reason}")]
    InvalidRequest {
        /// What is wrong, and what is right.
        reason: &'static str,
    },
    /// The authority has as many calls as it may have. Nothing was sent.
    #[error("{place}: too many calls under way ({calls}) and waiting ({waiting}); it is slow or asked too often")]
    Overloaded {
        /// Where.
        place: Place,
        /// Calls under way.
        calls: usize,
        /// Calls that wait.
        waiting: usize,
    },
    /// As many authorities are called as can be. Nothing was sent.
    #[error("{place}: calls to {authorities} other authorities are under way; name fewer in the configuration")]
    TooManyAuthorities {
        /// Where.
        place: Place,
        /// How many.
        authorities: usize,
    },
    /// The host has no address. Nothing was sent.
    #[error("{place}: cannot resolve host; check the name and this node's resolver")]
    Resolve {
        /// Where.
        place: Place,
        /// What the resolver says.
        #[source]
        source: io::Error,
    },
    /// None of the host's addresses accepts a connection. Nothing was sent.
    #[error("{place}: cannot connect; check that the server listens and that the network lets this node reach it")]
    Connect {
        /// Where.
        place: Place,
        /// Why the last address tried did not.
        #[source]
        source: io::Error,
    },
    /// The TLS handshake failed. Nothing was sent.
    #[error("{place}: TLS handshake failed: {reason}; check the server's certificate and the trusted authorities")]
    Tls {
        /// Where.
        place: Place,
        /// What OpenSSL says.
        reason: String,
    },
    /// It took too long.
    #[error("{place}: timeout after {after:?} while {phase}")]
    Timeout {
        /// Where.
        place: Place,
        /// What was waited for.
        phase: Phase,
        /// How long.
        after: Duration,
    },
    /// The connection broke before the end of the response. The server may have acted on the request.
    #[error("{place}: connection lost before the end of the response {part}; see the server's log")]
    Lost {
        /// Where.
        place: Place,
        /// How far the response was.
        part: Part,
        /// What was seen.
        #[source]
        source: hyper::Error,
    },
    /// The response is larger than it may be.
    #[error("{place}: response {part} is larger than {limit} bytes; check the URL")]
    TooLarge {
        /// Where.
        place: Place,
        /// What is too large.
        part: Part,
        /// The limit, in bytes.
        limit: usize,
    },
    /// What came is not HTTP.
    #[error("{place}: invalid response {part}; check the URL, and that the server speaks HTTP there")]
    InvalidResponse {
        /// Where.
        place: Place,
        /// What is invalid.
        part: Part,
        /// In what.
        #[source]
        source: hyper::Error,
    },
    /// The server wants to leave HTTP, which nobody asked it to.
    #[error("{place}: unexpected change of protocol (101); check the URL")]
    Upgrade {
        /// Where.
        place: Place,
    },
    /// The gateway stops.
    #[error("{place}: the gateway stops; outbound calls have ended")]
    Stopped {
        /// Where.
        place: Place,
    },
}

/// What a caller can do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Correct the request or the configuration: it will never work.
    InvalidRequest,
    /// Try later: the authority cannot be reached, is too slow or overloaded.
    Unavailable,
    /// Look at the authority: it responded, and not with what can be used.
    BadResponse,
}

/// What a call was waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// For one of the calls under way to end.
    Queue,
    /// For a connection: name, TCP and TLS.
    Connect,
    /// For the end of the response.
    Response,
}

/// A part of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Status line and headers.
    Head,
    /// The body.
    Body,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Queue => "waiting behind other calls; the server is slow or asked too often",
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
            Self::InvalidRequest { .. } => Class::InvalidRequest,
            Self::Overloaded { .. }
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

    /// As metrics name it.
    pub(crate) fn outcome(&self) -> &'static str {
        match self {
            Self::InvalidRequest { .. } => "invalid_request",
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
