//! The scheme of a connection, and the `Host` that follows from it.

use http::HeaderValue;

/// The scheme of a connection, for any version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// In the clear: `http`, `grpc`.
    Http,
    /// TLS: `https`, `grpcs`.
    Https,
}

impl Scheme {
    /// Its name in `X-Forwarded-Proto`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The default port.
    pub(crate) fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// The `Host` that addresses a service or target: with its port, unless that is the scheme's default.
/// Computed when configuration is compiled, not on each request.
pub(crate) fn host_value(host: &str, port: u16, scheme: Scheme) -> Option<HeaderValue> {
    if port == scheme.default_port() {
        HeaderValue::from_str(host).ok()
    } else {
        HeaderValue::try_from(format!("{host}:{port}")).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_addressed_with_its_port_unless_it_is_the_default() {
        let rows = [
            ("a.com", 80, Scheme::Http, "a.com"),
            ("a.com", 443, Scheme::Http, "a.com:443"),
            ("a.com", 443, Scheme::Https, "a.com"),
            ("a.com", 80, Scheme::Https, "a.com:80"),
            ("a.com", 3000, Scheme::Http, "a.com:3000"),
        ];
        for (host, port, scheme, expected) in rows {
            assert_eq!(host_value(host, port, scheme).unwrap(), expected);
        }
    }
}
