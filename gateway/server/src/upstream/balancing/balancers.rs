//! All upstreams of the configuration, and the tasks that keep each current.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use futures::future::select_all;
use tokio::runtime::Handle;
use tollgate_admin::HealthReport;
use tollgate_core::change::{Change, Operation};
use uuid::Uuid;

use super::balancer::{Balancer, Terms};
use super::probe::{self, Prober};
use super::spec::{TargetSpec, UpstreamSpec};
use crate::upstream::addresses::Network;
use crate::upstream::announcement::Announcements;

/// The kind of the changes by which nodes tell each other what operators say about targets.
pub const TARGET_HEALTH: &str = "target_health";

/// How soon a name that has never resolved is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// See the module.
pub struct Balancers {
    runtime: Handle,
    network: Network,
    announcements: Announcements,
    prober: Arc<Prober>,
    all: RwLock<BTreeMap<Uuid, Arc<Balancer>>>,
    /// By name, in lower case: names may differ by case alone.
    by_name: RwLock<HashMap<String, Vec<Arc<Balancer>>>>,
}

impl Balancers {
    /// None yet. Tasks run on this runtime.
    pub fn new(runtime: Handle, network: Network, announcements: Announcements) -> Self {
        let prober = Arc::new(Prober::new(announcements.version));
        let (all, by_name) = (RwLock::default(), RwLock::default());
        Self { runtime, network, announcements, prober, all, by_name }
    }

    /// Which services' upstreams get PROXY headers.
    pub fn announcements(&self) -> &Announcements {
        &self.announcements
    }

    /// How services reach hosts.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The upstream with that name; in this spelling, or else in another.
    pub fn by_name(&self, name: &str) -> Option<Arc<Balancer>> {
        let by_name = self.by_name.read().unwrap_or_else(PoisonError::into_inner);
        let named = by_name.get(&name.to_ascii_lowercase())?;
        named.iter().find(|balancer| balancer.name() == name).or_else(|| named.first()).cloned()
    }

    /// The upstream with that id.
    pub fn get(&self, id: Uuid) -> Option<Arc<Balancer>> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// All, in order of their ids.
    pub fn all(&self) -> Vec<Arc<Balancer>> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Makes or changes an upstream.
    pub fn set(&self, spec: UpstreamSpec, terms: Terms, targets: Vec<TargetSpec>) {
        let balancer = {
            let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
            let new = || {
                let balancer = Arc::new(Balancer::new(spec.clone(), terms.clone(), self.network.clone()));
                let resolves = self.runtime.spawn(resolve(Arc::downgrade(&balancer)));
                let probes = self.runtime.spawn(probe::run(Arc::downgrade(&balancer), Arc::clone(&self.prober)));
                balancer.keep(resolves.abort_handle());
                balancer.keep(probes.abort_handle());
                balancer
            };
            Arc::clone(all.entry(spec.id).or_insert_with(new))
        };
        let name = spec.name.to_ascii_lowercase();
        balancer.set(spec, terms, targets);
        self.hide(balancer.id);
        let mut by_name = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        let named = by_name.entry(name).or_default();
        named.push(balancer);
        // In the same order on all nodes.
        named.sort_by_key(|balancer| balancer.id);
    }

    /// Lets no service that is compiled from now on go to an upstream.
    pub fn hide(&self, id: Uuid) {
        let mut by_name = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        by_name.retain(|_, named| {
            named.retain(|balancer| balancer.id != id);
            !named.is_empty()
        });
    }

    /// Ends all upstreams but these.
    pub fn retain(&self, ids: &BTreeSet<Uuid>) {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|id, balancer| {
            let stays = ids.contains(id);
            if !stays {
                balancer.stop();
            }
            stays
        });
    }

    /// Applies what an operator says about a target.
    pub fn apply(&self, change: &Change) {
        let said = std::str::from_utf8(&change.key).ok().and_then(parse);
        if let (Some(balancer), Some((target, address, report))) = (self.get(change.id), said) {
            balancer.report(target, address, report);
        }
    }
}

/// The change that tells all nodes what an operator says.
pub fn said(upstream: Uuid, target: &str, address: Option<SocketAddr>, report: HealthReport) -> Change {
    let address = address.map(|address| address.to_string()).unwrap_or_default();
    let word = match report {
        HealthReport::Healthy => "healthy",
        HealthReport::Unhealthy => "unhealthy",
    };
    let key = format!("{word} {target} {address}").into_bytes();
    Change { kind: TARGET_HEALTH.to_owned(), operation: Operation::Updated, id: upstream, key, document: None }
}

fn parse(said: &str) -> Option<(&str, Option<SocketAddr>, HealthReport)> {
    let mut words = said.split(' ');
    let report = match words.next()? {
        "healthy" => HealthReport::Healthy,
        "unhealthy" => HealthReport::Unhealthy,
        _ => return None,
    };
    let target = words.next()?;
    let address = words.next().filter(|address| !address.is_empty()).map(str::parse).transpose().ok()?;
    Some((target, address, report))
}

/// Takes over the addresses of targets whenever DNS tells others.
async fn resolve(balancer: Weak<Balancer>) {
    loop {
        let Some(known) = balancer.upgrade() else { return };
        let (changed, names) = (Arc::clone(&known.changed), known.names());
        let changes = changed.notified();
        let mut heard: Vec<_> = names.iter().map(tollgate_dns::Name::watch).collect();
        let unresolved: Vec<_> = names.into_iter().filter(|name| name.last().is_none()).collect();
        known.refresh();
        drop(known);
        let retries = !unresolved.is_empty();
        for name in unresolved {
            // Its outcome is heard of.
            tokio::spawn(async move { drop(name.answer().await) });
        }
        let any = async {
            if heard.is_empty() {
                std::future::pending::<()>().await;
            }
            // A name whose sender is gone is as good as changed.
            let _ = select_all(heard.iter_mut().map(|name| Box::pin(name.changed()))).await;
        };
        tokio::select! {
            () = changes => {}
            () = any => {}
            () = tokio::time::sleep(RETRY), if retries => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_heard() {
        let address = "[::1]:80".parse().ok();
        for (address, report) in [(None, HealthReport::Healthy), (address, HealthReport::Unhealthy)] {
            let change = said(Uuid::nil(), "a.test:80", address, report);
            assert_eq!(parse(std::str::from_utf8(&change.key).unwrap()), Some(("a.test:80", address, report)));
        }
        for bad in ["", "ill a:80", "healthy", "healthy a:80 nowhere"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
