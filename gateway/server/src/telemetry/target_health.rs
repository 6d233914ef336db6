//! The health of upstreams' targets, as it is when it is asked for: `tollgate_upstream_target_healthy`, and
//! `kong_upstream_target_health` while an instance of a plugin wants it (gateway.md §11). The number of series follows
//! from the configuration and DNS.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts};
use tollgate_admin::{Health, TargetHealth};

use super::metrics::Metrics;
use crate::upstream::balancing::Balancers;

const STATES: [(Health, &str); 4] = [
    (Health::Unchecked, "healthchecks_off"),
    (Health::Healthy, "healthy"),
    (Health::Unhealthy, "unhealthy"),
    (Health::Unresolved, "dns_error"),
];

/// The metrics.
pub struct TargetHealthMetrics {
    balancers: Arc<Balancers>,
    metrics: Arc<Metrics>,
    descriptions: Vec<Desc>,
}

impl TargetHealthMetrics {
    /// Of these upstreams.
    ///
    /// # Errors
    /// The metrics are not valid.
    pub fn new(balancers: Arc<Balancers>, metrics: Arc<Metrics>) -> prometheus::Result<Self> {
        let descriptions = [ours()?.desc(), compatible()?.desc()].concat().into_iter().cloned().collect();
        Ok(Self { balancers, metrics, descriptions })
    }

    fn gather(&self) -> prometheus::Result<Vec<MetricFamily>> {
        let (ours, compatible) = (ours()?, compatible()?);
        let is_exported = self.metrics.exports_target_health();
        for balancer in self.balancers.all() {
            let name = balancer.name();
            for target in balancer.health().targets {
                for (address, health) in addresses(&target) {
                    let gets_requests = matches!(health, Health::Healthy | Health::Unchecked);
                    let labels = [name.as_str(), &target.target, &address];
                    ours.with_label_values(&labels).set(i64::from(gets_requests));
                    if !is_exported {
                        continue;
                    }
                    for (state, word) in STATES {
                        let labels = [name.as_str(), &target.target, &address, word, "http"];
                        compatible.with_label_values(&labels).set(i64::from(state == health));
                    }
                }
            }
        }
        Ok([ours.collect(), compatible.collect()].concat())
    }
}

/// The addresses of a target, or none with the reason.
fn addresses(target: &TargetHealth) -> Vec<(String, Health)> {
    if target.addresses.is_empty() {
        return vec![(String::new(), Health::Unresolved)];
    }
    target.addresses.iter().map(|address| (address.address.to_string(), address.health)).collect()
}

fn ours() -> prometheus::Result<IntGaugeVec> {
    let help = "Whether an address of an upstream's target gets requests; the address is empty if the target has none.";
    IntGaugeVec::new(Opts::new("tollgate_upstream_target_healthy", help), &["upstream", "target", "address"])
}

fn compatible() -> prometheus::Result<IntGaugeVec> {
    let labels = ["upstream", "target", "address", "state", "subsystem"];
    IntGaugeVec::new(Opts::new("kong_upstream_target_health", "Health of targets of upstreams, by state."), &labels)
}

impl Collector for TargetHealthMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.gather().unwrap_or_default()
    }
}
