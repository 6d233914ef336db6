//! A client that authenticates in two ways at once (RFC 6749 §2.3), at each endpoint where clients authenticate.

use super::*;
use crate::config::tests::stored;

const ENDPOINTS: [&str; 5] =
    ["/oauth2/token", "/oauth2/introspect", "/oauth2/revoke", "/oauth2/par", "/oauth2/device_authorization"];
const ONCE: (u16, &str, &str) = (400, "invalid_request", "The client must present its credentials once");
const OTHER: (u16, &str, &str) = (400, "invalid_request", "client_id is of another client");
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

fn on(profile: &str, more: Value) -> Config {
    let mut patch = json!({
        "profile": profile, "endpoints": ["introspect", "revoke", "par", "device"], "pkce": "none",
        "device_verification_uri": "https://login.test/device", "issuer": "https://as.test",
    });
    merge(&mut patch, more);
    let mut all = stored();
    merge(&mut all, patch);
    Config::read(&all, crate::profile::Name::Kong).unwrap()
}

/// What each endpoint needs beside the client.
fn members(path: &str, more: &Value) -> Value {
    let mut members = match path {
        "/oauth2/token" => json!({"grant_type": "client_credentials"}),
        "/oauth2/par" => json!({"response_type": "code", "redirect_uri": "myapp://cb"}),
        "/oauth2/device_authorization" => json!({}),
        _ => json!({"token": "unknown"}),
    };
    merge(&mut members, more.clone());
    members
}

async fn send(world: &World, config: &Config, path: &str, authorization: Option<&str>, more: &Value) -> Response {
    let mut post = Post::json(path, &members(path, more));
    if let Some(value) = authorization {
        post.headers.insert("authorization", value.parse().unwrap());
    }
    world.send(config, &post).await
}

/// `shoe:fly`, a confidential client with redirect URIs.
const BASIC: &str = "Basic c2hvZTpmbHk=";

#[tokio::test]
async fn two_ways_of_authentication_are_refused_on_profile_bcp_rfc6749_2_3() {
    let world = World::new();
    let bcp = on("bcp", json!({}));
    let assertion = json!({"client_assertion_type": ASSERTION, "client_assertion": "a.b.c"});
    let mut asserted = assertion.clone();
    merge(&mut asserted, json!({"client_id": "shoe", "client_secret": "fly"}));
    for path in ENDPOINTS {
        for (authorization, more, expected) in [
            (Some(BASIC), json!({"client_id": "other", "client_secret": "other"}), ONCE),
            (Some(BASIC), json!({"client_id": "shoe", "client_secret": "fly"}), ONCE),
            (Some(BASIC), json!({"client_secret": "fly"}), ONCE),
            (Some("Basic !"), json!({"client_id": "shoe", "client_secret": "fly"}), ONCE),
            (Some(BASIC), assertion.clone(), ONCE),
            (Some("Bearer x"), assertion.clone(), ONCE),
            (None, asserted.clone(), ONCE),
            (Some(BASIC), json!({"client_id": "other"}), OTHER),
            (Some(BASIC), json!({"client_id": 1}), OTHER),
        ] {
            let response = send(&world, &bcp, path, authorization, &more).await;
            assert_eq!(response.error(), expected, "{path} {authorization:?} {more}");
            assert_eq!(response.challenge, None, "{path}");
        }
        // One way, and the client's own name beside it.
        for (authorization, more) in [
            (Some(BASIC), json!({})),
            (Some(BASIC), json!({"client_id": "shoe"})),
            (Some(BASIC), json!({"client_id": "shoe", "client_secret": ""})),
            (None, json!({"client_id": "shoe", "client_secret": "fly"})),
        ] {
            let response = send(&world, &bcp, path, authorization, &more).await;
            let authenticated = response.status < 300 || response.error().1 == "access_denied";
            assert!(authenticated, "{path} {authorization:?} {more}: {}", response.body);
        }
    }
}

#[tokio::test]
async fn on_profile_kong_the_first_way_is_used_and_others_are_unknown_parameters() {
    let assertion = json!({"client_assertion_type": ASSERTION, "client_assertion": "a.b.c"});
    for path in ENDPOINTS {
        let world = World::new();
        let kong = on("kong", json!({}));
        let both = json!({"client_id": "other", "client_secret": "other"});
        for (authorization, more, known) in [
            (Some(BASIC), both.clone(), true),
            (Some(BASIC), json!({"client_id": "other", "client_secret": "wrong"}), false),
            (Some("Basic eDp5"), both.clone(), true),
            (Some(BASIC), assertion.clone(), true),
            (Some("Bearer x"), assertion.clone(), false),
        ] {
            let response = send(&world, &kong, path, authorization, &more).await;
            let authenticated = response.status < 300 || response.error().1 == "access_denied";
            assert_eq!(authenticated, known, "{path} {authorization:?} {more}: {}", response.body);
            if !known {
                assert_eq!(response.error().1, "invalid_client", "{path} {authorization:?} {more}");
            }
        }
    }
}

#[tokio::test]
async fn the_field_decides_whatever_the_profile_is_and_log_only_counts() {
    let world = World::new();
    let both = json!({"client_id": "other", "client_secret": "other"});
    for (config, is_refused) in [
        (on("kong", json!({"multiple_authentications": "refuse"})), true),
        (on("bcp", json!({"multiple_authentications": "first"})), false),
    ] {
        let response = send(&world, &config, "/oauth2/token", Some(BASIC), &both).await;
        assert_eq!(response.error() == ONCE, is_refused);
    }
    let counted = on("kong", json!({"log_only": true}));
    for path in ENDPOINTS {
        send(&world, &counted, path, Some(BASIC), &both).await;
    }
    let other = Uuid::from_u128(2).to_string();
    let figure = world.server.deviations.figure("multiple_authentications", &other);
    assert_eq!(figure, 4, "all but introspection, which this client may not do");
}
