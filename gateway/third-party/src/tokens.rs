//! The tokens of other authorities that this node has cached, shared by all plugins that accept such tokens.
//!
//! 1. A guard looks a token up under a key of the authorities that it may come from and of the token.
//! 2. On a miss, one caller asks the authorities in turn; callers of the same token wait for it (single flight).
//! 3. One that knows the token ends the search. If none does, and one could not tell, nobody can tell.
//!
//! Unknown tokens are cached briefly and in bounded number; what could not be found out is not cached.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::Value;
use tollgate_plugin::cache::{Bounds, FactCache, Loaded, Source, Trust};
use tollgate_plugin::own_token::{OwnTokens, Shape};
use tollgate_plugin::token_cache::TokenCacheBounds;
use tollgate_plugin::{Clock, Consumers, Digest, Host, Metrics, StartError};

use crate::authority::{Active, Authority, AuthorityFacts, Identity, Query, Said, Verifier};
use crate::cannot_tell::CannotTell;
use crate::claim_path::ClaimPath;
use crate::facts::{Owner, Terms, TokenFacts};
use crate::kept_claims::Kept;
use crate::metrics::TokenMetrics;
use crate::registered::{self, WrongType};
use tollgate_jose as jose;

/// What all plugins for tokens of other authorities share on a node.
pub struct ThirdPartyTokens {
    cache: FactCache<TokenFacts, Asking>,
    own_tokens: OwnTokens,
    clock: Arc<dyn Clock>,
    authorities: Mutex<HashMap<Identity, Weak<Authority>>>,
    /// The number of authorities that were made.
    made: AtomicU64,
    metrics: Arc<TokenMetrics>,
}

/// The authorities of an instance, in the order in which they are asked.
#[derive(Debug)]
pub struct Candidates {
    /// The key of the digests of their tokens.
    key: [u8; 32],
    /// The same, where what is digested includes the request.
    request_key: [u8; 32],
    list: Vec<Candidate>,
}

/// An authority of an instance.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The authority.
    pub authority: Arc<Authority>,
    /// The `iss` of its JWT-shaped tokens: others are not sent to it. `None`: it may know any token.
    pub issuer: Option<Box<str>>,
}

impl Candidates {
    /// In this order.
    pub fn new(list: Vec<Candidate>) -> Self {
        let mut hasher = blake3::Hasher::new();
        for candidate in &list {
            let issuer = candidate.issuer.as_deref().unwrap_or_default();
            hasher
                .update(&candidate.authority.identity().0)
                .update(&issuer.len().to_le_bytes())
                .update(issuer.as_bytes());
        }
        let key = *hasher.finalize().as_bytes();
        Self { key, request_key: *blake3::keyed_hash(&key, b"with the request").as_bytes(), list }
    }

    /// Whether any of them may have issued a token: a cheap check before they are asked.
    pub(crate) fn may_know(&self, token: &str) -> bool {
        self.list.iter().any(|candidate| candidate.authority.may_know(token))
    }

    /// All of them.
    pub fn list(&self) -> &[Candidate] {
        &self.list
    }

    /// The key under which a token is cached. What an authority was told about the request is part of it, since its
    /// response may depend on that.
    pub(crate) fn digest(&self, query: &QueryText<'_>) -> Digest {
        match query.request {
            None => Digest(*blake3::keyed_hash(&self.key, query.token.as_bytes()).as_bytes()),
            Some((method, path)) => {
                let mut hasher = blake3::Hasher::new_keyed(&self.request_key);
                for part in [query.token, method, path] {
                    hasher.update(&part.len().to_le_bytes()).update(part.as_bytes());
                }
                Digest(*hasher.finalize().as_bytes())
            }
        }
    }

    /// Those that may know a token: chosen by the `iss` of a JWT, since a token of one authority is not sent to
    /// another.
    fn of_token<'c>(&'c self, token: &str) -> impl Iterator<Item = &'c Arc<Authority>> {
        let alone = matches!(&*self.list, [only] if only.authority.checks_issuer());
        let chosen = !alone && self.list.iter().any(|candidate| candidate.issuer.is_some());
        let issuer = chosen.then(|| jose::unverified_issuer(token)).flatten();
        let is_named = |candidate: &Candidate| match (&issuer, &candidate.issuer) {
            (Some(issuer), Some(own)) => issuer.as_str() == &**own,
            _ => false,
        };
        let by_name = self.list.iter().any(is_named);
        let may_know = move |candidate: &&Candidate| match (&issuer, &candidate.issuer) {
            (Some(issuer), Some(own)) => issuer.as_str() == &**own,
            (Some(_), None) => !by_name,
            (None, _) => true,
        };
        self.list.iter().filter(may_know).map(|candidate| &candidate.authority)
    }
}

/// What is looked up, borrowed from the request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueryText<'r> {
    pub(crate) token: &'r str,
    /// Method and path, if the authority is told.
    pub(crate) request: Option<(&'r str, &'r str)>,
}

/// The question for the authorities.
#[derive(Clone)]
pub(crate) struct Question {
    candidates: Arc<Candidates>,
    query: Query,
    /// What is still true of a cached token whose consumer has to be looked up again.
    only_owner_of: Option<TokenFacts>,
}

impl Question {
    /// Asks these authorities.
    pub(crate) fn new(candidates: Arc<Candidates>, query: Query, only_owner_of: Option<TokenFacts>) -> Self {
        Self { candidates, query, only_owner_of }
    }
}

impl ThirdPartyTokens {
    /// The one of this gateway. Every plugin that uses it names [`PREFIX`](crate::metrics::PREFIX) among its metric
    /// prefixes.
    ///
    /// # Errors
    /// The gateway does not start.
    pub async fn of(host: &Host) -> Result<Arc<Self>, StartError> {
        let own_tokens = OwnTokens::load(&host.store, &*host.random).await?;
        host.try_shared(|| {
            let bounds = TokenCacheBounds::read(&host.settings)?.third_party;
            let asking = Asking::new(host.consumers.clone(), Arc::clone(&host.clock), &host.metrics)?;
            let tokens = Self::new(asking, bounds, host.trust(), own_tokens);
            host.spawn(tokens.cache.clone().keep_measuring());
            Ok(tokens)
        })
    }

    fn new(asking: Asking, bounds: Bounds, trust: Arc<dyn Trust>, own_tokens: OwnTokens) -> Self {
        let (clock, metrics) = (Arc::clone(&asking.clock), Arc::clone(&asking.metrics));
        let cache = FactCache::new(bounds, asking, trust, Arc::clone(&clock), metrics.cache.clone());
        Self { cache, own_tokens, clock, authorities: Mutex::default(), made: AtomicU64::new(0), metrics }
    }

    /// The cached tokens.
    pub(crate) fn cache(&self) -> &FactCache<TokenFacts, Asking> {
        &self.cache
    }

    /// The clock.
    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// The metrics.
    pub(crate) fn metrics(&self) -> &TokenMetrics {
        &self.metrics
    }

    /// Whether this gateway has minted a token: it is then no other authority's.
    pub(crate) fn is_own(&self, token: &str) -> bool {
        self.own_tokens.is_ours(token) != Shape::Foreign
    }

    /// The consumers.
    pub fn consumers(&self) -> &Consumers {
        &self.cache.source().consumers
    }

    /// The authority with this identity, made if no instance has it yet. `name` is what logs and metrics call it, and
    /// `consumer_by` the claim that names the consumers of its tokens.
    ///
    /// # Errors
    /// The verifier cannot be made.
    pub fn authority<E>(
        &self,
        identity: Identity,
        name: &str,
        consumer_by: Option<ClaimPath>,
        verifier: impl FnOnce() -> Result<Box<dyn Verifier>, E>,
    ) -> Result<Arc<Authority>, E> {
        let mut authorities = self.authorities.lock().unwrap_or_else(PoisonError::into_inner);
        // Instances that have a full one keep it, with the tokens that were cached for it.
        let known = authorities.get(&identity).and_then(Weak::upgrade);
        if let Some(known) = known.filter(|known| known.facts().kept().has_room()) {
            return Ok(known);
        }
        authorities.retain(|_, known| known.strong_count() > 0);
        let own = identity.numbered(self.made.fetch_add(1, Ordering::Relaxed));
        let authority = Arc::new(Authority::new(own, name, verifier()?, consumer_by, self.metrics.of(name)));
        authorities.insert(identity, Arc::downgrade(&authority));
        Ok(authority)
    }

    /// Forgets all cached tokens.
    pub fn forget_all(&self) {
        self.cache.forget_all();
    }
}

/// The source of facts: the authorities, and the consumers that claims name.
pub(crate) struct Asking {
    consumers: Consumers,
    clock: Arc<dyn Clock>,
    metrics: Arc<TokenMetrics>,
}

impl Source<TokenFacts> for Asking {
    type Question = Question;
    type Error = CannotTell;

    const LOOK_UP: &'static str = "token look-up";

    async fn read(&self, _: Digest, question: Question) -> Loaded<Option<TokenFacts>, CannotTell> {
        let found = match &question.only_owner_of {
            Some(known) => self.owned(known).await.map(Some),
            None => self.ask(&question).await,
        };
        found.map_err(Arc::new)
    }
}

impl Asking {
    /// Fails if the metrics are registered already.
    fn new(consumers: Consumers, clock: Arc<dyn Clock>, metrics: &Metrics) -> Result<Self, prometheus::Error> {
        Ok(Self { consumers, clock, metrics: Arc::new(TokenMetrics::register(metrics)?) })
    }

    /// Asks the authorities in turn.
    async fn ask(&self, question: &Question) -> Result<Option<TokenFacts>, CannotTell> {
        let mut untold = None;
        for authority in question.candidates.of_token(question.query.token.expose()) {
            let asked_at = self.clock.now_millis();
            match authority.verify(&question.query, asked_at).await {
                Ok(Said::Active(active)) => return self.facts(authority.facts(), active, asked_at).await.map(Some),
                Ok(Said::Inactive) => {}
                Err(error) => untold = Some(error),
            }
        }
        untold.map_or(Ok(None), Err)
    }

    async fn facts(
        &self,
        authority: &Arc<AuthorityFacts>,
        active: Active,
        asked_at: i64,
    ) -> Result<TokenFacts, CannotTell> {
        let took = u32::try_from(self.clock.now_millis().saturating_sub(asked_at)).unwrap_or_default();
        let Active { claims, signed_by } = active;
        let wrong = |wrong: WrongType| CannotTell::malformed(authority.name(), wrong.to_string());
        let time = |name| registered::time(&claims, name).map_err(wrong);
        let (expires_at, not_before) = (time("exp")?.unwrap_or(i64::MAX), time("nbf")?.unwrap_or(i64::MIN));
        let left_out = |path: &ClaimPath| self.metrics.left_out(authority.name(), path.as_str());
        let encoded = authority.kept().encode(&claims, left_out);
        let named = authority.consumer_by().map(|(path, _)| path.of(&claims).and_then(Value::as_str));
        let owner = self.owner(named).await?;
        let authority = Arc::clone(authority);
        let terms = Terms { authority, signed_by, owner, expires_at, not_before, asked_at, took, kept: encoded.count };
        Ok(TokenFacts::new(terms, &encoded.bytes))
    }

    /// The same token, whose consumer is looked up again.
    async fn owned(&self, known: &TokenFacts) -> Result<TokenFacts, CannotTell> {
        let named = known.terms().authority.consumer_by().map(|(_, position)| match known.claim(*position) {
            Some(Kept::Text(name)) => Some(name),
            _ => None,
        });
        Ok(known.owned_by(self.owner(named).await?))
    }

    /// `named`: what the claim says, if the configuration names one.
    async fn owner(&self, named: Option<Option<&str>>) -> Result<Owner, CannotTell> {
        let Some(named) = named else { return Ok(Owner::NotAsked) };
        // Taken before the store is queried.
        let changes = self.consumers.changes();
        let Some(name) = named.filter(|name| !name.is_empty()) else { return Ok(Owner::Nobody(changes)) };
        let found = self.consumers.named(name).await.map_err(CannotTell::Store)?;
        Ok(found.map_or(Owner::Nobody(changes), Owner::Consumer))
    }
}

/// Tokens that are cached in a test.
#[cfg(test)]
pub(crate) fn of_test(
    consumers: Consumers,
    clock: Arc<dyn Clock>,
    trust: Arc<dyn Trust>,
    registry: prometheus::Registry,
) -> Arc<ThirdPartyTokens> {
    let metrics = Metrics::new(registry, [crate::metrics::PREFIX]);
    let asking = Asking::new(consumers, clock, &metrics).unwrap();
    let bounds = Bounds { bytes: 1 << 20, negative_millis: 5_000 };
    Arc::new(ThirdPartyTokens::new(asking, bounds, trust, OwnTokens::new([7; 32], Vec::new())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_token_passes_for_the_request() {
        let candidates = Candidates::new(Vec::new());
        let digest = |token, request| candidates.digest(&QueryText { token, request });
        let digests = [
            digest("t", None),
            digest("t", Some(("GET", "/a"))),
            digest("t", Some(("GET", "/b"))),
            digest("t\nGET\n/a", None),
            digest("t\nGET", Some(("GET", "/a"))),
            digest("t", Some(("GET\nGET", "/a"))),
        ];
        for (index, one) in digests.iter().enumerate() {
            assert!(digests.iter().skip(index + 1).all(|other| one != other), "{index}");
        }
    }
}
