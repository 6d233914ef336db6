//! Credentials by `client_id`, for the token and authorization endpoints: kept in memory, exact
//! after a change of the credential or of its name.
//!
//! One structure: what is kept bears the generation of its credential ([`crate::generation`]), so a
//! change, which tells only the credential's id, need not find it. It lies under its old name until
//! somebody asks for that or others take its room, and counts for nothing.
//!
//! An unknown name is not remembered: there is no bound on the names that can be asked for.

use std::sync::Arc;

use async_trait::async_trait;
use moka::sync::Cache;
use serde_json::{Value, json};
use tollgate_core::collection::{Collection, Key};
use tollgate_core::error::StoreError;
use uuid::Uuid;

use crate::cache::Trust;
use crate::client::Credentials;
use crate::entity::credential::{self, Credential};
use crate::generation::{Counter, Generation, Generations, Stamped, head};
use crate::sync::{self, Map};

/// Clients that asked for tokens recently; a few hundred bytes each.
const ENTRIES: u64 = 100_000;

/// The credentials of recent clients.
pub struct CachedCredentials {
    collection: Arc<dyn Collection>,
    trust: Arc<dyn Trust>,
    by_client_id: Map<String, Stamped<Arc<Credential>>>,
    /// Of credentials, by id.
    generations: Generations,
    /// Moves with every change, before the generation of its credential does.
    changes: Counter,
}

impl CachedCredentials {
    /// Over the store of `oauth2_credentials`.
    pub fn new(collection: Arc<dyn Collection>, trust: Arc<dyn Trust>) -> Self {
        Self::of_at_most(ENTRIES, collection, trust)
    }

    fn of_at_most(entries: u64, collection: Arc<dyn Collection>, trust: Arc<dyn Trust>) -> Self {
        Self {
            collection,
            trust,
            by_client_id: sync::map(Cache::new(entries)),
            generations: Generations::new(),
            changes: Counter::new(),
        }
    }

    /// A credential changed or is gone.
    pub fn forget(&self, id: Uuid) {
        self.changes.advance();
        self.generations.advance(head(id));
    }

    /// Any credential may have changed.
    pub fn forget_all(&self) {
        self.changes.advance();
        self.generations.advance_all();
        self.by_client_id.invalidate_all();
    }

    /// What is cached of a client, by its `client_id` or the credential's id, without its secret.
    pub fn shown(&self, name: &str) -> Option<Value> {
        let of_id = || {
            let id = Uuid::parse_str(name).ok()?;
            // Seldom asked, and by operators alone: not worth an index.
            let mut all = self.by_client_id.iter();
            all.find_map(|(_, kept)| self.current(&kept).filter(|credential| credential.id == id))
        };
        let credential = self.known(name).or_else(of_id)?;
        Some(json!({
            "id": credential.id, "client_id": credential.client_id, "name": credential.name,
            "client_type": credential.client_type.to_string(), "redirect_uris": credential.redirect_uris,
            "consumer": {"id": credential.consumer_id},
        }))
    }

    fn known(&self, client_id: &str) -> Option<Arc<Credential>> {
        self.current(&self.by_client_id.get(client_id)?)
    }

    fn current(&self, kept: &Stamped<Arc<Credential>>) -> Option<Arc<Credential>> {
        kept.at_its(|credential| self.generations.current(head(credential.id))).cloned()
    }

    /// Whose generation to take is known only when the credential is read. If nothing at all has
    /// changed by the time it is taken, it is the one from before.
    fn keep(&self, before: Generation, credential: &Arc<Credential>) {
        let generation = self.generations.current(head(credential.id));
        if self.changes.current() == before {
            let kept = Stamped::new(generation, Arc::clone(credential));
            self.by_client_id.insert(credential.client_id.clone(), kept);
        }
    }
}

#[async_trait]
impl Credentials for CachedCredentials {
    async fn by_client_id(&self, client_id: &str) -> Result<Option<Arc<Credential>>, StoreError> {
        let known = || self.known(client_id);
        if let Some(known) = self.trust.is_current().then(known).flatten() {
            return Ok(Some(known));
        }
        let before = self.changes.current();
        let key = Key::Unique { field: "client_id", value: client_id.to_owned() };
        let Some(document) = self.collection.find(&key).await? else { return Ok(None) };
        let credential = Credential::try_from(&document)
            .map_err(|unreadable| StoreError::Corrupt { kind: credential::NAME, what: unreadable.field })?;
        let credential = Arc::new(credential);
        self.keep(before, &credential);
        Ok(Some(credential))
    }
}
