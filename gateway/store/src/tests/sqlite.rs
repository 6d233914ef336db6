//! Tests only for the embedded database: threads, group commit, the file.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use futures::future::join_all;
use rusqlite::Connection;
use tollgate_core::error::StoreError;

use super::fixture::eventually;
use crate::database::Database;
use crate::sqlite::Sqlite;
use crate::testing::{Backend, TestDatabase};
use crate::{Options, Store};

async fn open(options: Options) -> Sqlite {
    match Store::open(options).await.unwrap().database() {
        Database::Sqlite(sqlite) => sqlite.clone(),
        Database::Postgres(_) => panic!("not SQLite"),
    }
}

fn execute(sql: &'static str) -> impl FnOnce(&mut Connection) -> Result<usize, StoreError> + Send + 'static {
    move |connection| connection.execute(sql, []).map_err(|error| Sqlite::error("test", error))
}

fn count(connection: &mut Connection) -> Result<i64, StoreError> {
    let count = connection.query_row("SELECT count(*) FROM settings", [], |row| row.get(0));
    count.map_err(|error| Sqlite::error("test", error))
}

#[tokio::test]
async fn the_file_is_readable_by_its_owner_alone() {
    let database = TestDatabase::create(Backend::Sqlite).await;
    let _sqlite = open(database.options()).await;
    for suffix in ["", "-wal", "-shm"] {
        let file = format!("{}{suffix}", database.url.trim_start_matches("sqlite:"));
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[tokio::test]
async fn a_failed_write_does_not_undo_others_in_its_batch() {
    let database = TestDatabase::create(Backend::Sqlite).await;
    let sqlite = open(database.options()).await;
    let writes = (0..300_i64).map(|number| {
        sqlite.write(None, move |connection| {
            let sql = "INSERT INTO settings (name, value) VALUES (?1, x'00')";
            connection.execute(sql, [number.to_string()]).map_err(|error| Sqlite::error("test", error))?;
            if number % 3 == 0 { Err(StoreError::Corrupt { kind: "test", what: "refused" }) } else { Ok(()) }
        })
    });
    let won = join_all(writes).await.into_iter().filter(Result::is_ok).count();
    assert_eq!(won, 200);
    assert_eq!(sqlite.read(count).await.unwrap(), 200);
}

#[tokio::test]
async fn a_write_that_panics_does_not_affect_others() {
    let database = TestDatabase::create(Backend::Sqlite).await;
    let sqlite = open(database.options()).await;
    let panicking = sqlite.write(None, |_: &mut Connection| -> Result<(), StoreError> { panic!("in a job") });
    assert!(matches!(panicking.await, Err(StoreError::Unavailable(_))));
    sqlite.write(None, execute("INSERT INTO settings VALUES ('a', x'00')")).await.unwrap();
    assert_eq!(sqlite.read(count).await.unwrap(), 1);
}

#[tokio::test]
async fn a_reader_cannot_write() {
    let database = TestDatabase::create(Backend::Sqlite).await;
    let sqlite = open(database.options()).await;
    sqlite.read(execute("DELETE FROM settings")).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_waits_too_long_is_refused() {
    let database = TestDatabase::create(Backend::Sqlite).await;
    let acquire_timeout = Duration::from_millis(20);
    let sqlite = Arc::new(open(Options { acquire_timeout, ..database.options() }).await);
    let (release, released) = channel::<()>();
    let (start, started) = tokio::sync::oneshot::channel();
    let blocking = sqlite.clone();
    let blocked = tokio::spawn(async move {
        let job = move |_: &mut Connection| -> Result<(), StoreError> {
            let _ = start.send(());
            let _ = released.recv();
            Ok(())
        };
        blocking.write(None, job).await
    });
    started.await.unwrap();
    let waiting = tokio::spawn(async move { sqlite.write(None, execute("DELETE FROM settings")).await });
    let queued = Instant::now();
    eventually("the end of the queue timeout", || queued.elapsed() > acquire_timeout * 3).await;
    release.send(()).unwrap();
    blocked.await.unwrap().unwrap();
    assert!(matches!(waiting.await.unwrap(), Err(StoreError::Busy(_))));
}
