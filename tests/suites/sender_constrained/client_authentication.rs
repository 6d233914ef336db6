//! Clients that authenticate with an assertion which they have signed (RFC 7521, RFC 7523).

use super::*;

const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

async fn present(gateway: &Gateway, api: &Api, assertion: &str, more: &[(&str, &str)]) -> Reply {
    let usual = [
        ("grant_type", "client_credentials"),
        ("scope", "email"),
        ("client_assertion_type", TYPE),
        ("client_assertion", assertion),
    ];
    api.token(gateway, &[&usual[..], more].concat()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_is_for_this_server_now_and_once_rfc7523_3() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let api = Api::protected(&gateway, "api", &upstream, json!({"issuer": "https://as.example.test"})).await;
    let (key, stranger) = (IssuerKey::generate("k1", "ES256"), IssuerKey::generate("k1", "ES256"));
    let fields = json!({"jwks": {"keys": [key.jwk()]}, "token_endpoint_auth_method": "private_key_jwt"});
    let client = Application::register(&gateway, "app", fields).await;
    let other = Application::register(&gateway, "other", json!({})).await;
    let assertion = |key: &IssuerKey, patch: Value| {
        let claims = json!({
            "iss": client.id(), "sub": client.id(), "aud": "https://as.example.test", "jti": uuid::Uuid::new_v4(),
            "exp": now() + 60, "iat": now(),
        });
        let header = json!({"alg": key.signing.algorithm(), "kid": key.id});
        key.token_with(&header, &laid_over(claims, patch))
    };
    let endpoint = gateway.url("/api/oauth2/token");
    let mut findings = Findings::new();
    for (patch, expected) in [
        (json!({}), 200),
        (json!({"aud": ["https://as.example.test"]}), 200),
        // Its own address says nothing: the sender chooses `Host`.
        (json!({"aud": endpoint}), 400),
        (json!({"aud": "https://as.example.test/oauth2/token"}), 200),
        (json!({"aud": "https://evil.test"}), 400),
        (json!({"aud": ["https://evil.test", 1]}), 400),
        (json!({"aud": null}), 400),
        (json!({"iss": "https://evil.test"}), 400),
        (json!({"sub": other.id(), "iss": other.id()}), 400),
        (json!({"sub": "nobody", "iss": "nobody"}), 400),
        (json!({"exp": now() - 3600}), 400),
        (json!({"exp": now() + 100_000}), 400),
        (json!({"exp": null}), 400),
        (json!({"nbf": now() + 3600}), 400),
        (json!({"iat": now() + 3600}), 400),
        (json!({"jti": null}), 400),
        (json!({"jti": ""}), 400),
    ] {
        let row = patch.to_string();
        let reply = present(&gateway, &api, &assertion(&key, patch), &[]).await;
        findings.compare(&row, &expected, &reply.status);
        if expected != 200 {
            findings.compare(&row, &json!("invalid_client"), &reply.json()["error"]);
        }
    }
    let once = assertion(&key, json!({}));
    for expected in [200, 400] {
        findings.compare("presented twice", &expected, &present(&gateway, &api, &once, &[]).await.status);
    }
    let forged = IssuerKey {
        id: "k1".to_owned(),
        signing: tollgate_tests::SigningKey::hmac("HS256", key.signing.public_pem().as_bytes()),
    };
    for (row, assertion) in [
        ("another key", assertion(&stranger, json!({}))),
        ("HMAC with the public key", assertion(&forged, json!({}))),
        ("none", format!("{}.", assertion(&key, json!({})).rsplit_once('.').unwrap().0)),
        ("no JWT", "nonsense".to_owned()),
    ] {
        findings.compare(row, &(400, json!("invalid_client")), &error(&present(&gateway, &api, &assertion, &[]).await));
    }
    let good = || assertion(&key, json!({}));
    let with_id = present(&gateway, &api, &good(), &[("client_id", client.id())]).await;
    findings.compare("with the client's id", &200, &with_id.status);
    let with_other = present(&gateway, &api, &good(), &[("client_id", other.id())]).await;
    findings.compare("with another's id", &(400, json!("invalid_client")), &error(&with_other));
    let with_secret = present(&gateway, &api, &good(), &[("client_secret", client.secret())]).await;
    findings.compare("with a secret too", &(400, json!("invalid_request")), &error(&with_secret));
    let secret = api.token(&gateway, &own(&client)).await;
    findings.compare("the secret is not its method", &(400, json!("invalid_client")), &error(&secret));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_may_be_for_the_issuer_the_token_endpoint_or_the_endpoint_it_is_sent_to_rfc9126_2() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let config = json!({"issuer": "https://as.example.test", "endpoints": ["par", "revoke"], "pkce": "none"});
    Api::protected(&gateway, "api", &upstream, config).await;
    let key = IssuerKey::generate("k1", "ES256");
    let fields = json!({"jwks": {"keys": [key.jwk()]}, "token_endpoint_auth_method": "private_key_jwt"});
    let client = Application::register(&gateway, "app", fields).await;
    for (path, audience, status) in [
        ("par", "https://as.example.test", 201),
        ("par", "https://as.example.test/oauth2/token", 201),
        ("par", "https://as.example.test/oauth2/par", 201),
        ("par", "https://as.example.test/oauth2/revoke", 400),
        ("revoke", "https://as.example.test/oauth2/revoke", 200),
        ("revoke", "https://as.example.test/oauth2/par", 400),
        ("par", "https://evil.test/oauth2/par", 400),
    ] {
        let claims = json!({
            "iss": client.id(), "sub": client.id(), "aud": audience, "jti": uuid::Uuid::new_v4(), "exp": now() + 60,
        });
        let assertion = key.token_with(&json!({"alg": "ES256", "kid": "k1"}), &claims);
        let form = [
            ("client_assertion_type", TYPE),
            ("client_assertion", &assertion),
            ("response_type", "code"),
            ("scope", "email"),
            ("token", "unknown"),
        ];
        let reply = gateway.send(gateway.request(Method::POST, &format!("/api/oauth2/{path}")).form(&form)).await;
        assert_eq!(reply.status, status, "{path} {audience}: {}", reply.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registered_method_is_the_only_one_and_keys_are_checked() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
    let basic =
        Application::register(&gateway, "basic", json!({"token_endpoint_auth_method": "client_secret_basic"})).await;
    let post =
        Application::register(&gateway, "post", json!({"token_endpoint_auth_method": "client_secret_post"})).await;
    for (client, by_header, by_body) in [(&basic, 200, 401), (&post, 401, 200)] {
        let form = [("grant_type", "client_credentials"), ("scope", "email")];
        let request = gateway.request(Method::POST, "/api/oauth2/token").form(&form);
        let header = gateway.send(request.basic_auth(client.id(), Some(client.secret()))).await;
        assert_eq!(header.status, by_header, "{}", header.body);
        let body = api.token(&gateway, &own(client)).await;
        assert_eq!(body.status == 200, by_body == 200, "{}", body.body);
    }
    let private = IssuerKey::generate("k", "ES256").private_jwk();
    for jwks in
        [json!({"keys": [private]}), json!({"keys": [{"kty": "EC"}]}), json!({"keys": [{"kty": "oct", "kid": "a"}]})]
    {
        let fields = json!({"name": "n", "jwks": jwks});
        gateway.admin(Method::POST, "/consumers/basic/oauth2", fields).await.expect(400);
    }
}
