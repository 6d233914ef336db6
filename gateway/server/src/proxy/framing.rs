//! Checks of a request's head that Pingora does not make: anything that two parsers could read
//! differently is refused (RFC 9112 §3.2, §5, §6).

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Version};
use pingora::http::RequestHeader;

use super::Limits;

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is not an HTTP/1.0, HTTP/1.1 or HTTP/2 request.
    Version,
    /// A line ends in a bare line feed.
    BareLineFeed,
    /// HTTP/1.1 without `Host`, or an invalid host.
    Host,
    /// `Content-Length` and `Transfer-Encoding`, or either of them twice.
    Framing,
    /// A transfer coding other than `chunked`.
    TransferCoding,
    /// The target has a form that belongs to other methods, or a fragment.
    Target,
    /// The path is ambiguous.
    Path,
    /// TRACE or CONNECT.
    Method,
    /// The method has lower-case letters: some servers would read it as another method.
    MethodCase,
    /// A field that carries a credential is repeated, and two servers may use different ones.
    Credentials,
    /// A value begins or ends with white space.
    Field,
    /// The target is too long.
    TargetTooLong,
    /// The head is too long.
    HeadTooLong,
    /// The head has too many fields.
    TooManyFields,
}

/// Checks a head; `raw` is its text, if there is one (HTTP/1).
pub fn check(head: &RequestHeader, raw: Option<&[u8]>, limits: &Limits) -> Result<(), Refusal> {
    if !matches!(head.version, Version::HTTP_10 | Version::HTTP_11 | Version::HTTP_2) {
        return Err(Refusal::Version);
    }
    if matches!(head.method, Method::TRACE | Method::CONNECT) {
        return Err(Refusal::Method);
    }
    check_size(head, raw, limits)?;
    check_target(head, raw)?;
    check_body_framing(&head.headers)?;
    raw.map_or(Ok(()), |raw| check_lines(raw, &head.headers))
}

fn check_size(head: &RequestHeader, raw: Option<&[u8]>, limits: &Limits) -> Result<(), Refusal> {
    if head.raw_path().len() > limits.target_bytes {
        return Err(Refusal::TargetTooLong);
    }
    if head.headers.len() > limits.header_count {
        return Err(Refusal::TooManyFields);
    }
    let size = raw.map_or_else(|| size_of(&head.headers), <[u8]>::len);
    if size > limits.head_bytes { Err(Refusal::HeadTooLong) } else { Ok(()) }
}

/// The target that addresses the server itself (RFC 9112 §3.2.4).
pub(crate) const WHOLE_SERVER: &str = "*";

/// RFC 9112 §3.2: `/path`, `http://host/path`, or `*` with OPTIONS; `host:port` is for CONNECT.
fn check_target(head: &RequestHeader, raw: Option<&[u8]>) -> Result<(), Refusal> {
    let target = head.raw_path();
    // Over HTTP/2, the scheme is a field of its own; without an authority, it is lost.
    let is_web = || matches!(head.uri.scheme_str(), Some("http" | "https"));
    let scheme = head.version != Version::HTTP_2 || head.uri.authority().is_none() || is_web();
    let known = target.first() == Some(&b'/') || asks_for_the_server(head) || after_scheme(target).is_some();
    // Pingora cuts off a fragment; a request line cannot have one.
    let fragment = raw.is_some_and(|raw| memchr::memchr2(b'#', b'\n', raw).and_then(|at| raw.get(at)) == Some(&b'#'));
    if known && scheme && !fragment { Ok(()) } else { Err(Refusal::Target) }
}

/// The part after `http://` or `https://`: an authority, and usually a path.
fn after_scheme(target: &[u8]) -> Option<&[u8]> {
    [&b"http://"[..], b"https://"].into_iter().find_map(|scheme| {
        let (begin, rest) = target.split_at_checked(scheme.len())?;
        begin.eq_ignore_ascii_case(scheme).then_some(rest)
    })
}

/// `OPTIONS *`, also in the form sent to a proxy (RFC 9112 §3.2.4): `OPTIONS http://host`.
pub(crate) fn asks_for_the_server(head: &RequestHeader) -> bool {
    head.method == Method::OPTIONS && {
        let target = head.raw_path();
        target == WHOLE_SERVER.as_bytes()
            || after_scheme(target).is_some_and(|rest| !rest.iter().any(|byte| matches!(byte, b'/' | b'?')))
    }
}

fn size_of(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}

fn check_body_framing(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = lengths.next();
    if lengths.next().is_some() || length.is_some_and(|value| !value.as_bytes().iter().all(u8::is_ascii_digit)) {
        return Err(Refusal::Framing);
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(_), Some(_)) => Err(Refusal::Framing),
        (Some(_), None) if length.is_some() => Err(Refusal::Framing),
        (Some(coding), None) if coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") => Ok(()),
        (Some(_), None) => Err(Refusal::TransferCoding),
    }
}

/// Checks that need the raw text: Pingora accepts bare line feeds, and removes a `Content-Length`
/// next to a `Transfer-Encoding`.
fn check_lines(raw: &[u8], headers: &HeaderMap) -> Result<(), Refusal> {
    let is_bare = |end: usize| end.checked_sub(1).and_then(|before| raw.get(before)) != Some(&b'\r');
    if memchr::memchr_iter(b'\n', raw).any(is_bare) {
        return Err(Refusal::BareLineFeed);
    }
    let names_length = |line: &[u8]| {
        let name = line.get(..CONTENT_LENGTH.as_str().len());
        name.is_some_and(|name| name.eq_ignore_ascii_case(CONTENT_LENGTH.as_str().as_bytes()))
    };
    let chunked = headers.contains_key(TRANSFER_ENCODING);
    if chunked && raw.split(|byte| *byte == b'\n').any(names_length) { Err(Refusal::Framing) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(head: &RequestHeader, raw: Option<&[u8]>) -> Result<(), Refusal> {
        super::check(head, raw, &Limits::default())
    }

    type Row<'r> = (&'r [(&'r str, &'r str)], Result<(), Refusal>);

    fn head(method: &str, pairs: &[(&str, &str)]) -> RequestHeader {
        let mut head = RequestHeader::build(method, b"/a", None).unwrap();
        head.set_version(Version::HTTP_11);
        for (name, value) in pairs {
            head.append_header((*name).to_owned(), *value).unwrap();
        }
        head
    }

    #[test]
    fn ambiguous_heads_are_refused() {
        let rows: [Row<'_>; 8] = [
            (&[("host", "a.test:80")], Ok(())),
            (&[("host", "a"), ("content-length", "1"), ("content-length", "1")], Err(Refusal::Framing)),
            (&[("host", "a"), ("content-length", "1, 1")], Err(Refusal::Framing)),
            (&[("host", "a"), ("content-length", "+1")], Err(Refusal::Framing)),
            (&[("host", "a"), ("transfer-encoding", "gzip, chunked")], Err(Refusal::TransferCoding)),
            (&[("host", "a"), ("transfer-encoding", "chunked"), ("transfer-encoding", "x")], Err(Refusal::Framing)),
            (&[("host", "a"), ("transfer-encoding", "chunked"), ("content-length", "1")], Err(Refusal::Framing)),
            (&[("host", "a"), ("transfer-encoding", "Chunked")], Ok(())),
        ];
        for (pairs, expected) in rows {
            assert_eq!(check(&head("GET", pairs), None), expected, "{pairs:?}");
        }
    }

    #[test]
    fn a_target_must_have_the_form_of_its_method() {
        let rows = [
            ("GET", "/a", Ok(())),
            ("GET", "http://a.test/a", Ok(())),
            ("GET", "HTTPS://a.test", Ok(())),
            ("OPTIONS", "*", Ok(())),
            ("OPTIONS", "http://a.test", Ok(())),
            ("GET", "*", Err(Refusal::Target)),
            ("GET", "a.test:80", Err(Refusal::Target)),
            ("GET", "a.test", Err(Refusal::Target)),
            ("GET", "?q", Err(Refusal::Target)),
            ("GET", "ftp://a.test/a", Err(Refusal::Target)),
            ("GET", "/a#b", Err(Refusal::Target)),
        ];
        for (method, target, expected) in rows {
            let mut head = RequestHeader::build(method, target.as_bytes(), None).unwrap();
            head.set_version(Version::HTTP_11);
            head.insert_header("host", "a.test").unwrap();
            let raw = format!("{method} {target} HTTP/1.1\r\nHost: a.test\r\nX: #\r\n\r\n");
            assert_eq!(check(&head, Some(raw.as_bytes())), expected, "{method} {target}");
        }
        let whole =
            |method: &str, target: &[u8]| asks_for_the_server(&RequestHeader::build(method, target, None).unwrap());
        assert!(whole("OPTIONS", b"*") && whole("OPTIONS", b"http://a.test:80"));
        assert!(
            !whole("OPTIONS", b"/") && !whole("OPTIONS", b"http://a.test/") && !whole("OPTIONS", b"http://a.test?q")
        );
    }

    #[test]
    fn trace_and_connect_are_refused() {
        for method in ["TRACE", "CONNECT"] {
            assert_eq!(check(&head(method, &[("host", "a")]), None), Err(Refusal::Method));
        }
    }

    #[test]
    fn the_raw_head_shows_what_the_parser_removed() {
        let plain = head("GET", &[("host", "a")]);
        assert_eq!(check(&plain, Some(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")), Ok(()));
        assert_eq!(check(&plain, Some(b"GET /a HTTP/1.1\nHost: a\r\n\r\n")), Err(Refusal::BareLineFeed));
        let chunked = head("POST", &[("host", "a"), ("transfer-encoding", "chunked")]);
        let raw = b"POST /a HTTP/1.1\r\nHost: a\r\ncontent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(check(&chunked, Some(raw)), Err(Refusal::Framing));
    }

    #[test]
    fn long_heads_are_refused() {
        let long = "x".repeat(32 * 1024);
        assert_eq!(check(&head("GET", &[("host", "a"), ("x", &long)]), None), Err(Refusal::HeadTooLong));
        let path = format!("/{}", "a".repeat(8 * 1024));
        let mut target = RequestHeader::build("GET", path.as_bytes(), None).unwrap();
        target.insert_header("host", "a").unwrap();
        assert_eq!(check(&target, None), Err(Refusal::TargetTooLong));
        let fields = |count| check(&head("GET", &vec![("x", "1"); count]), None);
        assert_eq!((fields(256), fields(257)), (Ok(()), Err(Refusal::TooManyFields)));
    }
}
