//! Trailers of a response on their way to the client (RFC 9110 §6.5).
//!
//! Invariant: what frames the message, or decides how it is handled, never comes behind it.

use http::{HeaderMap, Version};
use pingora_proxy::Session;

use super::hop_by_hop::Trailers;

/// Names that a trailer must not have (RFC 9110 §6.5.1), and those that end at this hop.
const FORBIDDEN: [&str; 20] = [
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "host",
    "keep-alive",
    "location",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "www-authenticate",
    "x-kong-request-id",
];

/// Leaves the trailers that this client gets.
pub(super) fn response_trailer_filter(session: &Session, trailers: &mut HeaderMap) {
    let head = session.req_header();
    filter(head.version, Trailers::of(&head.headers), trailers);
}

/// Over HTTP/2, which has its own place for them, every client gets them; over HTTP/1, where many do
/// not expect any, only one that asked.
fn filter(version: Version, wanted: Trailers, trailers: &mut HeaderMap) {
    if version != Version::HTTP_2 && wanted == Trailers::Unwanted {
        trailers.clear();
    }
    for name in FORBIDDEN {
        trailers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn clients_get_the_trailers_that_they_can_take() {
        let rows = [
            (Version::HTTP_2, Trailers::Unwanted, true),
            (Version::HTTP_11, Trailers::Wanted, true),
            (Version::HTTP_11, Trailers::Unwanted, false),
        ];
        for (version, wanted, expected) in rows {
            let names = FORBIDDEN.iter().copied().chain(["grpc-status"]);
            let mut trailers: HeaderMap =
                names.map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1"))).collect();
            filter(version, wanted, &mut trailers);
            let left: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
            assert_eq!(left, if expected { vec!["grpc-status"] } else { vec![] }, "{version:?} {wanted:?}");
        }
    }
}
