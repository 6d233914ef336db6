//! The token endpoint.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::*;
use crate::profile::{Permission, RedirectBinding, ScopeInResponse, UnknownGrant};

const CLIENT: (u16, &str, &str) = (400, "invalid_client", "Invalid client authentication");
const CODE: (u16, &str, &str) = (400, "invalid_request", "Invalid code");
const REFRESH: (u16, &str, &str) = (400, "invalid_request", "Invalid refresh_token");
const GRANT: (u16, &str, &str) = (400, "unsupported_grant_type", "Invalid grant_type");

fn shoe(more: Value) -> Value {
    let mut members = json!({"client_id": "shoe", "client_secret": "fly"});
    merge(&mut members, more);
    members
}

fn with_code(code: &str) -> Value {
    shoe(json!({"grant_type": "authorization_code", "code": code}))
}

fn with_refresh(refresh_token: &str) -> Value {
    shoe(json!({"grant_type": "refresh_token", "refresh_token": refresh_token}))
}

#[tokio::test]
async fn a_client_presents_its_credentials_once_rfc6749_5_2() {
    let world = World::new();
    let basic = format!("Basic {}", BASE64_STANDARD.encode("shoe:fly"));
    let several = (400, "invalid_request", "The client must present its credentials once");
    let accepted = (200, "", "");
    for (values, expected) in [
        // Equal lines are one value; those of `Authorization` are refused before.
        (vec![basic.clone(), basic.clone()], accepted),
        (vec![format!("{basic}, {basic}")], several),
        (vec![basic.clone(), "x".into()], several),
    ] {
        for (config, names) in [
            (config(&json!({})), ["authorization", "authorization"]),
            (config(&json!({"auth_header_name": "x-client-auth"})), ["x-client-auth", "x_client_auth"]),
        ] {
            let mut post = Post::json("/oauth2/token", &json!({"grant_type": "client_credentials"}));
            for (name, value) in names.into_iter().zip(&values) {
                post.headers.append(name, value.parse().unwrap());
            }
            assert_eq!(world.send(&config, &post).await.error(), expected, "{values:?}");
        }
    }
}

#[tokio::test]
async fn of_several_faults_the_last_is_reported() {
    let world = World::new();
    let all = config(&json!({}));
    let codes_only = config(&json!({"enable_client_credentials": false, "enable_password_grant": false}));
    let disallowed = (400, "invalid_request", "client_secret is disallowed for public clients");
    let mismatch = (400, "invalid_request", MISMATCH);
    for (config, members, expected) in [
        (&all, json!({}), CLIENT),
        (&all, json!({"grant_type": "wot", "client_id": "nobody", "client_secret": "x"}), CLIENT),
        (&all, shoe(json!({})), GRANT),
        (&all, shoe(json!({"grant_type": 1})), GRANT),
        (&all, shoe(json!({"grant_type": "wot"})), GRANT),
        (&all, shoe(json!({"grant_type": "wot", "redirect_uri": "http://x.test"})), mismatch),
        (&all, shoe(json!({"grant_type": "wot", "redirect_uri": 1})), mismatch),
        (&all, shoe(json!({"grant_type": "wot", "redirect_uri": "http://x.test", "client_secret": "no"})), CLIENT),
        (&all, shoe(json!({"grant_type": "password", "client_secret": 1})), CLIENT),
        (&all, json!({"grant_type": "password", "client_id": "bare", "client_secret": "bare"}), CLIENT),
        (&all, json!({"grant_type": "password", "client_id": "shoe"}), CLIENT),
        (&all, json!({"grant_type": "password", "client_id": "hashed", "client_secret": "fly"}), CLIENT),
        (&all, json!({"grant_type": "wot", "client_id": "app", "client_secret": "x"}), disallowed),
        (&all, json!({"grant_type": "wot", "client_id": "app", "client_secret": " "}), GRANT),
        (&all, json!({"grant_type": "wot", "client_id": "app"}), GRANT),
        (&all, json!({"grant_type": "client_credentials", "client_id": "no", "client_secret": "x"}), CLIENT),
        (&codes_only, json!({"grant_type": "client_credentials", "client_id": "no", "client_secret": "x"}), GRANT),
        (&codes_only, shoe(json!({"grant_type": "password"})), GRANT),
        (&all, shoe(json!({"grant_type": "authorization_code"})), CODE),
        (&all, shoe(json!({"grant_type": "authorization_code", "code": 1})), CODE),
        (&all, shoe(json!({"grant_type": "authorization_code", "code": "a\u{0}"})), CODE),
        (&all, shoe(json!({"grant_type": "authorization_code", "code": "unknown"})), CODE),
        (&all, shoe(json!({"grant_type": "refresh_token"})), REFRESH),
        (&all, shoe(json!({"grant_type": "refresh_token", "refresh_token": ["a"]})), REFRESH),
    ] {
        let response = world.token(config, members.clone()).await;
        assert_eq!(response.error(), expected, "{members}");
        assert_eq!(response.challenge, None);
    }
}

#[tokio::test]
async fn a_client_that_presents_itself_by_header_is_challenged_rfc6749_5_2() {
    let world = World::new();
    let header = |text: &str| format!("Basic {}", BASE64_STANDARD.encode(text));
    for (authorization, members, status) in [
        (header("shoe:fly"), json!({"grant_type": "client_credentials"}), 200),
        (header("hashed:tofu"), json!({"grant_type": "client_credentials"}), 200),
        (header("a-b:c d"), json!({"grant_type": "client_credentials"}), 200),
        (header("a%2Db:c+d"), json!({"grant_type": "client_credentials"}), 200),
        (header("app:"), json!({"grant_type": "client_credentials"}), 200),
        (header("shoe:wrong"), json!({"grant_type": "client_credentials"}), 401),
        (header("nobody:x"), json!({"grant_type": "client_credentials"}), 400),
        (header("nobody:x"), json!({"grant_type": "password"}), 401),
        ("Bearer x".to_owned(), json!({"grant_type": "password", "client_id": "app"}), 401),
        (header("nobody:x"), shoe(json!({"grant_type": "client_credentials"})), 200),
    ] {
        let mut post = Post::json("/oauth2/token", &members);
        post.headers.insert("authorization", authorization.parse().unwrap());
        let response = world.send(&config(&json!({})), &post).await;
        assert_eq!(response.status, status, "{authorization} {members}: {response:?}");
        assert_eq!(response.challenge.as_deref(), (status == 401).then_some("Basic realm=\"OAuth2.0\""));
    }
}

#[tokio::test]
async fn a_code_is_redeemed_once_and_a_failed_exchange_leaves_it() {
    let world = World::new();
    let config = config(&json!({"scopes": ["email"]}));
    let code = world.code(&config, json!({"scope": "email"})).await;
    let stranger = json!({
        "client_id": "other", "client_secret": "other", "grant_type": "authorization_code", "code": code,
    });
    assert_eq!(world.token(&config, stranger).await.error(), CODE);
    let response =
        world.token(&config, shoe(json!({"grant_type": "authorization_code", "code": code, "state": "s"}))).await;
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.body["token_type"], "bearer");
    assert_eq!(response.body["expires_in"], 7200);
    assert_eq!(response.body["state"], "s");
    assert_eq!(response.body.as_object().unwrap().len(), 5);
    assert_eq!(world.token(&config, with_code(&code)).await.error(), CODE);
    let row = world.ledger.tokens.lock().unwrap()[0].clone();
    assert_eq!((row.authenticated_userid.as_deref(), row.scope.as_deref()), (Some("clark"), Some("email")));
    assert_eq!((row.created_at, row.ttl, row.expires_in), (NOW, Some(NOW + 1_209_600), 7200));
    assert_eq!(row.service_id, Some(Uuid::from_u128(1)));
}

#[tokio::test]
async fn a_code_lives_for_five_minutes() {
    let world = World::new();
    let config = config(&json!({}));
    let code = world.code(&config, json!({})).await;
    world.clock.advance(301);
    assert_eq!(world.token(&config, with_code(&code)).await.error(), CODE);
}

#[tokio::test]
async fn a_code_with_a_challenge_needs_its_verifier_rfc7636_4_6() {
    let world = World::new();
    let config = config(&json!({}));
    let challenge = json!({"code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"});
    let code = world.code(&config, challenge).await;
    let missing = (400, "invalid_request", "code_verifier is required for PKCE authorization requests");
    assert_eq!(world.token(&config, with_code(&code)).await.error(), missing);
    let mut members = with_code(&code);
    members["code_verifier"] = json!("x".repeat(43));
    assert_eq!(world.token(&config, members.clone()).await.error(), (400, "invalid_grant", "Invalid code"));
    members["code_verifier"] = json!("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    assert_eq!(world.token(&config, members).await.status, 200);
}

#[tokio::test]
async fn codes_and_tokens_are_bound_to_service_or_plugin() {
    let world = World::new();
    let (bound, global) = (config(&json!({})), config(&json!({"global_credentials": true})));
    let elsewhere = Target { route_id: Uuid::nil(), service_id: Some(Uuid::from_u128(2)) };
    let nowhere = Target { route_id: Uuid::nil(), service_id: None };

    let mut post = Post::json("/oauth2/token", &with_code(&world.code(&bound, json!({})).await));
    post.target = elsewhere.clone();
    assert_eq!(world.send(&bound, &post).await.error(), CODE);

    let global_code = world.code(&global, json!({})).await;
    assert_eq!(world.token(&bound, with_code(&global_code)).await.error(), CODE);
    let mut foreign = World::new();
    foreign.plugin_id = Uuid::from_u128(8);
    foreign.ledger.codes.lock().unwrap().extend(world.ledger.codes.lock().unwrap().iter().cloned());
    assert_eq!(foreign.token(&global, with_code(&global_code)).await.error(), CODE);
    let response = world.token(&global, with_code(&global_code)).await;
    assert_eq!(world.ledger.tokens.lock().unwrap()[0].service_id, None);

    let refresh_token = response.text("refresh_token");
    assert_eq!(world.token(&bound, with_refresh(&refresh_token)).await.error(), REFRESH);
    let mut post = Post::json("/oauth2/token", &with_refresh(&refresh_token));
    post.target = elsewhere;
    assert_eq!(world.send(&global, &post).await.status, 200);

    let mut post = Post::json("/oauth2/token", &shoe(json!({"grant_type": "client_credentials"})));
    post.target = nowhere;
    let response = world.send(&bound, &post).await;
    assert_eq!((response.status, &response.body), (500, &json!({"message": "An unexpected error occurred"})));
    assert_eq!(world.send(&global, &post).await.status, 200);
}

#[tokio::test]
async fn client_credentials_give_a_token_whose_row_is_removed_when_it_expires() {
    let world = World::new();
    let provision = (400, "invalid_provision_key", "Invalid provision_key");
    let grant = |more: Value| {
        let mut members = shoe(json!({"grant_type": "client_credentials"}));
        merge(&mut members, more);
        members
    };
    let defaults = config(&json!({"scopes": ["email"]}));
    assert_eq!(world.token(&defaults, grant(json!({"authenticated_userid": "x"}))).await.error(), provision);
    let unknown = json!({"grant_type": "client_credentials", "authenticated_userid": "x"});
    assert_eq!(world.token(&defaults, unknown).await.error(), provision);
    let wot = (400, "invalid_scope", "'wot' is an invalid scope");
    assert_eq!(world.token(&defaults, grant(json!({"scope": "wot"}))).await.error(), wot);
    let acting = grant(json!({"authenticated_userid": "x", "provision_key": "provision123", "scope": "email"}));
    let response = world.token(&defaults, acting).await;
    assert_eq!((response.status, response.body.get("refresh_token")), (200, None));
    let bare = json!({"grant_type": "client_credentials", "client_id": "bare", "client_secret": "bare"});
    assert_eq!(world.token(&config(&json!({"refresh_token_ttl": 60})), bare).await.status, 200);
    assert_eq!(
        world.token(&config(&json!({"token_expiration": 0})), grant(json!({}))).await.body.get("expires_in"),
        None
    );
    let rows = world.ledger.tokens.lock().unwrap();
    assert_eq!(rows[0].authenticated_userid.as_deref(), Some("x"));
    assert_eq!(rows.iter().map(|row| row.ttl).collect::<Vec<_>>(), [Some(NOW + 7200), Some(NOW + 60), None]);
}

#[tokio::test]
async fn the_password_grant_trusts_any_client_with_the_provision_key() {
    let world = World::new();
    let config = config(&json!({"scopes": ["email"], "mandatory_scope": true}));
    let grant = |more: Value| {
        let mut members = shoe(json!({"grant_type": "password", "username": "u", "password": "p"}));
        merge(&mut members, more);
        members
    };
    let userid = (400, "invalid_authenticated_userid", "Missing authenticated_userid parameter");
    for (more, expected) in [
        (json!({}), (400, "invalid_provision_key", "Invalid provision_key")),
        (json!({"provision_key": "provision123"}), userid),
        (json!({"provision_key": "provision123", "authenticated_userid": " "}), userid),
        (json!({"provision_key": "provision123", "authenticated_userid": "clark "}), PADDED),
        (json!({"provision_key": "provision123", "authenticated_userid": "\u{2003}clark"}), PADDED),
        (
            json!({"provision_key": "provision123", "authenticated_userid": "clark"}),
            (400, "invalid_scope", "You must specify a scope"),
        ),
    ] {
        assert_eq!(world.token(&config, grant(more)).await.error(), expected);
    }
    let whole = json!({"provision_key": "provision123", "authenticated_userid": "clark", "scope": "email"});
    let response = world.token(&config, grant(whole)).await;
    assert_eq!(response.text("refresh_token").len(), 32);
}

#[tokio::test]
async fn a_refresh_replaces_both_tokens_rfc6749_6() {
    let world = World::new();
    let config = config(&json!({}));
    let first = world.token(&config, with_code(&world.code(&config, json!({})).await)).await;
    let old = world.ledger.tokens.lock().unwrap()[0].clone();
    world.clock.advance(10);
    let mut members = with_refresh(&first.text("refresh_token"));
    members["state"] = json!("s");
    let second = world.token(&config, members).await;
    assert_eq!((second.status, &second.body["state"]), (200, &json!("s")));
    assert_ne!(second.text("refresh_token"), first.text("refresh_token"));
    assert_eq!(world.token(&config, with_refresh(&first.text("refresh_token"))).await.error(), REFRESH);
    let rows = world.ledger.tokens.lock().unwrap().clone();
    assert_eq!(rows.len(), 1);
    assert_ne!(rows[0].id, old.id);
    assert_eq!((rows[0].family, rows[0].created_at), (old.family, NOW + 10));
    assert_eq!(rows[0].authenticated_userid.as_deref(), Some("clark"));
}

#[tokio::test]
async fn a_reused_refresh_token_renews_the_same_row() {
    let world = World::new();
    let config = config(&json!({"reuse_refresh_token": true}));
    let first = world.token(&config, with_code(&world.code(&config, json!({})).await)).await;
    let old = world.ledger.tokens.lock().unwrap()[0].clone();
    world.clock.advance(10);
    for _ in 0..2 {
        let second = world.token(&config, with_refresh(&first.text("refresh_token"))).await;
        assert_eq!(second.text("refresh_token"), first.text("refresh_token"));
        assert_ne!(second.text("access_token"), first.text("access_token"));
    }
    let rows = world.ledger.tokens.lock().unwrap().clone();
    assert_eq!((rows.len(), rows[0].id, rows[0].refresh_token), (1, old.id, old.refresh_token));
    assert_eq!((rows[0].created_at, rows[0].ttl), (NOW + 10, Some(NOW + 10 + 1_209_600)));
}

#[tokio::test]
async fn a_refresh_is_refused_to_other_clients_and_for_removed_scopes() {
    let world = World::new();
    let with_scope = config(&json!({"scopes": ["email"]}));
    let code = world.code(&with_scope, json!({"scope": "email"})).await;
    let first = world.token(&with_scope, with_code(&code)).await;
    let members = with_refresh(&first.text("refresh_token"));
    let mut stranger = members.clone();
    stranger["client_id"] = json!("other");
    stranger["client_secret"] = json!("other");
    assert_eq!(world.token(&with_scope, stranger).await.error(), CLIENT);
    let mismatch = (400, "invalid_scope", "Scope mismatch");
    for scopes in [json!(null), json!(["profile"])] {
        let changed = config(&json!({"scopes": scopes}));
        assert_eq!(world.token(&changed, members.clone()).await.error(), mismatch);
    }
    assert_eq!(world.token(&with_scope, members).await.status, 200);
}

#[tokio::test]
async fn tokens_without_expiry_have_no_refresh_token() {
    let world = World::new();
    for expiration in [json!(0), json!(-1)] {
        let config = config(&json!({"token_expiration": expiration}));
        let response = world.token(&config, with_code(&world.code(&config, json!({})).await)).await;
        assert_eq!(response.body.as_object().unwrap().keys().collect::<Vec<_>>(), ["access_token", "token_type"]);
    }
    let config = config(&json!({"refresh_token_ttl": 0}));
    world.token(&config, with_code(&world.code(&config, json!({})).await)).await;
    assert!(world.ledger.tokens.lock().unwrap().iter().all(|row| row.ttl.is_none()));
}

#[tokio::test]
async fn parameters_come_from_query_and_body_and_may_not_be_repeated() {
    let world = World::new();
    let config = config(&json!({}));
    let query = "grant_type=wot&client_id=shoe&client_secret=wrong";
    let mut post = Post::new("/oauth2/token", query);
    post.headers.insert("content-type", HeaderValue::from_static("application/x-www-form-urlencoded"));
    post.body = RequestBody::Read(Bytes::from_static(b"grant_type=client_credentials&client_secret=fly"));
    assert_eq!(world.send(&config, &post).await.status, 200);
    post.body = RequestBody::Read(Bytes::from_static(b"grant_type=client_credentials&scope=a&scope=b"));
    let repeated = (400, "invalid_request", "scope must not be repeated");
    assert_eq!(world.send(&config, &post).await.error(), repeated);
    post.headers.insert("content-type", HeaderValue::from_static("application/json"));
    let body = br#"{"grant_type":"client_credentials","scope":"a","client_secret":"fly","scope":"a"}"#;
    post.body = RequestBody::Read(Bytes::from_static(body));
    assert_eq!(world.send(&config, &post).await.error(), repeated);
}

#[tokio::test]
async fn stricter_profiles_follow_the_current_recommendations() {
    let world = World::new();
    let mut strict = config(&json!({"scopes": ["a", "b"]}));
    strict.profile.redirect_binding = RedirectBinding::Bound;
    strict.profile.public_client_credentials = Permission::Refused;
    strict.profile.client_secret_in_query = Permission::Refused;
    strict.profile.verifier_without_challenge = Permission::Refused;
    strict.profile.unknown_grant = UnknownGrant::InvalidGrant;
    strict.profile.scope_in_response = ScopeInResponse::WhenDifferent;
    let invalid = (400, "invalid_grant", "Invalid code");

    let code = world.code(&strict, json!({"redirect_uri": "http://google.test/kong?foo=bar&code=123"})).await;
    let mut members = with_code(code.rsplit('=').next().unwrap());
    assert_eq!(world.token(&strict, members.clone()).await.error(), invalid);
    members["redirect_uri"] = json!("myapp://cb");
    assert_eq!(world.token(&strict, members.clone()).await.error(), invalid);
    members["redirect_uri"] = json!("http://google.test/kong?foo=bar&code=123");
    members["code_verifier"] = json!("x".repeat(43));
    assert_eq!(world.token(&strict, members.clone()).await.error(), invalid);
    members.as_object_mut().unwrap().remove("code_verifier");
    assert_eq!(world.token(&strict, members).await.status, 200);

    let public = json!({"grant_type": "client_credentials", "client_id": "app"});
    assert_eq!(world.token(&strict, public).await.error().1, "unauthorized_client");
    let query = "grant_type=client_credentials&client_id=shoe&client_secret=fly";
    assert_eq!(world.send(&strict, &Post::new("/oauth2/token", query)).await.error(), CLIENT);
    let response = world.token(&strict, shoe(json!({"grant_type": "client_credentials", "scope": "a  b"}))).await;
    assert_eq!(response.body["scope"], "a b");
}

#[tokio::test]
async fn requests_are_counted_by_grant_and_outcome() {
    let world = World::new();
    let config = config(&json!({}));
    world.token(&config, shoe(json!({"grant_type": "client_credentials"}))).await;
    world.token(&config, shoe(json!({"grant_type": "refresh_token"}))).await;
    world.token(&config, shoe(json!({"grant_type": "\u{7f}wot"}))).await;
    for (grant, outcome) in [("client_credentials", "issued"), ("refresh_token", "refused"), ("unknown", "refused")] {
        assert_eq!(world.server.issued.with_label_values(&[grant, outcome]).get(), 1, "{grant}");
    }
}

#[tokio::test]
async fn a_public_clients_refresh_token_is_replaced_where_a_second_use_is_noticed_rfc9700_4_14_2() {
    let world = World::new();
    for (client, replay, is_kept) in [("app", "revoke", false), ("app", "ignore", true), ("shoe", "revoke", true)] {
        let config = config(&json!({"reuse_refresh_token": true, "replay": replay, "pkce": "none"}));
        let authenticated = |more: Value| {
            let mut members = json!({"client_id": client});
            if client == "shoe" {
                members["client_secret"] = json!("fly");
            }
            merge(&mut members, more);
            members
        };
        let code = world.code(&config, json!({"client_id": client})).await;
        let exchange = authenticated(json!({"grant_type": "authorization_code", "code": code}));
        let first = world.token(&config, exchange).await.text("refresh_token");
        let refresh = authenticated(json!({"grant_type": "refresh_token", "refresh_token": first}));
        let second = world.token(&config, refresh).await.text("refresh_token");
        assert_eq!(first == second, is_kept, "{client} {replay}");
    }
}

#[tokio::test]
async fn a_parameter_without_a_value_is_as_none_where_the_instance_says_so_rfc6749_3_1() {
    let world = World::new();
    for (given, status) in [("kept", 400), ("omitted", 200)] {
        let config = config(&json!({"empty_parameters": given, "scopes": ["email"]}));
        // Neither is registered, or a scope.
        let asked =
            json!({"client_id": "shoe", "response_type": "code", "redirect_uri": "", "code_challenge_method": ""});
        assert_eq!(world.authorize(&config, asked).await.status, status, "{given}");
        let form = "grant_type=client_credentials&client_id=shoe&client_secret=fly&authenticated_userid=&scope";
        let mut post = Post::new("/oauth2/token", "");
        post.headers.insert("content-type", HeaderValue::from_static("application/x-www-form-urlencoded"));
        post.body = RequestBody::Read(Bytes::from_static(form.as_bytes()));
        assert_eq!(world.send(&config, &post).await.status, status, "{given}");
    }
}
