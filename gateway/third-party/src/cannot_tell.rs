//! "Cannot tell": why it is not known whether a token is valid (architecture, invariant 1). The client gets 503,
//! never 401, and nothing is cached.

use http::StatusCode;
use tollgate_plugin::StoreError;
use tollgate_plugin::http_client;

/// Why it is not known whether a token is valid. Contains no part of a token or of a secret.
#[derive(Debug, thiserror::Error)]
pub enum CannotTell {
    /// The authority cannot be reached, did not respond in time, or its breaker is open.
    #[error("authority {authority} is unavailable")]
    Unavailable {
        /// Its name.
        authority: Box<str>,
        /// What happened.
        #[source]
        source: Box<http_client::Error>,
    },
    /// Too many calls to the authority are under way.
    #[error("authority {authority} is overloaded: {what}")]
    Overloaded {
        /// Its name.
        authority: Box<str>,
        /// What there is too much of.
        what: &'static str,
    },
    /// The authority's response has a status that says nothing about a token.
    #[error("authority {authority} responds with status {}{}", .status.as_u16(), advice(*.status))]
    Status {
        /// Its name.
        authority: Box<str>,
        /// The status.
        status: StatusCode,
    },
    /// The authority's response cannot be used.
    #[error("response of authority {authority} cannot be used: {what}")]
    Malformed {
        /// Its name.
        authority: Box<str>,
        /// What is wrong with it, without its contents.
        what: Box<str>,
    },
    /// The authority has an address that this gateway does not call.
    #[error("authority {authority} must not be called")]
    Refused {
        /// Its name.
        authority: Box<str>,
        /// The address, and how to allow it.
        #[source]
        source: Box<http_client::Error>,
    },
    /// The authority has no keys that are fresh enough.
    #[error("keys of authority {authority} are unknown: {what}")]
    NoKeys {
        /// Its name.
        authority: Box<str>,
        /// Why there are none.
        what: Box<str>,
    },
    /// The consumer of the token cannot be looked up.
    #[error("cannot look up the consumer of a token")]
    Store(#[source] StoreError),
}

impl CannotTell {
    /// A call to this authority failed.
    pub fn failed(authority: &str, error: http_client::Error) -> Self {
        match error.class() {
            http_client::Class::BadResponse => Self::malformed(authority, error.to_string()),
            _ if matches!(error, http_client::Error::Overloaded { .. }) => Self::Overloaded {
                authority: authority.into(),
                what: "its calls and the queue for them are at their limits",
            },
            _ if matches!(error, http_client::Error::Refused { .. }) => {
                Self::Refused { authority: authority.into(), source: Box::new(error) }
            }
            _ => Self::Unavailable { authority: authority.into(), source: Box::new(error) },
        }
    }

    /// The response of this authority cannot be used.
    pub fn malformed(authority: &str, what: impl Into<Box<str>>) -> Self {
        Self::Malformed { authority: authority.into(), what: what.into() }
    }

    /// The reason code in the response and the access log. Stable.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "authority_unavailable",
            Self::Overloaded { .. } => "authority_overloaded",
            Self::Refused { .. } => "authority_address_refused",
            Self::Status { status, .. } if refuses_us(*status) => "authority_credentials_refused",
            Self::Status { status, .. } if status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS => {
                "authority_unavailable"
            }
            Self::Status { .. } => "authority_response_malformed",
            Self::Malformed { .. } => "authority_response_malformed",
            Self::NoKeys { .. } => "authority_keys_unavailable",
            Self::Store(_) => "consumer_store_unavailable",
        }
    }
}

/// Whether a status is about the gateway's credentials: it never tells that a token is not valid (RFC 7662 §2.3).
fn refuses_us(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

fn advice(status: StatusCode) -> &'static str {
    if refuses_us(status) {
        "; it refuses this gateway's own credentials: check how the plugin authenticates to it"
    } else if status.is_redirection() || status.is_client_error() {
        "; check the URL in the plugin's configuration"
    } else {
        ""
    }
}
