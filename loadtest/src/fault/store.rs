//! A PostgreSQL of the run's own, which a gateway reaches through a forwarder, and its faults.

use std::net::SocketAddr;
use std::time::Duration;

use clap::ValueEnum;
use tokio::runtime::Runtime;
use tollgate_tests::{Forwarder, PostgresServer};

use super::Breaker;

/// How much the slow store's responses are delayed.
const DELAY: Duration = Duration::from_millis(200);

/// The size of the disk that is filled, in MiB.
const DISK: u32 = 256;

/// What happens to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// It is stopped in order; connections are refused.
    Stopped,
    /// All of its processes get SIGKILL.
    Killed,
    /// All of its processes get SIGSTOP: connections stay open, and nothing comes.
    Frozen,
    /// The network is cut: connections break, new ones are refused.
    Cut,
    /// Each of its responses takes 200 ms longer.
    Slow,
    /// It accepts no more connections, and has ended those that it had.
    OutOfConnections,
    /// It refuses writes.
    ReadOnly,
    /// Its disk is full. Only root can have this fault.
    Full,
}

impl Kind {
    /// All of them, in the order in which they are brought about.
    pub const ALL: [Self; 8] = [
        Self::Stopped,
        Self::Killed,
        Self::Frozen,
        Self::Cut,
        Self::Slow,
        Self::OutOfConnections,
        Self::ReadOnly,
        Self::Full,
    ];

    /// Its name, as on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// The server, the forwarder in front of it, and the faults to bring about.
pub struct OwnStore {
    kinds: Vec<Kind>,
    runtime: Runtime,
    server: PostgresServer,
    address: SocketAddr,
    /// `None` while the network is cut.
    forwarder: Option<Forwarder>,
}

impl OwnStore {
    /// Starts a server.
    ///
    /// # Errors
    /// If the runtime cannot be started.
    ///
    /// # Panics
    /// If PostgreSQL is not installed or cannot be started; the message says so.
    pub fn start(kinds: Vec<Kind>) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (server, forwarder) = runtime.block_on(async {
            let server = if kinds.contains(&Kind::Full) {
                PostgresServer::on_disk_of(DISK).await
            } else {
                PostgresServer::start().await
            };
            let forwarder = Forwarder::to(server.authority()).await;
            (server, forwarder)
        });
        Ok(Self { kinds, address: forwarder.address, runtime, server, forwarder: Some(forwarder) })
    }

    /// Its address for the gateway, through the forwarder.
    pub fn url(&self) -> String {
        self.server.url().replace(&self.server.authority(), &self.address.to_string())
    }
}

impl Breaker for OwnStore {
    fn faults(&self) -> Vec<String> {
        self.kinds.iter().map(|kind| kind.name()).collect()
    }

    fn break_store(&mut self, fault: usize) -> Result<(), String> {
        let forwarder = self.forwarder.as_ref();
        match self.kinds.get(fault) {
            Some(Kind::Stopped) => self.server.stop(),
            Some(Kind::Killed) => self.server.kill(),
            Some(Kind::Frozen) => self.server.freeze(),
            Some(Kind::Cut) => {
                if let Some(forwarder) = self.forwarder.take() {
                    self.runtime.block_on(forwarder.cut());
                }
            }
            Some(Kind::Slow) => forwarder.iter().for_each(|forwarder| forwarder.slow(DELAY)),
            Some(Kind::OutOfConnections) => self.server.refuse_connections(),
            Some(Kind::ReadOnly) => self.server.refuse_writes(),
            Some(Kind::Full) => self.server.fill(),
            None => {}
        }
        Ok(())
    }

    fn repair(&mut self, fault: usize) -> Result<(), String> {
        match self.kinds.get(fault) {
            Some(Kind::Stopped | Kind::Killed) => self.runtime.block_on(self.server.start_again()),
            Some(Kind::Frozen) => self.server.thaw(),
            Some(Kind::Cut) => {
                let again = Forwarder::listening(self.address, self.server.authority());
                self.forwarder = Some(self.runtime.block_on(again));
            }
            Some(Kind::Slow) => self.forwarder.iter().for_each(Forwarder::unblock),
            Some(Kind::OutOfConnections) => self.server.accept_connections(),
            Some(Kind::ReadOnly) => self.server.accept_writes(),
            Some(Kind::Full) => self.runtime.block_on(self.server.free()),
            None => {}
        }
        Ok(())
    }
}
