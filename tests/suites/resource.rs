//! Access to a protected API (oauth2.md §4): where the token is read from, the verdicts, the identity headers, and
//! what is hidden from the upstream.

use http::Method;
use serde_json::{Value, json};
use tollgate_tests::scenario::{Api, Application};
use tollgate_tests::{Findings, Gateway, Reply, Upstream, raw};

const MISSING: (&str, &str) = ("invalid_request", "The access token is missing");
const INVALID: (&str, &str) = ("invalid_token", "The access token is invalid or has expired");
const INVALID_CHALLENGE: &str =
    "error=\"invalid_token\", error_description=\"The access token is invalid or has expired\"";

const FORM: &str = "application/x-www-form-urlencoded";

type Seen = (u16, Value, Option<String>);

fn seen(reply: &Reply) -> Seen {
    (reply.status, reply.content(), reply.header("www-authenticate"))
}

fn missing(challenge: &str) -> Seen {
    (401, json!({"error": MISSING.0, "error_description": MISSING.1}), Some(challenge.to_owned()))
}

fn invalid(challenge: &str) -> Seen {
    (401, json!({"error": INVALID.0, "error_description": INVALID.1}), Some(challenge.to_owned()))
}

/// A token for `kate` with the scope `email`.
async fn token(gateway: &Gateway, api: &Api, client: &Application) -> String {
    api.tokens(gateway, client).await["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_found_in_the_documented_places_and_order() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
    let client = Application::register(&gateway, "client", json!({})).await;
    let token = token(&gateway, &api, &client).await;
    let token = token.as_str();
    let challenge = format!("Bearer {INVALID_CHALLENGE}");
    let absent = missing("Bearer");
    let wrong = invalid(&challenge);

    // Header, query, form, and the expected result; `None` is the upstream's response.
    type Row<'a> = (String, Option<&'a str>, Option<&'a str>, Option<Seen>);
    let rows: Vec<Row<'_>> = vec![
        (format!("Bearer {token}"), None, None, None),
        (format!("bearer {token}"), None, None, None),
        (format!("BEARER {token}"), None, None, None),
        (format!("token {token}"), None, None, None),
        (token.to_owned(), None, None, None),
        (format!("Bearer  {token}"), None, None, None),
        ("Bearer bogus".to_owned(), None, None, Some(wrong.clone())),
        ("Basic abc".to_owned(), None, None, Some(wrong.clone())),
        (format!("Bearer {token} more"), None, None, Some(wrong.clone())),
        ("-".to_owned(), None, None, Some(absent.clone())),
        ("-".to_owned(), Some(token), None, None),
        ("-".to_owned(), Some("bogus"), None, Some(wrong.clone())),
        ("-".to_owned(), None, Some(token), None),
        ("-".to_owned(), Some("bogus"), Some(token), None),
        ("-".to_owned(), Some(token), Some("bogus"), Some(wrong.clone())),
        ("Bearer bogus".to_owned(), Some(token), None, Some(wrong.clone())),
        ("Basic abc".to_owned(), None, Some(token), Some(wrong)),
        (String::new(), Some(token), None, Some(absent)),
    ];
    let mut findings = Findings::new();
    for (header, query, form, expected) in rows {
        let method = if form.is_some() { Method::POST } else { Method::GET };
        let mut request = gateway.request(method, "/api/things");
        if header != "-" {
            request = request.header("authorization", &header);
        }
        if let Some(token) = query {
            request = request.query(&[("access_token", token)]);
        }
        if let Some(token) = form {
            request = request.form(&[("access_token", token)]);
        }
        let reply = gateway.send(request).await;
        let row = format!("header {header:?}, query {query:?}, form {form:?}");
        match expected {
            None => findings.compare(&row, &200, &reply.status),
            Some(expected) => findings.compare(&row, &expected, &seen(&reply)),
        }
    }
    let twice = gateway.request(Method::GET, "/api/things").query(&[("access_token", token), ("access_token", token)]);
    findings.compare("access_token twice", &missing("Bearer"), &seen(&gateway.send(twice).await));
    let json = gateway.request(Method::POST, "/api/things").json(&json!({"access_token": token}));
    findings.compare("JSON body", &200, &gateway.send(json).await.status);
    let twice = format!(r#"{{"access_token":"{token}","access_token":"{token}"}}"#);
    let json = gateway.request(Method::POST, "/api/things").header("content-type", "application/json").body(twice);
    findings.compare("twice in JSON", &missing("Bearer"), &seen(&gateway.send(json).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn challenges_carry_the_realm_and_options_needs_a_token() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    Api::protected(&gateway, "api", &upstream, json!({"realm": "R"})).await;
    let mut findings = Findings::new();
    for method in [Method::GET, Method::POST, Method::OPTIONS, Method::DELETE] {
        let reply = gateway.send(gateway.request(method.clone(), "/api/things")).await;
        findings.compare(&format!("{method} without"), &missing("Bearer realm=\"R\""), &seen(&reply));
        let reply = gateway.send(gateway.request(method.clone(), "/api/things").bearer_auth("bogus")).await;
        let challenge = format!("Bearer realm=\"R\", {INVALID_CHALLENGE}");
        findings.compare(&format!("{method} with an unknown token"), &invalid(&challenge), &seen(&reply));
    }
    for token in ["\u{1}", "a\"b", "%00", "'; DROP TABLE x; --", &"a".repeat(4000)] {
        let reply = gateway.send(gateway.request(Method::GET, "/api/things").query(&[("access_token", token)])).await;
        findings.compare(&format!("hostile token {token:.20?}"), &401, &reply.status);
    }
    findings.compare("nothing reached the upstream", &0, &upstream.requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_header_may_carry_the_token_and_the_client() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let config = json!({"auth_header_name": "custom_header"});
    let api = Api::protected(&gateway, "api", &upstream, config).await;
    let client = Application::register(&gateway, "client", json!({})).await;
    let token = token(&gateway, &api, &client).await;
    let request = gateway.request(Method::GET, "/api/things").header("custom-header", format!("Bearer {token}"));
    gateway.send(request).await.expect(200);
    api.get(&gateway, &token).await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_gets_the_gateways_identity_headers_and_never_the_clients() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
    Api::open(&gateway, "open", &upstream).await;
    let client = Application::register(&gateway, "client", json!({})).await;
    let token = token(&gateway, &api, &client).await;
    const NAMES: [&str; 7] = [
        "x-consumer-id",
        "x-consumer-custom-id",
        "x-consumer-username",
        "x-credential-identifier",
        "x-authenticated-scope",
        "x-authenticated-userid",
        "x-anonymous-consumer",
    ];
    let consumer = client.credential["consumer"]["id"].clone();
    let identity =
        [consumer, json!("client-custom"), json!("client"), json!(client.id()), json!("email"), json!("kate")];
    let nobody = vec![Value::Null; NAMES.len()];
    let somebody: Vec<Value> = identity.into_iter().map(|value| json!([value])).chain([Value::Null]).collect();

    // Every field that reads as an identity header: any case, underscores, repeated, named in Connection.
    let connection = format!("close, {}", NAMES.join(", "));
    let mut forged = vec![("Connection".to_owned(), connection)];
    for name in NAMES {
        forged.push((name.to_owned(), "forged".to_owned()));
        forged.push((name.to_uppercase(), "forged".to_owned()));
        forged.push((name.replace('-', "_"), "forged".to_owned()));
        forged.push((name.replacen('-', "_", 1), "forged".to_owned()));
    }
    let mut findings = Findings::new();
    let bearer = format!("Bearer {token}");
    for (path, expected) in [("/api/things", somebody), ("/open/things", nobody)] {
        let mut request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {bearer}\r\n", gateway.http);
        for (name, value) in &forged {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        let reply = raw::exchange(&gateway.http.to_string(), request.as_bytes()).await.expect("a response");
        let headers = reply.content()["headers"].clone();
        let got: Vec<_> = NAMES.iter().map(|name| headers[*name].clone()).collect();
        findings.compare(path, &(200, expected), &(reply.status, got));
        let check = if headers.to_string().contains("forged") { Err(headers.to_string()) } else { Ok(()) };
        findings.check(&format!("{path}: nothing forged"), check);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_requests_become_anonymous() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let stranger = gateway.create("/consumers", json!({"username": "stranger"})).await;
    let by_id = Api::protected(&gateway, "byid", &upstream, json!({"anonymous": stranger["id"]})).await;
    let by_name = Api::protected(&gateway, "byname", &upstream, json!({"anonymous": "stranger"})).await;
    let nobody = Api::protected(&gateway, "nobody", &upstream, json!({"anonymous": "nobody-there"})).await;
    let client = Application::register(&gateway, "client", json!({})).await;
    let mut findings = Findings::new();
    for api in [&by_id, &by_name] {
        for token in [None, Some("bogus")] {
            let mut request = gateway.request(Method::GET, &format!("/{}/things", api.name));
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            let reply = gateway.send(request).await;
            let headers = &reply.content()["headers"];
            let got =
                ["x-consumer-username", "x-anonymous-consumer", "x-credential-identifier", "x-authenticated-userid"]
                    .map(|name| headers[name].clone());
            let expected = [json!(["stranger"]), json!(["true"]), Value::Null, Value::Null];
            findings.compare(&format!("{} with {token:?}", api.name), &(200, expected), &(reply.status, got));
        }
        let token = token(&gateway, api, &client).await;
        let headers = api.get(&gateway, &token).await.content()["headers"].clone();
        let got = (headers["x-consumer-username"].clone(), headers["x-anonymous-consumer"].clone());
        findings.compare(&format!("{} with a good token", api.name), &(json!(["client"]), Value::Null), &got);
    }
    let reply = gateway.send(gateway.request(Method::GET, "/nobody/things")).await;
    let message = "anonymous consumer nobody-there is configured but doesn't exist";
    findings.compare(&nobody.name, &(500, json!(message)), &(reply.status, reply.content()["message"].clone()));
    let fields: Vec<String> =
        reply.content().as_object().map(|body| body.keys().cloned().collect()).unwrap_or_default();
    findings.compare("its body", &vec!["message".to_owned(), "request_id".to_owned()], &fields);
}

#[tokio::test(flavor = "multi_thread")]
async fn hidden_credentials_do_not_reach_the_upstream() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let api = Api::protected(&gateway, "api", &upstream, json!({"hide_credentials": true})).await;
    let shown = Api::protected(&gateway, "shown", &upstream, json!({})).await;
    let client = Application::register(&gateway, "client", json!({})).await;
    let token = token(&gateway, &api, &client).await;
    let mut findings = Findings::new();

    let seen = api.get(&gateway, &token).await.content();
    findings.compare("header", &Value::Null, &seen["headers"]["authorization"]);
    let query = format!("/api/things?z=1&access_token={token}&a=2");
    let seen = gateway.send(gateway.request(Method::GET, &query)).await.content();
    findings.compare("query", &json!("/things?a=2&z=1"), &seen["uri"]);
    let only = format!("/api/things?access_token={token}");
    let seen = gateway.send(gateway.request(Method::GET, &only)).await.content();
    findings.compare("only the token", &json!("/things"), &seen["uri"]);
    let form = gateway.request(Method::POST, "/api/things").form(&[("z", "1"), ("access_token", &token), ("a", "2")]);
    let seen = gateway.send(form).await.content();
    findings.compare("form", &json!("a=2&z=1"), &seen["body"]);
    let deletion = gateway.request(Method::DELETE, &query).form(&[("z", "1"), ("access_token", "another"), ("a", "2")]);
    let seen = gateway.send(deletion).await.content();
    findings.compare("query of a request whose form is not searched", &json!("/things?a=2&z=1"), &seen["uri"]);
    findings.compare("its form", &json!("a=2&z=1"), &seen["body"]);
    let raw = gateway.request(Method::GET, "/api/things").header("authorization", &token);
    let seen = gateway.send(raw).await.content();
    findings.compare("a header without a scheme", &Value::Null, &seen["headers"]["authorization"]);
    let both = gateway.request(Method::GET, &query).header("authorization", &token);
    let seen = gateway.send(both).await.content();
    findings.compare("the query, token also in the header", &json!("/things?a=2&z=1"), &seen["uri"]);
    let document = json!({"access_token": token});
    let seen = gateway.send(gateway.request(Method::POST, "/api/things").json(&document)).await.content();
    findings.compare("JSON", &json!("{}"), &seen["body"]);
    let document = format!("{{\"a\": 1.0,\"access_token\":\"{token}\"}}");
    let copy = gateway.request(Method::POST, "/api/things").header("content-type", "application/json").body(document);
    let seen = gateway.send(copy.bearer_auth(&token)).await.content();
    findings.compare("JSON, token also in the header", &json!("{\"a\": 1.0}"), &seen["body"]);
    let part =
        |name: &str, value: &str| format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    let parts = part("a", "1") + &part("access_token", &token) + "--b--\r\n";
    let parts = gateway.request(Method::POST, "/api/things").body(parts);
    let seen = gateway.send(parts.header("content-type", "multipart/form-data; boundary=b")).await.content();
    findings.compare("multipart", &json!(part("a", "1") + "--b--\r\n"), &seen["body"]);

    let many: Vec<String> = (100..250).map(|number| format!("a{number}=1")).collect();
    let query = format!("/api/things?{}&access_token={token}", many.join("&"));
    let seen = gateway.send(gateway.request(Method::GET, &query).bearer_auth(&token)).await.content();
    findings.compare(
        "argument 151, token also in the header",
        &json!(format!("/things?{}", many.join("&"))),
        &seen["uri"],
    );
    let form = format!("{}&access_token={token}", many.join("&"));
    let copy = gateway.request(Method::POST, "/api/things").header("content-type", FORM).body(form).bearer_auth(&token);
    findings.compare("the same in a form", &json!(many.join("&")), &gateway.send(copy).await.content()["body"]);
    let before = upstream.requests();
    for large in [format!("access_token={token}&a={}", "x".repeat(65_536)), format!("a={}", "x".repeat(200_000))] {
        let request = gateway.request(Method::POST, "/api/things").header("content-type", FORM).body(large.clone());
        let status = gateway.send(request.bearer_auth(&token)).await.status;
        findings.compare(&format!("a form of {} bytes", large.len()), &413, &status);
        let request = gateway.request(Method::POST, "/shown/things").header("content-type", FORM).body(large);
        let own = self::token(&gateway, &shown, &client).await;
        findings.compare("where nothing is hidden", &200, &gateway.send(request.bearer_auth(&own)).await.status);
    }
    findings.compare("no large form was passed on where tokens are hidden", &(before + 2), &upstream.requests());
    let large = gateway.request(Method::POST, "/api/things").json(&json!({"a": "x".repeat(200_000)}));
    findings.compare("large JSON", &200, &gateway.send(large.bearer_auth(&token)).await.status);

    let own = self::token(&gateway, &shown, &client).await;
    let seen = shown.get(&gateway, &own).await.content();
    findings.compare("shown", &json!([format!("Bearer {own}")]), &seen["headers"]["authorization"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn cache_keys_show_what_requests_have_cached() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
    let client = Application::register(&gateway, "client", json!({})).await;
    let credential = client.credential["id"].as_str().unwrap();
    let consumer = client.credential["consumer"]["id"].as_str().unwrap();
    let keys = [
        format!("/cache/oauth2_credentials:{}:::::workspace", client.id()),
        format!("/cache/oauth2_credentials:{credential}:::::workspace"),
        format!("/cache/consumers:{consumer}:::::workspace"),
    ];
    let shown = async || {
        let mut shown = Vec::new();
        for key in &keys {
            let reply = gateway.admin_get(key).await;
            shown.push((reply.status, reply.content()["id"].as_str().map(str::to_owned)));
        }
        shown
    };
    let absent = (404, None);
    let there = |id: &str| (200, Some(id.to_owned()));
    let mut findings = Findings::new();

    findings.compare("before any request", &vec![absent.clone(); 3], &shown().await);
    let token = token(&gateway, &api, &client).await;
    api.get(&gateway, &token).await.expect(200);
    let all = vec![there(credential), there(credential), there(consumer)];
    findings.compare("after one", &all, &shown().await);
    gateway.change("/consumers/client", json!({"custom_id": "another"})).await;
    findings.compare("after a change of the consumer", &absent, &shown().await[2]);
    api.get(&gateway, &token).await.expect(200);
    findings.compare("queried again", &there(consumer), &shown().await[2]);
    gateway.admin(Method::DELETE, &keys[2], Value::Null).await.expect(204);
    findings.compare("forgotten", &absent, &shown().await[2]);
    gateway.delete(&format!("/oauth2/{credential}")).await;
    findings.compare("after the credential's deletion", &vec![absent.clone(); 2], &shown().await[..2].to_vec());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_endpoints_are_recognised_by_the_end_of_the_path() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    Api::protected(&gateway, "api", &upstream, json!({})).await;
    let mut findings = Findings::new();
    // 400 comes from an endpoint, 401 from the guard.
    for (path, status) in [
        ("/api/oauth2/token", 400),
        ("/api/oauth2/token/", 400),
        ("/api/a/b/oauth2/token", 400),
        ("/api//oauth2//token", 400),
        ("/api/x/../oauth2/token", 400),
        ("/api/oauth2/%74oken", 400),
        ("/api/oauth2/authorize", 400),
        ("/api/oauth2/authorize/", 400),
        ("/apioauth2/token", 401),
        ("/api/xoauth2/token", 401),
        ("/api/oauth2/TOKEN", 401),
        ("/api/oauth2/tokens", 401),
        ("/api/oauth2/token/x", 401),
        ("/api/oauth2", 401),
    ] {
        let request = format!("POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        let reply = raw::exchange(&gateway.http.to_string(), request.as_bytes()).await.expect("a response");
        findings.compare(path, &status, &reply.status);
    }
}
