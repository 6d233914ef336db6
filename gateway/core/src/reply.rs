//! The response that a plugin gives instead of the upstream.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::Value;

use crate::request::HeaderEdit;

/// Who made a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The upstream.
    Upstream,
    /// The gateway: a plugin's reply, or a failure.
    Gateway,
}

/// The head of a response on its way to the client, as a plugin sees it.
#[derive(Debug)]
pub struct Response<'r> {
    /// The status.
    pub status: StatusCode,
    /// Its headers so far.
    pub headers: &'r HeaderMap,
    /// Who made it.
    pub source: Source,
    /// What goes to the client differently.
    pub edits: Vec<HeaderEdit>,
}

/// The body of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// No body at all.
    Empty,
    /// A JSON document, sent as it is with `application/json; charset=utf-8` (gateway.md §7.3a).
    Json(Bytes),
    /// A message that the server renders in the negotiated type, with the request id
    /// (gateway.md §7.3b).
    Message(String),
}

/// A response that ends the request at the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// Headers beside those that every response gets.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Body,
    /// A stable code for the access log, such as `token_expired`. Never text of the client.
    pub reason: &'static str,
}

impl Reply {
    /// A JSON response.
    pub fn json(status: StatusCode, reason: &'static str, body: &Value) -> Self {
        Self { status, headers: Vec::new(), body: Body::Json(Bytes::from(body.to_string())), reason }
    }

    /// A response whose message is rendered as the client accepts it.
    pub fn message(status: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self { status, headers: Vec::new(), body: Body::Message(message.into()), reason }
    }

    /// The same with one more header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// "Cannot tell": the store or another authority did not respond (architecture, invariant 1).
    pub fn unavailable(reason: &'static str) -> Self {
        Self::message(StatusCode::SERVICE_UNAVAILABLE, reason, "The authorization state is currently unavailable")
            .with_header(http::header::RETRY_AFTER, HeaderValue::from_static("1"))
    }
}
