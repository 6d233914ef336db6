//! Access by client address.

use http::Method;
use serde_json::{Value, json};
use tollgate_tests::scenario::Api;
use tollgate_tests::{Findings, Gateway, Reply, Store, Upstream};

async fn get(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Reply {
    let request = gateway.request(Method::GET, path);
    gateway.send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
}

/// Status and message of a refusal.
fn refusal(reply: &Reply) -> (u16, Value) {
    (reply.status, reply.json()["message"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_pass_depends_on_the_clients_address() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let mut findings = Findings::new();
    let usual = "IP address not allowed: 127.0.0.1";
    for (name, config, expected) in [
        ("a", json!({"allow": ["127.0.0.1"]}), None),
        ("b", json!({"allow": ["10.0.0.0/8", "::1"]}), Some((403, usual))),
        ("c", json!({"deny": ["127.0.0.0/8"]}), Some((403, usual))),
        ("d", json!({"deny": ["10.0.0.0/8"]}), None),
        (
            "e",
            json!({"allow": ["127.0.0.0/8"], "deny": ["127.0.0.1"], "status": 404, "message": "no"}),
            Some((404, "no")),
        ),
    ] {
        Api::open(&gateway, name, &upstream).await;
        let plugin = json!({"name": "ip-restriction", "config": config});
        gateway.create(&format!("/services/{name}/plugins"), plugin).await;
        let reply = get(&gateway, &format!("/{name}/x"), &[("x-real-ip", "10.0.0.1")]).await;
        match expected {
            None => findings.compare(&config.to_string(), &200, &reply.status),
            Some((status, text)) => findings.compare(&config.to_string(), &(status, json!(text)), &refusal(&reply)),
        }
    }
    assert_eq!(upstream.requests(), 2, "refused requests do not reach the upstream");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_peer_names_the_client() {
    let gateway = Gateway::on(Store::Sqlite, &[("TOLLGATE_TRUSTED_IPS", "127.0.0.1")]).await;
    let upstream = Upstream::start().await;
    Api::open(&gateway, "a", &upstream).await;
    let plugin = json!({"name": "ip-restriction", "config": {"allow": ["10.0.0.0/8"]}});
    gateway.create("/services/a/plugins", plugin).await;
    get(&gateway, "/a/x", &[("x-real-ip", "10.1.2.3")]).await.expect(200);
    let reply = get(&gateway, "/a/x", &[("x-real-ip", "192.0.2.1")]).await;
    assert_eq!(refusal(&reply), (403, json!("IP address not allowed: 192.0.2.1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_configuration_is_rejected() {
    let gateway = Gateway::on_sqlite().await;
    let create = async |config: &Value| {
        let plugin = json!({"name": "ip-restriction", "config": config});
        gateway.admin(Method::POST, "/plugins", plugin).await.expect(400).json()["fields"].clone()
    };
    let none = "at least one of these fields must be non-empty: 'config.allow', 'config.deny'";
    for (config, fields) in [
        (json!({}), json!({"@entity": [none]})),
        (json!({"deny": ["a"]}), json!({"config": {"deny": ["invalid ip or cidr range: 'a'"]}})),
        (
            json!({"deny": ["::1"], "status": 200}),
            json!({"config": {"status": "expected the status of an error, from 400 to 599"}}),
        ),
    ] {
        assert_eq!(create(&config).await, fields, "{config}");
    }
}
