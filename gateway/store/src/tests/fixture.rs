//! Kinds and documents for the tests.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tollgate_core::change::{Change, ChangeListener};
use tollgate_core::collection::{Collection, Document};
use tollgate_core::entity::Kind;
use tollgate_core::error::StoreError;
use tollgate_core::random::{Random, SystemRandom};
use tollgate_core::schema::{Field, OnDelete, Schema};
use uuid::Uuid;

use crate::Store;
use crate::database::Database;
use crate::postgres::Postgres;
use crate::testing::{Backend, TestDatabase};

/// An open store with four kinds: routes forbid the deletion of their service, plugins are deleted with
/// theirs, and labels with their plugin.
pub(super) struct Fixture {
    pub(super) database: TestDatabase,
    pub(super) store: Store,
    pub(super) services: Arc<dyn Collection>,
    pub(super) routes: Arc<dyn Collection>,
    pub(super) plugins: Arc<dyn Collection>,
    pub(super) labels: Arc<dyn Collection>,
}

impl Fixture {
    pub(super) async fn new(backend: Backend) -> Self {
        let database = TestDatabase::create(backend).await;
        let store = database.open().await;
        Self::of(database, store)
    }

    /// On PostgreSQL, as if through a pooler that shares sessions.
    pub(super) async fn in_shared_sessions() -> Self {
        let mut database = TestDatabase::create(Backend::Postgres).await;
        database.url.push_str(if database.url.contains('?') { "&pooler=transaction" } else { "?pooler=transaction" });
        let store = database.open().await;
        Self::of(database, store)
    }

    pub(super) fn of(database: TestDatabase, store: Store) -> Self {
        let [services, routes, plugins, labels] = kinds().map(|kind| store.documents(Arc::new(kind)));
        Self { database, store, services, routes, plugins, labels }
    }
}

pub(super) fn kinds() -> [Kind; 4] {
    let named = || Field::string("name").unique();
    [
        kind("services", &[], vec![named(), Field::string("path")]),
        kind(
            "routes",
            &[],
            vec![
                named(),
                Field::foreign("service", "services", OnDelete::Restrict),
                Field::ids_of("mirrors", "services"),
            ],
        ),
        kind(
            "plugins",
            &["name", "service"],
            vec![Field::string("name"), Field::foreign("service", "services", OnDelete::Cascade)],
        ),
        kind("labels", &[], vec![Field::foreign("plugin", "plugins", OnDelete::Cascade)]),
    ]
}

fn kind(name: &'static str, unique_together: &'static [&'static str], fields: Vec<Field>) -> Kind {
    Kind::new(name, Schema::new(fields)).second_key("name").unique_together(unique_together)
}

/// A document with a new id and these values.
pub(super) fn document(values: Value) -> Document {
    let identity = json!({"id": SystemRandom.uuid(), "created_at": 1_700_000_000, "tags": null});
    let mut document = Document::try_from(identity).unwrap();
    document.extend(Document::try_from(values).unwrap());
    document
}

pub(super) fn id(document: &Document) -> Uuid {
    document.id().unwrap()
}

/// A foreign field's value.
pub(super) fn reference(document: &Document) -> Value {
    json!({"id": document["id"]})
}

/// Records the changes that it receives. Those that come twice in a row it records once: a reading of the feed
/// that sees a commit before the write announces it passes the same changes on, which is harmless.
#[derive(Default)]
pub(super) struct Recorder {
    pub(super) received: Mutex<Vec<Change>>,
    pub(super) resets: Mutex<usize>,
    pub(super) failing: Mutex<bool>,
}

#[async_trait]
impl ChangeListener for Recorder {
    async fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        if *self.failing.lock().unwrap() {
            return Err(StoreError::Unavailable("the listener fails".into()));
        }
        let mut received = self.received.lock().unwrap();
        if !received.ends_with(changes) {
            received.extend_from_slice(changes);
        }
        Ok(())
    }

    async fn reset(&self) -> Result<(), StoreError> {
        *self.resets.lock().unwrap() += 1;
        Ok(())
    }
}

impl Recorder {
    /// Kind, operation and id of all received changes.
    pub(super) fn summary(&self) -> Vec<(String, &'static str, Uuid)> {
        let received = self.received.lock().unwrap();
        received.iter().map(|change| (change.kind.clone(), change.operation.as_str(), change.id)).collect()
    }
}

/// Waits until the condition holds, with a deadline.
pub(super) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "timed out waiting for {what}");
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

/// How long changes are kept.
pub(super) const RETENTION: Duration = Duration::from_secs(3600);

/// Makes the cleaner believe that its last run was an hour ago.
pub(super) async fn an_hour_passes(postgres: &Postgres) {
    let client = postgres.client().await.unwrap();
    client.execute("UPDATE change_horizon SET taken_at = taken_at - 3600", &[]).await.unwrap();
}

/// The PostgreSQL driver of a store.
pub(super) fn postgres(store: &Store) -> &Postgres {
    match store.database() {
        Database::Postgres(postgres) => postgres,
        Database::Sqlite(_) => panic!("not PostgreSQL"),
    }
}
