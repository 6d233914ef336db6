//! How soon a revocation on one of three nodes is in force on the others: while nothing else happens, while a
//! thousand changes a second are written, and while a service with a hundred thousand tokens is deleted. And what
//! a node that was cut off catches up with.
//!
//! Limits are generous, since tests share their machine; figures of a quiet one are in `docs/reliability.md`, and
//! `cargo nextest run --package tollgate-tests feed --no-capture` prints those of this one.

#![expect(clippy::print_stderr, reason = "the figures are for the reader of the output")]

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use futures::future::join_all;
use http::Method;
use serde_json::{Value, json};
use tollgate_tests::postgres::Database;
use tollgate_tests::scenario::{Api, Application, every_grant};
use tollgate_tests::{Forwarder, Gateway, KeepAlive, Process, Upstream};

use crate::nodes::within;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A deletion of many rows may take longer than the default on a busy machine.
const SETTINGS: [(&str, &str); 2] = [("TOLLGATE_ACCESS_LOG", "off"), ("TOLLGATE_DATABASE_STATEMENT_TIMEOUT", "60s")];

/// Three nodes; writes go to the first.
struct Nodes {
    nodes: Vec<Gateway>,
    upstream: Upstream,
    api: Api,
    client: Application,
    database: Database,
}

impl Nodes {
    async fn start() -> Self {
        let database = Database::create();
        // The first one migrates.
        let mut nodes = vec![Gateway::on_url(&database.url(), &SETTINGS).await];
        let url = database.url();
        nodes.extend(join_all((0..2).map(|_| Gateway::on_url(&url, &SETTINGS))).await);
        let upstream = Upstream::of_heads().await;
        let api = Api::protected(&nodes[0], "api", &upstream, json!({})).await;
        let client = Application::register(&nodes[0], "client", json!({})).await;
        for node in &nodes {
            knows(&api, node).await;
        }
        Self { nodes, upstream, api, client, database }
    }

    /// New tokens that every node has cached.
    async fn tokens(&self, count: usize) -> Vec<String> {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", self.client.id()),
            ("client_secret", self.client.secret()),
        ];
        let issue = async || {
            let issued = self.api.token(&self.nodes[0], &form).await.expect(200).json();
            issued["access_token"].as_str().expect("a token").to_owned()
        };
        let mut tokens = Vec::new();
        for _ in 0..count {
            tokens.push(issue().await);
        }
        for node in &self.nodes {
            let mut connection = KeepAlive::to(node.http);
            for token in &tokens {
                connection.exchange(get(token).as_bytes()).await.expect(200);
            }
        }
        tokens
    }

    async fn revoke(&self, token: &str) {
        self.nodes[0].delete(&format!("/oauth2_tokens/{token}")).await;
    }

    /// Revokes a token, and returns how long after the response each other node still accepted it.
    async fn lag(&self, token: &str) -> Vec<Duration> {
        let others = self.nodes[1..].iter().map(|node| tokio::spawn(refused(node.http, get(token))));
        let others: Vec<_> = others.collect();
        self.revoke(token).await;
        let revoked = Instant::now();
        let refused = join_all(others).await;
        refused.into_iter().map(|at| at.unwrap().saturating_duration_since(revoked)).collect()
    }

    async fn lags(&self, tokens: &[String]) -> Lags {
        let mut lags = Vec::new();
        for token in tokens {
            lags.extend(self.lag(token).await);
        }
        Lags::of(lags)
    }

    /// Changes that the second node has read.
    async fn changes_read(&self) -> f64 {
        self.nodes[1].metric("tollgate_feed_changes_total", &[]).await
    }

    /// How many of the lags that this node has observed were longer than a limit in the buckets.
    async fn observed_later_than(&self, node: usize, limit: &str) -> f64 {
        let bucket = format!("le=\"{limit}\"");
        let all = self.nodes[node].metric("tollgate_revocation_lag_seconds_count", &[]).await;
        all - self.nodes[node].metric("tollgate_revocation_lag_seconds_bucket", &[&bucket]).await
    }
}

/// Waits until a node has the API.
async fn knows(api: &Api, node: &Gateway) {
    within(PATIENCE, "the API", async || api.get(node, "none").await.status == 401).await;
}

fn get(token: &str) -> String {
    format!("GET /api/things HTTP/1.1\r\nHost: api.test\r\nAuthorization: Bearer {token}\r\n\r\n")
}

/// Sends a request until it is refused, and returns when the last one that was not refused was sent.
async fn refused(address: SocketAddr, request: String) -> Instant {
    let (mut connection, begun) = (KeepAlive::to(address), Instant::now());
    let mut last = begun;
    loop {
        let sent = Instant::now();
        let status = connection.exchange(request.as_bytes()).await.status;
        if status == 401 {
            return last;
        }
        assert_eq!(status, 200);
        assert!(begun.elapsed() < PATIENCE, "still accepted after {:?}", begun.elapsed());
        last = sent;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Sorted.
struct Lags(Vec<Duration>);

impl Lags {
    fn of(mut lags: Vec<Duration>) -> Self {
        lags.sort_unstable();
        Self(lags)
    }

    fn percentile(&self, percent: usize) -> Duration {
        self.0[(self.0.len() * percent / 100).min(self.0.len() - 1)]
    }

    fn report(&self, when: &str) {
        let [p50, p90, p99, max] = [50, 90, 99, 100].map(|percent| self.percentile(percent));
        eprintln!("{} lags {when}: p50 {p50:?}, p90 {p90:?}, p99 {p99:?}, max {max:?}", self.0.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_reaches_other_nodes_at_once_when_nothing_else_happens() {
    let nodes = Nodes::start().await;
    let tokens = nodes.tokens(100).await;
    let lags = nodes.lags(&tokens).await;
    lags.report("when nothing else happens");
    assert!(lags.percentile(50) < Duration::from_millis(250));
    assert!(lags.percentile(99) < Duration::from_secs(2));
    for node in [1, 2] {
        assert!(nodes.nodes[node].metric("tollgate_revocation_lag_seconds_count", &[]).await >= 100.0);
        assert!(nodes.observed_later_than(node, "5").await < 1.0);
        assert!(nodes.nodes[node].metric("tollgate_feed_age_seconds", &[]).await < 5.0);
    }
    // The first node's own changes are in force before its responses.
    assert_eq!(nodes.nodes[0].metric("tollgate_feed_resets_total", &[]).await, 0.0);
}

/// Writes a thousand changes a second for a minute, each in a transaction of its own.
const A_THOUSAND_A_SECOND: &str = "DO $$ DECLARE begun timestamptz := clock_timestamp(); BEGIN
    FOR n IN 1..60000 LOOP
        INSERT INTO changes (kind, operation, id, key, origin, created_at)
        VALUES ('oauth2_tokens', 'deleted', gen_random_uuid(), sha256(n::text::bytea), gen_random_uuid(), 0);
        IF n % 5 = 0 THEN PERFORM pg_notify('tollgate_changes', ''); END IF;
        COMMIT;
        PERFORM pg_sleep(greatest(0, n / 1000.0 - extract(epoch FROM clock_timestamp() - begun)));
    END LOOP;
END $$";

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_reaches_other_nodes_while_a_thousand_changes_a_second_are_written() {
    let nodes = Nodes::start().await;
    let tokens = nodes.tokens(50).await;
    let mut writer = Command::new("psql");
    writer.args(["--no-psqlrc", "--quiet", "--command", A_THOUSAND_A_SECOND, "--dbname", &nodes.database.url()]);
    let _writer = Process::start(&mut writer).expect("psql, from PostgreSQL's client programs");
    let written = async || nodes.changes_read().await > 500.0;
    within(PATIENCE, "the first changes", written).await;
    let (before, begun) = (nodes.changes_read().await, Instant::now());
    let lags = nodes.lags(&tokens).await;
    let written = (nodes.changes_read().await - before) / begun.elapsed().as_secs_f64();
    lags.report(&format!("while {written:.0} changes a second are written"));
    assert!(written > 300.0, "only {written} changes a second");
    assert!(lags.percentile(99) < Duration::from_secs(5));
    assert!(nodes.observed_later_than(1, "5").await < 1.0);
}

/// Adds tokens that nobody holds to a service.
fn many_tokens(service: &Value, client: &Application) -> String {
    format!(
        "INSERT INTO oauth2_tokens (id, access_token, refresh_token, token_hint, credential_id, service_id, \
             expires_in, created_at) \
         SELECT gen_random_uuid(), sha256(('a' || n)::bytea), sha256(('r' || n)::bytea), 'hint', {}, {}, 7200, \
             extract(epoch FROM now())::bigint FROM generate_series(1, 100000) AS n",
        sql(&client.credential["id"]),
        sql(&service["id"]),
    )
}

fn sql(id: &Value) -> String {
    format!("'{}'", id.as_str().expect("an id"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_and_a_new_plugin_reach_other_nodes_while_a_service_with_100_000_tokens_is_deleted() {
    let nodes = Nodes::start().await;
    let first = &nodes.nodes[0];
    let service = first.create("/services", json!({"name": "large", "url": nodes.upstream.url()})).await;
    nodes.database.run(&many_tokens(&service, &nodes.client));
    Api::open(first, "open", &nodes.upstream).await;
    let tokens = nodes.tokens(40).await;
    let deletion = async {
        let begun = Instant::now();
        first.delete("/services/large").await;
        begun.elapsed()
    };
    let meanwhile = async {
        let plugin = json!({"name": "oauth2", "config": every_grant()});
        first.create("/services/open/plugins", plugin).await;
        let created = Instant::now();
        for node in &nodes.nodes {
            let enforced = async || node.send(node.request(Method::GET, "/open/things")).await.status == 401;
            within(Duration::from_secs(5), "the new plugin", enforced).await;
        }
        (created.elapsed(), nodes.lags(&tokens).await)
    };
    let (deleted, (enforced, lags)) = tokio::join!(deletion, meanwhile);
    lags.report(&format!("around a deletion that took {deleted:?}; a new plugin was enforced after {enforced:?}"));
    assert!(lags.percentile(99) < Duration::from_secs(5));
    let left = nodes.database.run("SELECT count(*) FROM oauth2_tokens WHERE token_hint = 'hint'");
    assert_eq!(left.trim(), "0");
    for node in [1, 2] {
        assert!(nodes.observed_later_than(node, "5").await < 1.0);
        assert_eq!(nodes.nodes[node].metric("tollgate_feed_resets_total", &[]).await, 0.0);
    }
}

const TEN_THOUSAND: &str = "INSERT INTO changes (kind, operation, id, key, origin, created_at) \
    SELECT 'oauth2_tokens', 'deleted', gen_random_uuid(), sha256(n::text::bytea), gen_random_uuid(), 0 \
    FROM generate_series(1, 10000) AS n";

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_cut_off_catches_up_with_ten_thousand_changes() {
    let nodes = Nodes::start().await;
    let mut url = url::Url::parse(&nodes.database.url()).expect("a URL");
    let server = format!("{}:{}", url.host_str().expect("a host"), url.port().unwrap_or(5432));
    let forwarder = Forwarder::to(server.clone()).await;
    url.set_ip_host(forwarder.address.ip()).expect("a URL with a host");
    url.set_port(Some(forwarder.address.port())).expect("a URL with a port");
    let cut_off = Gateway::on_url(url.as_str(), &SETTINGS).await;

    knows(&nodes.api, &cut_off).await;
    let tokens = nodes.tokens(40).await;
    let mut connection = KeepAlive::to(cut_off.http);
    for token in &tokens {
        connection.exchange(get(token).as_bytes()).await.expect(200);
    }
    let (revoked, kept) = tokens.split_at(30);
    let address = forwarder.address;
    forwarder.cut().await;
    let cut = Instant::now();
    // In the middle of the others, and at both ends.
    for some in revoked.chunks(10) {
        join_all(some.iter().map(|token| nodes.revoke(token))).await;
        nodes.database.run(TEN_THOUSAND);
    }
    let cut_for = Duration::from_secs(2);
    within(PATIENCE, "the cut", async || cut.elapsed() > cut_for).await;

    let _forwarder = Forwarder::listening(address, server).await;
    let back = Instant::now();
    for token in revoked {
        let mut other = KeepAlive::to(cut_off.http);
        let mut refused = async || other.exchange(get(token).as_bytes()).await.status == 401;
        while !refused().await {
            assert!(back.elapsed() < PATIENCE, "a token that was revoked meanwhile is still accepted");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    let refused = back.elapsed();
    // It reads them all, instead of clearing its caches, and each once.
    let read = async || cut_off.metric("tollgate_feed_changes_total", &["kind=\"oauth2_tokens\""]).await;
    within(PATIENCE, "the changes meanwhile", async || read().await >= 30_030.0).await;
    eprintln!(
        "30,030 changes were read {:?} after a cut of {:?}, 30 revoked tokens refused after {refused:?}",
        back.elapsed(),
        back - cut
    );
    assert_eq!((read().await, cut_off.metric("tollgate_feed_resets_total", &[]).await), (30_030.0, 0.0));
    for token in kept {
        connection.exchange(get(token).as_bytes()).await.expect(200);
    }
}
