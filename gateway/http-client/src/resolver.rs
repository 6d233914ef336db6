//! Resolves host names with the system's resolver.
//!
//! A look-up of the system's resolver blocks a thread and cannot be cancelled. So each authority has at most
//! one in flight, even after its callers are gone: a name that cannot be resolved blocks one thread.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

/// How long a result is reused: connections opened at the same time share one look-up.
const FRESH: Duration = Duration::from_secs(1);

/// Looks up the addresses of a name; tests replace the system's resolver.
pub(crate) type Lookup = Arc<dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

/// The system's resolver.
pub(crate) fn system() -> Lookup {
    Arc::new(|host, port| Ok((host, port).to_socket_addrs()?.collect()))
}

/// The addresses of one authority.
pub(crate) struct Resolver {
    host: String,
    port: u16,
    lookup: Lookup,
    turn: Arc<Semaphore>,
    last: Arc<Mutex<Option<Found>>>,
}

#[derive(Clone)]
struct Found {
    at: Instant,
    addresses: Vec<SocketAddr>,
}

impl Resolver {
    /// For a name or an address without brackets.
    pub(crate) fn new(host: &str, port: u16, lookup: Lookup) -> Self {
        Self { host: host.to_owned(), port, lookup, turn: Arc::new(Semaphore::new(1)), last: Arc::default() }
    }

    /// At least one address, alternating between families, otherwise in the resolver's order.
    pub(crate) async fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        if let Ok(literal) = self.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(literal, self.port)]);
        }
        let turn = Arc::clone(&self.turn).acquire_owned().await.map_err(io::Error::other)?;
        if let Some(addresses) = self.fresh() {
            return Ok(addresses);
        }
        let (host, port) = (self.host.clone(), self.port);
        let (lookup, last) = (Arc::clone(&self.lookup), Arc::clone(&self.last));
        let asked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let addresses = by_turns(lookup(&host, port)?);
            if addresses.is_empty() {
                return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
            }
            let found = Found { at: Instant::now(), addresses: addresses.clone() };
            *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
            Ok(addresses)
        });
        asked.await.map_err(io::Error::other)?
    }

    fn fresh(&self) -> Option<Vec<SocketAddr>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().filter(|found| found.at.elapsed() < FRESH).map(|found| found.addresses.clone())
    }
}

/// Alternates between families, beginning with that of the first address (RFC 8305 §4).
fn by_turns(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (one, other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let mut ordered = Vec::new();
    loop {
        match (one.next(), other.next()) {
            (None, None) => return ordered,
            (next, after) => ordered.extend(next.into_iter().chain(after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn families_alternate_rfc8305_4() {
        let given = ["[::1]:1", "[::2]:1", "[::3]:1", "10.0.0.1:1"].map(address).to_vec();
        let ordered = ["[::1]:1", "10.0.0.1:1", "[::2]:1", "[::3]:1"].map(address).to_vec();
        assert_eq!(by_turns(given), ordered);
    }

    #[tokio::test]
    async fn concurrent_callers_share_one_lookup() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let lookup: Lookup = Arc::new(move |_, port| {
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(vec![SocketAddr::from(([10, 0, 0, 1], port))])
        });
        let resolver = Resolver::new("issuer.test", 443, lookup);
        let all = futures::future::join_all((0..8).map(|_| resolver.addresses())).await;
        for addresses in all {
            assert_eq!(addresses.unwrap(), vec![address("10.0.0.1:443")]);
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_name_without_address_is_an_error_and_a_literal_is_not_looked_up() {
        let empty: Lookup = Arc::new(|_, _| Ok(Vec::new()));
        let refused = Resolver::new("issuer.test", 443, Arc::clone(&empty)).addresses().await;
        assert_eq!(refused.unwrap_err().to_string(), "the name has no address");
        let literal = Resolver::new("::1", 443, empty).addresses().await;
        assert_eq!(literal.unwrap(), vec![address("[::1]:443")]);
    }
}
