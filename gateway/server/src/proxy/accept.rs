//! A raw head becomes a checked request: hostile requests are refused here.
//!
//! Invariant: after this, the path is normalised, the message's length is unambiguous,
//! and no header that could carry an identity comes from the client.

use http::header::{ALLOW, AUTHORIZATION, CONNECTION, PROXY_AUTHORIZATION, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::Session;
use smallvec::SmallVec;
use tollgate_core::host::{Authority, Host};
use tollgate_core::reply::Reply;
use tollgate_router::path::{self, Dots};

use super::client::{self, Origin};
use super::framing::{self, Refusal};
use super::identity_headers::IdentityHeaders;
use super::reply::OwnResponse;
use super::{Live, Settings, authority, http2, lookalike};

/// The methods that are proxied; the upstream decides which of them a resource supports.
const ALLOWED: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// A checked request.
pub(crate) struct Accepted {
    /// The normalised path, or [`framing::WHOLE_SERVER`].
    pub(crate) path: String,
    /// Whether an upstream may find dot segments in it.
    pub(crate) dots: Dots,
    /// The requested host.
    pub(crate) host: Option<Host<'static>>,
    /// The requested port, if the host names one.
    pub(crate) host_port: Option<u16>,
    /// The client.
    pub(crate) origin: Origin,
    /// The TLS server name.
    pub(crate) server_name: Option<Host<'static>>,
    /// Whether names of its headers are ambiguous.
    pub(crate) names: Names,
}

/// Whether a head has header names with punctuation other than `-`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// No name is ambiguous.
    Plain,
    /// Some fold to other names ([`lookalike`]).
    Folding,
}

/// The result of checking a head.
struct Checked {
    path: String,
    dots: Dots,
    authority: Option<Authority<'static>>,
    fields: Fields,
}

/// The result of checking its fields.
#[derive(Debug, PartialEq, Eq)]
struct Fields {
    /// Fields that are not passed on: those that clients may not send, and those that say nothing.
    foreign: SmallVec<[HeaderName; 2]>,
    names: Names,
    connection: After,
}

/// Whether the connection is kept after the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// As Pingora has read the client's wish.
    AsRead,
    /// It is closed.
    Closed,
}

/// Sets the connection's limits, checks the head, and removes the headers that clients may not send.
///
/// The outer error: the connection cannot be used at all.
pub(crate) fn accept(
    session: &mut Session,
    settings: &Settings,
    live: &Live,
) -> Result<std::result::Result<Accepted, OwnResponse>> {
    bound(session, settings, live);
    let checked = check(session, settings, live);
    if checked.is_err() {
        // The following bytes on the connection may not be a request.
        session.set_keepalive(None);
    }
    let Checked { path, dots, authority, fields } = match checked {
        Ok(checked) => checked,
        Err(refusal) => return Ok(Err(response_to(refusal))),
    };
    let Some(origin) = Origin::of(session, &live.trusted_ips) else {
        return Err(Error::explain(ErrorType::ConnectionClosed, "client connection has no peer address").into_down());
    };
    if fields.connection == After::Closed {
        session.set_keepalive(None);
    }
    for name in &fields.foreign {
        session.req_header_mut().remove_header(name);
    }
    http2::join_cookies(session.req_header_mut());
    let server_name = client::server_name(session);
    let (host, host_port) = authority.map_or((None, None), |authority| (Some(authority.host), authority.port));
    Ok(Ok(Accepted { path, dots, host, host_port, origin, server_name, names: fields.names }))
}

fn bound(session: &mut Session, settings: &Settings, live: &Live) {
    // By default Pingora keeps an idle connection for ever. `None` means that it is closed after this
    // request, which must not change.
    if session.get_keepalive().is_some() {
        session.set_keepalive(Some(settings.keepalive_timeout.as_secs().max(1)));
    }
    // What follows a request is the next one (RFC 9112 §9.3.2).
    session.set_pipelining_enabled(true);
    session.set_read_timeout(Some(live.read_timeout));
    session.set_write_timeout(Some(live.write_timeout));
    // Pingora as published has no minimum pace.
    #[cfg(pingora_patched)]
    session.set_min_body_pace(live.limits.body_pace());
}

fn check(session: &Session, settings: &Settings, live: &Live) -> std::result::Result<Checked, Refusal> {
    let head = session.req_header();
    let raw = session.as_http1().map(|http1| http1.get_headers_raw_bytes());
    // Methods are case-sensitive (RFC 9110 §9.1), and `get` matches no route for `GET`: it would bypass
    // that route's plugins on its way to an upstream that is less strict.
    if head.method.as_str().bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err(Refusal::MethodCase);
    }
    framing::check(head, raw.as_deref(), &live.limits)?;
    let authority = authority::asked(head)?.map(Authority::into_owned);
    let fields = check_fields(&head.headers, &settings.identity_headers)?;
    if !head.raw_path_is_utf8() {
        return Err(Refusal::Path);
    }
    let (path, dots) = if framing::asks_for_the_server(head) {
        (framing::WHOLE_SERVER.to_owned(), Dots::None)
    } else {
        let normal = path::read(head.uri.path()).map_err(|_| Refusal::Path)?;
        (normal.path.into_owned(), normal.dots)
    };
    Ok(Checked { path, dots, authority, fields })
}

fn check_fields(headers: &HeaderMap, identity: &IdentityHeaders) -> std::result::Result<Fields, Refusal> {
    let mut fields = Fields { foreign: SmallVec::new(), names: Names::Plain, connection: After::AsRead };
    let (mut authorizations, mut proxy_authorizations, mut connections, mut upgrades) = (0, 0, 0, 0);
    for (name, value) in headers {
        // Possible over HTTP/2, where it is malformed (RFC 9113 §8.2.1); an HTTP/1 upstream would not see it.
        if is_padded(value.as_bytes()) {
            return Err(Refusal::Field);
        }
        authorizations += usize::from(*name == AUTHORIZATION);
        connections += usize::from(*name == CONNECTION);
        upgrades += usize::from(*name == UPGRADE);
        let text = name.as_str();
        proxy_authorizations += usize::from(lookalike::is_same(text.as_bytes(), PROXY_AUTHORIZATION.as_str()));
        if identity.contains(text) {
            fields.foreign.push(name.clone());
        } else if lookalike::folds(text) {
            fields.names = Names::Folding;
            if lookalike::is_of_ours(text) {
                fields.foreign.push(name.clone());
            }
        }
    }
    let says = |option: &str| headers.get_all(CONNECTION).iter().any(|value| has_option(value, option));
    // Pingora reads the first of several.
    if connections > 1 && says("close") {
        fields.connection = After::Closed;
    }
    // Without `Connection: upgrade` the client asks for nothing (RFC 9110 §7.8), but an upstream could switch.
    if upgrades > 0 && !says("upgrade") {
        fields.foreign.push(UPGRADE);
    }
    // The gateway would use one of them, and the upstream perhaps another.
    if authorizations > 1 || proxy_authorizations > 1 { Err(Refusal::Credentials) } else { Ok(fields) }
}

/// Whether a `Connection` field has this option (RFC 9110 §7.6.1).
fn has_option(value: &HeaderValue, option: &str) -> bool {
    let options = value.as_bytes().split(|byte| *byte == b',');
    options.map(<[u8]>::trim_ascii).any(|given| given.eq_ignore_ascii_case(option.as_bytes()))
}

/// Whether a value begins or ends with white space.
fn is_padded(value: &[u8]) -> bool {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_space(value.first()) || is_space(value.last())
}

const TOO_LARGE: (StatusCode, &str) =
    (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "Request header or cookie too large");

fn response_to(refusal: Refusal) -> OwnResponse {
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
        Refusal::MethodCase => (bad, "bad_method"),
        Refusal::Credentials => (bad, "repeated_credentials"),
        Refusal::Field => (bad, "bad_field"),
        Refusal::Method => ((StatusCode::METHOD_NOT_ALLOWED, "Method not allowed"), "method_not_allowed"),
        Refusal::TargetTooLong => ((StatusCode::URI_TOO_LONG, "URI too long"), "target_too_long"),
        Refusal::HeadTooLong => (TOO_LARGE, "head_too_long"),
        Refusal::TooManyFields => (TOO_LARGE, "too_many_fields"),
    };
    let reply = Reply::message(status, reason, message);
    OwnResponse::engine(match refusal {
        Refusal::Method => reply.with_header(ALLOW, HeaderValue::from_static(ALLOWED)),
        _ => reply,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(names: &[&'static str]) -> HeaderMap {
        names.iter().map(|name| (HeaderName::from_static(name), http::HeaderValue::from_static("x"))).collect()
    }

    #[test]
    fn a_repeated_credential_header_is_refused() {
        let rows: [(&[&'static str], bool); 9] = [
            (&["authorization"], true),
            (&["authorization", "proxy-authorization"], true),
            (&["proxy_authorization", "authorization"], true),
            (&["cookie", "cookie", "authorization"], true),
            (&["authorization", "host", "authorization"], false),
            (&["proxy-authorization", "proxy-authorization"], false),
            (&["proxy-authorization", "proxy_authorization"], false),
            (&["proxy_authorization", "proxy.authorization"], false),
            (&["authorization", "authorization", "authorization"], false),
        ];
        for (names, once) in rows {
            let mut all = HeaderMap::new();
            for name in names {
                all.append(HeaderName::from_static(name), http::HeaderValue::from_static("x"));
            }
            assert_eq!(check_fields(&all, &IdentityHeaders::default()).is_ok(), once, "{names:?}");
        }
    }

    #[test]
    fn an_upgrade_counts_if_connection_names_it_and_padded_values_are_refused() {
        let fields = |pairs: &[(&'static str, &'static str)]| {
            let pair = |(name, value): &(&'static str, &'static str)| {
                (HeaderName::from_static(name), http::HeaderValue::from_static(value))
            };
            let headers: HeaderMap = pairs.iter().map(pair).collect();
            check_fields(&headers, &IdentityHeaders::default()).map(|fields| fields.foreign.contains(&UPGRADE))
        };
        let websocket = ("upgrade", "websocket");
        assert_eq!(fields(&[websocket, ("connection", "keep-alive, Upgrade")]), Ok(false));
        assert_eq!(fields(&[websocket, ("connection", "keep-alive")]), Ok(true));
        assert_eq!(fields(&[websocket]), Ok(true));
        assert_eq!(fields(&[("connection", "upgrade")]), Ok(false));
        for value in [" a", "a ", "\ta", "a\t", " "] {
            assert_eq!(fields(&[("x-one", value)]), Err(Refusal::Field), "{value:?}");
        }
        assert_eq!(fields(&[("x-one", ""), ("x-two", "a b\tc")]), Ok(false));
    }

    #[test]
    fn reserved_fields_are_found_in_every_spelling() {
        let rows: [(&[&'static str], &[&str], Names); 4] = [
            (&["host", "x-forwarded-for", "x-tier"], &[], Names::Plain),
            (&["x-consumer-id", "accept"], &["x-consumer-id"], Names::Plain),
            (&["x_tier"], &[], Names::Folding),
            (&["x_forwarded_for", "x_consumer-id"], &["x_forwarded_for", "x_consumer-id"], Names::Folding),
        ];
        for (names, foreign, kind) in rows {
            let fields = check_fields(&headers(names), &IdentityHeaders::default()).unwrap();
            let found: Vec<_> = fields.foreign.iter().map(HeaderName::as_str).collect();
            assert_eq!((found.as_slice(), fields.names), (foreign, kind), "{names:?}");
        }
    }
}
