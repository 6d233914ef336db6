//! Keys: where they come from, how they change, and what happens while nobody can tell.

use tollgate_tests::issuer::METADATA;

use super::*;

/// The response while the keys of an issuer are unknown.
fn unavailable() -> Whole {
    let body = json!({"message": "The authorization state is currently unavailable"});
    let headers = [
        ("content-length", "117"),
        ("content-type", "application/json; charset=utf-8"),
        ("retry-after", "1"),
        ("server", tollgate_tests::SERVER),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Whole { status: 503, headers, body }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_from_a_url_from_metadata_or_from_the_configuration() {
    const OAUTH: &str = "/.well-known/oauth-authorization-server";
    let world = World::new().await;
    let metadata = json!({"issuer": world.issuer.url(), "jwks_uri": world.issuer.keys_url()}).to_string();
    let (discovery, fixed) = (json!({"jwks_uri": null, "discovery": true}), key_set(&[&world.key]).to_string());
    let token = world.token(json!({}));
    let mut before = 0;
    let mut findings = Findings::new();
    for (name, fields, requests) in [
        ("url", json!({}), vec![KEYS]),
        ("openid", discovery.clone(), vec![METADATA, KEYS]),
        ("oauth", laid_over(discovery, json!({"timeout": 9_000})), vec![METADATA, OAUTH, KEYS]),
        ("fixed", json!({"jwks_uri": null, "jwks": fixed}), vec![]),
    ] {
        if name == "oauth" {
            world.issuer.put(METADATA, 404, "");
            world.issuer.put(OAUTH, 200, &metadata);
        }
        world.protect(name, json!({"issuers": [world.entry(fields)]})).await;
        findings.compare(name, &200, &world.get(&format!("/{name}/x"), &token).await.status);
        let all = world.issuer.requests();
        findings.compare(&format!("{name}: requests"), &requests, &all[before..].iter().map(String::as_str).collect());
        before = all.len();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_issuers_certificate_is_verified_as_configured() {
    let world = World::new().await;
    // Speaks TLS for the issuer.
    let front = Gateway::on_sqlite().await;
    front.create("/services", json!({"name": "issuer", "url": world.issuer.url()})).await;
    front.create("/services/issuer/routes", json!({"paths": ["/issuer"]})).await;
    let url = front.url(&format!("/issuer{KEYS}"));
    let token = world.token(json!({}));
    let mut findings = Findings::new();
    for (name, fields, status) in [
        ("own", json!({"tls_ca": front.certificate()}), 200),
        ("unverified", json!({"tls_verify": false}), 200),
        ("system", json!({}), 503),
        ("other", json!({"tls_ca": world.gateway.certificate()}), 503),
    ] {
        let entry = world.entry(laid_over(json!({"jwks_uri": url}), fields));
        world.protect(name, json!({"issuers": [entry]})).await;
        findings.compare(name, &status, &world.get(&format!("/{name}/x"), &token).await.status);
    }
    let warning = "tls_verify is false: whoever is between here and this authority can read and change its responses";
    let output = world.gateway.output();
    findings.compare("warnings", &1, &output.lines().filter(|line| line.contains(warning)).count());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_does_not_say_its_keys_is_503_and_one_clear_line_in_the_log() {
    let world = World::new().await;
    let at = world.issuer.url().trim_start_matches("http://");
    let elsewhere = json!({"issuer": "https://other.example", "jwks_uri": world.issuer.keys_url()}).to_string();
    let oversize = format!("{{\"keys\":[],\"a\":\"{}\"}}", "a".repeat(1 << 20));
    let rows = [
        (
            "down",
            json!({}),
            KEYS,
            503,
            "",
            format!("{at}{KEYS}: unexpected status 503 Service Unavailable; check the URL"),
        ),
        ("moved", json!({}), KEYS, 302, "", format!("{at}{KEYS}: unexpected status 302 Found; check the URL")),
        ("html", json!({}), KEYS, 200, "<html>", format!("{at}{KEYS}: the key set is malformed: not valid JSON")),
        (
            "twice",
            json!({}),
            KEYS,
            200,
            r#"{"keys":[],"keys":[]}"#,
            format!("{at}{KEYS}: the key set is malformed: a member is repeated"),
        ),
        ("none", json!({}), KEYS, 200, "{}", format!("{at}{KEYS}: the key set has no array `keys`")),
        ("huge", json!({}), KEYS, 200, &oversize, format!("{at}{KEYS}: response body is larger than 1048576 bytes")),
        (
            "other",
            json!({"jwks_uri": null, "discovery": true}),
            METADATA,
            200,
            &elsewhere,
            format!(
                "{at}{METADATA}: the metadata is of the issuer \"https://other.example\"; configure exactly that, or another URL"
            ),
        ),
    ];
    let mut findings = Findings::new();
    for (index, (name, fields, path, status, body, why)) in rows.into_iter().enumerate() {
        world.issuer.put(path, status, body);
        // Each with a source of its own.
        let fields = laid_over(fields, json!({"timeout": 5_000 + index}));
        world.protect(name, json!({"issuers": [world.entry(fields)]})).await;
        let token = world.token(json!({"jti": name}));
        for _ in 0..2 {
            findings.compare(name, &unavailable(), &whole(&world.get(&format!("/{name}/x"), &token).await));
        }
        let output = world.gateway.output();
        let told = output.lines().filter(|line| line.contains(&why) && line.contains(world.issuer.url())).count();
        findings.compare(&format!("{name}: lines in the log that say why"), &1, &told);
    }
    findings.compare("requests to the upstream", &0, &world.upstream.requests());
    let cannot_tell = world.lookups("cannot_tell").await;
    findings.compare("look-ups that ended so", &14.0, &cannot_tell);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_issuer_keeps_a_request_no_longer_than_its_timeout() {
    let world = World::new().await;
    world.protect("api", json!({"issuers": [world.entry(json!({"timeout": 300}))]})).await;
    world.issuer.hold();
    let began = Instant::now();
    assert_eq!(whole(&world.get("/api/x", &world.token(json!({}))).await), unavailable());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    world.issuer.release();
    until("the issuer to be asked again", async || world.get("/api/x", &world.token(json!({}))).await.status == 200)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_passes_after_one_fetch_and_a_withdrawn_one_ends_with_the_refresh() {
    let world = World::new().await;
    let entry = world.entry(json!({"key_refresh": 2, "key_min_refresh": 1}));
    world.protect("api", json!({"issuers": [entry]})).await;
    let old = world.token(json!({}));
    world.get("/api/x", &old).await.expect(200);
    let (new, next) = (IssuerKey::generate("k2", "RS256"), IssuerKey::generate("k1", "ES256"));
    world.issuer.publish(&[&world.key, &new]);
    until("the new key", async || {
        let id = uuid::Uuid::new_v4().to_string();
        world.get("/api/x", &new.token(&world.claims(json!({"jti": id})))).await.status == 200
    })
    .await;
    world.get("/api/x", &old).await.expect(200);
    world.issuer.publish(&[&new]);
    let withdrawn = Instant::now();
    until("the end of the old key", async || world.get("/api/x", &old).await.status == 401).await;
    assert!(withdrawn.elapsed() < Duration::from_secs(6), "{:?}", withdrawn.elapsed());
    assert_eq!(whole(&world.get("/api/x", &old).await), invalid());
    let fresh = world.token(json!({"jti": "fresh"}));
    assert_eq!(whole(&world.get("/api/x", &fresh).await), invalid(), "nor is anything else signed with it");
    world.get("/api/x", &new.token(&world.claims(json!({})))).await.expect(200);
    world.issuer.publish(&[&new, &next]);
    let reused = next.token(&world.claims(json!({"jti": "reused"})));
    until("another key of the old name", async || world.get("/api/x", &reused).await.status == 200).await;
    assert_eq!(world.get("/api/x", &old).await.status, 401, "which is another key");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_keys_cause_no_more_fetches_than_the_limit() {
    let world = World::new().await;
    let entry = world.entry(json!({"key_min_refresh": 3600}));
    world.protect("api", json!({"issuers": [entry]})).await;
    world.get("/api/x", &world.token(json!({}))).await.expect(200);
    let tokens: Vec<String> = (0..40)
        .map(|nth| world.key.named(&format!("unknown-{nth}"), "ES256").token(&world.claims(json!({}))))
        .collect();
    let replies = join_all(tokens.iter().map(|token| world.get("/api/x", token))).await;
    assert!(replies.iter().all(|reply| whole(reply) == invalid()));
    assert_eq!(world.issuer.key_requests(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn known_keys_are_used_while_the_issuer_is_down_but_not_for_ever() {
    let world = World::new().await;
    let entry = world.entry(json!({"key_refresh": 1, "key_min_refresh": 1, "key_max_stale": 4}));
    world.protect("api", json!({"issuers": [entry]})).await;
    let cached = world.token(json!({}));
    world.get("/api/x", &cached).await.expect(200);
    world.issuer.put(KEYS, 500, "");
    let (fetched, before) = (Instant::now(), world.issuer.key_requests());
    until("a refresh that fails", async || world.issuer.key_requests() > before).await;
    let fresh = world.token(json!({"jti": "fresh"}));
    let both = [world.get("/api/x", &cached).await.status, world.get("/api/x", &fresh).await.status];
    // On a machine that was stopped for so long they have ended rightly.
    assert!(both == [200, 200] || fetched.elapsed() > Duration::from_secs(4), "{both:?}");
    until("the end of the keys", async || world.get("/api/x", &cached).await.status != 200).await;
    assert!(fetched.elapsed() > Duration::from_secs(2), "{:?}", fetched.elapsed());
    for token in [&cached, &fresh] {
        assert_eq!(whole(&world.get("/api/x", token).await), unavailable());
    }
    world.issuer.publish(&[&world.key]);
    until("the issuer to be back", async || world.get("/api/x", &cached).await.status == 200).await;
}
