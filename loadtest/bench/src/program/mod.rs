//! The programs that a run starts: upstream, peers and gateways, each on free ports of loopback,
//! ended with its owner.

mod haproxy;
mod listening;
mod nginx;
mod other;
mod smallest;
mod tollgate;

use std::net::SocketAddr;

use tollgate_tests::process::Process;

pub use haproxy::haproxy;
pub use listening::{Listening, free_addresses};
pub use nginx::{BODY, Upstream, proxy as nginx_proxy, token_cache as nginx_token_cache};
pub use other::Other;
pub use smallest::smallest;
pub use tollgate::{AccessLog, Settings as TollgateSettings, Tollgate, metric};

/// A running proxy.
pub struct Proxy {
    /// Whose CPU time is read.
    pub process: u32,
    /// Where it takes HTTP/1.1.
    pub http: Option<SocketAddr>,
    /// Where it takes TLS.
    pub https: Option<SocketAddr>,
    /// What ends it; `None`: it was there before.
    pub guard: Option<Process>,
}
