//! The path sent upstream (gateway.md §6, path_handling v0).

use std::borrow::Cow;

use tollgate_core::byte_set::ByteSet;
use tollgate_core::path::push_encoded;

use crate::criteria::MatchedPath;

/// What a request line can contain, and `%`.
const PLAIN: ByteSet = ByteSet::alphanumeric().with(b"!#$&'()*+,/:;=?@[]-_.~%");

/// What happens to the matched part of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strip {
    /// `strip_path: true`: it is removed.
    Matched,
    /// `strip_path: false`: the upstream receives the whole path.
    Nothing,
}

/// Joins the service's path (`None` is `/`) and the normalised path of the request; escapes the result for
/// the request line.
pub fn upstream_path<'p>(
    service_path: Option<&'p str>,
    request_path: &'p str,
    matched: MatchedPath,
    strip: Strip,
) -> Cow<'p, str> {
    let base = service_path.filter(|path| !path.is_empty()).unwrap_or("/");
    match strip {
        Strip::Matched => strip_matched(base, request_path, without_dots(remainder(request_path, matched))),
        Strip::Nothing if base.ends_with('/') => join(base, request_path),
        Strip::Nothing if request_path == "/" => escape(base),
        Strip::Nothing => join(base, request_path),
    }
}

/// The part that the route did not match. A regex match that starts further in counts by its length.
fn remainder(path: &str, matched: MatchedPath) -> &str {
    let len = match matched {
        MatchedPath::None => 1,
        MatchedPath::Prefix(len) | MatchedPath::Regex { len } => len,
    };
    // Only such a regex yields a length inside a character.
    path.get(len..).unwrap_or_default()
}

/// A remainder must not climb: `/api../x` without `/api..` is not `../x`.
fn without_dots(remainder: &str) -> &str {
    match remainder {
        "." | ".." => "",
        other => other.strip_prefix("./").or_else(|| other.strip_prefix("../")).unwrap_or(other),
    }
}

fn strip_matched<'p>(base: &'p str, request_path: &'p str, remainder: &'p str) -> Cow<'p, str> {
    if !remainder.is_empty() {
        return join(base, remainder);
    }
    // Nothing remains: the request decides about the trailing slash, but a path has at least one.
    let wants_slash = request_path.len() > 1 && request_path.ends_with('/');
    match base.strip_suffix('/') {
        Some("") => Cow::Borrowed("/"),
        // The root yields the base unchanged.
        Some(shorter) if !request_path.ends_with('/') => escape(shorter),
        Some(_) => escape(base),
        None if wants_slash => Cow::Owned(escape(base).into_owned() + "/"),
        None => escape(base),
    }
}

/// `base` and `rest` with exactly one slash between them.
fn join<'p>(base: &'p str, rest: &'p str) -> Cow<'p, str> {
    let base = base.strip_suffix('/').unwrap_or(base);
    if base.is_empty() && rest.starts_with('/') {
        return escape(rest);
    }
    let rest = rest.strip_prefix('/').unwrap_or(rest);
    let mut joined = String::with_capacity(base.len() + rest.len() + 1);
    joined.push_str(&escape(base));
    joined.push('/');
    joined.push_str(&escape(rest));
    Cow::Owned(joined)
}

/// Reverts [`escape`] for the visible characters that a URI must not contain but clients send anyway:
/// ``"<>^`{|}``. For paths that were not decoded, which contained them literally.
pub fn as_sent(path: Cow<'_, str>) -> Cow<'_, str> {
    const SENT: [(&str, &str); 8] = [
        ("%22", "\""),
        ("%3C", "<"),
        ("%3E", ">"),
        ("%5E", "^"),
        ("%60", "`"),
        ("%7B", "{"),
        ("%7C", "|"),
        ("%7D", "}"),
    ];
    if !path.contains('%') {
        return path;
    }
    let known = SENT.iter().filter(|(encoded, _)| path.contains(encoded));
    let spelled = known.fold(None, |spelled: Option<String>, (encoded, character)| {
        Some(spelled.as_deref().unwrap_or(&path).replace(encoded, character))
    });
    spelled.map_or(path, Cow::Owned)
}

/// Encodes what a request line cannot contain; `%` and reserved characters are kept.
pub fn escape(path: &str) -> Cow<'_, str> {
    if PLAIN.has_all(path.as_bytes()) {
        return Cow::Borrowed(path);
    }
    let mut escaped = Vec::with_capacity(path.len() + 16);
    for byte in path.bytes() {
        if PLAIN.has(byte) { escaped.push(byte) } else { push_encoded(&mut escaped, byte) }
    }
    Cow::Owned(escaped.into_iter().map(char::from).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tollgate_core::path::normalise;

    use super::*;

    #[test]
    fn the_upstream_path_follows_the_table() {
        let rows = [
            ("/", "/api", "/api", "/", "/api"),
            ("/", "/api", "/api/", "/", "/api/"),
            ("/", "/api", "/api/x", "/x", "/api/x"),
            ("/", "/api", "/apix", "/x", "/apix"),
            ("/v1", "/api", "/api", "/v1", "/v1/api"),
            ("/v1", "/api", "/api/", "/v1/", "/v1/api/"),
            ("/v1", "/api", "/api/x", "/v1/x", "/v1/api/x"),
            ("/v1", "/api", "/apix", "/v1/x", "/v1/apix"),
            ("/v1/", "/api", "/api", "/v1", "/v1/api"),
            ("/v1/", "/api", "/api/", "/v1/", "/v1/api/"),
            ("/v1/", "/api", "/api/x", "/v1/x", "/v1/api/x"),
            ("/v1", "/api/", "/api/x", "/v1/x", "/v1/api/x"),
            ("/v1", "/", "/", "/v1", "/v1"),
            ("/v1/", "/", "/x", "/v1/x", "/v1/x"),
        ];
        for (service, route, request, stripped, kept) in rows {
            let matched = MatchedPath::Prefix(route.len());
            let of = |strip| upstream_path(Some(service), request, matched, strip).into_owned();
            assert_eq!(of(Strip::Matched), stripped, "{service} {route} {request} stripped");
            assert_eq!(of(Strip::Nothing), kept, "{service} {route} {request} kept");
        }
        assert_eq!(upstream_path(None, "/api/x", MatchedPath::Prefix(4), Strip::Matched), "/x");
        assert_eq!(upstream_path(None, "/api/x", MatchedPath::Prefix(4), Strip::Nothing), "/api/x");
    }

    #[test]
    fn a_remainder_does_not_climb() {
        let rows = [
            ("/api./x", "/v1/x"),
            ("/api../x", "/v1/x"),
            ("/api.", "/v1"),
            ("/api..", "/v1"),
            ("/api.x", "/v1/.x"),
            ("/api...", "/v1/..."),
        ];
        for (request, expected) in rows {
            assert_eq!(
                upstream_path(Some("/v1"), request, MatchedPath::Prefix(4), Strip::Matched),
                expected,
                "{request}"
            );
        }
    }

    #[test]
    fn the_text_that_a_regex_matched_is_stripped() {
        let matched = MatchedPath::Regex { len: "/users/42".len() };
        assert_eq!(upstream_path(Some("/v1"), "/users/42/posts", matched, Strip::Matched), "/v1/posts");
        assert_eq!(upstream_path(Some("/v1"), "/users/42", matched, Strip::Matched), "/v1");
    }

    #[test]
    fn a_route_without_paths_strips_nothing() {
        for strip in [Strip::Matched, Strip::Nothing] {
            assert_eq!(upstream_path(Some("/v1"), "/x/y", MatchedPath::None, strip), "/v1/x/y");
            assert_eq!(upstream_path(None, "/", MatchedPath::None, strip), "/");
        }
    }

    #[test]
    fn visible_characters_can_be_spelled_as_they_were_sent() {
        let sent = "/a<b>/\"{c}|^`%2F\\ä";
        let escaped = upstream_path(None, sent, MatchedPath::None, Strip::Nothing);
        assert_eq!(as_sent(escaped), "/a<b>/\"{c}|^`%2F%5C%C3%A4");
        assert!(matches!(as_sent(Cow::Borrowed("/a%2Fb")), Cow::Borrowed("/a%2Fb")));
    }

    #[test]
    fn what_a_request_line_cannot_contain_is_escaped_again() {
        let sent = upstream_path(Some("/v1"), "/a b/ä\"%2F~;=", MatchedPath::None, Strip::Nothing);
        assert_eq!(sent, "/v1/a%20b/%C3%A4%22%2F~;=");
        assert!(matches!(upstream_path(None, "/api/x", MatchedPath::Prefix(4), Strip::Matched), Cow::Borrowed("/x")));
    }

    proptest! {
        #[test]
        fn an_escaped_path_has_the_same_normal_form(raw in "/([a.~/]|%2[eEfF]|%[cf][0-9]|%25|ä| ){0,24}") {
            let normal = normalise(&raw).unwrap().into_owned();
            let sent = escape(&normal);
            prop_assert!(sent.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(normalise(&sent).unwrap(), normal.as_str());
        }
    }
}
