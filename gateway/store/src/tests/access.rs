//! What plugins with their own tables can use, on both databases.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tollgate_core::change::{Change, Operation};
use tollgate_core::error::{DaoError, StoreError};
use uuid::Uuid;

use super::fixture::{Fixture, Recorder};
use crate::testing::Backend;
use crate::{Abort, Failure, Parameter, Statement};

macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::Fixture::new(super::Backend::Postgres).await).await;
            })*
        }
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::Fixture::new(super::Backend::Sqlite).await).await;
            })*
        }
    };
}

on_both!(
    a_refused_transaction_leaves_nothing_behind,
    recorded_changes_are_announced_before_a_transaction_returns,
    changes_recorded_by_a_refused_transaction_are_not_announced,
    a_transaction_is_retried_after_a_conflict,
    a_transaction_is_not_retried_forever,
    a_taken_value_is_reported_with_its_constraint,
    many_parameter_lists_are_one_call,
    a_single_statement_write_refuses_a_second_statement,
    parts_of_a_statement_depend_on_one_another,
    a_statement_with_a_missing_parameter_is_refused,
);

const INSERT: Statement = statement(
    "INSERT INTO settings (name, value) VALUES ($1, $2)",
    "INSERT INTO settings (name, value) VALUES (?1, ?2)",
);
const INSERT_MANY: Statement = statement(
    "INSERT INTO settings (name, value) SELECT * FROM unnest($1::text[], $2::bytea[]) RETURNING name",
    "INSERT INTO settings (name, value) VALUES (?1, ?2) RETURNING name",
);
const NAMES: Statement =
    statement("SELECT name FROM settings ORDER BY name", "SELECT name FROM settings ORDER BY name");
/// Moves a value to another name, and returns it.
const MOVE: Statement = statement(
    "WITH taken AS (DELETE FROM settings WHERE name = $1 RETURNING value)
     INSERT INTO settings (name, value) SELECT $2, value FROM taken RETURNING value",
    "INSERT INTO settings (name, value) SELECT ?2, value FROM settings WHERE name = ?1 RETURNING value;
     DELETE FROM settings WHERE name = ?1 AND changes() > 0",
);

const fn statement(postgres: &'static str, sqlite: &'static str) -> Statement {
    Statement { name: "test", postgres, sqlite }
}

fn setting(name: &str) -> [Parameter<'_>; 2] {
    [name.into(), name.as_bytes().into()]
}

async fn names(fixture: &Fixture) -> Vec<String> {
    let read = fixture
        .store
        .read((), async |(), session| session.rows(&NAMES, &[]).await?.iter().map(|row| row.get(0)).collect());
    read.await.unwrap()
}

fn change(id: u128) -> Change {
    let (kind, operation, key) = ("tokens".to_owned(), Operation::Deleted, vec![1, 2]);
    Change { kind, operation, id: Uuid::from_u128(id), key, document: None }
}

fn recorder(fixture: &Fixture) -> Arc<Recorder> {
    let recorder = Arc::new(Recorder::default());
    fixture.store.feed().subscribe(recorder.clone());
    recorder
}

async fn a_refused_transaction_leaves_nothing_behind(fixture: Fixture) {
    let refused = fixture.store.transaction((), async |(), tx| {
        tx.execute(&INSERT, &setting("a")).await?;
        Err::<(), _>(Abort::Refused(DaoError::PrimaryKey { id: Uuid::nil() }))
    });
    assert!(matches!(refused.await.unwrap_err(), DaoError::PrimaryKey { .. }));
    assert!(names(&fixture).await.is_empty());
}

async fn recorded_changes_are_announced_before_a_transaction_returns(fixture: Fixture) {
    let (here, other) = (recorder(&fixture), fixture.database.open().await);
    let there = Arc::new(Recorder::default());
    other.feed().subscribe(there.clone());
    let write = fixture.store.transaction((), async |(), tx| {
        tx.execute(&INSERT, &setting("a")).await?;
        tx.record(change(1)).await?;
        Ok::<_, Abort>(tx.record(change(2)).await?)
    });
    write.await.unwrap();
    let received = |recorder: &Recorder| {
        let received = recorder.received.lock().unwrap();
        received.iter().map(|change| (change.id.as_u128(), change.key.clone())).collect::<Vec<_>>()
    };
    let both = [(1, vec![1, 2]), (2, vec![1, 2])];
    assert_eq!(received(&here), both);
    super::fixture::eventually("the changes", || received(&there) == both).await;
}

async fn changes_recorded_by_a_refused_transaction_are_not_announced(fixture: Fixture) {
    let received = recorder(&fixture);
    let refused = fixture.store.transaction((), async |(), tx| {
        tx.record(change(1)).await?;
        Err::<(), _>(Abort::Refused(StoreError::Corrupt { kind: "test", what: "refused" }))
    });
    refused.await.unwrap_err();
    fixture.store.feed().catch_up().await.unwrap();
    assert!(received.summary().is_empty() && fixture.store.feed().is_current());
}

fn conflict<T>() -> Result<T, Abort> {
    Err(Abort::Retry(StoreError::Unavailable("conflict".into())))
}

async fn a_transaction_is_retried_after_a_conflict(fixture: Fixture) {
    let received = recorder(&fixture);
    let write = fixture.store.transaction(AtomicUsize::new(0), async |attempts, tx| {
        tx.execute(&INSERT, &setting("a")).await?;
        tx.record(change(1)).await?;
        if attempts.fetch_add(1, Ordering::SeqCst) < 3 { conflict() } else { Ok(()) }
    });
    write.await.unwrap();
    assert_eq!((names(&fixture).await, received.summary().len()), (vec!["a".to_owned()], 1));
}

async fn a_transaction_is_not_retried_forever(fixture: Fixture) {
    let attempts = Arc::new(AtomicUsize::new(0));
    let write = fixture.store.transaction(attempts.clone(), async |attempts, _| {
        attempts.fetch_add(1, Ordering::SeqCst);
        conflict::<()>()
    });
    assert!(matches!(write.await.unwrap_err(), StoreError::Unavailable(_)));
    assert_eq!(attempts.load(Ordering::SeqCst), 10);
}

async fn a_taken_value_is_reported_with_its_constraint(fixture: Fixture) {
    let insert = async |(): &(), tx: &mut crate::Transaction<'_>| match tx.execute(&INSERT, &setting("a")).await {
        Err(Failure::Unique { constraint, .. }) => Ok(Some(constraint)),
        other => Ok::<_, Abort>(other.map(|_| None)?),
    };
    assert_eq!(fixture.store.statement((), insert).await.unwrap(), None);
    let constraint = fixture.store.statement((), insert).await.unwrap().unwrap();
    // The table `settings` leaves naming its key to PostgreSQL.
    assert!(["settings_name", "settings_pkey"].contains(&constraint.as_str()), "{constraint}");
}

async fn many_parameter_lists_are_one_call(fixture: Fixture) {
    let added = fixture.store.statement((), async |(), tx| {
        let lists: Vec<_> = ["a", "b", "c"].iter().map(|name| setting(name).to_vec()).collect();
        let rows = tx.rows_for_each(&INSERT_MANY, &lists).await?;
        Ok::<_, Abort>(rows.iter().map(|row| row.get(0)).collect::<Result<Vec<String>, _>>()?)
    });
    assert_eq!(added.await.unwrap(), ["a", "b", "c"]);
    assert_eq!(names(&fixture).await, ["a", "b", "c"]);
    // One of them is taken: none is inserted.
    let added = fixture.store.statement((), async |(), tx| {
        let lists: Vec<_> = ["d", "b"].iter().map(|name| setting(name).to_vec()).collect();
        Ok::<_, Abort>(tx.rows_for_each(&INSERT_MANY, &lists).await.map(drop)?)
    });
    assert!(matches!(added.await.unwrap_err(), StoreError::Statement { statement: "test", .. }));
    assert_eq!(names(&fixture).await, ["a", "b", "c"]);
}

async fn a_single_statement_write_refuses_a_second_statement(fixture: Fixture) {
    let write = fixture.store.statement((), async |(), tx| {
        tx.execute(&INSERT, &setting("a")).await?;
        Ok::<_, Abort>(tx.execute(&INSERT, &setting("b")).await.map(drop)?)
    });
    let error = write.await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { what: "a single-statement write ran a second statement", .. }));
}

async fn parts_of_a_statement_depend_on_one_another(fixture: Fixture) {
    let rename = async |(from, to): &(&'static str, &'static str), tx: &mut crate::Transaction<'_>| {
        let rows = tx.rows(&MOVE, &[(*from).into(), (*to).into()]).await?;
        Ok::<_, Abort>(rows.iter().map(|row| row.get(0)).collect::<Result<Vec<Vec<u8>>, _>>()?)
    };
    let insert =
        async |(): &(), tx: &mut crate::Transaction<'_>| Ok::<_, Abort>(tx.execute(&INSERT, &setting("a")).await?);
    assert_eq!(fixture.store.statement((), insert).await.unwrap(), 1);
    assert_eq!(fixture.store.statement(("a", "b"), rename).await.unwrap(), [b"a"]);
    assert!(fixture.store.statement(("a", "c"), rename).await.unwrap().is_empty());
    assert_eq!(names(&fixture).await, ["b"]);
}

async fn a_statement_with_a_missing_parameter_is_refused(fixture: Fixture) {
    for count in [1, 3] {
        let write = fixture.store.statement(count, async |count, tx| {
            let values = vec![Parameter::Bytes(b"a"); *count];
            Ok::<_, Abort>(tx.execute(&MOVE, &values).await?)
        });
        let refused = write.await.unwrap_err();
        assert!(matches!(refused, StoreError::Statement { statement: "test", .. }), "{refused:?}");
    }
}
