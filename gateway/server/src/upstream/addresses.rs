//! The addresses of a service's host, in rotation.
//!
//! Names are resolved here and never by Pingora, whose resolver blocks a worker and panics on an
//! unknown name. Each service keeps its own last resolution, so there is one short-lived entry
//! per service, no table to bound and no lock on the hot path; an expired one is renewed by one
//! request while the others wait for it, and is still used while the resolver fails.
//!
//! Addresses that no upstream has (link-local ones, metadata services of clouds, this gateway's own listeners) are left
//! out, by whatever name they are reached: [`Destinations`].
//!
//! Not supported: SRV records and health checks.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;
use tollgate_plugin::http_client::{Destinations, Refused};

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
    /// Requests are not proxied to its address.
    #[error(transparent)]
    Refused(Box<Refused>),
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
    Refused(Box<Refused>),
    Name(Box<Name>),
}

#[derive(Debug)]
struct Name {
    name: String,
    port: u16,
    destinations: Arc<Destinations>,
    last: ArcSwapOption<Resolution>,
    lookup: Mutex<()>,
    turn: AtomicUsize,
}

impl Addresses {
    /// For a name or an IP literal (IPv6 with or without brackets).
    pub fn new(host: &str, port: u16, destinations: &Arc<Destinations>) -> Self {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        Self(match bare.parse::<IpAddr>() {
            Ok(literal) => match destinations.check(SocketAddr::new(literal, port)) {
                Ok(()) => Host::Literal(SocketAddr::new(literal, port)),
                Err(refused) => Host::Refused(Box::new(refused)),
            },
            Err(_) => Host::Name(Box::new(Name::new(host, port, Arc::clone(destinations)))),
        })
    }

    /// Whether the host is an IP literal.
    pub fn is_literal(&self) -> bool {
        matches!(self.0, Host::Literal(_) | Host::Refused(_))
    }

    /// The next address, round robin.
    pub async fn next(&self) -> Result<SocketAddr, Error> {
        match &self.0 {
            Host::Literal(address) => Ok(*address),
            Host::Refused(refused) => Err(Error::Refused(refused.clone())),
            Host::Name(name) => name.next().await,
        }
    }
}

impl Name {
    fn new(name: &str, port: u16, destinations: Arc<Destinations>) -> Self {
        let (last, turn) = (ArcSwapOption::empty(), AtomicUsize::new(0));
        Self { name: name.to_owned(), port, destinations, last, lookup: Mutex::default(), turn }
    }

    async fn next(&self) -> Result<SocketAddr, Error> {
        if let Some(address) = self.pick(self.last.load().as_deref(), FRESH) {
            return Ok(address);
        }
        let _one_at_a_time = self.lookup.lock().await;
        if let Some(address) = self.pick(self.last.load().as_deref(), FRESH) {
            return Ok(address);
        }
        match look_up(&self.name, self.port, &self.destinations).await {
            Ok(addresses) => {
                let resolution = Arc::new(Resolution { addresses, at: Instant::now() });
                let address = self.pick(Some(&resolution), FRESH);
                self.last.store(Some(resolution));
                address.ok_or_else(|| Error::NoAddress(self.name.clone()))
            }
            Err(error @ Error::Refused(_)) => Err(error),
            Err(error) => self.pick(self.last.load().as_deref(), STALE).ok_or(error),
        }
    }

    fn pick(&self, resolution: Option<&Resolution>, bound: Duration) -> Option<SocketAddr> {
        let known = resolution.filter(|resolution| resolution.at.elapsed() < bound)?;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        known.addresses.get(turn.checked_rem(known.addresses.len())?).copied()
    }
}

async fn look_up(name: &str, port: u16, destinations: &Destinations) -> Result<Vec<SocketAddr>, Error> {
    let lookup = tokio::time::timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((name, port)));
    let resolved = lookup.await.map_err(|_| Error::Timeout(name.to_owned()))?;
    let resolved = resolved.map_err(|source| Error::Lookup { host: name.to_owned(), source })?;
    let found = permitted(resolved, destinations)?;
    // A records before AAAA, so that a host with an unreachable IPv6
    // address does not cost an attempt of every other request.
    let four: Vec<_> = found.iter().copied().filter(SocketAddr::is_ipv4).collect();
    let chosen = if four.is_empty() { found } else { four };
    if chosen.is_empty() { Err(Error::NoAddress(name.to_owned())) } else { Ok(chosen) }
}

/// The addresses to which requests may be proxied; an error if there are others only.
fn permitted(
    addresses: impl Iterator<Item = SocketAddr>,
    destinations: &Destinations,
) -> Result<Vec<SocketAddr>, Error> {
    let (mut found, mut refused) = (Vec::new(), None);
    for address in addresses {
        match destinations.check(address) {
            Ok(()) => found.push(address),
            Err(why) => refused = Some(why),
        }
    }
    match refused {
        Some(refused) if found.is_empty() => Err(Error::Refused(Box::new(refused))),
        _ => Ok(found),
    }
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
            let addresses = Addresses::new(host, 80, &Arc::default());
            assert!(addresses.is_literal());
            assert_eq!(run(addresses.next()).unwrap().port(), 80);
        }
    }

    #[test]
    fn localhost_resolves_to_a_loopback_address() {
        let address = run(Addresses::new("localhost", 8080, &Arc::default()).next()).unwrap();
        assert!(address.ip().is_loopback());
        assert_eq!(address.port(), 8080);
    }

    #[test]
    fn a_name_that_cannot_exist_is_an_error_and_no_panic() {
        assert!(run(Addresses::new("no.such.host.invalid", 80, &Arc::default()).next()).is_err());
    }

    #[test]
    fn addresses_that_no_upstream_has_are_refused_by_number_and_by_name() {
        let listeners = ["127.0.0.1:8001", "[::1]:8001"].map(|text| text.parse().unwrap());
        let destinations = Arc::new(Destinations::new([], listeners));
        for (host, port) in
            [("169.254.169.254", 80), ("[fe80::1]", 80), ("0.0.0.0", 80), ("127.0.0.1", 8001), ("localhost", 8001)]
        {
            let next = run(Addresses::new(host, port, &destinations).next());
            assert!(matches!(next, Err(Error::Refused(_))), "{host}:{port}: {next:?}");
        }
        assert!(run(Addresses::new("127.0.0.1", 8002, &destinations).next()).is_ok());
        let allowed = Arc::new(Destinations::new(["127.0.0.1".parse::<IpAddr>().unwrap().into()], listeners));
        assert!(run(Addresses::new("127.0.0.1", 8001, &allowed).next()).is_ok());
        let mixed = ["169.254.169.254:80", "192.0.2.1:80"].map(|text| text.parse().unwrap());
        assert_eq!(permitted(mixed.into_iter(), &destinations).unwrap(), [mixed[1]]);
    }

    #[test]
    fn addresses_are_used_in_rotation() {
        let name = Name::new("name", 1, Arc::default());
        let two: Vec<SocketAddr> = ["192.0.2.1:1", "192.0.2.2:1"].map(|text| text.parse().unwrap()).to_vec();
        let known = Resolution { addresses: two.clone(), at: Instant::now() };
        let picked: Vec<_> = (0..4).filter_map(|_| name.pick(Some(&known), FRESH)).collect();
        assert_eq!(picked, [two[0], two[1], two[0], two[1]]);
    }
}
