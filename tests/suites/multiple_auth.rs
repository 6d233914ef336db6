//! `oauth2` and `key-auth` on one route (oauth2.md §4.4): without `anonymous` a request needs both (and), with it
//! either is enough (or).
//!
//! That `oauth2` skips a request that an earlier plugin has authenticated is tested in
//! `plugins/oauth2/src/guard/tests.rs`: no plugin of this gateway authenticates before it.

use http::Method;
use serde_json::{Value, json};
use tollgate_tests::scenario::{Api, Application};
use tollgate_tests::{Findings, Gateway, Upstream};

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
