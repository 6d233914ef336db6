//! Product: the name of the proxy in `Server` (RFC 9110 §10.2.4) and `Via` (RFC 9110 §7.6.3).
//!
//! Everything is constant: nothing is assembled while a request is served.

use http::Version;
use tollgate_admin::SERVER as KONG;

/// The name in responses and upstream requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Product {
    /// `tollgate/<version>` in `Server`, `tollgate` in `Via`.
    #[default]
    Tollgate,
    /// The Admin API's name, in both: for clients and dashboards that look for it.
    Kong,
}

const TOLLGATE: &str = concat!("tollgate/", env!("CARGO_PKG_VERSION"));
const KONG_OVER_HTTP1: [u8; KONG.len() + 4] = joined("1.1 ", KONG);
const KONG_OVER_HTTP2: [u8; KONG.len() + 2] = joined("2 ", KONG);

impl Product {
    /// The value of `Server`.
    pub(crate) const fn server(self) -> &'static str {
        match self {
            Self::Tollgate => TOLLGATE,
            Self::Kong => KONG,
        }
    }

    /// The entry in `Via` for a message that was received in this version.
    pub(crate) fn via(self, received: Version) -> &'static [u8] {
        match (self, received == Version::HTTP_2) {
            (Self::Tollgate, false) => b"1.1 tollgate",
            (Self::Tollgate, true) => b"2 tollgate",
            (Self::Kong, false) => &KONG_OVER_HTTP1,
            (Self::Kong, true) => &KONG_OVER_HTTP2,
        }
    }
}

/// Concatenates two texts; `N` is the total length.
#[expect(clippy::indexing_slicing, reason = "in a constant function, whose results are constants")]
const fn joined<const N: usize>(start: &str, end: &str) -> [u8; N] {
    let (start, end) = (start.as_bytes(), end.as_bytes());
    let mut both = [0; N];
    let mut at = 0;
    while at < N {
        both[at] = if at < start.len() { start[at] } else { end[at - start.len()] };
        at += 1;
    }
    both
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn via_names_the_version_that_a_message_was_received_in_rfc9110_7_6_3() {
        let rows = [
            (Product::Tollgate, Version::HTTP_11, "1.1 tollgate"),
            (Product::Tollgate, Version::HTTP_2, "2 tollgate"),
            (Product::Kong, Version::HTTP_11, "1.1 kong/3.10.0"),
            (Product::Kong, Version::HTTP_2, "2 kong/3.10.0"),
        ];
        for (product, received, expected) in rows {
            assert_eq!(product.via(received), expected.as_bytes());
        }
        assert_eq!(Product::Tollgate.server(), format!("tollgate/{}", env!("CARGO_PKG_VERSION")));
        assert_eq!(Product::Kong.server(), "kong/3.10.0");
    }
}
