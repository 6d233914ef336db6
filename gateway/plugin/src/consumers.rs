//! Consumers as requests need them, shared by all authentication plugins.
//!
//! Invariant: a consumer's facts that are no longer true are invalidated before the write that made them untrue
//! is answered ([`SharedFacts`]). They live as long as something refers to them. A node that has lost the
//! change feed is given none that is known, and asks the store.

use std::sync::Arc;

use async_trait::async_trait;
use http::HeaderValue;
use moka::sync::Cache;
use serde_json::{Value, json};
use tollgate_core::change::{Change, ChangeListener, Operation};
use tollgate_core::collection::{Collection, Key};
use tollgate_core::error::StoreError;
use tollgate_core::request::{BlockName, HeaderBlock};
use uuid::Uuid;

use crate::cache::model::{self, Map};
use crate::cache::{Counter, Generation, Invalidation, OnConflict, SharedFact, SharedFacts, Trust};

/// The kind of entity.
const KIND: &str = "consumers";

/// Names of anonymous consumers that are remembered: as many as the configuration names, and bounded in case
/// it changes its mind often.
const ANONYMOUS: u64 = 10_000;

/// A consumer, with what the upstream hears of it. What a request reads is a cache line.
#[derive(Debug)]
pub struct ConsumerFacts {
    /// Its id.
    pub id: Uuid,
    /// What the upstream hears when requests fall through to this consumer.
    pub anonymous_headers: HeaderBlock,
    names: Box<Names>,
    invalidation: Invalidation,
}

/// What a consumer is called.
#[derive(Debug)]
struct Names {
    /// Unique if there is one.
    username: Option<String>,
    /// The operator's own id for it.
    custom_id: Option<String>,
}

impl SharedFact for ConsumerFacts {
    fn invalidation(&self) -> &Invalidation {
        &self.invalidation
    }
}

static IDENTITY: [BlockName; 5] = [
    BlockName::new("x-consumer-id", "X-Consumer-ID"),
    BlockName::new("x-consumer-custom-id", "X-Consumer-Custom-ID"),
    BlockName::new("x-consumer-username", "X-Consumer-Username"),
    BlockName::new("x-credential-identifier", "X-Credential-Identifier"),
    BlockName::new("x-anonymous-consumer", "X-Anonymous-Consumer"),
];

impl ConsumerFacts {
    /// Of a consumer with these names.
    pub fn new(id: Uuid, username: Option<String>, custom_id: Option<String>) -> Self {
        let names = Names { username, custom_id };
        let anonymous_headers = names.headers(id, None);
        Self { id, anonymous_headers, names: Box::new(names), invalidation: Invalidation::new() }
    }

    /// What the upstream hears of the consumer when it is known by a credential with this
    /// `X-Credential-Identifier` (oauth2.md §4.3).
    pub fn headers(&self, credential: &HeaderValue) -> HeaderBlock {
        self.names.headers(self.id, Some(credential))
    }

    /// Its username.
    pub fn username(&self) -> Option<&str> {
        self.names.username.as_deref()
    }
}

impl Names {
    /// The headers that tell of a consumer, and of the credential by which it is known or else that it is
    /// anonymous.
    fn headers(&self, consumer: Uuid, credential: Option<&HeaderValue>) -> HeaderBlock {
        let id = header_value(&consumer.to_string());
        let username = self.username.as_deref().and_then(header_value);
        let custom_id = self.custom_id.as_deref().and_then(header_value);
        let anonymous = credential.is_none().then(|| HeaderValue::from_static("true"));
        let values = [id.as_ref(), custom_id.as_ref(), username.as_ref(), credential, anonymous.as_ref()];
        HeaderBlock::new(&IDENTITY, values)
    }
}

/// A header value; `None` for text that cannot be one (control characters), or would be another text to its
/// reader (white space at an end, which readers take off). It then is not sent.
pub fn header_value(text: &str) -> Option<HeaderValue> {
    if text.trim() != text {
        return None;
    }
    HeaderValue::from_bytes(text.as_bytes()).ok()
}

/// Loads and shares consumers. Cheap to clone.
#[derive(Clone)]
pub struct Consumers {
    inner: Arc<Inner>,
}

struct Inner {
    collection: Arc<dyn Collection>,
    trust: Arc<dyn Trust>,
    known: SharedFacts<ConsumerFacts>,
    /// Those that plugins name as anonymous, by that name.
    anonymous: Map<String, Arc<ConsumerFacts>>,
    endings: Counter,
}

impl Consumers {
    /// Over the store of consumers. What it knows is exact as long as it hears of changes
    /// ([`ChangeListener`]).
    pub fn new(collection: Arc<dyn Collection>, trust: Arc<dyn Trust>) -> Self {
        let inner = Inner {
            collection,
            trust,
            known: SharedFacts::new(),
            anonymous: model::map(Cache::new(ANONYMOUS)),
            endings: Counter::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The consumer with this id; `None` when there is none. It may have changed by now.
    ///
    /// # Errors
    /// The store failed.
    pub async fn load(&self, id: Uuid) -> Result<Option<Arc<ConsumerFacts>>, StoreError> {
        self.load_for(id, self.on_conflict()).await
    }

    /// What to do with facts that are known, when the store is asked now.
    pub(crate) fn on_conflict(&self) -> OnConflict {
        if self.inner.trust.is_current() { OnConflict::Share } else { OnConflict::Replace }
    }

    pub(crate) async fn load_for(
        &self,
        id: Uuid,
        on_conflict: OnConflict,
    ) -> Result<Option<Arc<ConsumerFacts>>, StoreError> {
        let known = || self.inner.known.get(id);
        if let Some(known) = (on_conflict == OnConflict::Share).then(known).flatten() {
            return Ok(Some(known));
        }
        let ticket = self.inner.known.ticket(id, on_conflict);
        let Some(document) = self.inner.collection.find(&Key::Id(id)).await? else { return Ok(None) };
        let text = |field| document.text(field).map(str::to_owned);
        let facts = ConsumerFacts::new(id, text("username"), text("custom_id"));
        Ok(Some(self.inner.known.add(id, ticket, facts)))
    }

    /// Moves with every change that may have ended credentials of a consumer, before the consumer's facts are
    /// invalidated.
    pub fn endings(&self) -> Generation {
        self.inner.endings.current()
    }

    /// The consumer that a plugin names as anonymous, if it is known already.
    pub fn known_anonymous(&self, name: &str) -> Option<Arc<ConsumerFacts>> {
        let known = self.inner.anonymous.get(name).filter(|consumer| consumer.is_current())?;
        self.inner.trust.is_current().then_some(known)
    }

    /// The consumer that a plugin names as anonymous: by id, then by username (oauth2.md §4.4).
    ///
    /// # Errors
    /// The store failed.
    pub async fn anonymous(&self, name: &str) -> Result<Option<Arc<ConsumerFacts>>, StoreError> {
        if let Some(known) = self.known_anonymous(name) {
            return Ok(Some(known));
        }
        let on_conflict = self.on_conflict();
        let named_id = Uuid::parse_str(name).ok();
        let by_id = match named_id {
            Some(id) => self.load_for(id, on_conflict).await?,
            None => None,
        };
        let found = match by_id {
            Some(consumer) => Some(consumer),
            None => self.by_username(name, on_conflict).await?,
        };
        // A username that could be an id is another consumer's from the moment there is one with it.
        if let Some(consumer) = found.as_ref().filter(|found| named_id.is_none_or(|id| id == found.id)) {
            self.inner.anonymous.insert(name.to_owned(), Arc::clone(consumer));
        }
        Ok(found)
    }

    async fn by_username(&self, name: &str, on_conflict: OnConflict) -> Result<Option<Arc<ConsumerFacts>>, StoreError> {
        let key = Key::Unique { field: "username", value: name.to_owned() };
        let Some(document) = self.inner.collection.find(&key).await? else { return Ok(None) };
        let id = document.id().ok_or(StoreError::Corrupt { kind: KIND, what: "id" })?;
        // Read again by id, so that a rename meanwhile is noticed.
        let consumer = self.load_for(id, on_conflict).await?;
        Ok(consumer.filter(|consumer| consumer.username() == Some(name)))
    }

    /// What is known of a consumer at the moment, for the Admin API.
    pub fn shown(&self, id: Uuid) -> Option<Value> {
        let known = self.inner.known.get(id)?;
        Some(json!({"id": id, "username": known.names.username, "custom_id": known.names.custom_id}))
    }

    /// Nothing that was learnt counts any more.
    pub fn forget_all(&self) {
        self.inner.endings.advance();
        self.inner.known.invalidate_all();
        self.inner.anonymous.invalidate_all();
    }
}

#[async_trait]
impl ChangeListener for Consumers {
    async fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        for change in changes.iter().filter(|change| change.kind == KIND) {
            // Of an entity that was deleted and made again under its id, the feed tells an update: its
            // credentials may have gone with it.
            if change.operation != Operation::Created {
                self.inner.endings.advance();
            }
            self.inner.known.invalidate(change.id);
        }
        Ok(())
    }

    async fn reset(&self) -> Result<(), StoreError> {
        self.forget_all();
        Ok(())
    }
}
