//! Host and server name patterns: exact, `*.x`, `x.*`.

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
        match (text.strip_prefix('*'), text.strip_suffix('*')) {
            (Some(suffix), _) => Self::Suffix(suffix.into()),
            (None, Some(prefix)) => Self::Prefix(prefix.into()),
            (None, None) => Self::Exact(text.into()),
        }
    }

    /// Compares case-sensitively.
    pub(crate) fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => name == &**exact,
            Self::Suffix(suffix) => name.ends_with(&**suffix),
            Self::Prefix(prefix) => name.starts_with(&**prefix),
        }
    }
}

/// One of a route's hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPattern {
    /// The name.
    pub(crate) name: NamePattern,
    /// The port the request must have come to, if the route says one.
    port: Option<u16>,
}

impl HostPattern {
    /// Reads `name` or `name:port`.
    pub(crate) fn new(text: &str) -> Self {
        let split = text.split_once(':').and_then(|(name, port)| Some((name, port.parse().ok()?)));
        match split {
            Some((name, port)) => Self { name: NamePattern::new(name), port: Some(port) },
            None => Self { name: NamePattern::new(text), port: None },
        }
    }

    /// Whether a request to this host and port matches.
    pub(crate) fn matches(&self, host: &str, port: Option<u16>) -> bool {
        (self.port.is_none() || self.port == port) && self.name.matches(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_match_by_the_table() {
        let rows = [
            ("a.com", "a.com", Some(80), true),
            ("a.com", "A.com", Some(80), false),
            ("a.com:8000", "a.com", Some(8000), true),
            ("a.com:8000", "a.com", Some(80), false),
            ("a.com:8000", "a.com", None, false),
            ("*.a.com", "x.a.com", None, true),
            ("*.a.com", "x.y.a.com", None, true),
            ("*.a.com", "a.com", None, false),
            ("*.a.com:80", "x.a.com", Some(80), true),
            ("a.*", "a.com", None, true),
            ("a.*", "a.co.uk", None, true),
            ("a.*", "xa.com", None, false),
            ("[::1]", "[::1]", None, true),
        ];
        for (pattern, host, port, expected) in rows {
            assert_eq!(HostPattern::new(pattern).matches(host, port), expected, "{pattern} {host} {port:?}");
        }
    }
}
