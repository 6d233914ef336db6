//! What the upstream hears of a token (introspection.md §3), and what it does not hear.

use tollgate_tests::Findings;

use super::*;

/// The header lines of the upstream's request that tell an identity or carry a credential.
fn identity(echoed: &Value) -> Value {
    let told = |name: &str| {
        name.starts_with("x-consumer") || name.starts_with("x-credential") || name.starts_with("x-anonymous")
    };
    let headers = echoed["headers"].as_object().unwrap().iter();
    headers
        .filter(|(name, _)| told(name) || *name == "authorization")
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_hears_what_the_authority_says_introspection_3() {
    let gateway = Gateway::on_sqlite().await;
    let (upstream, authority) = (Upstream::start().await, Authority::start().await);
    let kate = gateway.create("/consumers", json!({"username": "kate", "custom_id": "k-1"})).await;
    let app = gateway.create("/consumers", json!({"username": "app"})).await;
    let claims = json!(["realm_access.roles", "https://api.example/tenant", "level", "object", "list"]);
    protected(&gateway, "kate", &upstream, &authority, json!({"custom_claims_forward": claims})).await;
    let config = json!({"consumer_by": "client_id", "hide_credentials": false});
    protected(&gateway, "app", &upstream, &authority, config).await;
    authority.knows(
        "token-of-kate-1234",
        json!({
            "scope": "read write", "client_id": "app", "username": "kate", "token_type": "Bearer",
            "exp": 4_102_444_800_u32, "iat": 1_700_000_000, "nbf": 1_700_000_001, "sub": "u-1", "aud": ["a", "b"],
            "iss": "https://issuer.example", "jti": "id 1", "realm_access": {"roles": ["x", "y"]},
            "https://api.example/tenant": "acme", "level": 7.5, "object": {"a": 1}, "list": ["a,b"], "other": "no",
        }),
    );
    authority.knows("token-of-nobody-12", json!({"username": "nobody", "sub": null, "scope": ""}));
    let registered = json!({
        "x-credential-scope": ["read write"], "x-credential-client-id": ["app"],
        "x-credential-identifier": ["kate"], "x-credential-token-type": ["Bearer"],
        "x-credential-exp": ["4102444800"], "x-credential-iat": ["1700000000"], "x-credential-nbf": ["1700000001"],
        "x-credential-sub": ["u-1"], "x-credential-aud": ["a,b"], "x-credential-iss": ["https://issuer.example"],
        "x-credential-jti": ["id 1"],
    });
    let of_kate = json!({
        "x-consumer-id": [kate["id"]], "x-consumer-username": ["kate"], "x-consumer-custom-id": ["k-1"],
        "x-credential-realm-access-roles": ["x,y"], "x-credential-https-api-example-tenant": ["acme"],
        "x-credential-level": ["7.5"],
    });
    let of_app = json!({
        "x-consumer-id": [app["id"]], "x-consumer-username": ["app"], "authorization": ["Bearer token-of-kate-1234"],
    });
    let mut findings = Findings::new();
    for (path, token, expected) in [
        ("/kate/x", "token-of-kate-1234", laid_over(registered.clone(), of_kate)),
        ("/app/x", "token-of-kate-1234", laid_over(registered, of_app)),
        ("/kate/x", "token-of-nobody-12", json!({"x-credential-identifier": ["nobody"], "x-credential-scope": [""]})),
    ] {
        // Once from the authority, once from the cache.
        for source in ["authority", "cache"] {
            let request = gateway.request(Method::GET, path).bearer_auth(token);
            let forged = [
                "X-Credential-Sub",
                "X_Credential_Level",
                "x-credential-made-up",
                "X-Consumer-Username",
                "X-Anonymous-Consumer",
            ];
            let request = forged.iter().fold(request, |request, name| request.header(*name, "forged"));
            let echoed = gateway.send(request).await.expect(200).json();
            findings.compare(&format!("{path} {token}, from the {source}"), &expected, &identity(&echoed));
        }
    }
    let left_out = |claim: &'static str| {
        let gateway = &gateway;
        async move { gateway.metric("tollgate_third_party_token_claims_left_out_total", &[claim]).await }
    };
    assert_eq!((left_out("claim=\"object\"").await, left_out("claim=\"list\"").await), (2.0, 2.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_found_and_hidden_in_header_query_and_form() {
    let gateway = Gateway::on_sqlite().await;
    let (upstream, authority) = (Upstream::start().await, Authority::start().await);
    protected(&gateway, "hidden", &upstream, &authority, json!({})).await;
    protected(&gateway, "shown", &upstream, &authority, json!({"hide_credentials": false})).await;
    let token = "token-of-kate-1234";
    authority.knows(token, json!({}));
    let mut findings = Findings::new();
    for (name, is_shown) in [("hidden", false), ("shown", true)] {
        let post = |query: &str| gateway.request(Method::POST, &format!("/{name}/x{query}"));
        let in_query = format!("?a=1&access_token={token}");
        for (place, request) in [
            ("header", post("?a=1").bearer_auth(token).form(&[("b", "2")])),
            ("query", post(&in_query).form(&[("b", "2")])),
            ("form", post("?a=1").form(&[("b", "2"), ("access_token", token)])),
        ] {
            let echoed = gateway.send(request).await.expect(200);
            findings.compare(&format!("{name}, {place}"), &is_shown, &echoed.body.contains(token));
            let json = echoed.json();
            let rest = json["uri"].as_str().unwrap().contains("a=1") && json["body"].as_str().unwrap().contains("b=2");
            findings.compare(&format!("{name}, {place}: the rest"), &true, &rest);
        }
    }
    assert_eq!(authority.asked(), [token], "both ask the same authority");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_valid_token_a_request_may_be_anonymous_and_says_nothing_of_a_token() {
    let gateway = Gateway::on_sqlite().await;
    let (upstream, authority) = (Upstream::start().await, Authority::start().await);
    let guest = gateway.create("/consumers", json!({"username": "guest"})).await;
    protected(&gateway, "api", &upstream, &authority, json!({"anonymous": "guest"})).await;
    authority.knows("token-expired-1234", json!({"exp": 1, "sub": "kate"}));
    authority.knows("token-of-kate-1234", json!({"sub": "kate"}));
    let of_guest = json!({
        "x-consumer-id": [guest["id"]], "x-consumer-username": ["guest"], "x-anonymous-consumer": ["true"],
    });
    let mut findings = Findings::new();
    for (token, expected) in [
        ("unknown-token-1234", of_guest.clone()),
        ("token-expired-1234", of_guest.clone()),
        ("token-of-kate-1234", json!({"x-credential-sub": ["kate"]})),
    ] {
        let echoed = get(&gateway, "/api/x", token).await.expect(200).json();
        findings.compare(token, &expected, &identity(&echoed));
    }
    let without = gateway.send(gateway.request(Method::GET, "/api/x")).await.expect(200).json();
    findings.compare("no token", &of_guest, &identity(&without));
    authority.always_responds(Some(Response::status("500 Internal Server Error")));
    let reply = get(&gateway, "/api/x", "another-token-1234").await;
    findings.compare("cannot tell", &unavailable(), &refusal(&reply));
}

#[tokio::test(flavor = "multi_thread")]
async fn preflights_need_a_token_unless_run_on_preflight_is_false() {
    let gateway = Gateway::on_sqlite().await;
    let (upstream, authority) = (Upstream::start().await, Authority::start().await);
    protected(&gateway, "judged", &upstream, &authority, json!({})).await;
    protected(&gateway, "passed", &upstream, &authority, json!({"run_on_preflight": false})).await;
    let preflight = |path: &str| gateway.send(gateway.request(Method::OPTIONS, path));
    assert_eq!(refusal(&preflight("/judged/x").await), missing_token());
    preflight("/passed/x").await.expect(200);
    let other = gateway.send(gateway.request(Method::GET, "/passed/x")).await;
    assert_eq!(refusal(&other), missing_token());
}
