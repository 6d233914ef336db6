//! Resolves host names with the system's resolver, to addresses that may be called.
//!
//! A look-up of the system's resolver blocks a thread and cannot be cancelled. So each authority has at most
//! one in flight, even after its callers are gone: a name that cannot be resolved blocks one thread.
//!
//! Invariant: connections are opened to the addresses returned here and to no others, so that a name whose
//! addresses change (DNS rebinding) does not lead to an address that is refused.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::destination::{Destinations, Refused};

/// How long a result is reused: connections opened at the same time share one look-up.
const FRESH: Duration = Duration::from_secs(1);

/// Looks up the addresses of a name; tests replace the system's resolver.
pub(crate) type Lookup = Arc<dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

/// The system's resolver.
pub(crate) fn system() -> Lookup {
    Arc::new(|host, port| Ok((host, port).to_socket_addrs()?.collect()))
}

/// Why there is no address.
#[derive(Debug)]
pub(crate) enum Unresolved {
    /// The resolver's error.
    Failed(io::Error),
    /// None of the addresses may be called; this is the first.
    Refused(Refused),
}

/// The addresses of one authority.
pub(crate) struct Resolver {
    host: String,
    port: u16,
    lookup: Lookup,
    destinations: Arc<Destinations>,
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
    pub(crate) fn new(host: &str, port: u16, lookup: Lookup, destinations: Arc<Destinations>) -> Self {
        let (turn, last) = (Arc::new(Semaphore::new(1)), Arc::default());
        Self { host: host.to_owned(), port, lookup, destinations, turn, last }
    }

    /// At least one address, alternating between families, otherwise in the resolver's order. Those that may not
    /// be called are left out.
    pub(crate) async fn addresses(&self) -> Result<Vec<SocketAddr>, Unresolved> {
        let mut addresses = self.resolved().await.map_err(Unresolved::Failed)?;
        let mut refused = None;
        addresses.retain(|address| match self.destinations.check(*address) {
            Ok(()) => true,
            Err(why) => {
                refused.get_or_insert(why);
                false
            }
        });
        match refused {
            Some(refused) if addresses.is_empty() => Err(Unresolved::Refused(refused)),
            _ => Ok(addresses),
        }
    }

    async fn resolved(&self) -> io::Result<Vec<SocketAddr>> {
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

    fn resolver(host: &str, lookup: Lookup) -> Resolver {
        Resolver::new(host, 443, lookup, Arc::default())
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
        let resolver = resolver("issuer.test", lookup);
        let all = futures::future::join_all((0..8).map(|_| resolver.addresses())).await;
        for addresses in all {
            assert_eq!(addresses.unwrap(), vec![address("10.0.0.1:443")]);
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_name_without_address_is_an_error_and_a_literal_is_not_looked_up() {
        let empty: Lookup = Arc::new(|_, _| Ok(Vec::new()));
        let refused = resolver("issuer.test", Arc::clone(&empty)).addresses().await;
        let Err(Unresolved::Failed(error)) = refused else { panic!("{refused:?}") };
        assert_eq!(error.to_string(), "the name has no address");
        let literal = resolver("::1", empty).addresses().await;
        assert_eq!(literal.unwrap(), vec![address("[::1]:443")]);
    }

    #[tokio::test]
    async fn addresses_that_may_not_be_called_are_left_out() {
        let given = |addresses: &'static [&'static str]| -> Lookup {
            Arc::new(move |_, _| Ok(addresses.iter().map(|text| address(text)).collect()))
        };
        let some = resolver("issuer.test", given(&["169.254.169.254:443", "10.0.0.1:443"])).addresses().await;
        assert_eq!(some.unwrap(), vec![address("10.0.0.1:443")]);
        let none = resolver("issuer.test", given(&["169.254.169.254:443", "[fe80::1]:443"])).addresses().await;
        let Err(Unresolved::Refused(refused)) = none else { panic!("{none:?}") };
        assert_eq!(refused.address, address("169.254.169.254:443"));
        let literal = resolver("169.254.169.254", given(&[])).addresses().await;
        assert!(matches!(literal, Err(Unresolved::Refused(_))), "{literal:?}");
    }
}
