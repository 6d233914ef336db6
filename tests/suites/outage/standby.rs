//! The same faults with a streaming standby on which tokens are looked up: on the primary alone, on the standby alone, and
//! on both. What is cached goes on; what is not is found, or 503 at once; what was revoked never comes back, although the
//! standby still knows it.

use std::net::SocketAddr;

use http::Method;
use serde_json::{Value, json};
use tollgate_tests::postgres_server::Crowd;
use tollgate_tests::scenario::{Api, Application};
use tollgate_tests::{Forwarder, Gateway, PostgresServer, Reply, Upstream};

use super::*;

const PRIMARY: usize = 0;
const STANDBY: usize = 1;

/// For servers whose disk is filled, in MiB.
const DISK: u32 = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Stopped,
    Killed,
    Frozen,
    Cut,
    Slow,
    OutOfConnections,
    ReadOnly,
    Full,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Primary,
    Standby,
    Both,
}

impl Place {
    fn servers(self) -> &'static [usize] {
        match self {
            Self::Primary => &[PRIMARY],
            Self::Standby => &[STANDBY],
            Self::Both => &[PRIMARY, STANDBY],
        }
    }
}

/// What the primary can do for the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Primary {
    Away,
    /// It cannot write, and may end over that.
    Reads,
    Serves,
}

/// A node that looks tokens up on a standby, and another one that does not. Each server is behind a forwarder for the
/// first one.
struct Pair {
    servers: [PostgresServer; 2],
    ways: [Option<Forwarder>; 2],
    addresses: [SocketAddr; 2],
    crowds: Vec<Crowd>,
    node: Gateway,
    other: Gateway,
    api: Api,
    client: Application,
    _upstream: Upstream,
}

/// Tokens before a fault.
struct Tokens {
    cached: String,
    /// Known to both servers, and not to the node.
    uncached: Vec<String>,
    /// By the node itself and by the other one. The standby has not heard of it.
    revoked: [String; 2],
}

impl Pair {
    async fn start(fault: Fault) -> Self {
        let disk = (fault == Fault::Full).then_some(DISK);
        let primary = PostgresServer::with_standbys(disk).await;
        let standby = primary.standby(disk).await;
        let servers = [primary, standby];
        let ways = [Forwarder::to(servers[0].authority()).await, Forwarder::to(servers[1].authority()).await];
        let addresses = ways.each_ref().map(|way| way.address);
        let url =
            |server: usize| servers[server].url().replace(&servers[server].authority(), &addresses[server].to_string());
        let replicas = url(STANDBY);
        // What was found unknown is looked up again each time.
        let settings =
            [("TOLLGATE_DATABASE_REPLICAS", replicas.as_str()), ("TOLLGATE_TOKEN_CACHE_NEGATIVE_TTL", "1ms")];
        let node = Gateway::on_url(&url(PRIMARY), &settings).await;
        let other = Gateway::on_url(&servers[PRIMARY].url(), &[]).await;
        let upstream = Upstream::start().await;
        let api = Api::protected(&other, "api", &upstream, json!({})).await;
        let client = Application::register(&other, "shop", json!({})).await;
        let ways = ways.map(Some);
        let pair = Self { servers, ways, addresses, crowds: Vec::new(), node, other, api, client, _upstream: upstream };
        pair.until_the_standby_is_read().await;
        pair
    }

    async fn issue(&self, on: &Gateway) -> Reply {
        let (id, secret) = (self.client.id(), self.client.secret());
        let form = [("grant_type", "client_credentials"), ("client_id", id), ("client_secret", secret)];
        self.api.token(on, &form).await
    }

    async fn token(&self) -> String {
        token(&self.issue(&self.other).await.expect(200).json())
    }

    async fn status(&self, token: &str) -> u16 {
        self.api.get(&self.node, token).await.status
    }

    async fn revoke(&self, on: &Gateway, token: &str) {
        on.admin(Method::DELETE, &format!("/oauth2_tokens/{token}"), Value::Null).await.expect(204);
    }

    async fn replica_reads(&self, result: &str) -> f64 {
        self.node.metric("tollgate_store_replica_reads_total", &[&format!("result=\"{result}\"")]).await
    }

    async fn until_replayed(&self) {
        let written = self.servers[PRIMARY].run("SELECT pg_current_wal_lsn()");
        let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'");
        eventually("the standby has replayed", async || self.servers[STANDBY].run(&replayed) == "t").await;
    }

    /// Also once the node knows what the standby must have replayed.
    async fn until_the_standby_is_read(&self) {
        let before = self.replica_reads("served").await;
        eventually("the standby is read", async || {
            let token = self.token().await;
            self.until_replayed().await;
            eventually("the token passes", async || self.status(&token).await == 200).await;
            self.replica_reads("served").await > before
        })
        .await;
    }

    /// Has the standby stop before revocations.
    async fn tokens(&self) -> Tokens {
        let revoked = [self.token().await, self.token().await];
        let mut tokens = Tokens { cached: self.token().await, uncached: Vec::new(), revoked };
        for _ in 0..3 {
            tokens.uncached.push(self.token().await);
        }
        self.until_replayed().await;
        self.servers[STANDBY].run("SELECT pg_wal_replay_pause()");
        let [own, of_other] = &tokens.revoked;
        for token in [&tokens.cached, own, of_other] {
            assert_eq!(self.status(token).await, 200);
        }
        self.revoke(&self.node, own).await;
        self.revoke(&self.other, of_other).await;
        eventually("the revocation is in force", async || self.status(of_other).await == 401).await;
        tokens
    }

    async fn begin(&mut self, fault: Fault, place: Place) {
        for &server in place.servers() {
            match fault {
                Fault::Stopped => self.servers[server].stop(),
                Fault::Killed => self.servers[server].kill(),
                Fault::Frozen => self.servers[server].freeze(),
                Fault::Cut => self.ways[server].take().unwrap().cut().await,
                Fault::Slow => self.ways[server].as_ref().unwrap().slow(Duration::from_millis(200)),
                Fault::OutOfConnections => self.crowds.push(self.servers[server].crowded()),
                Fault::ReadOnly => self.servers[server].refuse_writes(),
                Fault::Full => self.servers[server].fill(),
            }
        }
        if (fault, place) == (Fault::Full, Place::Standby) {
            // The next file of the log has no room there.
            self.servers[PRIMARY].run("SELECT pg_switch_wal()");
        }
    }

    async fn end(&mut self, fault: Fault, place: Place) {
        self.crowds.clear();
        for &server in place.servers() {
            match fault {
                Fault::Stopped | Fault::Killed => self.servers[server].start_again().await,
                Fault::Frozen => self.servers[server].thaw(),
                Fault::Cut => {
                    let (address, target) = (self.addresses[server], self.servers[server].authority());
                    self.ways[server] = Some(Forwarder::listening(address, target).await);
                }
                Fault::Slow => self.ways[server].as_ref().unwrap().unblock(),
                Fault::OutOfConnections => {}
                Fault::ReadOnly => self.servers[server].accept_writes(),
                Fault::Full => self.servers[server].free().await,
            }
        }
    }

    /// What must hold at every moment of a fault.
    async fn holds(&self, tokens: &Tokens) {
        let begun = Instant::now();
        assert_eq!(self.status(&tokens.cached).await, 200);
        assert!(begun.elapsed() < AT_ONCE, "a cached token took {:?}", begun.elapsed());
        for revoked in &tokens.revoked {
            let status = self.status(revoked).await;
            assert!([401, 503].contains(&status), "a revoked token: {status}");
        }
    }

    async fn goes_on(&self, primary: Primary, tokens: &Tokens) {
        match primary {
            Primary::Away => self.goes_on_without_primary(tokens).await,
            Primary::Reads => {
                eventually("writes are refused", async || {
                    self.holds(tokens).await;
                    self.issue(&self.node).await.status == 503
                })
                .await;
                for uncached in &tokens.uncached {
                    self.holds(tokens).await;
                    let status = self.status(uncached).await;
                    assert!([200, 503].contains(&status), "a token that is not cached: {status}");
                }
            }
            Primary::Serves => {
                for uncached in &tokens.uncached {
                    self.holds(tokens).await;
                    assert_eq!(self.status(uncached).await, 200);
                    let issued = token(&self.issue(&self.node).await.expect(200).json());
                    assert_eq!(self.status(&issued).await, 200);
                }
                assert_eq!(self.node.metric("tollgate_store_breaker_state", &[]).await, 0.0);
            }
        }
    }

    async fn goes_on_without_primary(&self, tokens: &Tokens) {
        eventually("the outage is noticed", async || {
            self.holds(tokens).await;
            self.node.metric("tollgate_store_breaker_state", &[]).await == 2.0
                && self.node.metric("tollgate_store_outage_seconds", &[]).await > 0.5
        })
        .await;
        let begun = Instant::now();
        for uncached in &tokens.uncached {
            self.holds(tokens).await;
            for reply in [self.api.get(&self.node, uncached).await, self.issue(&self.node).await] {
                assert_eq!((reply.status, reply.header("retry-after").as_deref()), (503, Some("1")), "{}", reply.body);
            }
        }
        assert!(begun.elapsed() < AT_ONCE * 2, "refusals took {:?}", begun.elapsed());
    }

    /// Everything is as before, and the standby is read again.
    async fn recovers(&self, tokens: &Tokens) {
        let url = self.node.addresses.status.join("/status/ready").unwrap();
        eventually("ready", async || {
            self.holds(tokens).await;
            let reply = Reply::read(self.node.client.get(url.clone()).send().await.expect("a response")).await;
            reply.status == 200
                && reply.json() == json!({"message": "ready"})
                && self.issue(&self.other).await.status == 200
        })
        .await;
        for uncached in &tokens.uncached {
            assert_eq!(self.status(uncached).await, 200);
        }
        for revoked in &tokens.revoked {
            assert_eq!(self.status(revoked).await, 401);
        }
        // It is not paused any more if it was restarted.
        self.servers[STANDBY].run("SELECT pg_wal_replay_resume()");
        self.until_the_standby_is_read().await;
        self.holds(tokens).await;
    }
}

/// What a fault leaves of the primary.
fn left(fault: Fault, place: Place) -> Primary {
    match fault {
        _ if place == Place::Standby => Primary::Serves,
        Fault::Slow => Primary::Serves,
        Fault::ReadOnly | Fault::Full => Primary::Reads,
        Fault::Stopped | Fault::Killed | Fault::Frozen | Fault::Cut | Fault::OutOfConnections => Primary::Away,
    }
}

async fn survives(fault: Fault) {
    let mut pair = Pair::start(fault).await;
    for place in [Place::Standby, Place::Primary, Place::Both] {
        let tokens = pair.tokens().await;
        pair.begin(fault, place).await;
        pair.goes_on(left(fault, place), &tokens).await;
        pair.end(fault, place).await;
        pair.recovers(&tokens).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn primary_and_standby_are_stopped() {
    survives(Fault::Stopped).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn primary_and_standby_are_killed() {
    survives(Fault::Killed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn primary_and_standby_are_frozen() {
    survives(Fault::Frozen).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn primary_and_standby_are_cut_off() {
    survives(Fault::Cut).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn primary_and_standby_are_slow() {
    survives(Fault::Slow).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn primary_and_standby_are_out_of_connections() {
    survives(Fault::OutOfConnections).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn primary_and_standby_are_read_only() {
    survives(Fault::ReadOnly).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_disks_of_primary_and_standby_are_full() {
    survives(Fault::Full).await;
}
