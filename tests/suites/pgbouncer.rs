//! Nodes behind a real PgBouncer in transaction mode: each transaction runs in a session that others use too, and
//! nobody is notified.

use std::time::Duration;

use serde_json::json;
use tollgate_tests::pgbouncer::{PgBouncer, StartupParameters};
use tollgate_tests::postgres::Database;
use tollgate_tests::scenario::{Api, Application};
use tollgate_tests::{Gateway, Upstream};

use crate::nodes::within;
use crate::revocation::{SETTINGS, Stress};

/// What the log says of a pooler.
const RECOGNISED: &str = "a connection pooler shares the database's sessions";

#[tokio::test(flavor = "multi_thread")]
async fn changes_behind_pgbouncer_are_in_force_on_every_node() {
    let database = Database::create();
    let pooler = PgBouncer::start(&database.url(), StartupParameters::Ignored).await;
    // They start at the same time, so they take turns to migrate.
    let url = pooler.url(&database.url());
    let (one, other) = tokio::join!(Gateway::on_url(&url, &SETTINGS), Gateway::on_url(&url, &SETTINGS));
    for node in [&one, &other] {
        assert!(node.output().contains(RECOGNISED), "{}", node.output());
        assert!(node.output().contains("ALTER ROLE"), "{}", node.output());
    }
    let stress = Stress::on(vec![one, other]).await;
    stress.carry_out_in_part(10).await;
    for node in stress.into_nodes() {
        for trouble in ["does not exist", "change feed interrupted", "write outcome unknown"] {
            assert!(!node.output().contains(trouble), "{trouble}:\n{}", node.output());
        }
    }
    assert!(!pooler.output().contains("unsupported startup parameter"), "{}", pooler.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_refuses_startup_parameters_is_recognised() {
    let database = Database::create();
    let pooler = PgBouncer::start(&database.url(), StartupParameters::Refused).await;
    let behind = Gateway::on_url(&pooler.url(&database.url()), &[]).await;
    assert!(behind.output().contains(RECOGNISED), "{}", behind.output());
    // A node without the pooler wakes nobody behind it, and is woken.
    let direct = Gateway::on_url(&database.url(), &[]).await;
    assert!(!direct.output().contains(RECOGNISED), "{}", direct.output());
    let upstream = Upstream::start().await;
    let api = Api::protected(&behind, "api", &upstream, json!({})).await;
    let client = Application::register(&direct, "client", json!({})).await;
    within(Duration::from_secs(1), "the API", async || api.get(&direct, "none").await.status == 401).await;
    let tokens = api.tokens(&direct, &client).await;
    let token = tokens["access_token"].as_str().expect("a token");
    let refresh_token = tokens["refresh_token"].as_str().expect("a refresh token");
    for node in [&behind, &direct] {
        api.get(node, token).await.expect(200);
    }
    let tokens = api.refresh(&behind, &client, refresh_token).await.expect(200).json();
    let ended = async || api.get(&direct, token).await.status == 401;
    within(Duration::from_secs(1), "the refresh behind the pooler", ended).await;
    let token = tokens["access_token"].as_str().expect("a token");
    for node in [&behind, &direct] {
        api.get(node, token).await.expect(200);
    }
    direct.delete("/consumers/client").await;
    let ended = async || api.get(&behind, token).await.status == 401;
    within(Duration::from_secs(1), "the deletion on the other node", ended).await;
}
