//! Asking name servers.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Hosts, TokioResolver};

use crate::answer::{Address, Answer, Error, Source};

/// How long a whole look-up may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(5);

/// How long one server has for one question.
const QUERY_LIMIT: Duration = Duration::from_secs(1);

/// The most names in SRV records that are looked up for one name.
const MOST_SERVERS: usize = 64;

/// The port of a name server that says none.
const PORT: u16 = 53;

/// A name server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nameserver(pub SocketAddr);

impl FromStr for Nameserver {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare = || text.trim_matches(['[', ']']).parse().map(|ip: IpAddr| SocketAddr::new(ip, PORT));
        let address = text.parse::<SocketAddr>().or_else(|_| bare());
        address.map(Self).map_err(|_| format!("{text} is not an address, with or without a port"))
    }
}

/// A kind of record that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// Names, ports and weights.
    Srv,
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
}

impl FromStr for RecordKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let kinds = [("SRV", Self::Srv), ("A", Self::A), ("AAAA", Self::Aaaa)];
        let found = kinds.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        found.map(|(_, kind)| kind).ok_or_else(|| format!("{text} is not one of SRV, A, AAAA"))
    }
}

/// Which addresses of a name are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Families {
    /// Those of the first kind of record that has any.
    First,
    /// Those of A and AAAA records.
    All,
}

/// The name servers of the process.
pub(crate) struct Nameservers {
    client: TokioResolver,
    /// `/etc/hosts`.
    hosts: Hosts,
    order: Vec<RecordKind>,
}

impl Nameservers {
    /// Those that are given, or else those of `/etc/resolv.conf`.
    pub(crate) fn new(given: &[Nameserver], order: &[RecordKind]) -> Result<Self, NetError> {
        let mut builder = match TokioResolver::builder_tokio() {
            _ if !given.is_empty() => {
                let servers = given.iter().map(|server| server_config(server.0)).collect();
                let config = ResolverConfig::from_parts(None, Vec::new(), servers);
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            }
            Ok(builder) => builder,
            Err(error) => {
                tracing::warn!(%error, "no name server in /etc/resolv.conf; only names in /etc/hosts resolve");
                let none = ResolverConfig::from_parts(None, Vec::new(), Vec::new());
                TokioResolver::builder_with_config(none, TokioRuntimeProvider::default())
            }
        };
        set_options(builder.options_mut());
        let hosts = Hosts::from_system().unwrap_or_default();
        Ok(Self { client: builder.build()?, hosts, order: order.to_vec() })
    }

    /// The addresses of a name; what was found last is asked first.
    pub(crate) async fn look_up(
        &self,
        host: &Arc<str>,
        families: Families,
        last: Option<Source>,
    ) -> Result<Answer, Error> {
        let asked = async {
            match families {
                Families::First => self.first(host, last).await,
                Families::All => self.all(host).await,
            }
        };
        match tokio::time::timeout(LIMIT, asked).await {
            Ok(Ok(answer)) if answer.addresses.is_empty() => Err(Error::None { host: Arc::clone(host) }),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if error.is_no_records_found() => Err(Error::None { host: Arc::clone(host) }),
            Ok(Err(NetError::Timeout)) => Err(Error::Timeout { host: Arc::clone(host), limit: LIMIT }),
            Ok(Err(source)) => Err(Error::Failed { host: Arc::clone(host), source }),
            Err(_) => Err(Error::Timeout { host: Arc::clone(host), limit: LIMIT }),
        }
    }

    /// The first kind of record that the name has. That a kind is missing says nothing about the name if another one
    /// could not be asked for.
    async fn first(&self, host: &str, last: Option<Source>) -> Result<Answer, NetError> {
        if let Some(answer) = self.of_hosts_file(host) {
            return Ok(answer);
        }
        let kind = |source| match source {
            Source::Srv => RecordKind::Srv,
            Source::A => RecordKind::A,
            Source::Aaaa => RecordKind::Aaaa,
        };
        let last = last.map(kind).filter(|kind| self.order.contains(kind));
        let others = self.order.iter().copied().filter(|kind| Some(*kind) != last);
        let mut failed = None;
        for kind in last.into_iter().chain(others) {
            let asked = match kind {
                RecordKind::Srv => self.servers(host).await,
                RecordKind::A => self.records(host, RecordType::A, Source::A).await,
                RecordKind::Aaaa => self.records(host, RecordType::AAAA, Source::Aaaa).await,
            };
            match asked {
                Ok(answer) if !answer.addresses.is_empty() => return Ok(answer),
                Ok(_) => {}
                Err(error) if error.is_no_records_found() => {}
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or_else(|| Ok(Answer::new(Vec::new(), Source::A, Instant::now())), Err)
    }

    /// The addresses in `/etc/hosts`.
    fn of_hosts_file(&self, host: &str) -> Option<Answer> {
        let name = Name::from_str_relaxed(host).ok()?;
        let kinds = [(RecordType::A, Source::A), (RecordType::AAAA, Source::Aaaa)];
        kinds.into_iter().find_map(|(kind, source)| {
            let found = self.hosts.lookup_static_host(&Query::query(name.clone(), kind))?;
            let addresses = found.answers().iter().filter_map(|record| record.data.ip_addr()).map(Address::plain);
            Some(Answer::new(addresses.collect(), source, found.valid_until()))
        })
    }

    async fn all(&self, host: &str) -> Result<Answer, NetError> {
        let (four, six) = tokio::join!(
            self.records(host, RecordType::A, Source::A),
            self.records(host, RecordType::AAAA, Source::Aaaa)
        );
        match (four, six) {
            (Ok(four), Ok(six)) => {
                let expires = four.fresh_until.min(six.fresh_until);
                let addresses = [four.addresses.into_vec(), six.addresses.into_vec()].concat();
                Ok(Answer::new(addresses, Source::A, expires))
            }
            (Ok(found), Err(_)) | (Err(_), Ok(found)) => Ok(found),
            (Err(one), Err(other)) => Err(if one.is_no_records_found() { other } else { one }),
        }
    }

    async fn records(&self, host: &str, kind: RecordType, source: Source) -> Result<Answer, NetError> {
        let found = self.client.lookup(host, kind).await?;
        let addresses = found.answers().iter().filter_map(|record| record.data.ip_addr()).map(Address::plain);
        Ok(Answer::new(addresses.collect(), source, found.valid_until()))
    }

    /// The servers in SRV records: those of the lowest priority, each with its addresses.
    async fn servers(&self, host: &str) -> Result<Answer, NetError> {
        let found = self.client.lookup(host, RecordType::SRV).await?;
        let mut expires = found.valid_until();
        let mut addresses = Vec::new();
        let servers = preferred(&found);
        let asked = servers.iter().map(|server| self.client.lookup_ip(server.target.to_utf8()));
        for (server, behind) in servers.iter().zip(join_all(asked).await) {
            let target = server.target.to_utf8();
            let behind = match behind {
                Ok(behind) => behind,
                // The others may have addresses.
                Err(error) if error.is_no_records_found() => continue,
                Err(error) => return Err(error),
            };
            expires = expires.min(behind.valid_until());
            let name: Arc<str> = target.trim_end_matches('.').into();
            addresses.extend(behind.iter().map(|ip| Address {
                ip,
                port: Some(server.port),
                weight: Some(server.weight.max(1)),
                name: Some(Arc::clone(&name)),
            }));
        }
        Ok(Answer::new(addresses, Source::Srv, expires))
    }
}

fn set_options(options: &mut ResolverOpts) {
    options.timeout = QUERY_LIMIT;
    options.attempts = 2;
    options.try_tcp_on_error = true;
    // Names keep their answers themselves.
    options.cache_size = 0;
}

fn server_config(server: SocketAddr) -> NameServerConfig {
    let mut config = NameServerConfig::udp_and_tcp(server.ip());
    for connection in &mut config.connections {
        connection.port = server.port();
    }
    config
}

/// The SRV records of the lowest priority (RFC 2782).
fn preferred(found: &Lookup) -> Vec<SRV> {
    let servers = || {
        found.answers().iter().filter_map(|record| match &record.data {
            RData::SRV(server) => Some(server),
            _ => None,
        })
    };
    let lowest = servers().map(|server| server.priority).min();
    let lowest = servers().filter(|server| Some(server.priority) == lowest);
    lowest.take(MOST_SERVERS).cloned().collect()
}
