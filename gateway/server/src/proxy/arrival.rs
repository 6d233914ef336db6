//! How a request reached the gateway, for plugins that tell of it: looked up only when one asks.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use pingora_proxy::Session;
use tollgate_core::request::{Arrival, Connection};

/// The number of the last connection that was numbered.
static LAST: AtomicU64 = AtomicU64::new(0);

/// A client's connection and its requests so far.
#[derive(Debug)]
pub(crate) struct Serving {
    /// Its number; 0: nothing has asked for it yet.
    serial: AtomicU64,
    requests: u64,
}

impl Serving {
    /// A new connection, with its first request.
    pub(super) fn new() -> Self {
        Self { serial: AtomicU64::new(0), requests: 1 }
    }

    /// The same connection, with its next request.
    pub(super) fn next(&self) -> Self {
        Self { serial: AtomicU64::new(self.serial()), requests: self.requests.saturating_add(1) }
    }

    /// One request is handled by one task, so its connection is numbered once.
    fn serial(&self) -> u64 {
        match self.serial.load(Ordering::Relaxed) {
            0 => {
                let next = LAST.fetch_add(1, Ordering::Relaxed) + 1;
                self.serial.store(next, Ordering::Relaxed);
                next
            }
            known => known,
        }
    }
}

/// A request that reached the gateway.
pub(super) struct Arrived<'s> {
    pub(super) session: &'s Session,
    pub(super) serving: &'s Serving,
}

/// Without the session, which has the client's credentials.
impl fmt::Debug for Arrived<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrived").field("serving", &self.serving).finish_non_exhaustive()
    }
}

impl Arrival for Arrived<'_> {
    fn local_address(&self) -> Option<SocketAddr> {
        self.session.server_addr()?.as_inet().copied()
    }

    fn connection(&self) -> Connection {
        Connection { serial: self.serving.serial(), requests: self.serving.requests }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_keeps_its_number_and_counts_its_requests() {
        let (first, other) = (Serving::new(), Serving::new());
        let second = first.next();
        assert_eq!(second.serial(), first.serial());
        assert_ne!(first.serial(), other.serial());
        assert_eq!((first.requests, second.requests, second.next().requests), (1, 2, 3));
    }
}
