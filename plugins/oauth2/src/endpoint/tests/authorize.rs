//! The authorization endpoint.

use super::*;
use crate::profile::{BadRedirect, LoopbackPort};

/// The response's redirect URI, without the random code or token.
fn redirect(response: &Response) -> String {
    let uri = response.text("redirect_uri");
    let random = |part: &&str| part.len() == 32 && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let Some(part) = uri.split(['=', '&']).find(random) else { return uri };
    uri.replace(part, "…")
}

#[tokio::test]
async fn a_code_goes_into_the_query_of_the_registered_uri_rfc6749_4_1_2() {
    let world = World::new();
    let config = config(&json!({}));
    for (more, expected) in [
        (json!({}), "http://google.test/kong?code=…&foo=bar"),
        (
            json!({"state": "a-b.c~d_e f+g/h&i=j"}),
            "http://google.test/kong?code=…&foo=bar&state=a%2db%2ec%7ed_e%20f%2bg%2fh%26i%3dj",
        ),
        (json!({"state": ""}), "http://google.test/kong?code=…&foo=bar&state"),
        (json!({"redirect_uri": "myapp://cb"}), "myapp://cb?code=…"),
    ] {
        let mut members = json!({"client_id": "shoe", "response_type": "code"});
        merge(&mut members, more);
        let response = world.authorize(&config, members).await;
        assert_eq!((response.status, redirect(&response).as_str()), (200, expected));
    }
    let code = world.ledger.codes.lock().unwrap()[0].clone();
    assert_eq!((code.created_at, code.ttl), (NOW, NOW + 300));
    assert_eq!((code.service_id, code.plugin_id), (Some(Uuid::from_u128(1)), Some(world.plugin_id)));
    assert_eq!(code.authenticated_userid.as_deref(), Some("clark"));
}

#[tokio::test]
async fn an_implicit_token_goes_into_the_fragment_rfc6749_4_2_2() {
    let world = World::new();
    let members = json!({"client_id": "shoe", "response_type": "token", "state": "x"});
    let response = world.authorize(&config(&json!({})), members.clone()).await;
    let expected = "http://google.test/kong?foo=bar&code=123#access_token=…&expires_in=7200&state=x&token_type=bearer";
    assert_eq!((response.status, redirect(&response).as_str()), (200, expected));
    let response = world.authorize(&config(&json!({"token_expiration": 0})), members).await;
    assert!(!response.text("redirect_uri").contains("expires_in"));
    let rows = world.ledger.tokens.lock().unwrap();
    assert_eq!((rows[0].ttl, rows[0].expires_in, rows[0].refresh_token), (Some(NOW + 7200), 7200, None));
    assert_eq!((rows[1].ttl, rows[1].expires_in, rows[1].refresh_token), (None, 0, None));
}

#[tokio::test]
async fn a_failure_of_the_first_checks_is_reported_without_redirect() {
    let world = World::new();
    let provision = (400, "invalid_provision_key", "Invalid provision_key");
    let userid = (400, "invalid_authenticated_userid", "Missing authenticated_userid parameter");
    let client = (400, "invalid_client", "Invalid client authentication");
    for (more, expected) in [
        (json!({"provision_key": "wrong"}), provision),
        (json!({"provision_key": 1}), provision),
        (json!({"provision_key": null, "authenticated_userid": ""}), provision),
        (json!({"authenticated_userid": " \t"}), userid),
        (json!({"authenticated_userid": 5}), userid),
        (json!({"authenticated_userid": " clark"}), PADDED),
        (json!({}), client),
        (json!({"client_id": "nobody", "response_type": "wot"}), client),
        (json!({"client_id": "bare", "redirect_uri": "http://x.test"}), client),
        (json!({"client_id": ""}), client),
        (json!({"client_id": 1}), client),
        (
            json!({"client_id": "nobody", "code_challenge_method": "S256"}),
            (400, "invalid_request", "code_challenge is required when code_method is present"),
        ),
    ] {
        let mut members = json!({"response_type": "code", "state": "s"});
        merge(&mut members, more);
        let response = world.authorize(&config(&json!({})), members.clone()).await;
        assert_eq!(response.error(), expected, "{members}");
        assert_eq!(response.body["state"], "s");
        assert_eq!(response.challenge, None);
    }
}

#[tokio::test]
async fn of_several_faults_the_last_is_reported_at_the_redirect() {
    let world = World::new();
    let config = config(&json!({"scopes": ["email"], "enable_implicit_grant": false, "enable_password_grant": false}));
    let first = "http://google.test/kong?code=123&";
    for (more, expected) in [
        (
            json!({"response_type": "token"}),
            "error=unsupported_response_type&error_description=Invalid%20response_type&foo=bar",
        ),
        (
            json!({"response_type": "wot", "scope": "wot"}),
            "error=invalid_scope&error_description=%27wot%27%20is%20an%20invalid%20scope&foo=bar",
        ),
        (json!({"scope": 1}), "error=invalid_scope&error_description=scope%20must%20be%20a%20string&foo=bar"),
        (
            json!({"scope": "wot", "client_id": "app"}),
            "error=invalid_request&error_description=code_challenge%20is%20required%20for%20public%20clients&foo=bar",
        ),
        (
            json!({"redirect_uri": "http://wrong.test", "code_challenge_method": "S256", "state": "s"}),
            "error=invalid_request&error_description=code_challenge%20is%20required%20when%20code_method%20is%20present&foo=bar&state=s",
        ),
        (
            json!({"code_challenge": "x", "code_challenge_method": "plain"}),
            "error=invalid_request&error_description=code_challenge_method%20is%20not%20supported%2c%20must%20be%20S256&foo=bar",
        ),
    ] {
        let mut members = json!({"client_id": "shoe", "response_type": "code"});
        merge(&mut members, more);
        let response = world.authorize(&config, members).await;
        assert_eq!((response.status, response.text("redirect_uri")), (400, format!("{first}{expected}")));
    }
    assert!(world.ledger.codes.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_redirect_uri_that_is_not_registered_is_never_redirected_to() {
    let world = World::new();
    let mut config = config(&json!({}));
    let members = json!({"client_id": "shoe", "response_type": "code", "redirect_uri": "http://evil.test"});
    let response = world.authorize(&config, members.clone()).await;
    assert_eq!(response.status, 400);
    assert!(response.text("redirect_uri").starts_with("http://google.test/kong?code=123&error=invalid_request&"));
    config.profile.bad_redirect = BadRedirect::Plain;
    config.profile.loopback_port = LoopbackPort::Any;
    assert_eq!(world.authorize(&config, members).await.error(), (400, "invalid_request", MISMATCH));
}

#[tokio::test]
async fn repeated_parameters_are_refused_rfc6749_3_1() {
    let world = World::new();
    let post = Post::new("/oauth2/authorize", "state=s&client_id=a&client_id=b&provision_key=wrong");
    let response = world.send(&config(&json!({})), &post).await;
    assert_eq!(response.error(), (400, "invalid_request", "client_id must not be repeated"));
    assert_eq!(response.reason, "parameter_repeated");
}

#[tokio::test]
async fn an_issuer_is_named_where_the_profile_has_one_rfc9207() {
    let world = World::new();
    let config = config(&json!({"issuer_in_response": true, "issuer": "https://gate.test"}));
    let members = json!({"client_id": "shoe", "response_type": "code", "redirect_uri": "myapp://cb"});
    let response = world.authorize(&config, members).await;
    assert_eq!(redirect(&response), "myapp://cb?code=…&iss=https%3a%2f%2fgate%2etest");
}

#[tokio::test]
async fn browsers_are_not_sent_over_plain_http_where_the_instance_refuses_rfc9700_2_6() {
    let world = World::new();
    let refused = (400, "invalid_request", "redirect_uri must be https, or on a loopback address");
    let asked = |uri: &str| json!({"client_id": "shoe", "response_type": "code", "redirect_uri": uri});
    let open = "http://google.test/kong?foo=bar&code=123";
    let strict = config(&json!({"http_redirect_uris": false}));
    assert_eq!(world.authorize(&strict, asked(open)).await.error(), refused);
    assert_eq!(world.authorize(&strict, asked("myapp://cb")).await.status, 200);
    assert_eq!(world.authorize(&strict, json!({"client_id": "shoe", "response_type": "code"})).await.error(), refused);
    assert_eq!(world.authorize(&config(&json!({})), asked(open)).await.status, 200);
}
