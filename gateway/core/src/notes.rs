//! What is noted of a request while it is handled: who sent it, for the access log, and what was checked, for an
//! operator who asks. Never a secret.
//!
//! Plugins note what they find ([`Request::note`](crate::request::Request::note)); if nobody wants to know, there is
//! nothing to note it in, and a request pays for a test.

use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::explanation::Explanation;

/// Who sent a request, as far as that is known, even if it is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caller {
    /// The consumer.
    pub consumer: Option<Uuid>,
    /// Its username.
    pub consumer_name: Option<Box<str>>,
    /// The credential that was presented, or for which the token was issued.
    pub credential: Option<Uuid>,
    /// Its public name: the `client_id`, or what `X-Credential-Identifier` says of credentials of other kinds.
    pub client_id: Option<Box<str>>,
    /// The last characters of the token that was presented or issued; see [`hint`].
    pub token_hint: Option<Box<str>>,
}

/// The notes of one request.
#[derive(Debug, Default)]
pub struct Notes {
    caller: Mutex<Caller>,
    explanation: Option<Explanation>,
}

impl Notes {
    /// For an operator who asks what becomes of a token.
    pub fn explaining() -> Self {
        Self { explanation: Some(Explanation::default()), ..Self::default() }
    }

    /// Where checks tell what they find, if somebody asks.
    pub fn explanation(&self) -> Option<&Explanation> {
        self.explanation.as_ref()
    }

    /// What is known about the sender.
    pub fn caller(&self) -> MutexGuard<'_, Caller> {
        self.caller.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much of a token its hint shows.
const HINT_LENGTH: usize = 4;

/// The last characters of a token, by which people recognise it. `None`: it is so short that they would be too much
/// of it.
pub fn hint(token: &str) -> Option<&str> {
    if token.chars().count() < 4 * HINT_LENGTH {
        return None;
    }
    let start = token.char_indices().rev().nth(HINT_LENGTH - 1).map_or(0, |(index, _)| index);
    token.get(start..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_is_at_most_a_quarter_of_a_token() {
        for (token, expected) in [
            ("", None),
            ("0123456789abcde", None),
            ("0123456789abcdef", Some("cdef")),
            ("äöüäöüäöüäöüäöüß", Some("äöüß")),
        ] {
            assert_eq!(hint(token), expected, "{token}");
        }
    }
}
