//! The targets of an upstream, and the addresses behind them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tollgate_admin::{AddressHealth, Health, TargetHealth};
use tollgate_dns::{Answer, Families};

use super::endpoint::Endpoint;
use super::rotation::Member;
use super::spec::TargetSpec;
use crate::upstream::addresses::Network;

/// A target.
pub(super) struct Target {
    spec: TargetSpec,
    stored: Arc<str>,
    host: Arc<str>,
    port: u16,
    /// Its name; `None`: it is an address.
    name: Option<tollgate_dns::Name>,
    /// The records that its addresses come from.
    source: &'static str,
    /// Its addresses, each with its weight.
    addresses: Vec<(Arc<Endpoint>, u32)>,
    /// Its addresses to which no requests go, as logged.
    refused: Vec<SocketAddr>,
}

/// An address of a target, as it should be.
struct Wanted {
    address: SocketAddr,
    weight: u32,
    host: Arc<str>,
}

impl Target {
    /// Without addresses. `None`: it is unreadable.
    pub(super) fn new(spec: TargetSpec, network: &Network) -> Option<Self> {
        let (host, port) = spec.host_and_port()?;
        let name = host.parse::<IpAddr>().is_err().then(|| network.resolver.name(host, Families::First));
        let (host, stored) = (host.into(), spec.target.as_str().into());
        Some(Self { spec, stored, host, port, name, source: "ip", addresses: Vec::new(), refused: Vec::new() })
    }

    /// The same target with other values.
    pub(super) fn renewed(self, spec: &TargetSpec) -> Self {
        Self { spec: spec.clone(), ..self }
    }

    /// As it is stored: `host:port`.
    pub(super) fn stored(&self) -> &str {
        &self.stored
    }

    /// Its name, if it is none but an address.
    pub(super) fn name(&self) -> Option<&tollgate_dns::Name> {
        self.name.as_ref()
    }

    /// Its endpoints.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.addresses.iter().map(|(endpoint, _)| endpoint)
    }

    /// Its endpoints that get requests.
    pub(super) fn members(&self) -> impl Iterator<Item = Member> {
        let used = self.addresses.iter().filter(|(_, weight)| *weight > 0);
        used.map(|(endpoint, weight)| Member { endpoint: Arc::clone(endpoint), weight: *weight })
    }

    /// Takes over what is known of its name. Endpoints whose address remains stay the same.
    pub(super) fn resolve(&mut self, network: &Network, srv_names: SrvNames, latency: f64) {
        let wanted = match &self.name {
            None => {
                let ip = self.host.parse().ok();
                let address = ip.map(|ip| SocketAddr::new(ip, self.port));
                address.map(|address| self.wanted(address)).into_iter().collect()
            }
            Some(name) => match name.last() {
                Some(answer) => {
                    self.source = answer.source.as_str();
                    self.answered(&answer, srv_names)
                }
                None => Vec::new(),
            },
        };
        let (mut permitted, mut refused) = (Vec::new(), Vec::new());
        for wanted in wanted {
            match network.destinations.check(wanted.address) {
                Ok(()) => permitted.push(wanted),
                Err(error) => {
                    // Once, and not each time that the name is resolved.
                    if !self.refused.contains(&wanted.address) {
                        tracing::warn!(target = %self.stored, %error, "address of a target refused");
                    }
                    refused.push(wanted.address);
                }
            }
        }
        self.refused = refused;
        let addresses = permitted.into_iter().map(|Wanted { address, weight, host }| {
            let known = self.addresses.iter().find(|(known, _)| known.address == address && known.host == host);
            let endpoint = known.map(|(known, _)| Arc::clone(known));
            let new = || Arc::new(Endpoint::new(address, host, Arc::clone(&self.stored), latency));
            (endpoint.unwrap_or_else(new), weight)
        });
        self.addresses = addresses.collect();
    }

    fn wanted(&self, address: SocketAddr) -> Wanted {
        Wanted { address, weight: self.spec.weight(), host: Arc::clone(&self.host) }
    }

    fn answered(&self, answer: &Answer, srv_names: SrvNames) -> Vec<Wanted> {
        let of = |address: &tollgate_dns::Address| {
            let mut wanted = self.wanted(SocketAddr::new(address.ip, address.port.unwrap_or(self.port)));
            if let Some(weight) = address.weight.filter(|_| wanted.weight > 0) {
                wanted.weight = weight.into();
            }
            if let (SrvNames::Sent, Some(name)) = (srv_names, &address.name) {
                wanted.host = Arc::clone(name);
            }
            wanted
        };
        answer.addresses.iter().map(of).collect()
    }

    /// What is known about it.
    pub(super) fn health(&self, is_checked: bool) -> TargetHealth {
        let address = |(endpoint, weight): &(Arc<Endpoint>, u32)| AddressHealth {
            address: endpoint.address,
            weight: *weight,
            health: match (is_checked && *weight > 0, endpoint.is_healthy()) {
                (false, _) => Health::Unchecked,
                (true, true) => Health::Healthy,
                (true, false) => Health::Unhealthy,
            },
        };
        let shown = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.to_string() };
        TargetHealth {
            target: self.stored.to_string(),
            host: shown,
            port: self.port,
            node_weight: self.spec.weight(),
            dns: self.source,
            addresses: self.addresses.iter().map(address).collect(),
        }
    }
}

/// Whether the names in SRV records are sent as `Host`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SrvNames {
    /// They are.
    Sent,
    /// The name of the target is.
    Unused,
}
