//! Response trailers on their way to the client (RFC 9110 §6.5).
//!
//! Invariant: a field that frames the message, or decides how it is handled, is never sent as a trailer.

use http::{HeaderMap, Version};
use pingora_proxy::Session;

use super::hop_by_hop::Trailers;

/// Names that are forbidden in trailers (RFC 9110 §6.5.1), and hop-by-hop names.
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

/// Removes the trailers that this client must not get.
pub(super) fn response_trailer_filter(session: &Session, trailers: &mut HeaderMap) {
    let head = session.req_header();
    filter(head.version, Trailers::of(&head.headers), trailers);
}

/// Over HTTP/2, which has a place for them, every client gets trailers; over HTTP/1, where many do
/// not expect any, only clients that asked for them.
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
    fn clients_get_the_trailers_that_they_accept() {
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
