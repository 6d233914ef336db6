//! The device grant (RFC 8628).

use super::*;

const PAGE: &str = "https://login.test/device";

fn configured(more: Value) -> Config {
    let mut patch = json!({
        "endpoints": ["device"], "device_verification_uri": PAGE, "scopes": ["email", "profile"],
        "enable_client_credentials": false,
    });
    merge(&mut patch, more);
    config(&patch)
}

async fn begin(world: &World, config: &Config, more: Value) -> Response {
    let mut members = json!({"client_id": "app"});
    merge(&mut members, more);
    world.send(config, &Post::json("/oauth2/device_authorization", &members)).await
}

async fn hook(world: &World, config: &Config, more: Value) -> Response {
    let mut members = json!({"provision_key": "provision123", "authenticated_userid": "kate"});
    merge(&mut members, more);
    world.send(config, &Post::json("/oauth2/device", &members)).await
}

async fn poll(world: &World, config: &Config, device_code: &str) -> Response {
    let grant_type = "urn:ietf:params:oauth:grant-type:device_code";
    world.token(config, json!({"client_id": "app", "grant_type": grant_type, "device_code": device_code})).await
}

#[tokio::test]
async fn a_device_begins_a_user_agrees_and_the_device_gets_a_token_once_rfc8628_3() {
    let world = World::new();
    let config = configured(json!({}));
    let begun = begin(&world, &config, json!({"scope": "email profile"})).await;
    let (device_code, user_code) = (begun.text("device_code"), begun.text("user_code"));
    let expected = json!({
        "device_code": device_code, "user_code": user_code, "verification_uri": PAGE,
        "verification_uri_complete": format!("{PAGE}?user_code={user_code}"), "expires_in": 600, "interval": 5,
    });
    assert_eq!((begun.status, begun.body), (200, expected));
    let pending = (400, "authorization_pending", "The user has not decided yet");
    assert_eq!(poll(&world, &config, &device_code).await.error(), pending);
    let typed = user_code.to_lowercase().replace('-', " ");
    let asked = hook(&world, &config, json!({"user_code": typed})).await;
    let about = json!({
        "status": "pending", "client_id": "app", "client_name": "app", "scope": "email profile", "expires_in": 600,
    });
    assert_eq!((asked.status, asked.body), (200, about));
    let approve = json!({"user_code": user_code, "action": "approve", "scope": "email"});
    let approved = hook(&world, &config, approve.clone()).await;
    assert_eq!((approved.status, approved.body), (200, json!({"status": "approved"})));
    assert_eq!(hook(&world, &config, approve).await.error().1, "invalid_user_code", "it is decided");
    let token = poll(&world, &config, &device_code).await;
    assert_eq!((token.status, &token.body["token_type"]), (200, &json!("bearer")));
    let row = world.ledger.tokens.lock().unwrap()[0].clone();
    assert_eq!((row.authenticated_userid.as_deref(), row.scope.as_deref()), (Some("kate"), Some("email")));
    assert!(row.refresh_token.is_some() && row.family.is_some());
    assert_eq!(poll(&world, &config, &device_code).await.error(), (400, "invalid_grant", "Invalid device_code"));
}

#[tokio::test]
async fn a_device_hears_what_has_become_of_its_code_rfc8628_3_5() {
    let world = World::new();
    let config = configured(json!({}));
    let denied = begin(&world, &config, json!({})).await;
    let deny = json!({"user_code": denied.text("user_code"), "action": "deny"});
    assert_eq!(hook(&world, &config, deny).await.body, json!({"status": "denied"}));
    let response = poll(&world, &config, &denied.text("device_code")).await;
    assert_eq!(response.error(), (400, "access_denied", "The user has denied the request"));
    let late = begin(&world, &config, json!({})).await;
    world.clock.advance(601);
    let approve = json!({"user_code": late.text("user_code"), "action": "approve"});
    assert_eq!(hook(&world, &config, approve).await.error().1, "invalid_user_code");
    let response = poll(&world, &config, &late.text("device_code")).await;
    assert_eq!(response.error(), (400, "expired_token", "The device_code has expired; begin again"));
    let unknown = (400, "invalid_grant", "Invalid device_code");
    assert_eq!(poll(&world, &config, "x").await.error(), unknown);
    assert_eq!(poll(&world, &config, world.server.issuer.token().expose()).await.error(), unknown);
    assert_eq!(poll(&world, &config, "").await.error(), unknown);
    // Another client's, and another service's.
    let begun = begin(&world, &config, json!({})).await;
    let members = json!({
        "client_id": "shoe", "client_secret": "fly", "device_code": begun.text("device_code"),
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
    });
    assert_eq!(world.token(&config, members).await.error(), unknown);
    let missing = json!({"client_id": "app", "grant_type": "urn:ietf:params:oauth:grant-type:device_code"});
    assert_eq!(
        world.token(&config, missing.clone()).await.error(),
        (400, "invalid_request", "device_code is required")
    );
    let without = crate::config::tests::config(&json!({}));
    assert_eq!(world.token(&without, missing).await.error().1, "unsupported_grant_type");
}

#[tokio::test]
async fn the_page_needs_the_provision_key_and_a_user_and_wrong_codes_are_limited_for_each_rfc8628_5_1() {
    let limits = guesses::Limits { per_name_and_address: 5, per_address: 0, per_name: 0, ..guesses::tests::LIMITS };
    let world = World::with(limits);
    let config = configured(json!({}));
    let user_code = begin(&world, &config, json!({})).await.text("user_code");
    let key = json!({"provision_key": "wrong", "user_code": user_code});
    assert_eq!(hook(&world, &config, key).await.error().1, "invalid_provision_key");
    let nobody = json!({"authenticated_userid": "", "user_code": user_code});
    assert_eq!(hook(&world, &config, nobody).await.error().1, "invalid_authenticated_userid");
    let action = json!({"user_code": user_code, "action": "dunno"});
    assert_eq!(hook(&world, &config, action).await.error().2, "action must be approve or deny");
    let wider = json!({"user_code": user_code, "action": "approve", "scope": "email"});
    assert_eq!(hook(&world, &config, wider).await.error().1, "invalid_scope");
    for _ in 0..5 {
        let wrong = json!({"user_code": "BBBB-BBBB", "authenticated_userid": "mallory"});
        assert_eq!(hook(&world, &config, wrong).await.error().1, "invalid_user_code");
    }
    let right = json!({"user_code": user_code, "authenticated_userid": "mallory"});
    assert_eq!(hook(&world, &config, right).await.status, 429, "the right one as well");
    assert_eq!(hook(&world, &config, json!({"user_code": user_code})).await.status, 200, "others go on");
}
