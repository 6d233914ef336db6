//! Clients at the endpoints, as the access log names them: with their consumer, which the endpoints themselves do not
//! need.
//!
//! Looked up only for requests that are logged, and kept until it changes.

use std::sync::Arc;

use moka::sync::Cache;
use tollgate_core::notes;
use tollgate_core::request::Request;
use tollgate_plugin::cache::SharedFact;
use tollgate_plugin::cache::model::{self, Map};
use tollgate_plugin::{CredentialFacts, Credentials};
use uuid::Uuid;

/// The number of clients whose names are kept; others are looked up again.
const CLIENTS: u64 = 10_000;

/// The names of clients.
pub struct Callers {
    credentials: Credentials,
    known: Map<Uuid, Arc<CredentialFacts>>,
}

impl Callers {
    /// Reads credentials with their consumers.
    pub fn new(credentials: Credentials) -> Self {
        Self { credentials, known: model::map(Cache::new(CLIENTS)) }
    }

    /// Notes that this client sent the request, or says so.
    pub async fn note(&self, credential: Uuid, client_id: &str, request: &Request<'_>) {
        if request.notes.is_none() {
            return;
        }
        let named = self.named(credential).await;
        request.note(|caller| match &named {
            Some(facts) => facts.note(caller),
            None => (caller.credential, caller.client_id) = (Some(credential), Some(client_id.into())),
        });
    }

    /// `None`: it was deleted, or the store does not say; the request is served all the same.
    async fn named(&self, credential: Uuid) -> Option<Arc<CredentialFacts>> {
        if let Some(known) = self.known.get(&credential).filter(|known| known.is_current()) {
            return Some(known);
        }
        let facts = self.credentials.load(credential).await.ok().flatten()?;
        self.known.insert(credential, Arc::clone(&facts));
        Some(facts)
    }
}

/// Notes the token that a request is about.
pub fn note_token(token: &str, request: &Request<'_>) {
    request.note(|caller| caller.token_hint = notes::hint(token).map(Box::from));
}
