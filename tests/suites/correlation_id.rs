//! Ids that follow requests: who gets which.

use http::Method;
use serde_json::{Value, json};
use tollgate_tests::scenario::Api;
use tollgate_tests::{Gateway, Reply, Upstream};

async fn correlated(gateway: &Gateway, name: &str, upstream: &Upstream, config: Value) {
    Api::open(gateway, name, upstream).await;
    gateway.create(&format!("/services/{name}/plugins"), json!({"name": "correlation-id", "config": config})).await;
}

async fn get(gateway: &Gateway, path: &str, given: Option<&str>) -> Reply {
    let request = gateway.request(Method::GET, path);
    gateway.send(given.into_iter().fold(request, |request, given| request.header("x-id", given))).await
}

/// What the upstream received.
fn received(reply: &Reply, name: &str) -> String {
    reply.json()["headers"][name][0].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_gets_an_id_unless_it_has_one() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    correlated(&gateway, "a", &upstream, json!({})).await;
    let ids: Vec<String> = {
        let (one, two) = (get(&gateway, "/a/x", None).await, get(&gateway, "/a/x", None).await);
        assert_eq!(one.header("kong-request-id"), None);
        [one, two].map(|reply| received(&reply, "kong-request-id")).into()
    };
    let (node, other) = (ids[0].strip_suffix("#1").unwrap(), ids[1].strip_suffix("#2").unwrap());
    assert_eq!((node, node.len()), (other, 36));
    correlated(&gateway, "b", &upstream, json!({"header_name": "X-Id", "generator": "uuid", "echo_downstream": true}))
        .await;
    let mine = get(&gateway, "/b/x", Some("mine")).await;
    assert_eq!((received(&mine, "x-id"), mine.header("x-id")), ("mine".to_owned(), Some("mine".to_owned())));
    let made = get(&gateway, "/b/x", Some("")).await;
    assert_eq!(received(&made, "x-id").len(), 36);
    assert_eq!(made.header("x-id"), Some(received(&made, "x-id")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_client_gets_the_id_too() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    Api::protected(&gateway, "a", &upstream, json!({})).await;
    let config = json!({"header_name": "X-Id", "echo_downstream": true});
    gateway.create("/services/a/plugins", json!({"name": "correlation-id", "config": config})).await;
    let reply = get(&gateway, "/a/x", None).await.expect(401);
    assert!(reply.header("x-id").is_some_and(|id| id.ends_with("#1")), "{:?}", reply.headers);
    assert_eq!(get(&gateway, "/a/x", Some("mine")).await.expect(401).header("x-id").as_deref(), Some("mine"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tracker_tells_where_the_request_arrived() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    correlated(&gateway, "a", &upstream, json!({"header_name": "X-Id", "generator": "tracker"})).await;
    let url = gateway.plain_url("/a/x");
    let port = url.rsplit(':').next().unwrap().split('/').next().unwrap().to_owned();
    let client = reqwest::Client::builder().pool_max_idle_per_host(1).build().unwrap();
    let mut ids = Vec::new();
    for _ in 0..2 {
        let reply = Reply::read(client.get(&url).send().await.unwrap()).await;
        ids.push(received(&reply, "x-id").split('-').map(str::to_owned).collect::<Vec<_>>());
    }
    let [one, two] = &ids[..] else { panic!("{ids:?}") };
    let process = gateway.process_id().to_string();
    for id in [one, two] {
        assert_eq!(id[..3], ["127.0.0.1".to_owned(), port.clone(), process.clone()], "{id:?}");
        let (seconds, millis) = id[5].split_once('.').unwrap();
        assert_eq!((seconds.len(), millis.len(), id.len()), (10, 3, 6), "{id:?}");
    }
    assert_eq!((one[3] == two[3], one[4].as_str(), two[4].as_str()), (true, "1", "2"), "one connection: {ids:?}");
}
