//! The guard: lets requests with a valid token of an authority pass, with the identity in headers.
//!
//! 1. Find the token, and remove it from what goes upstream. One of this gateway's own is no third party's.
//! 2. Look it up: in the cache, or else ask the authorities.
//! 3. Check what is cached, on every request: `exp` and `nbf`, the age of the authority's word (`ttl`), whose the token
//!    is, and what this instance requires of it. What is too old or not known any more is asked for again.
//!
//! The kit decides what follows when several plugins authenticate ([`AuthenticationHandler`](tollgate_plugin::authentication::AuthenticationHandler)).

use std::sync::Arc;

use http::HeaderName;
use tollgate_plugin::authentication::{
    Authenticated, Authentication, Authenticator, Found, Look, permission_denied, unauthenticated,
};
use tollgate_plugin::cache::{Fact, Known, ServeCached, SharedFact};
use tollgate_plugin::presented::{BODY_LIMIT, CredentialHeader, Hiding};
use tollgate_plugin::protection::Absence;
use tollgate_plugin::{
    Credential, Digest, Explains, HeaderBlock, Identity, NOBODY, Needs, Reply, Request, Secret, Verdict, bearer, notes,
};

use crate::authority::{AuthorityFacts, Query, RequestLine};
use crate::facts::{Owner, Terms, TokenFacts};
use crate::forwarded::Forwarded;
use crate::refusal::{Challenges, Refusal};
use crate::requirements::Requirements;
use crate::tokens::{Candidates, QueryText, Question, ThirdPartyTokens};

/// How often a token is asked for again because its consumer or its key changes meanwhile.
const ATTEMPTS: usize = 3;

/// The rules of a guard, from its instance's configuration.
pub(crate) struct Rules {
    /// The header searched for tokens.
    pub header: CredentialHeader,
    /// Who is asked.
    pub candidates: Arc<Candidates>,
    /// How the tokens of each are read.
    pub readings: Vec<Reading>,
    /// The headers that tell the upstream about a token.
    pub own_headers: Vec<HeaderName>,
    /// How old an authority's word may be.
    pub freshness: Freshness,
    /// How far the clocks of authorities may differ from ours, in seconds.
    pub clock_skew: i64,
    /// The challenges of refusals.
    pub challenges: Challenges,
    /// Whether requests without a valid token may pass as the anonymous consumer.
    pub absence: Absence,
    /// How long cached tokens are accepted while the store is away.
    pub serve_cached: ServeCached,
    /// Whether the upstream sees the token.
    pub credentials: Credentials,
    /// Whether the authorities are told method and path of the request.
    pub request_line: RequestLineUse,
}

/// How an instance reads the tokens of one authority.
pub(crate) struct Reading {
    /// The authority.
    pub authority: Arc<AuthorityFacts>,
    /// What is forwarded.
    pub forwarded: Forwarded,
    /// What is required.
    pub requirements: Requirements,
}

/// How old an authority's word may be, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Freshness {
    /// How long it is used; `i64::MAX`: until the token's own `exp`.
    pub ttl: i64,
    /// How much longer, while the authority cannot tell.
    pub serve_stale_for: i64,
}

/// Whether the token is forwarded to the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Credentials {
    /// The upstream sees it.
    Forward,
    /// It is removed (`hide_credentials`).
    Hide,
}

/// Whether authorities are told about the request (`introspect_request`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestLineUse {
    /// They are.
    Told,
    /// They are not.
    Untold,
}

/// The guard of one plugin instance.
pub(crate) struct Guard {
    rules: Rules,
    tokens: Arc<ThirdPartyTokens>,
}

/// The result of checking a cached token.
enum Judged {
    Decided(Found<Refusal>),
    /// The authority's word is too old, or lacks a claim that is needed now.
    AskAgain,
    /// Only the consumer has to be looked up again.
    OwnerChanged,
}

/// Which word of an authority is recent enough.
#[derive(Clone, Copy)]
enum Recent {
    /// One within `ttl`.
    WithinTtl,
    /// That, and one that came after this time, in Unix milliseconds: for this very request.
    ToldSince(i64),
    /// Any: the authority cannot tell more.
    WithinStale,
}

/// The question for the authorities.
pub(crate) struct Asked {
    digest: Digest,
    query: Query,
    /// What is cached, but cannot be used as it is.
    known: Option<TokenFacts>,
    only_owner: bool,
}

impl Guard {
    /// A guard with these rules.
    pub(crate) fn new(rules: Rules, tokens: Arc<ThirdPartyTokens>) -> Self {
        Self { rules, tokens }
    }

    fn judge(&self, facts: &TokenFacts, recent: Recent, request: &mut Request<'_>) -> Judged {
        let terms = facts.terms();
        let (rules, now_millis) = (&self.rules, self.tokens.clock().now_millis());
        let now = now_millis.div_euclid(1000);
        if now >= terms.expires_at.saturating_add(rules.clock_skew) {
            terms.authority.metrics.expired.inc();
            return Judged::Decided(Ok(Authentication::Invalid(Refusal::Expired)));
        }
        if now.saturating_add(rules.clock_skew) < terms.not_before {
            return Judged::Decided(Ok(Authentication::Invalid(Refusal::NotYetValid)));
        }
        let reading = rules.readings.iter().find(|reading| Arc::ptr_eq(&reading.authority, &terms.authority));
        let Some(reading) = reading.filter(|reading| reading.reach() <= usize::from(terms.kept)) else {
            return Judged::AskAgain;
        };
        if !self.is_recent(terms, recent, now_millis) {
            return Judged::AskAgain;
        }
        let Some(identity) = self.identity(&terms.owner) else { return Judged::OwnerChanged };
        if let Err(lack) = reading.requirements.check(facts) {
            if let Owner::Consumer(consumer) = &terms.owner {
                request.note(|caller| consumer.note(caller));
            }
            let refused = self.refuse(Refusal::Insufficient(lack), request);
            return Judged::Decided(Err(Verdict::Reply(refused)));
        }
        let left_out = |position| {
            let claim = terms.authority.kept().name(position);
            self.tokens.metrics().left_out(terms.authority.name(), &claim);
        };
        let Some(claims) = reading.forwarded.block(facts, left_out) else {
            return Judged::Decided(Err(Verdict::Reply(Reply::unavailable("token_claims_unreadable"))));
        };
        request.edits.apply_owned(claims);
        Judged::Decided(Ok(Authentication::Valid(identity)))
    }

    fn is_recent(&self, terms: &Terms, recent: Recent, now_millis: i64) -> bool {
        let Freshness { ttl, serve_stale_for } = self.rules.freshness;
        let age = now_millis.saturating_sub(terms.asked_at);
        match recent {
            Recent::WithinTtl => age < ttl,
            Recent::ToldSince(since) => age < ttl || terms.asked_at.saturating_add(terms.took.into()) >= since,
            Recent::WithinStale => age < ttl.saturating_add(serve_stale_for),
        }
    }

    /// Who the token's owner is; `None` if that may have changed.
    fn identity(&self, owner: &Owner) -> Option<Authenticated> {
        let (consumer, headers): (_, &HeaderBlock) = match owner {
            Owner::Consumer(consumer) if consumer.is_current() => (Some(consumer.id), consumer.own_headers()),
            Owner::Nobody(as_of) if *as_of == self.tokens.consumers().changes() => (None, &NOBODY),
            Owner::NotAsked => (None, &NOBODY),
            Owner::Consumer(_) | Owner::Nobody(_) => return None,
        };
        let identity = Identity { consumer, credential: Some(Credential::ThirdPartyToken) };
        Some(Authenticated::new(identity, headers.clone()))
    }

    /// Removes the token from a request that may go upstream.
    fn hide(&self, token: Option<&str>, request: &mut Request<'_>) -> Result<(), Verdict> {
        if self.rules.credentials == Credentials::Forward {
            return Ok(());
        }
        match bearer::hide(Some(&self.rules.header), token, request) {
            Hiding::Done => Ok(()),
            Hiding::NeedBody => Err(need_body()),
            Hiding::TooLarge => Err(Verdict::Reply(bearer::too_large_to_hide())),
            Hiding::Unsearchable => Err(Verdict::Reply(bearer::unsearchable_to_hide())),
        }
    }

    fn query(&self, token: &str, request: &Request<'_>) -> Query {
        let line = || Arc::new(RequestLine { method: request.method.clone(), path: request.path.into() });
        let request = (self.rules.request_line == RequestLineUse::Told).then(line);
        Query { token: Arc::new(Secret::new(token)), request }
    }

    fn digest(&self, token: &str, request: &Request<'_>) -> Digest {
        let told = self.rules.request_line == RequestLineUse::Told;
        let line = told.then(|| (request.method.as_str(), request.path));
        self.rules.candidates.digest(&QueryText { token, request: line })
    }

    /// Looks up a token that the request presents.
    fn look_up(&self, token: &str, request: &mut Request<'_>) -> Look<Refusal, Asked> {
        let invalid = |refusal| Look::Found(Ok(Authentication::Invalid(refusal)));
        let (cache, digest) = (self.tokens.cache(), self.digest(token, request));
        if let Some(Judged::Decided(found)) = cache.of_this_thread(&digest, |facts| self.judge_counted(facts, request))
        {
            return Look::Found(found);
        }
        if self.tokens.is_own(token) {
            return invalid(Refusal::Own);
        }
        let (known, only_owner) = match cache.get_for(&digest, self.rules.serve_cached, request) {
            Some(Known::Unknown) => return invalid(Refusal::Inactive),
            Some(Known::Fact(facts)) => match self.judge_counted(&facts, request) {
                Judged::Decided(found) => return Look::Found(found),
                Judged::AskAgain => (Some(facts), false),
                Judged::OwnerChanged => (Some(facts), true),
            },
            None => (None, false),
        };
        if self.is_of_other_scheme(token, request) || !self.rules.candidates.may_know(token) {
            return invalid(Refusal::Foreign);
        }
        Look::Ask(Asked { digest, query: self.query(token, request), known, only_owner })
    }

    /// Whether what was found is a whole header value, such as a name and a password: none of an authority's business.
    /// After their scheme, bearer tokens have no spaces (RFC 6750 §2.1).
    fn is_of_other_scheme(&self, token: &str, request: &Request<'_>) -> bool {
        // Tokens are long, so many bytes are looked at together: without branches, and without leaving early.
        let has_space = || token.bytes().fold(false, |any, byte| any | byte.is_ascii_whitespace());
        self.rules.header.value(request).is_some() && has_space()
    }

    fn judge_counted(&self, facts: &TokenFacts, request: &mut Request<'_>) -> Judged {
        let judged = self.judge(facts, Recent::WithinTtl, request);
        if let Judged::Decided(Ok(Authentication::Valid(_))) = &judged {
            facts.terms().authority.metrics.hit.inc();
        }
        judged
    }

    /// Whether the owner of a token may be used: while the store is away, it is as it was when changes were last heard.
    fn owner_is_served(&self, facts: &TokenFacts, request: &mut Request<'_>) -> bool {
        let Owner::Consumer(_) = facts.terms().owner else { return true };
        let Some(age) = self.tokens.consumers().outage() else { return true };
        request.serve_stale(age);
        self.rules.serve_cached.admits(age)
    }

    /// What is cached, if it may be used while the authority cannot tell.
    fn stale(&self, known: &TokenFacts, request: &mut Request<'_>) -> Option<Found<Refusal>> {
        if !known.is_current() {
            return None;
        }
        let Judged::Decided(found) = self.judge(known, Recent::WithinStale, request) else { return None };
        if let Ok(Authentication::Valid(_)) = &found {
            known.terms().authority.metrics.stale.inc();
        }
        Some(found)
    }
}

impl Reading {
    /// How many kept claims it reads.
    fn reach(&self) -> usize {
        self.forwarded.reach().max(self.requirements.reach())
    }
}

impl Authenticator for Guard {
    type Refusal = Refusal;
    type Question = Asked;

    fn look(&self, request: &mut Request<'_>) -> Look<Refusal, Asked> {
        let in_request = bearer::find(Some(&self.rules.header), request);
        let token = match &in_request {
            // Reported even if requests may be anonymous: the upstream might believe one of them.
            bearer::Found::Several => return Look::Found(Err(Verdict::Reply(self.refuse(Refusal::Several, request)))),
            bearer::Found::NeedBody => return Look::Found(Err(need_body())),
            bearer::Found::Missing if self.rules.absence == Absence::Refused => {
                return Look::Found(Ok(Authentication::Absent(Refusal::Missing)));
            }
            bearer::Found::Missing | bearer::Found::Unreadable => None,
            bearer::Found::Token(token) => Some(token.as_ref()),
        };
        if let Err(verdict) = self.hide(token, request) {
            return Look::Found(Err(verdict));
        }
        if let Some(token) = token {
            request.note(|caller| caller.token_hint = notes::hint(token).map(Box::from));
        }
        match token {
            Some(token) => self.look_up(token, request),
            None if in_request == bearer::Found::Missing => Look::Found(Ok(Authentication::Absent(Refusal::Missing))),
            None => Look::Found(Ok(Authentication::Invalid(Refusal::Foreign))),
        }
    }

    async fn ask(&self, asked: Asked, request: &mut Request<'_>) -> Found<Refusal> {
        let Asked { digest, query, mut known, mut only_owner } = asked;
        let since = self.tokens.clock().now_millis();
        for _ in 0..ATTEMPTS {
            let only_owner_of = known.clone().filter(|_| only_owner);
            let question = Question::new(Arc::clone(&self.rules.candidates), query.clone(), only_owner_of);
            let facts = match self.tokens.cache().load(digest, question).await {
                Ok(Some(facts)) if self.owner_is_served(&facts, request) => facts,
                Ok(Some(_)) => return Err(Verdict::Reply(Reply::unavailable("consumer_store_unavailable"))),
                Ok(None) => {
                    // Revoked: other threads and instances may have cached it for longer.
                    if known.is_some() {
                        self.tokens.cache().forget(&digest);
                    }
                    return Ok(Authentication::Invalid(Refusal::Inactive));
                }
                Err(error) => {
                    let stale = known.and_then(|known| self.stale(&known, request));
                    return stale.unwrap_or_else(|| Err(Verdict::Reply(Reply::unavailable(error.reason()))));
                }
            };
            only_owner = match self.judge(&facts, Recent::ToldSince(since), request) {
                Judged::Decided(found) => return found,
                Judged::AskAgain => false,
                Judged::OwnerChanged => true,
            };
            known = Some(facts);
        }
        Err(Verdict::Reply(Reply::unavailable("token_keeps_changing")))
    }

    fn serve_cached(&self) -> ServeCached {
        self.rules.serve_cached
    }

    fn refuse(&self, refusal: Refusal, request: &Request<'_>) -> Reply {
        let reply = self.rules.challenges.reply(refusal);
        match refusal {
            Refusal::Insufficient(_) => permission_denied(reply, request),
            _ => unauthenticated(reply, request),
        }
    }

    fn needs(&self) -> Needs {
        Needs { body_limit: BODY_LIMIT, ..Needs::default() }
    }

    fn explains(&self) -> Explains {
        Explains::Token(Some(self.rules.header.name().clone()))
    }

    fn own_headers(&self) -> &[HeaderName] {
        &self.rules.own_headers
    }

    /// All plugins for third parties' tokens send claims in the same headers.
    fn shares_headers_for(&self, accepted: Credential) -> bool {
        accepted == Credential::ThirdPartyToken
    }
}

fn need_body() -> Verdict {
    Verdict::NeedBody { limit: BODY_LIMIT, terminal: false }
}

#[cfg(test)]
mod tests;
