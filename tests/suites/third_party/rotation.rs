//! Keys that a third party rotates and withdraws.

use std::time::Instant;

use serde_json::json;
use tollgate_tests::authorization_server::{Format, Product};
use tollgate_tests::{AuthorizationServer, Gateway, Upstream};

use super::{Duration, get, invalid_token, jwt_access_token, protect, refused, until_status};

/// Seconds after which the gateway fetches keys again.
const REFRESH: u64 = 2;
/// Seconds in which it looks for unknown keys at most once.
const MIN_REFRESH: u64 = 1;

/// Obtains tokens until one passes, and returns it.
async fn passing_token(gateway: &Gateway, server: &AuthorizationServer, format: Format) -> String {
    let start = Instant::now();
    loop {
        let token = server.token(format).await;
        if get(gateway, "api", &token).await.status == 200 {
            return token;
        }
        assert!(start.elapsed() < Duration::from_secs(MIN_REFRESH + 1), "new keys are not found");
    }
}

async fn keys_are_rotated(product: Product, format: Format) {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let mut server = AuthorizationServer::start(product, "http://127.0.0.1:1/callback").await;
    let plugin = jwt_access_token(&server, json!({"key_refresh": REFRESH, "key_min_refresh": MIN_REFRESH}));
    protect(&gateway, "api", &upstream, &[plugin]).await;
    let old = server.token(format).await;
    get(&gateway, "api", &old).await.expect(200);

    server.rotate_keys().await;
    let new = passing_token(&gateway, &server, format).await;
    get(&gateway, "api", &old).await.expect(200);

    server.withdraw_old_keys().await;
    let (reply, after) = until_status(401, &gateway, "api", &old).await;
    assert_eq!(refused(&reply), invalid_token(), "{product:?}");
    // It is looked once a second whether keys are due; a second more is for a busy machine.
    assert!(after < Duration::from_secs(REFRESH + 2), "{product:?}: refused only after {after:?}");
    get(&gateway, "api", &new).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_oidc_providers_new_keys_pass_and_those_of_withdrawn_keys_end() {
    keys_are_rotated(Product::OidcProvider, Format::Es256).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_glewlwyds_new_keys_pass_and_those_of_withdrawn_keys_end() {
    keys_are_rotated(Product::Glewlwyd, Format::Rs256).await;
}
