//! The end of a process, and its replacement by another without losing a request.

use std::time::{Duration, Instant};

use serde_json::json;
use tollgate_tests::scenario::{Api, Application};
use tollgate_tests::upgrades::{self, Amount};
use tollgate_tests::{Gateway, KeepAlive, Store, Upstream};
#[tokio::test(flavor = "multi_thread")]
async fn quit_ends_the_gateway_and_waits_for_that() {
    let mut gateway = Gateway::on_sqlite().await;
    let (done, output) = gateway.tool(&["quit"]);
    assert_eq!((done, output.as_str()), (true, "The gateway has ended.\n"));
    assert_eq!(gateway.ended_within(Duration::from_secs(1)).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executable_that_cannot_take_over_changes_nothing() {
    let gateway = Gateway::on_sqlite().await;
    let rows = [
        (
            "/bin/false",
            "tollgate: the new process ended (exit status: 1); the gateway goes on as it was: see its log\n",
        ),
        ("/nowhere", "tollgate: cannot start /nowhere: No such file or directory (os error 2)\n"),
    ];
    for (executable, expected) in rows {
        let (done, output) = gateway.tool(&["upgrade", "--executable", executable]);
        assert_eq!((done, output.as_str()), (false, expected));
        gateway.send(gateway.client.get(gateway.plain_url("/"))).await.expect(404);
        gateway.admin_get("/status").await.expect(200);
    }
    let (done, output) = gateway.tool(&["reload"]);
    assert!(done, "{output}");
}

async fn nothing_is_lost(store: Store) {
    let amount = Amount { clients: 3, pause: Duration::from_millis(15), slow_clients: 3 };
    let served = upgrades::under_load(async |settings| Gateway::on(store, settings).await, 5, amount).await;
    assert_eq!(served.failed, Vec::<String>::new(), "{served:?}");
    // Every kind was served all the while; the WebSockets of the beginning saw every upgrade.
    assert!(served.http1 > 20 && served.http2 > 20 && served.messages > 20 && served.uploads > 20, "{served:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_over_20_reloads_and_5_upgrades_on_sqlite() {
    nothing_is_lost(Store::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_over_20_reloads_and_5_upgrades_on_postgres() {
    nothing_is_lost(Store::Postgres).await;
}

async fn the_new_process_knows_what_was_cached(store: Store) {
    let mut gateway = Gateway::on(store, &[]).await;
    let upstream = Upstream::start().await;
    let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
    let client = Application::register(&gateway, "client", json!({})).await;
    let mut tokens = Vec::new();
    for _ in 0..20 {
        let issued = api.tokens(&gateway, &client).await;
        tokens.push(issued["access_token"].as_str().unwrap().to_owned());
    }
    for token in &tokens {
        api.get(&gateway, token).await.expect(200);
    }
    gateway.upgrade();
    let lookups = async |result: &str| gateway.metric("tollgate_token_lookups_total", &[result]).await;
    let (misses, hits) = (lookups("result=\"miss\"").await, lookups("result=\"hit\"").await);
    assert_eq!((misses, hits), (20.0, 0.0), "it has read what it was told of");
    for token in &tokens {
        api.get(&gateway, token).await.expect(200);
    }
    assert_eq!((lookups("result=\"miss\"").await, lookups("result=\"hit\"").await), (20.0, 20.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_new_process_knows_what_was_cached_on_sqlite() {
    the_new_process_knows_what_was_cached(Store::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_new_process_knows_what_was_cached_on_postgres() {
    the_new_process_knows_what_was_cached(Store::Postgres).await;
}

async fn the_old_process_hears_of_a_revocation(store: Store) {
    let mut gateway = Gateway::on(store, &[]).await;
    let upstream = Upstream::start().await;
    let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
    let client = Application::register(&gateway, "client", json!({})).await;
    let issued = api.tokens(&gateway, &client).await;
    let token = issued["access_token"].as_str().unwrap();
    let request = format!("GET /api HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer {token}\r\n\r\n");
    let mut connections: Vec<_> = (0..40).map(|_| KeepAlive::to(gateway.http)).collect();
    for connection in &mut connections {
        assert_eq!(connection.exchange(request.as_bytes()).await.status, 200);
    }
    gateway.upgrade();
    gateway.delete(&format!("/oauth2_tokens/{token}")).await;
    let deadline = Instant::now() + Duration::from_secs(10);
    // Each of them has one request left there.
    for mut connection in connections {
        let reply = connection.exchange(request.as_bytes()).await;
        assert_eq!(reply.header("connection").as_deref(), Some("close"), "of the old process");
        if reply.status == 401 {
            return;
        }
        assert!(Instant::now() < deadline, "the old process still accepts it");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the old process still accepts it");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_process_hears_of_a_revocation_on_sqlite() {
    the_old_process_hears_of_a_revocation(Store::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_process_hears_of_a_revocation_on_postgres() {
    the_old_process_hears_of_a_revocation(Store::Postgres).await;
}
