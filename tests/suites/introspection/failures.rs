//! An authority that does not say whether a token is valid: 503, never 401, never accepted (introspection.md §2).

use tollgate_tests::Findings;

use super::*;

/// Waits for the line of the access log with this reason and the reply's id.
async fn logged(gateway: &Gateway, reply: &Reply, reason: &str) {
    let id = reply.json()["request_id"].as_str().expect("an id").to_owned();
    let reason = format!("reason={reason}");
    let has_both = |line: &str| line.contains(&reason) && line.contains(&id);
    until(&reason, || async { gateway.output().lines().any(has_both) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_says_nothing_is_503_and_is_not_cached() {
    const MALFORMED: &str = "authority_response_malformed";
    let gateway = Gateway::on_sqlite().await;
    let (upstream, authority) = (Upstream::start().await, Authority::start().await);
    protected(&gateway, "api", &upstream, &authority, json!({"anonymous": "guest"})).await;
    gateway.create("/consumers", json!({"username": "guest"})).await;
    let json = |body: &str| Response::of("application/json", body);
    let large = json!({"active": true, "padding": "x".repeat(64 * 1024)});
    let redirect = Response { headers: "Location: /elsewhere\r\n".to_owned(), ..Response::status("302 Found") };
    let rows = [
        ("not JSON", json("active"), MALFORMED),
        ("nothing", json(""), MALFORMED),
        ("an array", json(r#"[{"active":true}]"#), MALFORMED),
        ("no active", json(r#"{"sub":"kate"}"#), MALFORMED),
        ("active is text", json(r#"{"active":"true"}"#), MALFORMED),
        ("a repeated member", json(r#"{"active":false,"active":true}"#), MALFORMED),
        ("a wrong type", json(r#"{"active":true,"exp":"tomorrow"}"#), MALFORMED),
        ("too large", Response::json(&large), MALFORMED),
        ("a page", Response::of("text/html", "<html></html>"), MALFORMED),
        ("JSON as a page", Response::of("text/html", r#"{"active":true}"#), MALFORMED),
        ("signed", Response::of("application/token-introspection+jwt", "e30.e30.c2ln"), MALFORMED),
        ("redirected", redirect, MALFORMED),
        ("bad request", Response::status("400 Bad Request"), MALFORMED),
        ("unauthorized", Response::status("401 Unauthorized"), "authority_credentials_refused"),
        ("forbidden", Response::status("403 Forbidden"), "authority_credentials_refused"),
        ("too many requests", Response::status("429 Too Many Requests"), "authority_unavailable"),
        ("failed", Response::status("500 Internal Server Error"), "authority_unavailable"),
    ];
    let mut findings = Findings::new();
    for (nth, (name, response, reason)) in rows.into_iter().enumerate() {
        let token = format!("token-number-{nth:06}");
        authority.always_responds(Some(response));
        let reply = get(&gateway, "/api/x", &token).await;
        findings.compare(name, &unavailable(), &refusal(&reply));
        logged(&gateway, &reply, reason).await;
        authority.always_responds(None);
        authority.knows(&token, json!({"sub": "kate"}));
        let echoed = get(&gateway, "/api/x", &token).await;
        let sub = echoed.content()["headers"]["x-credential-sub"].clone();
        findings.compare(&format!("{name}, then active"), &(200, json!(["kate"])), &(echoed.status, sub));
        findings.compare(&format!("{name}: calls"), &vec![token.clone(), token], &authority.asked());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_that_an_authority_refuses_the_gateway() {
    let gateway = Gateway::on_sqlite().await;
    let (upstream, authority) = (Upstream::start().await, Authority::start().await);
    gateway.secrets.add(AUTHORIZATION);
    gateway.secrets.add("token-of-kate-1234");
    protected(&gateway, "api", &upstream, &authority, json!({})).await;
    authority.always_responds(Some(Response::status("401 Unauthorized")));
    for _ in 0..3 {
        assert_eq!(refusal(&get(&gateway, "/api/x", "token-of-kate-1234").await), unavailable());
    }
    let lines = || -> Vec<String> {
        let output = gateway.output();
        output.lines().filter(|line| line.contains("cannot verify tokens")).map(str::to_owned).collect()
    };
    until("a failure is logged", || async { !lines().is_empty() }).await;
    let [line] = &lines()[..] else { panic!("an outage is one line: {:?}", lines()) };
    let text =
        format!("authority {} responds with status 401; it refuses this gateway's own credentials", authority.url());
    assert!(line.contains(&text), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_does_not_come_in_time_is_503() {
    let gateway = Gateway::on_sqlite().await;
    let (upstream, authority) = (Upstream::start().await, Authority::start().await);
    protected(&gateway, "api", &upstream, &authority, json!({"timeout": 200})).await;
    authority.knows("token-of-kate-1234", json!({}));
    authority.hold();
    let began = Instant::now();
    let reply = get(&gateway, "/api/x", "token-of-kate-1234").await;
    assert_eq!(refusal(&reply), unavailable());
    assert!(began.elapsed() >= Duration::from_millis(200), "after {:?}", began.elapsed());
    logged(&gateway, &reply, "authority_unavailable").await;
    authority.release();
    until("it is accepted", || async { get(&gateway, "/api/x", "token-of-kate-1234").await.status == 200 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_authority_is_down_cached_tokens_go_on_within_ttl_and_longer_only_if_that_is_configured() {
    let gateway = Gateway::on_sqlite().await;
    let (upstream, mut authority) = (Upstream::start().await, Authority::start().await);
    protected(&gateway, "fresh", &upstream, &authority, json!({"ttl": 3600})).await;
    protected(&gateway, "short", &upstream, &authority, json!({"ttl": 0.1})).await;
    protected(&gateway, "stale", &upstream, &authority, json!({"ttl": 0.1, "serve_stale_for": 3600})).await;
    for token in ["token-of-kate-1234", "token-of-paul-1234"] {
        authority.knows(token, json!({}));
        for path in ["/fresh/x", "/short/x", "/stale/x"] {
            get(&gateway, path, token).await.expect(200);
        }
    }
    authority.stop().await;
    until("its word is too old", || async { get(&gateway, "/short/x", "token-of-kate-1234").await.status == 503 })
        .await;
    assert_eq!(refusal(&get(&gateway, "/short/x", "token-of-kate-1234").await), unavailable());
    for path in ["/fresh/x", "/stale/x"] {
        get(&gateway, path, "token-of-kate-1234").await.expect(200);
        assert_eq!(refusal(&get(&gateway, path, "unknown-token-1234").await), unavailable(), "{path}");
    }
    let stale = gateway.metric("tollgate_third_party_token_authority_lookups_total", &["result=\"stale\""]).await;
    assert!(stale >= 1.0, "accepted {stale} times beyond its ttl");
    // Back again: what it says counts at once where its word is too old.
    authority.revokes("token-of-paul-1234");
    authority.start_again().await;
    until("it is asked again", || async { get(&gateway, "/stale/x", "token-of-paul-1234").await.status == 401 }).await;
    until("it is asked again", || async { get(&gateway, "/short/x", "token-of-kate-1234").await.status == 200 }).await;
}
