//! Refusals in the protocol of a gRPC call: status and message in headers, and no body (oauth2.md §4.2).

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
