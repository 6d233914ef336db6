//! Pushed authorization requests (RFC 9126).

use super::*;

const REDIRECT: &str = "myapp://cb";

fn configured(more: Value) -> Config {
    let mut patch = json!({"endpoints": ["par"], "scopes": ["email", "profile"]});
    merge(&mut patch, more);
    config(&patch)
}

async fn push(world: &World, config: &Config, more: Value) -> Response {
    let mut members = json!({"client_id": "shoe", "client_secret": "fly", "response_type": "code"});
    merge(&mut members, more);
    world.send(config, &Post::json("/oauth2/par", &members)).await
}

#[tokio::test]
async fn what_was_pushed_is_authorized_once_by_its_client_rfc9126_4() {
    let world = World::new();
    let config = configured(json!({}));
    let pushed = json!({"redirect_uri": REDIRECT, "scope": "email", "state": "a&b", "nonce": "ignored"});
    let response = push(&world, &config, pushed).await;
    assert_eq!((response.status, &response.body["expires_in"]), (201, &json!(60)));
    let request_uri = response.text("request_uri");
    assert!(request_uri.starts_with("urn:ietf:params:oauth:request_uri:"), "{request_uri}");
    // What the request itself says is ignored.
    let own = json!({"client_id": "shoe", "request_uri": request_uri, "scope": "profile", "state": "x"});
    let other = json!({"client_id": "other", "request_uri": request_uri});
    let unknown = (400, "invalid_request_uri", "request_uri is unknown, used, expired or of another client");
    assert_eq!(world.authorize(&config, other).await.error(), unknown);
    let authorized = world.authorize(&config, own.clone()).await;
    let uri = authorized.text("redirect_uri");
    assert!(authorized.status == 200 && uri.starts_with("myapp://cb?code=") && uri.ends_with("&state=a%26b"), "{uri}");
    assert_eq!(world.ledger.codes.lock().unwrap()[0].scope.as_deref(), Some("email"));
    assert_eq!(world.authorize(&config, own).await.error(), unknown, "it was used");
}

#[tokio::test]
async fn a_login_page_describes_what_was_pushed_before_it_is_authorized() {
    let world = World::new();
    let config = configured(json!({"endpoints": ["par", "consent"]}));
    let request_uri = push(&world, &config, json!({"scope": "email"})).await.text("request_uri");
    let ask = json!({
        "provision_key": "provision123", "client_id": "shoe", "request_uri": request_uri, "scope": "profile",
    });
    for _ in 0..2 {
        let described = world.send(&config, &Post::json("/oauth2/consent", &ask)).await;
        assert_eq!((described.status, &described.body["scopes"][0]["name"]), (200, &json!("email")));
    }
    let own = json!({"client_id": "shoe", "request_uri": request_uri});
    assert_eq!(world.authorize(&config, own).await.status, 200);
    let response = world.send(&config, &Post::json("/oauth2/consent", &ask)).await;
    assert_eq!((response.status, response.error().1), (400, "invalid_request_uri"), "it was used");
}

#[tokio::test]
async fn a_request_uri_is_of_the_client_that_pushed_and_of_its_time_rfc9126_2_2() {
    let world = World::new();
    let config = configured(json!({"par_lifetime": 10}));
    let unknown = (400, "invalid_request_uri", "request_uri is unknown, used, expired or of another client");
    let request_uri = push(&world, &config, json!({})).await.text("request_uri");
    let own = json!({"client_id": "shoe", "request_uri": request_uri});
    world.clock.advance(11);
    assert_eq!(world.authorize(&config, own.clone()).await.error(), unknown);
    world.clock.advance(-1);
    assert_eq!(world.authorize(&config, own).await.status, 200, "the last second");
    for other in [json!("urn:x"), json!(1), json!(format!("urn:ietf:params:oauth:request_uri:{}", "x".repeat(32)))] {
        let members = json!({"client_id": "shoe", "request_uri": other});
        assert_eq!(world.authorize(&config, members).await.error(), unknown, "{other}");
    }
    let nobody = json!({"request_uri": push(&world, &config, json!({})).await.text("request_uri")});
    assert_eq!(world.authorize(&config, nobody).await.error(), unknown);
}

#[tokio::test]
async fn a_request_is_checked_when_it_is_pushed_rfc9126_2_3() {
    let world = World::new();
    let config = configured(json!({"pkce": "strict", "enable_implicit_grant": false}));
    let challenge = json!({"code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"});
    for (more, expected) in [
        (json!({}), (400, "invalid_request", "code_challenge is required for confidential clients")),
        (
            json!({"code_challenge": "x", "code_challenge_method": "plain"}),
            (400, "invalid_request", "code_challenge_method is not supported, must be S256"),
        ),
        (json!({"response_type": "token"}), (400, "unsupported_response_type", "Invalid response_type")),
        (json!({"scope": "wot"}), (400, "invalid_scope", "'wot' is an invalid scope")),
        (json!({"redirect_uri": "https://evil.test"}), (400, "invalid_request", MISMATCH)),
        (json!({"request_uri": "urn:x"}), (400, "invalid_request", "request_uri must not be pushed")),
        (json!({"state": {}}), (400, "invalid_request", "state is not a string")),
        (json!({"client_secret": "wrong"}), (400, "invalid_client", "Invalid client authentication")),
        (json!({"client_id": "nobody"}), (400, "invalid_client", "Invalid client authentication")),
    ] {
        let mut members = challenge.clone();
        merge(&mut members, more.clone());
        if more == json!({}) {
            members = more.clone();
        }
        assert_eq!(push(&world, &config, members).await.error(), expected, "{more}");
    }
    assert_eq!(push(&world, &config, challenge).await.status, 201);
    assert_eq!(world.ledger.pushed.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_public_client_pushes_with_its_id_and_one_that_authenticates_for_itself_alone() {
    let world = World::new();
    let config = configured(json!({"pkce": "none"}));
    let public = json!({"client_id": "app", "response_type": "code"});
    assert_eq!(world.send(&config, &Post::json("/oauth2/par", &public)).await.status, 201);
    let mut post = Post::json("/oauth2/par", &json!({"client_id": "other", "response_type": "code"}));
    post.headers.insert("authorization", HeaderValue::from_static("Basic c2hvZTpmbHk="));
    let response = world.send(&config, &post).await;
    assert_eq!(response.error(), (400, "invalid_request", "client_id is of another client"));
}

#[tokio::test]
async fn requests_have_to_be_pushed_where_that_is_required_rfc9126_5() {
    let world = World::new();
    let config = configured(json!({"par_required": true}));
    let members = json!({"client_id": "shoe", "response_type": "code"});
    let refused = (400, "invalid_request", "The authorization request must be pushed");
    assert_eq!(world.authorize(&config, members.clone()).await.error(), refused);
    // Without the endpoint, a request URI is a parameter as any other that is not known.
    let mut with_uri = members;
    with_uri["request_uri"] = json!("urn:x");
    assert_eq!(world.authorize(&crate::config::tests::config(&json!({})), with_uri).await.status, 200);
}

#[tokio::test]
async fn a_client_begins_only_so_much_from_an_address() {
    let limits = guesses::Limits { per_name_and_address: 3, per_address: 0, per_name: 0, ..guesses::tests::LIMITS };
    let world = World::with(limits);
    let config = configured(json!({}));
    for _ in 0..3 {
        assert_eq!(push(&world, &config, json!({})).await.status, 201);
    }
    let response = push(&world, &config, json!({})).await;
    assert_eq!((response.status, response.error().1), (429, "temporarily_unavailable"));
    assert!(response.retry_after.is_some());
    let other = json!({"client_id": "other", "client_secret": "other", "response_type": "code"});
    assert_eq!(world.send(&config, &Post::json("/oauth2/par", &other)).await.status, 201);
}
