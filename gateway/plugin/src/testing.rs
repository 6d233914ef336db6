//! Doubles for tests of plugins: entities in memory, and a change feed that can stop. Nothing in here is part of the
//! gateway.

#![expect(clippy::expect_used, reason = "a test with wrong entities must fail")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tollgate_core::collection::{Collection, Document, Key, Merge, Page, PageQuery};
use tollgate_core::entity::Kind;
use tollgate_core::error::{DaoError, StoreError};
use uuid::Uuid;

use crate::cache::Trust;

/// A change feed that is current until the test stops it.
#[derive(Debug, Default)]
pub struct Feed(Mutex<Heard>);

/// What a feed knows of changes.
#[derive(Debug, Default, Clone, Copy)]
enum Heard {
    #[default]
    All,
    /// The store is away: none for this time.
    NoneFor(Duration),
    /// Something is wrong.
    Unknown,
}

impl Feed {
    /// A current one.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// From now on nothing cached is trusted.
    pub fn stop(&self) {
        *self.heard() = Heard::Unknown;
    }

    /// The store is away, and no change was heard for this time.
    pub fn lose_store(&self, since: Duration) {
        *self.heard() = Heard::NoneFor(since);
    }

    /// It is current again.
    pub fn resume(&self) {
        *self.heard() = Heard::All;
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().expect("no test panics here")
    }
}

impl Trust for Feed {
    fn is_current(&self) -> bool {
        matches!(*self.heard(), Heard::All)
    }

    fn outage(&self) -> Option<Duration> {
        match *self.heard() {
            Heard::NoneFor(time) => Some(time),
            Heard::All | Heard::Unknown => None,
        }
    }
}

/// Entities of one kind in memory, which are found by id or by a unique field. Writes through the port do nothing.
#[derive(Debug)]
pub struct Entities {
    kind: Kind,
    documents: Mutex<HashMap<Uuid, Document>>,
    asked: AtomicUsize,
    is_down: AtomicBool,
}

impl Entities {
    /// None.
    pub fn new(kind: Kind) -> Arc<Self> {
        Arc::new(Self {
            kind,
            documents: Mutex::default(),
            asked: AtomicUsize::new(0),
            is_down: AtomicBool::new(false),
        })
    }

    /// Stores an entity, whose other fields are these.
    pub fn put(&self, id: Uuid, mut fields: Value) {
        fields.as_object_mut().expect("an object").insert("id".to_owned(), json!(id));
        self.documents().insert(id, Document::try_from(fields).expect("an object"));
    }

    /// Removes an entity.
    pub fn remove(&self, id: Uuid) {
        self.documents().remove(&id);
    }

    /// Removes all.
    pub fn clear(&self) {
        self.documents().clear();
    }

    /// How often one was looked for.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// From now on look-ups fail.
    pub fn stop(&self) {
        self.is_down.store(true, Ordering::SeqCst);
    }

    /// Look-ups no longer fail.
    pub fn resume(&self) {
        self.is_down.store(false, Ordering::SeqCst);
    }

    fn documents(&self) -> MutexGuard<'_, HashMap<Uuid, Document>> {
        self.documents.lock().expect("no test panics here")
    }
}

#[async_trait]
impl Collection for Entities {
    fn kind(&self) -> &Kind {
        &self.kind
    }

    async fn find(&self, key: &Key) -> Result<Option<Document>, StoreError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.is_down.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("stopped by the test".into()));
        }
        let documents = self.documents();
        let found = match key {
            Key::Id(id) => documents.get(id),
            Key::Unique { field, value } => documents.values().find(|found| found[*field] == json!(value)),
        };
        Ok(found.cloned())
    }

    async fn page(&self, _: &PageQuery) -> Result<Page, StoreError> {
        Ok(Page::default())
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
