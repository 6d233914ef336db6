//! Authorities: the authorization servers whose tokens are accepted, as instances of plugins use them.
//!
//! Instances with equal configuration of an authority share it, and so its cached tokens. It lives while an instance
//! refers to it. Cached tokens only refer to what their claims mean ([`AuthorityFacts`]): an authority that is no
//! longer configured is not called any more, and its keys are not fetched.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use http::Method;
use serde_json::Value;
use tollgate_plugin::Secret;

use crate::cannot_tell::CannotTell;
use crate::claim_header::REGISTERED;
use crate::claim_path::ClaimPath;
use crate::kept_claims::{KeptClaims, Position};
use crate::metrics::AuthorityMetrics;
use tollgate_jose::PublishedKey;
use tollgate_jose::claims::Claims;

/// How often failures of an authority are logged, in milliseconds.
const LOG_EVERY: i64 = 10_000;

/// What is asked about.
#[derive(Debug, Clone)]
pub struct Query {
    /// The token. Those who wait for the same look-up share it.
    pub token: Arc<Secret>,
    /// The request that presents it, if the authority wants to know (`introspect_request`).
    pub request: Option<Arc<RequestLine>>,
}

/// Method and path of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestLine {
    /// The method.
    pub method: Method,
    /// The normalised path.
    pub path: Box<str>,
}

/// What an authority says of a token.
#[derive(Debug)]
pub enum Said {
    /// It is a token of this authority that has not been revoked. Its `exp` and `nbf` are checked on every request.
    Active(Active),
    /// It is none, or is not valid any more.
    Inactive,
}

/// A token that an authority vouches for.
#[derive(Debug)]
pub struct Active {
    /// Its claims, of the types that the registered ones have.
    pub claims: Claims,
    /// The key that has signed it: when that is withdrawn, the token ends.
    pub signed_by: Option<Arc<PublishedKey>>,
}

/// How an authority is asked.
#[async_trait]
pub trait Verifier: Send + Sync + 'static {
    /// Whether this token is valid. Takes as long as it takes to ask another server; callers share calls.
    ///
    /// # Errors
    /// It is not known.
    async fn verify(&self, query: &Query) -> Result<Said, CannotTell>;

    /// Whether it finds out by itself, without asking anybody, that a JWT is of another issuer.
    fn checks_issuer(&self) -> bool {
        false
    }

    /// Whether it makes sense to ask about such a token at all: cheap, and without waiting.
    fn may_know(&self, _token: &str) -> bool {
        true
    }
}

/// Identifies an authority: a digest of everything in its configuration that decides what it says of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity(pub(crate) [u8; 32]);

impl Identity {
    /// Of one of those that are known under this identity, one after another.
    pub(crate) fn numbered(self, number: u64) -> Self {
        Self(*blake3::keyed_hash(&self.0, &number.to_le_bytes()).as_bytes())
    }

    /// Of this plugin and configuration.
    pub fn of(plugin: &str, configuration: &Value) -> Self {
        let mut hasher = blake3::Hasher::new();
        // A name has no line end, so that nothing of it can pass for configuration.
        hasher.update(plugin.as_bytes()).update(b"\n").update(configuration.to_string().as_bytes());
        Self(*hasher.finalize().as_bytes())
    }
}

/// An authority.
pub struct Authority {
    identity: Identity,
    facts: Arc<AuthorityFacts>,
    verifier: Box<dyn Verifier>,
    logged_at: AtomicI64,
}

/// What cached tokens of an authority refer to.
pub struct AuthorityFacts {
    /// What logs and metrics call it: a URL without secrets.
    name: Box<str>,
    /// The claim that names a token's consumer by its username.
    consumer_by: Option<(ClaimPath, Position)>,
    kept: KeptClaims,
    pub(crate) metrics: AuthorityMetrics,
}

impl Authority {
    /// An authority that is asked by `verifier`.
    pub(crate) fn new(
        identity: Identity,
        name: &str,
        verifier: Box<dyn Verifier>,
        consumer_by: Option<ClaimPath>,
        metrics: AuthorityMetrics,
    ) -> Self {
        let kept = KeptClaims::of(REGISTERED.map(ClaimPath::registered));
        // There is room for one more.
        let consumer_by = consumer_by.and_then(|path| kept.keep(&path).ok().map(|position| (path, position)));
        let facts = Arc::new(AuthorityFacts { name: name.into(), consumer_by, kept, metrics });
        Self { identity, facts, verifier, logged_at: AtomicI64::new(i64::MIN) }
    }

    /// What its tokens are cached under.
    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// What cached tokens refer to.
    pub fn facts(&self) -> &Arc<AuthorityFacts> {
        &self.facts
    }

    pub(crate) fn checks_issuer(&self) -> bool {
        self.verifier.checks_issuer()
    }

    pub(crate) fn may_know(&self, token: &str) -> bool {
        self.verifier.may_know(token)
    }

    /// Asks it, and measures and logs what happens. `now`: in milliseconds.
    pub(crate) async fn verify(&self, query: &Query, now: i64) -> Result<Said, CannotTell> {
        let timer = self.facts.metrics.seconds.start_timer();
        let said = self.verifier.verify(query).await;
        timer.observe_duration();
        match &said {
            Ok(Said::Active(_)) => self.facts.metrics.active.inc(),
            Ok(Said::Inactive) => self.facts.metrics.inactive.inc(),
            Err(error) => {
                self.facts.metrics.cannot_tell.inc();
                self.log(error, now);
            }
        }
        said
    }

    /// Logs a failure, unless one was logged a moment ago: an outage is one line now and then, not one a request.
    fn log(&self, error: &CannotTell, now: i64) {
        // Why keys are unknown was logged when they could not be fetched, and that the store is away when it was found.
        if matches!(error, CannotTell::NoKeys { .. })
            || matches!(error, CannotTell::Store(error) if error.is_reported())
        {
            return;
        }
        let last = self.logged_at.load(Ordering::Relaxed);
        let is_due = now.saturating_sub(last) >= LOG_EVERY;
        if is_due && self.logged_at.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let (authority, error) = (self.facts.name(), error as &dyn std::error::Error);
            tracing::warn!(authority, error, "cannot verify tokens; further failures are counted in metrics");
        }
    }
}

impl AuthorityFacts {
    /// What logs and metrics call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which claims are kept of its tokens.
    pub fn kept(&self) -> &KeptClaims {
        &self.kept
    }

    /// The claim that names a token's consumer, and its position.
    pub(crate) fn consumer_by(&self) -> Option<&(ClaimPath, Position)> {
        self.consumer_by.as_ref()
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("name", &self.facts.name).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for AuthorityFacts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthorityFacts").field("name", &self.name).finish_non_exhaustive()
    }
}
