//! The addresses behind a name.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::net::NetError;

/// The shortest time for which an answer is fresh: a name whose records live for less is not asked for each request.
const SHORTEST: Duration = Duration::from_secs(1);

/// The records that an answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// SRV records, and the addresses of the names in them.
    Srv,
    /// A records.
    A,
    /// AAAA records.
    Aaaa,
}

impl Source {
    /// The name of the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Srv => "SRV",
            Self::A => "A",
            Self::Aaaa => "AAAA",
        }
    }
}

/// One address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// The port of an SRV record.
    pub port: Option<u16>,
    /// The weight of an SRV record, at least one.
    pub weight: Option<u16>,
    /// The host name in an SRV record.
    pub name: Option<Arc<str>>,
}

impl Address {
    /// An address without more.
    pub(crate) fn plain(ip: IpAddr) -> Self {
        Self { ip, port: None, weight: None, name: None }
    }
}

/// What is known of a name: at least one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The addresses, sorted.
    pub addresses: Box<[Address]>,
    /// The records that they come from.
    pub source: Source,
    /// When it is to be renewed.
    pub fresh_until: Instant,
}

impl Answer {
    /// Addresses that were found now, and the time at which their records expire.
    pub(crate) fn new(mut addresses: Vec<Address>, source: Source, expires: Instant) -> Self {
        addresses.sort_unstable();
        addresses.dedup();
        let fresh_until = expires.max(Instant::now() + SHORTEST);
        Self { addresses: addresses.into(), source, fresh_until }
    }

    /// Whether it need not be renewed.
    pub fn is_fresh(&self) -> bool {
        Instant::now() < self.fresh_until
    }
}

/// Why a name has no address.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The name servers say so.
    #[error("cannot resolve {host}: it has no address")]
    None {
        /// The name.
        host: Arc<str>,
    },
    /// The name servers fail.
    #[error("cannot resolve {host}")]
    Failed {
        /// The name.
        host: Arc<str>,
        /// The cause.
        #[source]
        source: NetError,
    },
    /// The name servers do not respond.
    #[error("cannot resolve {host}: no response from the name servers within {} seconds", .limit.as_secs())]
    Timeout {
        /// The name.
        host: Arc<str>,
        /// How long was waited.
        limit: Duration,
    },
    /// The process is ending.
    #[error("cannot resolve {host}: the gateway is shutting down")]
    Stopped {
        /// The name.
        host: Arc<str>,
    },
}

impl Error {
    /// Whether the name is known to have no address; otherwise nobody knows.
    pub fn is_certain(&self) -> bool {
        matches!(self, Self::None { .. })
    }
}
