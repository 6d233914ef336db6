use super::*;

const PATH: &str = "/oauth2/introspect";

fn named() -> Config {
    config(&json!({"endpoints": ["introspect"], "scopes": ["email"], "issuer": "https://as.test"}))
}

fn with_secret(client: &str, token: &str) -> Value {
    json!({"client_id": client, "client_secret": client, "token": token})
}

async fn token(world: &World, config: &Config) -> String {
    let members = json!({"client_id": "shoe", "client_secret": "fly", "grant_type": "password", "scope": "email",
        "provision_key": "provision123", "authenticated_userid": "clark"});
    world.token(config, members).await.body["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_resource_server_learns_what_the_guard_knows_rfc7662_2_2() {
    let (world, config) = (World::new(), named());
    let token = token(&world, &config).await;
    let response = world.send(&config, &Post::json(PATH, &with_secret("api", &token))).await;
    let expected = json!({
        "active": true, "scope": "email", "client_id": "shoe", "username": "clark", "token_type": "bearer",
        "exp": NOW + 7200, "iat": NOW, "sub": "clark", "iss": "https://as.test",
    });
    assert_eq!((response.status, response.body), (200, expected));
    assert_eq!(response.headers["cache-control"], "no-store");
}

#[tokio::test]
async fn what_the_guard_would_refuse_is_inactive_and_nothing_else_is_said_rfc7662_2_2() {
    let (world, config) = (World::new(), named());
    let token = token(&world, &config).await;
    let refresh_token = {
        let members = json!({"client_id": "shoe", "client_secret": "fly", "grant_type": "password",
            "provision_key": "provision123", "authenticated_userid": "clark"});
        world.token(&config, members).await.body["refresh_token"].as_str().unwrap().to_owned()
    };
    let unknown = world.server.issuer.token();
    for (what, token) in [("made up", "x"), ("unknown", unknown.expose()), ("a refresh token", &refresh_token)] {
        let response = world.send(&config, &Post::json(PATH, &with_secret("api", token))).await;
        assert_eq!((response.status, response.body), (200, json!({"active": false})), "{what}");
        world.clock.advance(1);
    }
    let mut post = Post::json(PATH, &with_secret("api", &token));
    post.target.service_id = Some(Uuid::from_u128(2));
    assert_eq!(world.send(&config, &post).await.body, json!({"active": false}), "another service's");
    world.clock.advance(7300);
    let response = world.send(&config, &Post::json(PATH, &with_secret("api", &token))).await;
    assert_eq!(response.body, json!({"active": false}), "expired");
}

#[tokio::test]
async fn only_an_authenticated_resource_server_may_introspect_rfc7662_2_1() {
    let (world, config) = (World::new(), named());
    let token = token(&world, &config).await;
    let unauthenticated = (401, "invalid_client", Some("Basic realm=\"OAuth2.0\""));
    for (members, expected) in [
        (with_secret("shoe", &token), unauthenticated),
        (json!({"client_id": "shoe", "client_secret": "fly", "token": token}), (403, "access_denied", None)),
        (with_secret("nobody", &token), unauthenticated),
        (json!({"client_id": "api", "token": token}), unauthenticated),
        (json!({"client_id": "app", "token": token}), unauthenticated),
        (json!({"client_id": "open-api", "token": token}), unauthenticated),
        (with_secret("open-api", &token), unauthenticated),
        (json!({"token": token}), unauthenticated),
        (json!({"client_id": "api", "client_secret": "api"}), (400, "invalid_request", None)),
        (with_secret("api", ""), (400, "invalid_request", None)),
    ] {
        let response = world.send(&config, &Post::json(PATH, &members)).await;
        let challenge = response.headers.get("www-authenticate").map(|value| value.to_str().unwrap());
        let error = response.body["error"].as_str().unwrap();
        assert_eq!((response.status, error, challenge), expected, "{members}");
    }
}

#[tokio::test]
async fn a_resource_server_that_asks_too_often_waits_and_no_other_does() {
    let (world, config) = (World::new(), named());
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(world.send(&config, &Post::json(PATH, &with_secret("api", "x"))).await.status);
    }
    assert_eq!(statuses, [200, 200, 200, 429]);
    let response = world.send(&config, &Post::json(PATH, &with_secret("api", "x"))).await;
    assert_eq!(
        (&response.body["error"], &response.headers["retry-after"]),
        (&json!("temporarily_unavailable"), &HeaderValue::from_static("1"))
    );
    world.clock.advance(1);
    assert_eq!(world.send(&config, &Post::json(PATH, &with_secret("api", "x"))).await.status, 200);
}

#[tokio::test]
async fn whether_a_token_is_active_is_not_told_while_the_store_is_away() {
    let (world, config) = (World::new(), named());
    let token = token(&world, &config).await;
    world.ledger.down.store(true, Ordering::SeqCst);
    let response = world.send(&config, &Post::json(PATH, &with_secret("api", &token))).await;
    assert_eq!((response.status, &response.headers["retry-after"]), (503, &HeaderValue::from_static("1")));
}
