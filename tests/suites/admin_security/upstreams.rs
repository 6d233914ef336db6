//! Addresses to which services do not point.

use tollgate_tests::Upstream;
use tollgate_tests::scenario::Api;

use super::*;

const METADATA: &str = "169.254.169.254:80 is the address of a cloud's metadata service; requests are proxied there only \
                        if the setting proxy.allowed_upstream_addresses contains it";

#[tokio::test(flavor = "multi_thread")]
async fn a_service_cannot_point_at_the_gateway_itself_or_at_metadata() {
    let gateway = Gateway::on_sqlite().await;
    let admin = gateway.addresses.admin.port().unwrap();
    let own = |host: &str| {
        format!(
            "{host}:{admin} is a listener of this gateway; requests are proxied there only if the setting \
             proxy.allowed_upstream_addresses contains it"
        )
    };
    for (host, port, text) in [
        ("169.254.169.254", 80, METADATA.to_owned()),
        ("127.0.0.1", admin, own("127.0.0.1")),
        ("localhost", admin, own("127.0.0.1")),
    ] {
        let refused = gateway.admin(Method::POST, "/services", json!({"host": host, "port": port})).await;
        let expected = json!({
            "code": 2, "name": "schema violation", "fields": {"host": text},
            "message": format!("schema violation (host: {text})"),
        });
        assert_eq!((refused.status, refused.json()), (400, expected), "{host}:{port}");
    }
    let upstream = Upstream::start().await;
    Api::open(&gateway, "api", &upstream).await;
    gateway.send(gateway.request(Method::GET, "/api")).await.expect(200);
    gateway.admin(Method::PATCH, "/services/api", json!({"port": admin})).await.expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_another_node_may_reach_is_503_with_a_reason() {
    let allowed = [("TOLLGATE_PROXY_ALLOWED_UPSTREAM_ADDRESSES", "169.254.0.0/16")];
    let gateway = Gateway::on(Store::Postgres, &allowed).await;
    let other = gateway.another_node().await;
    gateway.create("/services", json!({"name": "metadata", "host": "169.254.169.254", "retries": 0})).await;
    gateway.create("/services/metadata/routes", json!({"paths": ["/metadata"]})).await;
    let deadline = Instant::now() + PATIENCE;
    let reply = loop {
        let reply = other.send(other.request(Method::GET, "/metadata")).await;
        if reply.status != 404 {
            break reply;
        }
        assert!(Instant::now() < deadline, "the route is not known");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(
        (reply.status, reply.json()["message"].clone()),
        (503, json!("The upstream server is currently unavailable"))
    );
    let deadline = Instant::now() + PATIENCE;
    while !other.output().contains("reason=upstream_address_refused") {
        assert!(Instant::now() < deadline, "{}", other.output());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(other.output().contains("upstream address refused"), "{}", other.output());
    // What was stored before can still be changed in other ways.
    other.change("/services/metadata", json!({"enabled": false})).await;
}
