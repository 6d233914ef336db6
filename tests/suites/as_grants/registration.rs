//! Dynamic registration (RFC 7591) and its management (RFC 7592).

use futures::future::join_all;
use tollgate_tests::Upstream;
use tollgate_tests::issuer_key::IssuerKey;

use super::*;

const TOKEN: &str = "an initial access token";

struct Registering {
    api: Api,
    _upstream: Upstream,
}

impl Registering {
    async fn start(gateway: &Gateway, config: Value) -> Self {
        let upstream = Upstream::start().await;
        gateway.create("/consumers", json!({"username": "registered"})).await;
        let mut all = json!({
            "endpoints": ["register"], "registration": "open", "registration_consumer": "registered",
            "enable_client_credentials": false, "enable_password_grant": false,
        });
        all.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
        Self { api: Api::protected(gateway, "api", &upstream, all).await, _upstream: upstream }
    }
}

async fn send(
    (client, version): &(Client, Version),
    gateway: &Gateway,
    (method, url): (Method, &str),
    token: Option<&str>,
    body: Value,
) -> Reply {
    let mut request = client.request(method, url);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let response = if body.is_null() { request } else { request.json(&body) }.send().await.unwrap();
    assert_eq!(response.version(), *version);
    let reply = Reply::read(response).await;
    if let Ok(document) = serde_json::from_str(&reply.body) {
        gateway.secrets.add_from_json(&document);
    }
    reply
}

async fn register(protocol: &(Client, Version), gateway: &Gateway, token: Option<&str>, body: Value) -> Reply {
    send(protocol, gateway, (Method::POST, &gateway.url("/api/oauth2/register")), token, body).await
}

/// A refusal of a bearer token.
fn assert_unauthorized(reply: &Reply, description: &str) {
    assert_eq!(reply.status, 401);
    assert_eq!(reply.json(), json!({"error": "invalid_token", "error_description": description}));
    assert_eq!(reply.header("www-authenticate").as_deref(), Some("Bearer error=\"invalid_token\""));
}

on_both_stores! {
    async fn whoever_deletes_what_he_registered_has_still_registered_it(gateway: Gateway) {
        let quota = json!({"per_address": 3, "total": 100, "unused_for": 86400});
        let _registering = Registering::start(&gateway, json!({"registration_quota": quota})).await;
        let protocol = &clients(&gateway)[1];
        let body = json!({"redirect_uris": ["https://app.test/cb"]});
        for _ in 0..3 {
            let made = register(protocol, &gateway, None, body.clone()).await.expect(201).json();
            let address = gateway.url(&format!("/api/oauth2/register/{}", text(&made, "client_id")));
            let token = Some(text(&made, "registration_access_token"));
            send(protocol, &gateway, (Method::DELETE, &address), token, Value::Null).await.expect(204);
            send(protocol, &gateway, (Method::GET, &address), token, Value::Null).await.expect(401);
        }
        register(protocol, &gateway, None, body).await.expect(429);
    }

    async fn a_client_registers_uses_changes_and_deletes_itself_rfc7591_3_rfc7592_2(gateway: Gateway) {
        let registering = Registering::start(&gateway, json!({})).await;
        let api = &registering.api;
        for protocol in clients(&gateway) {
            let uri = "https://app.test/cb";
            let body = json!({"redirect_uris": [uri], "client_name": "An App", "scope": "email", "unknown": [1]});
            let reply = register(&protocol, &gateway, None, body).await;
            let made = reply.json();
            let (id, secret, token) =
                (text(&made, "client_id"), text(&made, "client_secret"), text(&made, "registration_access_token"));
            let address = gateway.url(&format!("/api/oauth2/register/{id}"));
            let mut expected = json!({
                "client_id": id, "client_id_issued_at": made["client_id_issued_at"], "client_secret": secret,
                "client_secret_expires_at": 0, "registration_access_token": token, "registration_client_uri": address,
                "redirect_uris": [uri], "client_name": "An App", "scope": "email",
                "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
                "token_endpoint_auth_method": "client_secret_basic",
            });
            assert_eq!((reply.status, &made, headers(&reply)), (201, &expected, unkept()));
            let stored = gateway.admin_get(&format!("/oauth2/{id}")).await.expect(200).json();
            assert_eq!((&stored["name"], &stored["hash_secret"], &stored["tags"]), (&json!("An App"), &json!(true), &json!(["registered"])));

            let client = Application { credential: made.clone() };
            let code = api.code(&gateway, &client).await;
            let tokens = api.redeem(&gateway, &client, &code).await.expect(200).json();
            api.get(&gateway, text(&tokens, "access_token")).await.expect(200);
            let other = [("grant_type", "implicit"), ("client_id", id), ("client_secret", secret)];
            let reply = post(&protocol, &gateway, "/api/oauth2/token", &other).await;
            assert_refused(&reply, 400, "unsupported_grant_type", "Invalid grant_type");

            for gone in ["client_secret", "client_secret_expires_at"] {
                expected.as_object_mut().unwrap().remove(gone);
            }
            let at = |method| (method, address.as_str());
            let shown = send(&protocol, &gateway, at(Method::GET), Some(token), Value::Null).await;
            assert_eq!((shown.status, shown.json(), headers(&shown)), (200, expected.clone(), unkept()));
            let change = json!({"client_id": id, "redirect_uris": ["https://app.test/other"], "client_name": "Renamed"});
            expected["redirect_uris"] = json!(["https://app.test/other"]);
            expected["client_name"] = json!("Renamed");
            expected.as_object_mut().unwrap().remove("scope");
            let changed = send(&protocol, &gateway, at(Method::PUT), Some(token), change).await;
            assert_eq!((changed.status, changed.json()), (200, expected));
            let foreign = json!({"client_id": "other", "redirect_uris": [uri]});
            let reply = send(&protocol, &gateway, at(Method::PUT), Some(token), foreign).await;
            assert_refused(&reply, 400, "invalid_client_metadata", "client_id must be the client's own");

            let wrong = "The registration access token is missing or wrong";
            for (method, token) in [(Method::GET, None), (Method::PUT, Some("x")), (Method::DELETE, Some(secret))] {
                assert_unauthorized(&send(&protocol, &gateway, at(method), token, Value::Null).await, wrong);
            }
            let deleted = send(&protocol, &gateway, at(Method::DELETE), Some(token), Value::Null).await;
            assert_eq!((deleted.status, deleted.body.as_str()), (204, ""));
            assert_unauthorized(&send(&protocol, &gateway, at(Method::GET), Some(token), Value::Null).await, wrong);
            api.get(&gateway, text(&tokens, "access_token")).await.expect(401);
        }
    }

    async fn no_more_clients_register_than_the_quotas_allow(gateway: Gateway) {
        let quota = json!({"registration_quota": {"per_address": 4, "total": 6}});
        let registering = Registering::start(&gateway, quota).await;
        let [protocol, _] = clients(&gateway);
        let body = || json!({"redirect_uris": ["https://app.test/cb"], "token_endpoint_auth_method": "none"});
        let replies = join_all((0..12).map(|_| register(&protocol, &gateway, None, body()))).await;
        let (made, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 201);
        assert_eq!((made.len(), refused.len()), (4, 8));
        for reply in refused {
            let expected =
                json!({"error": "temporarily_unavailable", "error_description": "Too many clients have registered; try again later"});
            assert_eq!((reply.status, reply.json(), reply.header("retry-after")), (429, expected, Some("3600".to_owned())));
        }
        assert!(made.iter().all(|reply| reply.json().get("client_secret").is_none()), "they are public");
        let list = gateway.admin_get("/consumers/registered/oauth2").await.expect(200).json();
        assert_eq!(list["data"].as_array().unwrap().len(), 4);
        // A client that is gone makes room at the plugin, and none for its address.
        let plugin = format!("/plugins/{}", text(&registering.api.plugin, "id"));
        let quota = json!({"config": {"registration_quota": {"per_address": 6, "total": 4}}});
        gateway.change(&plugin, quota).await;
        register(&protocol, &gateway, None, body()).await.expect(429);
        let gone = made[0].json();
        let token = text(&gone, "registration_access_token");
        let address = (Method::DELETE, text(&gone, "registration_client_uri"));
        assert_eq!(send(&protocol, &gateway, address, Some(token), Value::Null).await.status, 204);
        register(&protocol, &gateway, None, body()).await.expect(201);
        register(&protocol, &gateway, None, body()).await.expect(429);
        drop(registering);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_registered_is_refused_and_nothing_is_reflected_rfc7591_3_2_2() {
    let gateway = Gateway::on_sqlite().await;
    let _registering = Registering::start(&gateway, json!({"enable_client_credentials": true})).await;
    for protocol in clients(&gateway) {
        let refused = async |body: Value, error: &str, description: &str| {
            assert_refused(&register(&protocol, &gateway, None, body).await, 400, error, description);
        };
        let uris = json!(["https://app.test/cb"]);
        let needed = "redirect_uris is required for these grant_types";
        refused(json!({}), "invalid_redirect_uri", needed).await;
        let script = "javascript:alert(1): must be https, a loopback address, or have a scheme with a dot";
        refused(json!({"redirect_uris": ["javascript:alert(1)"]}), "invalid_redirect_uri", script).await;
        let none = "none of these grant_types may be registered here";
        refused(json!({"grant_types": ["client_credentials"]}), "invalid_client_metadata", none).await;
        let unknown = "scope '><script> is unknown";
        refused(json!({"redirect_uris": uris, "scope": "\"><script>"}), "invalid_client_metadata", unknown).await;
        let form = protocol.0.post(gateway.url("/api/oauth2/register")).form(&[("client_name", "x")]);
        let reply = Reply::read(form.send().await.unwrap()).await;
        assert_refused(&reply, 400, "invalid_client_metadata", "the body must be application/json");
        let large = json!({"redirect_uris": uris, "unknown": "x".repeat(70_000)});
        assert_eq!(register(&protocol, &gateway, None, large).await.status, 413);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_initial_access_token_is_needed_where_it_is_required_rfc7591_3_1() {
    let gateway = Gateway::on_sqlite().await;
    let config = json!({
        "registration": "token", "initial_access_tokens": [TOKEN], "enable_client_credentials": true,
        "token_format": "jwt",
    });
    let registering = Registering::start(&gateway, config).await;
    let api = &registering.api;
    for protocol in clients(&gateway) {
        let body = || json!({"grant_types": ["client_credentials"], "client_name": "A service"});
        for token in [None, Some("wrong token of that length")] {
            let reply = register(&protocol, &gateway, token, body()).await;
            assert_unauthorized(&reply, "The initial access token is missing or wrong");
        }
        let made = register(&protocol, &gateway, Some(TOKEN), body()).await.expect(201).json();
        let client = Application { credential: made };
        let form = with_secret(&client, &[("grant_type", "client_credentials")]);
        let token = api.token(&gateway, &form).await.expect(200).json();
        api.get(&gateway, text(&token, "access_token")).await.expect(200);
        let form = with_secret(&client, &[("grant_type", "password"), ("username", "x")]);
        let reply = post(&protocol, &gateway, "/api/oauth2/token", &form).await;
        assert_eq!(reply.status, 400, "a grant that it has not registered");
    }
    for (config, fault) in [
        (json!({"endpoints": ["register"]}), "register in endpoints needs registration and registration_consumer"),
        (
            json!({"endpoints": ["register"], "registration": "token", "registration_consumer": "registered"}),
            "registration by token needs initial_access_tokens",
        ),
    ] {
        let mut all = json!({"enable_client_credentials": true});
        all.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
        let reply = gateway.admin(Method::POST, "/plugins", json!({"name": "oauth2", "config": all})).await.expect(400);
        assert_eq!(reply.json()["fields"]["config"], json!(fault));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_registered_its_keys_authenticates_with_them_alone_rfc7591_2() {
    let gateway = Gateway::on_sqlite().await;
    let config = json!({
        "issuer": "https://as.example.test", "registration": "token", "initial_access_tokens": [TOKEN],
        "enable_client_credentials": true,
    });
    let registering = Registering::start(&gateway, config).await;
    let protocol = &clients(&gateway)[1];
    let key = IssuerKey::generate("k1", "ES256");
    let body = json!({
        "grant_types": ["client_credentials"], "scope": "email", "token_endpoint_auth_method": "private_key_jwt",
        "jwks": {"keys": [key.jwk()]},
    });
    let made = register(protocol, &gateway, Some(TOKEN), body.clone()).await.expect(201).json();
    assert_eq!((made.get("client_secret"), &made["jwks"]), (None, &body["jwks"]));
    let id = text(&made, "client_id");
    let ask = async |scope: &str| {
        let claims = json!({
            "iss": id, "sub": id, "aud": "https://as.example.test", "jti": uuid::Uuid::new_v4(),
            "exp": std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 60,
        });
        let assertion = key.token_with(&json!({"alg": "ES256", "kid": "k1"}), &claims);
        let form = [
            ("grant_type", "client_credentials"),
            ("scope", scope),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", assertion.as_str()),
        ];
        post(protocol, &gateway, "/api/oauth2/token", &form).await
    };
    let token = ask("email").await.expect(200).json();
    registering.api.get(&gateway, text(&token, "access_token")).await.expect(200);
    assert_refused(&ask("profile").await, 400, "invalid_scope", "'profile' is not allowed for this client");
    let form = [("grant_type", "client_credentials"), ("client_id", id), ("client_secret", "")];
    let reply = post(protocol, &gateway, "/api/oauth2/token", &form).await;
    assert_eq!((reply.status, &reply.json()["error"]), (400, &json!("invalid_client")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_open_registration_did_not_give_no_later_change_gives_rfc7591_5() {
    let gateway = Gateway::on_sqlite().await;
    let registering = Registering::start(&gateway, json!({"enable_client_credentials": true})).await;
    let protocol = &clients(&gateway)[1];
    let uris = json!(["https://app.test/cb"]);
    let made = register(protocol, &gateway, None, json!({"redirect_uris": uris})).await.expect(201).json();
    let plugin = format!("/plugins/{}", text(&registering.api.plugin, "id"));
    let stricter = json!({"registration": "token", "initial_access_tokens": [TOKEN]});
    gateway.change(&plugin, json!({"config": stricter})).await;
    let (id, token) = (text(&made, "client_id"), text(&made, "registration_access_token"));
    let address = gateway.url(&format!("/api/oauth2/register/{id}"));
    let grants = json!(["client_credentials", "authorization_code"]);
    let body = json!({"client_id": id, "redirect_uris": uris, "grant_types": grants});
    let changed = send(protocol, &gateway, (Method::PUT, &address), Some(token), body).await.expect(200).json();
    assert_eq!(changed["grant_types"], json!(["authorization_code", "refresh_token"]));
    let form =
        [("grant_type", "client_credentials"), ("client_id", id), ("client_secret", text(&made, "client_secret"))];
    assert_eq!(post(protocol, &gateway, "/api/oauth2/token", &form).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_changes_itself_sends_no_secret_but_its_own_rfc7592_2_2() {
    let gateway = Gateway::on_sqlite().await;
    let _registering = Registering::start(&gateway, json!({})).await;
    for protocol in clients(&gateway) {
        let body = json!({"redirect_uris": ["https://app.test/cb"]});
        let made = register(&protocol, &gateway, None, body.clone()).await.expect(201).json();
        let address = gateway.url(&format!("/api/oauth2/register/{}", text(&made, "client_id")));
        let token = Some(text(&made, "registration_access_token"));
        for (secret, status) in [
            (made["client_secret"].clone(), 200),
            (json!("a secret of its own choice"), 400),
            (json!(1), 400),
            (json!(""), 400),
        ] {
            let mut change = body.clone();
            change["client_id"] = made["client_id"].clone();
            change["client_secret"] = secret.clone();
            let reply = send(&protocol, &gateway, (Method::PUT, &address), token, change).await;
            assert_eq!(reply.status, status, "{secret}: {}", reply.body);
            if status == 400 {
                let text = "client_secret must be the client's own";
                assert_refused(&reply, 400, "invalid_client_metadata", text);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_says_that_it_always_does_is_required_of_it_rfc9449_5_2_rfc8705_3_4_rfc9126_6() {
    let gateway = Gateway::on_sqlite().await;
    let config = json!({
        "endpoints": ["register", "par"], "dpop": "optional", "mtls_bound_tokens": "optional", "pkce": "none",
    });
    let registering = Registering::start(&gateway, config).await;
    let api = &registering.api;
    let protocol = &clients(&gateway)[1];
    for (name, status, error) in [
        ("dpop_bound_access_tokens", 400, "invalid_dpop_proof"),
        ("tls_client_certificate_bound_access_tokens", 400, "invalid_request"),
        ("require_pushed_authorization_requests", 200, ""),
    ] {
        let body = json!({"redirect_uris": ["https://app.test/cb"], "token_endpoint_auth_method": "none", name: true});
        let made = register(protocol, &gateway, None, body).await.expect(201).json();
        assert_eq!(made[name], json!(true));
        let (id, code) = (text(&made, "client_id"), ("response_type", "code"));
        let page = [("provision_key", api.provision_key()), ("authenticated_userid", "kate"), ("client_id", id)];
        let asked = post(protocol, &gateway, "/api/oauth2/authorize", &[&page[..], &[code]].concat()).await;
        let redirect = if status == 200 {
            assert_refused(&asked, 400, "invalid_request", "The authorization request must be pushed");
            let pushed =
                post(protocol, &gateway, "/api/oauth2/par", &[("client_id", id), code]).await.expect(201).json();
            let form = [&page[..], &[("request_uri", text(&pushed, "request_uri"))]].concat();
            post(protocol, &gateway, "/api/oauth2/authorize", &form).await.expect(200).json()
        } else {
            asked.expect(200).json()
        };
        let code = text(&redirect, "redirect_uri").split("code=").nth(1).unwrap();
        let form = [("grant_type", "authorization_code"), ("client_id", id), ("code", code)];
        let reply = post(protocol, &gateway, "/api/oauth2/token", &form).await;
        assert_eq!(reply.status, status, "{name}: {}", reply.body);
        assert_eq!(reply.json()["error"].as_str().unwrap_or_default(), error, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_decides_on_redirect_uris_without_a_host_whatever_the_node_says_rfc8252_7_1() {
    for (node, instance, status) in
        [("kong", "bcp", 201), ("bcp", "kong", 400), ("bcp", "bcp", 201), ("kong", "kong", 400)]
    {
        let settings = [("TOLLGATE_OAUTH2_DEFAULT_PROFILE", node)];
        let gateway = Gateway::on(tollgate_tests::gateway::Store::Sqlite, &settings).await;
        let _registering = Registering::start(&gateway, json!({"profile": instance})).await;
        let body = json!({"redirect_uris": ["com.example.app:/cb"]});
        let reply = register(&clients(&gateway)[1], &gateway, None, body).await;
        assert_eq!(reply.status, status, "node {node}, instance {instance}: {}", reply.body);
        if status == 400 {
            assert_refused(&reply, 400, "invalid_redirect_uri", "com.example.app:/cb: must have a host");
        }
    }
}
