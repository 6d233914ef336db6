//! What the token cache holds of one token.
//!
//! A cache line, if its user id is of 15 bytes at most: among a million tokens, what a request waits
//! for is memory.

use std::sync::Arc;

use http::HeaderValue;
use triomphe::ThinArc;
use uuid::Uuid;

use crate::facts::{Holder, Service};
use crate::in_use::Ends;

/// What a token is. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Facts(ThinArc<Terms, u8>);

/// What was agreed on when the token was issued.
#[derive(Debug)]
pub struct Terms {
    /// Who it was issued to.
    pub holder: Arc<Holder>,
    /// The service it is bound to; `None` is a global token.
    pub service: Option<Arc<Service>>,
    /// The last Unix second in which it is valid; `i64::MAX` is for ever.
    pub valid_until: i64,
    /// `X-Authenticated-Scope`, shared by all tokens of that scope.
    pub scope: Option<Arc<HeaderValue>>,
}

/// In front of a user id, so that an empty one is not none.
const SOME: u8 = 0;

impl Facts {
    /// Of a token with these terms, and `X-Authenticated-UserId`.
    pub fn new(terms: Terms, userid: Option<&str>) -> Self {
        let userid = userid.map(|userid| [&[SOME], userid.as_bytes()].concat());
        Self(ThinArc::from_header_and_slice(terms, userid.as_deref().unwrap_or_default()))
    }

    /// Who it was issued to.
    pub fn holder(&self) -> &Holder {
        &self.terms().holder
    }

    /// The id of the service it is bound to; `None` is a global token.
    pub fn service_id(&self) -> Option<Uuid> {
        self.terms().service.as_ref().map(|service| service.id)
    }

    /// The value of `X-Authenticated-Scope`.
    pub fn scope(&self) -> Option<&HeaderValue> {
        self.terms().scope.as_deref()
    }

    /// The value of `X-Authenticated-UserId`, made anew: kept as a header value it would be a cache
    /// line of its own for each token.
    pub fn userid(&self) -> Option<HeaderValue> {
        let (_, userid) = self.0.slice.split_first()?;
        HeaderValue::from_bytes(userid).ok()
    }

    /// Whether it is valid at this second.
    pub fn is_alive(&self, now: i64) -> bool {
        now <= self.terms().valid_until
    }

    /// Whether what it refers to is still what the store says.
    pub fn is_current(&self) -> bool {
        let terms = self.terms();
        terms.holder.is_current() && terms.service.as_ref().is_none_or(|service| service.is_current())
    }

    /// How long the user id is.
    pub fn userid_bytes(&self) -> usize {
        self.0.slice.len().saturating_sub(1)
    }

    pub(crate) fn terms(&self) -> &Terms {
        &self.0.header.header
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::sample::holder;

    fn with_userid(userid: Option<&str>) -> Facts {
        let terms = Terms { holder: holder("client", "bob"), service: None, valid_until: 7, scope: None };
        Facts::new(terms, userid)
    }

    #[test]
    fn an_empty_user_id_is_not_none() {
        assert_eq!(with_userid(None).userid(), None);
        assert_eq!(with_userid(Some("")).userid(), Some(HeaderValue::from_static("")));
        assert_eq!(with_userid(Some("alice")).userid(), Some(HeaderValue::from_static("alice")));
        assert_eq!([None, Some(""), Some("alice")].map(|userid| with_userid(userid).userid_bytes()), [0, 0, 5]);
    }

    #[test]
    fn the_last_second_counts() {
        let facts = with_userid(None);
        assert!(facts.is_alive(7) && !facts.is_alive(8));
    }

    #[test]
    fn with_a_user_id_of_15_bytes_it_is_a_cache_line() {
        // A reference count, the terms, the length of the rest, and the rest.
        assert_eq!(8 + size_of::<Terms>() + 8 + "0123456789abcde".len() + 1, 64);
    }
}
