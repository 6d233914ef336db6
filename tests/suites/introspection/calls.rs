//! What an authority is asked, how often, and by which client.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::join_all;
use openssl::pkey::PKey;
use serde_json::from_slice;
use std::collections::BTreeMap;
use tollgate_tests::authority::Call;
use tollgate_tests::scenario::Application;
use tollgate_tests::{Findings, SERVER};

use super::*;

/// A call with these headers besides those of every call, and this form.
fn call(authority: &Authority, headers: &[(&str, &str)], form: &[(&str, &str)]) -> Call {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let (host, length) = (authority.host(), body.len().to_string());
    let always = [
        ("accept", "application/json"),
        ("accept-encoding", "identity"),
        ("content-length", &length),
        ("content-type", "application/x-www-form-urlencoded"),
        ("host", &host),
        ("user-agent", SERVER),
    ];
    let headers: BTreeMap<_, _> = always.iter().chain(headers).map(|(name, value)| (*name, *value)).collect();
    Call {
        line: "POST /introspect HTTP/1.1".to_owned(),
        headers: headers.into_iter().map(|(name, value)| (name.to_owned(), vec![value.to_owned()])).collect(),
        form: form.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_has_what_the_fields_say_introspection_1() {
    let gateway = Gateway::on_sqlite().await;
    let (upstream, authority) = (Upstream::start().await, Authority::start().await);
    let mut findings = Findings::new();
    let with = ("authorization", AUTHORIZATION);
    let basic = ("authorization", "Basic Z2F0ZXdheTpzJTI2K2NyZXQ=");
    let token = ("token", "a token/of+them");
    /// Name of the API, configuration, and the expected headers and form.
    type Row<'r> = (&'r str, Value, &'r [(&'r str, &'r str)], &'r [(&'r str, &'r str)]);
    let rows: [Row<'_>; 6] = [
        ("minimum", json!({}), &[with], &[token]),
        ("hint", json!({"token_type_hint": "access_token"}), &[with], &[token, ("token_type_hint", "access_token")]),
        (
            "request",
            json!({"introspect_request": true}),
            &[with, ("x-request-path", "/request/x"), ("x-request-http-method", "GET")],
            &[token],
        ),
        (
            "headers",
            json!({"custom_introspection_headers": {"X-Tenant": "a b", "Accept": "application/json, text/json"}}),
            &[with, ("x-tenant", "a b"), ("accept", "application/json, text/json")],
            &[token],
        ),
        (
            "basic",
            json!({"auth_method": "client_secret_basic", "client_id": "gateway", "client_secret": "s& cret"}),
            &[basic],
            &[token],
        ),
        (
            "post",
            json!({"auth_method": "client_secret_post", "client_id": "gateway", "client_secret": "s& cret"}),
            &[],
            &[token, ("client_id", "gateway"), ("client_secret", "s& cret")],
        ),
    ];
    for (name, config, headers, form) in rows {
        protected(&gateway, name, &upstream, &authority, config).await;
        let request = gateway.request(Method::GET, &format!("/{name}/x")).query(&[("access_token", token.1)]);
        gateway.send(request).await.expect(401);
        findings.compare(name, &vec![call(&authority, headers, form)], &authority.calls());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_authenticates_with_a_signed_assertion() {
    let gateway = Gateway::on_sqlite().await;
    let (upstream, authority) = (Upstream::start().await, Authority::start().await);
    let key = PKey::generate_ed25519().unwrap();
    let config = json!({
        "auth_method": "private_key_jwt", "client_id": "gateway", "client_key_id": "k1",
        "client_key": String::from_utf8(key.private_key_to_pem_pkcs8().unwrap()).unwrap(),
        "issuer": "https://issuer.example",
    });
    protected(&gateway, "api", &upstream, &authority, config).await;
    get(&gateway, "/api/x", "unknown").await.expect(401);

    let received = authority.calls().remove(0);
    let assertion = received.parameter("client_assertion").unwrap();
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let form = [
        ("token", "unknown"),
        ("client_id", "gateway"),
        ("client_assertion_type", kind),
        ("client_assertion", assertion),
    ];
    assert_eq!(received, call(&authority, &[], &form));
    let (signed, signature) = assertion.rsplit_once('.').unwrap();
    let parts: Vec<Vec<u8>> = assertion.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
    assert_eq!(from_slice::<Value>(&parts[0]).unwrap(), json!({"alg": "EdDSA", "typ": "JWT", "kid": "k1"}));
    let claims: Value = from_slice(&parts[1]).unwrap();
    let lifetime = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    assert_eq!((&claims["iss"], &claims["sub"], lifetime), (&json!("gateway"), &json!("gateway"), 60));
    assert_eq!(claims["aud"], "https://issuer.example");
    let mut verifier = openssl::sign::Verifier::new_without_digest(&key).unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    assert!(verifier.verify_oneshot(&signature, signed.as_bytes()).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_with_one_unknown_token_cause_one_call() {
    let gateway = Gateway::on_sqlite().await;
    let (upstream, authority) = (Upstream::start().await, Authority::start().await);
    protected(&gateway, "api", &upstream, &authority, json!({})).await;
    authority.knows("token-of-many-123", json!({"scope": "read"}));
    authority.hold();
    // Over HTTP/2 they would wait for each other.
    let request = || gateway.client.get(gateway.plain_url("/api/x")).bearer_auth("token-of-many-123");
    let requests = (0..200).map(|_| gateway.send(request()));
    let all_wait = async {
        let miss = || gateway.metric("tollgate_third_party_token_lookups_total", &[]);
        until("all requests wait", || async { miss().await >= 200.0 }).await;
        authority.release();
    };
    let (replies, ()) = tokio::join!(join_all(requests), all_wait);
    assert_eq!(replies.iter().map(|reply| reply.status).collect::<Vec<_>>(), [200; 200]);
    assert_eq!(authority.asked(), ["token-of-many-123"]);
    get(&gateway, "/api/x", "token-of-many-123").await.expect(200);
    assert_eq!(authority.asked(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_this_gateway_is_not_sent_to_an_authority() {
    let gateway = Gateway::on_sqlite().await;
    let (upstream, authority) = (Upstream::start().await, Authority::start().await);
    protected(&gateway, "theirs", &upstream, &authority, json!({})).await;
    let ours = Api::protected(&gateway, "ours", &upstream, json!({})).await;
    let client = Application::register(&gateway, "client", json!({})).await;
    let token = ours.tokens(&gateway, &client).await["access_token"].as_str().unwrap().to_owned();
    ours.get(&gateway, &token).await.expect(200);
    assert_eq!(refusal(&get(&gateway, "/theirs/x", &token).await), invalid_token());
    assert_eq!(authority.asked(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_authorities_the_one_that_the_token_names_is_asked_or_else_each_in_order() {
    let gateway = Gateway::on_sqlite().await;
    let (upstream, first) = (Upstream::start().await, Authority::start().await);
    let (mut second, third) = (Authority::start().await, Authority::start().await);
    let authority = |of: &Authority, issuer: &str| {
        json!({"introspection_url": of.url(), "authorization_value": AUTHORIZATION, "issuer": issuer,
            "consumer_by": "client_id"})
    };
    let further = [authority(&second, "https://second.example"), authority(&third, "https://third.example")];
    let config = json!({"issuer": "https://first.example", "authorities": further});
    protected(&gateway, "api", &upstream, &first, config).await;
    gateway.create("/consumers", json!({"username": "app"})).await;
    let jwt = |issuer: &str, id: u32| {
        let encode = |part: Value| URL_SAFE_NO_PAD.encode(part.to_string());
        format!("{}.{}.c2ln", encode(json!({"alg": "RS256"})), encode(json!({"iss": issuer, "jti": id.to_string()})))
    };
    let asked = || [first.asked().len(), second.asked().len(), third.asked().len()];

    let opaque = "opaque-token-123456";
    second.knows(opaque, json!({"client_id": "app", "username": "nobody"}));
    let echoed = get(&gateway, "/api/x", opaque).await.expect(200).json();
    assert_eq!(echoed["headers"]["x-consumer-username"], json!(["app"]), "as the second authority is configured");
    assert_eq!(asked(), [1, 1, 0], "in order, until one knows it");

    let named = jwt("https://third.example", 1);
    third.knows(&named, json!({}));
    get(&gateway, "/api/x", &named).await.expect(200);
    assert_eq!(asked(), [0, 0, 1]);
    let foreign = jwt("https://fourth.example", 2);
    assert_eq!(refusal(&get(&gateway, "/api/x", &foreign).await), invalid_token());
    assert_eq!(asked(), [0, 0, 0]);

    let unknown = "unknown-token-123456";
    assert_eq!(refusal(&get(&gateway, "/api/x", unknown).await), invalid_token());
    assert_eq!(asked(), [1, 1, 1]);
    second.stop().await;
    let other = "another-token-123456";
    assert_eq!(refusal(&get(&gateway, "/api/x", other).await), unavailable(), "the second might know it");
    third.knows("third-token-123456", json!({}));
    get(&gateway, "/api/x", "third-token-123456").await.expect(200);
}
