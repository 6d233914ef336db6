//! What is for one use, or counted, is so for all nodes.

use std::time::Duration;

use futures::future::join_all;
use tollgate_tests::Upstream;
use tollgate_tests::issuer_key::IssuerKey;
use tollgate_tests::scenario::REDIRECT_URI;

use super::*;
use crate::nodes::within;

const JWT: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Two nodes that know an API with these endpoints.
async fn nodes(config: Value) -> ([Gateway; 2], Api, Upstream) {
    let first = Gateway::on_postgres().await;
    let upstream = Upstream::start().await;
    let api = Api::protected(&first, "api", &upstream, config).await;
    let second = first.another_node().await;
    within(Duration::from_secs(10), "the API", async || api.get(&second, "none").await.status == 401).await;
    ([first, second], api, upstream)
}

/// The statuses of the same request, eight times to each node at once.
async fn at_once<F: Future<Output = Reply>>(nodes: &[Gateway; 2], send: impl Fn(usize) -> F) -> Vec<u16> {
    let tries = (0..8).flat_map(|_| 0..nodes.len()).map(&send);
    let mut statuses: Vec<u16> = join_all(tries).await.iter().map(|reply| reply.status).collect();
    statuses.sort_unstable();
    statuses
}

fn one_of_sixteen(won: u16, lost: u16) -> Vec<u16> {
    [vec![won], vec![lost; 15]].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pushed_request_and_an_assertion_are_used_once_on_two_nodes_rfc9126_4_rfc7523_3() {
    let (nodes, api, _upstream) =
        nodes(json!({"endpoints": ["par"], "pkce": "none", "issuer": "https://as.example.test"})).await;
    let key = IssuerKey::generate("k1", "ES256");
    let fields = json!({"jwks": {"keys": [key.jwk()]}, "token_endpoint_auth_method": "private_key_jwt"});
    let client = Application::register(&nodes[0], "client", fields).await;
    let expires = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() + 60;
    let assertion = || {
        let claims = json!({
            "iss": client.id(), "sub": client.id(), "aud": "https://as.example.test", "jti": uuid::Uuid::new_v4(),
            "exp": expires,
        });
        key.token_with(&json!({"alg": "ES256", "kid": "k1"}), &claims)
    };
    let protocol = |node: usize| (nodes[node].client.clone(), Version::HTTP_2);
    let own = assertion();
    let form = [
        ("client_assertion_type", JWT),
        ("client_assertion", own.as_str()),
        ("response_type", "code"),
        ("redirect_uri", REDIRECT_URI),
        ("scope", "email"),
    ];
    let pushed = post(&protocol(1), &nodes[1], "/api/oauth2/par", &form).await.expect(201).json();
    assert_eq!(post(&protocol(0), &nodes[0], "/api/oauth2/par", &form).await.status, 400, "the assertion was used");

    let request_uri = text(&pushed, "request_uri");
    let page = [
        ("provision_key", api.provision_key()),
        ("authenticated_userid", "kate"),
        ("client_id", client.id()),
        ("request_uri", request_uri),
    ];
    let authorize = |node: usize| {
        let (protocol, gateway, page) = (protocol(node), &nodes[node], &page);
        async move { post(&protocol, gateway, "/api/oauth2/authorize", page).await }
    };
    assert_eq!(at_once(&nodes, authorize).await, one_of_sixteen(200, 400));

    let own = assertion();
    let form = [
        ("client_assertion_type", JWT),
        ("client_assertion", own.as_str()),
        ("grant_type", "client_credentials"),
        ("scope", "email"),
    ];
    let token = |node: usize| {
        let (protocol, gateway, form) = (protocol(node), &nodes[node], &form);
        async move { post(&protocol, gateway, "/api/oauth2/token", form).await }
    };
    assert_eq!(at_once(&nodes, token).await, one_of_sixteen(200, 400));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quota_of_registrations_is_one_for_all_nodes() {
    let quota = json!({"per_address": 5, "total": 100, "unused_for": 86400});
    let config = json!({
        "endpoints": ["register"], "registration": "open", "registration_consumer": "registered",
        "registration_quota": quota,
    });
    let (nodes, _api, _upstream) = nodes(config).await;
    nodes[0].create("/consumers", json!({"username": "registered"})).await;
    let register = |node: usize| {
        let gateway = &nodes[node];
        async move {
            let body = json!({"redirect_uris": ["https://app.test/cb"]});
            let request = gateway.request(Method::POST, "/api/oauth2/register").json(&body);
            let reply = gateway.send(request).await;
            if let Ok(document) = serde_json::from_str(&reply.body) {
                gateway.secrets.add_from_json(&document);
            }
            reply
        }
    };
    within(Duration::from_secs(10), "the consumer", async || register(1).await.status == 201).await;
    assert_eq!(at_once(&nodes, register).await, [vec![201; 4], vec![429; 12]].concat());
}
