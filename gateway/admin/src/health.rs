//! The health of an upstream's targets, as a node tells it (gateway.md §2.3).

use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};
use tollgate_core::collection::Document;

/// The health of a target or an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It gets requests.
    Healthy,
    /// It gets none.
    Unhealthy,
    /// It gets requests: nothing is checked.
    Unchecked,
    /// It has no address.
    Unresolved,
}

impl Health {
    /// The word in responses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "HEALTHY",
            Self::Unhealthy => "UNHEALTHY",
            Self::Unchecked => "HEALTHCHECKS_OFF",
            Self::Unresolved => "DNS_ERROR",
        }
    }
}

/// What an operator says about a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthReport {
    /// It can serve requests.
    Healthy,
    /// It cannot.
    Unhealthy,
}

/// Sums of weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weights {
    /// Of all addresses.
    pub total: u64,
    /// Of those that get no requests.
    pub unavailable: u64,
}

impl Weights {
    fn show(self) -> Value {
        let available = self.total.saturating_sub(self.unavailable);
        json!({ "total": self.total, "available": available, "unavailable": self.unavailable })
    }
}

/// An address of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressHealth {
    /// The address.
    pub address: SocketAddr,
    /// Its weight.
    pub weight: u32,
    /// Its health.
    pub health: Health,
}

/// A target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetHealth {
    /// As it is stored: `host:port`.
    pub target: String,
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Its weight.
    pub node_weight: u32,
    /// The records from which its addresses come: `A`, `AAAA`, `SRV`, or `ip` for an address.
    pub dns: &'static str,
    /// Its addresses.
    pub addresses: Vec<AddressHealth>,
}

impl TargetHealth {
    /// Healthy if one of its addresses is.
    pub fn health(&self) -> Health {
        let has = |health| self.addresses.iter().any(|address| address.health == health);
        let order = [Health::Healthy, Health::Unhealthy, Health::Unchecked];
        order.into_iter().find(|health| has(*health)).unwrap_or(Health::Unresolved)
    }

    /// The weights of its addresses.
    pub fn weights(&self) -> Weights {
        let sum = |addresses: &mut dyn Iterator<Item = &AddressHealth>| {
            addresses.map(|address| u64::from(address.weight)).sum::<u64>()
        };
        let mut unavailable = self.addresses.iter().filter(|address| address.health == Health::Unhealthy);
        Weights { total: sum(&mut self.addresses.iter()), unavailable: sum(&mut unavailable) }
    }

    pub(crate) fn show(&self) -> Value {
        let address = |address: &AddressHealth| {
            json!({
                "ip": shown(address.address.ip()),
                "port": address.address.port(),
                "weight": address.weight,
                "health": address.health.as_str(),
            })
        };
        json!({
            "host": self.host,
            "port": self.port,
            "dns": self.dns,
            "nodeWeight": self.node_weight,
            "weight": self.weights().show(),
            "addresses": self.addresses.iter().map(address).collect::<Vec<_>>(),
        })
    }
}

/// IPv6 addresses are in brackets.
fn shown(ip: IpAddr) -> String {
    if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() }
}

/// An upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamHealth {
    /// Whether anything is checked.
    pub is_checked: bool,
    /// Whether enough of its targets' weight is healthy.
    pub is_healthy: bool,
    /// Its targets.
    pub targets: Vec<TargetHealth>,
}

impl UpstreamHealth {
    pub(crate) fn show(&self, id: Value) -> Value {
        let balancer = if self.is_healthy { Health::Healthy } else { Health::Unhealthy };
        let health = if self.is_checked { balancer } else { Health::Unchecked };
        let weights = self.targets.iter().map(TargetHealth::weights).fold(Weights::default(), |sum, one| Weights {
            total: sum.total + one.total,
            unavailable: sum.unavailable + one.unavailable,
        });
        let hosts: Vec<Value> = self.targets.iter().map(TargetHealth::show).collect();
        json!({
            "health": health.as_str(),
            "balancer_health": balancer.as_str(),
            "id": id,
            "details": { "healthy": self.is_healthy, "weight": weights.show(), "hosts": hosts },
        })
    }

    pub(crate) fn of(&self, target: &Document) -> Option<&TargetHealth> {
        let name = target.text("target")?;
        self.targets.iter().find(|known| known.target == name)
    }
}
