//! Hop-by-hop headers, which are not forwarded (RFC 9110 §7.6.1, gateway.md §7.1 and §7.2).
//!
//! Invariant: a header that carries identity or frames the message is never treated as hop-by-hop, whatever
//! `Connection` says. Plugins' headers are set after this has run.

use http::header::{CONNECTION, TE, UPGRADE};
use http::{HeaderMap, HeaderName};
use smallvec::SmallVec;

/// Names that `Connection` may not remove: they frame the message, route it, or identify the client.
pub(super) const PROTECTED: [&str; 12] = [
    "authorization",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "host",
    "proxy-authorization",
    "set-cookie",
    "te",
    "transfer-encoding",
    "via",
];

/// Prefixes of such names: identity headers, and headers about the client.
const PROTECTED_PREFIXES: [&str; 6] =
    ["x-forwarded-", "x-real-ip", "x-consumer-", "x-credential-", "x-authenticated-", "x-anonymous-"];

/// Names that are always hop-by-hop.
pub(super) static ALWAYS: [HeaderName; 4] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
];

/// The hop-by-hop headers of a head, except `TE`, `Trailer`, `Connection` and `Upgrade`, which the
/// caller handles. `headers` are as received, since the edited head may have lost
/// its `Connection` already. `may_have` is false for names that are absent.
pub(crate) fn of(headers: &HeaderMap, may_have: impl Fn(&HeaderName) -> bool) -> SmallVec<[HeaderName; 4]> {
    let mut names = nominated(headers);
    names.extend(ALWAYS.iter().filter(|name| may_have(name)).cloned());
    names
}

/// Whether the client accepts trailers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trailers {
    /// It sent `TE: trailers`.
    Wanted,
    /// It did not.
    Unwanted,
}

impl Trailers {
    /// Reads a request's `TE`.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let tokens = headers.get_all(TE).iter().filter_map(|value| value.to_str().ok());
        let wanted = tokens.flat_map(|text| text.split(',')).any(|token| token.trim().eq_ignore_ascii_case("trailers"));
        if wanted { Self::Wanted } else { Self::Unwanted }
    }
}

fn nominated(headers: &HeaderMap) -> SmallVec<[HeaderName; 4]> {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|text| text.split(','))
        .map(str::trim)
        .filter(|token| !token.eq_ignore_ascii_case("close") && !token.eq_ignore_ascii_case("keep-alive"))
        .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
        // The upgrade itself is decided elsewhere.
        .filter(|name| *name != UPGRADE && !is_protected(name.as_str()) && headers.contains_key(name))
        .collect()
}

fn is_protected(name: &str) -> bool {
    PROTECTED.contains(&name) || PROTECTED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn nominated_headers_are_hop_by_hop() {
        let given =
            headers(&[("connection", "close, X-Private , nonsense name"), ("x-private", "1"), ("x-other", "1")]);
        assert_eq!(nominated(&given).as_slice(), [HeaderName::from_static("x-private")]);
    }

    #[test]
    fn framing_and_identity_cannot_be_nominated() {
        for name in [
            "content-length",
            "transfer-encoding",
            "host",
            "authorization",
            "x-consumer-id",
            "x-credential-identifier",
            "x-authenticated-userid",
            "x-anonymous-consumer",
            "x-forwarded-for",
            "x-real-ip",
        ] {
            let given = headers(&[("connection", name), (name, "1")]);
            assert!(nominated(&given).is_empty(), "{name}");
        }
    }

    #[test]
    fn obsolete_connection_headers_are_removed() {
        let given = headers(&[("keep-alive", "timeout=5"), ("proxy", "http://evil"), ("proxy-connection", "close")]);
        assert_eq!(of(&given, |name| given.contains_key(name)).len(), 3);
    }

    #[test]
    fn trailers_are_announced_only_to_clients_that_want_them() {
        assert_eq!(Trailers::of(&headers(&[("te", "gzip, Trailers")])), Trailers::Wanted);
        assert_eq!(Trailers::of(&headers(&[("te", "gzip")])), Trailers::Unwanted);
    }
}
