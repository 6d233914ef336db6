use super::*;

const PATH: &str = "/oauth2/revoke";

fn named() -> Config {
    config(&json!({"endpoints": ["revoke"]}))
}

fn of_shoe(token: &str) -> Value {
    json!({"client_id": "shoe", "client_secret": "fly", "token": token})
}

/// An access token and its refresh token.
async fn pair(world: &World, config: &Config) -> (String, String) {
    let members = json!({"client_id": "shoe", "client_secret": "fly", "grant_type": "password",
        "provision_key": "provision123", "authenticated_userid": "clark"});
    let body = world.token(config, members).await.body;
    let text = |name: &str| body[name].as_str().unwrap().to_owned();
    (text("access_token"), text("refresh_token"))
}

async fn refreshed(world: &World, config: &Config, refresh_token: &str) -> Response {
    let members = json!({"client_id": "shoe", "client_secret": "fly", "grant_type": "refresh_token",
        "refresh_token": refresh_token});
    world.token(config, members).await
}

#[tokio::test]
async fn either_token_ends_the_whole_grant_rfc7009_2_1() {
    let (world, config) = (World::new(), named());
    for (hint, is_refresh) in
        [(None, false), (None, true), (Some("refresh_token"), true), (Some("access_token"), true), (Some("wot"), false)]
    {
        let (_, first) = pair(&world, &config).await;
        let body = refreshed(&world, &config, &first).await.body;
        let token = |name: &str| body[name].as_str().unwrap().to_owned();
        let (access, refresh) = (token("access_token"), token("refresh_token"));
        let mut members = of_shoe(if is_refresh { &refresh } else { &access });
        members["token_type_hint"] = json!(hint);
        let response = world.send(&config, &Post::json(PATH, &members)).await;
        assert_eq!((response.status, response.body), (200, Value::Null), "{hint:?}");
        assert_eq!(response.headers["cache-control"], "no-store");
        assert_eq!(world.ledger.tokens.lock().unwrap().len(), 0, "{hint:?}");
        assert_eq!(refreshed(&world, &config, &refresh).await.status, 400);
    }
}

#[tokio::test]
async fn a_token_that_is_unknown_or_another_clients_is_no_error_and_nothing_ends_rfc7009_2_2() {
    let (world, config) = (World::new(), named());
    let (access, refresh) = pair(&world, &config).await;
    let of_other = |token: &str| json!({"client_id": "other", "client_secret": "other", "token": token});
    let of_app = |token: &str| json!({"client_id": "app", "token": token});
    for members in [of_shoe("x"), of_other(&access), of_other(&refresh), of_app(&access)] {
        let response = world.send(&config, &Post::json(PATH, &members)).await;
        assert_eq!((response.status, response.body), (200, Value::Null), "{members}");
    }
    assert_eq!(world.ledger.tokens.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_client_authenticates_as_at_the_token_endpoint_rfc7009_2_1() {
    let (world, config) = (World::new(), named());
    let (access, _) = pair(&world, &config).await;
    for (members, expected) in [
        (json!({"client_id": "shoe", "client_secret": "wrong", "token": access}), (400, "invalid_client")),
        (json!({"client_id": "shoe", "token": access}), (400, "invalid_client")),
        (json!({"client_id": "nobody", "token": access}), (400, "invalid_client")),
        (json!({"client_id": "shoe", "client_secret": "fly"}), (400, "invalid_request")),
        (json!({"client_id": "shoe", "client_secret": "fly", "token": 1}), (400, "invalid_request")),
    ] {
        let response = world.send(&config, &Post::json(PATH, &members)).await;
        assert_eq!((response.status, response.body["error"].as_str().unwrap()), expected, "{members}");
    }
    world.ledger.down.store(true, Ordering::SeqCst);
    let response = world.send(&config, &Post::json(PATH, &of_shoe(&access))).await;
    assert_eq!((response.status, response.headers.contains_key("retry-after")), (503, true));
    world.ledger.down.store(false, Ordering::SeqCst);
    assert_eq!(world.ledger.tokens.lock().unwrap().len(), 1);
}
