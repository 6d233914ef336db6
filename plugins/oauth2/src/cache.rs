//! The token cache: what tokens are, never what they permit. A [`FactCache`] that reads tokens.

use std::sync::Arc;

use moka::sync::Cache;
use tollgate_core::clock::Clock;
use tollgate_core::error::StoreError;
use tollgate_plugin::cache::model::{self, Map};
use tollgate_plugin::cache::{FactCache, Generation, Loaded, SharedFacts, Source};
use tollgate_plugin::{CredentialFacts, Credentials, identity_value};
use uuid::Uuid;

use crate::binding::Binding;
use crate::store::{Token, Tokens};
use crate::token::Digest;
use crate::token_facts::{Facts, Grant, Service, Terms, Times};

/// The maximum number of distinct grants that are shared.
const GRANTS: u64 = 10_000;

/// Facts about tokens, by the digest of the access token.
pub type TokenCache = FactCache<Facts, TokenSource>;

/// What tokens share a grant by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct GrantKey {
    scope: Option<String>,
    binding: Option<Arc<Binding>>,
}

/// The tokens in the store, with what they refer to.
pub struct TokenSource {
    store: Arc<dyn Tokens>,
    credentials: Credentials,
    services: SharedFacts<Service>,
    grants: Map<GrantKey, Arc<Grant>>,
    clock: Arc<dyn Clock>,
}

impl TokenSource {
    /// Reads from the store of tokens and the credentials of their clients.
    pub fn new(store: Arc<dyn Tokens>, credentials: Credentials, clock: Arc<dyn Clock>) -> Self {
        Self { store, credentials, services: SharedFacts::new(), grants: model::map(Cache::new(GRANTS)), clock }
    }

    /// The credentials of the clients that tokens were issued to.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// A service was changed or deleted. Call this after the cache has recorded that facts have ended.
    pub fn service_changed(&self, id: Uuid) {
        self.services.invalidate(id);
    }

    /// The services of all tokens may have been deleted.
    pub fn services_changed(&self) {
        self.services.invalidate_all();
    }

    /// What a token was granted, shared by all tokens with that scope and audience. Fails if the scope is not valid in a
    /// header.
    fn grant(&self, token: &Token) -> Result<Option<Arc<Grant>>, StoreError> {
        if token.scope.is_none() && token.binding.is_none() {
            return Ok(None);
        }
        // The key or certificate that a token is bound to is shared by few.
        let is_shared = token.binding.as_ref().is_none_or(|binding| binding.confirmation.is_none());
        let key = is_shared.then(|| GrantKey { scope: token.scope.clone(), binding: token.binding.clone() });
        if let Some(known) = key.as_ref().and_then(|key| self.grants.get(key)) {
            return Ok(Some(known));
        }
        // Identity that cannot be sent upstream is not left out silently.
        let value = |scope| identity_value(scope).ok_or(StoreError::Corrupt { kind: "oauth2_tokens", what: "scope" });
        let scope = token.scope.as_deref().map(value).transpose()?;
        let grant = Arc::new(Grant { scope, binding: token.binding.clone() });
        if let Some(key) = key {
            self.grants.insert(key, Arc::clone(&grant));
        }
        Ok(Some(grant))
    }

    fn facts(&self, token: &Token, credential: Arc<CredentialFacts>) -> Result<Facts, StoreError> {
        let grant = self.grant(token)?;
        let userid = token.authenticated_userid.as_deref();
        if userid.is_some_and(|userid| identity_value(userid).is_none()) {
            return Err(StoreError::Corrupt { kind: "oauth2_tokens", what: "authenticated_userid" });
        }
        let service = token.service_id.map(|id| self.services.get_or_add(id, || Service::new(id)));
        let times = Times::new(token.created_at, valid_until(token));
        Ok(Facts::new(Terms { credential, service, times, grant }, userid))
    }

    async fn find(&self, digest: Digest) -> Loaded<Option<Facts>> {
        let now = self.clock.now();
        let found = self.store.look_up_tokens(&[digest], now).await.map_err(Arc::new)?;
        let Some(token) = found.into_iter().find(|token| token.access_token == digest) else { return Ok(None) };
        let Some(credential) = self.credentials.load(token.credential_id).await? else { return Ok(None) };
        self.facts(&token, credential).map(Some).map_err(Arc::new)
    }
}

impl Source<Facts> for TokenSource {
    type Question = ();
    type Error = StoreError;

    async fn read(&self, digest: Digest, (): ()) -> Loaded<Option<Facts>> {
        let read = self.find(digest).await;
        if let Err(error) = &read
            && !error.is_reported()
        {
            tracing::warn!(error = &**error as &dyn std::error::Error, "token look-up failed");
        }
        read
    }

    fn endings(&self) -> Generation {
        self.credentials.endings()
    }
}

/// A token whose age equals `expires_in` is still valid (oauth2.md §3.9), and a row exists until its
/// `ttl` has passed.
fn valid_until(token: &Token) -> i64 {
    let expiry = if token.expires_in <= 0 { i64::MAX } else { token.created_at.saturating_add(token.expires_in) };
    expiry.min(token.ttl.unwrap_or(i64::MAX))
}
