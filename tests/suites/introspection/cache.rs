//! What is cached of an authority's responses, and for how long: facts, never verdicts (introspection.md §2).

use std::time::{SystemTime, UNIX_EPOCH};

use futures::StreamExt as _;
use tollgate_tests::{Findings, Store};

use super::*;

fn in_seconds(seconds: u64) -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + seconds
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cached_token_ends_at_its_exp_whatever_the_ttl() {
    let gateway = Gateway::on_sqlite().await;
    let (upstream, authority) = (Upstream::start().await, Authority::start().await);
    protected(&gateway, "long", &upstream, &authority, json!({"ttl": 3600})).await;
    protected(&gateway, "unlimited", &upstream, &authority, json!({"ttl": 0})).await;
    authority.knows("token-short-123456", json!({"exp": in_seconds(2)}));
    for path in ["/long/x", "/unlimited/x"] {
        get(&gateway, path, "token-short-123456").await.expect(200);
    }
    for path in ["/long/x", "/unlimited/x"] {
        until("it expires", || async { get(&gateway, path, "token-short-123456").await.status == 401 }).await;
        assert_eq!(refusal(&get(&gateway, path, "token-short-123456").await), invalid_token());
    }
    assert_eq!(authority.asked(), ["token-short-123456"], "who has expired need not be asked about");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_accepted_for_no_longer_than_the_ttl() {
    let gateway = Gateway::on_sqlite().await;
    let (upstream, authority) = (Upstream::start().await, Authority::start().await);
    protected(&gateway, "short", &upstream, &authority, json!({"ttl": 0.7})).await;
    protected(&gateway, "unlimited", &upstream, &authority, json!({"ttl": 0})).await;
    authority.knows("token-of-kate-1234", json!({}));
    let asked_at = Instant::now();
    for path in ["/short/x", "/unlimited/x", "/short/x"] {
        get(&gateway, path, "token-of-kate-1234").await.expect(200);
    }
    authority.revokes("token-of-kate-1234");
    // What one route has cached serves the other.
    assert_eq!(authority.asked(), ["token-of-kate-1234"]);
    let accepted = get(&gateway, "/short/x", "token-of-kate-1234").await.status == 200;
    assert!(accepted || asked_at.elapsed() > Duration::from_millis(700), "a cached response is used");
    get(&gateway, "/unlimited/x", "token-of-kate-1234").await;
    until("it is refused", || async { get(&gateway, "/short/x", "token-of-kate-1234").await.status == 401 }).await;
    assert_eq!(authority.asked(), ["token-of-kate-1234"]);
    assert_eq!(refusal(&get(&gateway, "/unlimited/x", "token-of-kate-1234").await), invalid_token(), "known by now");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inactive_token_is_cached_as_such_but_briefly() {
    let gateway = Gateway::on(Store::Sqlite, &[("TOLLGATE_TOKEN_CACHE_NEGATIVE_TTL", "2s")]).await;
    let (upstream, authority) = (Upstream::start().await, Authority::start().await);
    protected(&gateway, "api", &upstream, &authority, json!({"ttl": 0})).await;
    let asked_at = Instant::now();
    for _ in 0..5 {
        assert_eq!(refusal(&get(&gateway, "/api/x", "token-of-kate-1234").await), invalid_token());
    }
    let asked = authority.asked();
    assert!(asked.len() == 1 || asked_at.elapsed() > Duration::from_secs(2), "asked {} times", asked.len());
    authority.knows("token-of-kate-1234", json!({}));
    until("it is accepted", || async { get(&gateway, "/api/x", "token-of-kate-1234").await.status == 200 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_do_not_fill_the_memory() {
    // A quarter of it is for tokens of others; about a hundred fit.
    let gateway = Gateway::on(Store::Sqlite, &[("TOLLGATE_TOKEN_CACHE_MAX_BYTES", "200000")]).await;
    let (upstream, authority) = (Upstream::start().await, Authority::start().await);
    protected(&gateway, "api", &upstream, &authority, json!({})).await;
    authority.always_responds(Some(Response::json(&json!({"active": true, "sub": "s".repeat(100)}))));
    let accepted = (0..1_000).map(|nth| {
        let gateway = &gateway;
        async move { get(gateway, "/api/x", &format!("token-number-{nth:06}")).await.status }
    });
    let statuses: Vec<u16> = futures::stream::iter(accepted).buffer_unordered(32).collect().await;
    assert_eq!(statuses, [200; 1_000]);
    let metric = |name: &'static str| {
        let gateway = &gateway;
        async move { gateway.metric(&format!("tollgate_third_party_token_cache_{name}"), &[]).await }
    };
    until("the cache is measured", || async { metric("entries").await > 0.0 }).await;
    let (weight, entries) = (metric("weight_bytes").await, metric("entries").await);
    assert!(
        (1.0..=50_000.0).contains(&weight) && (1.0..=200.0).contains(&entries),
        "{weight} bytes, {entries} entries"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_required_is_decided_on_every_request_by_its_own_route() {
    let gateway = Gateway::on_sqlite().await;
    let (upstream, authority) = (Upstream::start().await, Authority::start().await);
    let role = |values: Value| json!({"required_claims": [{"claim": "realm.roles", "values": values}]});
    let routes = [
        ("read", json!({"required_scopes": ["read"]})),
        ("write", json!({"required_scopes": ["write"], "realm": "R"})),
        ("both", json!({"required_scopes": ["read", "write"]})),
        ("either", json!({"required_scopes": ["read", "write"], "required_scopes_match": "any"})),
        ("audience", json!({"required_audience": ["b"]})),
        ("elsewhere", json!({"required_audience": ["c"]})),
        ("admin", role(json!(["admin"]))),
        ("guest", role(json!(["guest"]))),
    ];
    for (name, config) in routes {
        protected(&gateway, name, &upstream, &authority, config).await;
    }
    authority.knows("token-of-kate-1234", json!({"scope": "read", "aud": ["a", "b"], "realm": {"roles": ["admin"]}}));
    let lacks = |text: &str, rest: &str| -> Refusal {
        let challenge = format!("Bearer {rest}error=\"insufficient_scope\", error_description=\"{text}\"");
        (403, Some(challenge), None, json!({"error": "insufficient_scope", "error_description": text}))
    };
    let scope = "The access token lacks a required scope";
    let write = {
        let (status, challenge, after, body) = lacks(scope, "realm=\"R\", ");
        (status, challenge.map(|challenge| challenge + ", scope=\"write\""), after, body)
    };
    let both = {
        let (status, challenge, after, body) = lacks(scope, "");
        (status, challenge.map(|challenge| challenge + ", scope=\"read write\""), after, body)
    };
    let mut findings = Findings::new();
    // First where it does not suffice: that poisons nothing.
    for (name, refused) in [
        ("write", Some(write.clone())),
        ("read", None),
        ("write", Some(write)),
        ("both", Some(both)),
        ("either", None),
        ("audience", None),
        ("elsewhere", Some(lacks("The access token is not intended for this API", ""))),
        ("guest", Some(lacks("The access token lacks a required claim", ""))),
        ("admin", None),
        ("read", None),
    ] {
        let reply = get(&gateway, &format!("/{name}/x"), "token-of-kate-1234").await;
        match refused {
            Some(refused) => findings.compare(name, &refused, &refusal(&reply)),
            None => findings.compare(name, &200, &reply.status),
        }
    }
    assert_eq!(authority.asked(), ["token-of-kate-1234"; 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_comes_or_goes_is_heard_of_at_once_and_without_a_call() {
    let gateway = Gateway::on_sqlite().await;
    let (upstream, authority) = (Upstream::start().await, Authority::start().await);
    protected(&gateway, "api", &upstream, &authority, json!({})).await;
    authority.knows("token-of-kate-1234", json!({"username": "kate"}));
    let consumer = || async {
        let echoed = get(&gateway, "/api/x", "token-of-kate-1234").await.expect(200).json();
        echoed["headers"]["x-consumer-id"].clone()
    };
    assert_eq!(consumer().await, Value::Null);
    let kate = gateway.create("/consumers", json!({"username": "kate"})).await;
    assert_eq!(consumer().await, json!([kate["id"]]));
    gateway.change("/consumers/kate", json!({"username": "kathryn"})).await;
    assert_eq!(consumer().await, Value::Null);
    gateway.change("/consumers/kathryn", json!({"username": "kate"})).await;
    assert_eq!(consumer().await, json!([kate["id"]]));
    gateway.delete("/consumers/kate").await;
    assert_eq!(consumer().await, Value::Null);
    assert_eq!(authority.asked(), ["token-of-kate-1234"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_of_one_request_is_not_used_for_another_if_the_authority_is_told_about_them() {
    let gateway = Gateway::on_sqlite().await;
    let (upstream, authority) = (Upstream::start().await, Authority::start().await);
    protected(&gateway, "api", &upstream, &authority, json!({"introspect_request": true})).await;
    authority.knows("token-of-kate-1234", json!({}));
    for (method, path) in [(Method::GET, "/api/x"), (Method::GET, "/api/y"), (Method::POST, "/api/x")] {
        for _ in 0..2 {
            let request = gateway.request(method.clone(), path).bearer_auth("token-of-kate-1234");
            gateway.send(request).await.expect(200);
        }
    }
    let told = |call: &tollgate_tests::authority::Call, name: &str| call.headers[name].concat();
    let calls = authority.calls();
    let told: Vec<_> =
        calls.iter().map(|call| told(call, "x-request-http-method") + " " + &told(call, "x-request-path")).collect();
    assert_eq!(told, ["GET /api/x", "GET /api/y", "POST /api/x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_api_clears_what_is_cached() {
    let gateway = Gateway::on_sqlite().await;
    let (upstream, authority) = (Upstream::start().await, Authority::start().await);
    protected(&gateway, "api", &upstream, &authority, json!({})).await;
    authority.knows("token-of-kate-1234", json!({}));
    get(&gateway, "/api/x", "token-of-kate-1234").await.expect(200);
    authority.revokes("token-of-kate-1234");
    gateway.delete("/cache").await;
    assert_eq!(refusal(&get(&gateway, "/api/x", "token-of-kate-1234").await), invalid_token());
}
