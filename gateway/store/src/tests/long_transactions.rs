//! Transactions that stay open for a long time: changes committed meanwhile are read once, and their own
//! changes, committed last, are neither missed nor deleted unread.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

use super::feed::{INSERT, Nodes};
use super::fixture::{Fixture, RETENTION, an_hour_passes, eventually, postgres};
use crate::testing::{Backend, TestDatabase};

async fn connect(database: &TestDatabase) -> Client {
    let (client, connection) = tokio_postgres::connect(&database.url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

const MANY: i64 = 200_000;

/// The number of entries read from the index of changes so far. A session reports its work when it ends a
/// transaction at least a second after its last report.
async fn entries_read(client: &Client) -> i64 {
    let read = "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'changes_xid'";
    client.query_one(read, &[]).await.unwrap().get(0)
}

async fn a_while() {
    let begun = Instant::now();
    eventually("three seconds", || begun.elapsed() > Duration::from_secs(3)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_change_is_read_twice_while_a_transaction_stays_open() {
    let nodes = Nodes::new(Backend::Postgres).await;
    let elsewhere = TestDatabase::create_empty(Backend::Postgres).await;
    let open = connect(&elsewhere).await;
    open.batch_execute("BEGIN; SELECT pg_current_xact_id()").await.unwrap();
    let (prepared, name) =
        (connect(&elsewhere).await, format!("'{}'", Uuid::from_u128(u128::from(std::process::id()))));
    prepared.batch_execute(&format!("BEGIN; SELECT pg_current_xact_id(); PREPARE TRANSACTION {name}")).await.unwrap();
    let here = connect(&nodes.first.database).await;
    let late = connect(&nodes.first.database).await;
    late.batch_execute("BEGIN").await.unwrap();
    late.execute(INSERT, &[&Uuid::from_u128(1)]).await.unwrap();

    let many = "INSERT INTO changes (kind, operation, id, origin, created_at) \
         SELECT 'tokens', 'deleted', gen_random_uuid(), gen_random_uuid(), 0 FROM generate_series(1, $1::bigint)";
    here.execute(many, &[&MANY]).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while nodes.recorder.received.lock().unwrap().len() < 200_000 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    a_while().await;
    let before = entries_read(&here).await;
    a_while().await;
    let read = entries_read(&here).await - before;
    let current = nodes.second.store.feed().is_current();
    late.batch_execute("COMMIT").await.unwrap();
    let reached = nodes.second.store.feed().catch_up().await;
    let received = nodes.recorder.received.lock().unwrap().len();
    // Nothing else ends it, so end it before anything can fail.
    prepared.batch_execute(&format!("ROLLBACK PREPARED {name}")).await.unwrap();
    reached.unwrap();
    assert_eq!(received, 200_001);
    assert!(read < 1000, "{read} entries were read again");
    assert!(current);
}

/// Pseudo-random numbers, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// A connection, and what its transaction has written so far; `None`: no transaction.
struct Writer {
    client: Client,
    written: Option<Vec<Uuid>>,
}

impl Writer {
    /// Takes a step, and returns the changes that it commits.
    async fn step(&mut self, numbers: &mut Numbers, next: Uuid) -> Vec<Uuid> {
        let Some(written) = &mut self.written else {
            if numbers.below(2) == 0 {
                self.client.execute(INSERT, &[&next]).await.unwrap();
                return vec![next];
            }
            self.client.batch_execute("BEGIN").await.unwrap();
            self.written = Some(Vec::new());
            return Vec::new();
        };
        match numbers.below(8) {
            0 => {
                self.client.batch_execute("ROLLBACK").await.unwrap();
                self.written = None;
            }
            1 | 2 => {
                self.client.batch_execute("COMMIT").await.unwrap();
                return self.written.take().unwrap();
            }
            3 => {
                let name = next.simple();
                let prepare = format!("PREPARE TRANSACTION '{name}'");
                self.client.batch_execute(&prepare).await.unwrap();
                self.client.batch_execute(&format!("COMMIT PREPARED '{name}'")).await.unwrap();
                return self.written.take().unwrap();
            }
            4 => {
                self.client.batch_execute("SAVEPOINT s").await.unwrap();
                self.client.execute(INSERT, &[&next]).await.unwrap();
                let undone = numbers.below(2) == 0;
                self.client.batch_execute(if undone { "ROLLBACK TO s" } else { "RELEASE s" }).await.unwrap();
                written.extend((!undone).then_some(next));
            }
            _ => {
                self.client.execute(INSERT, &[&next]).await.unwrap();
                written.push(next);
            }
        }
        Vec::new()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_change_is_received_once_however_transactions_interleave() {
    let nodes = Nodes::new(Backend::Postgres).await;
    let mut writers = Vec::new();
    for _ in 0..6 {
        writers.push(Writer { client: connect(&nodes.first.database).await, written: None });
    }
    let (mut numbers, mut expected) = (Numbers(u64::from(std::process::id())), Vec::new());
    eprintln!("random seed {}", numbers.0);
    let ids = u128::from(std::process::id()) << 64;
    for step in 0..600_u128 {
        let chosen = usize::try_from(numbers.below(6)).unwrap();
        expected.extend(writers[chosen].step(&mut numbers, Uuid::from_u128(ids + step)).await);
        if numbers.below(4) == 0 {
            nodes.second.store.feed().catch_up().await.unwrap();
            assert!(nodes.recorder.received.lock().unwrap().len() >= expected.len(), "in step {step}");
        }
    }
    for writer in &mut writers {
        if let Some(written) = writer.written.take() {
            writer.client.batch_execute("COMMIT").await.unwrap();
            expected.extend(written);
        }
    }
    nodes.second.store.feed().catch_up().await.unwrap();
    let mut received: BTreeMap<Uuid, usize> = BTreeMap::new();
    nodes.recorder.summary().into_iter().for_each(|(.., id)| *received.entry(id).or_default() += 1);
    assert_eq!(received, expected.into_iter().map(|id| (id, 1)).collect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_a_long_transaction_are_kept_for_an_hour_after_its_commit() {
    let fixture = Fixture::new(Backend::Postgres).await;
    let (store, database) = (&fixture.store, postgres(&fixture.store));
    let clean = async || store.clean_changes(RETENTION).await.unwrap();
    let open = connect(&fixture.database).await;
    open.batch_execute("BEGIN").await.unwrap();
    // Written in 1970.
    open.execute(INSERT, &[&Uuid::from_u128(1)]).await.unwrap();
    for _ in 0..3 {
        assert_eq!(clean().await, 0);
        an_hour_passes(database).await;
    }
    open.batch_execute("COMMIT").await.unwrap();
    // Renewed now, with a snapshot from before the commit as the old one.
    assert_eq!(clean().await, 0);
    assert_eq!(clean().await, 0);
    an_hour_passes(database).await;
    assert_eq!(clean().await, 0);
    assert_eq!(clean().await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_age_of_changes_is_not_read_from_another_cluster() {
    let fixture = Fixture::new(Backend::Postgres).await;
    let client = connect(&fixture.database).await;
    let restored = "INSERT INTO change_horizon (taken_at, recent, old) VALUES \
         (0, '999999999999:999999999999:', '999999999998:999999999998:')";
    client.execute(restored, &[]).await.unwrap();
    client.execute(INSERT, &[&Uuid::from_u128(1)]).await.unwrap();
    for _ in 0..3 {
        assert_eq!(fixture.store.clean_changes(RETENTION).await.unwrap(), 0);
    }
    let kept = "SELECT pg_snapshot_xmax(recent)::text <> '999999999999', old::text FROM change_horizon";
    let row = client.query_one(kept, &[]).await.unwrap();
    assert_eq!((row.get::<_, bool>(0), row.get::<_, String>(1)), (true, "1:1:".to_owned()));
}
