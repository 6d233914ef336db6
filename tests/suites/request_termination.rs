//! Responses instead of an upstream: what clients hear, which requests are meant, and copies of requests.

use http::Method;
use serde_json::{Value, json};
use tollgate_tests::scenario::Api;
use tollgate_tests::{Findings, Gateway, Reply, Upstream, raw};

async fn terminated(gateway: &Gateway, name: &str, upstream: &Upstream, config: Value) -> Value {
    Api::open(gateway, name, upstream).await;
    let plugin = json!({"name": "request-termination", "config": config});
    gateway.create(&format!("/services/{name}/plugins"), plugin).await
}

async fn get(gateway: &Gateway, path: &str) -> Reply {
    gateway.send(gateway.request(Method::GET, path)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_hears_the_configured_response_and_the_upstream_nothing() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let mut findings = Findings::new();
    let json_type = Some("application/json; charset=utf-8".to_owned());
    type Row = (&'static str, Value, u16, Option<String>, &'static str);
    let rows: [Row; 6] = [
        ("a", json!({}), 503, json_type.clone(), r#"{"message":"Service unavailable"}"#),
        ("b", json!({"status_code": 404, "message": "gone"}), 404, json_type, r#"{"message":"gone"}"#),
        ("c", json!({"status_code": 418}), 418, None, ""),
        ("d", json!({"status_code": 204}), 204, None, ""),
        ("e", json!({"body": "<p>"}), 503, None, "<p>"),
        ("f", json!({"body": "<p>", "content_type": "text/html"}), 503, Some("text/html".to_owned()), "<p>"),
    ];
    for (name, config, status, content_type, body) in rows {
        terminated(&gateway, name, &upstream, config.clone()).await;
        let reply = get(&gateway, &format!("/{name}/x")).await;
        let got = (reply.status, reply.header("content-type"), reply.body.as_str());
        findings.compare(&config.to_string(), &(status, content_type, body), &got);
        let length = (status != 204).then(|| body.len().to_string());
        findings.compare(&format!("{config}: length"), &length, &reply.header("content-length"));
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_requests_with_the_trigger_are_terminated() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    terminated(&gateway, "a", &upstream, json!({"trigger": "X-Stop", "status_code": 418})).await;
    get(&gateway, "/a/x").await.expect(200);
    get(&gateway, "/a/x?X-Stop").await.expect(418);
    gateway.send(gateway.request(Method::GET, "/a/x").header("x-stop", "")).await.expect(418);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_request_names_its_route_and_service() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    terminated(&gateway, "a", &upstream, json!({"echo": true, "status_code": 200})).await;
    let url = gateway.plain_url("");
    let authority = url.trim_start_matches("http://").trim_end_matches('/');
    let request = format!(
        "POST /a/b?q=1 HTTP/1.1\r\nHost: {authority}\r\nX-A: 1\r\nContent-Type: application/json\r\n\
         Content-Length: 7\r\nConnection: close\r\n\r\n{{\"b\":2}}"
    );
    let copy = raw::exchange(authority, request.as_bytes()).await.unwrap().expect(200).json();
    let (host, port) = authority.split_once(':').unwrap();
    let expected = json!({
        "scheme": "http", "host": host, "port": port.parse::<u16>().unwrap(), "method": "POST", "path": "/a/b",
        "query": {"q": "1"}, "body": {"b": 2}, "raw_body": "{\"b\":2}",
        "headers": {
            "host": authority, "x-a": "1", "content-type": "application/json", "content-length": "7",
            "connection": "close",
        },
    });
    assert_eq!(copy["request"], expected);
    let service = gateway.admin_get("/services/a").await.json();
    let routes = gateway.admin_get("/services/a/routes").await.json();
    assert_eq!((&copy["matched_service"], &copy["matched_route"]), (&service, &routes["data"][0]));
    assert_eq!(copy["kong"]["node_id"], gateway.admin_get("/").await.json()["node_id"]);
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_configuration_is_rejected() {
    let gateway = Gateway::on_sqlite().await;
    for (config, fault) in [
        (json!({"message": "a", "body": "b"}), json!("message cannot be used with content_type or body")),
        (json!({"status_code": 600}), json!({"status_code": "value should be between 100 and 599"})),
        (json!({"status_code": 100}), json!({"status_code": "a status below 200 does not end a request"})),
    ] {
        let plugin = json!({"name": "request-termination", "config": config});
        let reply = gateway.admin(Method::POST, "/plugins", plugin).await.expect(400);
        assert_eq!(reply.json()["fields"]["config"], fault, "{config}");
    }
}
