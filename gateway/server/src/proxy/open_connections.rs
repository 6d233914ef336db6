//! Open connections: how many there are in all, and of each client's address.
//!
//! They count from before their handshake until they are closed. The memory is that of the addresses that have a
//! connection.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tollgate_core::network;

use super::trusted_peer::TrustedIps;
use crate::telemetry::limit_metrics::Limit;

/// Accepting threads rarely meet at the same one.
const SHARDS: usize = 16;

/// How many connections may be open.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    most: usize,
    most_per_address: usize,
    /// Proxies, which have connections of many clients: only the first limit is theirs.
    trusted: TrustedIps,
}

impl ConnectionLimits {
    /// In all, and of each address that is not trusted; 0: no limit.
    pub fn new(most: usize, most_per_address: usize, trusted: TrustedIps) -> Self {
        let unlimited = |limit| if limit == 0 { usize::MAX } else { limit };
        Self { most: unlimited(most), most_per_address: unlimited(most_per_address), trusted }
    }
}

/// Counts open connections within limits, which may change meanwhile.
#[derive(Debug)]
pub struct OpenConnections {
    limits: ArcSwap<ConnectionLimits>,
    open: AtomicUsize,
    by_address: [Mutex<HashMap<IpAddr, usize>>; SHARDS],
    hasher: RandomState,
}

impl OpenConnections {
    /// No connection is open.
    pub fn new(limits: ConnectionLimits) -> Self {
        Self {
            limits: ArcSwap::from_pointee(limits),
            open: AtomicUsize::new(0),
            by_address: Default::default(),
            hasher: RandomState::new(),
        }
    }

    /// Has these limits for connections from now on.
    pub fn set_limits(&self, limits: ConnectionLimits) {
        self.limits.store(Arc::new(limits));
    }

    /// How many are open.
    pub fn count_open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Counts a connection from this address until the result is dropped.
    ///
    /// # Errors
    /// The limit that it would exceed.
    pub(crate) fn open(self: &Arc<Self>, peer: Option<IpAddr>) -> Result<OpenConnection, Limit> {
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.limits.load().most {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return Err(Limit::Connections);
        }
        // From here on it is counted, and no longer when this is dropped.
        let mut connection = OpenConnection { connections: Arc::clone(self), counted: Counted::InAll, address: None };
        connection.address = self.count(peer)?;
        Ok(connection)
    }

    /// Counts the client of a connection that a proxy has opened, until the result is dropped. A trusted one is the
    /// proxy itself, or another.
    ///
    /// # Errors
    /// The limit that it would exceed.
    #[cfg(pingora_patched)]
    pub(crate) fn open_behind(self: &Arc<Self>, client: Option<IpAddr>) -> Result<OpenConnection, Limit> {
        let address = self.count(client)?;
        Ok(OpenConnection { connections: Arc::clone(self), counted: Counted::ForItsAddress, address })
    }

    /// Counts a connection of an address, if it has a limit; returns what it is counted for.
    fn count(&self, peer: Option<IpAddr>) -> Result<Option<IpAddr>, Limit> {
        let limits = self.limits.load();
        let limited = peer.filter(|peer| limits.most_per_address != usize::MAX && !limits.trusted.contains(*peer));
        let Some(address) = limited.map(network::of) else { return Ok(None) };
        let mut addresses = self.shard(address);
        let count = addresses.entry(address).or_insert(0);
        if *count >= limits.most_per_address {
            return Err(Limit::ConnectionsPerAddress);
        }
        *count += 1;
        Ok(Some(address))
    }

    fn shard(&self, address: IpAddr) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        let shard = usize::try_from(self.hasher.hash_one(address) % SHARDS as u64).unwrap_or(0);
        #[expect(clippy::indexing_slicing, reason = "a remainder of the length")]
        self.by_address[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a connection is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counted {
    /// All connections, and those of its address.
    InAll,
    /// Those of its address only.
    #[cfg(pingora_patched)]
    ForItsAddress,
}

/// An open connection.
pub(crate) struct OpenConnection {
    connections: Arc<OpenConnections>,
    counted: Counted,
    address: Option<IpAddr>,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        if self.counted == Counted::InAll {
            self.connections.open.fetch_sub(1, Ordering::Relaxed);
        }
        let Some(address) = self.address else { return };
        let mut addresses = self.connections.shard(address);
        let Some(count) = addresses.get_mut(&address) else { return };
        *count -= 1;
        if *count == 0 {
            addresses.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(most: usize, most_per_address: usize) -> Arc<OpenConnections> {
        let trusted = TrustedIps::new(["10.0.0.0/8".parse().unwrap()]);
        let limits = ConnectionLimits::new(most, most_per_address, trusted);
        Arc::new(OpenConnections::new(limits))
    }

    fn open(connections: &Arc<OpenConnections>, address: &str) -> Result<OpenConnection, Limit> {
        connections.open(Some(address.parse().unwrap()))
    }

    #[test]
    fn an_address_has_as_many_as_its_limit_and_others_have_theirs() {
        let connections = connections(0, 2);
        let mut held: Vec<_> = (0..2).map(|_| open(&connections, "192.0.2.1").unwrap()).collect();
        assert_eq!(open(&connections, "192.0.2.1").err(), Some(Limit::ConnectionsPerAddress));
        assert_eq!(open(&connections, "::ffff:192.0.2.1").err(), Some(Limit::ConnectionsPerAddress));
        assert!(open(&connections, "192.0.2.2").is_ok());
        held.pop();
        assert!(open(&connections, "192.0.2.1").is_ok(), "a closed one does not count");
        drop(held);
        assert!(connections.by_address.iter().all(|addresses| addresses.lock().unwrap().is_empty()));
        assert_eq!(connections.open.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_network_of_ipv6_is_one_address_and_a_trusted_proxy_is_many_clients() {
        let connections = connections(0, 1);
        let _first = open(&connections, "2001:db8::1").unwrap();
        assert!(open(&connections, "2001:db8::2").is_err());
        let _proxied: Vec<_> = (0..100).map(|_| open(&connections, "10.1.2.3").unwrap()).collect();
    }

    #[cfg(pingora_patched)]
    #[test]
    fn a_client_behind_a_proxy_has_its_own_limit_and_is_no_further_connection() {
        let connections = connections(2, 1);
        let _proxys = open(&connections, "10.1.2.3").unwrap();
        let behind = connections.open_behind(Some("192.0.2.1".parse().unwrap())).unwrap();
        let second = connections.open_behind(Some("192.0.2.1".parse().unwrap()));
        assert_eq!(second.err(), Some(Limit::ConnectionsPerAddress));
        assert_eq!(open(&connections, "192.0.2.1").err(), Some(Limit::ConnectionsPerAddress));
        drop(behind);
        assert!(open(&connections, "192.0.2.1").is_ok());
        assert_eq!(connections.open.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn new_limits_are_for_connections_from_then_on() {
        let connections = connections(0, 0);
        let held = open(&connections, "192.0.2.1").unwrap();
        let limits = ConnectionLimits::new(2, 1, TrustedIps::default());
        connections.set_limits(limits);
        let second = open(&connections, "192.0.2.1").unwrap();
        assert_eq!(open(&connections, "192.0.2.2").err(), Some(Limit::Connections));
        drop(held);
        assert_eq!(open(&connections, "192.0.2.1").err(), Some(Limit::ConnectionsPerAddress));
        drop(second);
        assert!(connections.by_address.iter().all(|addresses| addresses.lock().unwrap().is_empty()));
        assert_eq!(connections.count_open(), 0);
    }

    #[test]
    fn all_together_have_a_limit_too() {
        let connections = connections(3, 0);
        let held: Vec<_> = (0..3).map(|_| open(&connections, "10.1.2.3").unwrap()).collect();
        assert_eq!(connections.open(None).err(), Some(Limit::Connections));
        drop(held);
        assert!(connections.open(None).is_ok());
    }
}
