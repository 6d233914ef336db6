//! `…/oauth2/token` (oauth2.md §3.6–§3.8): every refusal, client authentication, and responses.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};
use tollgate_tests::scenario::{Api, Application};
use tollgate_tests::{Findings, Gateway, Reply, Store, Upstream};

const INVALID_CLIENT: (&str, &str) = ("invalid_client", "Invalid client authentication");
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// The parts of a response that a client may use.
fn seen(reply: &Reply) -> (u16, Value, Option<String>, [Option<String>; 3]) {
    let frame = ["cache-control", "pragma", "content-type"].map(|name| reply.header(name));
    (reply.status, reply.content(), reply.header("www-authenticate"), frame)
}

fn refusal(
    status: u16,
    (error, description): (&str, &str),
    challenge: Option<&str>,
) -> (u16, Value, Option<String>, [Option<String>; 3]) {
    let frame = ["no-store", "no-cache", "application/json; charset=utf-8"].map(|value| Some(value.to_owned()));
    (status, json!({"error": error, "error_description": description}), challenge.map(str::to_owned), frame)
}

async fn post(gateway: &Gateway, api: &str, form: &[(&str, &str)], authorization: Option<&str>) -> Reply {
    let mut request = gateway.request(Method::POST, &format!("/{api}/oauth2/token")).form(form);
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    gateway.send(request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_have_the_documented_texts_and_order() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let api = Api::protected(&gateway, "api", &upstream, json!({"mandatory_scope": true})).await;
    let other = Api::protected(&gateway, "other", &upstream, json!({})).await;
    let few = json!({"enable_client_credentials": false, "enable_password_grant": false});
    Api::protected(&gateway, "few", &upstream, few).await;
    let client = Application::register(&gateway, "client", json!({})).await;
    let rival = Application::register(&gateway, "rival", json!({})).await;
    let public = Application::register(&gateway, "public", json!({"client_type": "public"})).await;
    let mute = Application::register(&gateway, "mute", json!({"redirect_uris": null})).await;
    let (id, secret, key) = (client.id(), client.secret(), api.provision_key());
    let code = api.code(&gateway, &client).await;
    let elsewhere = other.code(&gateway, &client).await;
    let refresh = api.tokens(&gateway, &client).await["refresh_token"].as_str().unwrap().to_owned();
    let narrow = Api::protected(&gateway, "narrow", &upstream, json!({})).await;
    let narrow_refresh = narrow.tokens(&gateway, &client).await["refresh_token"].as_str().unwrap().to_owned();
    let plugin = narrow.plugin["id"].as_str().unwrap();
    gateway.change(&format!("/plugins/{plugin}"), json!({"config": {"scopes": ["profile"]}})).await;

    const BASIC: Option<&str> = Some("Basic realm=\"OAuth2.0\"");
    let grant = |grant: &'static str| ("grant_type", grant);
    let good = [("client_id", id), ("client_secret", secret)];
    let with = |more: &[(&'static str, &str)]| -> Vec<(String, String)> {
        good.iter().chain(more).map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    let bare = |form: &[(&str, &str)]| -> Vec<(String, String)> {
        form.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    let right = basic(id, secret);
    let wrong = basic(id, "wrong");
    let unknown = basic("nobody", "wrong");
    let no_colon = format!("Basic {}", STANDARD.encode("nobody"));

    type Row<'a> =
        (&'a str, &'a str, Vec<(String, String)>, Option<&'a str>, (u16, Value, Option<String>, [Option<String>; 3]));
    let rows: Vec<Row<'_>> = vec![
        ("nothing at all", "api", bare(&[]), None, refusal(400, INVALID_CLIENT, None)),
        ("no grant_type", "api", with(&[]), None, refusal(400, ("unsupported_grant_type", "Invalid grant_type"), None)),
        (
            "another grant_type",
            "api",
            with(&[grant("magic")]),
            None,
            refusal(400, ("unsupported_grant_type", "Invalid grant_type"), None),
        ),
        (
            "client_credentials where not enabled",
            "few",
            with(&[grant("client_credentials")]),
            None,
            refusal(400, ("unsupported_grant_type", "Invalid grant_type"), None),
        ),
        (
            "password where not enabled",
            "few",
            with(&[grant("password")]),
            None,
            refusal(400, ("unsupported_grant_type", "Invalid grant_type"), None),
        ),
        (
            "a client error replaces a grant_type error",
            "api",
            bare(&[("client_id", "nobody"), grant("magic")]),
            None,
            refusal(400, INVALID_CLIENT, None),
        ),
        (
            "a wrong secret",
            "api",
            bare(&[("client_id", id), ("client_secret", "wrong"), grant("authorization_code"), ("code", &code)]),
            None,
            refusal(400, INVALID_CLIENT, None),
        ),
        (
            "no secret",
            "api",
            bare(&[("client_id", id), grant("authorization_code"), ("code", &code)]),
            None,
            refusal(400, INVALID_CLIENT, None),
        ),
        (
            "a client without redirect_uris",
            "api",
            bare(&[("client_id", mute.id()), ("client_secret", mute.secret()), grant("authorization_code")]),
            None,
            refusal(400, INVALID_CLIENT, None),
        ),
        (
            "a wrong secret in a header",
            "api",
            bare(&[grant("authorization_code"), ("code", &code)]),
            Some(&wrong),
            refusal(401, INVALID_CLIENT, BASIC),
        ),
        (
            "an unknown client in a header",
            "api",
            bare(&[grant("authorization_code"), ("code", &code)]),
            Some(&unknown),
            refusal(401, INVALID_CLIENT, BASIC),
        ),
        (
            "an unknown client in a header, client_credentials",
            "api",
            bare(&[grant("client_credentials"), ("scope", "email")]),
            Some(&unknown),
            refusal(400, INVALID_CLIENT, None),
        ),
        (
            "Basic without a colon",
            "api",
            bare(&[grant("authorization_code")]),
            Some(&no_colon),
            refusal(401, INVALID_CLIENT, BASIC),
        ),
        (
            "with another scheme, client_id is ignored",
            "api",
            bare(&[("client_id", public.id()), grant("authorization_code")]),
            Some("Bearer x"),
            refusal(401, INVALID_CLIENT, BASIC),
        ),
        (
            "a public client with a secret",
            "api",
            bare(&[("client_id", public.id()), ("client_secret", "secret"), grant("authorization_code")]),
            None,
            refusal(400, ("invalid_request", "client_secret is disallowed for public clients"), None),
        ),
        (
            "another redirect_uri",
            "api",
            with(&[grant("authorization_code"), ("code", &code), ("redirect_uri", "http://evil.test/")]),
            None,
            refusal(
                400,
                (
                    "invalid_request",
                    "Invalid redirect_uri that does not match with any redirect_uri created with the application",
                ),
                None,
            ),
        ),
        (
            "no code",
            "api",
            with(&[grant("authorization_code")]),
            None,
            refusal(400, ("invalid_request", "Invalid code"), None),
        ),
        (
            "an unknown code",
            "api",
            with(&[grant("authorization_code"), ("code", "bogus")]),
            None,
            refusal(400, ("invalid_request", "Invalid code"), None),
        ),
        (
            "a code of another service",
            "api",
            with(&[grant("authorization_code"), ("code", &elsewhere)]),
            None,
            refusal(400, ("invalid_request", "Invalid code"), None),
        ),
        (
            "a code of another client",
            "api",
            bare(&[
                ("client_id", rival.id()),
                ("client_secret", rival.secret()),
                grant("authorization_code"),
                ("code", &code),
            ]),
            None,
            refusal(400, ("invalid_request", "Invalid code"), None),
        ),
        (
            "client_credentials for a user, without key",
            "api",
            with(&[grant("client_credentials"), ("scope", "email"), ("authenticated_userid", "kate")]),
            None,
            refusal(400, ("invalid_provision_key", "Invalid provision_key"), None),
        ),
        (
            "client_credentials without scope",
            "api",
            with(&[grant("client_credentials")]),
            None,
            refusal(400, ("invalid_scope", "You must specify a scope"), None),
        ),
        (
            "client_credentials with an unknown scope",
            "api",
            with(&[grant("client_credentials"), ("scope", "wot")]),
            None,
            refusal(400, ("invalid_scope", "'wot' is an invalid scope"), None),
        ),
        (
            "password without key",
            "api",
            with(&[grant("password"), ("scope", "email"), ("authenticated_userid", "kate")]),
            None,
            refusal(400, ("invalid_provision_key", "Invalid provision_key"), None),
        ),
        (
            "password without user",
            "api",
            with(&[grant("password"), ("scope", "email"), ("provision_key", key)]),
            None,
            refusal(400, ("invalid_authenticated_userid", "Missing authenticated_userid parameter"), None),
        ),
        (
            "password without scope",
            "api",
            with(&[grant("password"), ("authenticated_userid", "kate"), ("provision_key", key)]),
            None,
            refusal(400, ("invalid_scope", "You must specify a scope"), None),
        ),
        (
            "no refresh_token",
            "api",
            with(&[grant("refresh_token")]),
            None,
            refusal(400, ("invalid_request", "Invalid refresh_token"), None),
        ),
        (
            "an unknown refresh_token",
            "api",
            with(&[grant("refresh_token"), ("refresh_token", "bogus")]),
            None,
            refusal(400, ("invalid_request", "Invalid refresh_token"), None),
        ),
        (
            "a refresh_token of another service",
            "other",
            with(&[grant("refresh_token"), ("refresh_token", &refresh)]),
            None,
            refusal(400, ("invalid_request", "Invalid refresh_token"), None),
        ),
        (
            "a refresh_token of another client",
            "api",
            bare(&[
                ("client_id", rival.id()),
                ("client_secret", rival.secret()),
                grant("refresh_token"),
                ("refresh_token", &refresh),
            ]),
            None,
            refusal(400, INVALID_CLIENT, None),
        ),
        (
            "a refresh_token of another client, in a header",
            "api",
            bare(&[grant("refresh_token"), ("refresh_token", &refresh)]),
            Some("RIVAL"),
            refusal(400, INVALID_CLIENT, None),
        ),
        (
            "a scope that is no longer offered",
            "narrow",
            with(&[grant("refresh_token"), ("refresh_token", &narrow_refresh)]),
            None,
            refusal(400, ("invalid_scope", "Scope mismatch"), None),
        ),
    ];
    let rival_basic = basic(rival.id(), rival.secret());
    let mut findings = Findings::new();
    for (row, name, form, authorization, expected) in &rows {
        let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let authorization = if *authorization == Some("RIVAL") { Some(rival_basic.as_str()) } else { *authorization };
        findings.compare(row, expected, &seen(&post(&gateway, name, &form, authorization).await));
    }
    // None of them consumed the code, and the correct secret in the header redeems it.
    let form = [grant("authorization_code"), ("code", code.as_str())];
    findings.compare("the code is still good", &200, &post(&gateway, "api", &form, Some(&right)).await.status);
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_parameters_are_refused() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
    let client = Application::register(&gateway, "client", json!({})).await;
    let base = [("grant_type", "client_credentials"), ("client_id", client.id()), ("client_secret", client.secret())];
    let mut findings = Findings::new();
    for (name, value) in base {
        let form: Vec<_> = base.iter().copied().chain([(name, value)]).collect();
        let reply = api.token(&gateway, &form).await;
        findings.compare(
            &format!("{name} twice"),
            &(400, json!("invalid_request")),
            &(reply.status, reply.content()["error"].clone()),
        );
        let text = |name: &str, value: &str| format!("\"{name}\":\"{value}\"");
        let members = base.iter().copied().chain([(name, value)]).map(|(name, value)| text(name, value));
        let body = format!("{{{}}}", members.collect::<Vec<_>>().join(","));
        let request = gateway.request(Method::POST, "/api/oauth2/token").header("content-type", "application/json");
        let reply = gateway.send(request.body(body)).await;
        let description = format!("{name} must not be repeated");
        let expected = refusal(400, ("invalid_request", &description), None);
        findings.compare(&format!("{name} twice in JSON"), &expected, &seen(&reply));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_id_that_would_change_in_a_header_is_refused() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
    let client = Application::register(&gateway, "client", json!({})).await;
    let mut findings = Findings::new();
    let padded = ("invalid_authenticated_userid", "authenticated_userid must not begin or end with white space");
    let control = ("invalid_authenticated_userid", "authenticated_userid must not contain control characters");
    for (userid, expected) in [(" kate", padded), ("kate ", padded), ("kate\u{a0}", padded), ("kate\t", control)] {
        let user =
            [("provision_key", api.provision_key()), ("authenticated_userid", userid), ("client_id", client.id())];
        let with = |more: &[(&'static str, &'static str)]| -> Vec<(&str, &str)> { [&user[..], more].concat() };
        let code = api.authorize(&gateway, &with(&[("response_type", "code")])).await;
        findings.compare(&format!("authorize {userid:?}"), &refusal(400, expected, None), &seen(&code));
        for grant in ["password", "client_credentials"] {
            let mut form = with(&[("grant_type", grant)]);
            form.push(("client_secret", client.secret()));
            let reply = api.token(&gateway, &form).await;
            findings.compare(&format!("{grant} {userid:?}"), &refusal(400, expected, None), &seen(&reply));
        }
    }
}

/// Connections that request tokens for unknown clients.
const STRANGERS: usize = 300;

async fn known_clients_get_tokens_during_a_flood(store: Store) {
    // Each failure takes its turn, however many there were.
    let gateway = Gateway::on(store, &[("TOLLGATE_LIMITS_FAILURES_PER_ADDRESS", "0")]).await;
    let upstream = Upstream::start().await;
    let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
    let mut clients = Vec::new();
    for index in 0..10 {
        let hashed = json!({"client_secret": format!("secret{index}"), "hash_secret": true});
        clients
            .push((Application::register(&gateway, &format!("client{index}"), hashed).await, format!("secret{index}")));
    }
    let asked = Arc::new(AtomicUsize::new(0));
    let mut strangers = tokio::task::JoinSet::new();
    // HTTP/1.1, so that each has its own connection.
    let http = reqwest::Client::builder().http1_only().danger_accept_invalid_certs(true).build().unwrap();
    for _ in 0..STRANGERS {
        let (http, url, asked) = (http.clone(), gateway.url("/api/oauth2/token"), Arc::clone(&asked));
        strangers.spawn(async move {
            loop {
                let (id, secret) = (uuid::Uuid::new_v4().to_string(), uuid::Uuid::new_v4().to_string());
                let form = [("grant_type", "client_credentials"), ("client_id", &id), ("client_secret", &secret)];
                asked.fetch_add(1, Ordering::SeqCst);
                let reply = http.post(&url).form(&form).send().await.unwrap();
                assert!([400, 503].contains(&reply.status().as_u16()), "{reply:?}");
            }
        });
    }
    // On average each has had one response, so all are waiting for the next.
    while asked.load(Ordering::SeqCst) < 2 * STRANGERS {
        assert!(strangers.try_join_next().is_none(), "an unknown client gave up");
        tokio::task::yield_now().await;
    }
    let mut findings = Findings::new();
    for (client, secret) in &clients {
        let form = [("grant_type", "client_credentials"), ("client_id", client.id()), ("client_secret", secret)];
        findings.compare(client.id(), &200, &api.token(&gateway, &form).await.status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_client_gets_its_token_during_a_flood_of_unknown_clients_on_sqlite() {
    known_clients_get_tokens_during_a_flood(Store::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_client_gets_its_token_during_a_flood_of_unknown_clients_on_postgres() {
    known_clients_get_tokens_during_a_flood(Store::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_is_echoed_in_success_and_in_refusal() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
    let client = Application::register(&gateway, "client", json!({})).await;
    let mut form = vec![("client_id", client.id()), ("client_secret", client.secret()), ("state", "s t")];
    let refused = api.token(&gateway, &form).await.expect(400).json();
    let expected =
        json!({"error": "unsupported_grant_type", "error_description": "Invalid grant_type", "state": "s t"});
    assert_eq!(refused, expected);
    form.push(("grant_type", "client_credentials"));
    let mut issued = api.token(&gateway, &form).await.expect(200).json();
    let token = issued.as_object_mut().unwrap().remove("access_token").unwrap();
    assert_eq!(token.as_str().map(str::len), Some(32));
    assert_eq!(issued, json!({"token_type": "bearer", "expires_in": 7200, "state": "s t"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_authenticates_in_the_body_the_query_the_header_and_json() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    Api::protected(&gateway, "api", &upstream, json!({})).await;
    // A secret that differs from its form encoding.
    let secrets = json!({"client_id": "an-id_1", "client_secret": "a-long secret_with+signs"});
    let client = Application::register(&gateway, "client", secrets).await;
    let (id, secret) = (client.id(), client.secret());
    let raw = basic(id, secret);
    let encoded = basic("an%2Did%5F1", "a%2Dlong+secret%5Fwith%2Bsigns");
    let lower = raw.replacen("Basic", "basic", 1);
    let upper = raw.replacen("Basic", "BASIC", 1);
    let path = "/api/oauth2/token";
    let mut findings = Findings::new();
    for (row, authorization) in
        [("raw", &raw), ("form-encoded", &encoded), ("lower case", &lower), ("upper case", &upper)]
    {
        let reply = post(&gateway, "api", &[("grant_type", "client_credentials")], Some(authorization)).await;
        findings.compare(&format!("Basic, {row}"), &200, &reply.status);
    }
    let fields = [("grant_type", "client_credentials"), ("client_id", id), ("client_secret", secret)];
    let query = gateway.request(Method::POST, path).query(&fields);
    findings.compare("query", &200, &gateway.send(query).await.status);
    let document: serde_json::Map<_, _> =
        fields.iter().map(|&(name, value)| (name.to_owned(), Value::from(value))).collect();
    let json = gateway.request(Method::POST, path).json(&document);
    findings.compare("JSON", &200, &gateway.send(json).await.status);
    let multipart =
        fields.iter().fold(reqwest::multipart::Form::new(), |form, &(name, value)| form.text(name, value.to_owned()));
    let multipart = gateway.request(Method::POST, path).multipart(multipart);
    findings.compare("multipart", &200, &gateway.send(multipart).await.status);
    let body_wins = gateway.request(Method::POST, path).query(&[("client_secret", "wrong")]).form(&fields);
    findings.compare("the body takes precedence over the query", &200, &gateway.send(body_wins).await.status);
    let ignored = gateway.request(Method::POST, path).header("content-type", "text/plain").body("grant_type=x");
    let reply = gateway.send(ignored).await;
    findings.compare(
        "another type is ignored",
        &(400, json!("invalid_client")),
        &(reply.status, reply.content()["error"].clone()),
    );
    let body_first = post(&gateway, "api", &fields, Some("Bearer whatever")).await;
    findings.compare("both in the body: the header is ignored", &200, &body_first.status);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verifier_is_checked_as_documented() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
    let public = Application::register(&gateway, "public", json!({"client_type": "public"})).await;
    let code = {
        let form = [
            ("provision_key", api.provision_key()),
            ("authenticated_userid", "kate"),
            ("client_id", public.id()),
            ("response_type", "code"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        let reply = api.authorize(&gateway, &form).await.expect(200).json();
        reply["redirect_uri"].as_str().unwrap().split("code=").nth(1).unwrap().to_owned()
    };
    const LENGTH: &str = "code_verifier must be between 43 and 128 characters";
    let (long, other, short) = ("a".repeat(129), "a".repeat(43), "a".repeat(42));
    let rows = [
        (json!(null), ("invalid_request", "code_verifier is required for PKCE authorization requests")),
        (json!(12345), ("invalid_request", "code_verifier is not a string")),
        (json!(""), ("invalid_request", LENGTH)),
        (json!(short), ("invalid_request", LENGTH)),
        (json!(long), ("invalid_request", LENGTH)),
        (json!(other), ("invalid_grant", "Invalid code")),
    ];
    let mut findings = Findings::new();
    for (verifier, (error, description)) in rows {
        let mut body = json!({"grant_type": "authorization_code", "client_id": public.id(), "code": code});
        if !verifier.is_null() {
            body["code_verifier"] = verifier.clone();
        }
        let reply = gateway.send(gateway.request(Method::POST, "/api/oauth2/token").json(&body)).await;
        findings.compare(
            &format!("code_verifier {verifier}"),
            &(400, json!({"error": error, "error_description": description})),
            &(reply.status, reply.content()),
        );
    }
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", public.id()),
        ("code", &code),
        ("code_verifier", VERIFIER),
    ];
    findings.compare("the correct verifier", &200, &api.token(&gateway, &form).await.status);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_is_required_by_client_type_and_mode() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let clients = [
        Application::register(&gateway, "confidential", json!({})).await,
        Application::register(&gateway, "public", json!({"client_type": "public"})).await,
    ];
    let mut findings = Findings::new();
    for (mode, required) in [("none", [false, false]), ("lax", [false, true]), ("strict", [true, true])] {
        let api = Api::protected(&gateway, mode, &upstream, json!({"pkce": mode})).await;
        for (client, required) in clients.iter().zip(required) {
            let form = [
                ("provision_key", api.provision_key()),
                ("authenticated_userid", "kate"),
                ("client_id", client.id()),
                ("response_type", "code"),
            ];
            let status = if required { 400 } else { 200 };
            let row = format!("pkce={mode}, {}", client.credential["client_type"]);
            findings.compare(&row, &status, &api.authorize(&gateway, &form).await.status);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hashed_secret_authenticates_and_is_never_shown() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
    let secret = "a secret that is going to be hashed";
    let hashed = json!({"client_secret": secret, "hash_secret": true});
    let client = Application::register(&gateway, "client", hashed).await;
    assert!(client.secret().starts_with('$'), "a PHC string: {}", client.secret());
    for (row, attempt, expected) in [
        ("right", secret, 200),
        ("right again", secret, 200),
        ("wrong", "another secret", 400),
        ("the hash itself", client.secret(), 400),
    ] {
        let form = [("grant_type", "client_credentials"), ("client_id", client.id()), ("client_secret", attempt)];
        assert_eq!(api.token(&gateway, &form).await.status, expected, "{row}");
    }
    assert!(!gateway.at_rest().contains(secret));
}
