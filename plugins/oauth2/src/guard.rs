//! The guard: lets a request with a valid token through, with its identity in headers.
//!
//! The hot path. A warm, valid request costs one header look-up, one checksum and one hash of the
//! token, one cache read, compares, and header values that were rendered when the entry was made.
//!
//! 1. An earlier plugin may have done the work, if this instance may be passed anonymously.
//! 2. Find the token; made up ones end here.
//! 3. What is it? The cache knows, or the store is asked.
//! 4. Verdict, in the order of oauth2.md §4.2.
//!
//! Scope is not enforced here, and neither is HTTPS.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{HeaderName, HeaderValue, StatusCode};
use tollgate_core::clock::Clock;
use tollgate_core::plugin::{Access, PluginError, Verdict};
use tollgate_core::reply::Reply;
use tollgate_core::request::{Identity, Request};

use crate::cache::{Known, TokenCache};
use crate::challenge::{Challenges, Refusal};
use crate::facts::{ConsumerFacts, Directory};
use crate::metrics::Metrics;
use crate::presented::{self, BODY_LIMIT, Found, Hiding, TokenHeader};
use crate::token::{Digest, Minter, Shape};
use crate::token_facts::Facts;

const AUTHENTICATED_SCOPE: HeaderName = HeaderName::from_static("x-authenticated-scope");
const AUTHENTICATED_USERID: HeaderName = HeaderName::from_static("x-authenticated-userid");

/// Which tokens an instance accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Those of the matched service.
    Service,
    /// Those and global ones (`global_credentials`).
    Global,
}

/// What becomes of the token on the way upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credentials {
    /// The upstream sees it.
    Forward,
    /// It is taken out (`hide_credentials`).
    Hide,
}

/// What an instance's configuration says to its guard.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Where tokens are looked for; `None` when the configured name cannot be a header's.
    pub header: Option<TokenHeader>,
    /// How refusals are challenged.
    pub challenges: Box<Challenges>,
    /// The consumer to fall through to, by id or username.
    pub anonymous: Option<String>,
    /// Which tokens are accepted.
    pub reach: Reach,
    /// Whether the upstream sees the token.
    pub credentials: Credentials,
}

/// What all guards of a node share.
pub struct Post {
    /// Tokens.
    pub cache: TokenCache,
    /// Consumers.
    pub directory: Directory,
    /// Recognises our own tokens.
    pub minter: Arc<Minter>,
    /// Whether tokens exist that we did not mint.
    pub foreign_tokens: Arc<AtomicBool>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Counters.
    pub metrics: Metrics,
}

/// The guard of one plugin instance.
pub struct Guard {
    rules: Rules,
    post: Arc<Post>,
}

type Decision = Result<Verdict, PluginError>;

/// What is left to do when the cache has spoken.
enum Step {
    Done(Verdict),
    /// The store has to be asked about the token.
    Ask(Digest),
    /// The anonymous consumer has to be looked up.
    FallThrough,
}

impl Guard {
    /// A guard that follows these rules.
    pub fn new(rules: Rules, post: Arc<Post>) -> Self {
        Self { rules, post }
    }

    /// Decides about a request.
    pub fn access<'a>(&'a self, request: &'a mut Request<'_>) -> Access<'a> {
        match self.begin(request) {
            Step::Done(verdict) => Access::Ready(Ok(verdict)),
            Step::Ask(digest) => Access::Pending(Box::pin(self.ask(digest, request))),
            Step::FallThrough => Access::Pending(Box::pin(self.fall_through(request))),
        }
    }

    fn begin(&self, request: &mut Request<'_>) -> Step {
        if self.rules.anonymous.is_some() && authenticated(request) {
            request.edits.remove(AUTHENTICATED_SCOPE);
            request.edits.remove(AUTHENTICATED_USERID);
            return Step::Done(Verdict::Continue);
        }
        let need_body = || Step::Done(Verdict::NeedBody { limit: BODY_LIMIT, terminal: false });
        let found = presented::find(self.rules.header.as_ref(), request);
        let token = match &found {
            // Told even where requests may be anonymous: the upstream might believe one of them.
            Found::Several => return Step::Done(Verdict::Reply(self.reply(Refusal::Several, request))),
            Found::NeedBody => return need_body(),
            Found::Missing if self.rules.anonymous.is_none() => return self.refuse(Refusal::Missing, request),
            Found::Missing | Found::Unreadable => None,
            Found::Token(token) => Some(token.as_ref()),
        };
        if self.rules.credentials == Credentials::Hide {
            match presented::hide(self.rules.header.as_ref(), token, request) {
                Hiding::Done => {}
                Hiding::NeedBody => return need_body(),
                Hiding::TooLarge => return Step::Done(Verdict::Reply(too_large())),
                Hiding::Unsearchable => return Step::Done(Verdict::Reply(unsearchable())),
            }
        }
        let Some(token) = token else {
            if found == Found::Missing {
                return self.refuse(Refusal::Missing, request);
            }
            self.post.metrics.forged.inc();
            return self.refuse(Refusal::Forged, request);
        };
        let digest = Digest::of(token);
        if let Some(step) = self.post.cache.near(&digest, |facts| self.judge(facts, request)) {
            return step;
        }
        // What this thread knows by its digest need not prove that it is ours; the rest must, before
        // the shared cache hears of it.
        if !self.may_exist(token) {
            self.post.metrics.forged.inc();
            return self.refuse(Refusal::Forged, request);
        }
        match self.post.cache.get(&digest) {
            Some(Known::Token(facts)) => self.judge(&facts, request),
            Some(Known::Unknown) => self.refuse(Refusal::Unknown, request),
            None => Step::Ask(digest),
        }
    }

    /// Imported tokens carry no checksum: while there are any, every token is looked up.
    fn may_exist(&self, token: &str) -> bool {
        self.post.minter.is_ours(token) == Shape::Genuine || self.post.foreign_tokens.load(Ordering::Acquire)
    }

    async fn ask(&self, digest: Digest, request: &mut Request<'_>) -> Decision {
        let Ok(found) = self.post.cache.load(digest).await else {
            return Ok(Verdict::Reply(Reply::unavailable("token_store_unavailable")));
        };
        let step = match found {
            Some(facts) => self.judge(&facts, request),
            None => self.refuse(Refusal::Unknown, request),
        };
        match step {
            Step::Done(verdict) => Ok(verdict),
            Step::FallThrough | Step::Ask(_) => self.fall_through(request).await,
        }
    }

    fn judge(&self, facts: &Facts, request: &mut Request<'_>) -> Step {
        match facts.service_id() {
            // Told even where requests may be anonymous (oauth2.md §4.2).
            None if self.rules.reach == Reach::Service => {
                return Step::Done(Verdict::Reply(self.reply(Refusal::Global, request)));
            }
            Some(service) if request.target.service_id != Some(service) => {
                return self.refuse(Refusal::OtherService, request);
            }
            _ => {}
        }
        if !facts.is_alive(self.post.clock.now()) {
            self.post.metrics.expired.inc();
            return self.refuse(Refusal::Expired, request);
        }
        identify(facts, request);
        Step::Done(Verdict::Continue)
    }

    fn refuse(&self, refusal: Refusal, request: &mut Request<'_>) -> Step {
        let Some(anonymous) = &self.rules.anonymous else {
            return Step::Done(Verdict::Reply(self.reply(refusal, request)));
        };
        match self.post.directory.known_anonymous(anonymous) {
            Some(consumer) => {
                identify_anonymous(&consumer, request);
                Step::Done(Verdict::Continue)
            }
            None => Step::FallThrough,
        }
    }

    fn reply(&self, refusal: Refusal, request: &Request<'_>) -> Reply {
        let challenges = &self.rules.challenges;
        if request.is_grpc() { challenges.grpc_reply(refusal) } else { challenges.reply(refusal) }
    }

    async fn fall_through(&self, request: &mut Request<'_>) -> Decision {
        let name = self.rules.anonymous.as_deref().unwrap_or_default();
        match self.post.directory.anonymous(name).await {
            Ok(Some(consumer)) => {
                identify_anonymous(&consumer, request);
                Ok(Verdict::Continue)
            }
            Ok(None) => {
                tracing::error!(anonymous = name, "the anonymous consumer of an oauth2 plugin does not exist");
                let message = format!("anonymous consumer {name} is configured but doesn't exist");
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                Ok(Verdict::Reply(Reply::message(status, "anonymous_consumer_missing", message)))
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the anonymous consumer cannot be looked up");
                Ok(Verdict::Reply(Reply::unavailable("consumer_store_unavailable")))
            }
        }
    }
}

/// The token might go upstream in a form that cannot be searched whole.
fn too_large() -> Reply {
    Reply::message(StatusCode::PAYLOAD_TOO_LARGE, "form_too_large_to_hide_token", "Payload too large")
}

/// The same for a body that cannot be read.
fn unsearchable() -> Reply {
    Reply::message(StatusCode::UNSUPPORTED_MEDIA_TYPE, "body_unreadable_to_hide_token", "Unsupported media type")
}

/// Whether an earlier plugin has accepted a credential.
fn authenticated(request: &Request<'_>) -> bool {
    request.identity.as_ref().is_some_and(|identity| identity.credential.is_some())
}

fn identify(facts: &Facts, request: &mut Request<'_>) {
    let holder = facts.holder();
    request.edits.apply(&holder.headers);
    set_or_remove(AUTHENTICATED_SCOPE, facts.scope().cloned(), request);
    set_or_remove(AUTHENTICATED_USERID, facts.userid(), request);
    request.identity = Some(Identity { consumer: holder.consumer.id, credential: Some(holder.credential_id) });
}

fn identify_anonymous(consumer: &ConsumerFacts, request: &mut Request<'_>) {
    request.edits.apply(&consumer.anonymous_headers);
    request.edits.remove(AUTHENTICATED_SCOPE);
    request.edits.remove(AUTHENTICATED_USERID);
    request.identity = Some(Identity { consumer: consumer.id, credential: None });
}

fn set_or_remove(name: HeaderName, value: Option<HeaderValue>, request: &mut Request<'_>) {
    match value {
        Some(value) => request.edits.set(name, value),
        None => request.edits.remove(name),
    }
}

#[cfg(test)]
mod interleavings;
#[cfg(test)]
mod tests;
