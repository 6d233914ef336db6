use std::collections::HashSet;

use futures::future::join_all;
use tollgate_plugin::store::MigrationSet;
use tollgate_store::testing::{Backend, TestDatabase};

use super::*;
use crate::period::Period;

/// The last second of an hour.
const NOW: i64 = 3599;

async fn open(backend: Backend) -> (TestDatabase, Store) {
    let tables = MigrationSet { owner: crate::NAME, migrations: crate::MIGRATIONS };
    let database = TestDatabase::create_with(backend, &[tables]).await;
    let store = database.open().await;
    (database, store)
}

fn key(number: u8) -> Key {
    [number; 32]
}

fn limits(limits: &[(Period, u64)]) -> Limits {
    Limits::new(limits.to_vec())
}

async fn a_request_counts_in_all_windows_or_in_none(backend: Backend) {
    let (_database, store) = open(backend).await;
    // Without memory of those that have reached a limit: each request asks the store.
    let count = async |limits: &Limits, now| Cluster::new(&store, 0).count(key(1), limits, now).await.unwrap().0;
    let both = limits(&[(Period::Second, 1), (Period::Hour, 3)]);
    assert_eq!(count(&both, NOW).await, [0; 6]);
    for _ in 0..3 {
        let used = count(&both, NOW).await;
        assert_eq!((used[0], used[2]), (1, 1), "refused ones are not counted");
    }
    let used = count(&both, NOW - 1).await;
    assert_eq!((used[0], used[2]), (1, 1), "a node whose clock is behind");
    assert_eq!(count(&both, NOW + 1).await[2], 0, "the next hour");
    let lower = limits(&[(Period::Hour, 1)]);
    assert_eq!(count(&lower, NOW + 2).await[2], 1, "a limit that was lowered");
    assert_eq!(count(&both, NOW + 2).await[2], 1, "is not counted by");
    assert_eq!(Cluster::new(&store, 0).count(key(2), &both, NOW).await.unwrap().0, [0; 6], "another sender");
}

async fn nodes_admit_together_no_more_than_the_limit(backend: Backend) {
    const LIMIT: u64 = 50;
    let (_database, store) = open(backend).await;
    let nodes: Vec<Cluster> = (0..3).map(|_| Cluster::new(&store, 1000)).collect();
    let limits = limits(&[(Period::Hour, LIMIT), (Period::Day, 1000)]);
    let requests = (0..300).map(|number| {
        let (node, limits) = (&nodes[number % 3], &limits);
        async move { node.count(key(u8::try_from(number % 2).unwrap()), limits, NOW).await.unwrap() }
    });
    let counted = join_all(requests).await;
    for sender in 0..2 {
        let of_sender = counted.iter().skip(sender).step_by(2).map(|used| used.0[2]);
        let (admitted, refused): (Vec<u64>, Vec<u64>) = of_sender.partition(|used| *used < LIMIT);
        assert_eq!((admitted.len(), refused.len()), (50, 100));
        assert_eq!(admitted.into_iter().collect::<HashSet<_>>().len(), 50, "no place is given twice");
        assert!(refused.iter().all(|used| *used == LIMIT));
    }
    // All of its requests may have been admitted, and it knows the limit once it is refused.
    assert_eq!(nodes[0].count(key(0), &limits, NOW).await.unwrap().0[2], LIMIT);
    assert_eq!(nodes[0].spent(&key(0), &limits, NOW).map(|used| used.0[2]), Some(LIMIT));
    assert_eq!(nodes[0].spent(&key(0), &limits, NOW + 1), None, "its window has ended");
    assert_eq!(nodes[0].spent(&key(9), &limits, NOW), None);
}

async fn ended_windows_are_deleted(backend: Backend) {
    let (_database, store) = open(backend).await;
    Cluster::new(&store, 0).count(key(1), &limits(&[(Period::Day, 5)]), NOW).await.unwrap();
    // The clock of the store is years ahead of this request.
    assert_eq!(store.clean_now(&EXPIRED).await.unwrap(), 1);
    assert_eq!(store.clean_now(&EXPIRED).await.unwrap(), 0);
    assert_eq!(
        Cluster::new(&store, 0).count(key(1), &limits(&[(Period::Day, 5)]), NOW).await.unwrap(),
        Used::default()
    );
}

macro_rules! on_both_databases {
    ($($name:ident)+) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(super::Backend::Sqlite).await;
            })+
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(super::Backend::Postgres).await;
            })+
        }
    };
}

on_both_databases! {
    a_request_counts_in_all_windows_or_in_none
    nodes_admit_together_no_more_than_the_limit
    ended_windows_are_deleted
}

#[test]
fn requests_of_one_sender_that_differ_are_in_successive_statements() {
    let request = |number, now| Request::new(key(number), &limits(&[(Period::Minute, 1)]), now);
    let times = HashMap::from([(request(1, NOW), 2), (request(1, NOW + 1), 1), (request(2, NOW), 1)]);
    let mut sizes: Vec<usize> = statements(times).iter().map(HashMap::len).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 2]);
}
