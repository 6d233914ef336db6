//! Several database servers: which one is connected to, and which connections are used again.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::net::TcpListener;
use tollgate_core::error::{DaoError, StoreError};

use super::fixture::{Fixture, document, eventually, postgres};
use crate::options::Options;
use crate::store::Store;
use crate::testing::{Backend, TestDatabase};

/// The options of a database with these hosts before its own.
fn behind(database: &TestDatabase, hosts: &[String]) -> Options {
    let (start, rest) = database.url.split_once('@').unwrap();
    let before: String = hosts.iter().map(|host| format!("{host},")).collect();
    Options { url: format!("{start}@{before}{rest}"), ..database.options() }
}

/// A host that accepts connections and says nothing, as a frozen server does.
async fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    (listener, host)
}

/// A host that refuses connections.
async fn closed() -> String {
    silent().await.1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_silent_or_closed_does_not_keep_the_others_from_being_used() {
    let database = TestDatabase::create(Backend::Postgres).await;
    let (_silent, host) = silent().await;
    let options = behind(&database, &[closed().await, host]);
    let store = Store::open(options).await.unwrap();
    // The host that has responded is tried first from then on.
    postgres(&store).connector().connect().await.unwrap();
    let begun = Instant::now();
    for _ in 0..4 {
        postgres(&store).connector().connect().await.unwrap();
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    eventually("a current feed", || store.feed().is_current()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connecting_ends_in_time_if_no_host_responds() {
    let database = TestDatabase::create(Backend::Postgres).await;
    let (_one, one) = silent().await;
    let (_two, two) = silent().await;
    let limit = Duration::from_millis(600);
    let url = format!("postgres://postgres@{one},{two}/postgres");
    let options = Options { url, statement_timeout: limit / 2, ..database.options() };
    let begun = Instant::now();
    let error = Store::open(options).await.err().unwrap();
    let shown = format!("{one}/postgres as postgres, {two}/postgres as postgres");
    assert_eq!(error.to_string(), format!("cannot connect to {shown} within 600ms"));
    assert!(begun.elapsed() >= limit);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_address_of_a_host_is_tried() {
    let database = TestDatabase::create(Backend::Postgres).await;
    // It has the address ::1 as well, where the server does not listen.
    let url = database.url.replace("127.0.0.1", "localhost");
    assert_ne!(url, database.url);
    Store::open(Options { url, ..database.options() }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_to_a_server_that_refuses_writes_are_not_used_again() {
    let database = TestDatabase::create(Backend::Postgres).await;
    let store = Store::open(behind(&database, &[closed().await])).await.unwrap();
    let fixture = Fixture::of(TestDatabase::create_empty(Backend::Sqlite).await, store);
    let driver = postgres(&fixture.store);
    let demoted = [driver.client().await.unwrap(), driver.client().await.unwrap()];
    for client in &demoted {
        client.batch_execute("SET default_transaction_read_only = on").await.unwrap();
    }
    drop(demoted);
    let write = fixture.services.insert(document(json!({"name": "a"}))).await;
    assert!(matches!(write, Err(DaoError::Store(StoreError::Unavailable(_)))), "{write:?}");
    fixture.services.insert(document(json!({"name": "a"}))).await.unwrap();
    fixture.services.insert(document(json!({"name": "b"}))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_runs_on_another_server_than_the_one_the_feed_reads() {
    let database = TestDatabase::create(Backend::Postgres).await;
    let store = database.open().await;
    let driver = postgres(&store);
    let idle = driver.client().await.unwrap();
    let in_use = driver.client().await.unwrap();
    drop(idle);
    driver.follow(1);
    drop(in_use);
    let error = store.ping().await.unwrap_err();
    let StoreError::Unavailable(source) = error else { panic!("{error:?}") };
    let told = std::error::Error::source(&*source).map(ToString::to_string);
    let expected = "the server is not the one that the change feed reads; waiting for the change feed";
    assert_eq!(told.as_deref(), Some(expected));
    let client = driver.connector().connect().await.unwrap();
    let started = "SELECT (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint";
    driver.follow(client.query_one(started, &[]).await.unwrap().get(0));
    store.ping().await.unwrap();
}
