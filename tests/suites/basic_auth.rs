//! Usernames and passwords: how they are kept, which requests pass, what the upstream sees, and when they end.

use http::Method;
use serde_json::{Value, json};
use tollgate_tests::scenario::Api;
use tollgate_tests::{Findings, Gateway, Reply, Upstream};

async fn protected(gateway: &Gateway, name: &str, upstream: &Upstream, config: Value) {
    Api::open(gateway, name, upstream).await;
    gateway.create(&format!("/services/{name}/plugins"), json!({"name": "basic-auth", "config": config})).await;
}

/// The consumer `bob` with this password.
async fn bob(gateway: &Gateway, password: &str) -> Value {
    gateway.admin(Method::PUT, "/consumers/bob", json!({"custom_id": "b-1"})).await.expect(200);
    gateway.create("/consumers/bob/basic-auth", json!({"username": "bobby", "password": password})).await
}

async fn get(gateway: &Gateway, path: &str, username: &str, password: &str) -> Reply {
    gateway.send(gateway.request(Method::GET, path).basic_auth(username, Some(password))).await
}

/// Status, message and challenge.
fn refusal(reply: &Reply) -> (u16, Value, Option<String>) {
    (reply.status, reply.json()["message"].clone(), reply.header("www-authenticate"))
}

fn refused(realm: &str) -> (u16, Value, Option<String>) {
    (401, json!("Unauthorized"), Some(format!("Basic realm=\"{realm}\"")))
}

/// The hash of a password, as other programs compute it.
fn hash(password: &str, consumer: &Value) -> String {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let mut sum = Command::new("sha1sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    write!(sum.stdin.take().unwrap(), "{password}{}", consumer.as_str().unwrap()).unwrap();
    String::from_utf8(sum.wait_with_output().unwrap().stdout).unwrap()[..40].to_owned()
}

on_both_stores! {
    async fn every_change_of_a_password_is_in_force_with_its_response(gateway: Gateway) {
        let upstream = Upstream::start().await;
        protected(&gateway, "a", &upstream, json!({})).await;
        assert_eq!(refusal(&get(&gateway, "/a/x", "bobby", "one").await), refused("service"));
        let credential = bob(&gateway, "one").await;
        let path = format!("/consumers/bob/basic-auth/{}", credential["id"].as_str().unwrap());
        get(&gateway, "/a/x", "bobby", "one").await.expect(200);
        get(&gateway, "/a/x", "bobby", "two").await.expect(401);
        gateway.change(&path, json!({"password": "two"})).await;
        get(&gateway, "/a/x", "bobby", "one").await.expect(401);
        get(&gateway, "/a/x", "bobby", "two").await.expect(200);
        gateway.change(&path, json!({"username": "robert"})).await;
        get(&gateway, "/a/x", "bobby", "two").await.expect(401);
        get(&gateway, "/a/x", "robert", "two").await.expect(200);
        gateway.delete(&path).await;
        get(&gateway, "/a/x", "robert", "two").await.expect(401);
        bob(&gateway, "three").await;
        get(&gateway, "/a/x", "bobby", "three").await.expect(200);
        gateway.delete("/consumers/bob").await;
        get(&gateway, "/a/x", "bobby", "three").await.expect(401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_managed_under_their_own_path_and_below_their_consumer() {
    let gateway = Gateway::on_sqlite().await;
    let made = bob(&gateway, " kong ").await;
    let consumer = gateway.admin_get("/consumers/bob").await.json();
    let password = hash(" kong ", &consumer["id"]);
    let expected = json!({
        "id": made["id"], "created_at": made["created_at"], "consumer": {"id": consumer["id"]}, "username": "bobby",
        "password": password, "tags": null,
    });
    assert_eq!(made, expected);
    let mut findings = Findings::new();
    let id = made["id"].as_str().unwrap();
    for path in
        [format!("/basic-auths/{id}"), "/basic-auths/bobby".to_owned(), "/consumers/bob/basic-auth/bobby".to_owned()]
    {
        findings.compare(&path, &made, &gateway.admin_get(&path).await.expect(200).json());
    }
    findings.compare("consumer", &consumer, &gateway.admin_get("/basic-auths/bobby/consumer").await.json());
    for list in ["/basic-auths", "/consumers/bob/basic-auth"] {
        findings.compare(list, &json!([made]), &gateway.admin_get(list).await.expect(200).json()["data"]);
    }
    let twice = json!({"username": "bobby", "password": "p"});
    gateway.admin(Method::POST, "/consumers/bob/basic-auth", twice).await.expect(409);
    let together = json!({"@entity": ["all or none of these fields must be set: 'password', 'consumer.id'"]});
    gateway.create("/consumers", json!({"username": "eve"})).await;
    let missing = json!({"username": "required field missing", "password": "required field missing"});
    for (method, path, body, fields) in [
        (Method::POST, "/consumers/bob/basic-auth", json!({}), missing),
        (Method::PATCH, "/basic-auths/bobby", json!({"password": "p"}), together.clone()),
        (Method::PATCH, "/basic-auths/bobby", json!({"consumer": {"username": "eve"}}), together),
    ] {
        let reply = gateway.admin(method, path, body.clone()).await;
        findings.compare(&body.to_string(), &(400, fields), &(reply.status, reply.json()["fields"].clone()));
    }
    let tagged = gateway.change("/basic-auths/bobby", json!({"tags": ["t"]})).await;
    findings.compare("tags", &json!(password), &tagged["password"]);
    let other = json!({"password": "p", "consumer": {"username": "eve"}});
    let moved = gateway.change("/basic-auths/bobby", other).await;
    findings.compare("moved", &json!(hash("p", &moved["consumer"]["id"])), &moved["password"]);
    let put = json!({"username": "robert", "password": "q"});
    let new =
        gateway.admin(Method::PUT, &format!("/consumers/bob/basic-auth/{}", uuid()), put).await.expect(200).json();
    findings.compare("put", &json!(hash("q", &consumer["id"])), &new["password"]);
}

fn uuid() -> &'static str {
    "0d7f1a9a-4f6a-4d1c-8f6f-9f6d6c7f2a2b"
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_receives_the_consumer_and_the_password_only_if_wanted() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    protected(&gateway, "shown", &upstream, json!({"realm": "r"})).await;
    protected(&gateway, "hidden", &upstream, json!({"hide_credentials": true})).await;
    bob(&gateway, "kong").await;
    let consumer = gateway.admin_get("/consumers/bob").await.json()["id"].clone();
    for (path, authorization) in [("/shown/x", json!(["Basic Ym9iYnk6a29uZw=="])), ("/hidden/x", Value::Null)] {
        // Cold and warm.
        for _ in 0..2 {
            let headers = get(&gateway, path, "bobby", "kong").await.expect(200).json()["headers"].clone();
            let identity = ["x-consumer-id", "x-consumer-username", "x-consumer-custom-id", "x-credential-identifier"];
            let expected = [json!([consumer]), json!(["bob"]), json!(["b-1"]), json!(["bobby"])];
            assert_eq!(identity.map(|name| headers[name].clone()), expected);
            assert_eq!((&headers["authorization"], &headers["x-anonymous-consumer"]), (&authorization, &Value::Null));
        }
    }
    assert_eq!(refusal(&get(&gateway, "/shown/x", "bobby", "wrong").await), refused("r"));
    let none = gateway.send(gateway.request(Method::GET, "/hidden/x")).await;
    assert_eq!(refusal(&none), refused("service"));
    assert_eq!(upstream.requests(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_valid_credentials_is_the_anonymous_consumers() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    gateway.create("/consumers", json!({"username": "anyone"})).await;
    protected(&gateway, "a", &upstream, json!({"anonymous": "anyone"})).await;
    bob(&gateway, "kong").await;
    for (password, username, anonymous) in [("kong", "bob", Value::Null), ("wrong", "anyone", json!(["true"]))] {
        let headers = get(&gateway, "/a/x", "bobby", password).await.expect(200).json()["headers"].clone();
        assert_eq!(
            (&headers["x-consumer-username"], &headers["x-anonymous-consumer"]),
            (&json!([username]), &anonymous)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_is_at_rest_or_in_what_the_gateway_says() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    protected(&gateway, "a", &upstream, json!({})).await;
    bob(&gateway, "correct-horse-battery").await;
    for _ in 0..2 {
        get(&gateway, "/a/x", "bobby", "correct-horse-battery").await.expect(200);
        get(&gateway, "/a/x", "bobby", "wrong-horse-battery").await.expect(401);
    }
    let shown = gateway.admin_get("/cache/basicauth_credentials:bobby:::::").await.expect(200).body;
    let metrics = gateway.metrics().await;
    for (place, text) in
        [("store", gateway.at_rest()), ("output", gateway.output()), ("cache", shown), ("metrics", metrics)]
    {
        assert!(!text.contains("horse-battery") && !text.contains("aG9yc2UtYmF0dGVye"), "{place}");
    }
}
