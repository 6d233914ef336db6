//! A PostgreSQL primary with two standbys, of which one is promoted: what was answered is not lost, what was
//! revoked does not come back, and nobody is told that a valid token is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tollgate_tests::scenario::{Api, Application};
use tollgate_tests::{Cluster, Gateway, Replication, Reply, Upstream};

/// How long the nodes may take to find the new primary.
const PATIENCE: Duration = Duration::from_secs(30);

/// A node looks for the primary soon, and requests end soon without one.
const SETTINGS: [(&str, &str); 2] =
    [("TOLLGATE_DATABASE_ACQUIRE_TIMEOUT", "2s"), ("TOLLGATE_DATABASE_STATEMENT_TIMEOUT", "2s")];

/// Two nodes on a cluster of three servers. The nodes are dropped first.
struct Nodes {
    one: Gateway,
    other: Gateway,
    api: Api,
    client: Application,
    _upstream: Upstream,
    cluster: Cluster,
}

impl Nodes {
    async fn on(replication: Replication) -> Self {
        Self::with_replicas(replication, &[]).await
    }

    /// The other node may look tokens up on these servers, and does not remember unknown ones.
    async fn with_replicas(replication: Replication, replicas: &[usize]) -> Self {
        let cluster = tokio::task::spawn_blocking(move || Cluster::start(replication)).await.unwrap();
        let one = Gateway::on_url(&cluster.url(), &SETTINGS).await;
        let replicas: Vec<String> = replicas.iter().map(|replica| cluster.url_of(*replica)).collect();
        let replicas = replicas.join(",");
        let more = [("TOLLGATE_DATABASE_REPLICAS", replicas.as_str()), ("TOLLGATE_TOKEN_CACHE_NEGATIVE_TTL", "1ms")];
        let other = Gateway::on_url(&cluster.url(), &[&SETTINGS[..], &more[..]].concat()).await;
        let upstream = Upstream::start().await;
        let api = Api::protected(&one, "api", &upstream, json!({})).await;
        let client = Application::register(&one, "client", json!({})).await;
        let nodes = Self { one, other, api, client, _upstream: upstream, cluster };
        let token = nodes.token().await;
        nodes.until(&nodes.other, &token, 200).await;
        nodes
    }

    async fn issue(&self, node: &Gateway) -> Reply {
        let form = [
            ("grant_type", "password"),
            ("provision_key", self.api.provision_key()),
            ("authenticated_userid", "kate"),
            ("client_id", self.client.id()),
            ("client_secret", self.client.secret()),
            ("scope", "email"),
        ];
        self.api.token(node, &form).await
    }

    async fn tokens(&self) -> Value {
        self.issue(&self.one).await.expect(200).json()
    }

    async fn token(&self) -> String {
        text(&self.tokens().await, "access_token")
    }

    /// How often replicas were read.
    async fn replica_reads(&self, result: &str) -> f64 {
        self.other.metric("tollgate_store_replica_reads_total", &[&format!("result=\"{result}\"")]).await
    }

    /// Waits until both standbys have replayed everything.
    fn until_replayed(&self) {
        (1..3).for_each(|standby| self.cluster.until_replayed(standby, 0));
    }

    /// Waits until the other node reads replicas.
    async fn until_replicas_are_read(&self) {
        let (begun, before) = (Instant::now(), self.replica_reads("served").await);
        while self.replica_reads("served").await == before {
            let token = self.token().await;
            self.until_replayed();
            self.api.get(&self.other, &token).await.expect(200);
            assert!(begun.elapsed() < PATIENCE, "no replica is read");
        }
    }

    async fn revoke(&self, node: &Gateway, token: &str) -> Reply {
        node.admin(Method::DELETE, &format!("/oauth2_tokens/{token}"), Value::Null).await
    }

    /// Sends requests until the node returns this status; until then it must return 503.
    async fn until(&self, node: &Gateway, token: &str, status: u16) {
        let begun = Instant::now();
        loop {
            let reply = self.api.get(node, token).await;
            if reply.status == status {
                return;
            }
            let waiting = [503, 404].contains(&reply.status);
            assert!(waiting && begun.elapsed() < PATIENCE, "{status} expected: {reply:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until a revocation made on another node is in force, which takes at most a second.
    async fn until_revoked(&self, node: &Gateway, token: &str) {
        let begun = Instant::now();
        while self.api.get(node, token).await.status != 401 {
            assert!(begun.elapsed() < Duration::from_secs(1), "a revocation was missed");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until the node issues tokens.
    async fn until_issuing(&self, node: &Gateway) -> String {
        let begun = Instant::now();
        loop {
            let reply = self.issue(node).await;
            if reply.status == 200 {
                return text(&reply.json(), "access_token");
            }
            assert!(reply.status == 503 && begun.elapsed() < PATIENCE, "{reply:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The statuses of requests with these tokens on a node without a cache.
    async fn on_a_new_node(&self, tokens: &[String]) -> Vec<u16> {
        let node = Gateway::on_url(&self.cluster.url(), &SETTINGS).await;
        let mut statuses = Vec::new();
        for token in tokens {
            statuses.push(self.api.get(&node, token).await.status);
        }
        statuses
    }
}

fn text(document: &Value, name: &str) -> String {
    document[name].as_str().expect("a token").to_owned()
}

/// Has tokens issued on both nodes without pause, and returns those that were answered; every other response is 503.
fn issuing(nodes: &Arc<Nodes>, stop: &Arc<AtomicBool>) -> JoinSet<Vec<Value>> {
    let mut issuers = JoinSet::new();
    for turn in 0..4 {
        let (nodes, stop) = (Arc::clone(nodes), Arc::clone(stop));
        issuers.spawn(async move {
            let mut answered = Vec::new();
            while !stop.load(Ordering::SeqCst) {
                let reply = nodes.issue(if turn % 2 == 0 { &nodes.one } else { &nodes.other }).await;
                match reply.status {
                    200 => answered.push(reply.json()),
                    status => assert_eq!(status, 503, "{reply:?}"),
                }
            }
            answered
        });
    }
    issuers
}

/// Sends requests with valid tokens without pause; no response may say that they are not.
fn reading(nodes: &Arc<Nodes>, stop: &Arc<AtomicBool>, tokens: &[String]) -> JoinSet<[usize; 2]> {
    let mut readers = JoinSet::new();
    for turn in 0..2 {
        let (nodes, stop, tokens) = (Arc::clone(nodes), Arc::clone(stop), tokens.to_vec());
        readers.spawn(async move {
            let mut served = [0, 0];
            while !stop.load(Ordering::SeqCst) {
                for token in &tokens {
                    let reply = nodes.api.get(if turn == 0 { &nodes.one } else { &nodes.other }, token).await;
                    match reply.status {
                        200 => served[0] += 1,
                        503 => served[1] += 1,
                        _ => panic!("{reply:?}"),
                    }
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            served
        });
    }
    readers
}

#[tokio::test(flavor = "multi_thread")]
async fn with_synchronous_replication_a_promotion_loses_no_token_and_no_revocation() {
    let nodes = Arc::new(Nodes::on(Replication::Synchronous).await);
    let known: Vec<String> = [nodes.token().await, nodes.token().await].into();
    let revoked = nodes.token().await;
    nodes.until(&nodes.other, &revoked, 200).await;
    // What no standby has is not answered with 200, however long that takes.
    nodes.cluster.freeze(1);
    nodes.issue(&nodes.one).await.expect(503);
    nodes.cluster.thaw(1);
    nodes.until_issuing(&nodes.one).await;
    let stop = Arc::new(AtomicBool::new(false));
    let (mut issuers, mut readers) = (issuing(&nodes, &stop), reading(&nodes, &stop, &known));
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Acknowledged in the moment before the primary is gone.
    nodes.revoke(&nodes.one, &revoked).await.expect(204);
    let gone = Instant::now();
    nodes.cluster.kill(0);
    nodes.cluster.promote(1);
    let promoted = gone.elapsed();
    let (first, second) = tokio::join!(nodes.until_issuing(&nodes.one), nodes.until_issuing(&nodes.other));
    eprintln!("promoted after {promoted:?}, issuing on both nodes after {:?}", gone.elapsed());
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::SeqCst);
    let mut answered = known.clone();
    while let Some(tokens) = issuers.join_next().await {
        answered.extend(tokens.unwrap().iter().map(|tokens| text(tokens, "access_token")));
    }
    let mut served = [0, 0];
    while let Some(read) = readers.join_next().await {
        served = [served[0] + read.unwrap()[0], served[1]];
    }
    eprintln!("{} tokens answered, {} requests with valid tokens served", answered.len(), served[0]);
    answered.extend([first, second]);
    assert!(answered.len() > 10 && served[0] > 0, "{} {served:?}", answered.len());
    let statuses = nodes.on_a_new_node(&answered).await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    for node in [&nodes.one, &nodes.other] {
        nodes.api.get(node, &revoked).await.expect(401);
    }
    assert_eq!(nodes.on_a_new_node(&[revoked]).await, [401]);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_asynchronous_replication_the_nodes_agree_with_the_new_primary_and_miss_no_later_revocation() {
    // A replica that goes on with the log of the former primary is ahead of the new one.
    let nodes = Nodes::with_replicas(Replication::Asynchronous, &[2]).await;
    let cluster = &nodes.cluster;
    nodes.until_replicas_are_read().await;
    let (kept, lost) = (nodes.token().await, nodes.token().await);
    for token in [&kept, &lost] {
        nodes.until(&nodes.other, token, 200).await;
    }
    cluster.until_replayed(1, 0);
    cluster.stop(1);
    // The standby does not hear of these: a token, a revocation, and transactions whose ids are used again.
    let unheard = nodes.token().await;
    nodes.revoke(&nodes.one, &lost).await.expect(204);
    nodes.until_revoked(&nodes.other, &lost).await;
    for _ in 0..20 {
        nodes.token().await;
    }
    cluster.psql(0, "SELECT pg_logical_emit_message(false, 'far', repeat('ahead', 1000000))");
    cluster.until_replayed(2, 0);
    let behind = nodes.replica_reads("behind").await;
    cluster.kill(0);
    cluster.run(1);
    cluster.promote(1);
    for node in [&nodes.one, &nodes.other] {
        nodes.until_issuing(node).await;
        // What asynchronous replication costs, and the same on all nodes: nothing cached says otherwise.
        nodes.until(node, &lost, 200).await;
        nodes.until(node, &unheard, 401).await;
        nodes.until(node, &kept, 200).await;
    }
    // Also once the feed has a position on the new primary, which the replica of the former one is far ahead of.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        nodes.api.get(&nodes.other, &unheard).await.expect(401);
    }
    assert!(nodes.replica_reads("behind").await > behind, "the replica was not asked");
    // The new primary's transaction ids are lower than what the nodes have read.
    for _ in 0..5 {
        let token = nodes.token().await;
        nodes.api.get(&nodes.other, &token).await.expect(200);
        nodes.revoke(&nodes.one, &token).await.expect(204);
        nodes.api.get(&nodes.one, &token).await.expect(401);
        nodes.until_revoked(&nodes.other, &token).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_primary_that_wakes_up_after_a_promotion_is_not_used_again() {
    let nodes = Nodes::on(Replication::Asynchronous).await;
    let cluster = &nodes.cluster;
    let revoked = nodes.token().await;
    nodes.until(&nodes.other, &revoked, 200).await;
    cluster.until_replayed(1, 0);
    cluster.freeze(0);
    cluster.promote(1);
    for node in [&nodes.one, &nodes.other] {
        nodes.until_issuing(node).await;
    }
    nodes.revoke(&nodes.one, &revoked).await.expect(204);
    nodes.until_revoked(&nodes.other, &revoked).await;
    // It still knows the token, and nothing has told it that it is no longer the primary.
    cluster.thaw(0);
    assert_eq!(cluster.psql(0, "SELECT pg_is_in_recovery()"), "f");
    let fresh = nodes.token().await;
    for node in [&nodes.one, &nodes.other] {
        for _ in 0..100 {
            nodes.api.get(node, &revoked).await.expect(401);
        }
        nodes.until(node, &fresh, 200).await;
    }
    // Nor is it while the primary is away.
    cluster.kill(1);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        for node in [&nodes.one, &nodes.other] {
            let statuses = [nodes.api.get(node, &revoked).await.status, nodes.issue(node).await.status];
            assert!([[401, 503], [503, 503]].contains(&statuses), "{statuses:?}");
        }
    }
    cluster.run(1);
    for node in [&nodes.one, &nodes.other] {
        nodes.until_issuing(node).await;
        nodes.until(node, &revoked, 401).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_are_read_only_if_they_show_what_was_revoked_and_the_primary_knows_what_was_just_issued() {
    let nodes = Nodes::with_replicas(Replication::Asynchronous, &[1, 2]).await;
    let Nodes { one, other, api, cluster, .. } = &nodes;
    nodes.until_replicas_are_read().await;
    let (mut own, mut of_another) = (nodes.token().await, nodes.token().await);
    nodes.until_replayed();
    let replay = |action: &str| {
        (1..3).for_each(|replica| drop(cluster.psql(replica, &format!("SELECT pg_wal_replay_{action}()"))));
    };
    replay("pause");
    // Replicas do not know it, and are fit to be asked.
    let (behind, fresh) = (nodes.replica_reads("behind").await, nodes.token().await);
    api.get(other, &fresh).await.expect(200);
    assert_eq!(nodes.replica_reads("behind").await, behind, "the replica was asked");
    for _ in 0..3 {
        for token in [&own, &of_another] {
            api.get(other, token).await.expect(200);
        }
        // They still know both, and nothing is cached as unknown.
        nodes.revoke(other, &own).await.expect(204);
        api.get(other, &own).await.expect(401);
        nodes.revoke(one, &of_another).await.expect(204);
        nodes.until_revoked(other, &of_another).await;
        for _ in 0..50 {
            for token in [&own, &of_another] {
                api.get(other, token).await.expect(401);
            }
        }
        assert!(nodes.replica_reads("behind").await > behind);
        replay("resume");
        nodes.until_replicas_are_read().await;
        for token in [&own, &of_another] {
            api.get(other, token).await.expect(401);
        }
        (own, of_another) = (nodes.token().await, nodes.token().await);
        nodes.until_replayed();
        replay("pause");
    }
    // Nobody waits for replicas that are frozen, and none is needed.
    replay("resume");
    (1..3).for_each(|replica| cluster.freeze(replica));
    for _ in 0..5 {
        let token = nodes.token().await;
        api.get(other, &token).await.expect(200);
    }
    assert!(nodes.replica_reads("failed").await <= 5.0);
    (1..3).for_each(|replica| cluster.thaw(replica));
    nodes.until_replicas_are_read().await;
}
