//! Several plugins that authenticate on one route (oauth2.md §4.4): without `anonymous` a request needs all of them
//! (and), with it any is enough (or). `jwt` runs before `oauth2`, and `key-auth` after it.

use http::Method;
use serde_json::{Value, json};
use tollgate_tests::scenario::{Api, Application};
use tollgate_tests::{Findings, Gateway, SigningKey, Upstream};

const API_KEY: &str = "Mouse";

/// The result of a request: the status, the challenge of a refusal, and the identity sent upstream.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    status: u16,
    challenge: Option<String>,
    /// `x-consumer-username`, `x-credential-identifier`, `x-anonymous-consumer`, `x-authenticated-scope`,
    /// `x-authenticated-userid`.
    identity: [Value; 5],
}

struct World {
    gateway: Gateway,
    /// Must outlive the gateway's requests.
    _upstream: Upstream,
    /// The key's credential.
    key: Value,
    /// The token's client.
    client: Application,
}

/// The routes `/and` and `/or`.
async fn world() -> World {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    for username in ["keyholder", "stranger"] {
        gateway.create("/consumers", json!({"username": username})).await;
    }
    let key = gateway.create("/consumers/keyholder/key-auth", json!({"key": API_KEY})).await;
    let client = Application::register(&gateway, "tokenholder", json!({})).await;
    for (name, anonymous) in [("and", Value::Null), ("or", json!("stranger"))] {
        Api::protected(&gateway, name, &upstream, json!({"anonymous": anonymous})).await;
        let plugin = json!({"name": "key-auth", "config": {"anonymous": anonymous}});
        gateway.create(&format!("/services/{name}/plugins"), plugin).await;
    }
    World { gateway, _upstream: upstream, key, client }
}

impl World {
    /// A token for the client itself. The token endpoint belongs to oauth2, which runs before key-auth.
    async fn token(&self, name: &str) -> String {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", self.client.id()),
            ("client_secret", self.client.secret()),
        ];
        let request = self.gateway.request(Method::POST, &format!("/{name}/oauth2/token")).form(&form);
        let reply = self.gateway.send(request).await.expect(200);
        reply.json()["access_token"].as_str().expect("a token").to_owned()
    }

    async fn ask(&self, name: &str, headers: &[(&str, &str)]) -> Seen {
        let request = self.gateway.request(Method::GET, &format!("/{name}/x"));
        let forged = [("x-authenticated-scope", "all-access"), ("x-authenticated-userid", "admin")];
        let all = headers.iter().chain(&forged);
        let reply = self.gateway.send(all.fold(request, |request, (name, value)| request.header(*name, *value))).await;
        let headers = reply.content()["headers"].clone();
        let identity = [
            "x-consumer-username",
            "x-credential-identifier",
            "x-anonymous-consumer",
            "x-authenticated-scope",
            "x-authenticated-userid",
        ];
        Seen {
            status: reply.status,
            challenge: reply.header("www-authenticate"),
            identity: identity.map(|name| headers[name].clone()),
        }
    }
}

fn passed(identity: [Value; 5]) -> Seen {
    Seen { status: 200, challenge: None, identity }
}

fn refused(challenge: &str) -> Seen {
    Seen { status: 401, challenge: Some(challenge.to_owned()), identity: Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_and_a_key_are_both_needed_or_either_is_enough() {
    let world = world().await;
    let of_key = || passed([json!(["keyholder"]), json!([world.key["id"]]), Value::Null, Value::Null, Value::Null]);
    let of_token =
        || passed([json!(["tokenholder"]), json!([world.client.id()]), Value::Null, Value::Null, Value::Null]);
    let of_nobody = || passed([json!(["stranger"]), Value::Null, json!(["true"]), Value::Null, Value::Null]);
    let rows = [
        // And: the last plugin's consumer and credential are sent upstream.
        ("and", true, true, of_key()),
        ("and", true, false, refused("Bearer")),
        ("and", false, true, refused("Key")),
        ("and", false, false, refused("Bearer")),
        // Or: the first plugin that accepts a credential decides.
        ("or", true, true, of_token()),
        ("or", true, false, of_key()),
        ("or", false, true, of_token()),
        ("or", false, false, of_nobody()),
    ];
    let mut findings = Findings::new();
    for (name, with_key, with_token, expected) in rows {
        let bearer = format!("bearer {}", world.token(name).await);
        let key = with_key.then_some(("apikey", API_KEY));
        let token = with_token.then_some(("authorization", bearer.as_str()));
        let headers: Vec<_> = key.into_iter().chain(token).collect();
        let row = format!("{name}: key {with_key}, token {with_token}");
        findings.compare(&row, &expected, &world.ask(name, &headers).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_hidden_by_each_of_two_plugins_stay_hidden() {
    let world = world().await;
    for plugin in world.gateway.admin_get("/plugins").await.json()["data"].as_array().unwrap() {
        let path = format!("/plugins/{}", plugin["id"].as_str().unwrap());
        let in_body = if plugin["name"] == "key-auth" { json!({"key_in_body": true}) } else { json!({}) };
        let mut config = in_body;
        config["hide_credentials"] = json!(true);
        world.gateway.change(&path, json!({"config": config})).await;
    }
    let token = world.token("and").await;
    let form = [("access_token", token.as_str()), ("apikey", API_KEY), ("a", "1")];
    let request = world.gateway.request(Method::POST, "/and/x").query(&form).form(&form);
    let seen = world.gateway.send(request).await.expect(200).content();
    assert_eq!((&seen["uri"], &seen["body"]), (&json!("/x?a=1"), &json!("a=1")));
}

/// A request's credentials: a JWT, an OAuth token, an API key.
type Row = (Option<&'static str>, bool, bool, Seen);

/// Adds `jwt` to the routes `/and` and `/or`. In `/and` its tokens have a header of their own.
async fn add_jwt(world: &World) -> SigningKey {
    let gateway = &world.gateway;
    gateway.create("/consumers", json!({"username": "signer"})).await;
    let credential = gateway.create("/consumers/signer/jwt", json!({"key": "signer"})).await;
    for (name, config) in [("and", json!({"header_names": ["x-jwt"]})), ("or", json!({"anonymous": "stranger"}))] {
        gateway.create(&format!("/services/{name}/plugins"), json!({"name": "jwt", "config": config})).await;
    }
    SigningKey::hmac("HS256", credential["secret"].as_str().unwrap().as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jwt_is_needed_as_well_or_enough_before_tokens_and_keys() {
    const INVALID: &str = "Bearer error=\"invalid_token\"";
    let world = world().await;
    // Before `jwt` protects the token endpoint too.
    let tokens = [("and", world.token("and").await), ("or", world.token("or").await)];
    let signer = add_jwt(&world).await;
    let none = || [Value::Null, Value::Null, Value::Null];
    let of = |consumer: &str, credential: &Value| {
        let [anonymous, scope, user] = none();
        passed([json!([consumer]), json!([credential]), anonymous, scope, user])
    };
    let of_signer = || of("signer", &json!("signer"));
    let of_key = || of("keyholder", &world.key["id"]);
    let of_token = || of("tokenholder", &json!(world.client.id()));
    let of_nobody = || passed([json!(["stranger"]), Value::Null, json!(["true"]), Value::Null, Value::Null]);
    let (right, wrong) = (Some("signer"), Some("nobody"));
    let and: [Row; 6] = [
        (right, true, true, of_key()),
        (right, true, false, refused("Key")),
        (right, false, true, refused("Bearer")),
        (None, true, true, refused("Bearer")),
        (wrong, true, true, refused(INVALID)),
        (None, false, false, refused("Bearer")),
    ];
    // A JWT and an OAuth token are in the same header here: a request has one of them.
    let or: [Row; 8] = [
        (right, false, true, of_signer()),
        (right, false, false, of_signer()),
        (wrong, false, true, of_key()),
        (wrong, false, false, of_nobody()),
        (None, true, true, of_token()),
        (None, true, false, of_token()),
        (None, false, true, of_key()),
        (None, false, false, of_nobody()),
    ];
    let mut findings = Findings::new();
    let rows =
        and.into_iter().map(|row| ("and", "x-jwt", row)).chain(or.into_iter().map(|row| ("or", "authorization", row)));
    for (name, header, (issuer, with_token, with_key, expected)) in rows {
        let jwt = issuer.map(|issuer| format!("Bearer {}", signer.token(&json!({"iss": issuer}))));
        let token =
            tokens.iter().find(|(route, _)| *route == name).map(|(_, token)| format!("Bearer {token}")).unwrap();
        let mut headers = Vec::new();
        headers.extend(jwt.as_deref().map(|jwt| (header, jwt)));
        headers.extend(with_token.then_some(("authorization", token.as_str())));
        headers.extend(with_key.then_some(("apikey", API_KEY)));
        let row = format!("{name}: JWT of {issuer:?}, token {with_token}, key {with_key}");
        findings.compare(&row, &expected, &world.ask(name, &headers).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_leaves_a_request_alone_that_an_earlier_one_has_authenticated() {
    let world = world().await;
    let signer = add_jwt(&world).await;
    for plugin in world.gateway.admin_get("/services/or/plugins").await.json()["data"].as_array().unwrap() {
        if plugin["name"] != "jwt" {
            let path = format!("/plugins/{}", plugin["id"].as_str().unwrap());
            world.gateway.change(&path, json!({"config": {"hide_credentials": true}})).await;
        }
    }
    let jwt = format!("Bearer {}", signer.token(&json!({"iss": "signer"})));
    let request = world.gateway.request(Method::GET, "/or/x?access_token=none&apikey=none");
    let seen = world.gateway.send(request.header("authorization", &jwt)).await.expect(200).content();
    let got = (&seen["uri"], &seen["headers"]["authorization"], &seen["headers"]["x-consumer-username"]);
    assert_eq!(got, (&json!("/x?access_token=none&apikey=none"), &json!([jwt]), &json!(["signer"])));
}
