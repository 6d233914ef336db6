//! Resolves host names with the process's resolver ([`tollgate_dns`]), to addresses that may be called.
//!
//! Invariant: connections are opened to the addresses returned here and to no others, so that a name whose
//! addresses change (DNS rebinding) does not lead to an address that is refused.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tollgate_dns::Families;

use crate::destination::{Destinations, Refused};

/// Where the addresses of names come from.
#[derive(Clone)]
pub(crate) enum Names {
    /// The process's resolver.
    Resolver(tollgate_dns::Resolver),
    /// What a test says.
    #[cfg(test)]
    Scripted(Lookup),
}

/// Looks up the addresses of a name, in a test.
#[cfg(test)]
pub(crate) type Lookup = Arc<dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

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
    host: Host,
    port: u16,
    destinations: Arc<Destinations>,
    /// Counts the calls: each begins with another address.
    turn: AtomicUsize,
}

enum Host {
    Literal(IpAddr),
    Name(tollgate_dns::Name),
    #[cfg(test)]
    Scripted(String, Lookup),
}

impl Resolver {
    /// For a name or an address without brackets.
    pub(crate) fn new(host: &str, port: u16, names: &Names, destinations: Arc<Destinations>) -> Self {
        let host = match (host.parse(), names) {
            (Ok(literal), _) => Host::Literal(literal),
            (Err(_), Names::Resolver(resolver)) => Host::Name(resolver.name(host, Families::All)),
            #[cfg(test)]
            (Err(_), Names::Scripted(lookup)) => Host::Scripted(host.to_owned(), Arc::clone(lookup)),
        };
        Self { host, port, destinations, turn: AtomicUsize::new(0) }
    }

    /// At least one address, alternating between families, each time beginning with the next one. Those that may not be
    /// called are left out.
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
        let name = match &self.host {
            Host::Literal(literal) => return Ok(vec![SocketAddr::new(*literal, self.port)]),
            #[cfg(test)]
            Host::Scripted(host, lookup) => return scripted(host, self.port, lookup).await,
            Host::Name(name) => name,
        };
        let answer = name.answer().await.map_err(io::Error::other)?;
        let mut addresses: Vec<_> =
            answer.addresses.iter().map(|address| SocketAddr::new(address.ip, self.port)).collect();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(addresses.len()).unwrap_or_default();
        addresses.rotate_left(turn);
        Ok(by_turns(addresses))
    }
}

/// A look-up may block, as a test wants it to.
#[cfg(test)]
async fn scripted(host: &str, port: u16, lookup: &Lookup) -> io::Result<Vec<SocketAddr>> {
    let (host, lookup) = (host.to_owned(), Arc::clone(lookup));
    let looked_up = tokio::task::spawn_blocking(move || lookup(&host, port)).await.map_err(io::Error::other)??;
    if looked_up.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(by_turns(looked_up))
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
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn resolver(host: &str, lookup: Lookup) -> Resolver {
        Resolver::new(host, 443, &Names::Scripted(lookup), Arc::default())
    }

    #[test]
    fn families_alternate_rfc8305_4() {
        let given = ["[::1]:1", "[::2]:1", "[::3]:1", "10.0.0.1:1"].map(address).to_vec();
        let ordered = ["[::1]:1", "10.0.0.1:1", "[::2]:1", "[::3]:1"].map(address).to_vec();
        assert_eq!(by_turns(given), ordered);
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
