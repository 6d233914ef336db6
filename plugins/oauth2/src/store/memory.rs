//! A store in memory that tests can make fail and wait.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tollgate_core::collection::{Collection, Document, Filter, Key, Merge, Page, PageQuery};
use tollgate_core::entity::Kind;
use tollgate_core::error::{DaoError, StoreError};
use tollgate_core::schema::Schema;
use tollgate_plugin::cache::model::step;
use uuid::Uuid;

use super::{Cause, Code, Outcome, RecentRefresh, Refreshable, Repeatable, Rotation, SingleUse, Token, Tokens};
use crate::token::Digest;

/// Tokens in memory; codes are not stored.
pub(crate) struct MemoryTokens {
    pub(crate) rows: Mutex<HashMap<Digest, Token>>,
    pub(crate) asked: AtomicUsize,
    pub(crate) down: AtomicBool,
    /// Look-ups take a permit after they have read, before they return.
    pub(crate) gate: Semaphore,
}

impl MemoryTokens {
    pub(crate) fn new() -> Arc<Self> {
        let gate = Semaphore::new(Semaphore::MAX_PERMITS);
        Arc::new(Self { rows: Mutex::default(), asked: AtomicUsize::new(0), down: AtomicBool::new(false), gate })
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// What was presented, in memory.
#[derive(Default)]
pub(crate) struct MemoryOnce(Mutex<HashSet<[u8; 32]>>);

#[async_trait]
impl SingleUse for MemoryOnce {
    async fn use_once(&self, id: [u8; 32], _: i64) -> Result<bool, StoreError> {
        Ok(self.0.lock().unwrap().insert(id))
    }
}

fn down() -> StoreError {
    StoreError::Unavailable("stopped by the test".into())
}

#[async_trait]
impl Tokens for MemoryTokens {
    async fn find_tokens(&self, access_tokens: &[Digest], now: i64) -> Result<Vec<Token>, StoreError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        step();
        if self.down.load(Ordering::SeqCst) {
            return Err(down());
        }
        let found = {
            let rows = self.rows.lock().unwrap();
            let known = access_tokens.iter().filter_map(|digest| rows.get(digest));
            known.filter(|token| token.ttl.is_none_or(|ttl| ttl >= now)).cloned().collect()
        };
        step();
        self.gate.acquire().await.unwrap().forget();
        Ok(found)
    }

    async fn find_by_refresh_token(&self, _: Digest, _: i64) -> Result<Option<Refreshable>, StoreError> {
        Err(down())
    }

    async fn insert_token(&self, token: Token) -> Result<Outcome, StoreError> {
        self.rows.lock().unwrap().insert(token.access_token, token);
        Ok(Outcome::Won(()))
    }

    async fn insert_code(&self, _: Code) -> Result<Outcome, StoreError> {
        Err(down())
    }

    async fn find_code(&self, _: Digest, _: i64) -> Result<Option<Code>, StoreError> {
        Err(down())
    }

    async fn redeem_code(&self, _: Digest, _: Uuid, _: Token, _: Option<i64>, _: i64) -> Result<Outcome, StoreError> {
        Err(down())
    }

    async fn rotate_refresh_token(
        &self,
        _: Digest,
        _: Uuid,
        _: Rotation,
        _: Option<Repeatable>,
        _: i64,
    ) -> Result<Outcome<Digest>, StoreError> {
        Err(down())
    }

    async fn end_replayed(&self, _: Digest, _: Uuid, _: Cause, _: i64) -> Result<Vec<Uuid>, StoreError> {
        Err(down())
    }

    async fn find_recent_refresh(&self, _: Digest, _: i64) -> Result<Option<RecentRefresh>, StoreError> {
        Err(down())
    }

    async fn end_family(&self, family: Uuid, credential_id: Uuid, _: i64) -> Result<(), StoreError> {
        let is_member = |token: &Token| token.family == Some(family) || token.id == family;
        self.rows.lock().unwrap().retain(|_, token| !(is_member(token) && token.credential_id == credential_id));
        Ok(())
    }

    async fn catch_up(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn any_imported(&self) -> Result<bool, StoreError> {
        Ok(false)
    }
}

/// Documents in memory.
pub(crate) struct MemoryCollection {
    kind: Kind,
    pub(crate) documents: Mutex<HashMap<Uuid, Document>>,
    pub(crate) down: AtomicBool,
}

impl MemoryCollection {
    pub(crate) fn new(name: &'static str) -> Arc<Self> {
        let kind = Kind::new(name, Schema::default());
        Arc::new(Self { kind, documents: Mutex::default(), down: AtomicBool::new(false) })
    }

    pub(crate) fn put(&self, id: Uuid, mut document: Value) {
        document["id"] = json!(id);
        self.documents.lock().unwrap().insert(id, Document::try_from(document).unwrap());
    }
}

#[async_trait]
impl Collection for MemoryCollection {
    fn kind(&self) -> &Kind {
        &self.kind
    }

    async fn find(&self, key: &Key) -> Result<Option<Document>, StoreError> {
        if self.down.load(Ordering::SeqCst) {
            return Err(down());
        }
        step();
        let found = {
            let documents = self.documents.lock().unwrap();
            match key {
                Key::Id(id) => documents.get(id).cloned(),
                Key::Unique { field, value } => documents.values().find(|found| found[*field] == json!(value)).cloned(),
            }
        };
        step();
        Ok(found)
    }

    async fn page(&self, query: &PageQuery) -> Result<Page, StoreError> {
        assert_eq!(query.filter, Filter::All);
        Ok(Page { documents: self.documents.lock().unwrap().values().cloned().collect(), next: None })
    }

    async fn insert(&self, document: Document) -> Result<Document, DaoError> {
        Ok(document)
    }

    async fn upsert(&self, _: &Key, document: Document) -> Result<Document, DaoError> {
        Ok(document)
    }

    async fn update(&self, _: &Key, _: &Merge<'_>) -> Result<Option<Document>, DaoError> {
        Ok(None)
    }

    async fn delete(&self, _: &Key) -> Result<bool, DaoError> {
        Ok(false)
    }
}
