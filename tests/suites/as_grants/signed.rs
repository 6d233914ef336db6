//! Signed access tokens (RFC 9068).

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use tollgate_tests::Upstream;

use super::*;

fn part(token: &str, number: usize) -> Value {
    let part = token.split('.').nth(number).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

async fn keys(gateway: &Gateway) -> Reply {
    gateway.send(gateway.request(Method::GET, "/api/oauth2/jwks")).await.expect(200)
}

async fn token(api: &Api, gateway: &Gateway, client: &Application) -> String {
    let form = with_secret(client, &[("grant_type", "client_credentials"), ("scope", "email")]);
    text(&api.token(gateway, &form).await.expect(200).json(), "access_token").to_owned()
}

fn signed() -> Value {
    json!({"token_format": "jwt", "endpoints": ["jwks"]})
}

on_both_stores! {
    async fn a_signed_token_is_verified_with_the_published_key_and_revoked_as_any_other_rfc9068_2(gateway: Gateway) {
        let upstream = Upstream::start().await;
        let api = Api::protected(&gateway, "api", &upstream, signed()).await;
        let client = Application::register(&gateway, "client", json!({})).await;
        for protocol in clients(&gateway) {
            let form = with_secret(&client, &[("grant_type", "client_credentials"), ("scope", "email")]);
            let reply = post(&protocol, &gateway, "/api/oauth2/token", &form).await.expect(200);
            let token = text(&reply.json(), "access_token").to_owned();
            let expected = json!({"access_token": token, "token_type": "bearer", "expires_in": 7200});
            assert_eq!((reply.json(), headers(&reply)), (expected, unkept()));
            let published = Reply::read(protocol.0.get(gateway.url("/api/oauth2/jwks")).send().await.unwrap()).await;
            assert_eq!(published.header("cache-control").as_deref(), Some("public, max-age=300"));
            let key = published.json()["keys"][0].clone();
            let header = json!({"typ": "at+jwt", "alg": "ES256", "kid": key["kid"]});
            assert_eq!(part(&token, 0), header);
            let (claims, issuer) = (part(&token, 1), gateway.url("/api"));
            let expected = json!({
                "iss": issuer, "aud": issuer, "sub": client.id(), "client_id": client.id(), "iat": claims["iat"],
                "exp": claims["iat"].as_i64().unwrap() + 7200, "jti": claims["jti"], "scope": "email",
            });
            assert_eq!(claims, expected);
            let seen = api.get(&gateway, &token).await.expect(200).json();
            assert_eq!(seen["headers"]["x-authenticated-scope"], json!(["email"]));
            let forged = format!("{}A", &token[..token.len() - 1]);
            let forged = if forged == token { format!("{}g", &token[..token.len() - 1]) } else { forged };
            let reply = api.get(&gateway, &forged).await;
            assert_eq!((reply.status, reply.json()["error"].clone()), (401, json!("invalid_token")));
            gateway.delete(&format!("/oauth2_tokens/{}", text(&claims, "jti"))).await;
            api.get(&gateway, &token).await.expect(401);
        }
    }

    async fn keys_are_rotated_and_deleted_through_the_admin_api(gateway: Gateway) {
        let upstream = Upstream::start().await;
        let api = Api::protected(&gateway, "api", &upstream, signed()).await;
        let client = Application::register(&gateway, "client", json!({})).await;
        let old = token(&api, &gateway, &client).await;
        let made = gateway.create("/oauth2_signing_keys", json!({"algorithm": "RS256"})).await;
        let expected = json!({
            "id": made["id"], "created_at": made["created_at"], "algorithm": "RS256", "key_id": made["key_id"],
            "active_from": made["active_from"], "last_expiry": made["last_expiry"],
        });
        assert_eq!(made, expected);
        let new = token(&api, &gateway, &client).await;
        assert_eq!((&part(&new, 0)["kid"], &part(&new, 0)["alg"]), (&made["key_id"], &json!("RS256")));
        let published = keys(&gateway).await.json();
        let published: Vec<_> = published["keys"].as_array().unwrap().iter().map(|key| &key["kid"]).collect();
        assert_eq!(published, [&part(&old, 0)["kid"], &made["key_id"]], "the old one while its token lives");
        api.get(&gateway, &old).await.expect(200);
        api.get(&gateway, &new).await.expect(200);
        let list = gateway.admin_get("/oauth2_signing_keys").await.expect(200).json();
        assert_eq!(list["data"].as_array().unwrap().len(), 2);
        let id = text(&made, "id");
        for (method, path) in [(Method::PATCH, id), (Method::PUT, id)] {
            gateway.admin(method, &format!("/oauth2_signing_keys/{path}"), json!({"algorithm": "ES256"})).await.expect(405);
        }
        let wrong = gateway.admin(Method::POST, "/oauth2_signing_keys", json!({"algorithm": "none"})).await;
        assert_eq!(wrong.expect(400).json()["fields"], json!({"algorithm": "expected one of: ES256, RS256"}));
        gateway.delete(&format!("/oauth2_signing_keys/{id}")).await;
        assert_eq!(keys(&gateway).await.json()["keys"].as_array().unwrap().len(), 1);
        assert_eq!(part(&token(&api, &gateway, &client).await, 0)["kid"], part(&old, 0)["kid"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_signed_by_one_node_is_accepted_by_the_others_at_once() {
    let first = Gateway::on_postgres().await;
    let second = first.another_node().await;
    let upstream = Upstream::start().await;
    let api = Api::protected(&first, "api", &upstream, signed()).await;
    let client = Application::register(&first, "client", json!({})).await;
    let known = async || api.get(&second, "none").await.status == 401;
    crate::nodes::within(std::time::Duration::from_secs(10), "the API", known).await;
    for _ in 0..3 {
        let signed = token(&api, &first, &client).await;
        api.get(&second, &signed).await.expect(200);
        first.create("/oauth2_signing_keys", json!({})).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_token_expires() {
    let gateway = Gateway::on_sqlite().await;
    let refused = json!({"name": "oauth2", "config": {
        "enable_client_credentials": true, "token_format": "jwt", "token_expiration": 0,
    }});
    let reply = gateway.admin(Method::POST, "/plugins", refused).await.expect(400);
    let expected = "token_expiration must be greater than 0 if token_format is jwt";
    assert_eq!(reply.json()["fields"]["config"], json!(expected));
}
