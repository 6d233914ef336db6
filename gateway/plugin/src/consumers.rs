//! Consumers as requests need them, shared by all authentication plugins.
//!
//! Invariant: facts about a consumer are invalidated before the write that made them stale is
//! acknowledged ([`SharedFacts`]). They live while something refers to them. A node that has lost the
//! change feed uses none of them and queries the store; but for the anonymous consumer and those that tokens of third
//! parties name, while the store is away and the instance serves what is cached.

use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use http::HeaderValue;
use moka::sync::Cache;
use serde_json::{Value, json};
use tollgate_core::change::{Change, ChangeListener, Operation};
use tollgate_core::collection::{Collection, Key};
use tollgate_core::error::StoreError;
use tollgate_core::header_text;
use tollgate_core::notes::Caller;
use tollgate_core::plugin::ConsumerNames;
use tollgate_core::request::{BlockName, HeaderBlock, Request};
use uuid::Uuid;

use crate::cache::model::{self, Map};
use crate::cache::{
    Counter, Generation, Invalidation, OnConflict, ServeCached, SharedFact, SharedFacts, Stamped, Trust,
};

/// The kind of entity.
const KIND: &str = "consumers";

/// The number of usernames that are remembered, with what is known about each.
const NAMES: u64 = 50_000;

/// The number of anonymous consumers' names that are remembered: enough for the configuration, and bounded in
/// case it changes often.
const ANONYMOUS: u64 = 10_000;

/// A consumer, with the headers that identify it upstream. What a request reads fits in a cache line.
#[derive(Debug)]
pub struct ConsumerFacts {
    /// Its id.
    pub id: Uuid,
    /// The headers sent upstream when requests fall through to this consumer.
    pub anonymous_headers: HeaderBlock,
    names: Box<Names>,
    /// The headers that name it, rendered when they are first needed.
    own_headers: OnceLock<HeaderBlock>,
    invalidation: Invalidation,
}

/// The names of a consumer.
#[derive(Debug)]
struct Names {
    /// Unique if set.
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
    /// A consumer with these names.
    pub fn new(id: Uuid, username: Option<String>, custom_id: Option<String>) -> Self {
        let names = Names { username, custom_id };
        names.warn_of_unsent(id);
        let anonymous_headers = names.headers(id, None);
        let (names, own_headers) = (Box::new(names), OnceLock::new());
        Self { id, anonymous_headers, names, own_headers, invalidation: Invalidation::new() }
    }

    /// The headers sent upstream when the consumer is identified by a credential with this
    /// `X-Credential-Identifier` (oauth2.md §4.3).
    pub fn headers(&self, credential: &HeaderValue) -> HeaderBlock {
        self.names.headers(self.id, Some(credential))
    }

    /// The headers sent upstream when the consumer is identified by something that is no credential of its own: they
    /// leave `X-Credential-Identifier` as it is.
    pub fn own_headers(&self) -> &HeaderBlock {
        self.own_headers.get_or_init(|| self.names.own_headers(self.id))
    }

    /// Its username.
    pub fn username(&self) -> Option<&str> {
        self.names.username.as_deref()
    }

    /// Notes that it sent a request.
    pub fn note(&self, caller: &mut Caller) {
        caller.consumer = Some(self.id);
        caller.consumer_name = self.username().map(Box::from);
    }
}

/// The headers of a request that belongs to no consumer: none of those that name one.
pub static NOBODY: LazyLock<HeaderBlock> = LazyLock::new(|| HeaderBlock::new(&OWN, [None; 4]));

/// The headers that name a consumer.
static OWN: [BlockName; 4] = [
    BlockName::new("x-consumer-id", "X-Consumer-ID"),
    BlockName::new("x-consumer-custom-id", "X-Consumer-Custom-ID"),
    BlockName::new("x-consumer-username", "X-Consumer-Username"),
    BlockName::new("x-anonymous-consumer", "X-Anonymous-Consumer"),
];

impl Names {
    fn warn_of_unsent(&self, consumer: Uuid) {
        for (field, name) in [("username", &self.username), ("custom_id", &self.custom_id)] {
            if name.as_ref().is_some_and(|name| name.len() > header_text::max_bytes()) {
                tracing::warn!(%consumer, field, "consumer's name is too long to be sent upstream: shorten it");
            }
        }
    }

    fn own_headers(&self, consumer: Uuid) -> HeaderBlock {
        let id = header_value(&consumer.to_string());
        let username = self.username.as_deref().and_then(identity_value);
        let custom_id = self.custom_id.as_deref().and_then(identity_value);
        HeaderBlock::new(&OWN, [id.as_ref(), custom_id.as_ref(), username.as_ref(), None])
    }

    /// The headers that identify a consumer, and either the credential it presented or that it is
    /// anonymous.
    fn headers(&self, consumer: Uuid, credential: Option<&HeaderValue>) -> HeaderBlock {
        let id = header_value(&consumer.to_string());
        let username = self.username.as_deref().and_then(identity_value);
        let custom_id = self.custom_id.as_deref().and_then(identity_value);
        let anonymous = credential.is_none().then(|| HeaderValue::from_static("true"));
        let values = [id.as_ref(), custom_id.as_ref(), username.as_ref(), credential, anonymous.as_ref()];
        HeaderBlock::new(&IDENTITY, values)
    }
}

/// A header value; `None` for text that cannot be one (control characters), or that a recipient would read as
/// another text (leading or trailing white space, which recipients trim). It is not sent then.
pub fn header_value(text: &str) -> Option<HeaderValue> {
    if text.trim() != text {
        return None;
    }
    HeaderValue::from_bytes(text.as_bytes()).ok()
}

/// The same for text that identifies somebody: not sent if it is longer than upstreams need accept
/// ([`header_text`]). What is written is checked, so this concerns what was stored before, or elsewhere.
pub fn identity_value(text: &str) -> Option<HeaderValue> {
    if header_text::is_too_long(text) { None } else { header_value(text) }
}

/// Whether there is an [`identity_value`] for a text.
pub fn is_identity_value(text: &str) -> bool {
    is_header_value(text) && !header_text::is_too_long(text)
}

/// Whether there is a [`header_value`] for a text.
fn is_header_value(text: &str) -> bool {
    let is_valid = |byte: u8| (byte == b'\t') | ((byte >= b' ') & (byte != 0x7f));
    text.trim() == text && text.bytes().fold(true, |all, byte| all & is_valid(byte))
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
    /// Consumers that plugins name as anonymous, by that name.
    anonymous: Map<String, Arc<ConsumerFacts>>,
    /// Consumers by username, with the generation of [`Consumers::changes`].
    usernames: Map<Box<str>, Stamped<Option<Arc<ConsumerFacts>>>>,
    endings: Counter,
    changes: Counter,
}

impl Consumers {
    /// Reads from this store of consumers. Its facts are exact while it receives changes
    /// ([`ChangeListener`]).
    pub fn new(collection: Arc<dyn Collection>, trust: Arc<dyn Trust>) -> Self {
        let inner = Inner {
            collection,
            trust,
            known: SharedFacts::new(),
            anonymous: model::map(Cache::new(ANONYMOUS)),
            usernames: model::map(Cache::new(NAMES)),
            endings: Counter::new(),
            changes: Counter::new(),
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

    /// What to do with known facts when the store is queried now.
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

    /// Increases with every change that may have ended a consumer's credentials, before the consumer's facts are
    /// invalidated.
    pub fn endings(&self) -> Generation {
        self.inner.endings.current()
    }

    /// Increases with every change of a consumer, before its facts are invalidated. What was found out about a
    /// username that no consumer had is true until then.
    pub fn changes(&self) -> Generation {
        self.inner.changes.current()
    }

    /// While the store is away, and the node serves what is cached: for how long it has received no changes.
    pub fn outage(&self) -> Option<Duration> {
        self.inner.trust.outage()
    }

    /// The consumer with this username; `None` when there is none. It may have changed by now. While the store is away,
    /// the consumer as it was when this node last heard of changes, for callers that see to [`Self::outage`].
    ///
    /// # Errors
    /// The store failed.
    pub async fn named(&self, username: &str) -> Result<Option<Arc<ConsumerFacts>>, StoreError> {
        let (changes, on_conflict) = (self.changes(), self.on_conflict());
        if on_conflict == OnConflict::Share
            && let Some(known) = self.inner.usernames.get(username)
        {
            // A consumer keeps its username while its facts are current, and no other can have it.
            match known.unchecked() {
                Some(consumer) if consumer.is_current() => return Ok(Some(Arc::clone(consumer))),
                None if known.at(changes).is_some() => return Ok(None),
                _ => {}
            }
        }
        let found = match self.by_username(username, on_conflict).await {
            Ok(found) => found,
            Err(error) => return self.unheard(username).map(Some).ok_or(error),
        };
        self.inner.usernames.insert(username.into(), Stamped::new(changes, found.clone()));
        Ok(found)
    }

    fn unheard(&self, username: &str) -> Option<Arc<ConsumerFacts>> {
        self.outage()?;
        let known = self.inner.usernames.get(username)?;
        known.unchecked().clone().filter(|consumer| consumer.is_current())
    }

    /// The consumer that a plugin names as anonymous, if it is known already.
    pub fn known_anonymous(&self, name: &str) -> Option<Arc<ConsumerFacts>> {
        let known = self.inner.anonymous.get(name).filter(|consumer| consumer.is_current())?;
        self.inner.trust.is_current().then_some(known)
    }

    /// The same for a request. While the store is away, also as it was when this node last heard of changes, if the
    /// instance serves it; the request is marked then.
    pub fn known_anonymous_for(
        &self,
        name: &str,
        rule: ServeCached,
        request: &mut Request<'_>,
    ) -> Option<Arc<ConsumerFacts>> {
        self.known_anonymous(name).or_else(|| {
            let age = self.inner.trust.outage().filter(|age| rule.admits(*age))?;
            let known = self.inner.anonymous.get(name).filter(|consumer| consumer.is_current())?;
            request.serve_stale(age);
            Some(known)
        })
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
        // A username that looks like an id belongs to another consumer as soon as one has that id.
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

    /// What is currently known about a consumer, for the Admin API.
    pub fn shown(&self, id: Uuid) -> Option<Value> {
        let known = self.inner.known.get(id)?;
        Some(json!({"id": id, "username": known.names.username, "custom_id": known.names.custom_id}))
    }

    /// Nothing read before is valid any more.
    pub fn forget_all(&self) {
        self.inner.endings.advance();
        self.inner.changes.advance();
        self.inner.known.invalidate_all();
        self.inner.anonymous.invalidate_all();
        self.inner.usernames.invalidate_all();
    }
}

/// Of those that requests refer to at the moment.
impl ConsumerNames for Consumers {
    fn username(&self, consumer: Uuid) -> Option<String> {
        self.inner.known.get(consumer)?.username().map(str::to_owned)
    }
}

#[async_trait]
impl ChangeListener for Consumers {
    async fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        for change in changes.iter().filter(|change| change.kind == KIND) {
            // For an entity that was deleted and recreated under its id, the feed reports an update: its
            // credentials may have been deleted with it.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_a_header_value_if_one_can_be_made_of_it() {
        let texts = ["", "a b", " a", "a\u{a0}", "é", "a\tb", "\t", "a\n", "\0", "a\u{7f}", "a,b"];
        for text in texts {
            assert_eq!(is_header_value(text), header_value(text).is_some(), "{text:?}");
        }
        for byte in 0..=127_u8 {
            let text = format!("a{}b", char::from(byte));
            assert_eq!(is_header_value(&text), header_value(&text).is_some(), "{byte}");
        }
    }

    #[test]
    fn a_name_that_was_stored_too_long_is_not_sent() {
        let (kept, long) = ("a".repeat(4096), "a".repeat(4097));
        let of =
            |name: &str| ConsumerFacts::new(Uuid::nil(), Some(name.to_owned()), None).own_headers().lines().to_vec();
        assert!(of(&kept).windows(4096).any(|window| window == kept.as_bytes()));
        assert!(!of(&long).windows(4096).any(|window| window == kept.as_bytes()));
        for text in [&kept, &long] {
            assert_eq!(is_identity_value(text), identity_value(text).is_some());
        }
    }
}
