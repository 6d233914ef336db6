//! Several nodes on one database: a change on one is in force on the others within a second (architecture,
//! invariant 2).

use std::time::{Duration, Instant};

use serde_json::json;
use tollgate_tests::postgres::Database;
use tollgate_tests::scenario::{Api, Application};
use tollgate_tests::{Gateway, Upstream, repository};
use url::Url;
use uuid::Uuid;

const BOUND: Duration = Duration::from_secs(1);

/// Waits until a condition holds; fails if that takes longer than the limit.
pub(crate) async fn within(limit: Duration, what: &str, condition: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < limit, "{what}: not in force after {:?}", begun.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Sends requests until the node returns this status; fails if that takes longer than the bound.
async fn within_a_second(api: &Api, node: &Gateway, token: &str, status: u16, what: &str) {
    let begun = Instant::now();
    loop {
        let response = api.get(node, token).await;
        if response.status == status {
            return;
        }
        let waited = begun.elapsed();
        assert!(waited < BOUND, "{what}: still {} after {waited:?}", response.status);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_on_one_node_is_in_force_on_the_other_within_a_second() {
    let one = Gateway::on_postgres().await;
    let other = one.another_node().await;
    let upstream = Upstream::start().await;
    let api = Api::protected(&one, "api", &upstream, json!({})).await;
    let client = Application::register(&one, "client", json!({})).await;
    let tokens = api.tokens(&one, &client).await;
    let token = tokens["access_token"].as_str().expect("a token");

    within_a_second(&api, &other, token, 200, "a new route, and a token of the other node").await;
    // It is now cached on both nodes.
    api.get(&one, token).await.expect(200);
    one.delete(&format!("/oauth2_tokens/{token}")).await;
    api.get(&one, token).await.expect(401);
    within_a_second(&api, &other, token, 401, "a revoked token").await;

    let tokens = api.tokens(&one, &client).await;
    let token = tokens["access_token"].as_str().expect("a token");
    within_a_second(&api, &other, token, 200, "a new token").await;
    one.delete("/consumers/client").await;
    within_a_second(&api, &other, token, 401, "the token of a deleted consumer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_on_one_node_ends_the_old_token_on_the_other() {
    let one = Gateway::on_postgres().await;
    let other = one.another_node().await;
    let upstream = Upstream::start().await;
    let api = Api::protected(&one, "api", &upstream, json!({})).await;
    let client = Application::register(&one, "client", json!({})).await;
    let old = api.tokens(&one, &client).await;
    let token = old["access_token"].as_str().expect("a token");
    within_a_second(&api, &other, token, 200, "a token of the other node").await;
    let refresh_token = old["refresh_token"].as_str().expect("a refresh token");
    api.refresh(&one, &client, refresh_token).await.expect(200);
    within_a_second(&api, &other, token, 401, "the token that was refreshed").await;
}

/// Roles of the server's, which outlive their database.
struct Roles(String, String);

impl Drop for Roles {
    fn drop(&mut self) {
        if let Ok(cleaner) = std::panic::catch_unwind(Database::create) {
            cleaner.run(&format!("DROP ROLE IF EXISTS {}, {}", self.1, self.0));
        }
    }
}

/// The statements of docs/rotation.md that make the next role.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_the_former_and_of_the_next_role_share_the_database() {
    let name = Uuid::new_v4().simple().to_string();
    let roles = Roles(format!("former_{name}"), format!("next_{name}"));
    let database = Database::create();
    let as_role = |role: &str| {
        let mut url = Url::parse(&database.url()).unwrap();
        url.set_username(role).unwrap();
        String::from(url)
    };
    database.run(&format!("CREATE ROLE {} LOGIN", roles.0));
    database.run(&format!("ALTER SCHEMA public OWNER TO {}", roles.0));
    let one = Gateway::on_url(&as_role(&roles.0), &[]).await;
    let page = std::fs::read_to_string(repository().join("docs/rotation.md")).unwrap();
    let statements = page.lines().map(str::trim).filter(|line| line.contains(" ROLE tollgate_b "));
    let statements: Vec<String> = statements
        .map(|line| line.replace("tollgate_b", "NEXT").replace("tollgate", &roles.0).replace("NEXT", &roles.1))
        .collect();
    assert_eq!(statements.len(), 2, "{statements:?}");
    for statement in &statements {
        database.run(statement);
    }
    let other = Gateway::on_url(&as_role(&roles.1), &[]).await;

    let upstream = Upstream::start().await;
    let api = Api::protected(&other, "api", &upstream, json!({})).await;
    let client = Application::register(&other, "client", json!({})).await;
    let tokens = api.tokens(&other, &client).await;
    let token = tokens["access_token"].as_str().expect("a token");
    within_a_second(&api, &one, token, 200, "a token of the next role's node").await;
    one.delete(&format!("/oauth2_tokens/{token}")).await;
    within_a_second(&api, &other, token, 401, "a token that the former role's node revoked").await;
    let owned = format!("SELECT count(*) FROM pg_tables WHERE tableowner = '{}'", roles.1);
    assert_eq!(database.run(&owned).trim(), "0", "the next role owns tables");
    drop((one, other, database));
    drop(roles);
}
