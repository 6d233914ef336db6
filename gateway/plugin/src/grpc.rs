//! Refusals in the protocol of a gRPC call: status and message in headers, and no body (oauth2.md §4.2).
//!
//! Plugins use [`refusal`] and [`refusal_saying`]; the gateway gives every other response to a gRPC call this form with
//! [`in_headers`].

use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, StatusCode};
use tollgate_core::reply::{Body, Reply};
use tollgate_core::request::Request;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The reply as it is, or for a gRPC call with the gRPC status that corresponds to its HTTP status.
#[must_use]
pub fn refusal(reply: Reply, request: &Request<'_>) -> Reply {
    let (status, message) = status_of(reply.status);
    in_protocol_of(request, reply, status, HeaderValue::from_static(message))
}

/// The same with a message that an operator has written; one that is not valid in a header is left out.
#[must_use]
pub fn refusal_saying(reply: Reply, message: &str, request: &Request<'_>) -> Reply {
    let (status, usual) = status_of(reply.status);
    let message = HeaderValue::from_str(message).unwrap_or_else(|_| HeaderValue::from_static(usual));
    in_protocol_of(request, reply, status, message)
}

/// The headers of a reply that is no gRPC response itself, without its body: its message, or the usual one of its
/// status.
#[must_use]
pub fn in_headers(mut reply: Reply) -> Reply {
    if !reply.headers.iter().any(|(name, _)| *name == GRPC_STATUS) {
        let (status, usual) = status_of(reply.status);
        let message = message_of(&reply.body).unwrap_or_else(|| HeaderValue::from_static(usual));
        reply.headers.push((GRPC_STATUS, HeaderValue::from_static(status)));
        reply.headers.push((GRPC_MESSAGE, message));
    }
    reply.body = Body::Empty;
    if !reply.headers.iter().any(|(name, _)| *name == CONTENT_TYPE) {
        reply.headers.push((CONTENT_TYPE, HeaderValue::from_static("application/grpc")));
    }
    reply
}

/// The message for people, if the body has one.
fn message_of(body: &Body) -> Option<HeaderValue> {
    match body {
        Body::Message(message) => Some(encoded(message)),
        Body::Json(document) => {
            let document: serde_json::Value = serde_json::from_slice(document).ok()?;
            document.get("message")?.as_str().map(encoded)
        }
        Body::Empty | Body::Raw(_) => None,
    }
}

/// A message as gRPC writes it: bytes that are not printable ASCII, and `%`, are encoded.
fn encoded(message: &str) -> HeaderValue {
    let mut text = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b'%' => text.push_str("%25"),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => {
                let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or('0').to_ascii_uppercase();
                text.extend(['%', digit(byte >> 4), digit(byte & 15)]);
            }
        }
    }
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn in_protocol_of(request: &Request<'_>, mut reply: Reply, status: &'static str, message: HeaderValue) -> Reply {
    if !request.is_grpc() {
        return reply;
    }
    reply.body = Body::Empty;
    reply.with_header(GRPC_STATUS, HeaderValue::from_static(status)).with_header(GRPC_MESSAGE, message)
}

/// Number and name of a gRPC status.
fn status_of(status: StatusCode) -> (&'static str, &'static str) {
    match status.as_u16() {
        200..=299 => ("0", "OK"),
        401 => ("16", "Unauthenticated"),
        403 => ("7", "PermissionDenied"),
        404 => ("5", "NotFound"),
        409 => ("6", "AlreadyExists"),
        429 => ("8", "ResourceExhausted"),
        499 => ("1", "Canceled"),
        400..=499 => ("3", "InvalidArgument"),
        501 => ("12", "Unimplemented"),
        503 => ("14", "Unavailable"),
        504 => ("4", "DeadlineExceeded"),
        500..=599 => ("13", "Internal"),
        _ => ("2", "Unknown"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_of_any_kind_becomes_one_of_headers() {
        let said = |body: Body| {
            let reply = Reply { status: StatusCode::FORBIDDEN, headers: Vec::new(), body, reason: "r" };
            let reply = in_headers(reply);
            assert_eq!(reply.body, Body::Empty);
            reply.headers.into_iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
        };
        let expected = |message: &str| -> Vec<String> {
            let lines = ["grpc-status: 7", &format!("grpc-message: {message}"), "content-type: application/grpc"];
            lines.map(str::to_owned).to_vec()
        };
        let rows = [
            (Body::Message("100% ü\n".to_owned()), "100%25 %C3%BC%0A"),
            (Body::Json("{\"message\": \"no\"}".into()), "no"),
            (Body::Json("{\"error\": \"no\"}".into()), "PermissionDenied"),
            (Body::Raw("<html>".into()), "PermissionDenied"),
            (Body::Empty, "PermissionDenied"),
        ];
        for (body, message) in rows {
            let said: Vec<String> = said(body.clone());
            assert_eq!(said, expected(message), "{body:?}");
        }
        let own = Reply { status: StatusCode::OK, headers: Vec::new(), body: Body::Empty, reason: "r" };
        let own = in_headers(own.with_header(GRPC_STATUS, HeaderValue::from_static("1")));
        assert_eq!(own.headers.len(), 2, "what it says itself stays: {own:?}");
    }

    #[test]
    fn a_status_has_its_counterpart() {
        for (http, grpc) in [
            (200, ("0", "OK")),
            (302, ("2", "Unknown")),
            (403, ("7", "PermissionDenied")),
            (413, ("3", "InvalidArgument")),
            (429, ("8", "ResourceExhausted")),
            (502, ("13", "Internal")),
            (503, ("14", "Unavailable")),
        ] {
            assert_eq!(status_of(StatusCode::from_u16(http).unwrap()), grpc, "{http}");
        }
    }
}
