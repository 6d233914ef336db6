//! Signed access tokens (RFC 9068).

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::*;
use crate::signing_keys::Signature;

fn claims(token: &str) -> Value {
    let parts: Vec<&str> = token.split('.').collect();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap()
}

#[tokio::test]
async fn a_signed_token_has_the_claims_of_its_row_rfc9068_2_2() {
    let world = World::new();
    let issuer = "https://as.test/orders";
    let config = config(&json!({"token_format": "jwt", "issuer": issuer, "scopes": ["email"]}));
    let code = world.code(&config, json!({"scope": "email"})).await;
    let members =
        json!({"client_id": "shoe", "client_secret": "fly", "grant_type": "authorization_code", "code": code});
    let response = world.token(&config, members).await;
    let row = world.ledger.tokens.lock().unwrap()[0].clone();
    let expected = json!({
        "iss": issuer, "aud": issuer, "sub": "clark", "client_id": "shoe", "iat": NOW, "exp": NOW + 7200,
        "jti": row.id, "scope": "email",
    });
    let token = response.text("access_token");
    assert_eq!(claims(&token), expected);
    assert_eq!(row.access_token, Digest::of(&token));
    assert_eq!(world.server.issuer.signing_keys.verify(&token), Signature::Good);
    assert_eq!(response.text("refresh_token").len(), 32, "only access tokens are signed");
    let refresh = json!({
        "client_id": "shoe", "client_secret": "fly", "grant_type": "refresh_token",
        "refresh_token": response.text("refresh_token"),
    });
    let renewed = world.token(&config, refresh).await.text("access_token");
    assert_eq!((&claims(&renewed)["sub"], &claims(&renewed)["scope"]), (&json!("clark"), &json!("email")));
}

#[tokio::test]
async fn a_client_without_a_user_is_the_subject_and_the_resources_are_the_audience_rfc9068_3() {
    let world = World::new();
    let members = json!({"client_id": "shoe", "client_secret": "fly", "grant_type": "client_credentials"});
    for (resources, audience) in [
        (json!(["https://api.test"]), json!("https://api.test")),
        (json!(["https://api.test", "urn:b"]), json!(["https://api.test", "urn:b"])),
    ] {
        let patch = json!({"token_format": "jwt", "issuer": "https://as.test", "resources": resources});
        let token = world.token(&config(&patch), members.clone()).await.text("access_token");
        let claims = claims(&token);
        assert_eq!((&claims["aud"], &claims["sub"], &claims["scope"]), (&audience, &json!("shoe"), &Value::Null));
    }
    // Nothing names the issuer: the request of this test has no host.
    let response = world.token(&config(&json!({"token_format": "jwt"})), members).await;
    assert_eq!((response.status, response.reason), (500, "token_without_issuer"));
}

#[tokio::test]
async fn the_keys_are_published_for_caches_rfc7517_5() {
    let world = World::new();
    let config = config(&json!({"token_format": "jwt", "issuer": "https://as.test", "endpoints": ["jwks"]}));
    let mut get = Post::new("/oauth2/jwks", "");
    get.method = Method::GET;
    assert_eq!(world.send(&config, &get).await.body, json!({"keys": []}));
    let members = json!({"client_id": "shoe", "client_secret": "fly", "grant_type": "client_credentials"});
    world.token(&config, members).await.text("access_token");
    let keys = world.send(&config, &get).await.body["keys"].clone();
    assert_eq!((keys.as_array().unwrap().len(), &keys[0]["alg"]), (1, &json!("ES256")));
}
