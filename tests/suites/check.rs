//! `tollgate check --online`.

use serde_json::json;
use tollgate_tests::scenario::Api;
use tollgate_tests::{Gateway, Upstream};

#[tokio::test(flavor = "multi_thread")]
async fn what_the_gateway_calls_is_tried_and_nothing_else() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    Api::open(&gateway, "api", &upstream).await;
    gateway.create("/upstreams", json!({"name": "balanced.invalid"})).await;
    gateway.create("/services", json!({"name": "balanced", "host": "balanced.invalid"})).await;
    gateway.create("/services", json!({"name": "off", "host": "off.invalid", "enabled": false})).await;
    let config = json!({
        "scopes": ["read"], "enable_client_credentials": true, "issuer": "https://issuer.invalid",
        "authorization_endpoint": "https://login.invalid/authorize",
    });
    gateway.create("/services/balanced/plugins", json!({"name": "oauth2", "config": config})).await;
    let (is_valid, said) = gateway.tool(&["check", "--online"]);
    assert!(is_valid && !said.contains("invalid:"), "{said}");

    gateway.create("/services", json!({"name": "gone", "host": "gone.invalid", "port": 81})).await;
    let config =
        json!({"introspection_url": "http://authority.invalid/introspect", "authorization_value": "Basic eA=="});
    gateway.create("/services/gone/plugins", json!({"name": "oauth2-introspection", "config": config})).await;
    let (is_valid, said) = gateway.tool(&["check", "--online"]);
    assert!(!is_valid && said.contains("service gone: cannot connect to gone.invalid:81: "), "{said}");
    assert!(said.contains("plugin oauth2-introspection: cannot connect to authority.invalid:80: "), "{said}");
}
