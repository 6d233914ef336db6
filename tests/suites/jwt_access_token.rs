//! JWT access tokens of other issuers: which are accepted, how others are refused, what the upstream hears, and how
//! keys come and go.

mod attacks;
mod key_sources;
mod times;

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::future::join_all;

use http::Method;
use serde_json::{Value, json};
use tollgate_tests::issuer::{KEYS, key_set};
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

/// Polls until this holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
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
    let mut body = reply.content();
    if let Some(members) = body.as_object_mut() {
        let id = members.remove("request_id");
        assert!(id.is_none() || id == reply.header("x-kong-request-id").map(Value::from), "{id:?}");
    }
    Whole { status: reply.status, headers, body }
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

/// Refused since it lacks something.
fn insufficient(description: &str, more: &str) -> Whole {
    let challenge = format!("Bearer error=\"insufficient_scope\", error_description=\"{description}\"{more}");
    refusal(403, "insufficient_scope", description, &challenge)
}

/// What the upstream hears of identities, and of the token.
fn heard(reply: &Reply) -> BTreeMap<String, Value> {
    let headers = reply.content()["headers"].as_object().expect("the upstream's response").clone();
    let tells = |name: &str| {
        ["x-consumer", "x-credential", "x-anonymous"].iter().any(|start| name.starts_with(start))
            || name == "authorization"
    };
    headers.into_iter().filter(|(name, _)| tells(name)).collect()
}

fn lines(lines: &[(&str, &str)]) -> BTreeMap<String, Value> {
    lines.iter().map(|(name, value)| ((*name).to_owned(), json!([value]))).collect()
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
async fn many_requests_with_one_new_token_verify_it_once() {
    let world = World::new().await;
    world.protect("api", json!({})).await;
    world.issuer.hold();
    let token = world.token(json!({}));
    let release = async {
        until("a fetch of keys", async || world.issuer.key_requests() == 1).await;
        world.issuer.release();
    };
    let (replies, ()) = tokio::join!(join_all((0..30).map(|_| world.get("/api/x", &token))), release);
    let statuses: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
    assert_eq!(statuses, [200; 30]);
    assert_eq!((world.verified().await, world.issuer.key_requests()), (1.0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_token_or_with_several_is_refused() {
    let world = World::new().await;
    world.protect("api", json!({"realm": "shop"})).await;
    let reply = world.gateway.send(world.gateway.request(Method::GET, "/api/x")).await;
    let missing = refusal(401, "invalid_request", "The access token is missing", "Bearer realm=\"shop\"");
    assert_eq!(whole(&reply), missing);
    let several = format!("Bearer {}, Bearer other", world.token(json!({})));
    let several = world.gateway.request(Method::GET, "/api/x").header("authorization", several);
    let reply = world.gateway.send(several).await;
    let description = "The access token must be presented once";
    let challenge = format!("Bearer realm=\"shop\", error=\"invalid_request\", error_description=\"{description}\"");
    assert_eq!(whole(&reply), refusal(400, "invalid_request", description, &challenge));
    assert_eq!(world.upstream.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_hears_the_claims_and_nothing_that_the_client_made_up() {
    let world = World::new().await;
    let custom = ["realm_access.roles", "tenant", "level", "verified", "address", "https://shop.example/plan"];
    world.protect("api", json!({"custom_claims_forward": custom})).await;
    world.protect("shown", json!({"hide_credentials": false})).await;
    let now = now();
    let claims = json!({
        "aud": ["https://api.example", "https://other.example"], "nbf": now, "iat": now, "exp": now + 600,
        "username": "kate@shop.example", "realm_access": {"roles": ["admin", "clerk"]}, "tenant": "Z\u{fc}rich",
        "level": 3, "verified": true, "address": {"street": "x"}, "https://shop.example/plan": "gold", "extra": "no",
    });
    let token = world.token(claims);
    let forged =
        ["X-Credential-Sub", "x_credential_scope", "X-Consumer-Username", "X-Credential-Extra", "X-Credential-Address"];
    let request = forged
        .iter()
        .fold(world.gateway.request(Method::GET, "/api/x"), |request, name| request.header(*name, "forged"));
    let reply = world.gateway.send(request.bearer_auth(&token)).await.expect(200);
    let (at, exp) = (now.to_string(), (now + 600).to_string());
    let expected = lines(&[
        ("x-credential-aud", "https://api.example,https://other.example"),
        ("x-credential-client-id", "shop"),
        ("x-credential-exp", &exp),
        ("x-credential-https-shop-example-plan", "gold"),
        ("x-credential-iat", &at),
        ("x-credential-identifier", "kate@shop.example"),
        ("x-credential-iss", world.issuer.url()),
        ("x-credential-jti", "t-1"),
        ("x-credential-level", "3"),
        ("x-credential-nbf", &at),
        ("x-credential-realm-access-roles", "admin,clerk"),
        ("x-credential-scope", "read write"),
        ("x-credential-sub", "kate"),
        ("x-credential-tenant", "Z\u{fc}rich"),
        ("x-credential-verified", "true"),
    ]);
    assert_eq!(heard(&reply), expected);
    let shown = world.get("/shown/x", &token).await.expect(200);
    assert_eq!(heard(&shown).get("authorization"), Some(&json!([format!("Bearer {token}")])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_lacks_what_is_required_is_refused_with_403() {
    let world = World::new().await;
    let (scope, claim) = ("The access token lacks a required scope", "The access token lacks a required claim");
    let audience = "The access token is not intended for this API";
    let roles = |values: Value| json!({"required_claims": [{"claim": "realm_access.roles", "values": values}]});
    let rows = [
        ("all", json!({"required_scopes": ["read", "write"]}), None),
        ("any", json!({"required_scopes": ["admin", "write"], "required_scopes_match": "any"}), None),
        ("no", json!({"required_scopes": ["read", "admin"]}), Some(insufficient(scope, ", scope=\"read admin\""))),
        ("aud", json!({"required_audience": ["https://api.example"]}), None),
        ("noaud", json!({"required_audience": ["https://other.example"]}), Some(insufficient(audience, ""))),
        ("role", roles(json!(["admin"])), None),
        ("norole", roles(json!(["root"])), Some(insufficient(claim, ""))),
        ("noclaim", json!({"required_claims": [{"claim": "tenant"}]}), Some(insufficient(claim, ""))),
    ];
    let token = world.token(json!({"realm_access": {"roles": ["clerk", "admin"]}}));
    let mut findings = Findings::new();
    for (name, config, refused) in rows {
        world.protect(name, config).await;
        for from in ["asked", "cached"] {
            let reply = world.get(&format!("/{name}/x"), &token).await;
            match &refused {
                Some(refused) => findings.compare(&format!("{name}, {from}"), refused, &whole(&reply)),
                None => findings.compare(&format!("{name}, {from}"), &200, &reply.status),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_names_the_consumer_and_its_end_is_followed() {
    let world = World::new().await;
    world.protect("api", json!({"consumer_claim": "act.client"})).await;
    let consumer = world.gateway.create("/consumers", json!({"username": "shop", "custom_id": "s-1"})).await;
    let token = world.token(json!({"act": {"client": "shop"}}));
    let reply = world.get("/api/x", &token).await.expect(200);
    let of_consumer = |reply: &Reply| {
        let heard = heard(reply);
        ["x-consumer-id", "x-consumer-custom-id", "x-consumer-username", "x-credential-sub"]
            .map(|name| heard.get(name).map_or(Value::Null, |values| values[0].clone()))
    };
    assert_eq!(of_consumer(&reply), [consumer["id"].clone(), json!("s-1"), json!("shop"), json!("kate")]);
    let nobody = [Value::Null, Value::Null, Value::Null, json!("kate")];
    let stranger = world.get("/api/x", &world.token(json!({"act": {"client": "stranger"}}))).await.expect(200);
    assert_eq!(of_consumer(&stranger), nobody, "a token may be nobody's");
    world.gateway.delete("/consumers/shop").await;
    assert_eq!(of_consumer(&world.get("/api/x", &token).await.expect(200)), nobody);
    assert_eq!(world.verified().await, 2.0, "a consumer is looked up without verifying its tokens again");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_a_valid_token_may_be_anonymous_but_not_if_nobody_can_tell() {
    let world = World::new().await;
    world.gateway.create("/consumers", json!({"username": "stranger"})).await;
    world.protect("api", json!({"anonymous": "stranger"})).await;
    world.protect("open", json!({"run_on_preflight": false})).await;
    world.issuer.put(KEYS, 503, "");
    let reply = world.get("/api/x", &world.token(json!({}))).await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1".to_owned())));
    let missing = world.gateway.send(world.gateway.request(Method::GET, "/api/x")).await.expect(200);
    let other = world.get("/api/x", &world.token(json!({"iss": "https://other.example"}))).await.expect(200);
    for reply in [missing, other] {
        let seen = heard(&reply);
        let names: Vec<&str> = seen.keys().map(String::as_str).collect();
        assert_eq!(names, ["x-anonymous-consumer", "x-consumer-id", "x-consumer-username"]);
        assert_eq!(seen["x-consumer-username"], json!(["stranger"]));
    }
    let preflight = |path: &str| world.gateway.send(world.gateway.request(Method::OPTIONS, path));
    assert_eq!(preflight("/open/x").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_issuers_tokens_are_verified_by_its_own_entry() {
    let world = World::new().await;
    let other_key = IssuerKey::generate("k1", "EdDSA");
    let other = Issuer::start(&[&other_key]).await;
    let entry = json!({"issuer": other.url(), "discovery": true, "audience": ["b"]});
    world.protect("api", json!({"issuers": [world.entry(json!({"audience": ["a"]})), entry]})).await;
    let claims = |issuer: &str, aud: &str| world.claims(json!({"iss": issuer, "aud": aud}));
    let mut findings = Findings::new();
    for (row, token, status) in [
        ("the first's", world.key.token(&claims(world.issuer.url(), "a")), 200),
        ("nobody's", world.key.token(&claims("https://nobody.example", "a")), 401),
        ("without an issuer", world.key.token(&world.claims(json!({"iss": null, "aud": "a"}))), 401),
        ("the first's, by the other's key", other_key.token(&claims(world.issuer.url(), "a")), 401),
        ("the first's, for the other's audience", world.key.token(&claims(world.issuer.url(), "b")), 401),
    ] {
        findings.compare(row, &status, &world.get("/api/x", &token).await.status);
    }
    findings.compare("the other was not asked", &0, &other.requests().len());
    for (row, token, status) in [
        ("the other's", other_key.token(&claims(other.url(), "b")), 200),
        ("the other's, by the first's key", world.key.token(&claims(other.url(), "b")), 401),
        ("the other's, for the first's audience", other_key.token(&claims(other.url(), "a")), 401),
    ] {
        findings.compare(row, &status, &world.get("/api/x", &token).await.status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_this_gateway_are_left_to_oauth2_on_a_mixed_route() {
    let world = World::new().await;
    world.gateway.create("/consumers", json!({"username": "stranger"})).await;
    let api = Api::protected(&world.gateway, "api", &world.upstream, json!({"anonymous": "stranger"})).await;
    let client = Application::register(&world.gateway, "client", json!({})).await;
    let config = json!({"issuers": [world.entry(json!({}))], "anonymous": "stranger", "hide_credentials": false});
    world.gateway.create("/services/api/plugins", json!({"name": "jwt-access-token", "config": config})).await;
    world.protect("alone", json!({})).await;
    let own = api.tokens(&world.gateway, &client).await["access_token"].as_str().unwrap().to_owned();
    let reply = world.get("/api/x", &own).await.expect(200);
    assert_eq!(heard(&reply)["x-consumer-username"], json!(["client"]));
    assert_eq!(whole(&world.get("/alone/x", &own).await), invalid());
    assert_eq!(world.issuer.requests(), [""; 0]);
    let reply = world.get("/api/x", &world.token(json!({}))).await.expect(200);
    let heard = heard(&reply);
    assert_eq!((heard["x-credential-sub"].clone(), heard.get("x-anonymous-consumer")), (json!(["kate"]), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_configuration_ends_what_was_cached_before_its_response() {
    let world = World::new().await;
    let plugin = world.protect("api", json!({})).await;
    let token = world.token(json!({}));
    let mut findings = Findings::new();
    for (fields, status) in [
        (json!({}), 200),
        (json!({"audience": ["https://other.example"]}), 401),
        (json!({"audience": ["https://api.example"]}), 200),
        (json!({"algorithms": ["RS256"]}), 401),
        (json!({"require_typ": true}), 200),
        (json!({"maximum_lifetime": 60}), 401),
        (json!({"jwks_uri": null, "jwks": key_set(&[&IssuerKey::generate("k1", "ES256")]).to_string()}), 401),
        (json!({"jwks_uri": null, "jwks": key_set(&[&world.key]).to_string()}), 200),
    ] {
        world.gateway.change(&plugin, json!({"config": {"issuers": [world.entry(fields.clone())]}})).await;
        for _ in 0..2 {
            findings.compare(&fields.to_string(), &status, &world.get("/api/x", &token).await.status);
        }
    }
    world.gateway.change(&plugin, json!({"config": {"required_scopes": ["admin"]}})).await;
    findings.compare("a scope", &403, &world.get("/api/x", &token).await.status);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_can_never_work_is_refused_when_it_is_written() {
    let world = World::new().await;
    Api::open(&world.gateway, "api", &world.upstream).await;
    let own = world.gateway.plain_url("/keys");
    let address = own.trim_start_matches("http://").trim_end_matches("/keys").to_owned();
    let hint = "outbound calls go there only if the setting outbound.allowed_addresses contains it";
    let in_issuer = |field: Value| json!({"config": {"issuers": [field]}});
    let cannot = |field: &str, refused: &str| in_issuer(json!({ field: format!("{refused}; {hint}") }));
    let mut findings = Findings::new();
    for (fields, expected) in [
        (json!({"jwks_uri": own}), cannot("jwks_uri", &format!("{address} is a listener of this gateway"))),
        (
            json!({"jwks_uri": "http://169.254.169.254/keys"}),
            cannot("jwks_uri", "169.254.169.254:80 is the address of a cloud's metadata service"),
        ),
        (
            json!({"jwks_uri": null, "discovery": true, "issuer": format!("http://{address}")}),
            cannot("issuer", &format!("{address} is a listener of this gateway")),
        ),
        (json!({"algorithms": []}), in_issuer(json!({"algorithms": "length must be at least 1"}))),
        (json!({"jwks_uri": null}), in_issuer(json!("exactly one of 'jwks_uri', 'discovery' and 'jwks' must be set"))),
    ] {
        let config = json!({"issuers": [world.entry(fields.clone())]});
        let plugin = json!({"name": "jwt-access-token", "config": config});
        let reply = world.gateway.admin(Method::POST, "/services/api/plugins", plugin).await;
        findings.compare(&fields.to_string(), &(400, expected), &(reply.status, reply.json()["fields"].clone()));
    }
}
