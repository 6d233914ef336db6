//! The tokens as the Admin API reads and writes them (oauth2.md §2.3).
//!
//! The store has only digests. So a clear value is shown only to the client that sent it in this very request, or
//! once in the response to the write that created it; other responses have null and the `token_hint`. A
//! write with null, such as from a client that sends back what it has read, changes no token.
//!
//! The store port decides what is written, evicted and announced together; there is no cache
//! here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use serde_json::Value;
use tollgate_core::audit::{self, Action, AuditLog, Event, NoAuditLog};
use tollgate_core::clock::Clock;
use tollgate_core::collection::{Collection, Document, Filter, Key, Merge, Page, PageQuery};
use tollgate_core::entity::Kind;
use tollgate_core::error::{DaoError, StoreError};
use tollgate_core::random::Random;
use tollgate_core::secret::Secret;
use uuid::Uuid;

pub use self::declared::DeclaredTokens;
use self::document::{ACCESS_TOKEN, Clear, Draft, REFRESH_TOKEN, show};
use crate::entity::token;
use crate::store::{Outcome, Provenance, Token, TokenFilter, TokenRows};
use crate::token::{Digest, OwnTokens, Shape};

mod declared;
mod document;
#[cfg(test)]
mod tests;

/// How often a write is attempted when other writers win. Each time, one of them has succeeded.
const ATTEMPTS: usize = 8;

/// The collection of the kind `oauth2_tokens`.
pub struct TokenCollection {
    kind: Kind,
    tokens: Arc<dyn TokenRows>,
    own_tokens: OwnTokens,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    imported: Arc<AtomicBool>,
    audit_log: Arc<dyn AuditLog>,
}

impl TokenCollection {
    /// The tokens of a store. `imported` is set before the first access token that was not minted here
    /// is stored: from then on the guard may not refuse a token by its checksum alone.
    pub fn new(
        tokens: Arc<dyn TokenRows>,
        own_tokens: OwnTokens,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        imported: Arc<AtomicBool>,
    ) -> Self {
        Self { kind: token::kind(), tokens, own_tokens, clock, random, imported, audit_log: Arc::new(NoAuditLog) }
    }

    /// With an audit log, which hears of revocations.
    #[must_use]
    pub fn with_audit_log(self, audit_log: Arc<dyn AuditLog>) -> Self {
        Self { audit_log, ..self }
    }

    async fn row(&self, key: &Key, now: i64) -> Result<Option<Token>, StoreError> {
        match key {
            Key::Id(id) => self.tokens.find_token_by_id(*id, now).await,
            Key::Unique { field, value } if *field == ACCESS_TOKEN => {
                Ok(self.tokens.find_tokens(&[Digest::of(value)], now).await?.into_iter().next())
            }
            Key::Unique { field, value } if *field == REFRESH_TOKEN => {
                Ok(self.tokens.find_by_refresh_token(Digest::of(value), now).await?.map(|found| found.token))
            }
            Key::Unique { .. } => Ok(None),
        }
    }

    /// The origin of the access token. The guard's flag is set before the token is stored.
    fn provenance(&self, access_token: &Secret) -> Provenance {
        match self.own_tokens.is_ours(access_token.expose()) {
            Shape::Genuine => Provenance::Minted,
            // One that was given may have been signed with a key that is gone.
            Shape::Signed | Shape::Foreign => {
                self.imported.store(true, Ordering::Release);
                Provenance::Given
            }
        }
    }

    async fn add(&self, id: Uuid, draft: &Draft, now: i64) -> Result<Document, DaoError> {
        let access_token =
            draft.clear.access_token.clone().unwrap_or_else(|| self.own_tokens.mint(self.random.as_ref()));
        let token = draft.to_token(id, &access_token, now);
        let clear = Clear { access_token: Some(access_token), refresh_token: draft.clear.refresh_token.clone() };
        self.write_new(token, clear, now).await
    }

    async fn write_new(&self, token: Token, clear: Clear, now: i64) -> Result<Document, DaoError> {
        let provenance = clear.access_token.as_ref().map_or(Provenance::Minted, |clear| self.provenance(clear));
        let document = show(&token, &clear, now);
        self.tokens.insert_row(token, provenance, now).await.map_err(|error| clear.name_taken(error))?;
        Ok(document)
    }

    /// Replaces `old` by `new`; `None` if `old` no longer exists.
    async fn write_over(&self, old: &Token, new: Token, clear: &Clear, now: i64) -> Result<Option<Document>, DaoError> {
        let changed = clear.access_token.as_ref().filter(|_| old.access_token != new.access_token);
        let provenance = changed.map_or(Provenance::Minted, |clear| self.provenance(clear));
        let document = show(&new, clear, now);
        let outcome = self.tokens.replace_row(old, new, provenance, now).await;
        match outcome.map_err(|error| clear.name_taken(error))? {
            Outcome::Won(()) => Ok(Some(document)),
            Outcome::Lost => Ok(None),
        }
    }

    /// One attempt to change a token. `None`: another writer won.
    async fn change(&self, old: &Token, key: &Key, merge: &Merge<'_>, now: i64) -> Result<Option<Document>, DaoError> {
        let shown = presented(key);
        let merged = merge(&show(old, &shown, now)).map_err(DaoError::Schema)?;
        let draft = Draft::read(&merged)?;
        let clear = Clear {
            access_token: draft.clear.access_token.clone().or(shown.access_token),
            refresh_token: draft.clear.refresh_token.clone().or(shown.refresh_token),
        };
        self.write_over(old, draft.over(old, now), &clear, now).await
    }

    /// One attempt to add or replace a token. `None`: another writer won.
    async fn put(&self, key: &Key, draft: &Draft, now: i64) -> Result<Option<Document>, DaoError> {
        let Some(old) = self.row(key, now).await? else {
            let id = match key {
                Key::Id(id) => *id,
                Key::Unique { .. } => draft.id.unwrap_or_else(|| self.random.uuid()),
            };
            return match self.add(id, draft, now).await {
                Ok(document) => Ok(Some(document)),
                Err(error) if self.raced(key, &error, now).await? => Ok(None),
                Err(error) => Err(error),
            };
        };
        let access_token =
            draft.clear.access_token.clone().unwrap_or_else(|| self.own_tokens.mint(self.random.as_ref()));
        let new = draft.to_token(old.id, &access_token, now);
        let clear = Clear { access_token: Some(access_token), refresh_token: draft.clear.refresh_token.clone() };
        self.write_over(&old, new, &clear, now).await
    }

    /// Returns the result of a write that changed nothing, once this node has applied the write that
    /// came before it.
    async fn unchanged<T>(&self, result: Result<T, DaoError>) -> Result<T, DaoError> {
        self.tokens.catch_up().await?;
        result
    }

    /// Returns the result of a write; see [`TokenCollection::unchanged`].
    async fn settled<T>(&self, result: Result<T, DaoError>) -> Result<T, DaoError> {
        match result {
            Err(DaoError::PrimaryKey { .. } | DaoError::Unique { .. } | DaoError::ForeignMissing { .. }) => {
                self.unchanged(result).await
            }
            result => result,
        }
    }

    /// Whether a token could not be added because another writer has just added one with the key.
    async fn raced(&self, key: &Key, error: &DaoError, now: i64) -> Result<bool, StoreError> {
        let taken = matches!(error, DaoError::PrimaryKey { .. } | DaoError::Unique { .. });
        Ok(taken && self.row(key, now).await?.is_some())
    }
}

#[async_trait]
impl Collection for TokenCollection {
    fn kind(&self) -> &Kind {
        &self.kind
    }

    async fn find(&self, key: &Key) -> Result<Option<Document>, StoreError> {
        let now = self.clock.now();
        Ok(self.row(key, now).await?.map(|token| show(&token, &presented(key), now)))
    }

    async fn page(&self, query: &PageQuery) -> Result<Page, StoreError> {
        let now = self.clock.now();
        let filter = match &query.filter {
            Filter::All => TokenFilter::All,
            Filter::Child { field: "credential", parent } => TokenFilter::Credential(*parent),
            Filter::Child { field: "service", parent } => TokenFilter::Service(*parent),
            Filter::Unique { field, value } => {
                let key = Key::Unique { field, value: value.clone() };
                let found = self.row(&key, now).await?.filter(|token| Some(token.id) > query.after);
                let documents = found.iter().map(|token| show(token, &presented(&key), now)).collect();
                return Ok(Page { documents, next: None });
            }
            // Tokens have no tags, and no other parents.
            Filter::AllTags(_) | Filter::AnyTag(_) | Filter::Child { .. } => return Ok(Page::default()),
        };
        // One more row than requested is read, to detect the last page.
        let size = query.size.saturating_add(1);
        let mut tokens = self.tokens.page_tokens(filter, query.after, size, now).await?;
        let more = tokens.len() > query.size;
        tokens.truncate(query.size);
        let next = tokens.last().filter(|_| more).map(|token| token.id);
        Ok(Page { documents: tokens.iter().map(|token| show(token, &Clear::default(), now)).collect(), next })
    }

    async fn insert(&self, document: Document) -> Result<Document, DaoError> {
        let draft = Draft::read(&document)?;
        let id = draft.id.unwrap_or_else(|| self.random.uuid());
        self.settled(self.add(id, &draft, self.clock.now()).await).await
    }

    async fn upsert(&self, key: &Key, mut document: Document) -> Result<Document, DaoError> {
        if let Key::Unique { field, value } = key {
            document.insert((*field).to_owned(), Value::from(value.as_str()));
        }
        let draft = Draft::read(&document)?;
        for _ in 0..ATTEMPTS {
            if let Some(document) = self.settled(self.put(key, &draft, self.clock.now()).await).await? {
                return Ok(document);
            }
        }
        Err(contended().into())
    }

    async fn update(&self, key: &Key, merge: &Merge<'_>) -> Result<Option<Document>, DaoError> {
        for _ in 0..ATTEMPTS {
            let now = self.clock.now();
            let Some(old) = self.row(key, now).await? else { return self.unchanged(Ok(None)).await };
            if let Some(document) = self.settled(self.change(&old, key, merge, now).await).await? {
                return Ok(Some(document));
            }
        }
        Err(contended().into())
    }

    async fn delete(&self, key: &Key) -> Result<bool, DaoError> {
        let now = self.clock.now();
        let id = match key {
            Key::Id(id) => *id,
            Key::Unique { .. } => match self.row(key, now).await? {
                Some(token) => token.id,
                None => return self.unchanged(Ok(false)).await,
            },
        };
        match self.tokens.delete_row(id, now).await? {
            Some(_) => {
                let mut event = Event::new(Action::TokenRevoked, audit::Outcome::Done).by_caller();
                event.id = Some(id);
                self.audit_log.write(&event);
                Ok(true)
            }
            None => self.unchanged(Ok(false)).await,
        }
    }
}

/// The clear values that the caller presents with this key.
fn presented(key: &Key) -> Clear {
    match key {
        Key::Unique { field: ACCESS_TOKEN, value } => {
            Clear { access_token: Some(Secret::new(value.as_str())), refresh_token: None }
        }
        Key::Unique { field: REFRESH_TOKEN, value } => {
            Clear { access_token: None, refresh_token: Some(Secret::new(value.as_str())) }
        }
        Key::Id(_) | Key::Unique { .. } => Clear::default(),
    }
}

/// Every attempt has lost to another writer.
fn contended() -> StoreError {
    StoreError::Unavailable("too many concurrent writes to one token".into())
}
