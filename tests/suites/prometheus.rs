//! Which metrics tell of a route's traffic.

use http::Method;
use serde_json::{Value, json};
use tollgate_tests::scenario::Api;
use tollgate_tests::{Gateway, Upstream};

const FAMILIES: [&str; 5] = [
    "kong_http_requests_total",
    "kong_bandwidth_bytes",
    "kong_kong_latency_ms_count",
    "kong_upstream_latency_ms_count",
    "kong_request_latency_ms_count",
];

/// The families with series of this service.
async fn exported(gateway: &Gateway, service: &str) -> Vec<&'static str> {
    let metrics = gateway.metrics().await;
    let label = format!("service=\"{service}\"");
    let of_service: Vec<&str> = metrics.lines().filter(|line| line.contains(&label)).collect();
    FAMILIES.into_iter().filter(|family| of_service.iter().any(|line| line.starts_with(family))).collect()
}

async fn get(gateway: &Gateway, path: &str, key: Option<&str>) -> u16 {
    let request = gateway.request(Method::GET, path);
    gateway.send(key.into_iter().fold(request, |request, key| request.header("apikey", key))).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_exports_what_its_instance_switches_on() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    Api::open(&gateway, "a", &upstream).await;
    Api::open(&gateway, "b", &upstream).await;
    for path in ["/a/x", "/b/x"] {
        assert_eq!(get(&gateway, path, None).await, 200);
    }
    assert_eq!(exported(&gateway, "a").await, FAMILIES, "without the plugin");
    let plugin = gateway.create("/services/a/plugins", json!({"name": "prometheus"})).await;
    let defaults = json!({
        "per_consumer": false, "status_code_metrics": false, "ai_metrics": false, "latency_metrics": false,
        "bandwidth_metrics": false, "upstream_health_metrics": false, "wasm_metrics": false,
    });
    assert_eq!(plugin["config"], defaults);
    let plugin = format!("/plugins/{}", plugin["id"].as_str().unwrap());
    for (config, expected) in [
        (json!({}), &[][..]),
        (json!({"status_code_metrics": true}), &FAMILIES[..1]),
        (json!({"status_code_metrics": false, "bandwidth_metrics": true}), &FAMILIES[1..2]),
        (json!({"bandwidth_metrics": false, "latency_metrics": true}), &FAMILIES[2..]),
    ] {
        gateway.change(&plugin, json!({"config": config})).await;
        assert_eq!(exported(&gateway, "a").await, expected, "{config}");
        assert_eq!(exported(&gateway, "b").await, FAMILIES, "another service");
    }
    gateway.delete(&plugin).await;
    assert_eq!(exported(&gateway, "a").await, FAMILIES, "with all that was counted meanwhile");
    assert_eq!(gateway.metric("kong_http_requests_total", &["service=\"a\""]).await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_by_consumer_where_that_is_switched_on() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    Api::open(&gateway, "a", &upstream).await;
    gateway.create("/services/a/plugins", json!({"name": "key-auth"})).await;
    for consumer in ["ann", "bob"] {
        gateway.create("/consumers", json!({"username": consumer})).await;
        gateway.create(&format!("/consumers/{consumer}/key-auth"), json!({"key": consumer})).await;
    }
    let acl = json!({"name": "acl", "config": {"deny": ["banned"]}});
    gateway.create("/services/a/plugins", acl).await;
    gateway.create("/consumers/bob/acls", json!({"group": "banned"})).await;
    let config = json!({"status_code_metrics": true, "bandwidth_metrics": true, "per_consumer": true});
    gateway.create("/plugins", json!({"name": "prometheus", "config": config})).await;
    for (key, status) in [(Some("ann"), 200), (Some("ann"), 200), (Some("bob"), 403), (None, 401)] {
        assert_eq!(get(&gateway, "/a/x", key).await, status);
    }
    let count = async |consumer: &str, code: &str| {
        let labels = [format!("consumer=\"{consumer}\""), format!("code=\"{code}\"")];
        gateway.metric("kong_http_requests_total", &[&labels[0], &labels[1]]).await
    };
    let counted = [count("ann", "200").await, count("bob", "403").await, count("", "401").await];
    assert_eq!(counted, [2.0, 1.0, 1.0]);
    let egress = gateway.metric("kong_bandwidth_bytes", &["consumer=\"ann\"", "direction=\"egress\""]).await;
    assert!(egress > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_of_a_consumer_is_rejected() {
    let gateway = Gateway::on_sqlite().await;
    gateway.create("/consumers", json!({"username": "ann"})).await;
    let plugin = json!({"name": "prometheus", "consumer": {"username": "ann"}});
    let reply = gateway.admin(Method::POST, "/plugins", plugin).await.expect(400);
    let expected: Value = json!({"consumer": "value must be null"});
    assert_eq!(reply.json()["fields"], expected);
}
