//! A node as its clients see it.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use tollgate_load::endpoint::{Endpoint, EndpointError, Protocol, Trust};
use tollgate_tests::Gateway;

/// A node that may be stopped.
pub(crate) struct Node {
    /// Its proxy listener.
    pub proxy: Rc<Endpoint>,
    /// Its Admin API.
    pub admin: Rc<Endpoint>,
    /// Odd while it is down.
    life: Cell<u64>,
}

/// A life of a node: requests are judged if it began before them and ended after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life(u64);

impl Node {
    pub(crate) fn of(gateway: &Gateway) -> Result<Self, EndpointError> {
        let admin = gateway.addresses.admin.as_str().trim_end_matches('/').to_owned();
        let endpoint = |address: &str| Endpoint::new(address, Protocol::Http1, &Trust::System).map(Rc::new);
        Ok(Self { proxy: endpoint(&plain(gateway.http))?, admin: endpoint(&admin)?, life: Cell::new(0) })
    }

    /// `None` while it is down.
    pub(crate) fn life(&self) -> Option<Life> {
        let life = self.life.get();
        life.is_multiple_of(2).then_some(Life(life))
    }

    /// It goes down, or is up again.
    pub(crate) fn turn(&self) {
        self.life.set(self.life.get() + 1);
    }
}

fn plain(address: SocketAddr) -> String {
    format!("http://{address}")
}
