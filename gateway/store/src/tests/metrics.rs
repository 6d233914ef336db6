//! The metrics of a scrape.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tollgate_core::clock::ManualClock;
use tollgate_core::error::StoreError;

use super::fixture::{Fixture, RETENTION, an_hour_passes, document, eventually};
use crate::database::Database;
use crate::testing::{Backend, TestDatabase};
use crate::{Options, Store};

fn value(registry: &prometheus::Registry, name: &str, label: Option<&str>) -> Option<f64> {
    let family = registry.gather().into_iter().find(|family| family.name() == name)?;
    let metrics = family.get_metric();
    let metric = metrics.iter().find(|metric| label.is_none_or(|label| metric.get_label()[0].value() == label))?;
    Some(
        metric.get_gauge().get_value()
            + metric.get_counter().get_value()
            + f64::from(u32::try_from(metric.get_histogram().get_sample_count()).ok()?),
    )
}

async fn the_store_reports_its_load(backend: Backend) {
    let database = TestDatabase::create(backend).await;
    let clock = Arc::new(ManualClock::at(0));
    let options = Options { clock: clock.clone(), ..database.options() };
    let registry = options.metrics.clone();
    let fixture = Fixture::of(database, Store::open(options).await.unwrap());
    fixture.services.insert(document(json!({"name": "a"}))).await.unwrap();
    assert_eq!(value(&registry, "tollgate_store_up", None), Some(1.0));
    assert!(value(&registry, "tollgate_store_wait_seconds", None) > Some(0.0));
    assert_eq!(value(&registry, "tollgate_store_pool_connections", Some("waiting")), Some(0.0));
    assert!(value(&registry, "tollgate_store_pool_connections", Some("idle")) > Some(0.0));
    clock.advance(7200);
    let store = &fixture.store;
    if let Database::Postgres(postgres) = store.database() {
        // On PostgreSQL, the rows that a snapshot taken an hour ago, by the database's clock, sees.
        assert_eq!(store.clean_changes(RETENTION).await.unwrap(), 0);
        an_hour_passes(postgres).await;
        assert_eq!(store.clean_changes(RETENTION).await.unwrap(), 0);
    }
    assert_eq!(fixture.store.clean_changes(RETENTION).await.unwrap(), 1);
    assert_eq!(value(&registry, "tollgate_cleaner_rows_deleted_total", Some("changes")), Some(1.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_store_reports_its_load() {
    the_store_reports_its_load(Backend::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_sqlite_store_reports_its_load() {
    the_store_reports_its_load(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pool_is_capped_and_its_wait_is_bounded() {
    let database = TestDatabase::create(Backend::Postgres).await;
    let acquire_timeout = Duration::from_millis(50);
    let options = Options { max_connections: 2, acquire_timeout, ..database.options() };
    let registry = options.metrics.clone();
    let store = Store::open(options).await.unwrap();
    let Database::Postgres(postgres) = store.database() else { panic!("not PostgreSQL") };
    let held = (postgres.client().await.unwrap(), postgres.client().await.unwrap());
    assert_eq!(value(&registry, "tollgate_store_pool_connections", Some("in_use")), Some(2.0));
    assert!(matches!(postgres.client().await, Err(StoreError::Busy(limit)) if limit == acquire_timeout));
    drop(held);
    drop(postgres.client().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_runs_too_long_times_out() {
    let database = TestDatabase::create(Backend::Postgres).await;
    let options = Options { statement_timeout: Duration::from_millis(50), ..database.options() };
    let store = Store::open(options).await.unwrap();
    let Database::Postgres(postgres) = store.database() else { panic!("not PostgreSQL") };
    let client = postgres.client().await.unwrap();
    let error = client.execute("SELECT pg_sleep(5)", &[]).await.unwrap_err();
    assert!(matches!(postgres.error("test", error), StoreError::Timeout(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_server_is_unavailable_until_it_is_back() {
    let fixture = Fixture::new(Backend::Postgres).await;
    let Database::Postgres(postgres) = fixture.store.database() else { panic!("not PostgreSQL") };
    let client = postgres.client().await.unwrap();
    let error = client.execute("SELECT pg_terminate_backend(pg_backend_pid())", &[]).await.unwrap_err();
    assert!(matches!(postgres.error("test", error), StoreError::Unavailable(_)));
    eventually("the closed connection", || client.is_closed()).await;
    drop(client);
    fixture.store.ping().await.unwrap();
}
