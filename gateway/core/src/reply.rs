//! The response that a plugin sends instead of the upstream.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::Value;

use crate::request::HeaderEdit;

/// The origin of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The upstream.
    Upstream,
    /// The gateway: a plugin's reply, or a failure.
    Gateway,
}

/// The head of a response, as a plugin sees it before it is sent to the client.
#[derive(Debug)]
pub struct Response<'r> {
    /// The status.
    pub status: StatusCode,
    /// Its headers so far.
    pub headers: &'r HeaderMap,
    /// Its origin.
    pub source: Source,
    /// Changes to the response before it is sent.
    pub edits: Vec<HeaderEdit>,
}

/// The body of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// No body at all.
    Empty,
    /// A JSON document, sent as is with `application/json; charset=utf-8` (gateway.md §7.3a).
    Json(Bytes),
    /// Sent as is; its type is a header of the reply, if it has one.
    Raw(Bytes),
    /// A message that the server renders in the negotiated content type, with the request id (gateway.md
    /// §7.3b).
    Message(String),
}

/// A response with which the gateway ends the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// Headers in addition to those of every response.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Body,
    /// A stable code for the access log, such as `token_expired`. Never text from the client.
    pub reason: &'static str,
}

impl Reply {
    /// A JSON response.
    pub fn json(status: StatusCode, reason: &'static str, body: &Value) -> Self {
        Self { status, headers: Vec::new(), body: Body::Json(Bytes::from(body.to_string())), reason }
    }

    /// A response whose message is rendered in a content type that the client accepts.
    pub fn message(status: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self { status, headers: Vec::new(), body: Body::Message(message.into()), reason }
    }

    /// Adds a header.
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
