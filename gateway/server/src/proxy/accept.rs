//! A raw head becomes a checked request: everything hostile dies here.
//!
//! Invariant: behind this, the path is normalised, there is one way to read the message's length,
//! and no header that could carry an identity is the client's.

use http::header::{ALLOW, HOST};
use http::{HeaderValue, StatusCode};
use pingora::http::RequestHeader;
use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::Session;
use tollgate_core::reply::Reply;
use tollgate_router::path::normalise;

use super::client::{self, Origin};
use super::framing::{self, Refusal};
use super::reply::Answer;
use super::{Settings, http2, identity_headers};

/// What a resource may be asked for; which of them it answers is for its upstream to say.
const ALLOWED: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// A checked request.
pub(crate) struct Accepted {
    /// The path, normalised; or [`framing::WHOLE_SERVER`].
    pub(crate) path: String,
    /// The host asked for, without port, as it was sent.
    pub(crate) host: Option<String>,
    /// The port in the host header.
    pub(crate) host_port: Option<u16>,
    /// Where it is from.
    pub(crate) origin: Origin,
    /// The TLS server name.
    pub(crate) server_name: Option<String>,
}

/// Sets the connection's bounds, checks the head, and removes what is ours to say.
///
/// The outer error: the connection cannot be used at all.
pub(crate) fn accept(session: &mut Session, settings: &Settings) -> Result<std::result::Result<Accepted, Answer>> {
    bound(session, settings);
    let checked = check(session);
    if checked.is_err() {
        // What follows on the connection may not be a request.
        session.set_keepalive(None);
    }
    let path = match checked {
        Ok(path) => path,
        Err(refusal) => return Ok(Err(answer(refusal))),
    };
    let Some(origin) = Origin::of(session, &settings.trusted_ips) else {
        return Err(Error::explain(ErrorType::ConnectionClosed, "no peer address").into_down());
    };
    strip(session.req_header_mut());
    http2::join_cookies(session.req_header_mut());
    let server_name = client::server_name(session);
    let (host, host_port) = host_of(session.req_header());
    Ok(Ok(Accepted { path, host, host_port, origin, server_name }))
}

fn bound(session: &mut Session, settings: &Settings) {
    // Pingora's default is to keep an idle connection for ever. `None` means that it is to be
    // closed after this request, which must stay so.
    if session.get_keepalive().is_some() {
        session.set_keepalive(Some(settings.keepalive_timeout.as_secs().max(1)));
    }
    // What comes behind a request is the next one (RFC 9112 §9.3.2).
    session.set_pipelining_enabled(true);
    session.set_read_timeout(Some(settings.read_timeout));
    session.set_write_timeout(Some(settings.write_timeout));
}

fn check(session: &Session) -> std::result::Result<String, Refusal> {
    let head = session.req_header();
    let raw = session.as_http1().map(|http1| http1.get_headers_raw_bytes());
    framing::check(head, raw.as_deref())?;
    if !head.raw_path_is_utf8() {
        return Err(Refusal::Path);
    }
    if framing::asks_for_the_server(head) {
        return Ok(framing::WHOLE_SERVER.to_owned());
    }
    normalise(head.uri.path()).map(std::borrow::Cow::into_owned).map_err(|_| Refusal::Path)
}

fn strip(head: &mut RequestHeader) {
    let foreign: Vec<_> = head
        .headers
        .keys()
        .filter(|name| identity_headers::is_identity(name.as_str()) || framing::is_framing_lookalike(name.as_str()))
        .cloned()
        .collect();
    for name in foreign {
        head.remove_header(&name);
    }
}

/// The host and port asked for.
fn host_of(head: &RequestHeader) -> (Option<String>, Option<u16>) {
    let host = head.headers.get(HOST).and_then(|value| value.to_str().ok());
    let Some(host) = host.or_else(|| head.uri.authority().map(http::uri::Authority::as_str)) else {
        return (None, None);
    };
    let (name, port) = match host.rsplit_once(':') {
        // The last colon of a bare `[::1]` is inside of the address.
        Some((name, port)) if !port.contains(']') => (name, port.parse().ok()),
        _ => (host, None),
    };
    (Some(name.to_owned()).filter(|name| !name.is_empty()), port)
}

fn answer(refusal: Refusal) -> Answer {
    let bad = (StatusCode::BAD_REQUEST, "Bad request");
    let ((status, message), reason) = match refusal {
        Refusal::Version => (bad, "bad_version"),
        Refusal::BareLineFeed => (bad, "bare_line_feed"),
        Refusal::Host => (bad, "bad_host"),
        Refusal::Framing => (bad, "bad_framing"),
        Refusal::TransferCoding => {
            ((StatusCode::NOT_IMPLEMENTED, "The upstream server responded with 501"), "bad_transfer_coding")
        }
        Refusal::Target => (bad, "bad_target"),
        Refusal::Path => (bad, "bad_path"),
        Refusal::Method => ((StatusCode::METHOD_NOT_ALLOWED, "Method not allowed"), "method_not_allowed"),
        Refusal::TargetTooLong => ((StatusCode::URI_TOO_LONG, "URI too long"), "target_too_long"),
        Refusal::HeadTooLong => ((StatusCode::BAD_REQUEST, "Request header or cookie too large"), "head_too_long"),
    };
    let reply = Reply::message(status, reason, message);
    Answer::engine(match refusal {
        Refusal::Method => reply.with_header(ALLOW, HeaderValue::from_static(ALLOWED)),
        _ => reply,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_split_from_their_ports() {
        let rows = [
            ("a.test", (Some("a.test"), None)),
            ("a.test:8000", (Some("a.test"), Some(8000))),
            ("A.test:", (Some("A.test"), None)),
            ("[::1]:8000", (Some("[::1]"), Some(8000))),
            ("[::1]", (Some("[::1]"), None)),
            ("", (None, None)),
        ];
        for (given, (host, port)) in rows {
            let mut head = RequestHeader::build("GET", b"/", None).unwrap();
            head.insert_header("host", given).unwrap();
            assert_eq!(host_of(&head), (host.map(str::to_owned), port), "{given}");
        }
    }
}
