//! Preparing an HTTP/2 request so that it can be handled like any other.
//!
//! 1. Its `cookie` may come in several fields, which are joined ([`join_cookies`]).
//! 2. A declared length of 0 is trusted only once the stream has ended ([`confirm_end`]): an
//!    HTTP/1 upstream would take the request as complete, and act on it, before it turns out to
//!    be malformed. For longer bodies, Pingora withholds the end until then.

use http::header::{CONTENT_LENGTH, COOKIE};
use http::{HeaderValue, Version};
use pingora::http::RequestHeader;
use pingora_core::Result;
use pingora_proxy::Session;

/// Joins several cookie fields into one (RFC 9113 §8.2.3).
pub(super) fn join_cookies(head: &mut RequestHeader) {
    if head.version != Version::HTTP_2 || head.headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let cookies: Vec<_> = head.headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..])) {
        // Fails only for a map of more than 32,768 names, and this one shrinks.
        let _ = head.insert_header(COOKIE, joined);
    }
}

/// Waits for the end of a request that declares no body. Errors are the client's.
pub(super) async fn confirm_end(session: &mut Session) -> Result<()> {
    if declares_no_body(session.req_header()) {
        // If trailers end the stream, the session does not count it as done.
        while !session.is_body_done() {
            if session.read_request_body().await.map_err(|error| error.into_down())?.is_none() {
                break;
            }
        }
    }
    Ok(())
}

fn declares_no_body(head: &RequestHeader) -> bool {
    let length = || head.headers.get(CONTENT_LENGTH).map(HeaderValue::as_bytes);
    head.version == Version::HTTP_2 && length().is_some_and(|digits| digits.iter().all(|digit| *digit == b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(version: Version, cookies: &[&'static str]) -> RequestHeader {
        let mut head = RequestHeader::build("GET", b"/", None).unwrap();
        head.set_version(version);
        for cookie in cookies {
            head.append_header(COOKIE, *cookie).unwrap();
        }
        head
    }

    #[test]
    fn several_cookie_fields_are_joined_rfc9113_8_2_3() {
        let rows: [(Version, &[&'static str], &[&str]); 5] = [
            (Version::HTTP_2, &["a=1", "b=2; c=3", "d="], &["a=1; b=2; c=3; d="]),
            (Version::HTTP_2, &["a=1; b=2"], &["a=1; b=2"]),
            (Version::HTTP_2, &["a=1", "b=\u{e9}"], &["a=1; b=\u{e9}"]),
            (Version::HTTP_2, &[], &[]),
            (Version::HTTP_11, &["a=1", "b=2"], &["a=1", "b=2"]),
        ];
        for (version, given, expected) in rows {
            let mut head = head(version, given);
            join_cookies(&mut head);
            let joined: Vec<_> = head.headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
            assert_eq!(joined, expected.iter().map(|cookie| cookie.as_bytes()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_length_of_zero_in_any_notation_declares_no_body() {
        for (length, expected) in [(None, false), (Some("0"), true), (Some("00"), true), (Some("10"), false)] {
            let mut head = head(Version::HTTP_2, &[]);
            if let Some(length) = length {
                head.insert_header(CONTENT_LENGTH, length).unwrap();
            }
            assert_eq!(declares_no_body(&head), expected, "{length:?}");
        }
    }
}
