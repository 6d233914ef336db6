//! The events of both endpoints.

use super::*;

const CLIENT: &str = "client_refused";
const GRANT: &str = "grant_refused";

fn event(name: &str, outcome: &str, grant: &str, more: Value) -> Value {
    let mut event = json!({
        "event": name, "outcome": outcome, "grant": grant, "client": "127.0.0.1",
        "service": Uuid::from_u128(1), "plugin": Uuid::from_u128(7),
    });
    merge(&mut event, more);
    event
}

#[tokio::test]
async fn what_is_issued_and_whom_it_refuses_is_recorded_without_secrets() {
    let world = World::new();
    let config = config(&json!({}));
    let shoe = json!(clients().0["shoe"].id);
    let code = world.code(&config, json!({})).await;
    let issued = event("code_issued", "done", "code", json!({"credential": shoe}));
    assert_eq!(world.events.take(), [issued]);

    let client = json!({"client_id": "shoe", "client_secret": "fly"});
    let with = |more: Value| {
        let mut members = client.clone();
        merge(&mut members, more);
        members
    };
    let exchange = with(json!({"grant_type": "authorization_code", "code": code}));
    let tokens = world.token(&config, exchange.clone()).await;
    let first = world.events.take();
    let id = first[0]["id"].clone();
    let more = json!({"credential": shoe, "id": id});
    assert_eq!(first, [event("token_issued", "done", "authorization_code", more)]);

    let refresh = with(json!({"grant_type": "refresh_token", "refresh_token": tokens.body["refresh_token"]}));
    assert_eq!(world.token(&config, refresh.clone()).await.status, 200);
    let second = world.events.take();
    let more = json!({"credential": shoe, "id": second[0]["id"]});
    assert_eq!(second, [event("token_refreshed", "done", "refresh_token", more)]);
    assert_ne!(second[0]["id"], id);

    world.token(&config, exchange).await;
    world.token(&config, refresh).await;
    world.token(&config, json!({"grant_type": "password", "client_id": "shoe", "client_secret": "s3cr3t"})).await;
    world.token(&config, json!({"grant_type": "password", "client_id": "s3cr3t", "client_secret": "s3cr3t"})).await;
    world.authorize(&config, json!({"client_id": "shoe", "response_type": "code", "provision_key": "s3cr3t"})).await;
    world.token(&config, with(json!({"grant_type": "s3cr3t"}))).await;
    let refused = |name: &str, grant: &str, reason: &str, more: Value| {
        let mut event = event(name, "refused", grant, json!({"reason": reason}));
        merge(&mut event, more);
        event
    };
    let known = json!({"credential": shoe});
    let expected = [
        refused(GRANT, "authorization_code", "code_invalid", known.clone()),
        refused(GRANT, "refresh_token", "refresh_token_invalid", known.clone()),
        refused(CLIENT, "password", "client_invalid", known),
        refused(CLIENT, "password", "client_invalid", json!({})),
        refused(CLIENT, "code", "provision_key_invalid", json!({})),
    ];
    assert_eq!(world.events.take(), expected);
}

#[tokio::test]
async fn the_client_is_named_and_not_the_peer_that_speaks_for_it() {
    let world = World::new();
    let mut post = Post::json("/oauth2/token", &json!({"grant_type": "client_credentials"}));
    post.client = "::ffff:192.0.2.7".parse().unwrap();
    let config = config(&json!({}));
    world.server.respond(world.plugin_id, &config, Endpoint::Token, &post.request()).await;
    assert_eq!(world.events.take()[0]["client"], "192.0.2.7");
}
