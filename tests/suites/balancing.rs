//! Upstreams and targets: distribution, health, retries, draining (gateway.md §2.3, §5, §7.4).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use tollgate_tests::{Gateway, Reply, Store, Target};

mod hashing;
mod health;
mod losses;
mod names;

/// How long anything may take that does not happen at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// An upstream of these targets, with a service and a route by its name, stripped.
async fn balanced(gateway: &Gateway, name: &str, mut upstream: Value, targets: &[&Target]) {
    upstream["name"] = json!(format!("{name}.upstream"));
    gateway.create("/upstreams", upstream).await;
    for target in targets {
        gateway.create(&format!("/upstreams/{name}.upstream/targets"), json!({"target": target.authority()})).await;
    }
    gateway.create("/services", json!({"name": name, "host": format!("{name}.upstream")})).await;
    gateway.create(&format!("/services/{name}/routes"), json!({"paths": [format!("/{name}")]})).await;
}

async fn get(gateway: &Gateway, path: &str) -> Reply {
    gateway.send(gateway.request(Method::GET, path)).await
}

/// The responses to so many requests, by body.
async fn spread(gateway: &Gateway, path: &str, count: usize) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    for _ in 0..count {
        let reply = get(gateway, path).await.expect(200);
        *seen.entry(reply.body).or_default() += 1;
    }
    seen
}

fn counts<const N: usize>(expected: [(&str, usize); N]) -> BTreeMap<String, usize> {
    expected.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn health_of(gateway: &Gateway, upstream: &str, target: &Target) -> String {
    let shown = gateway.admin_get(&format!("/upstreams/{upstream}.upstream/health")).await.expect(200).json();
    let targets = shown["data"].as_array().unwrap();
    let found = targets.iter().find(|known| known["target"] == json!(target.authority()));
    found.unwrap()["health"].as_str().unwrap().to_owned()
}

on_both_stores! {
    async fn requests_follow_the_weights_of_targets_and_their_changes(gateway: Gateway) {
        let (one, two) = (Target::start("one").await, Target::start("two").await);
        balanced(&gateway, "api", json!({}), &[&one, &two]).await;
        assert_eq!(spread(&gateway, "/api", 20).await, counts([("one", 10), ("two", 10)]));
        let path = format!("/upstreams/api.upstream/targets/{}", one.authority());
        gateway.change(&path, json!({"weight": 300})).await;
        assert_eq!(spread(&gateway, "/api", 20).await, counts([("one", 15), ("two", 5)]));
        gateway.change(&path, json!({"weight": 0})).await;
        assert_eq!(spread(&gateway, "/api", 6).await, counts([("two", 6)]));
        gateway.change(&path, json!({"weight": 100})).await;
        gateway.delete(&format!("/upstreams/api.upstream/targets/{}", two.authority())).await;
        assert_eq!(spread(&gateway, "/api", 6).await, counts([("one", 6)]));
        gateway.delete("/upstreams/api.upstream").await;
        let reply = get(&gateway, "/api").await;
        assert_eq!((reply.status, reply.json()["message"].clone()), (503, json!("name resolution failed")));
        gateway.create("/upstreams", json!({"name": "api.upstream"})).await;
        let reply = get(&gateway, "/api").await;
        let text = "failure to get a peer from the ring-balancer";
        assert_eq!((reply.status, reply.json()["message"].clone()), (503, json!(text)));
        let target = json!({"target": two.authority()});
        gateway.create("/upstreams/api.upstream/targets", target).await;
        assert_eq!(spread(&gateway, "/api", 2).await, counts([("two", 2)]));
        gateway.change("/upstreams/api.upstream", json!({"name": "other.upstream"})).await;
        assert_eq!(get(&gateway, "/api").await.status, 503, "the service's host is no upstream any more");
        gateway.change("/services/api", json!({"host": "other.upstream"})).await;
        assert_eq!(spread(&gateway, "/api", 2).await, counts([("two", 2)]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_nodes_balance_alike() {
    let gateway = Gateway::on_postgres().await;
    let other = gateway.another_node().await;
    let (one, two) = (Target::start("one").await, Target::start("two").await);
    balanced(&gateway, "api", json!({}), &[&one, &two]).await;
    until("the other node knows both targets", async || {
        let replies = [get(&other, "/api").await, get(&other, "/api").await];
        replies.iter().all(|reply| reply.status == 200) && replies[0].body != replies[1].body
    })
    .await;
    gateway.delete(&format!("/upstreams/api.upstream/targets/{}", two.authority())).await;
    until("the other node knows that one is gone", async || {
        let replies = [get(&other, "/api").await, get(&other, "/api").await];
        replies.iter().all(|reply| reply.body == "one")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_is_the_targets_the_upstreams_or_the_clients() {
    let gateway = Gateway::on_sqlite().await;
    let target = Target::start("one").await;
    balanced(&gateway, "api", json!({}), &[&target]).await;
    let host = || {
        let head = target.last_head();
        let line = head.lines().find_map(|line| line.strip_prefix("Host: ").or_else(|| line.strip_prefix("host: ")));
        line.unwrap_or_default().to_owned()
    };
    get(&gateway, "/api").await.expect(200);
    assert_eq!(host(), target.authority());
    gateway.change("/upstreams/api.upstream", json!({"host_header": "inner.test"})).await;
    get(&gateway, "/api").await.expect(200);
    assert_eq!(host(), "inner.test");
    let routes = gateway.admin_get("/services/api/routes").await.json();
    let route = routes["data"][0]["id"].as_str().unwrap().to_owned();
    gateway.change(&format!("/routes/{route}"), json!({"preserve_host": true})).await;
    get(&gateway, "/api").await.expect(200);
    assert_eq!(host(), gateway.https.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_algorithms_prefer_idle_and_fast_targets() {
    let gateway = Gateway::on_sqlite().await;
    let (slow, fast) = (Target::start("slow").await, Target::start("fast").await);
    balanced(&gateway, "idle", json!({"algorithm": "least-connections"}), &[&slow, &fast]).await;
    balanced(&gateway, "quick", json!({"algorithm": "latency"}), &[&slow, &fast]).await;
    slow.hold();
    let [one, other] = [(); 2].map(|()| Box::pin(gateway.client.get(gateway.url("/idle")).send()));
    // One is answered by the fast one, which has nothing under way then.
    let (first, held) = futures::future::select(one, other).await.factor_first();
    assert_eq!(first.unwrap().text().await.unwrap(), "fast");
    until("a request waits at the slow one", async || slow.requests() == 1).await;
    // What the fast one has ended may count for a moment: with more weight, that is no tie.
    let path = format!("/upstreams/idle.upstream/targets/{}", fast.authority());
    gateway.change(&path, json!({"weight": 300})).await;
    let seen = spread(&gateway, "/idle", 10).await;
    assert_eq!(seen, counts([("fast", 10)]), "the slow one has a request under way");
    slow.release();
    assert_eq!(held.await.unwrap().text().await.unwrap(), "slow");
    slow.take(Duration::from_millis(100));
    spread(&gateway, "/quick", 4).await;
    let seen = spread(&gateway, "/quick", 20).await;
    assert!(seen["fast"] >= 18, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_no_target_has_are_refused() {
    let gateway = Gateway::on_sqlite().await;
    gateway.create("/upstreams", json!({"name": "api.upstream"})).await;
    let own = gateway.addresses.admin.port().unwrap();
    for target in ["169.254.169.254:80".to_owned(), format!("127.0.0.1:{own}"), format!("localhost:{own}")] {
        let refused = gateway.admin(Method::POST, "/upstreams/api.upstream/targets", json!({"target": target})).await;
        let text = refused.expect(400).json()["fields"]["target"].as_str().unwrap().to_owned();
        assert!(text.contains("proxy.allowed_upstream_addresses"), "{target}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_an_upstream_presents_cannot_be_deleted() {
    let gateway = Gateway::on_sqlite().await;
    let key = std::fs::read_to_string(gateway.directory().join("self-signed.key")).unwrap();
    let certificate = gateway.create("/certificates", json!({"cert": gateway.certificate(), "key": key})).await;
    let id = certificate["id"].as_str().unwrap();
    let upstream = json!({"name": "api.upstream", "client_certificate": {"id": id}});
    let made = gateway.create("/upstreams", upstream).await;
    let below = gateway.admin_get(&format!("/certificates/{id}/upstreams")).await.expect(200).json();
    assert_eq!(below["data"], json!([made]));
    let shown = gateway.admin_get("/upstreams/api.upstream/client_certificate").await.expect(200).json();
    assert_eq!(shown["id"], json!(id));
    let refused = gateway.admin(Method::DELETE, &format!("/certificates/{id}"), Value::Null).await.expect(400);
    assert_eq!(refused.json()["message"], "an existing 'upstreams' entity references this 'certificates' entity");
}
