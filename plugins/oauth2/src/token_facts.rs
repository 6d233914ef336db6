//! Token facts: what the token cache holds for one token.
//!
//! An entry is one cache line if its user id has at most 15 bytes: among a million tokens, a request's time is
//! spent waiting for memory.

use std::sync::Arc;

use http::HeaderValue;
use tollgate_plugin::cache::{Fact, Invalidation, SharedFact};
use tollgate_plugin::{CredentialFacts, thread_cache};
use triomphe::ThinArc;
use uuid::Uuid;

use crate::binding::Binding;
use crate::token::Digest;

/// Bytes of an entry without its user id: the resident memory of a million tokens with user ids of 12
/// characters, each presented once, was 339 bytes per token, of which moka takes 265
/// (`cargo bench -p tollgate-bench --bench token_cache`, docs/performance.md); plus 16 for the
/// generation, which moves moka's allocation for an entry to the allocator's next size class.
pub const ENTRY_BYTES: u32 = 343;

/// What a token is. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Facts(ThinArc<Terms, u8>);

/// The terms under which the token was issued.
#[derive(Debug)]
pub struct Terms {
    /// The client it was issued to.
    pub credential: Arc<CredentialFacts>,
    /// The service it is bound to; `None` is a global token.
    pub service: Option<Arc<Service>>,
    /// When it is valid.
    pub times: Times,
    /// What it was granted, shared by all tokens of that scope; `None`: no scope and no binding.
    pub grant: Option<Arc<Grant>>,
}

/// When a token is valid, in Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    issued_at: u32,
    valid_until: u32,
}

impl Times {
    /// From when it was issued to the last second in which it is valid; `i64::MAX`: it never expires, nor does one that
    /// is valid for another century.
    pub fn new(issued_at: i64, valid_until: i64) -> Self {
        let valid_until = u32::try_from(valid_until.max(0)).unwrap_or(u32::MAX);
        Self { issued_at: u32::try_from(issued_at).unwrap_or(0), valid_until }
    }
}

/// What a token permits, and to whom.
#[derive(Debug, Default)]
pub struct Grant {
    /// `X-Authenticated-Scope`.
    pub scope: Option<HeaderValue>,
    /// What it is bound to beyond its client and service.
    pub binding: Option<Arc<Binding>>,
}

/// A service that tokens are bound to.
#[derive(Debug)]
pub struct Service {
    /// Its id.
    pub id: Uuid,
    invalidation: Invalidation,
}

impl Service {
    /// The service with this id.
    pub fn new(id: Uuid) -> Self {
        Self { id, invalidation: Invalidation::new() }
    }
}

impl SharedFact for Service {
    fn invalidation(&self) -> &Invalidation {
        &self.invalidation
    }
}

/// Precedes a user id, so that an empty one differs from none.
const SOME: u8 = 0;

impl Facts {
    /// Facts of a token with these terms, and `X-Authenticated-UserId`.
    pub fn new(terms: Terms, userid: Option<&str>) -> Self {
        let userid = userid.map(|userid| [&[SOME], userid.as_bytes()].concat());
        Self(ThinArc::from_header_and_slice(terms, userid.as_deref().unwrap_or_default()))
    }

    /// The client it was issued to.
    pub fn credential(&self) -> &CredentialFacts {
        &self.terms().credential
    }

    /// The id of the service it is bound to; `None` is a global token.
    pub fn service_id(&self) -> Option<Uuid> {
        self.terms().service.as_ref().map(|service| service.id)
    }

    /// The value of `X-Authenticated-Scope`.
    pub fn scope(&self) -> Option<&HeaderValue> {
        self.terms().grant.as_ref()?.scope.as_ref()
    }

    /// What it is bound to beyond its client and service.
    pub fn binding(&self) -> Option<&Binding> {
        self.terms().grant.as_ref()?.binding.as_deref()
    }

    /// The value of `X-Authenticated-UserId`, created on each call: kept as a header value it would be an additional
    /// cache line per token.
    pub fn userid(&self) -> Option<HeaderValue> {
        let (_, userid) = self.0.slice.split_first()?;
        HeaderValue::from_bytes(userid).ok()
    }

    /// Whether it is valid at this second.
    pub fn is_alive(&self, now: i64) -> bool {
        let until = self.terms().times.valid_until;
        now <= i64::from(until) || until == u32::MAX
    }

    /// The last Unix second in which it is valid; `None`: it never expires.
    pub fn valid_until(&self) -> Option<u32> {
        Some(self.terms().times.valid_until).filter(|until| *until != u32::MAX)
    }

    /// When it was issued, in Unix seconds, if that is known.
    pub fn issued_at(&self) -> Option<u32> {
        Some(self.terms().times.issued_at).filter(|issued_at| *issued_at != 0)
    }

    pub(crate) fn terms(&self) -> &Terms {
        &self.0.header.header
    }
}

thread_cache!(Facts);

impl Fact for Facts {
    type Key = Digest;

    fn is_current(&self) -> bool {
        let terms = self.terms();
        terms.credential.is_current() && terms.service.as_ref().is_none_or(|service| service.is_current())
    }

    /// The credential, its consumer, the service and the scope are shared and weigh nothing here; the key or
    /// certificate that a token is bound to is its own.
    fn weight(&self) -> u32 {
        let userid = self.0.slice.len().saturating_sub(1);
        let bound = self.binding().filter(|binding| binding.confirmation.is_some());
        let own = bound.map_or(0, |binding| size_of::<Grant>() + size_of::<Binding>() + 2 * binding.text().len());
        ENTRY_BYTES.saturating_add(u32::try_from(userid + own).unwrap_or(u32::MAX))
    }
}

/// Facts created directly, for tests and measurements.
pub mod sample {
    use tollgate_plugin::ConsumerFacts;

    use super::*;

    /// A credential of a consumer with these names.
    ///
    /// # Panics
    /// If the client's id is not a valid header value.
    pub fn credential(client_id: &str, username: &str) -> Arc<CredentialFacts> {
        let consumer = Arc::new(ConsumerFacts::new(Uuid::new_v4(), Some(username.to_owned()), None));
        #[expect(clippy::expect_used, reason = "only for tests and measurements")]
        Arc::new(CredentialFacts::new(Uuid::new_v4(), client_id, consumer).expect("a client's id"))
    }
}

#[cfg(test)]
mod tests {
    use super::sample::credential;
    use super::*;

    fn with_userid(userid: Option<&str>) -> Facts {
        let times = Times::new(5, 7);
        let terms = Terms { credential: credential("client", "bob"), service: None, times, grant: None };
        Facts::new(terms, userid)
    }

    #[test]
    fn an_empty_user_id_is_not_none() {
        assert_eq!(with_userid(None).userid(), None);
        assert_eq!(with_userid(Some("")).userid(), Some(HeaderValue::from_static("")));
        assert_eq!(with_userid(Some("alice")).userid(), Some(HeaderValue::from_static("alice")));
        assert_eq!([None, Some(""), Some("alice")].map(|userid| with_userid(userid).weight() - ENTRY_BYTES), [0, 0, 5]);
    }

    #[test]
    fn the_last_second_is_valid() {
        let facts = with_userid(None);
        assert!(facts.is_alive(7) && !facts.is_alive(8));
        assert_eq!((facts.issued_at(), facts.valid_until()), (Some(5), Some(7)));
    }

    #[test]
    fn times_before_and_after_those_of_an_entry_are_kept_as_far_as_they_matter() {
        let until = |valid_until| Times::new(-1, valid_until);
        assert_eq!([-5, 0].map(|at| until(at).valid_until), [0, 0]);
        assert_eq!([i64::from(u32::MAX), 1 << 40, i64::MAX].map(|at| until(at).valid_until), [u32::MAX; 3]);
        let terms = |times| Terms { credential: credential("client", "bob"), service: None, times, grant: None };
        let facts = Facts::new(terms(until(i64::MAX)), None);
        assert!(facts.is_alive(i64::MAX));
        assert_eq!((facts.issued_at(), facts.valid_until()), (None, None));
    }

    #[test]
    fn facts_with_a_user_id_of_15_bytes_are_one_cache_line() {
        // A reference count, the terms, the length of the rest, and the rest.
        assert_eq!(8 + size_of::<Terms>() + 8 + "0123456789abcde".len() + 1, 64);
    }
}
