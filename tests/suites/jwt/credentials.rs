//! Configurations and credentials: how they are managed, and when they take effect and end.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_validated_and_has_defaults() {
    let gateway = Gateway::on_sqlite().await;
    let made = gateway.create("/plugins", json!({"name": "jwt"})).await;
    let defaults = json!({
        "uri_param_names": ["jwt"], "cookie_names": [], "key_claim_name": "iss", "secret_is_base64": false,
        "claims_to_verify": null, "anonymous": null, "run_on_preflight": true, "maximum_expiration": 0,
        "header_names": ["authorization"], "realm": null, "serve_cached_for": null,
    });
    let mut findings = Findings::new();
    findings.compare("defaults", &defaults, &made["config"]);
    let range = "value should be between 0 and 31536000";
    let contain = json!({
        "@entity": ["failed conditional validation given value of field 'config.maximum_expiration'"],
        "config": {"claims_to_verify": "expected to contain: exp"},
    });
    let in_config = |field: &str, fault: Value| json!({"config": {field: fault}});
    for (config, faults) in [
        (json!({"maximum_expiration": -1, "claims_to_verify": ["exp"]}), in_config("maximum_expiration", json!(range))),
        (json!({"maximum_expiration": 31_536_001}), in_config("maximum_expiration", json!(range))),
        (json!({"maximum_expiration": 60, "claims_to_verify": ["nbf"]}), contain.clone()),
        (json!({"maximum_expiration": 60}), contain),
        (json!({"claims_to_verify": ["iat"]}), in_config("claims_to_verify", json!(["expected one of: exp, nbf"]))),
        (json!({"header_names": ["a b"]}), in_config("header_names", json!(["invalid header name 'a b'"]))),
        (json!({"secret_is_base64": null}), in_config("secret_is_base64", json!("required field missing"))),
        (json!({"realm": "a\nb"}), in_config("realm", json!("must not contain control characters"))),
        (json!({"hide_credentials": true}), in_config("hide_credentials", json!("unknown field"))),
    ] {
        let plugin = json!({"name": "jwt", "config": config});
        let reply = gateway.admin(Method::POST, "/plugins", plugin).await.expect(400);
        findings.compare(&config.to_string(), &faults, &reply.json()["fields"]);
    }
    let path = format!("/plugins/{}", made["id"].as_str().unwrap());
    let limit = json!({"config": {"maximum_expiration": 60, "claims_to_verify": ["exp"]}});
    let changed = gateway.change(&path, limit).await;
    findings.compare("a limit", &json!(60), &changed["config"]["maximum_expiration"]);
    let unchecked = json!({"config": {"claims_to_verify": null}});
    gateway.admin(Method::PATCH, &path, unchecked).await.expect(400);
    gateway.create("/consumers", json!({"username": "bob"})).await;
    let plugin = json!({"name": "jwt", "consumer": {"username": "bob"}});
    let reply = gateway.admin(Method::POST, "/plugins", plugin).await.expect(400);
    findings.compare("no consumer", &json!({"consumer": "value must be null"}), &reply.json()["fields"]);
}

/// Compares whole documents on every path.
async fn credentials_are_managed_in_the_admin_api(gateway: &Gateway) {
    gateway.create("/consumers", json!({"username": "bob"})).await;
    gateway.create("/consumers", json!({"username": "eve"})).await;
    let bob = gateway.admin_get("/consumers/bob").await.json()["id"].clone();
    let mut findings = Findings::new();
    let made = gateway.create("/consumers/bob/jwt", json!({"key": "k 1", "secret": "s", "tags": ["a"]})).await;
    let expected = json!({
        "id": made["id"], "created_at": made["created_at"], "consumer": {"id": bob}, "key": "k 1", "secret": "s",
        "rsa_public_key": null, "algorithm": "HS256", "tags": ["a"],
    });
    findings.compare("a credential", &expected, &made);
    let id = made["id"].as_str().unwrap();
    for path in ["/jwts/k%201", "/consumers/bob/jwt/k%201"] {
        findings.compare(path, &made, &gateway.admin_get(path).await.json());
    }
    for path in [format!("/jwts/{id}"), format!("/consumers/bob/jwt/{id}")] {
        findings.compare(&path, &made, &gateway.admin_get(&path).await.json());
    }
    let consumer = gateway.admin_get("/jwts/k%201/consumer").await.json();
    findings.compare("its consumer", &json!("bob"), &consumer["username"]);
    findings.compare("another's", &404, &gateway.admin_get("/consumers/eve/jwt/k%201").await.status);

    let random = gateway.create("/jwts", json!({"consumer": {"username": "bob"}})).await;
    for field in ["key", "secret"] {
        let text = random[field].as_str().unwrap_or_default();
        let is_random = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        findings.check(field, if is_random { Ok(()) } else { Err(random.to_string()) });
    }
    let list = gateway.admin_get("/consumers/bob/jwt").await.json();
    findings.compare("a list", &2, &list["data"].as_array().map_or(0, Vec::len));
    let list = gateway.admin_get("/jwts?tags=a").await.json();
    findings.compare("by tag", &json!([made]), &list["data"]);

    let reply = gateway.admin(Method::POST, "/consumers/eve/jwt", json!({"key": "k 1"})).await;
    let unique = (409, json!("UNIQUE violation detected on '{key=\"k 1\"}'"));
    findings.compare("a key belongs to one consumer", &unique, &(reply.status, reply.json()["message"].clone()));
    let same = gateway.admin(Method::POST, "/consumers/eve/jwt", json!({"secret": "s"})).await;
    findings.compare("a secret may be of several", &201, &same.status);
    faults_of_credentials(gateway, &bob, &mut findings).await;

    let changed = gateway.change("/consumers/bob/jwt/k%201", json!({"key": "k2", "secret": "t"})).await;
    let expected = laid_over(made.clone(), json!({"key": "k2", "secret": "t"}));
    findings.compare("changed", &expected, &changed);
    let reply = gateway.admin(Method::PATCH, "/jwts/k2", json!({"algorithm": "ES256"})).await;
    findings.compare("without its key", &400, &reply.status);
    let put = gateway.admin(Method::PUT, "/consumers/bob/jwt/k3", json!({})).await.expect(200).json();
    findings.compare("put by its key", &(&json!("k3"), &bob), &(&put["key"], &put["consumer"]["id"]));
    gateway.delete("/consumers/bob/jwt/k3").await;
    gateway.delete("/jwts/k2").await;
    findings.compare("gone", &404, &gateway.admin_get("/jwts/k2").await.status);
    for consumer in ["bob", "eve"] {
        gateway.delete(&format!("/consumers/{consumer}")).await;
    }
    let list = gateway.admin_get("/jwts").await.json();
    findings.compare("deleted with their consumer", &json!([]), &list["data"]);
}

async fn faults_of_credentials(gateway: &Gateway, bob: &Value, findings: &mut Findings) {
    let conditional = json!(["failed conditional validation given value of field 'algorithm'"]);
    let key_fault = |fault: &str| json!({"rsa_public_key": fault, "@entity": conditional});
    let with_key = |algorithm: &str, pem: &str| json!({"algorithm": algorithm, "rsa_public_key": pem});
    let (rsa, p256) = (SigningKey::generate("RS256").public_pem(), SigningKey::generate("ES256").public_pem());
    let rows = [
        (json!({"consumer": null}), json!({"consumer": "required field missing"})),
        (json!({"key": ""}), json!({"key": "length must be at least 1"})),
        (json!({"key": "a\nb"}), json!({"key": "must not contain control characters"})),
        (json!({"ttl": 1}), json!({"ttl": "unknown field"})),
        (
            json!({"algorithm": "none"}),
            json!({"algorithm": "expected one of: HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA"}),
        ),
        (json!({"algorithm": "RS256"}), key_fault("required field missing")),
        (json!({"algorithm": "ES256"}), key_fault("required field missing")),
        (with_key("RS256", "test"), key_fault("invalid key")),
        (with_key("PS512", &p256), key_fault("invalid key")),
        (with_key("ES256", &rsa), key_fault("invalid key")),
        (with_key("ES384", &p256), key_fault("invalid key")),
        (with_key("EdDSA", &rsa), key_fault("invalid key")),
    ];
    for (fields, faults) in rows {
        let body = laid_over(json!({"consumer": {"id": bob}}), fields.clone());
        let reply = gateway.admin(Method::POST, "/jwts", body).await.expect(400);
        findings.compare(&fields.to_string(), &faults, &reply.json()["fields"]);
    }
    // As forms send it.
    let with_crlf = laid_over(with_key("RS256", &rsa.replace('\n', "\r\n")), json!({"consumer": {"id": bob}}));
    let made = gateway.create("/jwts", with_crlf).await;
    gateway.delete(&format!("/jwts/{}", made["id"].as_str().unwrap())).await;
}

/// A change takes effect before its response.
async fn a_credential_that_is_changed_or_deleted_ends_at_once(gateway: &Gateway) {
    let upstream = Upstream::start().await;
    protected(gateway, "api", &upstream, json!({})).await;
    let other = SigningKey::hmac("HS256", b"another secret").token(&json!({"iss": "bob"}));
    let renamed = SigningKey::hmac("HS256", b"another secret").token(&json!({"iss": "robert"}));
    let token = of_bob();
    let status = async |token: &str| present(gateway, "/api/x", token).await.status;
    for _ in 0..5 {
        assert_eq!((status(&token).await, status(&other).await), (401, 401));
        let credential = credential_of_bob(gateway, json!({})).await;
        assert_eq!((status(&token).await, status(&other).await), (200, 401));
        let path = format!("/jwts/{}", credential["id"].as_str().unwrap());
        gateway.change(&path, json!({"secret": "another secret"})).await;
        assert_eq!((status(&token).await, status(&other).await, status(&renamed).await), (401, 200, 401));
        gateway.change(&path, json!({"key": "robert"})).await;
        assert_eq!((status(&other).await, status(&renamed).await), (401, 200));
        gateway.change(&path, json!({"algorithm": "HS512"})).await;
        assert_eq!(status(&renamed).await, 401);
        gateway.change(&path, json!({"algorithm": "HS256"})).await;
        assert_eq!(status(&renamed).await, 200);
        gateway.delete(&path).await;
        assert_eq!(status(&renamed).await, 401);
        credential_of_bob(gateway, json!({})).await;
        assert_eq!(status(&token).await, 200);
        gateway.delete("/consumers/bob").await;
        assert_eq!(status(&token).await, 401);
    }
}

/// The store does not see keys that no credential can have as anything else.
async fn strange_keys_are_unknown_ones(gateway: &Gateway) {
    let upstream = Upstream::start().await;
    protected(gateway, "api", &upstream, json!({})).await;
    credential_of_bob(gateway, json!({})).await;
    let mut findings = Findings::new();
    let keys = ["bob\0", "\0", " bob", "BOB", "b%", "b_b", "'", "\u{1F600}", "\u{FFFD}", "bob\n"];
    for key in keys.map(str::to_owned).into_iter().chain(["b".repeat(10_000)]) {
        let reply = present(gateway, "/api/x", &secret().token(&json!({"iss": key}))).await;
        let expected = refused("No credentials found for given 'iss'", INVALID);
        findings.compare(&format!("{:?}", &key[..key.len().min(20)]), &expected, &refusal(&reply));
    }
}

on_both_stores! {
    async fn credentials_are_managed(gateway: Gateway) {
        credentials_are_managed_in_the_admin_api(&gateway).await;
    }
    async fn a_change_is_in_force_with_its_response(gateway: Gateway) {
        a_credential_that_is_changed_or_deleted_ends_at_once(&gateway).await;
    }
    async fn a_strange_key_is_an_unknown_one(gateway: Gateway) {
        strange_keys_are_unknown_ones(&gateway).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_takes_effect_on_another_node_within_a_second() {
    const BOUND: Duration = Duration::from_secs(1);
    let one = Gateway::on_postgres().await;
    let other = one.another_node().await;
    let upstream = Upstream::start().await;
    protected(&one, "api", &upstream, json!({})).await;
    let (token, second) = (of_bob(), SigningKey::hmac("HS256", b"another secret").token(&json!({"iss": "bob"})));
    let until = async |token: &str, status: u16, what: &str| until(&other, "/api/x", token, status, BOUND, what).await;
    until(&token, 401, "the plugin").await;
    let credential = credential_of_bob(&one, json!({})).await;
    until(&token, 200, "a new credential that was unknown").await;
    until(&second, 401, "a wrong signature").await;
    let path = format!("/jwts/{}", credential["id"].as_str().unwrap());
    one.change(&path, json!({"secret": "another secret"})).await;
    until(&token, 401, "a token of a changed secret").await;
    until(&second, 200, "one of the new secret, which was refused before").await;
    one.delete("/consumers/bob").await;
    until(&second, 401, "a token of a deleted consumer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_token_costs_no_check_and_cached_credentials_can_be_shown_and_evicted() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    protected(&gateway, "api", &upstream, json!({"claims_to_verify": ["exp"]})).await;
    let key = "a-key-that-is-long-enough-to-be-looked-for-in-the-output";
    let credential = credential_of_bob(&gateway, json!({"key": key})).await;
    let path = format!("/cache/jwt_secrets:{key}:::::default");
    gateway.admin_get(&path).await.expect(404);
    let until = now() + 3_600;
    let token = secret().token(&json!({"iss": key, "exp": until}));
    let forged = SigningKey::hmac("HS256", b"foo").token(&json!({"iss": key, "exp": until}));
    for _ in 0..5 {
        present(&gateway, "/api/x", &token).await.expect(200);
        present(&gateway, "/api/x", &forged).await.expect(401);
    }
    let counted = async |what: &str, result: &str| {
        gateway.metric(&format!("tollgate_{what}_lookups_total"), &[&format!("result=\"{result}\"")]).await
    };
    // A miss verifies a signature.
    assert_eq!((counted("jwt", "miss").await, counted("jwt", "hit").await), (2.0, 8.0));
    assert_eq!((counted("jwt_credential", "miss").await, counted("jwt_credential", "hit").await), (1.0, 1.0));
    let shown = gateway.admin_get(&path).await.expect(200).json();
    assert_eq!(shown, json!({"id": credential["id"], "consumer": {"id": credential["consumer"]["id"]}}));
    gateway.delete(&path).await;
    gateway.admin_get(&path).await.expect(404);
    present(&gateway, "/api/x", &token).await.expect(200);
    assert_eq!((counted("jwt", "miss").await, counted("jwt_credential", "miss").await), (3.0, 2.0));
    gateway.delete("/cache").await;
    present(&gateway, "/api/x", &token).await.expect(200);
    assert_eq!((counted("jwt", "miss").await, counted("jwt_credential", "miss").await), (4.0, 3.0));
    let (metrics, output) = (gateway.metrics().await, gateway.output());
    for secret in [key, SECRET, &token] {
        assert!(!metrics.contains(secret) && !output.contains(secret), "a secret in metrics or logs");
    }
}
