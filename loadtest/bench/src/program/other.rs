//! A running gateway with the same Admin API.

use std::net::SocketAddr;

use super::Proxy;

/// Its addresses and process.
#[derive(Debug, Clone)]
pub struct Other {
    /// Its Admin API.
    pub admin: String,
    /// Its proxy listener, plain.
    pub proxy: SocketAddr,
    /// The process whose CPU time is read, with its children.
    pub process: u32,
}

impl Other {
    /// As a proxy.
    pub fn as_proxy(&self) -> Proxy {
        Proxy { process: self.process, http: Some(self.proxy), https: None, guard: None }
    }
}
