//! Where a request presents a bearer token (oauth2.md §4.1, RFC 6750 §2), and how it is removed before the request
//! goes upstream (oauth2.md §4.6).
//!
//! The header takes precedence if present, even if empty; then query and body merged, the body taking precedence.
//!
//! A token is hidden wherever this module would look for one: the header in every spelling,
//! `access_token` in query and form, and a body's JSON member or multipart part. A form that cannot
//! be searched is refused. When the token is in the header, JSON and multipart bodies belong to the
//! application: copies of that very token are removed from those small enough to be searched, and nothing else.

use std::borrow::Cow;

use bytes::Bytes;
use http::{Method, StatusCode};
use tollgate_core::reply::Reply;
use tollgate_core::request::Request;

use crate::presented::{self, Argument, BodyKind, CredentialHeader, Hiding, Order, Presented, Search};

const ACCESS_TOKEN: &str = "access_token";

/// The outcome of looking for a token.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'r> {
    /// A token was found.
    Token(Cow<'r, str>),
    /// There is something that cannot be a token, such as bytes that are not UTF-8.
    Unreadable,
    /// There are several, so another reader might use a different one.
    Several,
    /// There is no token.
    Missing,
    /// The body has to be read first.
    NeedBody,
}

/// The value of the header for a token or for a client's credentials; a list counts as several. Lines that are equal
/// are one value: whoever reads another one of them reads the same.
pub fn in_header<'r>(header: &CredentialHeader, request: &Request<'r>) -> Presented<'r> {
    let presented = match header.presented(request) {
        Presented::Several => header.common_value(request).map_or(Presented::Several, Presented::One),
        presented => presented,
    };
    match presented {
        Presented::One(value) if is_list_of_credentials(value) => Presented::Several,
        presented => presented,
    }
}

/// Looks for the token.
pub fn find<'r>(header: Option<&CredentialHeader>, request: &Request<'r>) -> Found<'r> {
    match header.map(|header| in_header(header, request)) {
        Some(Presented::One(value)) => return from_header(value),
        Some(Presented::Several) => return Found::Several,
        Some(Presented::Nothing) | None => {}
    }
    let in_body = match body_kind(request) {
        None => Argument::Absent,
        Some(kind) => match presented::in_body(ACCESS_TOKEN, kind, request) {
            None => return Found::NeedBody,
            Some(argument) => argument,
        },
    };
    match in_body {
        Argument::Absent => found(presented::in_query(ACCESS_TOKEN, request)),
        in_body => found(in_body.into_owned()),
    }
}

/// The ways in which a request presents a token (RFC 6750 §2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ways {
    /// In the header.
    pub header: bool,
    /// In the body.
    pub body: bool,
    /// In the query.
    pub query: bool,
}

impl Ways {
    /// How many there are.
    pub fn count(self) -> usize {
        [self.header, self.body, self.query].into_iter().filter(|way| *way).count()
    }
}

/// All ways in which a request presents something as a token, for those who do not take the first one. If there is
/// something in the header, only a form is searched as well: other bodies belong to the application. `None`: the body
/// has to be read first.
pub fn ways(header: Option<&CredentialHeader>, request: &Request<'_>) -> Option<Ways> {
    let header = header.is_some_and(|header| match header.presented(request) {
        Presented::One(value) => !value.trim_ascii().is_empty(),
        Presented::Several => true,
        Presented::Nothing => false,
    });
    let is_presented = |argument: &Argument<'_>| match argument {
        Argument::Text(token) => !token.is_empty(),
        Argument::Unreadable | Argument::Several => true,
        Argument::Absent | Argument::Other => false,
    };
    let body = match body_kind(request).filter(|kind| !header || *kind == BodyKind::Form) {
        None => false,
        Some(kind) => is_presented(&presented::in_body(ACCESS_TOKEN, kind, request)?),
    };
    Some(Ways { header, body, query: is_presented(&presented::in_query(ACCESS_TOKEN, request)) })
}

/// Removes the token from what goes upstream. `token` is the token that was found, if it is readable. Any other
/// outcome than [`Hiding::Done`] has changed nothing.
pub fn hide(header: Option<&CredentialHeader>, token: Option<&str>, request: &mut Request<'_>) -> Hiding {
    let in_header = header.filter(|header| header.value(request).is_some());
    let search = match (in_header, token) {
        (Some(_), _) => Search::BesideHeader,
        (None, Some(_)) => Search::Thorough,
        (None, None) => Search::Cursory,
    };
    // When the token is in the header, other values belong to the application.
    let is_hidden = |value: Option<&str>| search != Search::BesideHeader || (value.is_some() && value == token);
    let body = match presented::body_without(&[ACCESS_TOKEN], body_kind(request), search, is_hidden, request) {
        Ok(body) => body,
        Err(outcome) => return outcome,
    };
    if let Some(header) = in_header {
        header.hide(request);
    }
    presented::hide_in_query(&[ACCESS_TOKEN], Order::Sorted, request);
    if let Some(body) = body {
        request.edits.body = Some(Bytes::from(body));
    }
    Hiding::Done
}

/// The response if the token might go upstream in a form that is too large to be searched completely.
pub fn too_large_to_hide() -> Reply {
    Reply::message(StatusCode::PAYLOAD_TOO_LARGE, "form_too_large_to_hide_token", "Payload too large")
}

/// The same for an unreadable body.
pub fn unsearchable_to_hide() -> Reply {
    Reply::message(StatusCode::UNSUPPORTED_MEDIA_TYPE, "body_unreadable_to_hide_token", "Unsupported media type")
}

/// Whether a value is a list of credentials, as intermediaries combine headers of one name (RFC 9110 §5.3). Tokens and
/// secrets contain no comma; parameters of other schemes may be separated by commas. What follows a comma without a scheme
/// belongs to what is before it.
fn is_list_of_credentials(value: &[u8]) -> bool {
    const SCHEMES: [&[u8]; 4] = [b"bearer", b"token", b"basic", b"dpop"];
    let has_scheme = |part: &[u8]| {
        let mut words = part.trim_ascii().split(u8::is_ascii_whitespace);
        words.next().is_some_and(|word| SCHEMES.iter().any(|scheme| word.eq_ignore_ascii_case(scheme)))
    };
    memchr::memchr(b',', value).is_some() && value.split(|byte| *byte == b',').skip(1).any(has_scheme)
}

fn from_header<'r>(value: &'r [u8]) -> Found<'r> {
    let value = value.trim_ascii();
    let Ok(text) = std::str::from_utf8(value) else { return Found::Unreadable };
    if text.is_empty() {
        return Found::Missing;
    }
    let words = text.find(|character: char| character.is_ascii_whitespace()).map(|end| text.split_at(end));
    match words.map(|(scheme, rest)| (scheme, rest.trim_ascii_start())) {
        Some((scheme, token))
            if (scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token")) && is_word(token) =>
        {
            Found::Token(Cow::Borrowed(token))
        }
        _ => Found::Token(Cow::Borrowed(text)),
    }
}

/// Whether a text from a header has no white space. Tokens may be long, so many bytes are looked at together: without
/// leaving early, and with one comparison, since a header has no other bytes up to the space.
fn is_word(text: &str) -> bool {
    !text.bytes().fold(false, |any, byte| any | (byte <= b' '))
}

/// Whether what a header presents as a token is the credential of another scheme, such as `Basic`: no bearer token has
/// white space (RFC 6750 §2.1).
pub fn is_of_other_scheme(presented: &str) -> bool {
    let scheme = presented.split_once(|character: char| character.is_ascii_whitespace()).map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| !["bearer", "token"].iter().any(|ours| scheme.eq_ignore_ascii_case(ours)))
}

fn found(argument: Argument<'_>) -> Found<'_> {
    match argument {
        Argument::Text(token) if token.is_empty() => Found::Missing,
        Argument::Text(token) => Found::Token(token),
        Argument::Unreadable => Found::Unreadable,
        Argument::Absent | Argument::Several | Argument::Other => Found::Missing,
    }
}

/// How a body is searched.
fn body_kind(request: &Request<'_>) -> Option<BodyKind> {
    BodyKind::of(request).filter(|_| [Method::POST, Method::PUT, Method::PATCH].contains(request.method))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use http::{HeaderMap, HeaderName, HeaderValue};
    use tollgate_core::request::{Addressed, Edits, HeaderEdit, RequestBody, Target};
    use uuid::Uuid;

    use super::*;

    const FORM: &str = "application/x-www-form-urlencoded";

    /// What a client sends: `Authorization` headers, the query, and a form.
    #[derive(Default)]
    struct Sent {
        authorization: &'static [&'static str],
        query: Option<&'static str>,
        form: Option<RequestBody>,
    }

    impl Sent {
        /// What `act` does with the request.
        fn with<T>(&self, act: impl FnOnce(Option<&CredentialHeader>, &mut Request<'_>) -> T) -> T {
            let mut headers = HeaderMap::new();
            for value in self.authorization {
                headers.append("authorization", HeaderValue::from_static(value));
            }
            if self.form.is_some() {
                headers.insert("content-type", HeaderValue::from_static(FORM));
            }
            let target = Target { route_id: Uuid::nil(), service_id: None };
            let mut request = Request {
                method: if self.form.is_some() { &Method::POST } else { &Method::GET },
                path: "/",
                query: self.query,
                headers: &headers,
                http2: false,
                tls: false,
                peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
                client: IpAddr::V4(Ipv4Addr::LOCALHOST),
                peer_trusted: false,
                addressed: Addressed::default(),
                certificate: None,
                arrival: &(),
                target: &target,
                body: self.form.clone().unwrap_or(RequestBody::Unread),
                edits: Edits::default(),
                response: Vec::new(),
                identity: None,
                served_stale: None,
                notes: None,
            };
            act(CredentialHeader::parse("authorization").as_ref(), &mut request)
        }
    }

    fn form(text: &'static str) -> Option<RequestBody> {
        Some(RequestBody::Read(Bytes::from_static(text.as_bytes())))
    }

    fn token(text: &'static str) -> Found<'static> {
        Found::Token(Cow::Borrowed(text))
    }

    #[test]
    fn the_header_comes_before_the_body_and_the_body_before_the_query() {
        let query = Some("access_token=q");
        let rows: [(&'static [&'static str], _, _, Found<'_>); 14] = [
            (&[], None, None, Found::Missing),
            (&["bEaReR  h"], query, form("access_token=b"), token("h")),
            (&["Token h"], None, None, token("h")),
            (&["h"], None, None, token("h")),
            (&["Basic a b"], None, None, token("Basic a b")),
            (&[""], query, form("access_token=b"), Found::Missing),
            (&["Bearer h", ""], None, None, Found::Several),
            (&["Bearer h", "Bearer h"], None, None, token("h")),
            (&["Bearer h, Bearer i"], None, None, Found::Several),
            (&["Bearer h,i"], None, None, token("h,i")),
            (&["Negotiate x, Basic y"], None, None, Found::Several),
            (&[], query, form("access_token=b"), token("b")),
            (&[], query, form("a=1"), token("q")),
            (&[], query, Some(RequestBody::Unread), Found::NeedBody),
        ];
        for (authorization, query, form, expected) in rows {
            let found = |header: Option<&CredentialHeader>, request: &mut Request<'_>| match find(header, request) {
                Found::Token(token) => Found::Token(Cow::Owned(token.into_owned())),
                Found::Unreadable => Found::Unreadable,
                Found::Several => Found::Several,
                Found::Missing => Found::Missing,
                Found::NeedBody => Found::NeedBody,
            };
            let sent = Sent { authorization, query, form };
            assert_eq!(sent.with(found), expected, "{authorization:?} {query:?} {:?}", sent.form);
        }
    }

    #[test]
    fn every_way_of_presenting_a_token_is_found_rfc6750_2() {
        let ways_of = |header, body, query| Some(Ways { header, body, query });
        let query = Some("access_token=q");
        let rows: [(&'static [&'static str], _, _, _); 9] = [
            (&[], None, None, ways_of(false, false, false)),
            (&["Bearer h"], None, None, ways_of(true, false, false)),
            (&[""], None, Some("access_token="), ways_of(false, false, false)),
            (&[], None, query, ways_of(false, false, true)),
            (&[], None, Some("access_token=a&access_token=b"), ways_of(false, false, true)),
            (&["Bearer h"], form("access_token=b"), query, ways_of(true, true, true)),
            (&[], form("a=1"), query, ways_of(false, false, true)),
            (&["Bearer h"], Some(RequestBody::Unread), None, None),
            (&["Bearer h"], Some(RequestBody::TooLarge), None, ways_of(true, false, false)),
        ];
        for (authorization, form, query, expected) in rows {
            let sent = Sent { authorization, query, form };
            assert_eq!(sent.with(|header, request| ways(header, request)), expected, "{authorization:?} {query:?}");
        }
    }

    #[test]
    fn a_hidden_token_is_left_in_no_place() {
        let sent =
            Sent { authorization: &["Bearer h"], query: Some("access_token=q&a=1"), form: form("access_token=b&b=2") };
        sent.with(|header, request| {
            assert_eq!(hide(header, Some("h"), request), Hiding::Done);
            let removed = HeaderEdit::Remove(HeaderName::from_static("authorization"));
            assert_eq!(request.edits.headers.as_slice(), [removed]);
            assert_eq!(request.edits.query.as_deref(), Some("a=1"));
            assert_eq!(request.edits.body.as_deref(), Some(&b"b=2"[..]));
        });
    }

    #[test]
    fn what_cannot_be_hidden_changes_nothing() {
        for (body, expected) in [(RequestBody::Unread, Hiding::NeedBody), (RequestBody::TooLarge, Hiding::TooLarge)] {
            let sent = Sent { authorization: &["Bearer h"], query: Some("access_token=q"), form: Some(body) };
            sent.with(|header, request| {
                assert_eq!(hide(header, Some("h"), request), expected);
                assert_eq!((request.edits.headers.len(), &request.edits.query, &request.edits.body), (0, &None, &None));
            });
        }
    }
}
