//! `…/oauth2/authorize` (oauth2.md §3.1–§3.5, §3.7, §3.8): every refusal, and the exact responses.

use http::Method;
use serde_json::{Value, json};
use tollgate_tests::scenario::{Api, Application, REDIRECT_URI};
use tollgate_tests::{Findings, Gateway, Reply, Store, Upstream};

const BAD_REDIRECT_URI: &str =
    "Invalid redirect_uri that does not match with any redirect_uri created with the application";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// Encodes like the redirect's parameters: every byte but `[A-Za-z0-9_]` in lower-case hex.
fn escaped(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
        byte => format!("%{byte:02x}"),
    };
    text.bytes().map(one).collect()
}

/// A refusal that reaches the client by redirect.
fn redirected(error: &str, description: &str) -> Value {
    json!({"redirect_uri": format!("{REDIRECT_URI}?error={error}&error_description={}", escaped(description))})
}

/// A refusal without a client to redirect to.
fn plain(error: &str, description: &str) -> Value {
    json!({"error": error, "error_description": description})
}

/// The headers that every response of the endpoint has.
fn frame(reply: &Reply) -> [Option<String>; 3] {
    ["cache-control", "pragma", "content-type"].map(|name| reply.header(name))
}

fn expected_frame() -> [Option<String>; 3] {
    ["no-store", "no-cache", "application/json; charset=utf-8"].map(|value| Some(value.to_owned()))
}

/// A valid form with changes; `None` omits a field.
fn form<'a>(base: &[(&'a str, &'a str)], changes: &[(&'a str, Option<&'a str>)]) -> Vec<(&'a str, &'a str)> {
    let kept = base.iter().filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name)).copied();
    kept.chain(changes.iter().filter_map(|&(name, value)| Some((name, value?)))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_have_the_documented_texts_and_order() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let scoped = Api::protected(&gateway, "scoped", &upstream, json!({"mandatory_scope": true})).await;
    let code_only = Api::protected(&gateway, "codeonly", &upstream, json!({"enable_implicit_grant": false})).await;
    let strict = Api::protected(&gateway, "strict", &upstream, json!({"pkce": "strict"})).await;
    let confidential = Application::register(&gateway, "confidential", json!({})).await;
    let public = Application::register(&gateway, "public", json!({"client_type": "public"})).await;
    let mute = Application::register(&gateway, "mute", json!({"redirect_uris": null})).await;

    type Changes<'a> = &'a [(&'static str, Option<&'a str>)];
    let rows: Vec<(&str, &Api, &Application, Changes<'_>, Value)> = vec![
        (
            "no provision_key",
            &scoped,
            &confidential,
            &[("provision_key", None)],
            plain("invalid_provision_key", "Invalid provision_key"),
        ),
        (
            "another provision_key",
            &scoped,
            &confidential,
            &[("provision_key", Some("bogus"))],
            plain("invalid_provision_key", "Invalid provision_key"),
        ),
        (
            "the provision_key comes before the user",
            &scoped,
            &confidential,
            &[("provision_key", None), ("authenticated_userid", None)],
            plain("invalid_provision_key", "Invalid provision_key"),
        ),
        (
            "no user",
            &scoped,
            &confidential,
            &[("authenticated_userid", None)],
            plain("invalid_authenticated_userid", "Missing authenticated_userid parameter"),
        ),
        (
            "a blank user",
            &scoped,
            &confidential,
            &[("authenticated_userid", Some("  "))],
            plain("invalid_authenticated_userid", "Missing authenticated_userid parameter"),
        ),
        (
            "a user id that is invalid in a header",
            &scoped,
            &confidential,
            &[("authenticated_userid", Some("kate\r\nx-role: admin"))],
            plain("invalid_authenticated_userid", "authenticated_userid must not contain control characters"),
        ),
        (
            "the user comes before the client",
            &scoped,
            &confidential,
            &[("authenticated_userid", None), ("client_id", None)],
            plain("invalid_authenticated_userid", "Missing authenticated_userid parameter"),
        ),
        (
            "state is echoed in a plain refusal",
            &scoped,
            &confidential,
            &[("provision_key", None), ("state", Some("hello"))],
            json!({"error": "invalid_provision_key", "error_description": "Invalid provision_key", "state": "hello"}),
        ),
        (
            "no response_type",
            &scoped,
            &confidential,
            &[("response_type", None)],
            redirected("unsupported_response_type", "Invalid response_type"),
        ),
        (
            "another response_type",
            &scoped,
            &confidential,
            &[("response_type", Some("id_token"))],
            redirected("unsupported_response_type", "Invalid response_type"),
        ),
        (
            "a response_type that is not enabled",
            &code_only,
            &confidential,
            &[("response_type", Some("token"))],
            redirected("unsupported_response_type", "Invalid response_type"),
        ),
        (
            "an unknown scope",
            &scoped,
            &confidential,
            &[("scope", Some("email wot"))],
            redirected("invalid_scope", "'wot' is an invalid scope"),
        ),
        (
            "no scope where one is mandatory",
            &scoped,
            &confidential,
            &[("scope", None)],
            redirected("invalid_scope", "You must specify a scope"),
        ),
        (
            "a scope error replaces a response_type error",
            &scoped,
            &confidential,
            &[("scope", None), ("response_type", None)],
            redirected("invalid_scope", "You must specify a scope"),
        ),
        (
            "no client",
            &scoped,
            &confidential,
            &[("client_id", None)],
            plain("invalid_client", "Invalid client authentication"),
        ),
        (
            "an empty client",
            &scoped,
            &confidential,
            &[("client_id", Some(""))],
            plain("invalid_client", "Invalid client authentication"),
        ),
        (
            "an unknown client",
            &scoped,
            &confidential,
            &[("client_id", Some("nobody"))],
            plain("invalid_client", "Invalid client authentication"),
        ),
        (
            "a client without redirect_uris",
            &scoped,
            &mute,
            &[],
            plain("invalid_client", "Invalid client authentication"),
        ),
        (
            "a client error replaces a scope error",
            &scoped,
            &confidential,
            &[("client_id", Some("nobody")), ("scope", None)],
            plain("invalid_client", "Invalid client authentication"),
        ),
        (
            "another redirect_uri",
            &scoped,
            &confidential,
            &[("redirect_uri", Some("http://client.test/other"))],
            redirected("invalid_request", BAD_REDIRECT_URI),
        ),
        (
            "a longer redirect_uri",
            &scoped,
            &confidential,
            &[("redirect_uri", Some("http://client.test/callback?x=1"))],
            redirected("invalid_request", BAD_REDIRECT_URI),
        ),
        (
            "a redirect_uri error replaces a scope error",
            &scoped,
            &confidential,
            &[("redirect_uri", Some("http://evil.test/")), ("scope", None)],
            redirected("invalid_request", BAD_REDIRECT_URI),
        ),
        (
            "a method without a challenge",
            &scoped,
            &confidential,
            &[("code_challenge_method", Some("S256"))],
            redirected("invalid_request", "code_challenge is required when code_method is present"),
        ),
        (
            "the plain method",
            &scoped,
            &confidential,
            &[("code_challenge", Some(CHALLENGE)), ("code_challenge_method", Some("plain"))],
            redirected("invalid_request", "code_challenge_method is not supported, must be S256"),
        ),
        (
            "a public client without a challenge",
            &scoped,
            &public,
            &[],
            redirected("invalid_request", "code_challenge is required for public clients"),
        ),
        (
            "strict: a confidential client without a challenge",
            &strict,
            &confidential,
            &[],
            redirected("invalid_request", "code_challenge is required for confidential clients"),
        ),
        (
            "a PKCE error replaces a client error",
            &scoped,
            &confidential,
            &[("client_id", Some("nobody")), ("code_challenge_method", Some("S256"))],
            plain("invalid_request", "code_challenge is required when code_method is present"),
        ),
        (
            "state is echoed in a redirect",
            &scoped,
            &confidential,
            &[("response_type", None), ("state", Some("a b"))],
            json!({"redirect_uri": format!("{REDIRECT_URI}?error=unsupported_response_type&error_description=Invalid%20response_type&state=a%20b")}),
        ),
    ];
    let mut findings = Findings::new();
    for (row, api, client, changes, expected) in rows {
        let base = [
            ("provision_key", api.provision_key()),
            ("authenticated_userid", "kate"),
            ("client_id", client.id()),
            ("response_type", "code"),
            ("scope", "email"),
        ];
        let reply = api.authorize(&gateway, &form(&base, changes)).await;
        findings.compare(row, &(400, expected, expected_frame()), &(reply.status, reply.content(), frame(&reply)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_that_is_not_a_string_is_refused() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
    let client = Application::register(&gateway, "client", json!({})).await;
    let mut findings = Findings::new();
    for scope in [json!(["email"]), json!(1), json!(false), json!(null)] {
        let body = json!({
            "provision_key": api.provision_key(), "authenticated_userid": "kate",
            "client_id": client.id(), "response_type": "code", "scope": scope,
        });
        let reply = gateway.send(gateway.request(Method::POST, "/api/oauth2/authorize").json(&body)).await;
        // Some parsers treat a JSON null as absent; both lead to a redirect.
        findings.compare(
            &format!("scope {scope}"),
            &(400, redirected("invalid_scope", "scope must be a string")),
            &(reply.status, reply.content()),
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_redirect_is_encoded_as_documented() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
    let rows = [
        ("http://google.test/kong?foo=bar&code=123", None, "http://google.test/kong?code=CODE&foo=bar"),
        ("http://google.test", None, "http://google.test?code=CODE"),
        ("myapp://cb", None, "myapp://cb?code=CODE"),
        ("http://a.test/?flag", None, "http://a.test/?code=CODE&flag=true"),
        ("http://a.test/", Some(""), "http://a.test/?code=CODE&state"),
        (
            "http://a.test/",
            Some("a-b.c~d_e f+g/h&i=j"),
            "http://a.test/?code=CODE&state=a%2db%2ec%7ed_e%20f%2bg%2fh%26i%3dj",
        ),
    ];
    let mut findings = Findings::new();
    for (index, (uri, state, expected)) in rows.into_iter().enumerate() {
        let client = Application::register(&gateway, &format!("client{index}"), json!({"redirect_uris": [uri]})).await;
        let mut form = vec![
            ("provision_key", api.provision_key()),
            ("authenticated_userid", "kate"),
            ("client_id", client.id()),
            ("response_type", "code"),
        ];
        form.extend(state.map(|state| ("state", state)));
        let reply = api.authorize(&gateway, &form).await;
        let got = reply.content()["redirect_uri"].as_str().unwrap_or_default().to_owned();
        let code: String =
            got.split("code=").nth(1).unwrap_or_default().chars().take_while(char::is_ascii_alphanumeric).collect();
        findings.compare(&format!("the code for {uri}"), &32, &code.len());
        let got = if code.is_empty() { got } else { got.replace(&code, "CODE") };
        findings.compare(uri, &(200, expected.to_owned(), expected_frame()), &(reply.status, got, frame(&reply)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_implicit_token_travels_in_the_fragment_and_works() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let api = Api::protected(&gateway, "api", &upstream, json!({"token_expiration": 60})).await;
    let uri = "http://a.test/cb?foo=bar";
    let client = Application::register(&gateway, "client", json!({"redirect_uris": [uri]})).await;
    let reply = api
        .authorize(
            &gateway,
            &[
                ("provision_key", api.provision_key()),
                ("authenticated_userid", "kate"),
                ("client_id", client.id()),
                ("response_type", "token"),
                ("state", "s"),
            ],
        )
        .await
        .expect(200);
    let redirect = reply.json()["redirect_uri"].as_str().unwrap().to_owned();
    let token = redirect.split("access_token=").nth(1).unwrap().split('&').next().unwrap();
    let expected = format!("{uri}#access_token={token}&expires_in=60&state=s&token_type=bearer");
    assert_eq!(redirect, expected);
    api.get(&gateway, token).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_is_refused_unless_a_trusted_peer_terminated_tls() {
    let trusted = Gateway::on(Store::Sqlite, &[("TOLLGATE_TRUSTED_IPS", "127.0.0.0/8")]).await;
    let untrusted = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let refused = |description: &str| (400, plain("access_denied", description));
    let passed = (400, plain("invalid_provision_key", "Invalid provision_key"));
    const HTTPS: &str = "You must use HTTPS";
    const ONE: &str = "Only one X-Forwarded-Proto header allowed";
    let mut findings = Findings::new();
    for gateway in [&trusted, &untrusted] {
        Api::protected(gateway, "no", &upstream, json!({})).await;
        Api::protected(gateway, "yes", &upstream, json!({"accept_http_if_already_terminated": true})).await;
    }
    let rows = [
        ("trusted", "no", vec![], refused(HTTPS)),
        ("trusted", "no", vec!["https"], refused(HTTPS)),
        ("untrusted", "yes", vec!["https"], refused(HTTPS)),
        ("trusted", "yes", vec!["https"], passed.clone()),
        ("trusted", "yes", vec!["HTTPS"], passed.clone()),
        ("trusted", "yes", vec![], refused(HTTPS)),
        ("trusted", "yes", vec!["http"], refused(HTTPS)),
        ("trusted", "yes", vec!["https, http"], refused(ONE)),
    ];
    for (peer, api, protocols, expected) in rows {
        let gateway = if peer == "trusted" { &trusted } else { &untrusted };
        let url = gateway.plain_url(&format!("/{api}/oauth2/authorize"));
        let mut request = gateway.client.post(url).form(&[("provision_key", "bogus")]);
        for protocol in &protocols {
            request = request.header("x-forwarded-proto", *protocol);
        }
        let reply = gateway.send(request).await;
        let row = format!("{peer} peer, accept {api}, X-Forwarded-Proto {protocols:?}");
        findings.compare(&row, &expected, &(reply.status, reply.content()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_are_refused_before_anything_else() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    Api::protected(&gateway, "api", &upstream, json!({})).await;
    Api::protected(&gateway, "realm", &upstream, json!({"realm": "R"})).await;
    let mut findings = Findings::new();
    for (api, realm) in [("api", ""), ("realm", "realm=\"R\", ")] {
        for (endpoint, word) in [("token", "token"), ("authorize", "authorization")] {
            for method in ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"] {
                let description = format!("The HTTP method {method} is invalid for the {word} endpoint");
                let challenge = format!("Bearer {realm}error=\"invalid_method\", error_description=\"{description}\"");
                let url = gateway.plain_url(&format!("/{api}/oauth2/{endpoint}"));
                let method = Method::from_bytes(method.as_bytes()).unwrap();
                let reply = gateway.send(gateway.client.request(method.clone(), url)).await;
                findings.compare(
                    &format!("{method} {api} {endpoint}"),
                    &(405, plain("invalid_method", &description), Some(challenge), None),
                    &(reply.status, reply.content(), reply.header("www-authenticate"), reply.header("cache-control")),
                );
            }
        }
    }
}
