//! The programs that a run starts: upstream, peers and gateways, each on free loopback ports, stopped with
//! their owner.

mod haproxy;
mod listening;
mod nginx;
mod other;
mod smallest;
mod tollgate;

use std::net::SocketAddr;

use tollgate_tests::process::Process;

pub use haproxy::{haproxy, jwt as haproxy_jwt};
pub use listening::{Listening, free_addresses};
pub use nginx::{
    BODY, Upstream, introspected as nginx_introspected, proxy as nginx_proxy, token_cache as nginx_token_cache,
};
pub use other::Other;
pub use smallest::smallest;
pub use tollgate::{AccessLog, Settings as TollgateSettings, Tollgate, metric};

/// A running proxy.
pub struct Proxy {
    /// The process whose CPU time is read.
    pub process: u32,
    /// Its HTTP/1.1 address.
    pub http: Option<SocketAddr>,
    /// Its TLS address.
    pub https: Option<SocketAddr>,
    /// Stops it on drop; `None` if it was running before.
    pub guard: Option<Process>,
}
