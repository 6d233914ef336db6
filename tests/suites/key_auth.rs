//! API keys: where they are looked for, which requests are refused and how, what the upstream sees, and when keys end.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use tollgate_tests::scenario::Api;
use tollgate_tests::{Findings, Gateway, Reply, Upstream};

const FORM: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data; boundary=b";
const PATIENCE: Duration = Duration::from_secs(10);

/// A route `/{name}` with this configuration.
async fn protected(gateway: &Gateway, name: &str, upstream: &Upstream, config: Value) {
    Api::open(gateway, name, upstream).await;
    let plugin = json!({"name": "key-auth", "config": config});
    gateway.create(&format!("/services/{name}/plugins"), plugin).await;
}

/// The consumer `bob` with this key.
async fn key_of_bob(gateway: &Gateway, key: &str) -> Value {
    gateway.admin(Method::PUT, "/consumers/bob", json!({"custom_id": "b-1"})).await.expect(200);
    gateway.create("/consumers/bob/key-auth", json!({"key": key})).await
}

async fn get(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Reply {
    let request = gateway.request(Method::GET, path);
    gateway.send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
}

fn part(name: &str, value: &str) -> String {
    format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
}

/// Status, message and challenge. The body must contain only the message and the request's id.
fn refusal(reply: &Reply) -> (u16, Value, Option<String>) {
    let content = reply.content();
    let id = reply.header("x-kong-request-id").map(Value::from);
    let expected = json!({"message": content["message"], "request_id": id});
    assert_eq!(content, expected, "the whole body");
    (reply.status, content["message"].clone(), reply.header("www-authenticate"))
}

fn refused(message: &str, challenge: &str) -> (u16, Value, Option<String>) {
    (401, json!(message), Some(challenge.to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_looked_for_in_the_configured_places() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    // One letter each for header, query and body in the route's name: whether keys may be there.
    const ROUTES: [&str; 7] = ["ttt", "ttf", "tff", "fff", "fft", "tft", "ftf"];
    for name in ROUTES {
        let may = |nth: usize| name.as_bytes()[nth] == b't';
        let config = json!({"key_in_header": may(0), "key_in_query": may(1), "key_in_body": may(2)});
        protected(&gateway, name, &upstream, config).await;
    }
    key_of_bob(&gateway, "right").await;
    // The contents of header, query and body in this order (right, wrong, none), and the routes where it passes.
    let rows = [
        ("rrr", "ttt ttf tff fft tft ftf"),
        ("rrw", "ttt ttf tff tft ftf"),
        ("rww", "ttt ttf tff tft"),
        ("www", ""),
        ("wwr", "fft"),
        ("rwr", "ttt ttf tff fft tft"),
        ("wrw", "ftf"),
        ("nnn", ""),
        ("nnw", ""),
        ("nww", ""),
        ("wwn", ""),
        ("nwn", ""),
        ("wnw", ""),
        ("rrn", "ttt ttf tff tft ftf"),
        ("rnn", "ttt ttf tff tft"),
        ("nnr", "ttt fft tft"),
        ("rnr", "ttt ttf tff fft tft"),
        ("nrn", "ttt ttf ftf"),
        ("nrw", "ttt ttf ftf"),
        ("rwn", "ttt ttf tff tft"),
        ("rnw", "ttt ttf tff tft"),
        ("nwr", "fft tft"),
        ("wrn", "ftf"),
        ("wnr", "fft"),
    ];
    let mut findings = Findings::new();
    for (presented, passes) in rows {
        let key = |nth: usize| match presented.as_bytes()[nth] {
            b'r' => Some("right"),
            b'w' => Some("wrong"),
            _ => None,
        };
        for name in ROUTES {
            let mut request = gateway.request(Method::POST, &format!("/{name}/x"));
            request = key(0).into_iter().fold(request, |request, key| request.header("apikey", key));
            request = key(1).into_iter().fold(request, |request, key| request.query(&[("apikey", key)]));
            request = request.form(&key(2).map(|key| ("apikey", key)).as_slice());
            let status = gateway.send(request).await.status;
            let expected = if passes.split(' ').any(|route| route == name) { 200 } else { 401 };
            findings.compare(&format!("{presented} at {name}"), &expected, &status);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_has_its_message_and_its_challenge() {
    const NONE: &str = "No API key found in request";
    const TWICE: &str = "Duplicate API key found";
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    protected(&gateway, "api", &upstream, json!({"key_in_body": true})).await;
    protected(&gateway, "realm", &upstream, json!({"realm": "test-realm"})).await;
    key_of_bob(&gateway, "right").await;
    let mut findings = Findings::new();

    /// Path, headers, message.
    type Row = (&'static str, &'static [(&'static str, &'static str)], &'static str);
    let at_get: [Row; 13] = [
        ("/api/x", &[], NONE),
        ("/api/x", &[("apikey", "")], NONE),
        ("/api/x?apikey=right", &[("apikey", "")], NONE),
        ("/api/x?apikey", &[], NONE),
        ("/api/x?apikey=", &[], NONE),
        ("/api/x?APIKEY=right", &[], NONE),
        ("/api/x?apikey[]=right", &[], NONE),
        ("/api/x?apikey=wrong", &[], "Unauthorized"),
        ("/api/x", &[("apikey", "wrong")], "Unauthorized"),
        ("/api/x", &[("apikey", "right, right")], "Unauthorized"),
        ("/api/x?apikey=right%00", &[], "Unauthorized"),
        ("/api/x?apikey=right&apikey=right", &[], TWICE),
        ("/api/x", &[("apikey", "right"), ("APIkey", "right")], TWICE),
    ];
    for (path, headers, message) in at_get {
        let reply = get(&gateway, path, headers).await;
        findings.compare(&format!("{path} {headers:?}"), &refused(message, "Key"), &refusal(&reply));
        let path = path.replace("/api", "/realm");
        let reply = get(&gateway, &path, headers).await;
        let challenge = "Key realm=\"test-realm\"";
        findings.compare(&format!("{path} {headers:?}"), &refused(message, challenge), &refusal(&reply));
    }
    let twice = part("apikey", "right") + &part("apikey", "right") + "--b--\r\n";
    let with_body = [
        ("application/json", r#"{"apikey":["right","right"]}"#, TWICE),
        ("application/json", r#"{"apikey":"right","apikey":"right"}"#, TWICE),
        ("application/json", r#"{"apikey":"wrong"}"#, "Unauthorized"),
        ("application/json", r#"{"apikey":7}"#, NONE),
        ("application/json", "right", NONE),
        (FORM, "apikey=right&apikey=right", TWICE),
        (FORM, "apikey[]=right&apikey[]=right", NONE),
        (FORM, "apikey[1]=right&apikey[1]=right", NONE),
        (MULTIPART, &twice, TWICE),
        ("text/plain", "apikey=right", NONE),
    ];
    for (content_type, body, message) in with_body {
        let request = gateway.request(Method::POST, "/api/x").header("content-type", content_type);
        let reply = gateway.send(request.body(body.to_owned())).await;
        findings.compare(&format!("{content_type} {body}"), &refused(message, "Key"), &refusal(&reply));
    }
    let long = format!("{}&apikey=right", "a=1&".repeat(20_000));
    let request = gateway.request(Method::POST, "/api/x").header("content-type", FORM);
    let reply = gateway.send(request.body(long)).await;
    findings.compare("a form that is too long to be searched", &refused(NONE, "Key"), &refusal(&reply));

    let reply = get(&gateway, "/api/x", &[("accept", "text/plain")]).await;
    let id = reply.header("x-kong-request-id").unwrap();
    findings.compare("plain text", &format!("{NONE}\nrequest_id: {id}\n"), &reply.body);
    let call = gateway.request(Method::POST, "/api/x").header("content-type", "application/grpc");
    let reply = gateway.send(call).await;
    let headers =
        ["grpc-status", "grpc-message", "www-authenticate"].map(|name| reply.header(name).unwrap_or_default());
    findings.compare("a gRPC call", &(401, ""), &(reply.status, reply.body.as_str()));
    findings.compare("its headers", &["16", "Unauthenticated", "Key"].map(str::to_owned), &headers);
    findings.compare("nothing reached the upstream", &0, &upstream.requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_gets_the_keys_consumer_and_not_the_clients_claims() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    protected(&gateway, "api", &upstream, json!({"anonymous": "stranger"})).await;
    protected(&gateway, "byid", &upstream, json!({})).await;
    protected(&gateway, "nobody", &upstream, json!({"anonymous": "nobody-there"})).await;
    let stranger = gateway.create("/consumers", json!({"username": "stranger"})).await;
    let plugins = gateway.admin_get("/services/byid/plugins").await.json();
    let plugin = format!("/plugins/{}", plugins["data"][0]["id"].as_str().unwrap());
    gateway.change(&plugin, json!({"config": {"anonymous": stranger["id"]}})).await;
    let credential = key_of_bob(&gateway, "right").await;
    const NAMES: [&str; 5] = [
        "x-consumer-id",
        "x-consumer-custom-id",
        "x-consumer-username",
        "x-credential-identifier",
        "x-anonymous-consumer",
    ];
    let bob = json!([[credential["consumer"]["id"]], ["b-1"], ["bob"], [credential["id"]], null]);
    let anonymous = json!([[stranger["id"]], null, ["stranger"], null, ["true"]]);
    let forged = NAMES.map(|name| (name, "forged"));
    let mut findings = Findings::new();
    for path in ["/api/x", "/byid/x"] {
        for (key, expected) in [(Some("right"), &bob), (Some("wrong"), &anonymous), (None, &anonymous)] {
            let key = key.map(|key| ("apikey", key));
            let headers: Vec<_> = forged.iter().copied().chain(key).collect();
            let reply = get(&gateway, path, &headers).await;
            let seen = reply.content()["headers"].clone();
            let got: Vec<Value> = NAMES.iter().map(|name| seen[*name].clone()).collect();
            findings.compare(&format!("{path} with {key:?}"), &(200, expected), &(reply.status, &json!(got)));
        }
    }
    let reply = get(&gateway, "/nobody/x", &[]).await;
    let message = "anonymous consumer nobody-there is configured but doesn't exist";
    findings.compare("nobody", &(500, json!(message), None), &refusal(&reply));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hidden_key_does_not_reach_the_upstream() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let config = json!({"hide_credentials": true, "key_in_body": true, "key_names": ["apikey", "x-key"]});
    protected(&gateway, "api", &upstream, config).await;
    protected(&gateway, "nobody", &upstream, json!({"hide_credentials": true})).await;
    protected(&gateway, "shown", &upstream, json!({"key_in_body": true})).await;
    key_of_bob(&gateway, "right").await;
    let mut findings = Findings::new();

    let two = [("apikey", "right"), ("x_key", "other"), ("x-other", "stays")];
    let seen = get(&gateway, "/api/x", &two).await.expect(200).content()["headers"].clone();
    let got = [&seen["apikey"], &seen["x_key"], &seen["x-key"], &seen["x-other"]];
    findings.compare("headers of all names", &[&Value::Null, &Value::Null, &Value::Null, &json!(["stays"])], &got);
    for (path, uri) in [
        ("/api/x?c=valu%651&b=value2&api%6B%65%79=right&a=value3", "/x?c=value1&b=value2&a=value3"),
        ("/api/x?apikey=right", "/x"),
        ("/api/x?b=%2F&apikey=right&x-key=other&a=+", "/x?b=%2F&a=%20"),
        ("/shown/x?c=v%61l&apikey=right&a", "/x?c=v%61l&apikey=right&a"),
    ] {
        findings.compare(path, &json!(uri), &get(&gateway, path, &[]).await.content()["uri"]);
    }
    let path = "/api/x?a=%2f&b";
    let seen = get(&gateway, path, &[("apikey", "right")]).await.content();
    findings.compare("a query without a key", &json!("/x?a=%2f&b"), &seen["uri"]);

    let parts = |with: &str| part("a", "1") + with + "--b--\r\n";
    let key = part("apikey", "right");
    let bodies = [
        (FORM, "z=1&apikey=right&a=2".to_owned(), "a=2&z=1".to_owned()),
        ("application/json", r#"{"a": 1.0,"apikey":"right"}"#.to_owned(), r#"{"a": 1.0}"#.to_owned()),
        (MULTIPART, parts(&key), parts("")),
    ];
    for (content_type, body, left) in bodies {
        for (path, headers, body, left) in [
            ("/api/x", None, &body, &left),
            ("/api/x", Some(("apikey", "right")), &body, &left),
            ("/api/x?apikey=right", None, &body, &left),
            ("/shown/x", None, &body, &body),
            // This instance does not search bodies.
            ("/nobody/x", Some(("apikey", "right")), &body, &body),
        ] {
            let request = gateway.request(Method::POST, path).header("content-type", content_type).body(body.clone());
            let request = headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
            let reply = gateway.send(request).await;
            let got = (reply.status, reply.content()["body"].clone());
            findings.compare(&format!("{path} {headers:?} {content_type}"), &(200, json!(left)), &got);
        }
    }
    let long = format!("{}&apikey=right", "a=1&".repeat(20_000));
    for (what, path, content_type, body, status) in [
        ("a long form", "/api/x", FORM, long.clone(), 413),
        ("long JSON, key in the query", "/api/x?apikey=right", "application/json", long.clone(), 413),
        ("invalid JSON, key in the query", "/api/x?apikey=right", "application/json", "{".to_owned(), 415),
        ("a long body of another type", "/api/x", "text/plain", long, 200),
    ] {
        let request = gateway.request(Method::POST, path).header("content-type", content_type).body(body);
        let request = if path.contains('?') { request } else { request.header("apikey", "right") };
        findings.compare(what, &status, &gateway.send(request).await.status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_needs_a_key_unless_it_is_configured_not_to() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    protected(&gateway, "api", &upstream, json!({})).await;
    protected(&gateway, "passed", &upstream, json!({"run_on_preflight": false})).await;
    let mut findings = Findings::new();
    for (method, path, status) in [
        (Method::OPTIONS, "/api/x", 401),
        (Method::OPTIONS, "/passed/x", 200),
        (Method::GET, "/passed/x", 401),
        (Method::POST, "/passed/x", 401),
    ] {
        let reply = gateway.send(gateway.request(method.clone(), path)).await;
        findings.compare(&format!("{method} {path}"), &status, &reply.status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_validated_and_has_defaults() {
    let gateway = Gateway::on_sqlite().await;
    let made = gateway.create("/plugins", json!({"name": "key-auth"})).await;
    let defaults = json!({
        "key_names": ["apikey"], "hide_credentials": false, "anonymous": null, "key_in_header": true,
        "key_in_query": true, "key_in_body": false, "run_on_preflight": true, "realm": null, "serve_cached_for": null,
    });
    let mut findings = Findings::new();
    findings.compare("defaults", &defaults, &made["config"]);
    let bad_name = "bad header name 'hello\\world', allowed characters are A-Z, a-z, 0-9, '_', and '-'";
    for (config, field, text) in [
        (json!({"key_names": ["hello\\world"]}), "key_names", json!([bad_name])),
        (json!({"key_names": ["ok", ""]}), "key_names", json!([null, "length must be at least 1"])),
        (json!({"key_names": null}), "key_names", json!("required field missing")),
        (json!({"key_in_body": "maybe"}), "key_in_body", json!("expected a boolean")),
        (json!({"realm": "a\nb"}), "realm", json!("must not contain control characters")),
        (json!({"identity_realms": []}), "identity_realms", json!("unknown field")),
    ] {
        let plugin = json!({"name": "key-auth", "config": config});
        let reply = gateway.admin(Method::POST, "/plugins", plugin).await.expect(400);
        findings.compare(&config.to_string(), &text, &reply.json()["fields"]["config"][field]);
    }
    gateway.create("/consumers", json!({"username": "bob"})).await;
    let plugin = json!({"name": "key-auth", "consumer": {"username": "bob"}});
    let reply = gateway.admin(Method::POST, "/plugins", plugin).await.expect(400);
    findings.compare("no consumer", &json!({"consumer": "value must be null"}), &reply.json()["fields"]);
}

/// Compares whole documents on every path.
async fn keys_are_managed_in_the_admin_api(gateway: &Gateway) {
    gateway.create("/consumers", json!({"username": "bob"})).await;
    gateway.create("/consumers", json!({"username": "eve"})).await;
    let bob = gateway.admin_get("/consumers/bob").await.json()["id"].clone();
    let mut findings = Findings::new();
    let made = gateway.create("/consumers/bob/key-auth", json!({"key": "k 1", "tags": ["a"]})).await;
    let expected = json!({
        "id": made["id"], "created_at": made["created_at"], "consumer": {"id": bob}, "key": "k 1", "tags": ["a"],
        "ttl": null,
    });
    findings.compare("a key that is given", &expected, &made);
    let id = made["id"].as_str().unwrap();
    for path in ["/key-auths/k%201", "/consumers/bob/key-auth/k%201"] {
        findings.compare(path, &made, &gateway.admin_get(path).await.json());
    }
    for path in [format!("/key-auths/{id}"), format!("/consumers/bob/key-auth/{id}")] {
        findings.compare(&path, &made, &gateway.admin_get(&path).await.json());
    }
    let consumer = gateway.admin_get("/key-auths/k%201/consumer").await.json();
    findings.compare("its consumer", &json!("bob"), &consumer["username"]);
    findings.compare("another's", &404, &gateway.admin_get("/consumers/eve/key-auth/k%201").await.status);

    let random = gateway.create("/key-auths", json!({"consumer": {"username": "bob"}})).await;
    let key = random["key"].as_str().unwrap_or_default();
    let is_random = key.len() == 32 && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
    findings.check("a generated key", if is_random { Ok(()) } else { Err(random.to_string()) });
    let list = gateway.admin_get("/consumers/bob/key-auth").await.json();
    findings.compare("a list", &2, &list["data"].as_array().map_or(0, Vec::len));
    let list = gateway.admin_get("/key-auths?tags=a").await.json();
    findings.compare("by tag", &json!([made]), &list["data"]);

    let reply = gateway.admin(Method::POST, "/consumers/eve/key-auth", json!({"key": "k 1"})).await;
    let unique = (409, json!("UNIQUE violation detected on '{key=\"k 1\"}'"));
    findings.compare("a key belongs to one consumer", &unique, &(reply.status, reply.json()["message"].clone()));
    for (body, fields) in [
        (json!({}), json!({"consumer": "required field missing"})),
        (json!({"consumer": {"id": bob}, "key": ""}), json!({"key": "length must be at least 1"})),
        (json!({"consumer": {"id": bob}, "secret": 1}), json!({"secret": "unknown field"})),
        (json!({"consumer": {"id": bob}, "ttl": -1}), json!({"ttl": "value should be between 0 and 100000000"})),
    ] {
        let reply = gateway.admin(Method::POST, "/key-auths", body.clone()).await.expect(400);
        findings.compare(&body.to_string(), &fields, &reply.json()["fields"]);
    }
    let changed = gateway.change("/consumers/bob/key-auth/k%201", json!({"key": "k2"})).await;
    findings.compare("changed", &(&made["id"], &json!("k2")), &(&changed["id"], &changed["key"]));
    let put = gateway.admin(Method::PUT, "/consumers/bob/key-auth/k3", json!({})).await.expect(200).json();
    findings.compare("put by its key", &(&json!("k3"), &bob), &(&put["key"], &put["consumer"]["id"]));
    gateway.delete("/consumers/bob/key-auth/k3").await;
    gateway.delete("/key-auths/k2").await;
    gateway.delete("/consumers/bob").await;
    let list = gateway.admin_get("/key-auths").await.json();
    findings.compare("deleted with their consumer", &json!([]), &list["data"]);
}

/// A change takes effect before its response.
async fn a_key_that_is_changed_or_deleted_is_refused_at_once(gateway: &Gateway) {
    let upstream = Upstream::start().await;
    protected(gateway, "api", &upstream, json!({})).await;
    let status = async |key: &str| get(gateway, "/api/x", &[("apikey", key)]).await.status;
    for round in 0..5 {
        let (old, new) = (format!("old-{round}"), format!("new-{round}"));
        let before = (status(&old).await, status(&new).await);
        let credential = key_of_bob(gateway, &old).await;
        assert_eq!((before, status(&old).await), ((401, 401), 200));
        let path = format!("/key-auths/{}", credential["id"].as_str().unwrap());
        gateway.change(&path, json!({"key": new})).await;
        assert_eq!((status(&old).await, status(&new).await), (401, 200));
        gateway.delete(&path).await;
        assert_eq!(status(&new).await, 401);
        key_of_bob(gateway, &old).await;
        assert_eq!(status(&old).await, 200);
        gateway.delete("/consumers/bob").await;
        assert_eq!(status(&old).await, 401);
    }
}

on_both_stores! {
    async fn keys_are_managed(gateway: Gateway) {
        keys_are_managed_in_the_admin_api(&gateway).await;
    }
    async fn a_change_is_in_force_with_its_response(gateway: Gateway) {
        a_key_that_is_changed_or_deleted_is_refused_at_once(&gateway).await;
    }
}

/// Sends requests until the status is this one.
async fn until(gateway: &Gateway, key: &str, status: u16, bound: Duration, what: &str) {
    let begun = Instant::now();
    loop {
        let reply = get(gateway, "/api/x", &[("apikey", key)]).await;
        if reply.status == status {
            return;
        }
        assert!(begun.elapsed() < bound, "{what}: still {} after {bound:?}", reply.status);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_takes_effect_on_another_node_within_a_second() {
    const BOUND: Duration = Duration::from_secs(1);
    let one = Gateway::on_postgres().await;
    let other = one.another_node().await;
    let upstream = Upstream::start().await;
    protected(&one, "api", &upstream, json!({})).await;
    until(&other, "first", 401, BOUND, "the plugin").await;
    let credential = key_of_bob(&one, "first").await;
    until(&other, "first", 200, BOUND, "a new key that was unknown").await;
    one.change(&format!("/key-auths/{}", credential["id"].as_str().unwrap()), json!({"key": "second"})).await;
    until(&other, "first", 401, BOUND, "the old value of a changed key").await;
    until(&other, "second", 200, BOUND, "its new value").await;
    one.delete("/key-auths/second").await;
    until(&other, "second", 401, BOUND, "a deleted key").await;
    key_of_bob(&one, "third").await;
    until(&other, "third", 200, BOUND, "another key").await;
    one.delete("/consumers/bob").await;
    until(&other, "third", 401, BOUND, "the key of a deleted consumer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_a_ttl_expires() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    protected(&gateway, "api", &upstream, json!({})).await;
    key_of_bob(&gateway, "lasting").await;
    let made = gateway.create("/consumers/bob/key-auth", json!({"key": "passing", "ttl": 3})).await;
    assert_eq!(made["ttl"], json!(3));
    get(&gateway, "/api/x", &[("apikey", "passing")]).await.expect(200);
    until(&gateway, "passing", 401, PATIENCE, "a key with three seconds to live").await;
    let reply = get(&gateway, "/api/x", &[("apikey", "passing")]).await;
    assert_eq!(refusal(&reply), refused("Unauthorized", "Key"));
    get(&gateway, "/api/x", &[("apikey", "lasting")]).await.expect(200);
    gateway.admin_get("/key-auths/passing").await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_key_costs_no_look_up_and_cached_keys_can_be_shown_and_evicted() {
    const LOOKUPS: &str = "tollgate_key_auth_lookups_total";
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    protected(&gateway, "api", &upstream, json!({})).await;
    let key = "a-key-that-is-long-enough-to-be-looked-for-in-the-output";
    let credential = key_of_bob(&gateway, key).await;
    let path = format!("/cache/keyauth_credentials:{key}:::::default");
    gateway.admin_get(&path).await.expect(404);
    for _ in 0..5 {
        get(&gateway, "/api/x", &[("apikey", key)]).await.expect(200);
        get(&gateway, "/api/x", &[("apikey", "unknown")]).await.expect(401);
    }
    let counted = async |result: &str| gateway.metric(LOOKUPS, &[&format!("result=\"{result}\"")]).await;
    assert_eq!((counted("miss").await, counted("hit").await, counted("negative").await), (2.0, 4.0, 4.0));
    let shown = gateway.admin_get(&path).await.expect(200).json();
    assert_eq!(shown, json!({"id": credential["id"], "consumer": {"id": credential["consumer"]["id"]}}));
    gateway.delete(&path).await;
    gateway.admin_get(&path).await.expect(404);
    get(&gateway, "/api/x", &[("apikey", key)]).await.expect(200);
    assert_eq!(counted("miss").await, 3.0);
    gateway.delete("/cache").await;
    get(&gateway, "/api/x?apikey=unknown", &[("apikey", key)]).await.expect(200);
    assert_eq!(counted("miss").await, 4.0);
    assert!(!gateway.metrics().await.contains(key), "no key in metrics");
}
