//! Who called: what the access log says of a request, also of those that are refused and of token requests.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use tollgate_tests::scenario::{Api, Application};
use tollgate_tests::target::refusing;
use tollgate_tests::{Gateway, Store, Upstream};

/// Lines are written after responses.
const PATIENCE: Duration = Duration::from_secs(10);

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// A gateway whose lines are JSON, with these fields.
async fn gateway(fields: &str) -> Gateway {
    let settings = [("TOLLGATE_LOG_FORMAT", "json"), ("TOLLGATE_ACCESS_LOG_FIELDS", fields)];
    Gateway::on(Store::Sqlite, &settings).await
}

/// The line of the access log about a request to a path, counted from 0, without what differs from run to run.
async fn line(gateway: &Gateway, path: &str, nth: usize) -> Value {
    let deadline = Instant::now() + PATIENCE;
    let mut line = loop {
        let output = gateway.output();
        let mut lines = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        if let Some(found) = lines.by_ref().filter(|line| line["path"] == path).nth(nth) {
            break found;
        }
        assert!(Instant::now() < deadline, "no line about request {nth} to {path} in\n{output}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    for name in ["time", "request_id", "client", "total_ms", "proxy_ms", "upstream_ms", "bytes_in", "bytes_out"] {
        line.as_object_mut().unwrap().remove(name);
    }
    line
}

/// The last four characters.
fn hint(token: &str) -> &str {
    &token[token.len() - 4..]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_names_the_client_the_consumer_the_route_and_the_upstream_also_of_refusals() {
    let gateway = gateway("all").await;
    let upstream = Upstream::start().await;
    let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
    let other = Api::protected(&gateway, "other", &upstream, json!({})).await;
    let client = Application::register(&gateway, "bob", json!({"client_id": "bobs-app"})).await;
    let grant = [("grant_type", "client_credentials"), ("client_id", client.id()), ("client_secret", client.secret())];
    let token = api.token(&gateway, &grant).await.expect(200).json();
    let token = token["access_token"].as_str().unwrap();
    let who = json!({
        "consumer": client.credential["consumer"]["id"], "consumer_name": "bob",
        "credential": client.credential["id"], "client_id": "bobs-app", "token_hint": hint(token),
    });
    let at = |api: &Api| {
        json!({
            "route": api.route["id"], "route_name": api.name, "service": api.service["id"], "service_name": api.name,
            "tls": "TLSv1.3",
        })
    };
    let with = |parts: &[&Value]| {
        let parts = parts.iter().flat_map(|part| part.as_object().unwrap().clone());
        Value::Object(parts.collect())
    };
    let issued = json!({"method": "POST", "path": "/api/oauth2/token", "status": 200, "reason": "token_issued"});
    assert_eq!(line(&gateway, "/api/oauth2/token", 0).await, with(&[&issued, &at(&api), &who]));

    let traceparent = format!("00-{TRACE}-b7ad6b7169203331-01");
    let request = gateway.request(Method::GET, "/api/things").bearer_auth(token).header("traceparent", &traceparent);
    gateway.send(request).await.expect(200);
    let served = json!({
        "method": "GET", "path": "/api/things", "status": 200, "trace_id": TRACE, "upstream": upstream.authority(),
        "retries": 0,
    });
    assert_eq!(line(&gateway, "/api/things", 0).await, with(&[&served, &at(&api), &who]));

    other.get(&gateway, token).await.expect(401);
    let refused = json!({"method": "GET", "path": "/other/things", "status": 401, "reason": "token_of_other_service"});
    assert_eq!(line(&gateway, "/other/things", 0).await, with(&[&refused, &at(&other), &who]));

    let wrong = [("grant_type", "client_credentials"), ("client_id", client.id()), ("client_secret", "guessed-it")];
    api.token(&gateway, &wrong).await.expect(400);
    let refused = json!({"method": "POST", "path": "/api/oauth2/token", "status": 400, "reason": "client_invalid"});
    let mut known = who.clone();
    known.as_object_mut().unwrap().remove("token_hint");
    assert_eq!(line(&gateway, "/api/oauth2/token", 1).await, with(&[&refused, &at(&api), &known]));

    let unknown = [("grant_type", "client_credentials"), ("client_id", "a-secret-in-a-wrong-field")];
    api.token(&gateway, &unknown).await.expect(400);
    assert_eq!(line(&gateway, "/api/oauth2/token", 2).await, with(&[&refused, &at(&api)]));
    assert!(!gateway.output().contains("a-secret-in-a-wrong-field"));
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_that_failed_are_counted_with_the_address_of_the_last_one() {
    let gateway = gateway("all").await;
    let bound = refusing("127.0.0.1:0".parse().unwrap());
    let nobody = bound.local_addr().unwrap();
    let service = json!({"name": "nobody", "url": format!("http://{nobody}"), "retries": 2});
    gateway.create("/services", service).await;
    gateway.create("/services/nobody/routes", json!({"paths": ["/nobody"]})).await;
    gateway.send(gateway.request(Method::GET, "/nobody")).await.expect(502);
    let line = line(&gateway, "/nobody", 0).await;
    assert_eq!(
        (&line["reason"], &line["upstream"], &line["retries"]),
        (&json!("upstream_refused"), &json!(nobody.to_string()), &json!(2))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fields_of_a_line_are_chosen_by_a_setting() {
    let gateway = gateway("path,status,reason").await;
    gateway.send(gateway.request(Method::GET, "/nowhere")).await.expect(404);
    let expected = json!({"path": "/nowhere", "status": 404, "reason": "no_route"});
    assert_eq!(line(&gateway, "/nowhere", 0).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_of_another_scheme_are_no_forged_token() {
    let gateway = gateway("path,status,reason").await;
    let upstream = Upstream::start().await;
    Api::protected(&gateway, "api", &upstream, json!({})).await;
    let rows = [
        ("Basic Ym9iOnB3", "token_of_other_scheme"),
        ("Digest username=bob", "token_of_other_scheme"),
        ("Bearer 0000", "token_forged"),
        ("Bearer one two", "token_forged"),
        ("0000", "token_forged"),
    ];
    for (nth, (authorization, reason)) in rows.into_iter().enumerate() {
        let request = gateway.request(Method::GET, "/api/things").header("authorization", authorization);
        gateway.send(request).await.expect(401);
        let expected = json!({"path": "/api/things", "status": 401, "reason": reason});
        assert_eq!(line(&gateway, "/api/things", nth).await, expected, "{authorization}");
    }
}
