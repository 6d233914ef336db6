//! Codes, refresh tokens and new tokens over three nodes whose connections to the database break between a statement
//! and its response: what one of them did is done once, whoever asks again and wherever.

use futures::future::join_all;
use serde_json::{Value, json};
use tollgate_tests::postgres::Database;
use tollgate_tests::scenario::{Api, Application};
use tollgate_tests::{Gateway, LostResponses, Reply, Upstream};

use crate::nodes::within;

const ROUNDS: usize = 4;
/// Requests to each node in a round.
const TRIES: usize = 3;

/// What the statements begin with.
const REDEMPTION: &str = "Deletes the code and inserts the token";
const ROTATION: &str = "Deletes a token and inserts its successor";
const INSERTION: &str = "Inserts issued tokens";

/// Three nodes, each behind a forwarder of its own that can lose a response.
struct Nodes {
    nodes: Vec<(Gateway, LostResponses)>,
    api: Api,
    client: Application,
    _upstream: Upstream,
    _database: Database,
}

impl Nodes {
    async fn start(config: Value) -> Self {
        let database = Database::create();
        let mut nodes = Vec::new();
        for _ in 0..3 {
            let (url, forwarder) = LostResponses::before(&database.url()).await;
            nodes.push((Gateway::on_url(&url, &[]).await, forwarder));
        }
        let upstream = Upstream::start().await;
        let api = Api::protected(&nodes[0].0, "api", &upstream, config).await;
        let client = Application::register(&nodes[0].0, "client", json!({})).await;
        for (node, _) in &nodes {
            let known = async || api.get(node, "none").await.status == 401;
            within(std::time::Duration::from_secs(10), "the API", known).await;
        }
        Self { nodes, api, client, _upstream: upstream, _database: database }
    }

    fn gateways(&self) -> impl Iterator<Item = &Gateway> {
        self.nodes.iter().map(|(node, _)| node)
    }

    /// Sends a request to every node several times at once, while each node loses the response to its next
    /// statement of a kind. Every reply is one of three.
    async fn race(&self, statement: &str, send: impl AsyncFn(&Gateway) -> Reply) -> Vec<Reply> {
        let lost_before = self.lost();
        self.nodes.iter().for_each(|(_, forwarder)| forwarder.lose_next(statement));
        let requests = self.gateways().flat_map(|node| [node; TRIES]);
        let replies = join_all(requests.map(|node| send(node))).await;
        self.nodes.iter().for_each(|(_, forwarder)| forwarder.lose_no_more());
        for reply in &replies {
            assert!([200, 400, 503].contains(&reply.status), "{} {}", reply.status, reply.body);
            assert!(reply.status != 503 || reply.header("retry-after").is_some());
        }
        assert!(self.lost() > lost_before, "no response was lost");
        replies
    }

    fn lost(&self) -> usize {
        self.nodes.iter().map(|(_, forwarder)| forwarder.lost()).sum()
    }

    /// The number of token rows.
    async fn rows(&self) -> usize {
        let page = self.nodes[0].0.admin_get("/oauth2_tokens?size=1000").await.expect(200).json();
        page["data"].as_array().expect("a list").len()
    }

    /// Checks what every node says of a token, within a second.
    async fn is_everywhere(&self, token: &str, status: u16) {
        for node in self.gateways() {
            let agreed = async || self.api.get(node, token).await.status == status;
            within(std::time::Duration::from_secs(5), "what every node says of a token", agreed).await;
        }
    }
}

fn with_status(replies: &[Reply], status: u16) -> Vec<&Reply> {
    replies.iter().filter(|reply| reply.status == status).collect()
}

fn text<'r>(document: &'r Value, name: &str) -> &'r str {
    document[name].as_str().unwrap_or_else(|| panic!("no {name}: {document}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_redeemed_once_on_three_nodes_that_lose_responses() {
    let nodes = Nodes::start(json!({})).await;
    for round in 1..=ROUNDS {
        let code = nodes.api.code(&nodes.nodes[0].0, &nodes.client).await;
        let redeem = async |node: &Gateway| nodes.api.redeem(node, &nodes.client, &code).await;
        let replies = nodes.race(REDEMPTION, redeem).await;
        let won = with_status(&replies, 200);
        assert!(won.len() <= 1);
        // Whoever won, there is one token: with the winner, or with nobody if the response was lost.
        assert_eq!(nodes.rows().await, round);
        for reply in won {
            nodes.is_everywhere(text(&reply.json(), "access_token"), 200).await;
        }
        for node in nodes.gateways() {
            nodes.api.redeem(node, &nodes.client, &code).await.expect(400);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_is_used_once_on_three_nodes_that_lose_responses() {
    let nodes = Nodes::start(json!({})).await;
    for round in 1..=ROUNDS {
        let old = nodes.api.tokens(&nodes.nodes[0].0, &nodes.client).await;
        let refresh = async |node: &Gateway| nodes.api.refresh(node, &nodes.client, text(&old, "refresh_token")).await;
        let replies = nodes.race(ROTATION, refresh).await;
        let won = with_status(&replies, 200);
        assert!(won.len() <= 1);
        nodes.is_everywhere(text(&old, "access_token"), 401).await;
        assert_eq!(nodes.rows().await, round);
        for reply in won {
            let new = reply.json();
            nodes.is_everywhere(text(&new, "access_token"), 200).await;
            let next = nodes.api.refresh(&nodes.nodes[1].0, &nodes.client, text(&new, "refresh_token")).await;
            assert_eq!(next.status, 200);
        }
        for node in nodes.gateways() {
            refresh(node).await.expect(400);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_refresh_grace_whoever_repeats_a_lost_refresh_gets_the_one_new_pair() {
    for reuse in [false, true] {
        let nodes = Nodes::start(json!({"refresh_grace": 60, "reuse_refresh_token": reuse})).await;
        let statement = if reuse { "Gives a row a new access token" } else { ROTATION };
        for round in 1..=ROUNDS {
            let old = nodes.api.tokens(&nodes.nodes[0].0, &nodes.client).await;
            let refresh =
                async |node: &Gateway| nodes.api.refresh(node, &nodes.client, text(&old, "refresh_token")).await;
            let replies = nodes.race(statement, refresh).await;
            // Who got 503 asks again, on any node; nobody is refused.
            assert_eq!(with_status(&replies, 400).len(), 0);
            let mut pairs: Vec<Value> = with_status(&replies, 200).into_iter().map(Reply::json).collect();
            for node in nodes.gateways() {
                pairs.push(refresh(node).await.expect(200).json());
            }
            let pair =
                |document: &Value| [text(document, "access_token"), text(document, "refresh_token")].map(str::to_owned);
            pairs.iter().for_each(|other| assert_eq!(pair(other), pair(&pairs[0])));
            assert_eq!(nodes.rows().await, round);
            nodes.is_everywhere(text(&old, "access_token"), 401).await;
            nodes.is_everywhere(text(&pairs[0], "access_token"), 200).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_given_out_is_stored_once_on_three_nodes_that_lose_responses() {
    let nodes = Nodes::start(json!({})).await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", nodes.client.id()),
        ("client_secret", nodes.client.secret()),
    ];
    let mut given: Vec<String> = Vec::new();
    let mut requests = 0;
    for _ in 0..ROUNDS {
        let replies = nodes.race(INSERTION, async |node: &Gateway| nodes.api.token(node, &form).await).await;
        requests += replies.len();
        let won = with_status(&replies, 200);
        given.extend(won.into_iter().map(|reply| text(&reply.json(), "access_token").to_owned()));
    }
    // Of those whose response was lost, a row may be left that nobody has the token of.
    let rows = nodes.rows().await;
    assert!(given.len() <= rows && rows <= requests, "{} given, {rows} rows, {requests} requests", given.len());
    given.sort_unstable();
    let count = given.len();
    given.dedup();
    assert_eq!(given.len(), count);
    for token in &given {
        nodes.is_everywhere(token, 200).await;
    }
}
