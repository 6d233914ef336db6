//! The authorization server's endpoints beside those for authorization and tokens: revocation (RFC 7009), introspection
//! (RFC 7662), metadata (RFC 8414, RFC 9728), resource indicators (RFC 8707).

mod foreign_clients;
mod mcp;
mod well_known;

use http::{HeaderMap, Method, Version};
use reqwest::{Certificate, Client};
use serde_json::{Value, json};
use tollgate_tests::scenario::{Api, Application};
use tollgate_tests::{Findings, Gateway, Reply, Upstream};

const INACTIVE: &str = r#"{"active":false}"#;

/// A route `/api` with these endpoints, and further fields.
async fn api(gateway: &Gateway, upstream: &Upstream, config: Value) -> Api {
    Api::protected(gateway, "api", upstream, config).await
}

async fn post(gateway: &Gateway, client: &Application, path: &str, form: &[(&str, &str)]) -> Reply {
    let request = gateway.request(Method::POST, path).basic_auth(client.id(), Some(client.secret())).form(form);
    gateway.send(request).await
}

/// The headers that are not about the connection or this very response.
fn headers(headers: &HeaderMap) -> Value {
    let kept = headers.iter().filter(|(name, _)| {
        !matches!(name.as_str(), "date" | "connection" | "x-kong-request-id" | "x-kong-response-latency")
    });
    kept.map(|(name, value)| (name.to_string(), Value::from(value.to_str().unwrap())))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// A client for each version of HTTP.
fn clients(gateway: &Gateway) -> [(Version, Client); 2] {
    let builder = || {
        let certificate = Certificate::from_pem(gateway.certificate().as_bytes()).unwrap();
        Client::builder().add_root_certificate(certificate).no_proxy()
    };
    let [first, second] = [builder().http1_only(), builder().http2_prior_knowledge()];
    [(Version::HTTP_11, first.build().unwrap()), (Version::HTTP_2, second.build().unwrap())]
}

on_both_stores! {
    async fn a_resource_server_learns_about_tokens_until_they_are_revoked(gateway: Gateway) {
        let upstream = Upstream::start().await;
        let config = json!({"endpoints": ["introspect", "revoke"], "issuer": "https://as.example"});
        let api = api(&gateway, &upstream, config).await;
        let client = Application::register(&gateway, "client", json!({})).await;
        let server = Application::register(&gateway, "server", json!({"resource_server": true})).await;
        let tokens = api.tokens(&gateway, &client).await;
        let (access, refresh) = (tokens["access_token"].as_str().unwrap(), tokens["refresh_token"].as_str().unwrap());

        let reply = post(&gateway, &server, "/api/oauth2/introspect", &[("token", access)]).await.expect(200);
        let mut members = reply.json();
        let (issued, expires) = (members["iat"].as_i64().unwrap(), members["exp"].as_i64().unwrap());
        assert_eq!(expires - issued, 7200);
        members.as_object_mut().unwrap().retain(|name, _| name != "iat" && name != "exp");
        let expected = json!({
            "active": true, "scope": "email", "client_id": client.id(), "username": "kate", "token_type": "bearer",
            "sub": "kate", "iss": "https://as.example",
        });
        assert_eq!(members, expected);
        let expected = json!({
            "content-type": "application/json; charset=utf-8", "cache-control": "no-store", "pragma": "no-cache",
            "content-length": reply.body.len().to_string(), "server": reply.header("server"),
        });
        assert_eq!(headers(&reply.headers), expected);
        // A refresh token is nothing that a resource server may accept.
        let of_refresh = post(&gateway, &server, "/api/oauth2/introspect", &[("token", refresh)]).await.expect(200);
        assert_eq!(of_refresh.body, INACTIVE);

        // Another client's token is none of its business, and the client hears nothing of it.
        for (who, token, ended) in [(&server, access, false), (&server, refresh, false), (&client, "nonsense", false), (&client, refresh, true)] {
            let reply = post(&gateway, who, "/api/oauth2/revoke", &[("token", token)]).await;
            assert_eq!((reply.status, reply.body.as_str()), (200, ""));
            assert_eq!(reply.header("cache-control").as_deref(), Some("no-store"));
            api.get(&gateway, access).await.expect(if ended { 401 } else { 200 });
        }
        let inactive = post(&gateway, &server, "/api/oauth2/introspect", &[("token", access)]).await.expect(200);
        assert_eq!(inactive.body, INACTIVE);
        api.refresh(&gateway, &client, refresh).await.expect(400);
    }

    async fn an_access_token_that_is_revoked_ends_the_whole_grant_rfc7009_2_1(gateway: Gateway) {
        let upstream = Upstream::start().await;
        for reuse in [false, true] {
            let name = if reuse { "kept" } else { "api" };
            let config = json!({"endpoints": ["revoke"], "reuse_refresh_token": reuse});
            let api = Api::protected(&gateway, name, &upstream, config).await;
            let client = Application::register(&gateway, name, json!({})).await;
            let first = api.tokens(&gateway, &client).await;
            let second = api.refresh(&gateway, &client, first["refresh_token"].as_str().unwrap()).await.expect(200).json();
            let access = second["access_token"].as_str().unwrap();
            api.get(&gateway, access).await.expect(200);
            post(&gateway, &client, &format!("/{name}/oauth2/revoke"), &[("token", access)]).await.expect(200);
            api.get(&gateway, access).await.expect(401);
            api.refresh(&gateway, &client, second["refresh_token"].as_str().unwrap()).await.expect(400);
            let left = gateway.admin_get("/oauth2_tokens").await.expect(200).json();
            assert_eq!(left["data"], json!([]));
        }
    }

    async fn a_used_refresh_token_that_is_revoked_ends_what_it_gave_rfc7009_2_1(gateway: Gateway) {
        let upstream = Upstream::start().await;
        for grace in [0, 30] {
            let name = if grace == 0 { "api" } else { "grace" };
            let config = json!({"endpoints": ["revoke"], "refresh_grace": grace});
            let api = Api::protected(&gateway, name, &upstream, config).await;
            let client = Application::register(&gateway, name, json!({})).await;
            let stranger = Application::register(&gateway, &format!("{name}-stranger"), json!({})).await;
            let first = api.tokens(&gateway, &client).await;
            let used = first["refresh_token"].as_str().unwrap();
            // The response that the client has not heard.
            let second = api.refresh(&gateway, &client, used).await.expect(200).json();
            let access = second["access_token"].as_str().unwrap();
            let revoke = async |who: &Application| {
                let form = [("token", used), ("token_type_hint", "refresh_token")];
                post(&gateway, who, &format!("/{name}/oauth2/revoke"), &form).await.expect(200);
            };
            revoke(&stranger).await;
            api.get(&gateway, access).await.expect(200);
            revoke(&client).await;
            api.get(&gateway, access).await.expect(401);
            api.refresh(&gateway, &client, used).await.expect(400);
            api.refresh(&gateway, &client, second["refresh_token"].as_str().unwrap()).await.expect(400);
        }
    }

    async fn what_the_guard_refuses_is_inactive_rfc7662_2_2(gateway: Gateway) {
        let upstream = Upstream::start().await;
        let api = api(&gateway, &upstream, json!({"endpoints": ["introspect"]})).await;
        let client = Application::register(&gateway, "client", json!({})).await;
        let server = Application::register(&gateway, "server", json!({"resource_server": true})).await;
        let tokens = api.tokens(&gateway, &client).await;
        let access = tokens["access_token"].as_str().unwrap();
        let plugin = format!("/plugins/{}", api.plugin["id"].as_str().unwrap());
        for (config, status) in [
            (json!({"dpop": null, "required_scopes": null}), 200),
            (json!({"dpop": "required", "required_scopes": null}), 401),
            (json!({"dpop": null, "mtls_bound_tokens": "required"}), 401),
            (json!({"mtls_bound_tokens": null, "required_scopes": ["profile"]}), 403),
            (json!({"required_scopes": ["email"]}), 200),
        ] {
            gateway.change(&plugin, json!({"config": config})).await;
            api.get(&gateway, access).await.expect(status);
            let reply = post(&gateway, &server, "/api/oauth2/introspect", &[("token", access)]).await.expect(200);
            assert_eq!(reply.json()["active"], status == 200, "{config}");
        }
    }

    async fn an_endpoint_that_is_not_named_does_not_exist(gateway: Gateway) {
        let upstream = Upstream::start().await;
        let api = api(&gateway, &upstream, json!({"endpoints": ["jwks"]})).await;
        Api::open(&gateway, "open", &upstream).await;
        let client = Application::register(&gateway, "client", json!({"resource_server": true})).await;
        let token = api.tokens(&gateway, &client).await["access_token"].as_str().unwrap().to_owned();
        let mut findings = Findings::new();
        for path in [
            "/oauth2/introspect", "/oauth2/revoke", "/oauth2/par", "/oauth2/device_authorization", "/oauth2/device",
            "/oauth2/register", "/oauth2/register/x", "/.well-known/oauth-authorization-server",
            "/.well-known/oauth-protected-resource",
        ] {
            for method in [Method::GET, Method::POST] {
                let guarded = gateway.send(gateway.request(method.clone(), &format!("/api{path}"))).await;
                findings.compare(&format!("{method} /api{path}"), &(401, Some("Bearer".to_owned())), &(guarded.status, guarded.header("www-authenticate")));
                let passed = gateway.send(gateway.request(method.clone(), &format!("/api{path}")).bearer_auth(&token)).await;
                findings.compare(&format!("{method} /api{path} with a token"), &json!(path), &passed.json()["uri"]);
                let open = gateway.send(gateway.request(method.clone(), &format!("/open{path}"))).await;
                findings.compare(&format!("{method} /open{path}"), &json!(path), &open.json()["uri"]);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_in_force_on_every_node_within_a_second() {
    let gateway = Gateway::on_postgres().await;
    let upstream = Upstream::start().await;
    let api = api(&gateway, &upstream, json!({"endpoints": ["revoke", "introspect"]})).await;
    let client = Application::register(&gateway, "client", json!({"resource_server": true})).await;
    let other = gateway.another_node().await;
    let tokens = api.tokens(&gateway, &client).await;
    let access = tokens["access_token"].as_str().unwrap();
    for node in [&gateway, &other] {
        api.get(node, access).await.expect(200);
    }
    post(&gateway, &client, "/api/oauth2/revoke", &[("token", access)]).await.expect(200);
    api.get(&gateway, access).await.expect(401);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while api.get(&other, access).await.status != 401 {
        assert!(std::time::Instant::now() < deadline, "the other node still accepts the token");
    }
    assert_eq!(post(&other, &client, "/api/oauth2/introspect", &[("token", access)]).await.body, INACTIVE);
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_is_found_from_a_bare_401_over_both_versions_of_http_rfc9728_5() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    api(&gateway, &upstream, json!({"endpoints": ["metadata", "revoke"]})).await;
    let base = gateway.url("/api");
    let origin = gateway.url("");
    let methods = json!(["client_secret_basic", "client_secret_post", "none"]);
    for (version, client) in clients(&gateway) {
        let get = async |url: String| {
            let response = client.get(url).send().await.unwrap();
            assert_eq!(response.version(), version);
            Reply::read(response).await
        };
        let refused = get(format!("{base}/things")).await.expect(401);
        let address = format!("{origin}/.well-known/oauth-protected-resource/api");
        assert_eq!(refused.header("www-authenticate").unwrap(), format!("Bearer resource_metadata=\"{address}\""));

        let resource = get(address).await.expect(200);
        let expected = json!({
            "resource": base, "authorization_servers": [base], "scopes_supported": ["email", "profile", "user"],
            "bearer_methods_supported": ["header", "body", "query"],
        });
        assert_eq!(resource.json(), expected);

        let expected = json!({
            "issuer": base,
            "authorization_endpoint": format!("{base}/oauth2/authorize"),
            "token_endpoint": format!("{base}/oauth2/token"),
            "revocation_endpoint": format!("{base}/oauth2/revoke"),
            "scopes_supported": ["email", "profile", "user"],
            "response_types_supported": ["code", "token"],
            "response_modes_supported": ["query", "fragment"],
            "grant_types_supported": ["authorization_code", "implicit", "client_credentials", "password", "refresh_token"],
            "code_challenge_methods_supported": ["S256"],
            // Assertions are for an issuer that is configured.
            "token_endpoint_auth_methods_supported": methods,
            "revocation_endpoint_auth_methods_supported": methods,
        });
        for address in ["/.well-known/oauth-authorization-server/api", "/api/.well-known/oauth-authorization-server"] {
            let document = get(format!("{origin}{address}")).await.expect(200);
            assert_eq!(document.json(), expected);
            let expected = json!({
                "content-type": "application/json; charset=utf-8", "cache-control": "no-store", "pragma": "no-cache",
                "content-length": document.body.len().to_string(), "server": document.header("server"),
                "access-control-allow-origin": "*",
                "access-control-expose-headers": "DPoP-Nonce, Retry-After, WWW-Authenticate",
            });
            assert_eq!(headers(&document.headers), expected);
        }
        let head = client.head(format!("{base}/.well-known/oauth-authorization-server")).send().await.unwrap();
        assert_eq!(head.status(), 200);
    }
    let plain = Reply::read(
        gateway.client.get(gateway.plain_url("/api/.well-known/oauth-authorization-server")).send().await.unwrap(),
    )
    .await;
    assert_eq!(
        (plain.status, plain.json()),
        (400, json!({"error": "access_denied", "error_description": "You must use HTTPS"}))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_any_origin_may_call_what_browsers_clients_use() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    api(&gateway, &upstream, json!({"endpoints": ["metadata", "revoke", "introspect"]})).await;
    let preflight = async |path: &str| {
        let request = gateway.request(Method::OPTIONS, path).header("origin", "https://app.test");
        gateway.send(request.header("access-control-request-method", "POST")).await
    };
    for path in ["/api/oauth2/token", "/api/oauth2/revoke"] {
        let reply = preflight(path).await;
        let expected = json!({
            "access-control-allow-origin": "*", "access-control-allow-methods": "POST",
            "access-control-allow-headers": "Authorization, Content-Type, DPoP, MCP-Protocol-Version",
            "access-control-max-age": "600", "server": reply.header("server"),
        });
        assert_eq!((reply.status, headers(&reply.headers)), (204, expected), "{path}");
        let refused = gateway.send(gateway.request(Method::POST, path).header("origin", "https://app.test")).await;
        assert_eq!(
            (refused.status, refused.header("access-control-allow-origin").as_deref()),
            (400, Some("*")),
            "{path}"
        );
    }
    for path in ["/api/oauth2/authorize", "/api/oauth2/introspect"] {
        assert_eq!(preflight(path).await.status, 405, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_for_the_resources_that_were_asked_for_rfc8707_2() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let (one, two) = ("https://api.example/one", "https://api.example/two");
    let api = api(&gateway, &upstream, json!({"resources": [one, two], "endpoints": ["introspect"]})).await;
    // The same service, behind a route that is only the second resource.
    gateway.create("/services/api/routes", json!({"name": "second", "paths": ["/second"]})).await;
    let config =
        json!({"scopes": ["email"], "enable_client_credentials": true, "resources": [two], "audience_required": true});
    gateway.create("/routes/second/plugins", json!({"name": "oauth2", "config": config})).await;
    let client = Application::register(&gateway, "client", json!({"resource_server": true})).await;
    let credentials = [("client_id", client.id()), ("client_secret", client.secret())];
    let token = async |more: &[(&str, &str)]| api.token(&gateway, &[&credentials[..], more].concat()).await;
    let at_second = async |token: &Value| {
        let request = gateway.request(Method::GET, "/second").bearer_auth(token.as_str().unwrap());
        gateway.send(request).await.status
    };
    let code = async |resources: &[&str]| {
        let mut form = vec![
            ("provision_key", api.provision_key()),
            ("authenticated_userid", "kate"),
            ("client_id", client.id()),
            ("response_type", "code"),
        ];
        form.extend(resources.iter().map(|resource| ("resource", *resource)));
        let reply = api.authorize(&gateway, &form).await;
        let redirect = url::Url::parse(reply.json()["redirect_uri"].as_str().unwrap()).unwrap();
        let parameter =
            |name: &str| redirect.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        parameter("code").ok_or_else(|| parameter("error").unwrap())
    };
    assert_eq!(code(&["https://other.example"]).await, Err("invalid_target".to_owned()));

    // Bound to both; each token for one of them.
    let both = code(&[one, two]).await.unwrap();
    let refused =
        token(&[("grant_type", "authorization_code"), ("code", &both), ("resource", "https://other.example")]).await;
    assert_eq!((refused.status, refused.json()["error"].clone()), (400, json!("invalid_target")));
    let first =
        token(&[("grant_type", "authorization_code"), ("code", &both), ("resource", one)]).await.expect(200).json();
    assert_eq!(at_second(&first["access_token"]).await, 401);
    api.get(&gateway, first["access_token"].as_str().unwrap()).await.expect(200);
    let seen =
        post(&gateway, &client, "/api/oauth2/introspect", &[("token", first["access_token"].as_str().unwrap())]).await;
    assert_eq!(seen.json()["aud"], json!(one));
    let refresh = |tokens: &Value| tokens["refresh_token"].as_str().unwrap().to_owned();
    let second = token(&[("grant_type", "refresh_token"), ("refresh_token", &refresh(&first)), ("resource", two)])
        .await
        .expect(200)
        .json();
    assert_eq!(at_second(&second["access_token"]).await, 200);
    let third =
        token(&[("grant_type", "refresh_token"), ("refresh_token", &refresh(&second))]).await.expect(200).json();
    let seen =
        post(&gateway, &client, "/api/oauth2/introspect", &[("token", third["access_token"].as_str().unwrap())]).await;
    assert_eq!(seen.json()["aud"], json!([one, two]));

    // Bound to the first alone: a refresh cannot widen it.
    let narrow = code(&[one]).await.unwrap();
    let tokens = token(&[("grant_type", "authorization_code"), ("code", &narrow)]).await.expect(200).json();
    let widened =
        token(&[("grant_type", "refresh_token"), ("refresh_token", &refresh(&tokens)), ("resource", two)]).await;
    assert_eq!((widened.status, widened.json()["error"].clone()), (400, json!("invalid_target")));

    // Bound to none: where a resource is required, such a token is refused.
    let unbound = token(&[("grant_type", "client_credentials")]).await.expect(200).json();
    api.get(&gateway, unbound["access_token"].as_str().unwrap()).await.expect(200);
    assert_eq!(at_second(&unbound["access_token"]).await, 401);
    let missing = gateway.request(Method::POST, "/second/oauth2/token");
    let missing =
        gateway.send(missing.form(&[&credentials[..], &[("grant_type", "client_credentials")]].concat())).await;
    assert_eq!((missing.status, missing.json()["error"].clone()), (400, json!("invalid_target")));
}
