//! Credentials as requests need them: their owner, and the headers that identify both upstream. Everything
//! issued for a credential shares it; exact like [`Consumers`].
//!
//! For kinds that authenticate; other entities that cached facts refer to are
//! [`SharedFacts`](crate::cache::SharedFacts) of the plugin's own. The plugin subscribes its credentials to the
//! change feed. Contains no secrets.

use std::sync::Arc;

use async_trait::async_trait;
use http::HeaderValue;
use serde_json::{Value, json};
use tollgate_core::change::{Change, ChangeListener, Operation};
use tollgate_core::collection::{Collection, Key};
use tollgate_core::error::StoreError;
use tollgate_core::notes::Caller;
use tollgate_core::request::HeaderBlock;
use uuid::Uuid;

use crate::cache::{
    Counter, Generation, Invalidation, Loaded, OnConflict, SharedFact, SharedFacts, SingleFlight, Ticket, head,
};
use crate::consumers::{ConsumerFacts, Consumers, identity_value};

/// A credential with its consumer.
#[derive(Debug)]
pub struct CredentialFacts {
    /// The credential.
    pub id: Uuid,
    /// The owner of the credential.
    pub consumer: Arc<ConsumerFacts>,
    /// Its `X-Credential-Identifier`.
    pub identifier: HeaderValue,
    /// The headers that identify both upstream.
    pub headers: HeaderBlock,
    invalidation: Invalidation,
}

impl CredentialFacts {
    /// A credential of this consumer. `identifier` is the `X-Credential-Identifier`; `None` if it is not a valid
    /// header value.
    pub fn new(id: Uuid, identifier: &str, consumer: Arc<ConsumerFacts>) -> Option<Self> {
        let identifier = identity_value(identifier)?;
        let headers = consumer.headers(&identifier);
        Some(Self { id, consumer, identifier, headers, invalidation: Invalidation::new() })
    }

    /// Notes that a request presented it, or something that was issued for it.
    pub fn note(&self, caller: &mut Caller) {
        self.note_unnamed(caller);
        caller.client_id = std::str::from_utf8(self.identifier.as_bytes()).ok().map(Box::from);
    }

    /// The same, without its identifier.
    pub fn note_unnamed(&self, caller: &mut Caller) {
        self.consumer.note(caller);
        caller.credential = Some(self.id);
    }
}

impl SharedFact for CredentialFacts {
    fn invalidation(&self) -> &Invalidation {
        &self.invalidation
    }

    fn is_current(&self) -> bool {
        !self.invalidation.is_set() && self.consumer.is_current()
    }
}

/// Loads and shares the credentials of one kind. Cheap to clone.
#[derive(Clone)]
pub struct Credentials {
    inner: Arc<Inner>,
}

struct Inner {
    collection: Arc<dyn Collection>,
    /// The field sent upstream as `X-Credential-Identifier`.
    identifier: &'static str,
    consumers: Consumers,
    known: SharedFacts<CredentialFacts>,
    single_flight: SingleFlight<Uuid, Option<Arc<CredentialFacts>>>,
    endings: Counter,
    changes: Counter,
}

impl Credentials {
    /// Reads from the store of a kind with a foreign field `consumer`. Its facts are exact while it receives
    /// changes ([`ChangeListener`]).
    pub fn new(collection: Arc<dyn Collection>, identifier: &'static str, consumers: Consumers) -> Self {
        let inner = Inner {
            collection,
            identifier,
            consumers,
            known: SharedFacts::new(),
            single_flight: SingleFlight::new(),
            endings: Counter::new(),
            changes: Counter::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The entities themselves.
    pub fn collection(&self) -> &Arc<dyn Collection> {
        &self.inner.collection
    }

    /// The credential with its consumer; `None` when there is none. It may have been deleted by now.
    ///
    /// # Errors
    /// The store failed, for all callers that waited.
    pub async fn load(&self, id: Uuid) -> Loaded<Option<Arc<CredentialFacts>>> {
        let on_conflict = self.inner.consumers.on_conflict();
        if on_conflict == OnConflict::Share
            && let Some(known) = self.inner.known.get(id)
        {
            return Ok(Some(known));
        }
        let ticket = self.inner.known.ticket(id, on_conflict);
        let credentials = self.clone();
        let load = move || async move { credentials.read(id, ticket).await.map_err(Arc::new) };
        let (_, lookup) = self.inner.single_flight.join(id, head(id), ticket.generation(), load);
        lookup.await
    }

    async fn read(&self, id: Uuid, ticket: Ticket) -> Result<Option<Arc<CredentialFacts>>, StoreError> {
        let Some(document) = self.inner.collection.find(&Key::Id(id)).await? else { return Ok(None) };
        let consumer = document.reference("consumer");
        let consumer = consumer.ok_or(StoreError::Corrupt { kind: self.kind(), what: "consumer" })?;
        let Some(consumer) = self.inner.consumers.load_for(consumer, ticket.on_conflict()).await? else {
            return Ok(None);
        };
        let identifier = document.text(self.inner.identifier).unwrap_or_default();
        let facts = CredentialFacts::new(id, identifier, consumer);
        let facts = facts.ok_or(StoreError::Corrupt { kind: self.kind(), what: self.inner.identifier })?;
        Ok(Some(self.inner.known.add(id, ticket, facts)))
    }

    fn kind(&self) -> &'static str {
        self.inner.collection.kind().name
    }

    /// Increases with every change that may have ended what was issued for a credential, whether the change is of
    /// the credential or of its consumer, before the facts are invalidated.
    pub fn endings(&self) -> Generation {
        self.inner.endings.current().and(self.inner.consumers.endings())
    }

    /// Increases with every change of a credential.
    pub fn changes(&self) -> Generation {
        self.inner.changes.current()
    }

    /// What is currently known about a credential, for the Admin API.
    pub fn shown(&self, id: Uuid) -> Option<Value> {
        let known = self.inner.known.get(id)?;
        Some(json!({"id": id, "consumer": {"id": known.consumer.id}}))
    }

    /// Nothing read before is valid any more.
    pub fn forget_all(&self) {
        self.inner.endings.advance();
        self.inner.changes.advance();
        self.inner.known.invalidate_all();
    }
}

#[async_trait]
impl ChangeListener for Credentials {
    async fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        for change in changes.iter().filter(|change| change.kind == self.kind()) {
            // For an entity that was deleted and recreated under its id, the feed reports an update.
            if change.operation != Operation::Created {
                self.inner.endings.advance();
            }
            self.inner.changes.advance();
            self.inner.known.invalidate(change.id);
        }
        Ok(())
    }

    async fn reset(&self) -> Result<(), StoreError> {
        self.forget_all();
        Ok(())
    }
}
