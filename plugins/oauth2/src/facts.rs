//! What requests need to know of credentials, consumers and services, shared by all the tokens
//! that refer to it.
//!
//! Invariant: a shared object that no longer tells the truth is marked as ended before the write
//! that made it untrue is answered. Whoever holds one checks the mark on every use, so nothing has
//! to be searched for. The objects are known by weak references: they live as long as some cached
//! token uses them, and for exactly that long they can be found and marked.
//!
//! No secrets in here; what the token endpoint needs to know of a client is its own affair.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use http::HeaderValue;
use serde_json::{Value, json};
use tollgate_core::collection::{Collection, Document, Key};
use tollgate_core::error::StoreError;
use tollgate_core::request::{BlockName, HeaderBlock};
use uuid::Uuid;

use crate::flight::{Flights, Landed};
use crate::generation::Generations;

/// Something that can stop being true.
pub trait Ends {
    /// Its mark.
    fn mark(&self) -> &AtomicBool;
}

/// A consumer, with what the upstream hears of it. What a request reads is a cache line.
#[derive(Debug)]
pub struct ConsumerFacts {
    /// Its id.
    pub id: Uuid,
    /// What the upstream hears when requests fall through to this consumer.
    pub anonymous_headers: HeaderBlock,
    names: Box<Names>,
    ended: AtomicBool,
}

/// What a consumer is called.
#[derive(Debug)]
struct Names {
    /// Unique if there is one.
    username: Option<String>,
    /// The operator's own id for it.
    custom_id: Option<String>,
}

/// A credential as the guard needs it: who a token was issued to.
#[derive(Debug)]
pub struct Holder {
    /// The credential.
    pub credential_id: Uuid,
    /// Whose credential it is.
    pub consumer: Arc<ConsumerFacts>,
    /// What the upstream hears of both.
    pub headers: HeaderBlock,
    ended: AtomicBool,
}

/// A service that tokens are bound to.
#[derive(Debug)]
pub struct Service {
    /// Its id.
    pub id: Uuid,
    ended: AtomicBool,
}

impl Ends for ConsumerFacts {
    fn mark(&self) -> &AtomicBool {
        &self.ended
    }
}

impl Ends for Holder {
    fn mark(&self) -> &AtomicBool {
        &self.ended
    }
}

impl Ends for Service {
    fn mark(&self) -> &AtomicBool {
        &self.ended
    }
}

impl ConsumerFacts {
    /// Whether this is still what the store says.
    pub fn is_current(&self) -> bool {
        !self.ended.load(Ordering::Acquire)
    }

    fn new(id: Uuid, names: Names) -> Self {
        let anonymous_headers = headers(id, &names, None);
        Self { id, anonymous_headers, names: Box::new(names), ended: AtomicBool::new(false) }
    }
}

static IDENTITY: [BlockName; 5] = [
    BlockName::new("x-consumer-id", "X-Consumer-ID"),
    BlockName::new("x-consumer-custom-id", "X-Consumer-Custom-ID"),
    BlockName::new("x-consumer-username", "X-Consumer-Username"),
    BlockName::new("x-credential-identifier", "X-Credential-Identifier"),
    BlockName::new("x-anonymous-consumer", "X-Anonymous-Consumer"),
];

/// The headers that tell of a consumer, and of the credential by which it is known or else that it
/// is anonymous (contract oauth2.md §4.3).
fn headers(consumer: Uuid, names: &Names, client_id: Option<&HeaderValue>) -> HeaderBlock {
    let id = render(&consumer.to_string());
    let username = names.username.as_deref().and_then(render);
    let custom_id = names.custom_id.as_deref().and_then(render);
    let anonymous = client_id.is_none().then(|| HeaderValue::from_static("true"));
    let values = [id.as_ref(), custom_id.as_ref(), username.as_ref(), client_id, anonymous.as_ref()];
    HeaderBlock::new(&IDENTITY, values)
}

impl Holder {
    fn new(credential_id: Uuid, client_id: &HeaderValue, consumer: Arc<ConsumerFacts>) -> Self {
        let headers = headers(consumer.id, &consumer.names, Some(client_id));
        Self { credential_id, consumer, headers, ended: AtomicBool::new(false) }
    }

    /// Whether this is still what the store says.
    pub fn is_current(&self) -> bool {
        !self.ended.load(Ordering::Acquire) && self.consumer.is_current()
    }
}

impl Service {
    /// Whether the service is still there.
    pub fn is_current(&self) -> bool {
        !self.ended.load(Ordering::Acquire)
    }
}

/// A header value; `None` for text that cannot be one (control characters), or would be another
/// text to its reader (white space at an end, which readers take off). It then is not sent.
pub fn render(text: &str) -> Option<HeaderValue> {
    if text.trim() != text {
        return None;
    }
    HeaderValue::from_bytes(text.as_bytes()).ok()
}

const SHARDS: usize = 64;

type InUse<T> = HashMap<Uuid, Weak<T>>;

/// Objects in use, by id.
struct Shared<T> {
    shards: Box<[Mutex<InUse<T>>]>,
}

impl<T: Ends> Shared<T> {
    fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::new(HashMap::new())).collect() }
    }

    fn get(&self, id: Uuid) -> Option<Arc<T>> {
        self.lock(id).get(&id).and_then(Weak::upgrade)
    }

    /// The object in use under this id, or this one from now on.
    fn get_or_put(&self, id: Uuid, object: impl FnOnce() -> Arc<T>) -> Arc<T> {
        let mut shard = self.lock(id);
        if let Some(known) = shard.get(&id).and_then(Weak::upgrade) {
            return known;
        }
        if shard.len() == shard.capacity() {
            // Before the map grows, it forgets what nobody uses any more.
            shard.retain(|_, known| known.strong_count() > 0);
        }
        let object = object();
        shard.insert(id, Arc::downgrade(&object));
        object
    }

    fn end(&self, id: Uuid) {
        if let Some(known) = self.lock(id).remove(&id).and_then(|known| known.upgrade()) {
            known.mark().store(true, Ordering::Release);
        }
    }

    fn end_all(&self) {
        for shard in &self.shards {
            for (_, known) in shard.lock().unwrap_or_else(PoisonError::into_inner).drain() {
                if let Some(known) = known.upgrade() {
                    known.mark().store(true, Ordering::Release);
                }
            }
        }
    }

    fn lock(&self, id: Uuid) -> MutexGuard<'_, InUse<T>> {
        let index = usize::try_from(head(id) % SHARDS as u64).unwrap_or_default();
        #[expect(clippy::indexing_slicing, reason = "there are SHARDS shards")]
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A hash of an id. Ids may be chosen by clients of the Admin API, so both halves count.
fn head(id: Uuid) -> u64 {
    let (high, low) = id.as_u64_pair();
    (high ^ low.rotate_left(17)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 7
}

/// How often a load starts over because what it read changed under it.
const ATTEMPTS: usize = 4;

/// Loads and shares the facts. Cheap to clone.
#[derive(Clone)]
pub struct Directory {
    inner: Arc<Inner>,
}

struct Inner {
    credentials: Arc<dyn Collection>,
    consumers: Arc<dyn Collection>,
    generations: Generations,
    holders: Shared<Holder>,
    known_consumers: Shared<ConsumerFacts>,
    services: Shared<Service>,
    flights: Flights<Uuid, Option<Arc<Holder>>>,
    /// Consumers that plugins name as anonymous, by that name. As many as the configuration
    /// names, and bounded in case it changes its mind often.
    anonymous: moka::sync::Cache<String, Arc<ConsumerFacts>>,
}

impl Directory {
    /// Over the stores of `oauth2_credentials` and `consumers`.
    pub fn new(credentials: Arc<dyn Collection>, consumers: Arc<dyn Collection>) -> Self {
        let inner = Inner {
            credentials,
            consumers,
            generations: Generations::new(),
            holders: Shared::new(),
            known_consumers: Shared::new(),
            services: Shared::new(),
            flights: Flights::new(),
            anonymous: moka::sync::Cache::new(10_000),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The credential with its consumer; `None` when there is none.
    pub async fn holder(&self, credential_id: Uuid) -> Landed<Option<Arc<Holder>>> {
        for _ in 1..ATTEMPTS {
            if let Some(holder) = self.inner.holders.get(credential_id).filter(|holder| holder.is_current()) {
                return Ok(Some(holder));
            }
            let hash = head(credential_id);
            let generation = self.inner.generations.current(hash);
            let directory = self.clone();
            let load = move || async move { directory.load_holder(credential_id).await.map_err(Arc::new) };
            let (_, flight) = self.inner.flights.board(credential_id, hash, generation, load);
            let holder = flight.await?;
            if holder.as_ref().is_none_or(|holder| holder.is_current()) {
                return Ok(holder);
            }
        }
        self.load_holder(credential_id).await.map_err(Arc::new)
    }

    /// The mark that the tokens of a service share.
    pub fn service(&self, id: Uuid) -> Arc<Service> {
        self.inner.services.get_or_put(id, || Arc::new(Service { id, ended: AtomicBool::new(false) }))
    }

    /// The consumer a plugin names as anonymous, if it is known already.
    pub fn known_anonymous(&self, name: &str) -> Option<Arc<ConsumerFacts>> {
        self.inner.anonymous.get(name).filter(|consumer| consumer.is_current())
    }

    /// The consumer a plugin names as anonymous: by id, then by username (contract oauth2.md §4.4).
    pub async fn anonymous(&self, name: &str) -> Result<Option<Arc<ConsumerFacts>>, StoreError> {
        if let Some(known) = self.known_anonymous(name) {
            return Ok(Some(known));
        }
        let by_id = match Uuid::parse_str(name) {
            Ok(id) => self.consumer(id).await?,
            Err(_) => None,
        };
        let found = match by_id {
            Some(consumer) => Some(consumer),
            None => {
                let key = Key::Unique { field: "username", value: name.to_owned() };
                match self.inner.consumers.find(&key).await? {
                    // Read again by id, so that a rename meanwhile is noticed.
                    Some(document) => self
                        .consumer(id(&document, "consumers")?)
                        .await?
                        .filter(|facts| facts.names.username.as_deref() == Some(name)),
                    None => None,
                }
            }
        };
        if let Some(consumer) = &found {
            self.inner.anonymous.insert(name.to_owned(), Arc::clone(consumer));
        }
        Ok(found)
    }

    /// What is known of a consumer at the moment.
    pub fn shown_consumer(&self, id: Uuid) -> Option<Value> {
        let known = self.inner.known_consumers.get(id).filter(|consumer| consumer.is_current())?;
        Some(json!({"id": id, "username": known.names.username, "custom_id": known.names.custom_id}))
    }

    /// What is known of a credential at the moment.
    pub fn shown_credential(&self, id: Uuid) -> Option<Value> {
        let known = self.inner.holders.get(id).filter(|holder| holder.is_current())?;
        Some(json!({"id": id, "consumer": {"id": known.consumer.id}}))
    }

    /// A credential changed or is gone.
    pub fn credential_changed(&self, id: Uuid) {
        self.inner.generations.advance(head(id));
        self.inner.holders.end(id);
    }

    /// A consumer changed or is gone; with it, what is known of its credentials.
    pub fn consumer_changed(&self, id: Uuid) {
        self.inner.generations.advance(head(id));
        self.inner.known_consumers.end(id);
    }

    /// A service is gone.
    pub fn service_deleted(&self, id: Uuid) {
        self.inner.generations.advance(head(id));
        self.inner.services.end(id);
    }

    /// Nothing that was learnt may be used any more.
    pub fn reset(&self) {
        self.inner.generations.advance_all();
        self.inner.holders.end_all();
        self.inner.known_consumers.end_all();
        self.inner.services.end_all();
        self.inner.anonymous.invalidate_all();
    }

    async fn load_holder(&self, credential_id: Uuid) -> Result<Option<Arc<Holder>>, StoreError> {
        let hash = head(credential_id);
        let generation = self.inner.generations.current(hash);
        let Some(document) = self.inner.credentials.find(&Key::Id(credential_id)).await? else { return Ok(None) };
        let consumer_id = reference(&document, "consumer")?;
        let Some(consumer) = self.consumer(consumer_id).await? else { return Ok(None) };
        let client_id = text(&document, "client_id").and_then(|client_id| render(&client_id));
        let client_id = client_id.ok_or(StoreError::Corrupt { kind: "oauth2_credentials", what: "client_id" })?;
        let new = || Arc::new(Holder::new(credential_id, &client_id, consumer));
        let holder = {
            // An object whose consumer ended is replaced; tokens that hold it notice by themselves.
            if self.inner.holders.get(credential_id).is_some_and(|known| !known.is_current()) {
                self.inner.holders.end(credential_id);
            }
            self.inner.holders.get_or_put(credential_id, new)
        };
        if self.inner.generations.current(hash) != generation {
            self.inner.holders.end(credential_id);
            holder.ended.store(true, Ordering::Release);
        }
        Ok(Some(holder))
    }

    async fn consumer(&self, consumer_id: Uuid) -> Result<Option<Arc<ConsumerFacts>>, StoreError> {
        if let Some(known) = self.inner.known_consumers.get(consumer_id) {
            return Ok(Some(known));
        }
        let hash = head(consumer_id);
        let generation = self.inner.generations.current(hash);
        let Some(document) = self.inner.consumers.find(&Key::Id(consumer_id)).await? else { return Ok(None) };
        let names = Names { username: text(&document, "username"), custom_id: text(&document, "custom_id") };
        let new = || Arc::new(ConsumerFacts::new(consumer_id, names));
        let facts = self.inner.known_consumers.get_or_put(consumer_id, new);
        if self.inner.generations.current(hash) != generation {
            self.inner.known_consumers.end(consumer_id);
            facts.ended.store(true, Ordering::Release);
        }
        Ok(Some(facts))
    }
}

fn text(document: &Document, field: &str) -> Option<String> {
    document.get(field).and_then(|value| value.as_str()).map(str::to_owned)
}

fn id(document: &Document, kind: &'static str) -> Result<Uuid, StoreError> {
    let id = document.get("id").and_then(|id| id.as_str()).and_then(|id| Uuid::parse_str(id).ok());
    id.ok_or(StoreError::Corrupt { kind, what: "id" })
}

fn reference(document: &Document, field: &'static str) -> Result<Uuid, StoreError> {
    let id = document.get(field).and_then(|reference| reference.get("id")).and_then(|id| id.as_str());
    let id = id.and_then(|id| Uuid::parse_str(id).ok());
    id.ok_or(StoreError::Corrupt { kind: "oauth2_credentials", what: field })
}

/// Facts made by hand, for tests and measurements.
pub mod sample {
    use super::*;

    /// A credential of a consumer with these names.
    pub fn holder(client_id: &str, username: &str) -> Arc<Holder> {
        let names = Names { username: Some(username.to_owned()), custom_id: None };
        let client_id = render(client_id).unwrap_or_else(|| HeaderValue::from_static(""));
        let consumer = Arc::new(ConsumerFacts::new(Uuid::new_v4(), names));
        Arc::new(Holder::new(Uuid::new_v4(), &client_id, consumer))
    }
}
