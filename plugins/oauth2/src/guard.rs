//! The guard: lets requests with a valid token pass, with the identity in headers.
//!
//! The hot path. A warm, valid request costs one header look-up, one checksum and one hash of the
//! token, one cache read, comparisons, and header values that were rendered when the entry was created.
//!
//! 1. Find the token; forged ones are refused here.
//! 2. Look it up, in the cache or else in the store.
//! 3. Check it, in the order of oauth2.md §4.2.
//!
//! The kit decides what follows when several plugins authenticate
//! ([`AuthenticationHandler`](tollgate_plugin::authentication::AuthenticationHandler)). Scope and HTTPS are
//! enforced only where an instance has rules of its own ([`Strict`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{HeaderName, HeaderValue};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tollgate_core::clock::Clock;
use tollgate_core::notes::Notes;
use tollgate_core::plugin::{Explains, Needs, Verdict};
use tollgate_core::reply::Reply;
use tollgate_core::request::Request;
use tollgate_core::secret::Secret;
use tollgate_core::setting::{self, Setting};
use tollgate_plugin::authentication::{Authentication, Authenticator, Found, Look, permission_denied, unauthenticated};
use tollgate_plugin::bearer;
use tollgate_plugin::cache::{Known, ServeCached};
use tollgate_plugin::presented::{BODY_LIMIT, CredentialHeader, Hiding};
use tollgate_plugin::protection::Absence;
use uuid::Uuid;

use crate::cache::TokenCache;
use crate::callers::note_token;
use crate::challenge::{Challenges, Refusal};
use crate::config::Config;
use crate::config::endpoints::{Endpoints, Name};
use crate::deviations::Deviations;
use crate::error::Error;
use crate::issuer_identifier::{self, PROTECTED_RESOURCE};
use crate::metrics::Metrics;
use crate::presentation::{self, Presentation};
use crate::required_scopes::RequiredScopes;
use crate::signing_keys::{Signature, SigningKeys};
use crate::token::{Digest, OwnTokens, Shape};
use crate::token_facts::Facts;

mod explanation;
mod sender;

use explanation::Origin;
pub use sender::{SenderRules, can_be_presented};

const AUTHENTICATED_SCOPE: HeaderName = HeaderName::from_static("x-authenticated-scope");
const AUTHENTICATED_USERID: HeaderName = HeaderName::from_static("x-authenticated-userid");
static OWN_HEADERS: [HeaderName; 2] = [AUTHENTICATED_SCOPE, AUTHENTICATED_USERID];

/// How many tokens without our checksum are looked up at once.
pub const LOOKUPS: Setting = Setting::new(
    "limits.imported_token_lookups",
    "256",
    "While imported tokens exist: maximum number of tokens without this gateway's checksum that are looked up at once; others get 503.",
)
.checked(|text| lookups(text).map(drop));

/// Reads [`LOOKUPS`].
///
/// # Errors
/// What is expected.
pub fn lookups(text: &str) -> Result<usize, String> {
    let number = usize::try_from(setting::number(text)?).ok().filter(|number| (1..=4096).contains(number));
    number.ok_or_else(|| "expected a number from 1 to 4096".to_owned())
}

/// How many proofs a node remembers.
pub const PROOFS: Setting = Setting::new(
    "limits.dpop_proofs",
    "1000000",
    "Maximum number of DPoP proofs that are remembered for two minutes each, so that none is accepted twice; requests with others get 503.",
)
.checked(|text| proofs(text).map(drop));

/// Reads [`PROOFS`].
///
/// # Errors
/// What is expected.
pub fn proofs(text: &str) -> Result<usize, String> {
    let number = usize::try_from(setting::number(text)?).ok();
    let number = number.filter(|number| (1000..=100_000_000).contains(number));
    number.ok_or_else(|| "expected a number from 1000 to 100000000".to_owned())
}

/// Which tokens an instance accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Tokens of the matched service.
    Service,
    /// Those and global ones (`global_credentials`).
    Global,
}

/// Whether the token is forwarded to the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credentials {
    /// The upstream sees it.
    Forward,
    /// It is removed (`hide_credentials`).
    Hide,
}

/// The rules of a guard, from its instance's configuration.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The header searched for tokens; `None` if the configured name is not a valid header name.
    pub header: Option<CredentialHeader>,
    /// The challenges of refusals.
    pub challenges: Box<Challenges>,
    /// Whether requests without a valid token may pass as the anonymous consumer.
    pub absence: Absence,
    /// Which tokens are accepted.
    pub reach: Reach,
    /// Whether the upstream sees the token.
    pub credentials: Credentials,
    /// How long cached tokens are accepted while the store is away.
    pub serve_cached: ServeCached,
    /// What an instance may have beyond the contract; `None`: nothing.
    pub extra: Option<Box<Extra>>,
}

/// What an instance may have beyond the contract. Apart from the rules, which every request reads: they and what they
/// are part of are two cache lines.
#[derive(Debug, Clone, Default)]
pub struct Extra {
    /// The resources and the endpoints of the instance; `None`: it names none.
    pub endpoints: Option<Box<Endpoints>>,
    /// What binds tokens to their senders; `None`: tokens are never bound here, and bound ones not accepted.
    pub sender: Option<Box<SenderRules>>,
    /// The ways of presenting a token that are refused, if any are, and other rules beyond the contract's.
    pub strict: Option<Box<Strict>>,
}

impl Extra {
    /// `None`: there is nothing.
    pub fn boxed(self) -> Option<Box<Self>> {
        let is_used = self.endpoints.is_some() || self.sender.is_some() || self.strict.is_some();
        is_used.then(|| Box::new(self))
    }
}

impl Rules {
    fn endpoints(&self) -> Option<&Endpoints> {
        self.extra.as_ref()?.endpoints.as_deref()
    }

    fn sender(&self) -> Option<&SenderRules> {
        self.extra.as_ref()?.sender.as_deref()
    }

    fn strict(&self) -> Option<&Strict> {
        self.extra.as_ref()?.strict.as_deref()
    }
}

/// Rules beyond the contract's. Most instances have none, and their requests pay nothing for them.
#[derive(Debug, Clone, Default)]
pub struct Strict {
    /// The ways of presenting a token that are refused.
    pub presentation: Option<Box<Presentation>>,
    /// Those that are only counted (`log_only`).
    pub counted: Option<Box<Presentation>>,
    /// The scopes that a token needs.
    pub required_scopes: Option<RequiredScopes>,
    /// The instance.
    pub plugin: Uuid,
}

impl Strict {
    /// `None`: there are no such rules.
    pub fn of(config: &Config, plugin: Uuid) -> Option<Box<Self>> {
        let presentation = Presentation::of(config);
        let counted = config.counted.as_deref().and_then(Presentation::of);
        let required_scopes = RequiredScopes::of(config);
        let is_any = presentation.is_some() || counted.is_some() || required_scopes.is_some();
        is_any.then(|| Box::new(Self { presentation, counted, required_scopes, plugin }))
    }
}

/// State shared by the guards of a node.
pub struct Shared {
    /// Facts about tokens.
    pub cache: TokenCache,
    /// Recognises our own tokens.
    pub own_tokens: OwnTokens,
    /// Verifies those that are signed.
    pub signing_keys: Arc<SigningKeys>,
    /// Whether tokens exist that we did not mint.
    pub foreign_tokens: Arc<AtomicBool>,
    /// Turns to look up tokens without our checksum ([`LOOKUPS`]).
    pub unproven: Arc<Semaphore>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Counts what profile `bcp` would refuse.
    pub deviations: Arc<Deviations>,
    /// The metrics.
    pub metrics: Metrics,
}

/// Which tokens are accepted, and when.
#[derive(Debug, Clone, Copy)]
pub struct Acceptance<'c> {
    reach: Reach,
    endpoints: Option<&'c Endpoints>,
    now: i64,
}

impl<'c> Acceptance<'c> {
    /// By an instance with this configuration, now.
    pub fn of(config: &'c Config, now: i64) -> Self {
        Self { reach: Reach::of(config), endpoints: Some(&config.endpoints), now }
    }

    /// Why a token is refused on a route of this service; `None`: it is accepted.
    #[inline]
    pub fn refusal(self, facts: &Facts, service: Option<Uuid>) -> Option<Refusal> {
        self.refusal_told(facts, service, |_, _| {})
    }

    /// The same, telling of each check.
    #[inline]
    fn refusal_told(
        self,
        facts: &Facts,
        service: Option<Uuid>,
        tell: impl Fn(&'static str, Option<Refusal>),
    ) -> Option<Refusal> {
        let told = |name, refusal| {
            tell(name, refusal);
            refusal
        };
        told("service", self.refusal_by_service(facts, service))
            .or_else(|| told("expiry", (!facts.is_alive(self.now)).then_some(Refusal::Expired)))
            .or_else(|| told("audience", (!self.is_for_us(facts)).then_some(Refusal::OtherResource)))
    }

    fn refusal_by_service(self, facts: &Facts, service: Option<Uuid>) -> Option<Refusal> {
        match facts.service_id() {
            None if self.reach == Reach::Service => Some(Refusal::Global),
            Some(bound_to) if service != Some(bound_to) => Some(Refusal::OtherService),
            _ => None,
        }
    }

    /// Whether a token is for a resource of the instance (RFC 8707). One that is bound to resources is for no other,
    /// wherever it was issued.
    fn is_for_us(self, facts: &Facts) -> bool {
        match facts.binding().map(|binding| binding.audience.as_slice()) {
            None | Some([]) => self.endpoints.is_none_or(|endpoints| !endpoints.audience_required),
            Some(audience) => self
                .endpoints
                .is_some_and(|endpoints| endpoints.resources.iter().any(|resource| audience.contains(resource))),
        }
    }
}

impl Reach {
    /// That of an instance.
    pub fn of(config: &Config) -> Self {
        if config.global_credentials { Self::Global } else { Self::Service }
    }
}

/// Whether a token can exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    /// It has our checksum.
    Checksum,
    /// It names one of our signing keys: its signature is verified before the store is asked.
    Signature,
    /// It has none, but tokens without one were imported.
    None,
    /// It has none, and nothing was imported.
    Forged,
}

/// Too many tokens without our checksum are being looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many tokens that may be made up are being looked up")]
pub struct Crowded;

/// Why it cannot be told what a token is.
#[derive(Debug, thiserror::Error)]
pub enum Unfound {
    /// The store failed, which is logged already.
    #[error("token look-up failed")]
    Store,
    /// The keys that verify its signature cannot be read.
    #[error("signing keys cannot be read")]
    Keys,
    /// It has to wait for others.
    #[error(transparent)]
    Crowded(#[from] Crowded),
}

impl Unfound {
    /// The reason code in the access log.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Store => "token_store_unavailable",
            Self::Keys => "signing_keys_unavailable",
            Self::Crowded(_) => "token_lookups_limited",
        }
    }
}

impl From<Unfound> for Error {
    fn from(unfound: Unfound) -> Self {
        Self::CannotTell(unfound.reason())
    }
}

impl Shared {
    /// What a token is; `None`: it is unknown, or cannot be one of ours. Takes the guard's way: through the cache of
    /// this thread, the shared one and, at last, to the store.
    ///
    /// # Errors
    /// It cannot be told.
    pub async fn find(&self, token: &str) -> Result<Option<Facts>, Unfound> {
        let digest = Digest::of(token);
        if let Some(facts) = self.cache.of_this_thread(&digest, Facts::clone) {
            return Ok(Some(facts));
        }
        let proof = self.proof(token);
        if proof == Proof::Forged {
            self.metrics.forged.inc();
            return Ok(None);
        }
        match self.cache.get(&digest) {
            Some(Known::Fact(facts)) => return Ok(Some(facts)),
            Some(Known::Unknown) => return Ok(None),
            None => {}
        }
        let signature = (proof == Proof::Signature).then(|| self.signing_keys.verify(token));
        let is_proven = proof == Proof::Checksum || signature == Some(Signature::Good);
        let _turn = if is_proven { None } else { Some(self.turn()?) };
        if !is_proven && signature.is_some() && !self.may_be_signed(token).await? {
            return Ok(None);
        }
        self.cache.load(digest, ()).await.map_err(|_| Unfound::Store)
    }

    /// Imported tokens carry no checksum: while any exist, every token is looked up.
    fn proof(&self, token: &str) -> Proof {
        match self.own_tokens.is_ours(token) {
            Shape::Genuine => Proof::Checksum,
            Shape::Signed => Proof::Signature,
            _ if self.foreign_tokens.load(Ordering::Acquire) => Proof::None,
            _ => Proof::Forged,
        }
    }

    /// Whether a token is signed by a key that is in the store now, or was imported after its key was deleted.
    async fn may_be_signed(&self, token: &str) -> Result<bool, Unfound> {
        let may = match self.signing_keys.verify_anew(token).await.map_err(|_| Unfound::Keys)? {
            Signature::Good => true,
            Signature::UnknownKey => self.foreign_tokens.load(Ordering::Acquire),
            Signature::Bad => false,
        };
        if !may {
            self.metrics.forged.inc();
        }
        Ok(may)
    }

    /// A turn to look up a token without our checksum.
    fn turn(&self) -> Result<OwnedSemaphorePermit, Crowded> {
        Arc::clone(&self.unproven).try_acquire_owned().map_err(|_| {
            self.metrics.unproven.inc();
            Crowded
        })
    }
}

/// A token to be looked up.
pub struct Question {
    digest: Digest,
    /// A token whose key is not known here yet.
    unverified: Option<Secret>,
    /// For one that may be made up.
    _turn: Option<OwnedSemaphorePermit>,
}

/// The guard of one plugin instance.
pub struct Guard {
    rules: Rules,
    shared: Arc<Shared>,
}

impl Guard {
    /// A guard with these rules.
    pub fn new(rules: Rules, shared: Arc<Shared>) -> Self {
        Self { rules, shared }
    }

    /// Anybody can make up tokens without a checksum, so only so many of them are looked up at once: the others' turn in
    /// the store comes as soon as without them.
    fn look_up(&self, digest: Digest, proof: Proof, token: &str, request: &Request<'_>) -> Look<Refusal, Question> {
        let signature = (proof == Proof::Signature).then(|| self.shared.signing_keys.verify(token));
        if proof == Proof::Checksum || signature == Some(Signature::Good) {
            return Look::Ask(Question { digest, unverified: None, _turn: None });
        }
        if signature == Some(Signature::Bad) {
            self.shared.metrics.forged.inc();
            request.explain(|told| explanation::signature(false, told));
            return Look::Found(Ok(Authentication::Invalid(Refusal::Forged)));
        }
        match self.shared.turn() {
            Ok(turn) => {
                let unverified = signature.map(|_| Secret::new(token));
                Look::Ask(Question { digest, unverified, _turn: Some(turn) })
            }
            Err(crowded) => {
                let reason = Unfound::from(crowded).reason();
                request.explain(|told| explanation::cannot_tell(reason, told));
                Look::Found(Err(Verdict::Reply(Reply::unavailable(reason))))
            }
        }
    }

    fn judge(&self, facts: &Facts, request: &mut Request<'_>) -> Found<Refusal> {
        let found = self.judge_facts(facts, request);
        if !matches!(found, Ok(Authentication::Valid(_))) {
            request.note(|caller| facts.credential().note(caller));
        }
        found
    }

    /// The same of facts that were cached.
    fn judge_cached(&self, facts: &Facts, request: &mut Request<'_>) -> Found<Refusal> {
        request.explain(|told| explanation::found(Origin::Cache, facts, self.shared.clock.now(), request, told));
        self.judge(facts, request)
    }

    fn judge_facts(&self, facts: &Facts, request: &mut Request<'_>) -> Found<Refusal> {
        let endpoints = self.rules.endpoints();
        let acceptance = Acceptance { reach: self.rules.reach, endpoints, now: self.shared.clock.now() };
        let refusal = match request.notes.and_then(Notes::explanation) {
            None => acceptance.refusal(facts, request.target.service_id),
            Some(told) => acceptance.refusal_told(facts, request.target.service_id, |name, refusal| {
                explanation::acceptance(name, refusal, facts, told);
            }),
        };
        match refusal {
            None => {}
            // Reported even if requests may be anonymous (oauth2.md §4.2).
            Some(Refusal::Global) => return Err(self.reply(Refusal::Global, request)),
            Some(refusal) => {
                if refusal == Refusal::Expired {
                    self.shared.metrics.expired.inc();
                }
                return Ok(Authentication::Invalid(refusal));
            }
        }
        let confirmation = facts.binding().and_then(|binding| binding.confirmation.as_ref());
        if confirmation.is_some() || self.rules.sender().is_some() {
            let judged = self.judge_sender(confirmation, request);
            request.explain(|told| explanation::sender(&judged, told));
            if let Err(found) = judged {
                return found;
            }
        }
        if let Some(strict) = self.rules.strict() {
            self.judge_strictly(strict, facts, request)?;
        }
        set_or_remove(AUTHENTICATED_SCOPE, facts.scope().cloned(), request);
        set_or_remove(AUTHENTICATED_USERID, facts.userid(), request);
        Ok(Authentication::Valid(facts.credential().into()))
    }

    async fn loaded(&self, question: Question, request: &mut Request<'_>) -> Found<Refusal> {
        match self.shared.cache.load_for(question.digest, (), self.rules.serve_cached, request).await {
            Ok(Some(facts)) => {
                request
                    .explain(|told| explanation::found(Origin::Store, &facts, self.shared.clock.now(), request, told));
                self.judge(&facts, request)
            }
            Ok(None) => {
                request.explain(|told| explanation::unknown(Origin::Store, told));
                Ok(Authentication::Invalid(Refusal::Unknown))
            }
            Err(_) => {
                request.explain(|told| explanation::cannot_tell("token_store_unavailable", told));
                Err(Verdict::Reply(Reply::unavailable("token_store_unavailable")))
            }
        }
    }

    /// Whether a valid token has the required scopes. Counts how it was presented.
    fn judge_strictly(&self, strict: &Strict, facts: &Facts, request: &Request<'_>) -> Result<(), Verdict> {
        let scope = facts.scope().map(HeaderValue::as_bytes);
        let is_enough = strict.required_scopes.as_ref().is_none_or(|required| required.are_in(scope));
        request.explain(|told| explanation::scope(is_enough, facts, told));
        if !is_enough {
            let refusal = self.challenge(Refusal::InsufficientScope, request);
            return Err(Verdict::Reply(permission_denied(refusal, request)));
        }
        let counted = strict.counted.as_ref().map(|counted| counted.judge(self.rules.header.as_ref(), request));
        if let Some(presentation::Verdict::Refused(_, behaviour)) = counted {
            self.shared.deviations.note(behaviour, strict.plugin, Some(facts.credential().id));
        }
        Ok(())
    }

    /// Whether the request may present a token as it does, if it presents one.
    fn judge_presentation(&self, strict: &Strict, request: &Request<'_>) -> Result<(), Verdict> {
        for (rules, is_enforced) in [(&strict.presentation, true), (&strict.counted, false)] {
            let verdict = rules.as_ref().map(|rules| rules.judge(self.rules.header.as_ref(), request));
            match verdict {
                Some(presentation::Verdict::NeedBody) => return Err(NEED_BODY),
                Some(presentation::Verdict::Refused(refusal, _)) if is_enforced => {
                    return Err(self.reply(refusal, request));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A refusal, with what a client needs to know for its next attempt.
    fn challenge(&self, refusal: Refusal, request: &Request<'_>) -> Reply {
        let endpoints = self.rules.endpoints().filter(|endpoints| endpoints.names.has(Name::Metadata));
        let resource = endpoints.and_then(|endpoints| issuer_identifier::resource(endpoints, request));
        let metadata = resource.and_then(|uri| issuer_identifier::well_known(PROTECTED_RESOURCE, &uri));
        let reply = self.rules.challenges.reply(refusal, metadata.as_deref());
        match self.rules.sender() {
            Some(sender) => sender.challenge(refusal, reply, metadata.as_deref(), self.shared.clock.now()),
            None => reply,
        }
    }

    fn reply(&self, refusal: Refusal, request: &Request<'_>) -> Verdict {
        Verdict::Reply(self.refuse(refusal, request))
    }
}

impl Authenticator for Guard {
    type Refusal = Refusal;
    type Question = Question;

    fn look(&self, request: &mut Request<'_>) -> Look<Refusal, Question> {
        if let Some(strict) = self.rules.strict()
            && let Err(verdict) = self.judge_presentation(strict, request)
        {
            return Look::Found(Err(verdict));
        }
        let in_request = bearer::find(self.rules.header.as_ref(), request);
        let token = match &in_request {
            // Reported even if requests may be anonymous: the upstream might believe one of them.
            bearer::Found::Several => return Look::Found(Err(self.reply(Refusal::Several, request))),
            bearer::Found::NeedBody => return need_body(),
            bearer::Found::Missing if self.rules.absence == Absence::Refused => {
                return Look::Found(Ok(Authentication::Absent(Refusal::Missing)));
            }
            bearer::Found::Missing | bearer::Found::Unreadable => None,
            bearer::Found::Token(token) => Some(self.without_scheme(token)),
        };
        if self.rules.credentials == Credentials::Hide {
            match bearer::hide(self.rules.header.as_ref(), token, request) {
                Hiding::Done => self.hide_proof(request),
                Hiding::NeedBody => return need_body(),
                Hiding::TooLarge => return Look::Found(Err(Verdict::Reply(bearer::too_large_to_hide()))),
                Hiding::Unsearchable => return Look::Found(Err(Verdict::Reply(bearer::unsearchable_to_hide()))),
            }
        }
        let Some(token) = token else {
            if in_request == bearer::Found::Missing {
                return Look::Found(Ok(Authentication::Absent(Refusal::Missing)));
            }
            self.shared.metrics.forged.inc();
            return Look::Found(Ok(Authentication::Invalid(Refusal::Forged)));
        };
        note_token(token, request);
        request.explain(|told| explanation::form(self.shared.proof(token), told));
        let digest = Digest::of(token);
        if self.rules.sender().is_some_and(|sender| sender.asks_all_nodes(request)) {
            return match self.shared.proof(token) {
                Proof::Forged => Look::Found(Ok(Authentication::Invalid(Refusal::of_forged(token)))),
                proof => self.look_up(digest, proof, token, request),
            };
        }
        if let Some(found) = self.shared.cache.of_this_thread(&digest, |facts| self.judge_cached(facts, request)) {
            return Look::Found(found);
        }
        // A token in this thread's cache need not prove that it is ours; others must, before
        // the shared cache is queried.
        let proof = self.shared.proof(token);
        if proof == Proof::Forged {
            self.shared.metrics.forged.inc();
            return Look::Found(Ok(Authentication::Invalid(Refusal::of_forged(token))));
        }
        match self.shared.cache.get_for(&digest, self.rules.serve_cached, request) {
            Some(Known::Fact(facts)) => Look::Found(self.judge_cached(&facts, request)),
            Some(Known::Unknown) => {
                request.explain(|told| explanation::unknown(Origin::Cache, told));
                Look::Found(Ok(Authentication::Invalid(Refusal::Unknown)))
            }
            None => self.look_up(digest, proof, token, request),
        }
    }

    async fn ask(&self, question: Question, request: &mut Request<'_>) -> Found<Refusal> {
        if let Some(token) = &question.unverified {
            let may = self.shared.may_be_signed(token.expose()).await;
            request.explain(|told| match &may {
                Ok(may) => explanation::signature(*may, told),
                Err(unfound) => explanation::cannot_tell(unfound.reason(), told),
            });
            match may {
                Ok(true) => {}
                Ok(false) => return Ok(Authentication::Invalid(Refusal::Forged)),
                Err(unfound) => return Err(Verdict::Reply(Reply::unavailable(unfound.reason()))),
            }
        }
        let found = self.loaded(question, request).await;
        match self.rules.sender() {
            Some(sender) if matches!(found, Ok(Authentication::Valid(_))) && sender.asks_all_nodes(request) => {
                sender.remember_everywhere(found, request).await
            }
            _ => found,
        }
    }

    fn refuse(&self, refusal: Refusal, request: &Request<'_>) -> Reply {
        unauthenticated(self.challenge(refusal, request), request)
    }

    fn serve_cached(&self) -> ServeCached {
        self.rules.serve_cached
    }

    fn needs(&self) -> Needs {
        Needs { body_limit: BODY_LIMIT, ..Needs::default() }
    }

    fn explains(&self) -> Explains {
        Explains::Token(self.rules.header.as_ref().map(|header| header.name().clone()))
    }

    fn own_headers(&self) -> &'static [HeaderName] {
        &OWN_HEADERS
    }
}

fn need_body() -> Look<Refusal, Question> {
    Look::Found(Err(NEED_BODY))
}

const NEED_BODY: Verdict = Verdict::NeedBody { limit: BODY_LIMIT, terminal: false };

fn set_or_remove(name: HeaderName, value: Option<HeaderValue>, request: &mut Request<'_>) {
    match value {
        Some(value) => request.edits.set(name, value),
        None => request.edits.remove(name),
    }
}

// The scheduler exists only in debug builds.
#[cfg(debug_assertions)]
#[cfg(test)]
mod interleavings;
#[cfg(test)]
mod tests;
