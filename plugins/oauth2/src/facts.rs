//! What requests need to know of credentials, consumers and services, shared by all the tokens
//! that refer to it.
//!
//! Invariant: a shared object that no longer tells the truth is marked before the write that made it
//! untrue is answered ([`crate::in_use`]). Whoever holds one checks the mark on every use, so nothing
//! has to be searched for. The objects are known by weak references: they live as long as some cached
//! token uses them, and for exactly that long they can be found and marked. A node that has lost the
//! change feed is given none that is known, and asks the store.
//!
//! No secrets in here; what the token endpoint needs to know of a client is its own affair.

use std::sync::Arc;

use http::HeaderValue;
use serde_json::{Value, json};
use tollgate_core::collection::{Collection, Document, Key};
use tollgate_core::error::StoreError;
use tollgate_core::request::{BlockName, HeaderBlock};
use uuid::Uuid;

use crate::cache::Trust;
use crate::flight::{Flights, Landed};
use crate::generation::head;
use crate::in_use::{Ends, InUse, Mark, Meanwhile, Ticket};
use crate::sync::{self, Map};

/// A consumer, with what the upstream hears of it. What a request reads is a cache line.
#[derive(Debug)]
pub struct ConsumerFacts {
    /// Its id.
    pub id: Uuid,
    /// What the upstream hears when requests fall through to this consumer.
    pub anonymous_headers: HeaderBlock,
    names: Box<Names>,
    mark: Mark,
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
    mark: Mark,
}

/// A service that tokens are bound to.
#[derive(Debug)]
pub struct Service {
    /// Its id.
    pub id: Uuid,
    mark: Mark,
}

impl Ends for ConsumerFacts {
    fn mark(&self) -> &Mark {
        &self.mark
    }

    fn is_current(&self) -> bool {
        !self.mark.is_set()
    }
}

impl Ends for Holder {
    fn mark(&self) -> &Mark {
        &self.mark
    }

    fn is_current(&self) -> bool {
        !self.mark.is_set() && self.consumer.is_current()
    }
}

impl Ends for Service {
    fn mark(&self) -> &Mark {
        &self.mark
    }

    fn is_current(&self) -> bool {
        !self.mark.is_set()
    }
}

impl ConsumerFacts {
    fn new(id: Uuid, names: Names) -> Self {
        let anonymous_headers = headers(id, &names, None);
        Self { id, anonymous_headers, names: Box::new(names), mark: Mark::new() }
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
/// is anonymous (oauth2.md §4.3).
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
        Self { credential_id, consumer, headers, mark: Mark::new() }
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

/// Loads and shares the facts. Cheap to clone.
#[derive(Clone)]
pub struct Directory {
    inner: Arc<Inner>,
}

struct Inner {
    credentials: Arc<dyn Collection>,
    consumers: Arc<dyn Collection>,
    trust: Arc<dyn Trust>,
    holders: InUse<Holder>,
    known_consumers: InUse<ConsumerFacts>,
    services: InUse<Service>,
    flights: Flights<Uuid, Option<Arc<Holder>>>,
    /// Consumers that plugins name as anonymous, by that name. As many as the configuration
    /// names, and bounded in case it changes its mind often.
    anonymous: Map<String, Arc<ConsumerFacts>>,
}

impl Directory {
    /// Over the stores of `oauth2_credentials` and `consumers`.
    pub fn new(credentials: Arc<dyn Collection>, consumers: Arc<dyn Collection>, trust: Arc<dyn Trust>) -> Self {
        let inner = Inner {
            credentials,
            consumers,
            trust,
            holders: InUse::new(),
            known_consumers: InUse::new(),
            services: InUse::new(),
            flights: Flights::new(),
            anonymous: sync::map(moka::sync::Cache::new(10_000)),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The credential with its consumer; `None` when there is none. It may have ended by now.
    pub async fn holder(&self, credential_id: Uuid) -> Landed<Option<Arc<Holder>>> {
        let meanwhile = self.meanwhile();
        if meanwhile == Meanwhile::Share
            && let Some(holder) = self.inner.holders.get(credential_id)
        {
            return Ok(Some(holder));
        }
        let ticket = self.inner.holders.ticket(credential_id, meanwhile);
        let directory = self.clone();
        let load = move || async move { directory.load_holder(credential_id, ticket).await.map_err(Arc::new) };
        let (_, flight) = self.inner.flights.board(credential_id, head(credential_id), ticket.generation(), load);
        flight.await
    }

    /// The mark that the tokens of a service share.
    pub fn service(&self, id: Uuid) -> Arc<Service> {
        self.inner.services.get_or_add(id, || Service { id, mark: Mark::new() })
    }

    /// The consumer a plugin names as anonymous, if it is known already.
    pub fn known_anonymous(&self, name: &str) -> Option<Arc<ConsumerFacts>> {
        let known = self.inner.anonymous.get(name).filter(|consumer| consumer.is_current())?;
        self.inner.trust.is_current().then_some(known)
    }

    /// The consumer a plugin names as anonymous: by id, then by username (oauth2.md §4.4).
    pub async fn anonymous(&self, name: &str) -> Result<Option<Arc<ConsumerFacts>>, StoreError> {
        if let Some(known) = self.known_anonymous(name) {
            return Ok(Some(known));
        }
        let meanwhile = self.meanwhile();
        let named_id = Uuid::parse_str(name).ok();
        let by_id = match named_id {
            Some(id) => self.consumer(id, meanwhile).await?,
            None => None,
        };
        let found = match by_id {
            Some(consumer) => Some(consumer),
            None => {
                let key = Key::Unique { field: "username", value: name.to_owned() };
                match self.inner.consumers.find(&key).await? {
                    // Read again by id, so that a rename meanwhile is noticed.
                    Some(document) => self
                        .consumer(id(&document, "consumers")?, meanwhile)
                        .await?
                        .filter(|facts| facts.names.username.as_deref() == Some(name)),
                    None => None,
                }
            }
        };
        // A username that could be an id is another consumer's from the moment there is one with it.
        if let Some(consumer) = found.as_ref().filter(|found| named_id.is_none_or(|id| id == found.id)) {
            self.inner.anonymous.insert(name.to_owned(), Arc::clone(consumer));
        }
        Ok(found)
    }

    /// What is known of a consumer at the moment.
    pub fn shown_consumer(&self, id: Uuid) -> Option<Value> {
        let known = self.inner.known_consumers.get(id)?;
        Some(json!({"id": id, "username": known.names.username, "custom_id": known.names.custom_id}))
    }

    /// What is known of a credential at the moment.
    pub fn shown_credential(&self, id: Uuid) -> Option<Value> {
        let known = self.inner.holders.get(id)?;
        Some(json!({"id": id, "consumer": {"id": known.consumer.id}}))
    }

    /// A credential changed or is gone.
    pub fn credential_changed(&self, id: Uuid) {
        self.inner.holders.end(id);
    }

    /// A consumer changed or is gone; with it, what is known of its credentials.
    pub fn consumer_changed(&self, id: Uuid) {
        self.inner.known_consumers.end(id);
    }

    /// A service is gone, or may have been.
    pub fn service_deleted(&self, id: Uuid) {
        self.inner.services.end(id);
    }

    /// Nothing that was learnt may be used any more.
    pub fn reset(&self) {
        self.inner.holders.end_all();
        self.inner.known_consumers.end_all();
        self.inner.services.end_all();
        self.inner.anonymous.invalidate_all();
    }

    /// What becomes of what is known when the store is asked now.
    fn meanwhile(&self) -> Meanwhile {
        if self.inner.trust.is_current() { Meanwhile::Share } else { Meanwhile::Replace }
    }

    async fn load_holder(&self, credential_id: Uuid, ticket: Ticket) -> Result<Option<Arc<Holder>>, StoreError> {
        let Some(document) = self.inner.credentials.find(&Key::Id(credential_id)).await? else { return Ok(None) };
        let consumer_id = reference(&document, "consumer")?;
        let Some(consumer) = self.consumer(consumer_id, ticket.meanwhile()).await? else { return Ok(None) };
        let client_id = text(&document, "client_id").and_then(|client_id| render(&client_id));
        let client_id = client_id.ok_or(StoreError::Corrupt { kind: "oauth2_credentials", what: "client_id" })?;
        let holder = Holder::new(credential_id, &client_id, consumer);
        Ok(Some(self.inner.holders.add(credential_id, ticket, holder)))
    }

    async fn consumer(&self, id: Uuid, meanwhile: Meanwhile) -> Result<Option<Arc<ConsumerFacts>>, StoreError> {
        let known = || self.inner.known_consumers.get(id);
        if let Some(known) = (meanwhile == Meanwhile::Share).then(known).flatten() {
            return Ok(Some(known));
        }
        let ticket = self.inner.known_consumers.ticket(id, meanwhile);
        let Some(document) = self.inner.consumers.find(&Key::Id(id)).await? else { return Ok(None) };
        let names = Names { username: text(&document, "username"), custom_id: text(&document, "custom_id") };
        Ok(Some(self.inner.known_consumers.add(id, ticket, ConsumerFacts::new(id, names))))
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
