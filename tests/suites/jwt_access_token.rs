//! JWT access tokens of other issuers: which are accepted, how others are refused, what the upstream hears, and how
//! keys come and go.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::Method;
use serde_json::{Value, json};
use tollgate_tests::issuer::{KEYS, METADATA, key_set};
use tollgate_tests::issuer_key::{base64url, hmac_sha256};
use tollgate_tests::scenario::{Api, Application, laid_over};
use tollgate_tests::{Findings, Gateway, Issuer, IssuerKey, Reply, Upstream};

const PATIENCE: Duration = Duration::from_secs(20);

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// A gateway, an upstream behind it, and an issuer with one key.
struct World {
    gateway: Gateway,
    upstream: Upstream,
    issuer: Issuer,
    key: IssuerKey,
}

impl World {
    async fn new() -> Self {
        Self::with(IssuerKey::generate("k1", "ES256")).await
    }

    async fn with(key: IssuerKey) -> Self {
        let (gateway, upstream) = (Gateway::on_sqlite().await, Upstream::start().await);
        Self { gateway, upstream, issuer: Issuer::start(&[&key]).await, key }
    }

    /// An entry of `issuers` that fetches keys by URL.
    fn entry(&self, fields: Value) -> Value {
        laid_over(json!({"issuer": self.issuer.url(), "jwks_uri": self.issuer.keys_url()}), fields)
    }

    /// A route `/{name}` with this configuration, by default of the one issuer. The plugin's path in the Admin API.
    async fn protect(&self, name: &str, config: Value) -> String {
        Api::open(&self.gateway, name, &self.upstream).await;
        let config = laid_over(json!({"issuers": [self.entry(json!({}))], "clock_skew": 0}), config);
        let plugin = json!({"name": "jwt-access-token", "config": config});
        let plugin = self.gateway.create(&format!("/services/{name}/plugins"), plugin).await;
        format!("/plugins/{}", plugin["id"].as_str().unwrap())
    }

    /// The claims of a good token, with these changes; null removes one.
    fn claims(&self, changes: Value) -> Value {
        let now = now();
        let good = json!({
            "iss": self.issuer.url(), "sub": "kate", "aud": "https://api.example", "client_id": "shop",
            "scope": "read write", "iat": now, "exp": now + 600, "jti": "t-1",
        });
        let mut claims = laid_over(good, changes);
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        claims
    }

    fn token(&self, changes: Value) -> String {
        self.key.token(&self.claims(changes))
    }

    async fn get(&self, path: &str, token: &str) -> Reply {
        self.gateway.secrets.add(token);
        self.gateway.send(self.gateway.request(Method::GET, path).bearer_auth(token)).await
    }

    /// The status, and the reason code if the gateway responded.
    async fn outcome(&self, path: &str, token: &str) -> u16 {
        self.get(path, token).await.status
    }

    /// The value of a counter of the tokens of this issuer.
    async fn lookups(&self, result: &str) -> f64 {
        let authority = format!("authority=\"{}\"", self.issuer.url());
        let result = format!("result=\"{result}\"");
        self.gateway.metric("tollgate_third_party_token_authority_lookups_total", &[&authority, &result]).await
    }

    /// How many tokens of this issuer were verified rather than found in the cache.
    async fn verified(&self) -> f64 {
        let authority = format!("authority=\"{}\"", self.issuer.url());
        self.gateway.metric("tollgate_third_party_token_verification_seconds_count", &[&authority]).await
    }
}

/// Everything of a response but what differs each time.
#[derive(Debug, PartialEq, Eq)]
struct Whole {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Value,
}

fn whole(reply: &Reply) -> Whole {
    const VARYING: [&str; 3] = ["date", "x-kong-request-id", "x-kong-response-latency"];
    let names = reply.headers.keys().map(|name| name.as_str().to_owned()).filter(|name| !VARYING.contains(&&**name));
    let headers = names.map(|name| (name.clone(), reply.header(&name).unwrap_or_default())).collect();
    Whole { status: reply.status, headers, body: reply.content() }
}

fn refusal(status: u16, error: &str, description: &str, challenge: &str) -> Whole {
    let body = json!({"error": error, "error_description": description});
    let headers = [
        ("content-length", body.to_string().len().to_string()),
        ("content-type", "application/json; charset=utf-8".to_owned()),
        ("server", tollgate_tests::SERVER.to_owned()),
        ("www-authenticate", challenge.to_owned()),
    ];
    Whole { status, headers: headers.map(|(name, value)| (name.to_owned(), value)).into(), body }
}

/// The one response to every token that is not valid, whatever is wrong with it.
fn invalid() -> Whole {
    let description = "The access token is invalid or has expired";
    let challenge = format!("Bearer error=\"invalid_token\", error_description=\"{description}\"");
    refusal(401, "invalid_token", description, &challenge)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_the_issuer_is_accepted_and_verified_once() {
    for algorithm in ["RS256", "PS384", "ES256", "ES512", "EdDSA"] {
        let world = World::with(IssuerKey::generate("k1", algorithm)).await;
        world.protect("api", json!({})).await;
        let token = world.token(json!({}));
        for _ in 0..3 {
            world.get("/api/x", &token).await.expect(200);
        }
        let counted = [world.verified().await, world.lookups("active").await, world.lookups("hit").await];
        assert_eq!(counted, [1.0, 1.0, 2.0], "{algorithm}");
        assert_eq!(world.issuer.requests(), [KEYS], "{algorithm}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_token_or_with_several_is_refused() {
    let world = World::new().await;
    world.protect("api", json!({"realm": "shop"})).await;
    let reply = world.gateway.send(world.gateway.request(Method::GET, "/api/x")).await;
    let missing = refusal(401, "invalid_request", "The access token is missing", "Bearer realm=\"shop\"");
    assert_eq!(whole(&reply), missing);
    assert_eq!(world.upstream.requests(), 0);
}
