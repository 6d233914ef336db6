//! The addresses of a service's host, in rotation.
//!
//! Names are resolved here and never by Pingora, whose resolver blocks a worker and panics on an
//! unknown name. Each service keeps its own last resolution, so there is one short-lived entry
//! per service, no table to bound and no lock on the hot path; an expired one is renewed by one
//! request while the others wait for it, and is still used while the resolver fails.
//!
//! Not supported: SRV records and health checks.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;

const FRESH: Duration = Duration::from_secs(5);
const STALE: Duration = Duration::from_secs(3600);
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// The host cannot be resolved.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The resolver failed.
    #[error("cannot resolve {host}")]
    Lookup {
        /// The name.
        host: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The resolver does not respond.
    #[error("cannot resolve {0}: no response from the resolver within 5 seconds")]
    Timeout(String),
    /// The name has no address.
    #[error("cannot resolve {0}: no A or AAAA record")]
    NoAddress(String),
}

#[derive(Debug)]
struct Resolution {
    addresses: Vec<SocketAddr>,
    at: Instant,
}

/// A host and port, and the last known addresses.
#[derive(Debug)]
pub struct Addresses(Host);

#[derive(Debug)]
enum Host {
    Literal(SocketAddr),
    Name(Box<Name>),
}

#[derive(Debug)]
struct Name {
    name: String,
    port: u16,
    last: ArcSwapOption<Resolution>,
    lookup: Mutex<()>,
    turn: AtomicUsize,
}

impl Addresses {
    /// For a name or an IP literal (IPv6 with or without brackets).
    pub fn new(host: &str, port: u16) -> Self {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        Self(match bare.parse::<IpAddr>() {
            Ok(literal) => Host::Literal(SocketAddr::new(literal, port)),
            Err(_) => Host::Name(Box::new(Name::new(host, port))),
        })
    }

    /// Whether the host is an IP literal.
    pub fn is_literal(&self) -> bool {
        matches!(self.0, Host::Literal(_))
    }

    /// The next address, round robin.
    pub async fn next(&self) -> Result<SocketAddr, Error> {
        match &self.0 {
            Host::Literal(address) => Ok(*address),
            Host::Name(name) => name.next().await,
        }
    }
}

impl Name {
    fn new(name: &str, port: u16) -> Self {
        let (last, turn) = (ArcSwapOption::empty(), AtomicUsize::new(0));
        Self { name: name.to_owned(), port, last, lookup: Mutex::default(), turn }
    }

    async fn next(&self) -> Result<SocketAddr, Error> {
        if let Some(address) = self.pick(self.last.load().as_deref(), FRESH) {
            return Ok(address);
        }
        let _one_at_a_time = self.lookup.lock().await;
        if let Some(address) = self.pick(self.last.load().as_deref(), FRESH) {
            return Ok(address);
        }
        match look_up(&self.name, self.port).await {
            Ok(addresses) => {
                let resolution = Arc::new(Resolution { addresses, at: Instant::now() });
                let address = self.pick(Some(&resolution), FRESH);
                self.last.store(Some(resolution));
                address.ok_or_else(|| Error::NoAddress(self.name.clone()))
            }
            Err(error) => self.pick(self.last.load().as_deref(), STALE).ok_or(error),
        }
    }

    fn pick(&self, resolution: Option<&Resolution>, bound: Duration) -> Option<SocketAddr> {
        let known = resolution.filter(|resolution| resolution.at.elapsed() < bound)?;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        known.addresses.get(turn.checked_rem(known.addresses.len())?).copied()
    }
}

async fn look_up(name: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
    let lookup = tokio::time::timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((name, port)));
    let resolved = lookup.await.map_err(|_| Error::Timeout(name.to_owned()))?;
    let found: Vec<_> = resolved.map_err(|source| Error::Lookup { host: name.to_owned(), source })?.collect();
    // A records before AAAA, so that a host with an unreachable IPv6
    // address does not cost an attempt of every other request.
    let four: Vec<_> = found.iter().copied().filter(SocketAddr::is_ipv4).collect();
    let chosen = if four.is_empty() { found } else { four };
    if chosen.is_empty() { Err(Error::NoAddress(name.to_owned())) } else { Ok(chosen) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn literals_need_no_resolver() {
        for host in ["127.0.0.1", "::1", "[::1]"] {
            let addresses = Addresses::new(host, 80);
            assert!(addresses.is_literal());
            assert_eq!(run(addresses.next()).unwrap().port(), 80);
        }
    }

    #[test]
    fn localhost_resolves_to_a_loopback_address() {
        let address = run(Addresses::new("localhost", 8080).next()).unwrap();
        assert!(address.ip().is_loopback());
        assert_eq!(address.port(), 8080);
    }

    #[test]
    fn a_name_that_cannot_exist_is_an_error_and_no_panic() {
        assert!(run(Addresses::new("no.such.host.invalid", 80).next()).is_err());
    }

    #[test]
    fn addresses_are_used_in_rotation() {
        let name = Name::new("name", 1);
        let two: Vec<SocketAddr> = ["192.0.2.1:1", "192.0.2.2:1"].map(|text| text.parse().unwrap()).to_vec();
        let known = Resolution { addresses: two.clone(), at: Instant::now() };
        let picked: Vec<_> = (0..4).filter_map(|_| name.pick(Some(&known), FRESH)).collect();
        assert_eq!(picked, [two[0], two[1], two[0], two[1]]);
    }
}
