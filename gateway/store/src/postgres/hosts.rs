//! Connects to one of several servers.
//!
//! The URL may name several hosts, and a host may have several addresses. All are tried in their order, beginning
//! with the one that was used last; one that does not respond at once (a frozen server accepts connections and
//! says nothing) gets company from the next after [`HEAD_START`]. The first that is fit wins.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use postgres_openssl::{MakeTlsConnector, TlsStream};
use tokio_postgres::config::{Host, LoadBalanceHosts};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Connection, SimpleQueryMessage, Socket};
use tollgate_core::random::{Random, SystemRandom};

use super::primary::Unfit;

/// How long one address is tried alone.
const HEAD_START: Duration = Duration::from_millis(250);

const SERVER: &str = include_str!("../../../../sql/postgres/setting/server.sql");
const TIMELINE: &str = include_str!("../../../../sql/postgres/setting/timeline.sql");

/// What a server must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// There is only one, or it does not matter.
    Any,
    /// It must accept writes.
    Primary,
}

/// What is known of a server when it is connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Server {
    /// Whether it refuses writes.
    pub(super) read_only: bool,
    /// When it was started, in microseconds.
    pub(super) started_at: i64,
    /// The timeline; `None` for standbys, and if it does not matter.
    pub(super) timeline: Option<u32>,
}

/// Why no connection was made: the reason of the last host that says more than that it is a standby.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The driver failed.
    #[error("cannot connect to {host}{}", hint(.error))]
    Driver {
        host: String,
        #[source]
        error: tokio_postgres::Error,
    },
    /// The server closed the connection.
    #[error("{host} closed the connection")]
    Closed { host: String },
    /// The host has no address.
    #[error(
        "cannot resolve the host of {host}: a password with `@`, `:` or `/` must be percent-encoded in the URL (`@` is \
         `%40`)"
    )]
    Resolve {
        host: String,
        #[source]
        error: std::io::Error,
    },
    /// The server cannot be used.
    #[error("cannot use {host}")]
    Unfit {
        host: String,
        #[source]
        error: Unfit,
    },
    /// None has responded in time.
    #[error("cannot connect to {hosts} within {limit:?}")]
    Timeout {
        /// All that were tried.
        hosts: String,
        /// The limit.
        limit: Duration,
    },
    /// The URL names none.
    #[error("the database URL names no host")]
    NoHost,
}

impl ConnectError {
    /// The server's error code, if it has one.
    pub(super) fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Driver { error, .. } => error.code(),
            _ => None,
        }
    }

    /// Whether there is a primary, but not the one that the change feed reads.
    pub(super) fn is_not_followed(&self) -> bool {
        matches!(self, Self::Unfit { error: Unfit::NotFollowed, .. })
    }

    /// Whether it says more than that the server is a standby.
    fn is_telling(&self) -> bool {
        !matches!(self, Self::NoHost | Self::Unfit { error: Unfit::ReadOnly, .. })
    }
}

/// An open connection, which must be polled.
pub(crate) struct Connected {
    pub(crate) client: Client,
    pub(crate) connection: Connection<Socket, TlsStream<Socket>>,
}

/// The hosts of a URL. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Hosts {
    each: Arc<[OneHost]>,
    order: LoadBalanceHosts,
    /// The one that was used last, whatever the parameters.
    last: Arc<AtomicUsize>,
    tls: MakeTlsConnector,
    role: Role,
    limit: Duration,
}

/// A host with the parameters of its connections.
#[derive(Clone)]
struct OneHost {
    config: Config,
    /// `None`: it has an address already.
    name: Option<String>,
    port: u16,
    shown: String,
}

impl Hosts {
    /// The hosts of `config`; connecting takes at most `limit`.
    pub(super) fn new(config: &Config, tls: MakeTlsConnector, role: Role, limit: Duration) -> Self {
        let count = config.get_hosts().len().max(config.get_hostaddrs().len());
        let each = (0..count).map(|index| OneHost::of(config, index)).collect();
        let (order, last) = (config.get_load_balance_hosts(), Arc::new(AtomicUsize::new(first(config, count))));
        Self { each, order, last, tls, role, limit }
    }

    /// The same hosts, whose sessions have these settings too.
    pub(super) fn with_options(&self, more: &str) -> Self {
        Self { each: self.each.iter().map(|host| host.with_options(more)).collect(), ..self.clone() }
    }

    /// The same hosts with the parameters that `others` have.
    pub(super) fn like(&self, others: &Self) -> Self {
        Self { each: Arc::clone(&others.each), ..self.clone() }
    }

    /// The same hosts; connecting takes at most `limit`.
    pub(super) fn within(&self, limit: Duration) -> Self {
        Self { limit, ..self.clone() }
    }

    /// The hosts as errors name them.
    #[cfg(test)]
    pub(super) fn shown(&self) -> impl Iterator<Item = &str> {
        self.each.iter().map(|host| host.shown.as_str())
    }

    /// The settings of the sessions of each host.
    #[cfg(test)]
    pub(super) fn options(&self) -> Vec<&str> {
        self.each.iter().map(|host| host.config.get_options().unwrap_or_default()).collect()
    }

    /// What the servers must be.
    #[cfg(test)]
    pub(super) fn role(&self) -> Role {
        self.role
    }

    /// Connects to a server that `admit` accepts.
    pub(super) async fn connect(
        &self,
        admit: impl Fn(&Server) -> Result<(), Unfit> + Sync,
    ) -> Result<Connected, ConnectError> {
        let (last, count) = (self.last.load(Ordering::Relaxed), self.each.len());
        let attempts = (0..count).filter_map(|turn| {
            let index = (last + turn) % count;
            let (host, admit) = (self.each.get(index)?, &admit);
            Some(async move { self.connect_to(host, admit).await.map(|connected| (index, connected)) })
        });
        let connected = tokio::time::timeout(self.limit, first_of(attempts)).await;
        let (index, connected) = connected.map_err(|_| self.timeout())??;
        self.last.store(index, Ordering::Relaxed);
        Ok(connected)
    }

    fn timeout(&self) -> ConnectError {
        let hosts: Vec<_> = self.each.iter().map(|host| host.shown.as_str()).collect();
        ConnectError::Timeout { hosts: hosts.join(", "), limit: self.limit }
    }

    async fn connect_to(
        &self,
        host: &OneHost,
        admit: &(impl Fn(&Server) -> Result<(), Unfit> + Sync),
    ) -> Result<Connected, ConnectError> {
        let Some(name) = &host.name else { return self.connect_once(host, host.config.clone(), admit).await };
        let resolved = tokio::net::lookup_host((name.as_str(), host.port)).await;
        let resolved = resolved.map_err(|error| ConnectError::Resolve { host: host.shown.clone(), error })?;
        let mut addresses: Vec<IpAddr> = resolved.map(|address| address.ip()).collect();
        addresses.dedup();
        if self.order == LoadBalanceHosts::Random {
            let start = random(addresses.len());
            addresses.rotate_left(start);
        }
        first_of(addresses.into_iter().map(|address| {
            let mut config = host.config.clone();
            config.hostaddr(address);
            self.connect_once(host, config, admit)
        }))
        .await
    }

    async fn connect_once(
        &self,
        host: &OneHost,
        config: Config,
        admit: &(impl Fn(&Server) -> Result<(), Unfit> + Sync),
    ) -> Result<Connected, ConnectError> {
        let failed = |error| ConnectError::Driver { host: host.shown.clone(), error };
        let (client, mut connection) = config.connect(self.tls.clone()).await.map_err(failed)?;
        let server = tokio::select! {
            server = Server::of(&client, self.role) => server.map_err(failed)?,
            ended = &mut connection => {
                return Err(ended.err().map_or_else(|| ConnectError::Closed { host: host.shown.clone() }, failed));
            }
        };
        let unfit = |error| ConnectError::Unfit { host: host.shown.clone(), error };
        if self.role == Role::Primary && server.read_only {
            return Err(unfit(Unfit::ReadOnly));
        }
        admit(&server).map_err(unfit)?;
        Ok(Connected { client, connection })
    }
}

impl Server {
    /// Asks with simple queries, which take one round trip.
    async fn of(client: &Client, role: Role) -> Result<Self, tokio_postgres::Error> {
        let of_server = client.simple_query(SERVER).await?;
        let (read_only, started_at) = (column(&of_server, 0), column(&of_server, 1));
        let read_only = read_only == Some("t");
        // A former primary can be met only among several; and a database that does not know timelines has nothing
        // to compare.
        let timeline = match role {
            Role::Primary if !read_only => client.simple_query(TIMELINE).await.ok(),
            Role::Primary | Role::Any => None,
        };
        let timeline = timeline.as_deref().and_then(|rows| u32::from_str_radix(column(rows, 0)?, 16).ok());
        Ok(Self { read_only, started_at: started_at.and_then(|text| text.parse().ok()).unwrap_or_default(), timeline })
    }
}

fn column(messages: &[SimpleQueryMessage], index: usize) -> Option<&str> {
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    row?.try_get(index).ok()?
}

impl OneHost {
    fn of(config: &Config, index: usize) -> Self {
        let mut one = without_hosts(config);
        let ports = config.get_ports();
        let port = ports.get(index).or_else(|| ports.first()).copied().unwrap_or(5432);
        let (host, address) = (config.get_hosts().get(index), config.get_hostaddrs().get(index));
        let place = match (host, address) {
            // What stands before an `@` in a name is the rest of a password that has one.
            (Some(Host::Tcp(name)), _) => format!("{}:{port}", name.rsplit('@').next().unwrap_or_default()),
            (Some(Host::Unix(folder)), _) => folder.display().to_string(),
            (None, Some(address)) => format!("{address}:{port}"),
            (None, None) => String::new(),
        };
        let user = config.get_user().map(|user| format!(" as {user}")).unwrap_or_default();
        let shown = format!("{place}/{}{user}", config.get_dbname().or(config.get_user()).unwrap_or_default());
        let name = match (host, address) {
            (Some(Host::Tcp(name)), None) => Some(name.clone()),
            _ => None,
        };
        match host {
            Some(Host::Tcp(name)) => drop(one.host(name)),
            Some(Host::Unix(folder)) => drop(one.host_path(folder)),
            None => {}
        }
        if let Some(address) = address {
            one.hostaddr(*address);
        }
        one.port(port);
        Self { config: one, name, port, shown }
    }

    fn with_options(&self, more: &str) -> Self {
        let mut one = self.clone();
        one.config.options(format!("{} {more}", self.config.get_options().unwrap_or_default()));
        one
    }
}

/// What an operator may want to do about it.
fn hint(error: &tokio_postgres::Error) -> &'static str {
    if error.code().is_some_and(|code| *code == SqlState::INVALID_PASSWORD) {
        return " (a password with `@`, `:` or `/` must be percent-encoded in the URL: `@` is `%40`)";
    }
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    match cause.map(std::io::Error::kind) {
        Some(std::io::ErrorKind::ConnectionRefused) => " (nothing accepts connections there: is PostgreSQL running?)",
        _ => "",
    }
}

/// The parameters without the hosts: the driver cannot take a host out.
fn without_hosts(config: &Config) -> Config {
    let mut one = Config::new();
    config.get_user().map(|user| one.user(user));
    config.get_password().map(|password| one.password(password));
    config.get_dbname().map(|name| one.dbname(name));
    config.get_options().map(|options| one.options(options));
    config.get_application_name().map(|name| one.application_name(name));
    config.get_connect_timeout().map(|limit| one.connect_timeout(*limit));
    config.get_tcp_user_timeout().map(|limit| one.tcp_user_timeout(*limit));
    config.get_keepalives_interval().map(|interval| one.keepalives_interval(interval));
    config.get_keepalives_retries().map(|retries| one.keepalives_retries(retries));
    one.keepalives(config.get_keepalives()).keepalives_idle(config.get_keepalives_idle());
    one.ssl_mode(config.get_ssl_mode()).ssl_negotiation(config.get_ssl_negotiation());
    one.channel_binding(config.get_channel_binding());
    one
}

/// The host that is tried first.
fn first(config: &Config, count: usize) -> usize {
    if config.get_load_balance_hosts() == LoadBalanceHosts::Random { random(count) } else { 0 }
}

fn random(count: usize) -> usize {
    let mut byte = [0];
    SystemRandom.fill(&mut byte);
    usize::from(byte[0]).checked_rem(count).unwrap_or(0)
}

/// The first success. Each attempt begins when the previous one has failed, or has had its head start.
async fn first_of<T, F>(attempts: impl Iterator<Item = F>) -> Result<T, ConnectError>
where
    F: Future<Output = Result<T, ConnectError>>,
{
    let (mut waiting, mut under_way) = (attempts.peekable(), FuturesUnordered::new());
    let mut last_error = ConnectError::NoHost;
    loop {
        match waiting.next() {
            Some(next) => under_way.push(next),
            None if under_way.is_empty() => return Err(last_error),
            None => {}
        }
        let more = waiting.peek().is_some();
        tokio::select! {
            Some(ended) = under_way.next() => match ended {
                Ok(connected) => return Ok(connected),
                // Of a primary that refuses connections and its standbys, the primary's.
                Err(error) if error.is_telling() || !last_error.is_telling() => last_error = error,
                Err(_) => {}
            },
            () = tokio::time::sleep(HEAD_START), if more => {}
        }
    }
}
