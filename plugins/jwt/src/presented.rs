//! Finding the token of a request: query arguments, cookies and headers, all of them.
//!
//! One token may be in several places. Different tokens are refused, since the upstream might use another one
//! than the gateway, and so is a header that is repeated.

use std::borrow::Cow;

use http::header::COOKIE;
use tollgate_plugin::presented::{CredentialHeader, Presented};
use tollgate_plugin::{Request, arguments};

/// The places where tokens are looked for.
#[derive(Debug, Clone)]
pub struct Places {
    /// The query arguments (`uri_param_names`).
    pub arguments: Vec<Box<str>>,
    /// The cookies.
    pub cookies: Vec<Box<str>>,
    /// The headers.
    pub headers: Vec<CredentialHeader>,
}

/// The outcome of looking for a token.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'r> {
    /// A token was found.
    Token(Cow<'r, str>),
    /// There is something that cannot be a token: bytes that are not UTF-8.
    Unreadable,
    /// There is an argument without a value.
    Valueless,
    /// There are different tokens.
    Several,
    /// There is no token.
    Missing,
}

/// What was found so far.
#[derive(Debug, PartialEq, Eq)]
enum Collected<'r> {
    Nothing,
    /// `None`: an argument without `=`.
    One(Option<Cow<'r, [u8]>>),
    Several,
}

impl<'r> Collected<'r> {
    fn add(&mut self, value: Option<Cow<'r, [u8]>>) {
        if value.as_ref().is_some_and(|value| value.is_empty()) {
            return;
        }
        match self {
            Self::Nothing => *self = Self::One(value),
            Self::One(known) if *known == value => {}
            _ => *self = Self::Several,
        }
    }
}

/// Looks for the token.
pub fn find<'r>(places: &Places, request: &Request<'r>) -> Found<'r> {
    let mut collected = Collected::Nothing;
    in_query(&places.arguments, request, &mut collected);
    in_cookies(&places.cookies, request, &mut collected);
    for header in &places.headers {
        match header.presented(request) {
            Presented::Nothing => {}
            Presented::One(value) => {
                if let Some(token) = after_scheme(value) {
                    collected.add(Some(Cow::Borrowed(token)));
                }
            }
            Presented::Several => collected = Collected::Several,
        }
    }
    match collected {
        Collected::Nothing => Found::Missing,
        Collected::Several => Found::Several,
        Collected::One(None) => Found::Valueless,
        Collected::One(Some(token)) => text(token).map_or(Found::Unreadable, Found::Token),
    }
}

fn text(token: Cow<'_, [u8]>) -> Option<Cow<'_, str>> {
    match token {
        Cow::Borrowed(token) => std::str::from_utf8(token).ok().map(Cow::Borrowed),
        Cow::Owned(token) => String::from_utf8(token).ok().map(Cow::Owned),
    }
}

fn in_query<'r>(names: &[Box<str>], request: &Request<'r>, collected: &mut Collected<'r>) {
    let Some(query) = request.query else { return };
    let is_named = |key: &[u8]| names.iter().any(|name| name.as_bytes() == key);
    let arguments = arguments::parse(query.as_bytes()).take(arguments::MAX_READ);
    arguments.filter(|argument| is_named(&argument.key)).for_each(|argument| collected.add(argument.value));
}

/// Letter case does not matter in the names of cookies that are looked for, as in the compatible gateway.
fn in_cookies<'r>(names: &[Box<str>], request: &Request<'r>, collected: &mut Collected<'r>) {
    if names.is_empty() {
        return;
    }
    let is_named = |cookie: &[u8]| names.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(cookie));
    for value in request.headers.get_all(COOKIE) {
        for pair in value.as_bytes().split(|&byte| byte == b';') {
            let mut parts = pair.splitn(2, |&byte| byte == b'=').map(<[u8]>::trim_ascii);
            if let (Some(name), Some(value)) = (parts.next(), parts.next())
                && is_named(name)
            {
                collected.add(Some(Cow::Borrowed(value)));
            }
        }
    }
}

/// What follows the scheme `Bearer` (RFC 6750 §2.1); `None` for other schemes.
fn after_scheme(value: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer";
    let (scheme, rest) = value.trim_ascii().split_at_checked(SCHEME.len())?;
    let is_bearer = scheme.eq_ignore_ascii_case(SCHEME) && rest.first().is_some_and(u8::is_ascii_whitespace);
    is_bearer.then(|| rest.trim_ascii_start())
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use http::{HeaderMap, HeaderName, HeaderValue, Method};
    use tollgate_core::request::{Addressed, Edits, RequestBody, Target};
    use uuid::Uuid;

    use super::*;

    fn places(arguments: &[&str], cookies: &[&str], headers: &[&str]) -> Places {
        let names = |names: &[&str]| names.iter().map(|name| Box::from(*name)).collect();
        let headers = headers.iter().map(|name| CredentialHeader::parse(name).unwrap()).collect();
        Places { arguments: names(arguments), cookies: names(cookies), headers }
    }

    fn result(places: &Places, query: Option<&str>, lines: &[(&str, &[u8])]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        let request = Request {
            method: &Method::GET,
            path: "/",
            query,
            headers: &headers,
            http2: false,
            tls: false,
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            peer_trusted: false,
            addressed: Addressed::default(),
            certificate: None,
            arrival: &(),
            target: &Target { route_id: Uuid::nil(), service_id: None },
            body: RequestBody::Unread,
            edits: Edits::default(),
            response: Vec::new(),
            identity: None,
            served_stale: None,
            notes: None,
        };
        match find(places, &request) {
            Found::Token(token) => token.into_owned(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_token_is_found_in_the_query() {
        let places = places(&["token", "jwt"], &[], &["authorization"]);
        let many = format!("{}jwt=t", "a=1&".repeat(arguments::MAX_READ));
        for (query, expected) in [
            ("jwt=t", "t"),
            ("a=1&token=t&b", "t"),
            ("jwt=%74", "t"),
            ("jwt=t&token=t", "t"),
            ("jwt=t&jwt=t&jwt=&token", "Several"),
            ("jwt=t&jwt=u", "Several"),
            ("jwt=t&token=u", "Several"),
            ("jwt=", "Missing"),
            ("JWT=t", "Missing"),
            ("jwt[]=t", "Missing"),
            ("jwt", "Valueless"),
            ("jwt=%ff", "Unreadable"),
            (&many, "Missing"),
            ("", "Missing"),
        ] {
            assert_eq!(result(&places, Some(query), &[]), expected, "{query}");
        }
    }

    #[test]
    fn a_token_is_found_in_cookies() {
        let places = places(&["jwt"], &["silly", "crumble"], &["authorization"]);
        for (lines, expected) in [
            (&["silly=t"][..], "t"),
            (&["a=1; crumble=t ; path=/"], "t"),
            (&["a=1;CRUMBLE = t"], "t"),
            (&["silly=t; crumble=t"], "t"),
            (&["silly=t", "silly=t"], "t"),
            (&["silly=t; silly=u"], "Several"),
            (&["silly=t", "crumble=u"], "Several"),
            (&["silly="], "Missing"),
            (&["silly"], "Missing"),
            (&["notsilly=t"], "Missing"),
            (&["silly=a=b"], "a=b"),
        ] {
            let headers: Vec<_> = lines.iter().map(|line| ("cookie", line.as_bytes())).collect();
            assert_eq!(result(&places, None, &headers), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_token_is_found_after_the_scheme() {
        let places = places(&["jwt"], &[], &["authorization", "x-other_name"]);
        for (lines, expected) in [
            (&[("authorization", &b"Bearer t"[..])][..], "t"),
            (&[("authorization", b"bearer \t t ")], "t"),
            (&[("authorization", b"BEARER t")], "t"),
            (&[("authorization", b"Bearer t, Bearer u")], "t, Bearer u"),
            (&[("x_other-name", b"Bearer t")], "t"),
            (&[("authorization", b"Bearer t"), ("x-other-name", b"Bearer t")], "t"),
            (&[("authorization", b"Bearer t"), ("x-other-name", b"Bearer u")], "Several"),
            (&[("authorization", b"Bearer t"), ("authorization", b"Bearer t")], "Several"),
            (&[("authorization", b"Basic t"), ("x-other-name", b"Bearer u")], "u"),
            (&[("authorization", b"Bearer \xff")], "Unreadable"),
            (&[("authorization", b"Bearer")], "Missing"),
            (&[("authorization", b"Bearert")], "Missing"),
            (&[("authorization", b"t")], "Missing"),
            (&[("authorization", b"Basic Bearer t")], "Missing"),
        ] {
            assert_eq!(result(&places, None, lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn one_token_may_be_in_all_places_and_different_ones_may_not() {
        let places = places(&["jwt"], &["jwt"], &["authorization"]);
        let lines = |header: &'static [u8]| [("authorization", header), ("cookie", b"jwt=t")];
        assert_eq!(result(&places, Some("jwt=t"), &lines(b"Bearer t")), "t");
        assert_eq!(result(&places, Some("jwt=t"), &lines(b"Bearer u")), "Several");
        assert_eq!(result(&places, Some("jwt=u"), &lines(b"Basic t")), "Several");
        assert_eq!(result(&places, Some("jwt"), &lines(b"Basic t")), "Several");
    }
}
