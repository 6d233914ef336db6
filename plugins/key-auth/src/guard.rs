//! The guard: lets requests with a valid key pass, with the consumer in headers.
//!
//! 1. Find the key, and remove it from what goes upstream.
//! 2. Look it up by its digest, in the cache or else in the store.
//! 3. Check that it is still valid.
//!
//! The kit decides what follows when several plugins authenticate ([`AuthenticationHandler`](tollgate_plugin::authentication::AuthenticationHandler)).

use std::sync::Arc;

use http::header::WWW_AUTHENTICATE;
use http::{HeaderValue, StatusCode};
use prometheus::IntCounter;
use tollgate_plugin::authentication::{Authentication, Authenticator, Found, Look, unauthenticated};
use tollgate_plugin::cache::{Known, ServeCached};
use tollgate_plugin::presented::{BODY_LIMIT, Hiding};
use tollgate_plugin::protection::Absence;
use tollgate_plugin::{Clock, Digest, Needs, Reply, Request, Secret, Verdict};

use crate::cache::{KeyCache, KeyFacts};
use crate::config::Keys;
use crate::presented::{self, Places};

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It has no key.
    Missing,
    /// It has several keys.
    Several,
    /// The key is unknown.
    Unknown,
    /// The key has expired.
    Expired,
}

impl Refusal {
    /// The message, and the reason code in the access log.
    fn message_and_reason(self) -> (&'static str, &'static str) {
        match self {
            Self::Missing => ("No API key found in request", "key_missing"),
            Self::Several => ("Duplicate API key found", "key_repeated"),
            Self::Unknown => ("Unauthorized", "key_unknown"),
            Self::Expired => ("Unauthorized", "key_expired"),
        }
    }
}

/// State shared by the guards of a node.
pub struct Shared {
    /// Facts about keys.
    pub cache: KeyCache,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Counts keys that were known but had expired.
    pub expired: IntCounter,
}

/// The guard of one plugin instance.
pub struct Guard {
    /// The places where keys are looked for.
    pub places: Places,
    /// Whether the upstream sees keys.
    pub keys: Keys,
    /// Whether requests without a valid key may pass as the anonymous consumer.
    pub absence: Absence,
    /// How long cached keys are accepted while the store is away.
    pub serve_cached: ServeCached,
    /// The `WWW-Authenticate` of refusals.
    pub challenge: HeaderValue,
    /// The state shared by all guards.
    pub shared: Arc<Shared>,
}

/// The query for the store.
pub struct Question {
    digest: Digest,
    key: Secret,
    /// Why the key is refused if nobody has it.
    unknown: Refusal,
}

impl Guard {
    fn judge(&self, facts: &KeyFacts, request: &Request<'_>) -> Authentication<Refusal> {
        if !facts.is_alive(&*self.shared.clock) {
            request.note(|caller| facts.credential().note(caller));
            return Authentication::Invalid(Refusal::Expired);
        }
        Authentication::Valid(facts.credential().into())
    }

    /// Continues with a cached key. An expired credential is deleted without a change record, and its key may
    /// belong to another credential since: the store is queried.
    fn known(&self, found: Authentication<Refusal>, digest: Digest, key: &str) -> Look<Refusal, Question> {
        if !matches!(found, Authentication::Invalid(Refusal::Expired)) {
            return Look::Found(Ok(found));
        }
        self.shared.expired.inc();
        self.shared.cache.forget(&digest);
        Look::Ask(Question { digest, key: Secret::new(key), unknown: Refusal::Expired })
    }

    /// Removes keys from a request that may go upstream.
    fn hide(&self, found: &presented::Found<'_>, request: &mut Request<'_>) -> Result<(), Verdict> {
        let may_pass = matches!(found, presented::Found::Key(..)) || self.absence == Absence::Tolerated;
        if self.keys == Keys::Forward || !may_pass {
            return Ok(());
        }
        match presented::hide(&self.places, found, request) {
            Hiding::Done => Ok(()),
            Hiding::NeedBody => Err(need_body()),
            Hiding::TooLarge => {
                let (status, reason) = (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large_to_hide_key");
                Err(Verdict::Reply(Reply::message(status, reason, "Payload too large")))
            }
            Hiding::Unsearchable => {
                let (status, reason) = (StatusCode::UNSUPPORTED_MEDIA_TYPE, "body_unreadable_to_hide_key");
                Err(Verdict::Reply(Reply::message(status, reason, "Unsupported media type")))
            }
        }
    }
}

impl Authenticator for Guard {
    type Refusal = Refusal;
    type Question = Question;

    fn needs(&self) -> Needs {
        Needs { body_limit: if self.places.in_body { BODY_LIMIT } else { 0 }, ..Needs::default() }
    }

    fn look(&self, request: &mut Request<'_>) -> Look<Refusal, Question> {
        let found = presented::find(&self.places, request);
        if found == presented::Found::NeedBody {
            return Look::Found(Err(need_body()));
        }
        if let Err(verdict) = self.hide(&found, request) {
            return Look::Found(Err(verdict));
        }
        let key = match &found {
            presented::Found::Key(key, _) => key,
            presented::Found::Unreadable => return Look::Found(Ok(Authentication::Invalid(Refusal::Unknown))),
            presented::Found::Several => return Look::Found(Ok(Authentication::Invalid(Refusal::Several))),
            presented::Found::Missing | presented::Found::NeedBody => {
                return Look::Found(Ok(Authentication::Absent(Refusal::Missing)));
            }
        };
        let (cache, digest) = (&self.shared.cache, Digest::of(key));
        if let Some(found) = cache.of_this_thread(&digest, |facts| self.judge(facts, request)) {
            return self.known(found, digest, key);
        }
        match cache.get_for(&digest, self.serve_cached, request) {
            Some(Known::Fact(facts)) => self.known(self.judge(&facts, request), digest, key),
            Some(Known::Unknown) => Look::Found(Ok(Authentication::Invalid(Refusal::Unknown))),
            None => Look::Ask(Question { digest, key: Secret::new(&**key), unknown: Refusal::Unknown }),
        }
    }

    async fn ask(&self, question: Question, request: &mut Request<'_>) -> Found<Refusal> {
        let Question { digest, key, unknown } = question;
        match self.shared.cache.load_for(digest, key, self.serve_cached, request).await {
            Ok(Some(facts)) => Ok(self.judge(&facts, request)),
            Ok(None) => Ok(Authentication::Invalid(unknown)),
            Err(_) => Err(Verdict::Reply(Reply::unavailable("key_store_unavailable"))),
        }
    }

    fn serve_cached(&self) -> ServeCached {
        self.serve_cached
    }

    fn refuse(&self, refusal: Refusal, request: &Request<'_>) -> Reply {
        let (message, reason) = refusal.message_and_reason();
        let reply = Reply::message(StatusCode::UNAUTHORIZED, reason, message);
        unauthenticated(reply.with_header(WWW_AUTHENTICATE, self.challenge.clone()), request)
    }
}

fn need_body() -> Verdict {
    Verdict::NeedBody { limit: BODY_LIMIT, terminal: false }
}

#[cfg(test)]
mod tests;
