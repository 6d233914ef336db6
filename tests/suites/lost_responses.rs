//! Writes that are committed but whose response never arrives: the client gets 503, and the outcome of the write is
//! in force by then. A retry finds the work done.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use tollgate_tests::scenario::{Api, Application, every_grant};
use tollgate_tests::{Gateway, LostResponses, Reply, Upstream};

/// Part of the statement that records a change for other nodes.
const HEARD: &str = "INTO changes";

/// A node whose responses can be lost, another node, and an API with a client.
struct Nodes {
    one: Gateway,
    other: Gateway,
    forwarder: LostResponses,
    api: Api,
    client: Application,
    upstream: Upstream,
}

impl Nodes {
    async fn start(config: Value) -> Self {
        let (one, forwarder) = Gateway::on_postgres_with_lost_responses().await;
        let other = one.another_node().await;
        let upstream = Upstream::start().await;
        let api = Api::protected(&one, "api", &upstream, config).await;
        let client = Application::register(&one, "client", json!({})).await;
        Self { one, other, forwarder, api, client, upstream }
    }

    /// Tokens that both nodes have cached.
    async fn tokens(&self) -> (String, String) {
        let tokens = self.api.tokens(&self.one, &self.client).await;
        let text = |name: &str| tokens[name].as_str().expect("a token").to_owned();
        let (access_token, refresh_token) = (text("access_token"), text("refresh_token"));
        self.are_both(&access_token, 200).await;
        self.api.get(&self.one, &access_token).await.expect(200);
        (access_token, refresh_token)
    }

    /// Checks that the first node returns a status at once, and the other within a second.
    async fn are_both(&self, token: &str, status: u16) {
        let path = "/api/things";
        let reply = |node| async move { node_get(node, path, token).await.status };
        assert_eq!(reply(&self.one).await, status);
        let begun = Instant::now();
        while reply(&self.other).await != status {
            assert!(begun.elapsed() < Duration::from_secs(1), "the other node does not have the change");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(reply(&self.one).await, status);
    }

    /// An Admin API write whose response is lost.
    async fn lost(&self, method: Method, path: &str, body: Value) {
        self.forwarder.lose_next(HEARD);
        self.expect_lost(self.one.admin(method, path, body).await);
    }

    fn expect_lost(&self, reply: Reply) {
        assert_eq!((reply.status, self.forwarder.lost()), (503, 1), "{}", reply.body);
    }
}

async fn node_get(node: &Gateway, path: &str, token: &str) -> Reply {
    node.send(node.request(Method::GET, path).bearer_auth(token)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_token_is_refused() {
    let nodes = Nodes::start(json!({})).await;
    let (token, _) = nodes.tokens().await;
    let path = format!("/oauth2_tokens/{token}");
    nodes.lost(Method::DELETE, &path, Value::Null).await;
    nodes.are_both(&token, 401).await;
    nodes.one.admin(Method::DELETE, &path, Value::Null).await.expect(204);
    nodes.are_both(&token, 401).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_token_has_its_new_values() {
    let nodes = Nodes::start(json!({})).await;
    let (token, _) = nodes.tokens().await;
    let (path, new) = (format!("/oauth2_tokens/{token}"), "chosen-token-of-an-operator-0001");
    nodes.lost(Method::PATCH, &path, json!({"access_token": new})).await;
    nodes.are_both(&token, 401).await;
    nodes.are_both(new, 200).await;
    nodes.one.admin(Method::PATCH, &path, json!({"access_token": new})).await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_token_is_accepted() {
    let nodes = Nodes::start(json!({})).await;
    let token = "chosen-token-of-an-operator-0002";
    nodes.are_both(token, 401).await;
    let document = json!({"credential": {"id": nodes.client.credential["id"]}, "access_token": token,
        "expires_in": 60, "service": {"id": nodes.api.service["id"]}});
    nodes.lost(Method::POST, "/oauth2_tokens", document.clone()).await;
    nodes.are_both(token, 200).await;
    nodes.one.admin(Method::POST, "/oauth2_tokens", document).await.expect(409);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refreshed_token_is_refused() {
    let nodes = Nodes::start(json!({})).await;
    let (token, refresh_token) = nodes.tokens().await;
    nodes.forwarder.lose_next(HEARD);
    nodes.expect_lost(nodes.api.refresh(&nodes.one, &nodes.client, &refresh_token).await);
    nodes.are_both(&token, 401).await;
    nodes.api.refresh(&nodes.one, &nodes.client, &refresh_token).await.expect(400);
    nodes.are_both(&token, 401).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_with_a_reused_refresh_token_is_refused() {
    let nodes = Nodes::start(json!({"reuse_refresh_token": true})).await;
    let (token, refresh_token) = nodes.tokens().await;
    nodes.forwarder.lose_next(HEARD);
    nodes.expect_lost(nodes.api.refresh(&nodes.one, &nodes.client, &refresh_token).await);
    nodes.are_both(&token, 401).await;
    let again = nodes.api.refresh(&nodes.one, &nodes.client, &refresh_token).await.expect(200).json();
    nodes.are_both(again["access_token"].as_str().unwrap(), 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redeemed_code_is_consumed() {
    let nodes = Nodes::start(json!({})).await;
    let code = nodes.api.code(&nodes.one, &nodes.client).await;
    nodes.forwarder.lose_next("DELETE FROM oauth2_authorization_codes");
    nodes.expect_lost(nodes.api.redeem(&nodes.one, &nodes.client, &code).await);
    for node in [&nodes.one, &nodes.other] {
        nodes.api.redeem(node, &nodes.client, &code).await.expect(400);
    }
    nodes.tokens().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_a_deleted_consumer_are_refused() {
    let nodes = Nodes::start(json!({})).await;
    let (token, _) = nodes.tokens().await;
    nodes.lost(Method::DELETE, "/consumers/client", Value::Null).await;
    nodes.are_both(&token, 401).await;
    nodes.one.delete("/consumers/client").await;
    nodes.are_both(&token, 401).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_client_secret_is_refused() {
    let nodes = Nodes::start(json!({})).await;
    let token = async |node: &Gateway, secret: &str| {
        let form = [("grant_type", "client_credentials"), ("client_id", nodes.client.id()), ("client_secret", secret)];
        nodes.api.token(node, &form).await.status
    };
    for node in [&nodes.one, &nodes.other] {
        assert_eq!(token(node, nodes.client.secret()).await, 200);
    }
    let path = format!("/oauth2/{}", nodes.client.id());
    let new = "a-new-secret-of-this-client";
    nodes.lost(Method::PATCH, &path, json!({"client_secret": new, "hash_secret": true})).await;
    assert_eq!(token(&nodes.one, nodes.client.secret()).await, 400);
    assert_eq!(token(&nodes.one, new).await, 200);
    let begun = Instant::now();
    while token(&nodes.other, nodes.client.secret()).await != 400 {
        assert!(begun.elapsed() < Duration::from_secs(2), "the other node does not have the change");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_plugin_is_enforced_and_a_changed_one_has_its_new_configuration() {
    let nodes = Nodes::start(json!({})).await;
    Api::open(&nodes.one, "open", &nodes.upstream).await;
    let statuses = async || {
        let get = |node: &Gateway| node.request(Method::GET, "/open/things");
        [nodes.one.send(get(&nodes.one)).await.status, nodes.other.send(get(&nodes.other)).await.status]
    };
    let within_a_second = async |expected: u16| {
        assert_eq!(statuses().await[0], expected);
        let begun = Instant::now();
        while statuses().await != [expected; 2] {
            assert!(begun.elapsed() < Duration::from_secs(1), "{expected}: the other node does not have the change");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within_a_second(200).await;
    let plugin = json!({"name": "oauth2", "config": every_grant()});
    nodes.lost(Method::POST, "/services/open/plugins", plugin.clone()).await;
    within_a_second(401).await;
    nodes.one.admin(Method::POST, "/services/open/plugins", plugin).await.expect(409);
    within_a_second(401).await;

    let plugins = nodes.one.admin_get("/services/open/plugins").await.expect(200).json();
    let path = format!("/plugins/{}", plugins["data"][0]["id"].as_str().unwrap());
    nodes.forwarder.lose_next(HEARD);
    let reply = nodes.one.admin(Method::PATCH, &path, json!({"enabled": false})).await;
    assert_eq!((nodes.forwarder.lost(), reply.status), (2, 503));
    within_a_second(200).await;
}
