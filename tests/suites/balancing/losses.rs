//! Targets that go while requests are under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;

/// Sends requests from several clients until told to end; how many there were, and what failed.
async fn load(gateway: &Gateway, path: &str, stop: Arc<AtomicBool>, clients: usize) -> (usize, Vec<String>) {
    let sent = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..clients)
        .map(|number| {
            // Half of them speak HTTP/2.
            let url = if number % 2 == 0 { gateway.url(path) } else { gateway.plain_url(path) };
            let (client, stop, sent) = (gateway.client.clone(), Arc::clone(&stop), Arc::clone(&sent));
            tokio::spawn(async move {
                let mut failures = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    sent.fetch_add(1, Ordering::Relaxed);
                    match client.get(&url).send().await {
                        Ok(response) if response.status() == 200 => {
                            failures.extend(response.bytes().await.err().map(|error| error.to_string()));
                        }
                        Ok(response) => failures.push(response.status().to_string()),
                        Err(error) => failures.push(error.to_string()),
                    }
                }
                failures
            })
        })
        .collect();
    let mut failures = Vec::new();
    for task in tasks {
        failures.extend(task.await.unwrap());
    }
    (sent.load(Ordering::Relaxed), failures)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_killed_loses_no_idempotent_request() {
    let gateway = Gateway::on_sqlite().await;
    let mut one = Target::start("one").await;
    let (two, three) = (Target::start("two").await, Target::start("three").await);
    let checks = json!({"healthchecks": {"passive": {"unhealthy": {"tcp_failures": 3}}}});
    balanced(&gateway, "api", checks, &[&one, &two, &three]).await;
    for target in [&one, &two, &three] {
        target.take(Duration::from_millis(2));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&stop);
    let killed = async {
        until("requests are under way", async || one.requests() > 50).await;
        one.kill().await;
        until("it is out", async || health_of(&gateway, "api", &one).await == "UNHEALTHY").await;
        let (two, before) = (&two, two.requests());
        until("the others serve", async || two.requests() > before + 50).await;
        ended.store(true, Ordering::Relaxed);
    };
    let ((sent, failures), ()) = tokio::join!(load(&gateway, "/api", stop, 8), killed);
    assert!(failures.is_empty(), "{} of {sent} failed: {failures:?}", failures.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_deleted_ends_what_it_has_begun_and_gets_nothing_new() {
    let gateway = Gateway::on_sqlite().await;
    let (leaving, staying) = (Target::start("leaving").await, Target::start("staying").await);
    balanced(&gateway, "api", json!({}), &[&leaving]).await;
    leaving.hold();
    let under_way = tokio::spawn(gateway.client.get(gateway.url("/api")).send());
    until("a request is under way", async || leaving.requests() == 1).await;
    gateway.create("/upstreams/api.upstream/targets", json!({"target": staying.authority()})).await;
    gateway.delete(&format!("/upstreams/api.upstream/targets/{}", leaving.authority())).await;
    assert_eq!(spread(&gateway, "/api", 10).await, counts([("staying", 10)]));
    assert!(!under_way.is_finished(), "it is still under way");
    leaving.release();
    let response = under_way.await.unwrap().unwrap();
    assert_eq!((response.status().as_u16(), response.text().await.unwrap().as_str()), (200, "leaving"));
    assert_eq!(leaving.requests(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_target_is_not_tried_again_in_a_request_while_there_are_others() {
    let gateway = Gateway::on_sqlite().await;
    let mut dead = [Target::start("a").await, Target::start("b").await, Target::start("c").await];
    for target in &mut dead {
        target.kill().await;
    }
    let alive = Target::start("alive").await;
    balanced(&gateway, "api", json!({}), &[&dead[0], &dead[1], &dead[2], &alive]).await;
    gateway.change("/services/api", json!({"retries": 3})).await;
    assert_eq!(spread(&gateway, "/api", 12).await, counts([("alive", 12)]), "four targets, four attempts");
    gateway.change("/services/api", json!({"retries": 0})).await;
    let mut statuses = BTreeMap::new();
    for _ in 0..12 {
        *statuses.entry(get(&gateway, "/api").await.status).or_insert(0) += 1;
    }
    assert_eq!(statuses, BTreeMap::from([(200, 3), (502, 9)]), "without retries one in four");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_may_have_been_acted_on_is_not_repeated() {
    let gateway = Gateway::on_sqlite().await;
    let (slow, fast) = (Target::start("slow").await, Target::start("fast").await);
    slow.take(Duration::from_secs(60));
    balanced(&gateway, "api", json!({}), &[&slow, &fast]).await;
    gateway.change("/services/api", json!({"read_timeout": 3000})).await;
    let mut statuses = BTreeMap::new();
    for _ in 0..4 {
        let reply = gateway.send(gateway.request(Method::POST, "/api")).await;
        *statuses.entry(reply.status).or_insert(0) += 1;
    }
    assert_eq!(statuses, BTreeMap::from([(200, 2), (504, 2)]));
    assert_eq!((slow.requests(), fast.requests()), (2, 2));
}
