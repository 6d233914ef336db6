//! Retries: which failed attempts are repeated (gateway.md §7.4).

use http::Method;

/// How far an attempt came before it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reached {
    /// There was no connection: nothing was sent.
    NoConnection,
    /// The request was sent, at least in part.
    Sent,
    /// The response head was sent to the client.
    Responded,
}

/// Whether the request's body can be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replay {
    /// There is none, or everything that was read is buffered.
    Possible,
    /// More was sent than is buffered.
    Impossible,
}

/// Whether another attempt follows after `made` of `allowed`.
pub(crate) fn again(made: u32, allowed: u32, method: &Method, reached: Reached, replay: Replay) -> bool {
    let harmless = match reached {
        Reached::NoConnection => true,
        // The upstream may have acted on it.
        Reached::Sent => !matches!(method.as_str(), "POST" | "PATCH" | "LOCK"),
        Reached::Responded => false,
    };
    made < allowed && harmless && replay == Replay::Possible
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_retried_by_the_table() {
        let rows = [
            ("GET", Reached::NoConnection, Replay::Possible, true),
            ("POST", Reached::NoConnection, Replay::Possible, true),
            ("GET", Reached::Sent, Replay::Possible, true),
            ("PUT", Reached::Sent, Replay::Possible, true),
            ("DELETE", Reached::Sent, Replay::Possible, true),
            ("POST", Reached::Sent, Replay::Possible, false),
            ("PATCH", Reached::Sent, Replay::Possible, false),
            ("LOCK", Reached::Sent, Replay::Possible, false),
            ("PUT", Reached::Sent, Replay::Impossible, false),
            ("GET", Reached::Responded, Replay::Possible, false),
        ];
        for (method, reached, replay, expected) in rows {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(again(1, 6, &method, reached, replay), expected, "{method} {reached:?}");
        }
    }

    #[test]
    fn attempts_end() {
        assert!(!again(6, 6, &Method::GET, Reached::NoConnection, Replay::Possible));
        assert!(!again(1, 1, &Method::GET, Reached::NoConnection, Replay::Possible));
    }
}
