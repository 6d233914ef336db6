//! The authorization code flow in a browser, the API through the gateway, and the end of the token.

use serde_json::json;
use tollgate_tests::authorization_server::{CLIENT, Format, GATEWAY_WITH_KEY, Product, USER};
use tollgate_tests::{AuthorizationServer, Browser, Gateway, Upstream};

use super::{Duration, until_status};
use super::{
    assert_cannot_tell, claims, get, headers_of, identity, introspection, invalid_token, jwt_access_token, protect,
    refused,
};

/// Seconds.
const TTL: u64 = 1;
const CUSTOM: [&str; 2] = ["tenant", "roles"];

/// Annie logs in at the third party; her token reaches the API under both plugins (an opaque one under introspection
/// alone) until the third party revokes it.
async fn annie_reads_the_api(gateway: &Gateway, product: Product, format: Format) {
    let upstream = Upstream::start().await;
    let server = AuthorizationServer::start(product, &format!("{}/callback", upstream.url())).await;
    let annie = gateway.create("/consumers", json!({"username": USER.0, "custom_id": "annie-1"})).await;
    let asked = introspection(&server, json!({"ttl": TTL, "custom_claims_forward": CUSTOM}));
    protect(gateway, "asked", &upstream, &[asked]).await;
    protect(gateway, "checked", &upstream, &[jwt_access_token(&server, json!({}))]).await;

    let browser = Browser::start().await;
    let tokens = server.code_flow(&browser, format).await;
    browser.close().await;
    gateway.secrets.add_from_json(&tokens);
    let token = tokens["access_token"].as_str().unwrap();
    let said = server.introspect(token).await;
    let reply = get(gateway, "asked", token).await.expect(200);
    assert_eq!(identity(&reply), headers_of(&said, &CUSTOM, Some(&annie)), "{product:?}");
    if format == Format::Opaque {
        assert_eq!(refused(&get(gateway, "checked", token).await), invalid_token());
    } else {
        let reply = get(gateway, "checked", token).await.expect(200);
        assert_eq!(identity(&reply), headers_of(&claims(token), &[], None), "{product:?}");
    }

    server.revoke(token).await;
    let (reply, after) = until_status(401, gateway, "asked", token).await;
    assert_eq!(refused(&reply), invalid_token());
    assert!(after < Duration::from_secs(TTL) + Duration::from_millis(500), "refused only after {after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_oidc_provider_reads_the_api_until_the_token_is_revoked() {
    annie_reads_the_api(&Gateway::on_sqlite().await, Product::OidcProvider, Format::Opaque).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oidc_provider_accepts_the_assertions_with_which_the_gateway_authenticates() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let server = AuthorizationServer::start(Product::OidcProvider, "http://127.0.0.1:1/callback").await;
    gateway.secrets.add(&server.gateway_key());
    let asked = introspection(
        &server,
        json!({
            "authorization_value": null,
            "auth_method": "private_key_jwt",
            "client_id": GATEWAY_WITH_KEY,
            "client_key": server.gateway_key(),
            "issuer": server.issuer(),
        }),
    );
    protect(&gateway, "api", &upstream, &[asked]).await;
    let token = server.token(Format::Opaque).await;
    let reply = get(&gateway, "api", &token).await.expect(200);
    assert_eq!(identity(&reply), headers_of(&server.introspect(&token).await, &[], None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_glewlwyd_reads_the_api_until_the_token_is_revoked() {
    annie_reads_the_api(&Gateway::on_postgres().await, Product::Glewlwyd, Format::Rs256).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_responses_of_both_servers_are_verified() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    for (product, format) in [(Product::OidcProvider, Format::Opaque), (Product::Glewlwyd, Format::Rs256)] {
        let server = AuthorizationServer::start(product, "http://127.0.0.1:1/callback").await;
        let name = format!("{product:?}");
        // Responses that are not signed are refused then.
        let signed = json!({"issuer": server.issuer(), "jwks_uri": server.endpoint("jwks_uri")});
        protect(&gateway, &name, &upstream, &[introspection(&server, signed)]).await;
        let token = server.token(format).await;
        let reply = get(&gateway, &name, &token).await.expect(200);
        assert_eq!(identity(&reply)["x-credential-client-id"], CLIENT.0, "{product:?}");
        let revoked = server.token(format).await;
        server.revoke(&revoked).await;
        let reply = get(&gateway, &name, &revoked).await;
        match product {
            Product::OidcProvider => assert_eq!(refused(&reply), invalid_token()),
            // Asked for a signed response about a token that is not active, it has status 400.
            Product::Glewlwyd => assert_cannot_tell(&reply),
        }
    }
}
