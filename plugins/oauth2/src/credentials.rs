//! Credentials by `client_id`, for the token and authorization endpoints: cached in memory, exact
//! after a change of the credential or its name.
//!
//! There is a single structure: an entry carries the generation of its credential ([`Generations`]), so a
//! change, which names only the credential's id, need not find it. A renamed entry stays under its old name, stale,
//! until that name is requested or others take its room.
//!
//! Unknown names are not cached: their number is unbounded.

use std::sync::Arc;

use async_trait::async_trait;
use moka::sync::Cache;
use serde_json::{Value, json};
use tollgate_core::collection::{Collection, Document, Key};
use tollgate_core::error::StoreError;
use tollgate_plugin::cache::model::{self, Map};
use tollgate_plugin::cache::{Counter, Generation, Generations, Stamped, Trust, head};
use uuid::Uuid;

use crate::client::Credentials;
use crate::entity::credential::{self, Credential};

/// The number of cached clients; a few hundred bytes each.
const ENTRIES: u64 = 100_000;

/// The credentials of recent clients.
pub struct CachedCredentials {
    collection: Arc<dyn Collection>,
    trust: Arc<dyn Trust>,
    by_client_id: Map<String, Stamped<Arc<Credential>>>,
    /// Generations of credentials, by id.
    generations: Generations,
    /// Incremented by every change, before the generation of its credential is.
    changes: Counter,
}

impl CachedCredentials {
    /// Reads from the store of `oauth2_credentials`.
    pub fn new(collection: Arc<dyn Collection>, trust: Arc<dyn Trust>) -> Self {
        Self::of_at_most(ENTRIES, collection, trust)
    }

    fn of_at_most(entries: u64, collection: Arc<dyn Collection>, trust: Arc<dyn Trust>) -> Self {
        Self {
            collection,
            trust,
            by_client_id: model::map(Cache::new(entries)),
            generations: Generations::new(),
            changes: Counter::new(),
        }
    }

    /// A credential was changed or deleted.
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

    /// The cached entry of a client, by its `client_id` or the credential's id, without its secret.
    pub fn shown(&self, name: &str) -> Option<Value> {
        let of_id = || {
            let id = Uuid::parse_str(name).ok()?;
            // Rarely used, and only by operators: not worth an index.
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

    /// Which generation to take is known only after the credential is read. If nothing at all has
    /// changed by then, it equals the one from before the read.
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
        let credential = Arc::new(read(&document)?);
        self.keep(before, &credential);
        Ok(Some(credential))
    }

    /// Rarely used: not worth an index.
    async fn by_id(&self, id: Uuid) -> Result<Option<Arc<Credential>>, StoreError> {
        let found = self.collection.find(&Key::Id(id)).await?;
        found.map(|document| read(&document).map(Arc::new)).transpose()
    }
}

fn read(document: &Document) -> Result<Credential, StoreError> {
    let corrupt =
        |unreadable: credential::Unreadable| StoreError::Corrupt { kind: credential::NAME, what: unreadable.field };
    Credential::try_from(document).map_err(corrupt)
}

#[cfg(test)]
mod tests {
    use tollgate_plugin::testing::Feed;

    use super::*;
    use crate::store::memory::MemoryCollection;

    struct Clients {
        stored: Arc<MemoryCollection>,
        feed: Arc<Feed>,
        cached: CachedCredentials,
    }

    impl Clients {
        /// With a cache of at most this number of entries.
        fn of_at_most(entries: u64) -> Self {
            let (stored, feed) = (MemoryCollection::new(credential::NAME), Feed::new());
            let cached = CachedCredentials::of_at_most(entries, stored.clone(), feed.clone());
            Self { stored, feed, cached }
        }

        fn put(&self, id: u128, client_id: &str, redirect_uri: &str) {
            let document = json!({
                "name": "n", "client_id": client_id, "client_secret": "s", "hash_secret": false,
                "client_type": "confidential", "redirect_uris": [redirect_uri], "consumer": {"id": Uuid::nil()},
            });
            self.stored.put(Uuid::from_u128(id), document);
        }

        async fn redirect_uri(&self, client_id: &str) -> Option<String> {
            let found = self.cached.by_client_id(client_id).await.unwrap()?;
            found.redirect_uris.first().cloned()
        }
    }

    #[tokio::test]
    async fn a_changed_client_is_forgotten_however_many_others_have_asked() {
        let clients = Clients::of_at_most(1);
        // One of several stays; which one is up to the cache.
        for id in 1..20 {
            clients.put(id, &format!("client-{id}"), "http://old.test/");
            assert!(clients.redirect_uri(&format!("client-{id}")).await.is_some());
            clients.cached.by_client_id.run_pending_tasks();
        }
        for id in 1..20 {
            clients.put(id, &format!("client-{id}"), "http://new.test/");
            clients.cached.forget(Uuid::from_u128(id));
            assert_eq!(clients.redirect_uri(&format!("client-{id}")).await.as_deref(), Some("http://new.test/"));
        }
    }

    #[tokio::test]
    async fn a_renamed_client_is_gone_from_its_old_name_and_another_can_have_it() {
        let clients = Clients::of_at_most(100);
        clients.put(1, "a", "http://one.test/");
        assert!(clients.redirect_uri("a").await.is_some());
        clients.put(1, "b", "http://one.test/");
        clients.cached.forget(Uuid::from_u128(1));
        assert_eq!(clients.redirect_uri("a").await, None);
        clients.put(2, "a", "http://two.test/");
        clients.cached.forget(Uuid::from_u128(2));
        assert_eq!(clients.redirect_uri("a").await.as_deref(), Some("http://two.test/"));
        assert_eq!(clients.redirect_uri("b").await.as_deref(), Some("http://one.test/"));
    }

    #[tokio::test]
    async fn a_cached_client_is_shown_by_name_and_by_id_while_it_is_current() {
        let clients = Clients::of_at_most(100);
        clients.put(1, "a", "http://one.test/");
        let id = Uuid::from_u128(1);
        assert_eq!(clients.cached.shown("a"), None);
        assert!(clients.redirect_uri("a").await.is_some());
        let shown = clients.cached.shown("a").unwrap();
        assert_eq!(
            (&shown["id"], &shown["client_id"], &shown["client_secret"]),
            (&json!(id), &json!("a"), &Value::Null)
        );
        assert_eq!(clients.cached.shown(&id.to_string()), Some(shown));
        clients.cached.forget(id);
        assert_eq!((clients.cached.shown("a"), clients.cached.shown(&id.to_string())), (None, None));
    }

    #[tokio::test]
    async fn without_the_change_feed_the_store_is_queried() {
        let clients = Clients::of_at_most(100);
        clients.put(1, "a", "http://old.test/");
        assert!(clients.redirect_uri("a").await.is_some());
        clients.put(1, "a", "http://new.test/");
        assert_eq!(clients.redirect_uri("a").await.as_deref(), Some("http://old.test/"), "no change was received");
        clients.feed.stop();
        assert_eq!(clients.redirect_uri("a").await.as_deref(), Some("http://new.test/"));
    }
}
