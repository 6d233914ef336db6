//! An upstream: its settings, its targets, and the endpoint for the next attempt of a request.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use futures::future::join_all;
use pingora_core::utils::tls::CertKey;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tollgate_admin::{HealthReport, UpstreamHealth};
use uuid::Uuid;

use super::endpoint::Endpoint;
use super::hash_input::HashInputs;
use super::health::{Flip, Observer, Sign, Thresholds};
use super::rotation::{Member, Rotation};
use super::spec::{Active, Algorithm, TargetSpec, UpstreamSpec};
use super::targets::{SrvNames, Target};
use crate::upstream::addresses::Network;

/// The slots of an upstream that does not say.
const DEFAULT_SLOTS: u32 = 10_000;

/// The certificate that is presented to targets, if the service has none.
#[derive(Clone)]
pub enum Terms {
    /// None.
    Plain,
    /// This one; the number tells connections apart that were made with others.
    Certificate(Arc<CertKey>, u64),
    /// One that cannot be used: requests are refused, since they would be less safe than they were meant to be.
    Unusable,
}

/// What the entity says, compiled.
pub(super) struct Settings {
    pub(super) spec: UpstreamSpec,
    algorithm: Algorithm,
    hash: HashInputs,
    /// The percentage of the weight that must be healthy.
    threshold: f64,
    active_thresholds: Thresholds,
    passive_thresholds: Thresholds,
    pub(super) is_checked: bool,
    /// Seconds between probes of healthy endpoints, and of others.
    pub(super) intervals: (f64, f64),
    terms: Terms,
}

impl Settings {
    fn new(spec: UpstreamSpec, terms: Terms) -> Self {
        let checks = spec.healthchecks.clone().unwrap_or_default();
        Self {
            algorithm: spec.algorithm.unwrap_or_default(),
            hash: HashInputs::new(&spec),
            threshold: checks.threshold.unwrap_or(0.0),
            active_thresholds: checks.active(),
            passive_thresholds: checks.passive(),
            is_checked: checks.are_on(),
            intervals: checks.intervals(),
            terms,
            spec,
        }
    }

    /// How endpoints are probed.
    pub(super) fn active(&self) -> Active {
        self.spec.healthchecks.as_ref().and_then(|checks| checks.active.clone()).unwrap_or_default()
    }
}

/// See the module.
pub struct Balancer {
    /// The id of the upstream.
    pub id: Uuid,
    pub(super) network: Network,
    settings: ArcSwap<Settings>,
    rotation: ArcSwap<Rotation>,
    /// Whether enough of the weight is healthy.
    usable: AtomicBool,
    turn: AtomicUsize,
    /// How many services go there whose connections begin with a PROXY header.
    with_proxy_header: AtomicUsize,
    targets: Mutex<Vec<Target>>,
    /// Wakes the tasks after a change.
    pub(super) changed: Arc<Notify>,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl Balancer {
    /// Without targets.
    pub(super) fn new(spec: UpstreamSpec, terms: Terms, network: Network) -> Self {
        Self {
            id: spec.id,
            network,
            settings: ArcSwap::from_pointee(Settings::new(spec, terms)),
            rotation: ArcSwap::default(),
            usable: AtomicBool::new(false),
            turn: AtomicUsize::new(0),
            with_proxy_header: AtomicUsize::new(0),
            targets: Mutex::default(),
            changed: Arc::default(),
            tasks: Mutex::default(),
        }
    }

    pub(super) fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// The name of the upstream.
    pub fn name(&self) -> String {
        self.settings.load().spec.name.clone()
    }

    /// The `Host` that is sent to all targets, if the upstream says one.
    pub fn host_header(&self) -> Option<String> {
        self.settings.load().spec.host_header.clone()
    }

    /// The certificate that is presented.
    pub fn terms(&self) -> Terms {
        self.settings.load().terms.clone()
    }

    /// What of requests is hashed, if anything is.
    pub fn hash_inputs(&self) -> Option<HashInputs> {
        let settings = self.settings.load();
        (settings.algorithm == Algorithm::ConsistentHashing).then(|| settings.hash.clone())
    }

    /// Makes these its settings and targets. Endpoints that remain keep their state.
    pub(super) fn set(&self, spec: UpstreamSpec, terms: Terms, targets: Vec<TargetSpec>) {
        let settings = Settings::new(spec, terms);
        let starts_checking = settings.is_checked && !self.settings.load().is_checked;
        self.settings.store(Arc::new(settings));
        {
            let mut current = self.targets();
            let known = current.drain(..).map(|target| (target.stored().to_owned(), target));
            let mut known: HashMap<String, Target> = known.collect();
            current.extend(targets.into_iter().filter_map(|spec| match known.remove(&spec.target) {
                Some(target) => Some(target.renewed(&spec)),
                None => Target::new(spec, &self.network),
            }));
        }
        // What was observed under other rules says nothing.
        if starts_checking || !self.settings.load().is_checked {
            for endpoint in self.targets().iter().flat_map(Target::endpoints) {
                endpoint.health.set(Flip::Healthy);
            }
        }
        self.refresh();
        self.changed.notify_waiters();
    }

    fn targets(&self) -> MutexGuard<'_, Vec<Target>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what is known of the targets' names.
    pub(super) fn refresh(&self) {
        let mut targets = self.targets();
        // Loaded under the lock, so that no older ones follow newer ones.
        let settings = self.settings.load();
        let srv_names = if settings.spec.use_srv_name == Some(true) { SrvNames::Sent } else { SrvNames::Unused };
        let latency = mean_latency(self.rotation.load().members());
        targets.iter_mut().for_each(|target| target.resolve(&self.network, srv_names, latency));
        let members: Vec<Member> = targets.iter().flat_map(Target::members).collect();
        let slots = settings.spec.slots.unwrap_or(DEFAULT_SLOTS);
        self.rotation.store(Arc::new(Rotation::new(members, settings.algorithm, slots)));
        self.judge(&settings);
    }

    /// The names of its targets.
    pub(super) fn names(&self) -> Vec<tollgate_dns::Name> {
        self.targets().iter().filter_map(Target::name).cloned().collect()
    }

    /// The endpoints that get requests.
    pub(super) fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.rotation.load().members().iter().map(|member| Arc::clone(&member.endpoint)).collect()
    }

    /// The endpoint for the next attempt: one that has not failed in this request, while there is such a one.
    /// Waits for the addresses of targets only if none is known. `None`: no target can be used.
    pub async fn pick(&self, key: Option<&[u8]>, tried: &[SocketAddr]) -> Option<Arc<Endpoint>> {
        if let Some(endpoint) = self.pick_now(key, tried) {
            return Some(endpoint);
        }
        let unknown: Vec<_> = self.names().into_iter().filter(|name| name.last().is_none()).collect();
        if unknown.is_empty() {
            return None;
        }
        let answers = join_all(unknown.iter().map(tollgate_dns::Name::answer)).await;
        if !answers.iter().any(Result::is_ok) {
            return None;
        }
        self.refresh();
        self.pick_now(key, tried)
    }

    fn pick_now(&self, key: Option<&[u8]>, tried: &[SocketAddr]) -> Option<Arc<Endpoint>> {
        if !self.usable.load(Ordering::Acquire) {
            return None;
        }
        let (rotation, algorithm) = (self.rotation.load(), self.settings.load().algorithm);
        let untried = |endpoint: &Endpoint| endpoint.is_healthy() && !tried.contains(&endpoint.address);
        let found = rotation.pick(algorithm, key, &self.turn, untried);
        let again = || rotation.pick(algorithm, key, &self.turn, Endpoint::is_healthy);
        found.or_else(again).cloned()
    }

    /// Counts what was observed of an endpoint.
    pub fn observe(&self, endpoint: &Endpoint, observer: Observer, sign: Sign) {
        let settings = self.settings.load();
        if !settings.is_checked {
            return;
        }
        let thresholds = match observer {
            Observer::Active => &settings.active_thresholds,
            Observer::Passive => &settings.passive_thresholds,
        };
        if let Some(flip) = endpoint.health.observe(observer, thresholds, sign) {
            self.flipped(&settings, endpoint, flip, &format!("{observer:?}: {sign:?}"));
        }
    }

    /// Makes the endpoints of a target, or the one with this address, healthy or not.
    pub(super) fn report(&self, target: &str, address: Option<SocketAddr>, report: HealthReport) {
        let settings = self.settings.load();
        let flip = match report {
            HealthReport::Healthy => Flip::Healthy,
            HealthReport::Unhealthy => Flip::Unhealthy,
        };
        for endpoint in self.of_target(target, address) {
            if endpoint.health.set(flip).is_some() {
                self.flipped(&settings, &endpoint, flip, "said by an operator");
            }
        }
    }

    /// The endpoints of a target, or the one with this address.
    pub(super) fn of_target(&self, target: &str, address: Option<SocketAddr>) -> Vec<Arc<Endpoint>> {
        let targets = self.targets();
        let found = targets.iter().filter(|known| known.stored() == target).flat_map(Target::endpoints);
        found.filter(|endpoint| address.is_none_or(|address| endpoint.address == address)).cloned().collect()
    }

    /// Whether it has such a target, with such an address.
    pub fn has(&self, target: &str, address: Option<SocketAddr>) -> bool {
        !self.of_target(target, address).is_empty()
    }

    fn flipped(&self, settings: &Settings, endpoint: &Endpoint, flip: Flip, why: &str) {
        let (upstream, target, address) = (&settings.spec.name, &endpoint.target, endpoint.address);
        match flip {
            Flip::Healthy => tracing::info!(%upstream, %target, %address, why, "target is healthy"),
            Flip::Unhealthy => {
                tracing::warn!(%upstream, %target, %address, why, "target is unhealthy; it gets no requests");
            }
        }
        // One judgement at a time: that of the last rotation counts.
        let _held = self.targets();
        self.judge(settings);
    }

    /// Decides whether enough of the weight is healthy.
    fn judge(&self, settings: &Settings) {
        let rotation = self.rotation.load();
        let sum =
            |members: &mut dyn Iterator<Item = &Member>| members.map(|member| f64::from(member.weight)).sum::<f64>();
        let total = sum(&mut rotation.members().iter());
        let healthy = sum(&mut rotation.members().iter().filter(|member| member.endpoint.is_healthy()));
        self.usable.store(total > 0.0 && healthy / total * 100.0 > settings.threshold, Ordering::Release);
    }

    /// What is known about its targets.
    pub fn health(&self) -> UpstreamHealth {
        let is_checked = self.settings.load().is_checked;
        let targets = self.targets().iter().map(|target| target.health(is_checked)).collect();
        UpstreamHealth { is_checked, is_healthy: self.usable.load(Ordering::Acquire), targets }
    }

    /// Whether connections to its targets begin with a PROXY header.
    pub(super) fn gets_proxy_headers(&self) -> bool {
        self.with_proxy_header.load(Ordering::Relaxed) > 0
    }

    /// Ends the task with the balancer.
    pub(super) fn keep(&self, task: AbortHandle) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(task);
    }

    /// Ends its tasks: nothing is probed any more.
    pub(super) fn stop(&self) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..).for_each(|task| task.abort());
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for Balancer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Balancer").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A service whose connections to an upstream begin with a PROXY header: as long as there is one, so do probes.
#[derive(Debug)]
pub struct UsesProxyHeader(Arc<Balancer>);

impl UsesProxyHeader {
    /// Of this upstream.
    pub fn new(balancer: Arc<Balancer>) -> Self {
        balancer.with_proxy_header.fetch_add(1, Ordering::Relaxed);
        Self(balancer)
    }
}

impl Drop for UsesProxyHeader {
    fn drop(&mut self) {
        self.0.with_proxy_header.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a new endpoint counts as, so that it does not get all requests at once.
fn mean_latency(members: &[Member]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "far fewer endpoints than are exact")]
    let count = members.len().max(1) as f64;
    members.iter().map(|member| member.endpoint.latency()).sum::<f64>() / count
}
