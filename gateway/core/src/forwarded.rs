//! What a request was addressed to: the scheme, host and port that the client used, and the part of the path by which
//! its route was found.
//!
//! A trusted peer may say that the client used others: in `X-Forwarded-Proto`, `X-Forwarded-Host` and
//! `X-Forwarded-Port` (gateway.md §7.1). Nobody else is asked.

use http::header::HeaderMap;

use crate::host::{Authority, Host};

const PROTO: &str = "x-forwarded-proto";
const HOST: &str = "x-forwarded-host";
const PORT: &str = "x-forwarded-port";

/// What the head of a request names, before anything that a trusted peer says.
#[derive(Debug, Clone, Copy, Default)]
pub struct Addressed<'r> {
    /// The host.
    pub host: Option<&'r Host<'r>>,
    /// The port that the host came with.
    pub port: Option<u16>,
    /// The beginning of the path by which the route was found; empty for a route without paths. Of a path below
    /// `/.well-known/` whose route was found by what follows the well-known name, a beginning of that.
    pub matched: &'r str,
}

/// Who sent the head of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// One of `trusted_ips`.
    Trusted,
    /// Anybody else.
    Untrusted,
}

/// Whether the client used HTTPS: on the connection to us, or in a trusted peer's `X-Forwarded-Proto`. With several
/// values it is unknown which is right, so they do not count as `https`.
pub fn is_https(tls: bool, sender: Sender, headers: &HeaderMap) -> bool {
    if sender == Sender::Untrusted {
        return tls;
    }
    let mut claimed = headers.get_all(PROTO).iter();
    match (claimed.next(), claimed.next()) {
        (None, _) => tls,
        (Some(one), None) => one.as_bytes().trim_ascii().eq_ignore_ascii_case(b"https"),
        _ => false,
    }
}

/// The requested host, and its port if one is named, according to a trusted peer.
pub fn authority(sender: Sender, headers: &HeaderMap) -> Option<Authority<'_>> {
    let claimed = headers.get(HOST).filter(|_| sender == Sender::Trusted)?;
    Authority::parse(claimed.to_str().ok()?).ok()
}

/// The origin that the client used, such as `https://api.example.com` (RFC 6454 §6.2): without the port if it is the
/// scheme's. `None`: the request names no host.
pub fn origin(tls: bool, sender: Sender, headers: &HeaderMap, addressed: &Addressed<'_>) -> Option<String> {
    let (scheme, usual) = if is_https(tls, sender, headers) { ("https", 443) } else { ("http", 80) };
    let claimed_port = || {
        let port = headers.get(PORT).filter(|_| sender == Sender::Trusted)?;
        port.to_str().ok()?.trim().parse().ok()
    };
    let (host, port) = match authority(sender, headers) {
        Some(Authority { host, port }) => (host.into_owned(), port.or_else(claimed_port)),
        None => (addressed.host?.clone().into_owned(), claimed_port().or(addressed.port)),
    };
    Some(match port.filter(|port| *port != usual && *port != 0) {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    })
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    type Row = (bool, Sender, Option<u16>, &'static [(&'static str, &'static str)], &'static str);

    #[test]
    fn an_origin_is_what_the_client_used_and_only_a_trusted_peer_may_say_so() {
        use Sender::{Trusted, Untrusted};
        let rows: [Row; 10] = [
            (true, Untrusted, None, &[], "https://api.test"),
            (false, Untrusted, None, &[], "http://api.test"),
            (true, Untrusted, Some(443), &[], "https://api.test"),
            (true, Untrusted, Some(8443), &[], "https://api.test:8443"),
            (true, Untrusted, None, &[(PROTO, "http"), (HOST, "evil.test"), (PORT, "1")], "https://api.test"),
            (false, Trusted, Some(8000), &[(PROTO, "https"), (HOST, "Shop.Test:444")], "https://shop.test:444"),
            (false, Trusted, Some(8000), &[(PROTO, "https"), (HOST, "shop.test")], "https://shop.test"),
            (false, Trusted, None, &[(PROTO, "https"), (HOST, "shop.test"), (PORT, "444")], "https://shop.test:444"),
            (false, Trusted, Some(80), &[(PROTO, "https"), (PORT, "443")], "https://api.test"),
            (false, Trusted, None, &[(PROTO, "https, http")], "http://api.test"),
        ];
        let host = Host::parse("api.test").unwrap();
        for (tls, sender, port, sent, expected) in rows {
            let sent =
                sent.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            let headers: HeaderMap = sent.collect();
            let addressed = Addressed { host: Some(&host), port, matched: "" };
            assert_eq!(origin(tls, sender, &headers, &addressed).as_deref(), Some(expected), "{headers:?}");
        }
        assert_eq!(origin(true, Untrusted, &HeaderMap::new(), &Addressed::default()), None);
    }
}
