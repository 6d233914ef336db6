//! Rounds in which processes are killed while clients obtain, refresh and redeem, and what the clients hold
//! afterwards.
//!
//! A round: [clients](client) send requests without pause; in the middle of them the gateway, its PostgreSQL or both
//! get SIGKILL, and are started again. Then each client's [ledger] is settled. A response of 200 is a promise:
//!
//! - every token of such a response is accepted, with its user's identity;
//! - every refresh token of one works exactly once: of two requests at the same time one succeeds;
//! - what was refreshed or redeemed does not work again.
//!
//! A request without a response, or with 503, promises nothing but that it was carried out at most once. Any other
//! status for something valid is a violation, also while a process is down: cannot tell is 503, never 400 or 401.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::gateway::{Gateway, Store};
use crate::postgres_server::PostgresServer;
use crate::scenario::{Api, Application};
use crate::upstream::Upstream;
use client::{Client, Endpoint};
use ledger::Ledger;

mod client;
mod ledger;
mod settlement;

/// Clients that send requests at the same time.
const CLIENTS: usize = 3;

/// Responses before a process is killed: a random number in this range.
const RESPONSES: std::ops::Range<usize> = 8..20;

/// Tokens of earlier rounds that are checked again at the end.
const KEPT: usize = 2000;

/// Clients reach the token endpoint over plain HTTP, as from a TLS terminator.
const SETTINGS: [(&str, &str); 3] =
    [("TOLLGATE_TRUSTED_IPS", "127.0.0.0/8"), ("TOLLGATE_ACCESS_LOG", "off"), ("TOLLGATE_PROXY_THREADS", "2")];

/// How long everything may take to work again.
const RECOVERY: Duration = Duration::from_secs(60);

/// What is killed in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// The gateway.
    Gateway,
    /// All processes of PostgreSQL.
    Postgres,
    /// PostgreSQL, then the gateway.
    Both,
}

/// The victims of successive rounds on PostgreSQL.
pub const ON_POSTGRES: [Victim; 5] =
    [Victim::Gateway, Victim::Postgres, Victim::Gateway, Victim::Postgres, Victim::Both];

/// A gateway with its store, and what its clients hold.
pub struct Rounds {
    gateway: Gateway,
    server: Option<PostgresServer>,
    endpoint: Arc<Endpoint>,
    kept: Vec<client::Token>,
    _upstream: Upstream,
}

/// What the rounds found.
#[derive(Debug, Default)]
pub struct Tally {
    /// Rounds.
    pub rounds: usize,
    /// Tokens of responses with 200, by any grant.
    pub issued: usize,
    /// Refreshes with 200, while processes were killed.
    pub refreshed: usize,
    /// Codes redeemed with 200.
    pub redeemed: usize,
    /// Refreshes and redemptions whose outcome the client was not told.
    pub untold: usize,
    /// Of these, those that turned out not to have been carried out.
    pub not_carried_out: usize,
    /// Tokens, refresh tokens and codes that were checked.
    pub checked: usize,
    /// The longest time from the end of a process to the first token issued again, its restart included.
    pub recovery: Duration,
    /// Promises that were broken.
    pub violations: Vec<String>,
}

/// What a round's clients share.
#[derive(Debug, Default)]
struct Progress {
    responses: AtomicUsize,
    ended: AtomicBool,
}

impl Rounds {
    /// On a PostgreSQL of its own, with additional settings of the server.
    pub async fn on_postgres(settings: &[&str]) -> Self {
        let server = PostgresServer::with(settings).await;
        let gateway = Gateway::on_url(&server.url(), &SETTINGS).await;
        let rounds = Self::with(gateway, Some(server)).await;
        // Whatever the server's settings, the configuration is on the disk before anything is killed.
        rounds.server.iter().for_each(|server| drop(server.run("CHECKPOINT")));
        rounds
    }

    /// On SQLite.
    pub async fn on_sqlite() -> Self {
        Self::with(Gateway::on(Store::Sqlite, &SETTINGS).await, None).await
    }

    async fn with(gateway: Gateway, server: Option<PostgresServer>) -> Self {
        let upstream = Upstream::start().await;
        let config = json!({"accept_http_if_already_terminated": true});
        let api = Api::protected(&gateway, "api", &upstream, config).await;
        let application = Application::register(&gateway, "shop", json!({})).await;
        let endpoint = Arc::new(Endpoint::new(gateway.http, &api, &application));
        Self { gateway, server, endpoint, kept: Vec::new(), _upstream: upstream }
    }

    /// Carries out rounds, with these victims in turn, and checks at the end what earlier rounds left. `each` is told
    /// the number of each finished round.
    pub async fn run(&mut self, rounds: usize, victims: &[Victim], mut each: impl FnMut(usize, &Tally)) -> Tally {
        let mut tally = Tally::default();
        for (number, victim) in (1..=rounds).zip(victims.iter().cycle()) {
            let before = tally.violations.len();
            self.round(*victim, &mut tally).await;
            let found = tally.violations.iter_mut().skip(before);
            found.for_each(|violation| *violation = format!("round {number}, {victim:?} killed: {violation}"));
            each(number, &tally);
        }
        let mut violations = Vec::new();
        for token in &self.kept {
            violations.extend(settlement::accepted(&self.endpoint, token).await);
        }
        tally.checked += self.kept.len();
        tally.violations.extend(violations.into_iter().map(|violation| format!("at the end: {violation}")));
        tally
    }

    async fn round(&mut self, victim: Victim, tally: &mut Tally) {
        let progress = Arc::new(Progress::default());
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let client = Client::new(number, Arc::clone(&self.endpoint));
            clients.spawn(client.run(Arc::clone(&progress)));
        }
        self.responses(&progress, RESPONSES.start + random(RESPONSES.len())).await;
        let killed = Instant::now();
        self.kill(victim).await;
        self.recovered().await;
        tally.recovery = tally.recovery.max(killed.elapsed());
        // Requests that only the process started again has seen.
        self.responses(&progress, CLIENTS).await;
        progress.ended.store(true, Ordering::SeqCst);
        let ledgers: Vec<Ledger> = clients.join_all().await;
        self.settle(ledgers, tally).await;
        tally.rounds += 1;
    }

    /// Waits for further responses.
    async fn responses(&self, progress: &Progress, more: usize) {
        let (deadline, enough) = (Instant::now() + RECOVERY, progress.responses.load(Ordering::SeqCst) + more);
        while progress.responses.load(Ordering::SeqCst) < enough {
            assert!(Instant::now() < deadline, "the clients get no responses:\n{}", self.gateway.output());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn kill(&mut self, victim: Victim) {
        if let (Victim::Postgres | Victim::Both, Some(server)) = (victim, &mut self.server) {
            server.kill();
        }
        if victim != Victim::Postgres {
            self.gateway.kill();
        }
        if let (Victim::Postgres | Victim::Both, Some(server)) = (victim, &mut self.server) {
            server.start_again().await;
        }
        if victim != Victim::Postgres {
            self.gateway.start_again().await;
        }
    }

    async fn recovered(&self) {
        let deadline = Instant::now() + RECOVERY;
        while self.endpoint.issue("nobody").await.is_none_or(|reply| reply.status != 200) {
            assert!(Instant::now() < deadline, "no token is issued again:\n{}", self.gateway.output());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn settle(&mut self, ledgers: Vec<Ledger>, tally: &mut Tally) {
        let mut settled = JoinSet::new();
        for ledger in ledgers {
            settled.spawn(settlement::settle(Arc::clone(&self.endpoint), ledger));
        }
        for settlement in settled.join_all().await {
            tally.issued += settlement.issued;
            tally.refreshed += settlement.refreshed;
            tally.redeemed += settlement.redeemed;
            tally.untold += settlement.untold;
            tally.not_carried_out += settlement.not_carried_out;
            tally.checked += settlement.checked;
            tally.violations.extend(settlement.violations);
            for token in settlement.valid {
                if self.kept.len() < KEPT {
                    self.kept.push(token);
                } else {
                    // The others are replaced at random, so that some of every age stay.
                    let place = random(KEPT);
                    self.kept[place] = token;
                }
            }
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} rounds: {} tokens issued, {} refreshed, {} codes redeemed; {} outcomes untold, {} of them not carried \
             out; {} tokens and codes checked, {} violations; working again after at most {:.1} s",
            self.rounds,
            self.issued,
            self.refreshed,
            self.redeemed,
            self.untold,
            self.not_carried_out,
            self.checked,
            self.violations.len(),
            self.recovery.as_secs_f64()
        )
    }
}

fn random(below: usize) -> usize {
    let random = Uuid::new_v4().as_u128() % below as u128;
    usize::try_from(random).unwrap_or_default()
}
