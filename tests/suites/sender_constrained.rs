//! Tokens that only their senders can present: with a proof of their key (RFC 9449), or with their TLS certificate
//! (RFC 8705); and clients that authenticate with either (RFC 7523).

mod begun;
mod certificates;
mod client_authentication;

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Method, Request};
use openssl::sha::sha256;
use serde_json::{Value, json};
use tollgate_tests::http2::Connection;
use tollgate_tests::issuer_key::IssuerKey;
use tollgate_tests::scenario::{Api, Application, laid_over};
use tollgate_tests::{Findings, Gateway, Reply, Store, Upstream, raw};

const ALGORITHMS: &str = "algs=\"ES256 EdDSA RS256 PS256\"";

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A client's key, and proofs of it.
pub(crate) struct ProofKey(IssuerKey);

impl ProofKey {
    pub(crate) fn new() -> Self {
        Self(IssuerKey::generate("unused", "ES256"))
    }

    fn jwk(&self) -> Value {
        let mut jwk = self.0.jwk();
        for member in ["kid", "alg", "use"] {
            jwk.as_object_mut().unwrap().remove(member);
        }
        jwk
    }

    /// RFC 7638, for this curve.
    fn thumbprint(&self) -> String {
        let jwk = self.jwk();
        let text = format!(r#"{{"crv":"P-256","kty":"EC","x":{},"y":{}}}"#, jwk["x"], jwk["y"]);
        URL_SAFE_NO_PAD.encode(sha256(text.as_bytes()))
    }

    /// With changes to the header and the claims.
    fn proof_with(&self, method: &str, uri: &str, token: Option<&str>, header: Value, claims: Value) -> String {
        let mut whole = json!({"jti": uuid::Uuid::new_v4(), "htm": method, "htu": uri, "iat": now()});
        if let Some(token) = token {
            whole["ath"] = json!(URL_SAFE_NO_PAD.encode(sha256(token.as_bytes())));
        }
        let usual = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk()});
        self.0.token_with(&laid_over(usual, header), &laid_over(whole, claims))
    }

    fn proof(&self, method: &str, uri: &str, token: Option<&str>) -> String {
        self.proof_with(method, uri, token, json!({}), json!({}))
    }
}

/// A token request with a proof.
async fn token(gateway: &Gateway, api: &Api, form: &[(&str, &str)], proof: Option<&str>) -> Reply {
    let path = format!("/{}/oauth2/token", api.name);
    let request = gateway.request(Method::POST, &path).form(form);
    gateway
        .send(match proof {
            Some(proof) => request.header("dpop", proof),
            None => request,
        })
        .await
}

fn own(client: &Application) -> Vec<(&str, &str)> {
    vec![
        ("grant_type", "client_credentials"),
        ("client_id", client.id()),
        ("client_secret", client.secret()),
        ("scope", "email"),
    ]
}

fn error(reply: &Reply) -> (u16, Value) {
    (reply.status, reply.json()["error"].clone())
}

/// Reads the API over HTTPS with these headers.
async fn get(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Reply {
    let request =
        headers.iter().fold(gateway.request(Method::GET, path), |request, (name, value)| request.header(*name, *value));
    gateway.send(request).await
}

/// A token that is bound to the key.
pub(crate) async fn bound(gateway: &Gateway, api: &Api, client: &Application, key: &ProofKey) -> String {
    let endpoint = gateway.url(&format!("/{}/oauth2/token", api.name));
    let reply = token(gateway, api, &own(client), Some(&key.proof("POST", &endpoint, None))).await.expect(200);
    assert_eq!(reply.json()["token_type"], "DPoP");
    reply.json()["access_token"].as_str().unwrap().to_owned()
}

/// An attack: the headers of the request, and the error in the challenge.
struct Attack {
    name: &'static str,
    authorization: String,
    proofs: Vec<String>,
    error: &'static str,
}

/// What a thief of the token tries at `uri`.
fn attacks(uri: &str, token: &str, plain: &str, key: &ProofKey) -> Vec<Attack> {
    let dpop = format!("DPoP {token}");
    let with = |header: Value, claims: Value| key.proof_with("GET", uri, Some(token), header, claims);
    let stranger = ProofKey::new();
    let private = key.0.private_jwk();
    let unsigned = {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let claims = json!({"jti": "1", "htm": "GET", "htu": uri, "iat": now()});
        format!("{}.{}.", part(json!({"typ": "dpop+jwt", "alg": "none", "jwk": key.jwk()})), part(claims))
    };
    let (signed, _) = with(json!({}), json!({})).rsplit_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let rows = [
        ("as a bearer token", format!("Bearer {token}"), vec![], "invalid_token"),
        (
            "as a bearer token with a proof",
            format!("Bearer {token}"),
            vec![with(json!({}), json!({}))],
            "invalid_token",
        ),
        ("without a scheme", token.to_owned(), vec![with(json!({}), json!({}))], "invalid_token"),
        ("without a proof", dpop.clone(), vec![], "invalid_dpop_proof"),
        ("an empty proof", dpop.clone(), vec![String::new()], "invalid_dpop_proof"),
        (
            "two proofs",
            dpop.clone(),
            vec![with(json!({}), json!({})), with(json!({}), json!({}))],
            "invalid_dpop_proof",
        ),
        (
            "a proof for another URI",
            dpop.clone(),
            vec![key.proof("GET", &uri.replace("/things", "/other"), Some(token))],
            "invalid_dpop_proof",
        ),
        (
            "a proof for another host",
            dpop.clone(),
            vec![key.proof(
                "GET",
                &uri.replacen("127.0.0.1", "evil.test", 1).replacen("localhost", "evil.test", 1),
                Some(token),
            )],
            "invalid_dpop_proof",
        ),
        ("a proof for another method", dpop.clone(), vec![key.proof("POST", uri, Some(token))], "invalid_dpop_proof"),
        ("a proof for another token", dpop.clone(), vec![key.proof("GET", uri, Some(plain))], "invalid_dpop_proof"),
        ("a proof for no token", dpop.clone(), vec![key.proof("GET", uri, None)], "invalid_dpop_proof"),
        ("an old proof", dpop.clone(), vec![with(json!({}), json!({"iat": now() - 600}))], "invalid_dpop_proof"),
        (
            "a proof of the future",
            dpop.clone(),
            vec![with(json!({}), json!({"iat": now() + 600}))],
            "invalid_dpop_proof",
        ),
        ("no signature", dpop.clone(), vec![unsigned], "invalid_dpop_proof"),
        ("another signature", dpop.clone(), vec![format!("{signed}.{}", "A".repeat(86))], "invalid_dpop_proof"),
        (
            "HMAC with the public key",
            dpop.clone(),
            vec![with(json!({"alg": "HS256"}), json!({}))],
            "invalid_dpop_proof",
        ),
        (
            "a symmetric key",
            dpop.clone(),
            vec![with(json!({"jwk": {"kty": "oct", "k": "AAAA"}}), json!({}))],
            "invalid_dpop_proof",
        ),
        ("a private key", dpop.clone(), vec![with(json!({"jwk": private}), json!({}))], "invalid_dpop_proof"),
        ("another type", dpop.clone(), vec![with(json!({"typ": "JWT"}), json!({}))], "invalid_dpop_proof"),
        ("a very long id", dpop.clone(), vec![with(json!({}), json!({"jti": "a".repeat(1000)}))], "invalid_dpop_proof"),
        ("another key", dpop.clone(), vec![stranger.proof("GET", uri, Some(token))], "invalid_token"),
        (
            "a token that is bound to nothing",
            format!("DPoP {plain}"),
            vec![key.proof("GET", uri, Some(plain))],
            "invalid_token",
        ),
        ("a made-up token", "DPoP abc".to_owned(), vec![key.proof("GET", uri, Some("abc"))], "invalid_token"),
    ];
    rows.map(|(name, authorization, proofs, error)| Attack { name, authorization, proofs, error }).into_iter().collect()
}

async fn over_http1(gateway: &Gateway, attack: &Attack) -> Reply {
    let host = gateway.http.to_string();
    let mut headers = vec![("Authorization", attack.authorization.as_str())];
    headers.extend(attack.proofs.iter().map(|proof| ("DPoP", proof.as_str())));
    raw::get(&host, "/api/things", &headers).await
}

async fn over_http2(gateway: &Gateway, attack: &Attack) -> Reply {
    let mut request = Request::builder().uri(gateway.url("/api/things")).header("authorization", &attack.authorization);
    for proof in &attack.proofs {
        request = request.header("dpop", proof);
    }
    let connection = Connection::open(gateway.https).await;
    let (head, body, _) = connection.send(request.body(()).unwrap(), &[], None).await.unwrap();
    Reply { status: head.status.as_u16(), headers: head.headers, body }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_token_is_of_no_use_rfc9449_7() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let api = Api::protected(&gateway, "api", &upstream, json!({"dpop": "optional"})).await;
    let client = Application::register(&gateway, "app", json!({})).await;
    let key = ProofKey::new();
    let token = bound(&gateway, &api, &client, &key).await;
    let plain = api.token(&gateway, &own(&client)).await.expect(200).json();
    assert_eq!(plain["token_type"], "bearer");
    let plain = plain["access_token"].as_str().unwrap();
    let mut findings = Findings::new();
    for (protocol, uri) in [("HTTP/1.1", gateway.plain_url("/api/things")), ("HTTP/2", gateway.url("/api/things"))] {
        for attack in attacks(&uri, &token, plain, &key) {
            let reply = if protocol == "HTTP/2" {
                over_http2(&gateway, &attack).await
            } else {
                over_http1(&gateway, &attack).await
            };
            let row = format!("{protocol}: {}", attack.name);
            let challenges = reply.header("www-authenticate").unwrap_or_default();
            let expected = format!("DPoP error=\"{}\"", attack.error);
            findings.compare(&row, &(401, true), &(reply.status, challenges.contains(&expected)));
            findings.check(&row, if challenges.contains(ALGORITHMS) { Ok(()) } else { Err(challenges) });
        }
        // The client itself, once for each proof.
        let proof = key.proof("GET", &uri, Some(&token));
        let owner = Attack { name: "", authorization: format!("DPoP {token}"), proofs: vec![proof], error: "" };
        for expected in [200, 401, 401] {
            let reply = if protocol == "HTTP/2" {
                over_http2(&gateway, &owner).await
            } else {
                over_http1(&gateway, &owner).await
            };
            findings.compare(&format!("{protocol}: the owner's proof"), &expected, &reply.status);
        }
        let plain = Attack { name: "", authorization: format!("Bearer {plain}"), proofs: vec![], error: "" };
        findings.compare(&format!("{protocol}: a plain token"), &200, &over_http1(&gateway, &plain).await.status);
    }
    let missing = get(&gateway, "/api/things", &[]).await.expect(401);
    assert_eq!(missing.header("www-authenticate").unwrap(), format!("Bearer, DPoP {ALGORITHMS}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_codes_and_refresh_tokens_are_bound_rfc9449_5_rfc9449_10() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let api = Api::protected(&gateway, "api", &upstream, json!({"dpop": "optional", "pkce": "none"})).await;
    let public = Application::register(&gateway, "public", json!({"client_type": "public"})).await;
    let endpoint = gateway.url("/api/oauth2/token");
    let (key, other) = (ProofKey::new(), ProofKey::new());
    let proof = |key: &ProofKey| key.proof("POST", &endpoint, None);
    let code = |thumbprint: String| {
        let (gateway, api, public) = (&gateway, &api, &public);
        async move {
            let form = [
                ("provision_key", api.provision_key()),
                ("authenticated_userid", "kate"),
                ("client_id", public.id()),
                ("response_type", "code"),
                ("scope", "email"),
                ("dpop_jkt", thumbprint.as_str()),
            ];
            let redirect = api.authorize(gateway, &form).await.expect(200).json()["redirect_uri"].clone();
            redirect.as_str().unwrap().split("code=").nth(1).unwrap().to_owned()
        }
    };
    let announced = code(key.thumbprint()).await;
    let exchange = [("grant_type", "authorization_code"), ("client_id", public.id()), ("code", announced.as_str())];
    assert_eq!(error(&token(&gateway, &api, &exchange, None).await), (400, json!("invalid_dpop_proof")));
    assert_eq!(error(&token(&gateway, &api, &exchange, Some(&proof(&other))).await), (400, json!("invalid_grant")));
    let used = proof(&key);
    let issued = token(&gateway, &api, &exchange, Some(&used)).await.expect(200).json();
    assert_eq!(issued["token_type"], "DPoP");

    let refresh_token = issued["refresh_token"].as_str().unwrap();
    let refresh = [("grant_type", "refresh_token"), ("client_id", public.id()), ("refresh_token", refresh_token)];
    assert_eq!(error(&token(&gateway, &api, &refresh, None).await), (400, json!("invalid_dpop_proof")));
    assert_eq!(error(&token(&gateway, &api, &refresh, Some(&proof(&other))).await), (400, json!("invalid_grant")));
    assert_eq!(
        error(&token(&gateway, &api, &refresh, Some(&used)).await),
        (400, json!("invalid_dpop_proof")),
        "replayed"
    );
    let refreshed = token(&gateway, &api, &refresh, Some(&proof(&key))).await.expect(200).json();
    assert_eq!(refreshed["token_type"], "DPoP");

    // A confidential client authenticates: its key may change, and is never dropped.
    let client = Application::register(&gateway, "confidential", json!({})).await;
    let code = api.code(&gateway, &client).await;
    let credentials = [("client_id", client.id()), ("client_secret", client.secret())];
    let exchange = [&credentials[..], &[("grant_type", "authorization_code"), ("code", &code)]].concat();
    let issued = token(&gateway, &api, &exchange, Some(&proof(&key))).await.expect(200).json();
    let refresh_token = issued["refresh_token"].as_str().unwrap();
    let refresh = [&credentials[..], &[("grant_type", "refresh_token"), ("refresh_token", refresh_token)]].concat();
    assert_eq!(error(&token(&gateway, &api, &refresh, None).await), (400, json!("invalid_dpop_proof")));
    let refreshed = token(&gateway, &api, &refresh, Some(&proof(&other))).await.expect(200).json();
    let access_token = refreshed["access_token"].as_str().unwrap();
    let uri = gateway.url("/api/things");
    for (key, status) in [(&key, 401), (&other, 200)] {
        let (authorization, proof) = (format!("DPoP {access_token}"), key.proof("GET", &uri, Some(access_token)));
        get(&gateway, "/api/things", &[("authorization", &authorization), ("dpop", &proof)]).await.expect(status);
    }

    let thumbprint = [("dpop_jkt", "short"), ("client_id", client.id()), ("response_type", "code")];
    let form = [
        &thumbprint[..],
        &[("provision_key", api.provision_key()), ("authenticated_userid", "kate"), ("scope", "email")],
    ]
    .concat();
    assert_eq!(error(&api.authorize(&gateway, &form).await), (400, json!("invalid_request")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_required_is_required_of_every_token() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let api =
        Api::protected(&gateway, "api", &upstream, json!({"sender_constraint": "dpop", "hide_credentials": true}))
            .await;
    let client = Application::register(&gateway, "app", json!({})).await;
    assert_eq!(error(&token(&gateway, &api, &own(&client), None).await), (400, json!("invalid_dpop_proof")));
    let implicit = [
        ("provision_key", api.provision_key()),
        ("authenticated_userid", "kate"),
        ("client_id", client.id()),
        ("response_type", "token"),
        ("scope", "email"),
    ];
    let redirect = api.authorize(&gateway, &implicit).await.expect(400).json()["redirect_uri"].clone();
    assert!(redirect.as_str().unwrap().contains("error=unsupported_response_type"), "{redirect}");
    let key = ProofKey::new();
    let access_token = bound(&gateway, &api, &client, &key).await;
    let (uri, authorization) = (gateway.url("/api/things"), format!("dpop {access_token}"));
    let proof = key.proof("GET", &uri, Some(&access_token));
    let reply = get(&gateway, "/api/things", &[("authorization", &authorization), ("dpop", &proof)]).await.expect(200);
    let upstream_headers = reply.json()["headers"].clone();
    assert_eq!((&upstream_headers["authorization"], &upstream_headers["dpop"]), (&Value::Null, &Value::Null));
    assert_eq!(upstream_headers["x-authenticated-scope"], json!(["email"]));

    // Where binding is turned off, nobody can tell who may present it.
    gateway
        .change(
            &format!("/plugins/{}", api.plugin["id"].as_str().unwrap()),
            json!({"config": {"sender_constraint": null}}),
        )
        .await;
    let proof = key.proof("GET", &uri, Some(&access_token));
    for authorization in [format!("Bearer {access_token}"), format!("DPoP {access_token}")] {
        let reply =
            get(&gateway, "/api/things", &[("authorization", &authorization), ("dpop", &proof)]).await.expect(401);
        assert!(reply.header("www-authenticate").unwrap().starts_with("Bearer error=\"invalid_token\""));
    }
    // As without this plugin's support: a proof is a header as any other.
    let plain = token(&gateway, &api, &own(&client), Some("nonsense")).await.expect(200).json();
    assert_eq!(plain["token_type"], "bearer");
}

/// A request that a proxy in front of several nodes passes on to one of them.
async fn through_proxy(node: &Gateway, line: &str, headers: &[(&str, &str)], form: &[(&str, &str)]) -> Reply {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let mut request = format!(
        "{line} HTTP/1.1\r\nHost: api.example.test\r\nX-Forwarded-Proto: https\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n",
        body.len()
    );
    headers.iter().for_each(|(name, value)| request.push_str(&format!("{name}: {value}\r\n")));
    let request = format!("{request}\r\n{body}");
    raw::exchange(&node.http.to_string(), request.as_bytes()).await.expect("a response")
}

#[tokio::test(flavor = "multi_thread")]
async fn nonces_and_what_was_presented_are_known_to_all_nodes_rfc9449_8_rfc9449_11_1() {
    const PROXY: &[(&str, &str)] = &[("TOLLGATE_TRUSTED_IPS", "127.0.0.0/8")];
    let gateway = Gateway::on(Store::Postgres, PROXY).await;
    let upstream = Upstream::start().await;
    let config = json!({
        "dpop": "required", "dpop_nonce": true, "dpop_replay": "shared", "accept_http_if_already_terminated": true,
    });
    Api::protected(&gateway, "api", &upstream, config).await;
    let client = Application::register(&gateway, "app", json!({})).await;
    let node = gateway.another_node_with(PROXY).await;
    let key = ProofKey::new();
    let endpoint = "https://api.example.test/api/oauth2/token";
    let with_nonce = |nonce: &str| key.proof_with("POST", endpoint, None, json!({}), json!({"nonce": nonce}));
    let form = own(&client);
    let token_at = async |node: &Gateway, proof: &str| {
        through_proxy(node, "POST /api/oauth2/token", &[("DPoP", proof)], &form).await
    };
    let refused = token_at(&gateway, &key.proof("POST", endpoint, None)).await;
    assert_eq!(error(&refused), (400, json!("use_dpop_nonce")));
    let nonce = refused.header("dpop-nonce").unwrap();
    assert_eq!(error(&token_at(&node, &with_nonce("made-up")).await), (400, json!("use_dpop_nonce")));
    let proof = with_nonce(&nonce);
    let issued = token_at(&node, &proof).await.expect(200);
    assert!(issued.header("dpop-nonce").is_some());
    assert_eq!(error(&token_at(&gateway, &proof).await), (400, json!("invalid_dpop_proof")), "on the other node");

    let access_token = issued.json()["access_token"].as_str().unwrap().to_owned();
    let authorization = format!("DPoP {access_token}");
    let read = async |node: &Gateway, nonce: &str, id: &str| {
        let claims = json!({"nonce": nonce, "jti": id});
        let uri = "https://api.example.test/api/things";
        let proof = key.proof_with("GET", uri, Some(&access_token), json!({}), claims);
        let headers = [("Authorization", authorization.as_str()), ("DPoP", &proof)];
        through_proxy(node, "GET /api/things", &headers, &[]).await
    };
    let refused = read(&gateway, "old", "1").await.expect(401);
    assert!(refused.header("www-authenticate").unwrap().starts_with("DPoP error=\"use_dpop_nonce\""));
    let nonce = refused.header("dpop-nonce").unwrap();
    read(&gateway, &nonce, "2").await.expect(200);
    for node in [&node, &gateway] {
        let replayed = read(node, &nonce, "2").await.expect(401);
        assert!(replayed.header("www-authenticate").unwrap().starts_with("DPoP error=\"invalid_dpop_proof\""));
    }
    read(&node, &nonce, "3").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_trusted_proxy_a_proof_is_for_what_the_proxy_was_sent_rfc9449_4_3() {
    let gateway = Gateway::on(Store::Sqlite, &[("TOLLGATE_TRUSTED_IPS", "127.0.0.0/8")]).await;
    let upstream = Upstream::start().await;
    let config = json!({"dpop": "optional", "accept_http_if_already_terminated": true});
    let api = Api::protected(&gateway, "api", &upstream, config).await;
    let client = Application::register(&gateway, "app", json!({})).await;
    let key = ProofKey::new();
    let access_token = bound(&gateway, &api, &client, &key).await;
    let authorization = format!("DPoP {access_token}");
    for (uri, forwarded, expected) in [
        (
            "https://api.example.test/api/things",
            &[("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "api.example.test")][..],
            200,
        ),
        (
            "https://api.example.test:8443/api/things",
            &[("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "api.example.test:8443")],
            200,
        ),
        (
            "http://api.example.test/api/things",
            &[("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "api.example.test")],
            401,
        ),
        ("https://api.example.test/api/things", &[], 401),
    ] {
        let proof = key.proof("GET", uri, Some(&access_token));
        let headers = [forwarded, &[("Authorization", authorization.as_str()), ("DPoP", &proof)]].concat();
        let reply = raw::get(&gateway.http.to_string(), "/api/things", &headers).await;
        assert_eq!(reply.status, expected, "{uri} {forwarded:?} {}", reply.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn challenges_for_proofs_say_what_those_for_bearer_tokens_do_rfc6750_3_1_rfc9728_5_1() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let config = json!({"dpop": "required", "required_scopes": ["profile"], "endpoints": ["metadata"]});
    let api = Api::protected(&gateway, "api", &upstream, config).await;
    let (client, key) = (Application::register(&gateway, "client", json!({})).await, ProofKey::new());
    let token = bound(&gateway, &api, &client, &key).await;
    let (uri, metadata) = (gateway.url("/api/things"), gateway.url("/.well-known/oauth-protected-resource/api"));
    let proof = key.proof("GET", &uri, Some(&token));
    let dpop = format!("DPoP {token}");
    let lacking = r#"error="insufficient_scope", error_description="The access token does not have the required scope", scope="profile", "#;
    let unproved =
        r#"error="invalid_token", error_description="The access token is bound to a key and needs a DPoP proof", "#;
    for (name, headers, status, expected) in [
        ("no token", vec![], 401, ""),
        ("no scope", vec![("authorization", dpop.as_str()), ("dpop", proof.as_str())], 403, lacking),
        ("no proof", vec![("authorization", &format!("Bearer {token}"))], 401, unproved),
    ] {
        let reply = get(&gateway, "/api/things", &headers).await.expect(status);
        let expected = format!("DPoP {expected}resource_metadata=\"{metadata}\", {ALGORITHMS}");
        assert_eq!(reply.header("www-authenticate").unwrap(), expected, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_for_another_server_is_of_no_use_with_its_name_as_host_rfc9449_4_3() {
    let gateway = Gateway::on_sqlite().await;
    let upstream = Upstream::start().await;
    let config = json!({"dpop": "required", "issuer": gateway.url("/api"), "resources": [gateway.plain_url("/api")]});
    let api = Api::protected(&gateway, "api", &upstream, config).await;
    let (client, key) = (Application::register(&gateway, "app", json!({})).await, ProofKey::new());
    let token = bound(&gateway, &api, &client, &key).await;
    let authorization = format!("DPoP {token}");
    let address = gateway.http.to_string();
    for (host, status) in [(address.as_str(), 200), ("evil.test", 401)] {
        let proof = key.proof("GET", &format!("http://{host}/api/things"), Some(&token));
        let headers = [("Host", host), ("Authorization", authorization.as_str()), ("DPoP", proof.as_str())];
        let reply = raw::get(&address, "/api/things", &headers).await.expect(status);
        if status == 401 {
            let text = "The htu of the DPoP proof is not the URI of the request";
            let error = format!("error=\"invalid_dpop_proof\", error_description=\"{text}\"");
            assert_eq!(reply.header("www-authenticate").unwrap(), format!("DPoP {error}, {ALGORITHMS}"));
        }
    }
    // The same at the token endpoint.
    let proof = key.proof("POST", "https://evil.test/api/oauth2/token", None);
    let form = own(&client).iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
    let connection = Connection::open(gateway.https).await;
    let request = Request::builder().method("POST").uri("https://evil.test/api/oauth2/token").header("dpop", proof);
    let request = request.header("content-type", "application/x-www-form-urlencoded").body(()).unwrap();
    let (head, body, _) = connection.send(request, &[form.as_str()], None).await.unwrap();
    let reply = Reply { status: head.status.as_u16(), headers: head.headers, body };
    assert_eq!(error(&reply), (400, json!("invalid_dpop_proof")));
}
