//! Credentials by `client_id`, for the token and authorization endpoints: kept in memory, exact
//! after a change of the credential, of its name or of its consumer.
//!
//! An unknown name is not remembered: there is no bound on the names that can be asked for.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use async_trait::async_trait;
use moka::sync::Cache;
use serde_json::{Value, json};
use tollgate_core::collection::{Collection, Key};
use tollgate_core::error::StoreError;
use uuid::Uuid;

use crate::client::Credentials;
use crate::entity::credential::{self, Credential};
use crate::generation::Generations;

/// Clients that asked for tokens recently; a few hundred bytes each.
const ENTRIES: u64 = 100_000;

/// The credentials of recent clients.
pub struct CachedCredentials {
    collection: Arc<dyn Collection>,
    by_client_id: Cache<String, Arc<Credential>>,
    /// The names that are cached, by the credential's id: a change tells only that.
    names: Cache<Uuid, String>,
    generations: Generations,
    hasher: RandomState,
}

impl CachedCredentials {
    /// Over the store of `oauth2_credentials`.
    pub fn new(collection: Arc<dyn Collection>) -> Self {
        Self {
            collection,
            by_client_id: Cache::new(ENTRIES),
            names: Cache::new(ENTRIES),
            generations: Generations::new(),
            hasher: RandomState::new(),
        }
    }

    /// A credential changed or is gone.
    pub fn forget(&self, id: Uuid) {
        // A load of any name may be reading this credential right now.
        self.generations.advance_all();
        if let Some(name) = self.names.remove(&id) {
            self.by_client_id.invalidate(&name);
        }
    }

    /// Any credential may have changed.
    pub fn forget_all(&self) {
        self.generations.advance_all();
        self.by_client_id.invalidate_all();
        self.names.invalidate_all();
    }

    /// What is cached of a client, by its `client_id` or the credential's id, without its secret.
    pub fn shown(&self, name: &str) -> Option<Value> {
        let of_id = || self.by_client_id.get(&self.names.get(&Uuid::parse_str(name).ok()?)?);
        let credential = self.by_client_id.get(name).or_else(of_id)?;
        Some(json!({
            "id": credential.id, "client_id": credential.client_id, "name": credential.name,
            "client_type": credential.client_type.to_string(), "redirect_uris": credential.redirect_uris,
            "consumer": {"id": credential.consumer_id},
        }))
    }

    fn keep(&self, credential: &Arc<Credential>) {
        self.by_client_id.insert(credential.client_id.clone(), Arc::clone(credential));
        self.names.insert(credential.id, credential.client_id.clone());
    }
}

#[async_trait]
impl Credentials for CachedCredentials {
    async fn by_client_id(&self, client_id: &str) -> Result<Option<Arc<Credential>>, StoreError> {
        if let Some(known) = self.by_client_id.get(client_id) {
            return Ok(Some(known));
        }
        let stripe = self.hasher.hash_one(client_id);
        let before = self.generations.current(stripe);
        let key = Key::Unique { field: "client_id", value: client_id.to_owned() };
        let Some(document) = self.collection.find(&key).await? else { return Ok(None) };
        let credential = Credential::try_from(&document)
            .map_err(|unreadable| StoreError::Corrupt { kind: credential::NAME, what: unreadable.field })?;
        let credential = Arc::new(credential);
        self.keep(&credential);
        if self.generations.current(stripe) != before {
            // It changed while it was read: good for this request, not for later ones.
            self.by_client_id.invalidate(client_id);
        }
        Ok(Some(credential))
    }
}
