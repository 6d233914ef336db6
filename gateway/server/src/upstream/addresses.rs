//! The addresses of a service's host, in rotation.
//!
//! Names are resolved here and never by Pingora, whose resolver blocks a worker and panics on an
//! unknown name. What is known of a name is shared by all who use it ([`tollgate_dns`]); a request whose host has a
//! fresh answer takes no lock.
//!
//! Addresses that no upstream has (link-local ones, metadata services of clouds, this gateway's own listeners) are left
//! out, by whatever name they are reached: [`Destinations`].
//!
//! A host that is the name of an upstream has no address of its own: its [`Balancer`] chooses one.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwapOption;
use tollgate_dns::{Answer, Families, Resolver};
use tollgate_plugin::http_client::{Destinations, Refused};

use super::balancing::Balancer;

/// How hosts are resolved, and to which addresses requests are proxied.
#[derive(Debug, Clone)]
pub struct Network {
    /// The addresses to which requests may be proxied.
    pub destinations: Arc<Destinations>,
    /// The names of the process.
    pub resolver: Resolver,
}

/// There is no address.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host cannot be resolved.
    #[error(transparent)]
    Unresolved(#[from] tollgate_dns::Error),
    /// Requests are not proxied to its address.
    #[error(transparent)]
    Refused(Box<Refused>),
    /// The host is an upstream.
    #[error("an upstream has no address of its own")]
    Upstream,
}

/// A host and port, or an upstream.
#[derive(Debug)]
pub struct Addresses(Host);

#[derive(Debug)]
enum Host {
    Literal(SocketAddr),
    Refused(Box<Refused>),
    Name(Box<Name>),
    Upstream(Arc<Balancer>),
}

#[derive(Debug)]
struct Name {
    name: tollgate_dns::Name,
    port: u16,
    destinations: Arc<Destinations>,
    /// What may be used of the last answer.
    last: ArcSwapOption<Permitted>,
    turn: AtomicUsize,
}

#[derive(Debug)]
struct Permitted {
    answer: Arc<Answer>,
    addresses: Result<Vec<SocketAddr>, Refused>,
}

impl Addresses {
    /// For a name or an IP literal (IPv6 with or without brackets).
    pub fn new(host: &str, port: u16, network: &Network) -> Self {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        Self(match bare.parse::<IpAddr>() {
            Ok(literal) => match network.destinations.check(SocketAddr::new(literal, port)) {
                Ok(()) => Host::Literal(SocketAddr::new(literal, port)),
                Err(refused) => Host::Refused(Box::new(refused)),
            },
            Err(_) => Host::Name(Box::new(Name::new(host, port, network))),
        })
    }

    /// For an upstream.
    pub fn of_upstream(balancer: Arc<Balancer>) -> Self {
        Self(Host::Upstream(balancer))
    }

    /// Whether the host is an IP literal.
    pub fn is_literal(&self) -> bool {
        matches!(self.0, Host::Literal(_) | Host::Refused(_))
    }

    /// The upstream, if it is one.
    pub fn balancer(&self) -> Option<&Arc<Balancer>> {
        match &self.0 {
            Host::Upstream(balancer) => Some(balancer),
            Host::Literal(_) | Host::Refused(_) | Host::Name(_) => None,
        }
    }

    /// The next address, round robin.
    pub async fn next(&self) -> Result<SocketAddr, Error> {
        match &self.0 {
            Host::Literal(address) => Ok(*address),
            Host::Refused(refused) => Err(Error::Refused(refused.clone())),
            Host::Name(name) => name.next().await,
            Host::Upstream(_) => Err(Error::Upstream),
        }
    }
}

impl Name {
    fn new(host: &str, port: u16, network: &Network) -> Self {
        let name = network.resolver.name(host, Families::First);
        let destinations = Arc::clone(&network.destinations);
        Self { name, port, destinations, last: ArcSwapOption::empty(), turn: AtomicUsize::new(0) }
    }

    async fn next(&self) -> Result<SocketAddr, Error> {
        if let Some(known) = self.name.fresh()
            && let Some(answer) = &*known
        {
            return self.pick(answer);
        }
        let answer = self.name.answer().await?;
        self.pick(&answer)
    }

    fn pick(&self, answer: &Arc<Answer>) -> Result<SocketAddr, Error> {
        let last = self.last.load();
        if let Some(known) = last.as_ref().filter(|last| Arc::ptr_eq(&last.answer, answer)) {
            return self.turn(known);
        }
        let addresses = permitted(answer, self.port, &self.destinations);
        let known = Arc::new(Permitted { answer: Arc::clone(answer), addresses });
        self.last.store(Some(Arc::clone(&known)));
        self.turn(&known)
    }

    fn turn(&self, known: &Permitted) -> Result<SocketAddr, Error> {
        let addresses = known.addresses.as_ref().map_err(|refused| Error::Refused(Box::new(*refused)))?;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let next = turn.checked_rem(addresses.len()).and_then(|turn| addresses.get(turn));
        next.copied().ok_or_else(|| tollgate_dns::Error::None { host: self.name.host().into() }.into())
    }
}

/// The addresses to which requests may be proxied; an error if there are others only.
fn permitted(answer: &Answer, port: u16, destinations: &Destinations) -> Result<Vec<SocketAddr>, Refused> {
    let (mut found, mut refused) = (Vec::new(), None);
    for address in &answer.addresses {
        let address = SocketAddr::new(address.ip, address.port.unwrap_or(port));
        match destinations.check(address) {
            Ok(()) => found.push(address),
            Err(why) => refused = Some(why),
        }
    }
    match refused {
        Some(refused) if found.is_empty() => Err(refused),
        _ => Ok(found),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::LazyLock;

    use tokio::runtime::Runtime;

    use super::*;

    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

    /// A network without exceptions.
    pub(crate) fn network() -> Network {
        network_to(Destinations::default())
    }

    fn network_to(destinations: Destinations) -> Network {
        let settings = tollgate_dns::Settings::default();
        let resolver = Resolver::new(RUNTIME.handle().clone(), &settings).unwrap();
        Network { destinations: Arc::new(destinations), resolver }
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        RUNTIME.block_on(future)
    }

    #[test]
    fn literals_need_no_resolver() {
        for host in ["127.0.0.1", "::1", "[::1]"] {
            let addresses = Addresses::new(host, 80, &network());
            assert!(addresses.is_literal());
            assert_eq!(run(addresses.next()).unwrap().port(), 80);
        }
    }

    #[test]
    fn localhost_resolves_to_a_loopback_address() {
        let address = run(Addresses::new("localhost", 8080, &network()).next()).unwrap();
        assert!(address.ip().is_loopback());
        assert_eq!(address.port(), 8080);
    }

    #[test]
    fn a_name_that_cannot_exist_is_an_error_and_no_panic() {
        assert!(run(Addresses::new("no.such.host.invalid", 80, &network()).next()).is_err());
    }

    #[test]
    fn addresses_that_no_upstream_has_are_refused_by_number_and_by_name() {
        let listeners = ["127.0.0.1:8001", "[::1]:8001"].map(|text| text.parse().unwrap());
        let network = network_to(Destinations::new([], listeners));
        for (host, port) in
            [("169.254.169.254", 80), ("[fe80::1]", 80), ("0.0.0.0", 80), ("127.0.0.1", 8001), ("localhost", 8001)]
        {
            let next = run(Addresses::new(host, port, &network).next());
            assert!(matches!(next, Err(Error::Refused(_))), "{host}:{port}: {next:?}");
        }
        assert!(run(Addresses::new("127.0.0.1", 8002, &network).next()).is_ok());
        let allowed = network_to(Destinations::new(["127.0.0.1".parse::<IpAddr>().unwrap().into()], listeners));
        assert!(run(Addresses::new("127.0.0.1", 8001, &allowed).next()).is_ok());
        let mixed = answer(&["169.254.169.254", "192.0.2.1"]);
        let left = permitted(&mixed, 80, &network.destinations).unwrap();
        assert_eq!(left, ["192.0.2.1:80".parse().unwrap()]);
    }

    fn answer(addresses: &[&str]) -> Arc<Answer> {
        let address =
            |ip: &&str| tollgate_dns::Address { ip: ip.parse().unwrap(), port: None, weight: None, name: None };
        Arc::new(Answer {
            addresses: addresses.iter().map(address).collect(),
            source: tollgate_dns::Source::A,
            fresh_until: std::time::Instant::now(),
        })
    }

    #[test]
    fn addresses_are_used_in_rotation() {
        let name = Name::new("name", 1, &network());
        let two = answer(&["192.0.2.1", "192.0.2.2"]);
        let picked: Vec<_> = (0..4).map(|_| name.pick(&two).unwrap().to_string()).collect();
        assert_eq!(picked, ["192.0.2.1:1", "192.0.2.2:1", "192.0.2.1:1", "192.0.2.2:1"]);
        assert_eq!(name.pick(&answer(&["192.0.2.3"])).unwrap().to_string(), "192.0.2.3:1");
    }
}
