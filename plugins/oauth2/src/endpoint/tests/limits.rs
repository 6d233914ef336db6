//! Limits of both endpoints: failed authentications, and the length of what is kept.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::*;

const LIMITED: (u16, &str, &str) =
    (429, "temporarily_unavailable", "Too many attempts to authenticate have failed; try again later");
const CLIENT: (u16, &str, &str) = (400, "invalid_client", "Invalid client authentication");

fn limited() -> World {
    World::with(guesses::tests::LIMITS)
}

fn credentials(client_id: &str, client_secret: &str) -> Value {
    json!({"client_id": client_id, "client_secret": client_secret, "grant_type": "client_credentials"})
}

fn basic(text: &str) -> Post {
    let mut post = Post::json("/oauth2/token", &json!({"grant_type": "client_credentials"}));
    let value = format!("Basic {}", BASE64_STANDARD.encode(text));
    post.headers.insert("authorization", value.parse().unwrap());
    post
}

#[tokio::test]
async fn whoever_guesses_a_secret_is_refused_for_a_while_and_nobody_else_is() {
    for (client, secret) in [("shoe", "fly"), ("hashed", "tofu"), ("nobody", "")] {
        let (world, config) = (limited(), config(&json!({})));
        for _ in 0..5 {
            assert_eq!(world.token(&config, credentials(client, "wrong")).await.error(), CLIENT);
        }
        let mut with_state = credentials(client, secret);
        merge(&mut with_state, json!({"state": "s"}));
        let response = world.token(&config, with_state).await;
        assert_eq!(response.error(), LIMITED, "{client}: the right secret too, or the limit would be none");
        assert_eq!((response.retry_after.as_deref(), &response.body["state"]), (Some("10"), &json!("s")));
        assert_eq!(world.token(&config, credentials("other", "other")).await.status, 200);
        let mut elsewhere = Post::json("/oauth2/token", &credentials(client, secret));
        elsewhere.client = IpAddr::from([192, 0, 2, 1]);
        let expected = if client == "nobody" { 400 } else { 200 };
        assert_eq!(world.send(&config, &elsewhere).await.status, expected, "{client} from elsewhere");
        world.clock.advance(10);
        assert_eq!(world.token(&config, credentials(client, secret)).await.status, expected, "{client} later");
    }
}

#[tokio::test]
async fn one_request_is_one_failure_and_spellings_of_an_id_are_one_client() {
    let (world, config) = (limited(), config(&json!({})));
    for _ in 0..20 {
        assert_eq!(world.send(&config, &basic("a%2Db:c+d")).await.status, 200, "the second reading is right");
    }
    for id in ["a-b", "a%2Db", "%61-b", "%61%2Db", "a%2db"] {
        assert_eq!(world.send(&config, &basic(&format!("{id}:wr%6Fng"))).await.status, 401, "{id}");
    }
    assert_eq!(world.send(&config, &basic("%61%2d%62:x")).await.error(), LIMITED);
    assert_eq!(world.token(&config, credentials("a-b", "c d")).await.error(), LIMITED);
}

#[tokio::test]
async fn a_public_client_that_sends_a_secret_guesses_nothing() {
    let (world, config) = (limited(), config(&json!({})));
    for _ in 0..10 {
        assert_eq!(world.token(&config, credentials("app", "x")).await.status, 400);
    }
    assert_eq!(world.token(&config, credentials("app", "")).await.status, 200);
}

#[tokio::test]
async fn provision_keys_cannot_be_guessed_at_either_endpoint() {
    let (world, config) = (limited(), config(&json!({})));
    let wrong = (400, "invalid_provision_key", "Invalid provision_key");
    let authorize = |key: &str| json!({"client_id": "shoe", "response_type": "code", "provision_key": key});
    let password = |key: &str| {
        let mut members = json!({"grant_type": "password", "authenticated_userid": "kate", "provision_key": key});
        merge(&mut members, json!({"client_id": "shoe", "client_secret": "fly"}));
        members
    };
    for _ in 0..10 {
        let none = json!({"client_id": "shoe", "response_type": "code", "provision_key": null});
        assert_eq!(world.authorize(&config, none).await.error(), wrong, "nothing is guessed");
    }
    for nth in 0..5 {
        let response = match nth % 2 {
            0 => world.authorize(&config, authorize("wrong")).await,
            _ => world.token(&config, password("wrong")).await,
        };
        assert_eq!(response.error(), wrong);
    }
    assert_eq!(world.authorize(&config, authorize("provision123")).await.error(), LIMITED);
    assert_eq!(world.token(&config, password("provision123")).await.error(), LIMITED);
    assert_eq!(world.token(&config, credentials("shoe", "fly")).await.status, 200, "its client goes on");
    world.clock.advance(10);
    assert_eq!(world.token(&config, password("provision123")).await.status, 200);
}

#[tokio::test]
async fn what_would_be_too_long_for_a_header_is_refused_where_it_enters() {
    let (world, config) = (World::new(), config(&json!({"scopes": ["email"]})));
    let long = "a".repeat(4097);
    let userid = (400, "invalid_authenticated_userid", "authenticated_userid must not be longer than 4096 bytes");
    let scope = (400, "invalid_scope", "scope must not be longer than 4096 bytes");
    let state = (400, "invalid_request", "state must not be longer than 4096 bytes");
    for (grant, more, expected) in [
        ("password", json!({"authenticated_userid": long}), userid),
        ("client_credentials", json!({"authenticated_userid": long}), userid),
        ("client_credentials", json!({"scope": "email ".repeat(700)}), scope),
        ("client_credentials", json!({"state": long}), state),
        ("password", json!({"authenticated_userid": "a".repeat(900_000)}), userid),
    ] {
        let mut members = json!({
            "client_id": "shoe", "client_secret": "fly", "grant_type": grant,
            "provision_key": "provision123", "authenticated_userid": "kate",
        });
        merge(&mut members, more);
        let response = world.token(&config, members).await;
        assert_eq!(response.error(), expected);
        assert_eq!(response.body.get("state"), None, "a refused state is not echoed");
    }
    let authorize = |more| {
        let mut members = json!({"client_id": "shoe", "response_type": "code"});
        merge(&mut members, more);
        members
    };
    let response = world.authorize(&config, authorize(json!({"authenticated_userid": long}))).await;
    assert_eq!(response.error(), userid);
    assert_eq!(world.authorize(&config, authorize(json!({"state": long}))).await.error(), state);
    let response = world.authorize(&config, authorize(json!({"scope": "email ".repeat(700)}))).await;
    assert!(response.text("redirect_uri").contains("error=invalid_scope"), "{response:?}");
    let longest = json!({"authenticated_userid": "a".repeat(4096), "state": "b".repeat(4096)});
    assert_eq!(world.authorize(&config, authorize(longest)).await.status, 200);
}
