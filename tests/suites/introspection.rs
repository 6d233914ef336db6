//! Tokens of another authorization server, which is asked about them (introspection.md).

mod cache;
mod calls;
mod configuration;
mod failures;
mod headers;
mod signed;
mod tls;

use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use tollgate_tests::authority::Response;
use tollgate_tests::scenario::{Api, laid_over};
use tollgate_tests::{Authority, Gateway, Reply, Upstream};

const PATIENCE: Duration = Duration::from_secs(20);

/// How the gateway authenticates.
const AUTHORIZATION: &str = "Basic dG9sbGdhdGU6YSBzZWNyZXQ=";

/// A route `/{name}` whose tokens this authority is asked about.
async fn protected(gateway: &Gateway, name: &str, upstream: &Upstream, authority: &Authority, config: Value) {
    Api::open(gateway, name, upstream).await;
    plugin(gateway, name, authority, config).await;
}

async fn plugin(gateway: &Gateway, name: &str, authority: &Authority, config: Value) -> Value {
    let minimum = json!({"introspection_url": authority.url(), "authorization_value": AUTHORIZATION});
    let plugin = json!({"name": "oauth2-introspection", "config": laid_over(minimum, config)});
    gateway.create(&format!("/services/{name}/plugins"), plugin).await
}

async fn get(gateway: &Gateway, path: &str, token: &str) -> Reply {
    gateway.send(gateway.request(Method::GET, path).bearer_auth(token)).await
}

/// Waits until this is so.
async fn until<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Status, challenge, `Retry-After`, and the body without the request's id.
type Refusal = (u16, Option<String>, Option<String>, Value);

fn refusal(reply: &Reply) -> Refusal {
    let mut body = reply.content();
    if let Some(members) = body.as_object_mut() {
        members.remove("request_id");
    }
    (reply.status, reply.header("www-authenticate"), reply.header("retry-after"), body)
}

fn invalid_token() -> Refusal {
    let text = "The access token is invalid or has expired";
    let challenge = format!("Bearer error=\"invalid_token\", error_description=\"{text}\"");
    (401, Some(challenge), None, json!({"error": "invalid_token", "error_description": text}))
}

fn missing_token() -> Refusal {
    let body = json!({"error": "invalid_request", "error_description": "The access token is missing"});
    (401, Some("Bearer".to_owned()), None, body)
}

fn unavailable() -> Refusal {
    let body = json!({"message": "The authorization state is currently unavailable"});
    (503, None, Some("1".to_owned()), body)
}

on_both_stores! {
    async fn a_token_is_accepted_if_its_authority_says_so(gateway: Gateway) {
        let (upstream, mut authority) = (Upstream::start().await, Authority::start().await);
        protected(&gateway, "api", &upstream, &authority, json!({})).await;
        let kate = gateway.create("/consumers", json!({"username": "kate", "custom_id": "k-1"})).await;
        authority.knows("token-of-kate-1234", json!({"username": "kate", "scope": "read"}));

        let echoed = get(&gateway, "/api/x", "token-of-kate-1234").await.expect(200).json();
        assert_eq!(echoed["headers"]["x-consumer-id"], json!([kate["id"]]));
        assert_eq!(echoed["headers"]["x-credential-scope"], json!(["read"]));
        assert_eq!(echoed["headers"]["authorization"], Value::Null, "hidden");
        assert_eq!(authority.asked(), ["token-of-kate-1234"]);

        assert_eq!(refusal(&get(&gateway, "/api/x", "unknown-token-1234").await), invalid_token());
        let without = gateway.send(gateway.request(Method::GET, "/api/x")).await;
        assert_eq!(refusal(&without), missing_token());
        assert_eq!(authority.asked(), ["unknown-token-1234"]);

        authority.stop().await;
        assert_eq!(refusal(&get(&gateway, "/api/x", "another-token-1234").await), unavailable());
        get(&gateway, "/api/x", "token-of-kate-1234").await.expect(200);
        authority.start_again().await;
        assert_eq!(authority.asked(), [""; 0], "a cached response is used");
    }
}
