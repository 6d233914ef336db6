//! What this node knows about the health of an upstream's targets, and what an operator says it is (gateway.md §2.3).

use std::net::{IpAddr, SocketAddr};

use http::StatusCode;
use serde_json::{Value, json};
use tollgate_core::collection::Document;
use tollgate_core::entity::target::DEFAULT_PORT;

use crate::audit::Change;
use crate::child::{self, Child};
use crate::node::NotSet;
use crate::query::Query;
use crate::resource::{Nested, NewTargetHealth};
use crate::response::{Failure, Response};
use crate::state::AdminState;
use crate::targets::{self, Newest};
use crate::entity;

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

    fn show(&self) -> Value {
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
    fn show(&self, id: Value) -> Value {
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

    fn of(&self, target: &Document) -> Option<&TargetHealth> {
        let name = target.text("target")?;
        self.targets.iter().find(|known| known.target == name)
    }
}

/// `GET /upstreams/{x}/health`.
pub(crate) async fn show(
    state: &AdminState,
    nested: &Nested<'_>,
    upstream: &str,
    path: &str,
    query: &Query,
) -> Result<Response, Failure> {
    let id = entity::find_parent(state, nested, upstream).await?;
    let known = state.node.upstream_health(id);
    if query.get("balancer_health").as_deref() == Some("1") {
        let data = known.map(|known| known.show(json!(id)));
        return Ok(Response::ok(&json!({ "data": data, "next": null, "node_id": state.node.id() })));
    }
    let Newest { documents, next } = targets::page(nested, id, query).await?;
    let data: Vec<Value> = documents.into_iter().map(|target| with_health(target, known.as_ref())).collect();
    let mut shown = json!({ "data": data, "next": null, "node_id": state.node.id() });
    if let Some(next) = next {
        shown["next"] = json!(format!("/{}?offset={next}", path.trim_matches('/')));
        shown["offset"] = json!(next.to_string());
    }
    Ok(Response::ok(&shown))
}

fn with_health(mut target: Document, known: Option<&UpstreamHealth>) -> Value {
    let found = known.and_then(|known| known.of(&target));
    let health = found.map_or(Health::Unresolved, TargetHealth::health);
    target.insert("health".to_owned(), json!(health.as_str()));
    target.insert("data".to_owned(), found.map_or(Value::Null, TargetHealth::show));
    Value::from(target)
}

/// `PUT …/healthy` and `PUT …/unhealthy`.
pub(crate) async fn set(state: &AdminState, new: &NewTargetHealth<'_>) -> Result<Response, Failure> {
    let nested = &new.nested;
    let upstream = entity::find_parent(state, nested, new.upstream).await?;
    let Child { key, .. } = child::named(state, nested, upstream, new.target).await?;
    let target = nested.children.find(&key).await?.filter(|target| target.reference(nested.field) == Some(upstream));
    let target = target.ok_or(Failure::NotFound)?;
    let name = target.text("target").unwrap_or_default();
    let address = new.address.map(address).transpose()?;
    match state.node.set_target_health(upstream, name, address, new.health).await {
        Ok(()) => {
            let change = Change { id: target.id(), fields: vec!["health".to_owned()] };
            Ok(Response::empty(StatusCode::NO_CONTENT).changed(change))
        }
        Err(NotSet::Refused(why)) => Err(Failure::HealthNotSet(why)),
        Err(NotSet::Store(error)) => Err(error.into()),
    }
}

/// An address with or without a port.
fn address(text: &str) -> Result<SocketAddr, Failure> {
    let bare = || text.trim_matches(['[', ']']).parse().map(|ip: IpAddr| SocketAddr::new(ip, DEFAULT_PORT));
    let parsed = text.parse::<SocketAddr>().or_else(|_| bare());
    parsed.map_err(|_| Failure::HealthNotSet(format!("invalid address: {text}")))
}
