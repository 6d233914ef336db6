//! Writes whose response is lost, and writes that find their work done.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tollgate_core::change::{Change, ChangeListener};
use tollgate_core::collection::Key;
use tollgate_core::error::{DaoError, StoreError};
use uuid::Uuid;

use super::feed::Nodes;
use super::fixture::{Fixture, Recorder, document, eventually, id, postgres};
use crate::database::Database;
use crate::feed::Write;
use crate::postgres::Postgres;
use crate::testing::Backend;
use crate::transaction::{Begin, Scope};
use crate::{Abort, Options, Statement, Store, Transaction};

macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::Backend::Postgres).await;
            })*
        }
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::Backend::Sqlite).await;
            })*
        }
    };
}

on_both!(
    a_write_whose_response_is_lost_is_in_force_before_its_error_is_returned,
    a_write_that_panics_after_its_commit_is_applied,
    a_panicking_listener_resets_all_listeners,
    a_write_that_finds_its_work_done_returns_once_that_work_is_applied,
);

/// Commits a change of this write.
async fn commit_a_change(store: Store, write: Arc<Write>, id: Uuid) -> Result<(), StoreError> {
    let begin = Begin { scope: Scope::Transaction, now: 0 };
    let record =
        store.database().write(&write, begin, id, async |id, tx| Ok::<_, Abort>(tx.record(change(*id)).await?));
    record.await.map(drop)
}

fn change(id: Uuid) -> Change {
    let operation = tollgate_core::change::Operation::Deleted;
    Change { kind: "tokens".into(), operation, id, key: Vec::new(), document: None }
}

fn lost<T>() -> Result<T, StoreError> {
    Err(StoreError::Unavailable("the response is lost".into()))
}

async fn recorded(backend: Backend) -> (Fixture, Arc<Recorder>) {
    let fixture = Fixture::new(backend).await;
    let recorder = Arc::new(Recorder::default());
    fixture.store.feed().subscribe(recorder.clone());
    (fixture, recorder)
}

fn ids(recorder: &Recorder) -> Vec<Uuid> {
    recorder.summary().into_iter().map(|(.., id)| id).collect()
}

async fn a_write_whose_response_is_lost_is_in_force_before_its_error_is_returned(backend: Backend) {
    let (fixture, recorder) = recorded(backend).await;
    let (store, changed) = (fixture.store.clone(), Uuid::from_u128(7));
    let work = move |write| async move {
        commit_a_change(store, write, changed).await?;
        lost::<((), Vec<Change>)>()
    };
    fixture.store.commit(work).await.unwrap_err();
    assert_eq!(ids(&recorder), [changed]);
    eventually("a current feed", || fixture.store.feed().is_current()).await;
}

async fn a_write_that_panics_after_its_commit_is_applied(backend: Backend) {
    let (fixture, recorder) = recorded(backend).await;
    let (store, changed) = (fixture.store.clone(), Uuid::from_u128(7));
    let work = move |write: Arc<Write>| async move {
        commit_a_change(store, write, changed).await?;
        assert!(changed.is_nil(), "in a write");
        Ok::<_, StoreError>(((), Vec::new()))
    };
    fixture.store.commit(work).await.unwrap_err();
    assert!(!fixture.store.feed().is_current() || ids(&recorder) == [changed]);
    eventually("the change", || ids(&recorder) == [changed]).await;
    eventually("a current feed", || fixture.store.feed().is_current()).await;
}

/// Panics once.
#[derive(Default)]
struct Panics {
    done: std::sync::atomic::AtomicBool,
}

#[async_trait::async_trait]
impl ChangeListener for Panics {
    async fn apply(&self, _: &[Change]) -> Result<(), StoreError> {
        assert!(self.done.swap(true, std::sync::atomic::Ordering::SeqCst), "in a listener");
        Ok(())
    }

    async fn reset(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

async fn a_panicking_listener_resets_all_listeners(backend: Backend) {
    let fixture = Fixture::new(backend).await;
    let recorder = Arc::new(Recorder::default());
    fixture.store.feed().subscribe(Arc::new(Panics::default()));
    fixture.store.feed().subscribe(recorder.clone());
    let (store, changed) = (fixture.store.clone(), Uuid::from_u128(7));
    let work = move |write: Arc<Write>| async move {
        commit_a_change(store, write, changed).await?;
        Ok::<_, StoreError>(((), vec![change(changed)]))
    };
    fixture.store.commit(work).await.unwrap_err();
    eventually("the reset", || *recorder.resets.lock().unwrap() == 1).await;
    eventually("a current feed", || fixture.store.feed().is_current()).await;
}

async fn a_write_that_finds_its_work_done_returns_once_that_work_is_applied(backend: Backend) {
    let nodes = Nodes::new(backend).await;
    for number in 0..20 {
        let service = document(json!({"name": format!("s{number}")}));
        let key = Key::Id(id(&service));
        nodes.first.services.insert(service.clone()).await.unwrap();
        let again = document(json!({"name": service["name"]}));
        let refused = nodes.second.services.insert(again).await.unwrap_err();
        assert!(matches!(refused, DaoError::Unique { .. }), "{refused:?}");
        let received = |operation| ("services".to_owned(), operation, id(&service));
        assert!(nodes.recorder.summary().contains(&received("created")), "{number}");
        assert!(nodes.first.services.delete(&key).await.unwrap());
        assert!(!nodes.second.services.delete(&key).await.unwrap());
        assert!(nodes.recorder.summary().contains(&received("deleted")), "{number}");
    }
}

/// A store with short timeouts.
async fn impatient() -> (Fixture, Arc<Recorder>) {
    let database = crate::testing::TestDatabase::create(Backend::Postgres).await;
    let bound = Duration::from_millis(300);
    let options = Options { acquire_timeout: bound, feed_bound: bound, ..database.options() };
    let fixture = Fixture::of(database, Store::open(options).await.unwrap());
    let recorder = Arc::new(Recorder::default());
    fixture.store.feed().subscribe(recorder.clone());
    (fixture, recorder)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_lost_write_may_still_commit_the_feed_is_not_current() {
    let (fixture, recorder) = impatient().await;
    let feed = fixture.store.feed();
    let mut client = postgres(&fixture.store).client().await.unwrap();
    let transaction = client.transaction().await.unwrap();
    let changed = Uuid::from_u128(7);
    let in_another_transaction = |write: Arc<Write>| async move {
        write.mark_sent();
        lost::<((), Vec<Change>)>()
    };
    transaction.execute(super::feed::INSERT, &[&changed]).await.unwrap();
    fixture.store.commit(in_another_transaction).await.unwrap_err();
    assert!(!feed.is_current());
    // Readings continue, and do not resolve the outcome.
    feed.catch_up().await.unwrap();
    feed.catch_up().await.unwrap();
    assert!(!feed.is_current());
    transaction.commit().await.unwrap();
    eventually("a current feed", || feed.is_current()).await;
    assert_eq!(ids(&recorder), [changed]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_the_database_refuses_has_a_known_outcome() {
    let (fixture, _) = impatient().await;
    let service = document(json!({"name": "a"}));
    fixture.services.insert(service.clone()).await.unwrap();
    // The outcome would stay unknown as long as this transaction runs.
    let mut client = postgres(&fixture.store).client().await.unwrap();
    let transaction = client.transaction().await.unwrap();
    transaction.execute("SELECT 1", &[]).await.unwrap();
    let refused = fixture.services.insert(document(json!({"name": "a"}))).await.unwrap_err();
    assert!(matches!(refused, DaoError::Unique { .. }), "{refused:?}");
    let unknown = document(json!({"name": "b", "service": {"id": Uuid::from_u128(9)}}));
    let refused = fixture.routes.insert(unknown).await.unwrap_err();
    assert!(matches!(refused, DaoError::ForeignMissing { .. }), "{refused:?}");
    assert!(fixture.store.feed().is_current());
    // Its lock blocks the deletion.
    transaction.execute("SELECT 1 FROM entities FOR UPDATE", &[]).await.unwrap();
    let options = Options { statement_timeout: Duration::from_millis(100), ..fixture.database.options() };
    let hasty = Fixture::of(crate::testing::TestDatabase::create_empty(Backend::Sqlite).await, {
        Store::open(options).await.unwrap()
    });
    let refused = hasty.services.delete(&Key::Id(id(&service))).await.unwrap_err();
    assert!(matches!(refused, DaoError::Store(StoreError::Timeout(_))), "{refused:?}");
    assert!(hasty.store.feed().is_current());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_that_ends_the_connection_is_not_a_refusal() {
    let (fixture, _) = impatient().await;
    let sent = |sql: &'static str| {
        let postgres = postgres(&fixture.store).clone();
        move |write: Arc<Write>| async move {
            let client = postgres.client().await?;
            write.mark_sent();
            let error = client.batch_execute(sql).await.unwrap_err();
            Postgres::note_refusal(&write, &error);
            Err::<((), Vec<Change>), _>(postgres.error("test", error))
        }
    };
    // The outcome stays unknown as long as this transaction runs.
    let mut client = postgres(&fixture.store).client().await.unwrap();
    let transaction = client.transaction().await.unwrap();
    transaction.execute("SELECT 1", &[]).await.unwrap();
    fixture.store.commit(sent("SELECT 1 / 0")).await.unwrap_err();
    assert!(fixture.store.feed().is_current());
    fixture.store.commit(sent("SELECT pg_terminate_backend(pg_backend_pid())")).await.unwrap_err();
    assert!(!fixture.store.feed().is_current());
    transaction.rollback().await.unwrap();
    eventually("a current feed", || fixture.store.feed().is_current()).await;
}

/// Ends the connection on which it runs.
const LOSE: Statement =
    Statement { name: "test", postgres: "SELECT pg_terminate_backend(pg_backend_pid())", sqlite: "" };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_write_that_records_no_change_does_not_affect_the_feed() {
    let (fixture, _) = impatient().await;
    // The outcome would stay unknown as long as this transaction runs.
    let mut client = postgres(&fixture.store).client().await.unwrap();
    let transaction = client.transaction().await.unwrap();
    transaction.execute("SELECT 1", &[]).await.unwrap();
    let lose = async |records_changes: &bool, tx: &mut Transaction<'_>| {
        if *records_changes {
            tx.origin();
        }
        Ok::<_, Abort>(tx.rows(&LOSE, &[]).await.map(drop)?)
    };
    let lost = fixture.store.statement(false, lose).await.unwrap_err();
    assert!(matches!(lost, StoreError::Unavailable(_)), "{lost:?}");
    assert!(fixture.store.feed().is_current());
    fixture.store.statement(true, lose).await.unwrap_err();
    assert!(!fixture.store.feed().is_current());
    transaction.rollback().await.unwrap();
    eventually("a current feed", || fixture.store.feed().is_current()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_whose_commit_fails_get_its_error() {
    let (fixture, recorder) = recorded(Backend::Sqlite).await;
    let store = fixture.store.clone();
    let work = move |write: Arc<Write>| async move {
        let Database::Sqlite(sqlite) = store.database() else { return lost() };
        let write_badly = "PRAGMA defer_foreign_keys = ON; INSERT INTO entity_tags VALUES ('k', zeroblob(16), 't')";
        let job = |connection: &mut rusqlite::Connection| {
            connection.execute_batch(write_badly).map_err(|error| crate::sqlite::Sqlite::error("test", error))
        };
        // It records changes.
        write.origin();
        sqlite.write(Some(&write), job).await.map(|()| ((), Vec::<Change>::new()))
    };
    let failed = fixture.store.commit(work).await.unwrap_err();
    assert!(matches!(failed, StoreError::Unavailable(_)), "{failed:?}");
    assert!(ids(&recorder).is_empty());
    eventually("a current feed", || fixture.store.feed().is_current()).await;
    let service = document(json!({"name": "a"}));
    fixture.services.insert(service.clone()).await.unwrap();
    assert_eq!(ids(&recorder), [id(&service)]);
}
