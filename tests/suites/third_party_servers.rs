//! The third parties' authorization servers themselves, without a gateway: what the suites that put them behind a
//! gateway rely on. Their pages are walked through there (`third_party/flow.rs`).

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use serde_json::{Value, json};
use tollgate_tests::AuthorizationServer;
use tollgate_tests::authorization_server::{CLIENT, Format, Product, SCOPE};

/// The header (0) or the claims (1) of a JWT.
fn part(token: &str, nth: usize) -> Value {
    let part = token.split('.').nth(nth).unwrap_or_else(|| panic!("not a JWT: {token}"));
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// The members of `document` that do not differ from token to token.
fn lasting(mut document: Value) -> Value {
    for varying in ["exp", "iat", "nbf", "jti"] {
        document.as_object_mut().unwrap().remove(varying);
    }
    document
}

async fn start(product: Product) -> AuthorizationServer {
    AuthorizationServer::start(product, "http://127.0.0.1:1/callback").await
}

#[tokio::test(flavor = "multi_thread")]
async fn oidc_provider_issues_introspects_and_revokes_tokens_and_forgets_them_when_it_restarts() {
    let mut server = start(Product::OidcProvider).await;
    let opaque = server.token(Format::Opaque).await;
    assert!(!opaque.contains('.'), "{opaque}");
    let claims = json!({
        "active": true, "client_id": CLIENT.0, "iss": server.issuer(), "scope": SCOPE, "token_type": "Bearer",
        "username": CLIENT.0, "tenant": 7, "roles": ["reader", "writer"],
    });
    assert_eq!(lasting(server.introspect(&opaque).await), claims);
    server.revoke(&opaque).await;
    assert_eq!(server.introspect(&opaque).await, json!({"active": false}));

    let kept = server.token(Format::Opaque).await;
    server.stop();
    let refused = reqwest::Client::builder().no_proxy().build().unwrap().get(server.issuer()).send().await;
    assert!(refused.is_err_and(|error| error.is_connect()));
    server.restart().await;
    assert_eq!(server.introspect(&kept).await, json!({"active": false}));
}

#[tokio::test(flavor = "multi_thread")]
async fn glewlwyd_issues_introspects_and_revokes_tokens_and_knows_them_when_it_restarts() {
    let mut server = start(Product::Glewlwyd).await;
    let token = server.token(Format::Rs256).await;
    let claims = json!({
        "active": true, "client_id": CLIENT.0, "aud": "https://api.test/RS256", "scope": SCOPE,
        "token_type": "bearer",
    });
    server.restart().await;
    assert_eq!(lasting(server.introspect(&token).await), claims);
    server.revoke(&token).await;
    assert_eq!(server.introspect(&token).await, json!({"active": false}));
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sign_with_the_newest_key_and_publish_older_ones_until_they_are_withdrawn() {
    for (product, formats) in
        [(Product::OidcProvider, &[Format::Rs256, Format::Es256][..]), (Product::Glewlwyd, &[Format::Rs256])]
    {
        let mut server = start(product).await;
        for format in formats {
            let token = server.token(*format).await;
            let header = part(&token, 0);
            let audience = AuthorizationServer::audience(*format).unwrap();
            let algorithm = audience.rsplit('/').next().unwrap();
            assert_eq!((&header["alg"], &header["typ"]), (&json!(algorithm), &json!("at+jwt")), "{product:?}");
            let claims = part(&token, 1);
            assert_eq!(claims["iss"], json!(server.issuer()), "{claims}");
            assert_eq!(claims["aud"], json!(audience), "{claims}");
        }
        let key_id = |token: &str| part(token, 0)["kid"].as_str().unwrap().to_owned();
        let old = key_id(&server.token(Format::Rs256).await);
        server.rotate_keys().await;
        let new = key_id(&server.token(Format::Rs256).await);
        assert_ne!(old, new, "{product:?}");
        let published = server.published_keys().await;
        assert!(published.contains(&old) && published.contains(&new), "{product:?}: {published:?}");
        server.withdraw_old_keys().await;
        let published = server.published_keys().await;
        assert!(!published.contains(&old) && published.contains(&new), "{product:?}: {published:?}");
        assert_eq!(key_id(&server.token(Format::Rs256).await), new);
    }
}
