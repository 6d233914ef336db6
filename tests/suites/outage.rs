//! The database stops, crashes, freezes, is cut off, is slow, refuses connections or writes, or its disk is full: what is
//! cached goes on, what is not is 503 at once, and when the database is back, nothing has to be restarted.

mod plugins;
mod standby;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tollgate_tests::scenario::{Api, Application};
use tollgate_tests::{Forwarder, Gateway, PostgresServer, Reply, Upstream};

const PATIENCE: Duration = Duration::from_secs(30);

/// No request may wait for the database: normally one takes a few milliseconds, and a dead database's time-outs are
/// seconds long.
const AT_ONCE: Duration = Duration::from_millis(900);

/// A gateway on a database server of its own.
struct World {
    server: PostgresServer,
    gateway: Gateway,
    api: Api,
    client: Application,
    /// A token that the gateway has cached, and one that it has not.
    cached: String,
    uncached: String,
    _upstream: Upstream,
}

impl World {
    /// Whose gateway reaches its server directly.
    async fn start(server: PostgresServer) -> Self {
        let url = server.url();
        Self::through(server, &url, &[]).await
    }

    /// Whose gateway reaches its server at this address.
    async fn through(server: PostgresServer, url: &str, settings: &[(&str, &str)]) -> Self {
        let gateway = Gateway::on_url(url, settings).await;
        let upstream = Upstream::start().await;
        let api = Api::protected(&gateway, "api", &upstream, json!({})).await;
        let client = Application::register(&gateway, "shop", json!({})).await;
        let cached = token(&api.tokens(&gateway, &client).await);
        let uncached = token(&api.tokens(&gateway, &client).await);
        api.get(&gateway, &cached).await.expect(200);
        Self { server, gateway, api, client, cached, uncached, _upstream: upstream }
    }

    /// Behind a forwarder.
    async fn forwarded(settings: &[(&str, &str)]) -> (Self, Forwarder) {
        let server = PostgresServer::start().await;
        let way = Forwarder::to(server.authority()).await;
        let url = server.url().replace(&server.authority(), &way.address.to_string());
        (Self::through(server, &url, settings).await, way)
    }

    /// The cached token's status, which must not take long.
    async fn cached(&self) -> u16 {
        let begun = Instant::now();
        let status = self.api.get(&self.gateway, &self.cached).await.status;
        assert!(begun.elapsed() < AT_ONCE, "a cached token took {:?}", begun.elapsed());
        status
    }

    /// Sends requests for the cached token, all of which must pass, until a condition holds and for this time longer.
    async fn passes_until(&self, what: &str, then: Duration, holds: impl AsyncFn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut since = None;
        while since.is_none_or(|since: Instant| since.elapsed() < then) {
            assert_eq!(self.cached().await, 200, "waiting for: {what}");
            if since.is_none() && holds().await {
                since = Some(Instant::now());
            }
            assert!(Instant::now() < deadline, "never: {what}");
        }
    }

    async fn breaker(&self) -> f64 {
        self.gateway.metric("tollgate_store_breaker_state", &[]).await
    }

    async fn unheard_for(&self) -> f64 {
        self.gateway.metric("tollgate_store_outage_seconds", &[]).await
    }

    async fn issue(&self) -> Reply {
        let (id, secret) = (self.client.id(), self.client.secret());
        let form = [("grant_type", "client_credentials"), ("client_id", id), ("client_secret", secret)];
        self.api.token(&self.gateway, &form).await
    }

    async fn admin_write(&self) -> Reply {
        self.gateway.admin(Method::POST, "/consumers", json!({"username": "late"})).await
    }

    /// Status and message of readiness.
    async fn ready(&self) -> (u16, Value) {
        let url = self.gateway.addresses.status.join("/status/ready").unwrap();
        let reply = Reply::read(self.gateway.client.get(url).send().await.expect("a response")).await;
        (reply.status, reply.json()["message"].clone())
    }

    async fn is_ready(&self) -> bool {
        self.ready().await == (200, json!("ready"))
    }

    /// The database is away: from the first moment cached tokens pass, and soon everything else is refused at once.
    async fn goes_on_without_database(&self) {
        let away = async || self.breaker().await == 2.0 && self.unheard_for().await > 1.0;
        self.passes_until("the outage is noticed", Duration::from_millis(300), away).await;
        let begun = Instant::now();
        for _ in 0..10 {
            self.refuses("an unknown token", self.api.get(&self.gateway, &self.uncached).await);
            self.refuses("a grant", self.issue().await);
            self.refuses("a write", self.admin_write().await);
            self.refuses("a list", self.gateway.admin_get("/consumers").await);
        }
        assert!(begun.elapsed() < AT_ONCE * 2, "40 refusals took {:?}", begun.elapsed());
        self.api.get(&self.gateway, &forged(&self.uncached)).await.expect(401);
        assert_eq!(self.ready().await, (200, json!("degraded")));
        assert_eq!(self.cached().await, 200);
        let output = self.gateway.output();
        let lines = |part: &str| output.lines().filter(|line| line.contains(part)).count();
        assert_eq!(lines("store is away; calls to it fail"), 1, "{output}");
        assert_eq!((lines("look-up failed"), lines("request failed: store unavailable")), (0, 0), "{output}");
        assert!(lines("GET /api/things") > 0 && lines("served_stale=") > 0, "{output}");
        assert!(self.gateway.metric("tollgate_token_lookups_total", &["result=\"stale\""]).await > 0.0);
    }

    fn refuses(&self, what: &str, reply: Reply) {
        let got = (reply.status, reply.header("retry-after"), reply.header("www-authenticate"));
        assert_eq!(got, (503, Some("1".to_owned()), None), "{what}: {}", reply.body);
    }

    /// The database is back: without a restart everything is as before.
    async fn recovers(&self) {
        eventually("ready", async || self.is_ready().await).await;
        assert_eq!((self.breaker().await, self.unheard_for().await), (0.0, 0.0));
        assert_eq!(self.cached().await, 200);
        self.api.get(&self.gateway, &self.uncached).await.expect(200);
        let issued = token(&self.issue().await.expect(200).json());
        self.api.get(&self.gateway, &issued).await.expect(200);
        self.admin_write().await.expect(201);
        self.gateway.delete(&format!("/oauth2_tokens/{}", self.cached)).await;
        assert_eq!(self.cached().await, 401);
        let output = self.gateway.output();
        assert_eq!(output.matches("store responds again").count(), 1, "{output}");
        // Nothing in the access log was served stale since.
        let last = output.lines().rev().find(|line| line.contains("GET /api/things")).unwrap_or_default();
        assert!(!last.contains("served_stale="), "{last}");
    }
}

fn token(response: &Value) -> String {
    response["access_token"].as_str().expect("a token").to_owned()
}

/// A token with a wrong checksum.
fn forged(token: &str) -> String {
    let (first, rest) = token.split_at(1);
    format!("{}{rest}", if first == "0" { "1" } else { "0" })
}

async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_stopped_cached_tokens_pass() {
    let mut world = World::start(PostgresServer::start().await).await;
    world.server.stop();
    world.goes_on_without_database().await;
    world.server.start_again().await;
    world.recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_database_was_killed_cached_tokens_pass() {
    let mut world = World::start(PostgresServer::start().await).await;
    world.server.kill();
    world.goes_on_without_database().await;
    world.server.start_again().await;
    world.recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_frozen_nobody_waits_for_it() {
    let world = World::start(PostgresServer::start().await).await;
    world.server.freeze();
    // It waits for the database, and is released when that is known to be away.
    let begun = Instant::now();
    let waiting = world.api.get(&world.gateway, &world.uncached);
    let (waiting, ()) = tokio::join!(waiting, world.goes_on_without_database());
    world.refuses("a request that had begun to wait", waiting);
    assert!(begun.elapsed() < PATIENCE);
    world.server.thaw();
    world.recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_refuses_connections_cached_tokens_pass() {
    let world = World::start(PostgresServer::start().await).await;
    world.server.refuse_connections();
    world.goes_on_without_database().await;
    world.server.accept_connections();
    world.recovers().await;
}

/// Tokens that another node revokes while this one is cut off, in two ways.
async fn revocations_elsewhere(world: &World, end: impl AsyncFnOnce(), restore: impl AsyncFnOnce()) {
    let other = Gateway::on_url(&world.server.url(), &[]).await;
    let revoked = token(&world.api.tokens(&world.gateway, &world.client).await);
    world.api.get(&world.gateway, &revoked).await.expect(200);
    end().await;
    world.goes_on_without_database().await;
    other.delete(&format!("/oauth2_tokens/{revoked}")).await;
    world.api.get(&other, &revoked).await.expect(401);
    // The price: it is not heard of.
    world.api.get(&world.gateway, &revoked).await.expect(200);
    restore().await;
    eventually("ready", async || world.is_ready().await).await;
    world.api.get(&world.gateway, &revoked).await.expect(401);
    world.recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_revoked_elsewhere_while_connections_were_cut_is_refused_afterwards() {
    let (world, way) = World::forwarded(&[]).await;
    let (address, target) = (way.address, world.server.authority());
    let mut restored = None;
    revocations_elsewhere(
        &world,
        async || way.cut().await,
        async || {
            restored = Some(Forwarder::listening(address, target).await);
        },
    )
    .await;
    assert!(restored.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_revoked_elsewhere_while_nothing_came_through_is_refused_afterwards() {
    let (world, way) = World::forwarded(&[]).await;
    revocations_elsewhere(&world, async || way.block(), async || way.unblock()).await;
}

/// The longest that the server took to respond to a first message, until the task is ended: a server that the machine
/// makes slower than the test means it to be would rightly be taken for away.
fn longest_response(server: std::net::SocketAddr) -> (tokio::task::JoinHandle<()>, Arc<AtomicU64>) {
    /// PostgreSQL's SSLRequest, which is responded to with one byte before anything else.
    const FIRST_MESSAGE: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
    let longest = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&longest);
    let task = tokio::spawn(async move {
        loop {
            let begun = Instant::now();
            let mut stream = tokio::net::TcpStream::connect(server).await.unwrap();
            stream.write_all(&FIRST_MESSAGE).await.unwrap();
            stream.read_u8().await.unwrap();
            seen.fetch_max(u64::try_from(begun.elapsed().as_millis()).unwrap(), Ordering::SeqCst);
        }
    });
    (task, longest)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_database_is_not_away() {
    const DELAY: Duration = Duration::from_millis(200);
    for attempt in 1.. {
        let (world, way) = World::forwarded(&[]).await;
        way.slow(DELAY);
        let (task, longest) = longest_response(way.address);
        let outcome = std::panic::AssertUnwindSafe(is_slow_and_not_away(&world)).catch_unwind().await;
        task.abort();
        let longest = Duration::from_millis(longest.load(Ordering::SeqCst));
        match outcome {
            Ok(()) => return,
            Err(_) if longest > DELAY * 3 && attempt < 5 => {
                eprintln!("attempt {attempt} does not count: the server took {longest:?} instead of {DELAY:?}");
            }
            Err(found) => std::panic::resume_unwind(found),
        }
    }
}

async fn is_slow_and_not_away(world: &World) {
    let (begun, slow) = (Instant::now(), Duration::from_secs(3));
    let long_enough = async || begun.elapsed() > slow;
    world.passes_until("some time", Duration::ZERO, long_enough).await;
    world.api.get(&world.gateway, &world.uncached).await.expect(200);
    let issued = token(&world.issue().await.expect(200).json());
    world.api.get(&world.gateway, &issued).await.expect(200);
    world.admin_write().await.expect(201);
    assert!(world.is_ready().await && world.breaker().await == 0.0);
    let output = world.gateway.output();
    assert!(!output.contains("store is away") && !output.contains("served_stale="), "{output}");
}

/// The database can be read: only writes are refused.
async fn only_writes_are_refused(world: &World) {
    eventually("writes are refused", async || world.issue().await.status == 503).await;
    for _ in 0..10 {
        world.refuses("a grant", world.issue().await);
        world.refuses("a write", world.admin_write().await);
        assert_eq!(world.cached().await, 200);
    }
    world.api.get(&world.gateway, &world.uncached).await.expect(200);
    world.api.get(&world.gateway, &forged(&world.uncached)).await.expect(401);
    world.gateway.admin_get("/consumers").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_read_only_responds_to_look_ups() {
    let world = World::start(PostgresServer::start().await).await;
    world.server.refuse_writes();
    only_writes_are_refused(&world).await;
    assert!(world.is_ready().await && world.breaker().await == 0.0);
    let output = world.gateway.output();
    assert!(!output.contains("store is away") && !output.contains("served_stale="), "{output}");
    world.server.accept_writes();
    eventually("writes are accepted", async || world.issue().await.status == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_disk_of_the_database_is_full_cached_tokens_pass() {
    let mut world = World::start(PostgresServer::on_disk_of(256).await).await;
    world.server.fill();
    // It ends when it cannot write its log any more: until then it can be read.
    eventually("writes are refused", async || {
        assert_eq!(world.cached().await, 200);
        world.issue().await.status == 503
    })
    .await;
    for number in 0..20 {
        // Some still find room.
        let reply = world.gateway.admin(Method::PUT, &format!("/consumers/late-{number}"), json!({})).await;
        if reply.status != 200 {
            world.refuses("a write", reply);
        }
        assert_eq!(world.cached().await, 200);
    }
    world.server.free().await;
    eventually("writes are accepted", async || world.issue().await.status == 200).await;
    eventually("ready", async || world.is_ready().await).await;
    assert_eq!(world.cached().await, 200);
    world.api.get(&world.gateway, &world.uncached).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_settings_decide_how_long_and_whether_a_node_stays_ready() {
    let settings = [("TOLLGATE_OUTAGE_SERVE_CACHED_FOR", "3s"), ("TOLLGATE_OUTAGE_READY", "false")];
    let (world, way) = World::forwarded(&settings).await;
    way.cut().await;
    let begun = Instant::now();
    world.passes_until("some time", Duration::ZERO, async || begun.elapsed() > Duration::from_millis(1500)).await;
    assert_eq!(world.ready().await, (503, json!("degraded")));
    eventually("the time is over", async || world.cached().await == 503).await;
    assert!(begun.elapsed() > Duration::from_secs(2), "{:?}", begun.elapsed());
    world.refuses("a cached token", world.api.get(&world.gateway, &world.cached).await);
}
