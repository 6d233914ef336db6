//! Host and server name patterns: exact, `*.x`, `x.*`.
//!
//! Patterns are normalised like hosts when they are compiled, so spelling does not affect matching. A pattern
//! that is not a host, which validation refuses, matches nothing.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use tollgate_core::host::{Authority, Host};

/// A name with at most one wildcard, as the first or last label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NamePattern {
    /// The name itself.
    Exact(Box<str>),
    /// `*.x`: names that end with this, `.x`.
    Suffix(Box<str>),
    /// `x.*`: names that start with this, `x.`.
    Prefix(Box<str>),
}

impl NamePattern {
    /// Reads a pattern.
    pub(crate) fn new(text: &str) -> Self {
        let text = text.strip_suffix('.').unwrap_or(text);
        match (text.strip_prefix('*'), text.strip_suffix('*')) {
            (Some(suffix), _) => Self::Suffix(suffix.to_ascii_lowercase().into()),
            (None, Some(prefix)) => Self::Prefix(prefix.to_ascii_lowercase().into()),
            (None, None) => Self::Exact(match Host::parse(&in_brackets(text)) {
                Ok(host) => host.as_str().into(),
                Err(_) => text.into(),
            }),
        }
    }

    /// Whether the pattern matches a host.
    pub(crate) fn matches(&self, host: &Host<'_>) -> bool {
        let name = host.as_str();
        match self {
            Self::Exact(exact) => *name == **exact,
            Self::Suffix(suffix) => name.ends_with(&**suffix),
            Self::Prefix(prefix) => name.starts_with(&**prefix),
        }
    }
}

/// Encloses a bare IPv6 address, which occurs only in configuration, in brackets.
fn in_brackets(text: &str) -> Cow<'_, str> {
    match text.parse::<Ipv6Addr>() {
        Ok(_) => Cow::Owned(format!("[{text}]")),
        Err(_) => Cow::Borrowed(text),
    }
}

/// The ports that a request is addressed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    one: u16,
    other: u16,
}

impl Ports {
    /// The ports of a request that names this port, or none, and was received by a listener.
    ///
    /// Naming no port is equivalent to naming the scheme's default (RFC 9110 §4.2.3). Such a request is
    /// addressed to the listener's port (gateway.md §6) and to the scheme's default, which the client means
    /// if it reaches the listener through another port.
    pub fn new(named: Option<u16>, of_scheme: u16, listener: u16) -> Self {
        match named.filter(|port| *port != of_scheme) {
            Some(port) => Self { one: port, other: port },
            None => Self { one: listener, other: of_scheme },
        }
    }

    fn contains(self, port: u16) -> bool {
        port == self.one || port == self.other
    }
}

/// One of a route's hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPattern {
    /// The name.
    pub(crate) name: NamePattern,
    /// The port of the request, if the route names one.
    port: Option<u16>,
}

impl HostPattern {
    /// Reads `name` or `name:port`.
    pub(crate) fn new(text: &str) -> Self {
        if let Ok(Authority { host, port }) = Authority::parse(text) {
            return Self { name: NamePattern::Exact(host.as_str().into()), port };
        }
        let wildcard = text.contains('*');
        let split = text.rsplit_once(':').and_then(|(name, port)| Some((name, port.parse().ok()?)));
        match split.filter(|_| wildcard) {
            Some((name, port)) => Self { name: NamePattern::new(name), port: Some(port) },
            None => Self { name: NamePattern::new(text), port: None },
        }
    }

    /// Whether a request to this host and these ports matches.
    pub(crate) fn matches(&self, host: &Host<'_>, ports: Ports) -> bool {
        self.port.is_none_or(|port| ports.contains(port)) && self.name.matches(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_match_by_the_table() {
        let rows = [
            ("a.com", "a.com", true),
            ("a.com", "b.com", false),
            ("a.com", "A.Com", true),
            ("A.Com", "a.com.", true),
            ("a.com.", "a.com", true),
            ("a.com:8000", "a.com:8000", true),
            ("a.com:8000", "A.com.:08000", true),
            ("a.com:8000", "a.com:80", false),
            ("a.com:8000", "a.com:9000", false),
            // The listener's port, and the scheme's own.
            ("a.com:9000", "a.com", true),
            ("a.com:9000", "a.com:", true),
            ("a.com:9000", "a.com:80", true),
            ("a.com:80", "a.com", true),
            ("a.com:80", "a.com:80", true),
            ("a.com:80", "a.com:9000", false),
            ("*.a.com", "x.a.com", true),
            ("*.A.com.", "X.a.Com", true),
            ("*.a.com", "x.y.a.com", true),
            ("*.a.com", "a.com", false),
            ("*.a.com:8000", "x.a.com:8000", true),
            ("*.a.com:8000", "x.a.com:8001", false),
            ("a.*", "a.com", true),
            ("A.*", "a.co.uk.", true),
            ("a.*", "xa.com", false),
            ("a.*", "a.", false),
            ("a.*:8000", "a.com:8000", true),
            ("[::1]", "[::1]", true),
            ("::1", "[::1]", true),
            ("0:0::1", "[::1]", true),
            ("[0::1]:8000", "[::1]:8000", true),
            ("[::1]:8000", "[::1]:8001", false),
            ("2001:DB8::1", "[2001:db8:0::1]", true),
            ("127.0.0.1", "127.0.0.1.", true),
        ];
        for (pattern, asked, expected) in rows {
            let asked = Authority::parse(asked).unwrap();
            let ports = Ports::new(asked.port, 80, 9000);
            assert_eq!(HostPattern::new(pattern).matches(&asked.host, ports), expected, "{pattern} {asked:?}");
        }
    }

    #[test]
    fn the_default_port_of_the_scheme_may_be_omitted() {
        let rows = [
            (None, 80, 8000, [80, 8000]),
            (Some(80), 80, 8000, [80, 8000]),
            (Some(443), 443, 8443, [443, 8443]),
            (Some(443), 80, 8000, [443, 443]),
            (Some(8000), 80, 8000, [8000, 8000]),
        ];
        for (named, of_scheme, listener, expected) in rows {
            let ports = Ports::new(named, of_scheme, listener);
            let contained: Vec<u16> = (0..=u16::MAX).filter(|port| ports.contains(*port)).collect();
            let mut expected = expected.to_vec();
            expected.dedup();
            assert_eq!(contained, expected, "{named:?} {of_scheme} {listener}");
        }
    }
}
