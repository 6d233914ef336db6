//! What becomes of a token: an explanation says what a request with it gets, and why.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use tollgate_tests::scenario::{Api, Application};
use tollgate_tests::{Findings, Gateway, Upstream, program};

use crate::sender_constrained::{ProofKey, bound};

/// Lines of the access log are written after responses.
const PATIENCE: Duration = Duration::from_secs(10);

/// What an operator hears.
async fn explanation(gateway: &Gateway, api: &Api, token: &str) -> Value {
    let question = json!({"route": api.name, "token": token});
    gateway.admin(Method::POST, "/oauth2_tokens/explain", question).await.expect(200).json()
}

/// Status and reason of a request with the token; `None`: it reached the upstream.
async fn refusal(gateway: &Gateway, api: &Api, case: &str, token: &str) -> Option<(u64, String)> {
    let path = format!("/{}/{case}", api.name);
    let reply = gateway.send(gateway.request(Method::GET, &path).bearer_auth(token)).await;
    if reply.status == 200 {
        return None;
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let output = gateway.output();
        let line = output.lines().rfind(|line| line.contains(&format!(" GET {path} ")));
        if let Some(reason) = line.and_then(|line| line.split(" reason=").nth(1)?.split(' ').next()) {
            return Some((reply.status.into(), reason.to_owned()));
        }
        assert!(Instant::now() < deadline, "no line about {path} in\n{output}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn issued(gateway: &Gateway, api: &Api, client: &Application, scope: &str) -> String {
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", client.id()),
        ("client_secret", client.secret()),
        ("scope", scope),
    ];
    api.token(gateway, &form).await.expect(200).json()["access_token"].as_str().unwrap().to_owned()
}

/// A token that has expired a moment ago.
async fn expired(gateway: &Gateway, api: &Api, client: &Application) -> String {
    let token = json!({
        "credential": {"id": client.credential["id"]}, "service": {"id": api.service["id"]}, "expires_in": 1,
        "scope": "email", "ttl": 600,
    });
    let token = gateway.create("/oauth2_tokens", token).await["access_token"].as_str().unwrap().to_owned();
    let deadline = Instant::now() + PATIENCE;
    while api.get(gateway, &token).await.status != 401 {
        assert!(Instant::now() < deadline, "the token does not expire");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    token
}

on_both_stores! {
    async fn an_explanation_says_what_the_request_gets(gateway: Gateway) {
        let upstream = Upstream::start().await;
        let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
        let other = Api::protected(&gateway, "other", &upstream, json!({})).await;
        let strict = Api::protected(&gateway, "strict", &upstream, json!({"required_scopes": ["email"]})).await;
        let dpop = Api::protected(&gateway, "dpop", &upstream, json!({"dpop": "optional"})).await;
        let closed = Api::protected(&gateway, "closed", &upstream, json!({})).await;
        let acl = json!({"name": "acl", "config": {"allow": ["staff"]}});
        gateway.create("/services/closed/plugins", acl).await;
        let open = Api::protected(&gateway, "open", &upstream, json!({"anonymous": "anybody"})).await;
        gateway.create("/consumers", json!({"username": "anybody"})).await;
        let header = Api::protected(&gateway, "header", &upstream, json!({"auth_header_name": "x-token"})).await;
        let client = Application::register(&gateway, "client", json!({})).await;
        let goner = Application::register(&gateway, "goner", json!({})).await;

        let good = issued(&gateway, &api, &client, "email").await;
        let revoked = issued(&gateway, &api, &client, "email").await;
        assert!(refusal(&gateway, &api, "before", &revoked).await.is_none());
        let unused = issued(&gateway, &api, &client, "email").await;
        let orphan = issued(&gateway, &api, &goner, "email").await;
        for token in [&revoked, &unused] {
            gateway.delete(&format!("/oauth2_tokens/{token}")).await;
        }
        gateway.delete("/consumers/goner").await;
        let forged = "0".repeat(32);
        let rows: [(&str, &Api, String, Option<&str>, &str); 13] = [
            ("good", &api, good.clone(), None, "service"),
            ("good-again", &api, good.clone(), None, "expiry"),
            ("expired", &api, expired(&gateway, &api, &client).await, Some("token_expired"), "expiry"),
            ("revoked", &api, revoked, Some("token_unknown"), "look_up"),
            ("unknown", &api, unused, Some("token_unknown"), "look_up"),
            ("orphan", &api, orphan, Some("token_unknown"), "look_up"),
            ("other", &other, good.clone(), Some("token_of_other_service"), "service"),
            ("forged", &api, forged.clone(), Some("token_forged"), "form"),
            ("scope", &strict, issued(&gateway, &strict, &client, "profile").await, Some("scope_insufficient"), "scope"),
            ("bound", &dpop, bound(&gateway, &dpop, &client, &ProofKey::new()).await, Some("token_bound"), "sender"),
            ("acl", &closed, issued(&gateway, &closed, &client, "email").await, Some("acl_not_allowed"), "groups"),
            ("anonymous", &open, forged, None, "anonymous"),
            ("own-header", &header, issued(&gateway, &header, &client, "email").await, None, "expiry"),
        ];
        let mut findings = Findings::new();
        for (case, api, token, reason, check) in rows {
            let told = explanation(&gateway, api, &token).await;
            let said = told["status"].as_u64().zip(told["reason"].as_str().map(str::to_owned));
            // A token in another header is not sent as a bearer token.
            let got = if case == "own-header" { None } else { refusal(&gateway, api, case, &token).await };
            findings.compare(&format!("{case}: as the request"), &got, &said);
            findings.compare(&format!("{case}: the reason"), &reason, &told["reason"].as_str());
            let verdict = if reason.is_some() { "refused" } else { "accepted" };
            findings.compare(&format!("{case}: the verdict"), &verdict, &told["verdict"].as_str().unwrap_or_default());
            let checks = told["checks"].as_array().unwrap();
            let last = checks.last().map(|check| (check["check"].as_str().unwrap(), check["verdict"].as_str().unwrap()));
            if reason.is_some() {
                findings.compare(&format!("{case}: the last check"), &Some((check, "refused")), &last);
            } else {
                let found = checks.iter().any(|told| told["check"] == check && told["verdict"] == "passed");
                findings.compare(&format!("{case}: {check}"), &true, &found);
            }
        }
    }

    async fn an_explanation_names_the_token_where_it_was_found_and_the_node(gateway: Gateway) {
        let upstream = Upstream::start().await;
        let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
        let limit = json!({"name": "rate-limiting", "config": {"minute": 1, "policy": "local"}});
        gateway.create("/services/api/plugins", limit).await;
        let client = Application::register(&gateway, "bob", json!({"client_id": "bobs-app"})).await;
        let token = issued(&gateway, &api, &client, "email").await;
        let first = explanation(&gateway, &api, &token).await;
        let again = explanation(&gateway, &api, &token).await;
        assert_eq!((&first["from"], &again["from"]), (&json!("store"), &json!("cache")));
        let node = gateway.admin_get("/").await.expect(200).json();
        let mut told = again.clone();
        let age = told["token"]["age_seconds"].as_i64().unwrap();
        assert!((0..60).contains(&age), "{told}");
        assert!((0.0..5.0).contains(&told["changes_heard_seconds_ago"].as_f64().unwrap()), "{told}");
        for name in ["age_seconds", "issued_at", "expires_at"] {
            told["token"].as_object_mut().unwrap().remove(name);
        }
        told.as_object_mut().unwrap().remove("changes_heard_seconds_ago");
        told.as_object_mut().unwrap().remove("checks");
        let hint = &token[token.len() - 4..];
        assert_eq!(told, json!({
            "node": {"id": node["node_id"], "hostname": node["hostname"]},
            "route": {"id": api.route["id"], "name": "api"},
            "service": {"id": api.service["id"], "name": "api"},
            "verdict": "accepted", "status": null, "reason": null, "from": "cache",
            "token": {
                "hint": hint, "credential": {"id": client.credential["id"], "client_id": "bobs-app"},
                "consumer": {"id": client.credential["consumer"]["id"], "username": "bob"},
                "service": {"id": api.service["id"]}, "scope": "email", "authenticated_userid": null, "bound_to": null,
            },
            "not_run": ["rate-limiting"],
        }));
        let checks: Vec<&str> = again["checks"].as_array().unwrap().iter().map(|c| c["check"].as_str().unwrap()).collect();
        assert_eq!(checks, ["form", "look_up", "service", "expiry", "audience"]);
        // It was explained three times and more, and the only request of this minute passes.
        api.get(&gateway, &token).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_asked_about_in_the_body_with_the_role_that_reads() {
    let mut gateway = Gateway::on(tollgate_tests::Store::Sqlite, &[("TOLLGATE_ADMIN_AUTH", "tokens")]).await;
    let (made, reader) = gateway.tool(&["admin-token", "create", "reader", "--role", "read"]);
    assert!(made, "{reader}");
    gateway.make_admin_token();
    let upstream = Upstream::start().await;
    let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
    Api::open(&gateway, "open", &upstream).await;
    gateway.admin_token = Some(reader.trim().to_owned());
    let told = explanation(&gateway, &api, "0000").await;
    assert_eq!((&told["verdict"], &told["reason"]), (&json!("refused"), &json!("token_forged")));
    let path = "/oauth2_tokens/explain";
    for (path, body, status, message) in [
        (path, json!({"route": "api"}), 400, "expected route (id or name) and token in the body"),
        (path, json!({"token": "0000"}), 400, "expected route (id or name) and token in the body"),
        (path, json!({"route": "nowhere", "token": "0000"}), 404, "No entity named 'nowhere'"),
        (path, json!({"route": "open", "token": "0000"}), 400, "no plugin of this route looks for tokens"),
        (path, json!({"route": "api", "token": "a\nb"}), 400, "the token has characters that no header can carry"),
        (
            "/oauth2_tokens/explain?route=api",
            json!({"token": "0000"}),
            400,
            "send route and token in the body, and nothing in the URL",
        ),
    ] {
        let reply = gateway.admin(Method::POST, path, body.clone()).await;
        assert_eq!((reply.status, &reply.json()["message"]), (status, &json!(message)), "{body}");
    }
    assert_eq!(gateway.admin_get(path).await.status, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_reads_the_token_from_standard_input() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
    let client = Application::register(&gateway, "bob", json!({"client_id": "bobs-app"})).await;
    let token = issued(&gateway, &api, &client, "email").await;
    let ask = |route: &str, token: &str, more: &[&str]| {
        let mut command = Command::new(program("tollgate"));
        command.env_remove("TOLLGATE_CONFIG").current_dir(gateway.directory());
        let admin = gateway.addresses.admin.as_str();
        command.args(["explain", "--route", route, "--admin", admin]).args(more);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = command.spawn().unwrap();
        running.stdin.take().unwrap().write_all(token.as_bytes()).unwrap();
        let output = running.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, told, _) = ask("api", &format!("{token}\n"), &[]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.starts_with("accepted on route api\n"), "{told}");
    assert!(told.contains("token of client bobs-app (consumer bob), ") && !told.contains(&token), "{told}");
    let (code, told, _) = ask("api", &token, &["--json"]);
    assert_eq!((code, &serde_json::from_str::<Value>(&told).unwrap()["verdict"]), (Some(0), &json!("accepted")));
    let (code, _, complaint) = ask("nowhere", &token, &[]);
    assert_eq!(code, Some(1));
    assert!(complaint.contains("404: No entity named 'nowhere'"), "{complaint}");
    let (code, _, complaint) = ask("api", "\n", &[]);
    assert_eq!(code, Some(1));
    assert!(complaint.contains("no token on standard input"), "{complaint}");
}
