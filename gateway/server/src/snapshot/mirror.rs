//! Mirror: the configuration entities as last read by this node, each with its compiled form.
//!
//! Invariant: unchanged entities are not compiled again. A route's regexes are compiled when the
//! route changes, its entry when the route, its service or any plugin does; a new snapshot only
//! arranges them. So a write costs what it changes, plus sorting.
//!
//! Writes refuse routes that do not compile, so a stored one that does not is damaged. It keeps its place, matches
//! whatever it could have matched, and responds 503: no less specific route may serve its requests, and no
//! other change is delayed. If a route cannot even be read, it is unknown what it protected: until
//! it is corrected or deleted, no change takes effect.
//!
//! The routes of a disabled service are left out: requests go to the next route, or get 404.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use tollgate_core::collection::Document;
use tollgate_core::plugin::{Handler, Instance, TrafficMetrics};
use tollgate_core::registry::{Registered, Registry};
use tollgate_router::{CompileError, CompiledRoute, RouteSpec};
use uuid::Uuid;

use super::captures::Captures;
use super::certificates::Certificates;
use super::upstreams::Upstreams;
use super::{RouteEntry, RouteFields, Snapshot};
use crate::chain::{Chain, ChainEntry, ConsumerPlugins, Plugins};
use crate::plugin_choice::{PluginChoice, Rank};
use crate::served::ByName;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::route_metrics::Labels;
use crate::upstream::addresses::Addresses;
use crate::upstream::balancing::{Balancers, UsesProxyHeader};
use crate::upstream::service::{ServiceEntry, ServiceSpec, Verification};
use crate::upstream::trust::{Reference, Trust, TrustSpec, Unusable};

/// A mirrored kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mirrored {
    /// `services`
    Service,
    /// `routes`
    Route,
    /// `plugins`
    Plugin,
    /// `certificates`
    Certificate,
    /// `snis`
    Sni,
    /// `ca_certificates`
    CaCertificate,
    /// `upstreams`
    Upstream,
    /// `targets`
    Target,
}

impl Mirrored {
    /// All kinds; each after those that it refers to, so that nothing is compiled twice when all are read.
    pub(crate) const ALL: [Self; 8] = [
        Self::Certificate,
        Self::Sni,
        Self::CaCertificate,
        Self::Upstream,
        Self::Target,
        Self::Service,
        Self::Route,
        Self::Plugin,
    ];

    /// The name of the kind.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Service => "services",
            Self::Route => "routes",
            Self::Plugin => "plugins",
            Self::Certificate => "certificates",
            Self::Sni => "snis",
            Self::CaCertificate => "ca_certificates",
            Self::Upstream => "upstreams",
            Self::Target => "targets",
        }
    }

    /// The kind with that name.
    pub(crate) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// What is needed to compile plugins and services.
pub(crate) struct Compiler {
    pub(crate) registry: Registry,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) verification: Verification,
    pub(crate) balancers: Arc<Balancers>,
}

/// The entities with their compiled forms.
#[derive(Default)]
pub(crate) struct Mirror {
    services: BTreeMap<Uuid, Service>,
    plugins: BTreeMap<Uuid, Plugin>,
    routes: BTreeMap<Uuid, Route>,
    unreadable_routes: BTreeSet<Uuid>,
    certificates: Certificates,
    upstreams: Upstreams,
    choice: PluginChoice,
    consumers: Option<Arc<ConsumerPlugins>>,
    changed: Changed,
}

/// Changes that the last snapshot does not contain yet.
#[derive(Debug, Default)]
struct Changed {
    services: BTreeSet<Uuid>,
    /// Certificates and authorities that services may refer to.
    trust: BTreeSet<Uuid>,
    /// A certificate or a server name.
    served: bool,
    plugins: bool,
    /// A route was created, deleted or changed.
    routes: bool,
}

struct Service {
    /// The name, or else the host.
    label: String,
    /// Its host and port, which may be an upstream's.
    host: Box<str>,
    port: u16,
    enabled: bool,
    /// `None`: requests are not proxied to it.
    entry: Option<Arc<ServiceEntry>>,
    /// If its connections to an upstream begin with a PROXY header.
    proxy_header: Option<UsesProxyHeader>,
    /// The service, if it refers to certificates: it is compiled again when they change.
    document: Option<Box<Document>>,
}

struct Plugin {
    document: Arc<Document>,
    /// `None`: it does not compile, and routes that need it are refused.
    link: Option<ChainLink>,
}

/// A compiled plugin instance, and its plugin.
#[derive(Clone)]
struct ChainLink {
    name: &'static str,
    priority: i32,
    handler: Arc<dyn Handler>,
}

impl ChainLink {
    fn entry(&self, rank: Rank) -> ChainEntry {
        ChainEntry::new(self.name, self.priority, rank, Arc::clone(&self.handler))
    }
}

struct Route {
    matcher: Arc<CompiledRoute>,
    captures: Captures,
    condition: Condition,
    fields: RouteFields,
    service: Option<Uuid>,
    /// `None`: something it depends on has changed.
    entry: Option<Arc<RouteEntry>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Sound,
    /// It does not compile: the matcher covers what it could match, and those requests are refused.
    Damaged,
}

/// Why the current configuration cannot take effect.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    /// A stored route is unreadable.
    #[error("cannot read stored route {0}; correct or delete it through the Admin API or in the database")]
    Unreadable(Uuid),
    /// There are too many routes.
    #[error(transparent)]
    Router(#[from] CompileError),
}

impl Mirror {
    /// Updates an entity; `None`: it was deleted.
    pub(crate) fn set(&mut self, compiler: &Compiler, kind: Mirrored, id: Uuid, document: Option<Document>) {
        match kind {
            Mirrored::Service => {
                put(&mut self.services, id, document.map(|document| compiler.service(document, &self.certificates)));
                self.changed.services.insert(id);
            }
            Mirrored::Plugin => {
                put(&mut self.plugins, id, document.map(|document| compiler.plugin(document)));
                self.changed.plugins = true;
            }
            Mirrored::Route => {
                let route = document.map(|document| compiler.route(&document));
                match route {
                    Some(None) => drop(self.unreadable_routes.insert(id)),
                    _ => drop(self.unreadable_routes.remove(&id)),
                }
                put(&mut self.routes, id, route.flatten());
                self.changed.routes = true;
            }
            Mirrored::Certificate => {
                self.certificates.set_certificate(id, document.as_ref());
                self.changed.served = true;
                self.changed.trust.insert(id);
            }
            Mirrored::Sni => {
                self.certificates.set_name(id, document.as_ref());
                self.changed.served = true;
            }
            Mirrored::Upstream => self.upstreams.set(id, document.as_ref()),
            Mirrored::Target => self.upstreams.set_target(id, document.as_ref()),
            Mirrored::CaCertificate => {
                self.certificates.set_authority(id, document.as_ref());
                self.changed.trust.insert(id);
            }
        }
    }

    /// Makes the next snapshot include everything.
    pub(crate) fn set_all_changed(&mut self) {
        self.changed.routes = true;
        self.changed.served = true;
        self.upstreams.set_all_changed();
    }

    /// Changes the upstreams that have changed, and has the services whose host is one of their names go there.
    fn renew_upstreams(&mut self, compiler: &Compiler) {
        let names = self.upstreams.renew(&compiler.balancers, &self.certificates, &self.changed.trust);
        if names.is_empty() {
            return;
        }
        let affected = |service: &Service| names.contains(&service.host.to_ascii_lowercase());
        for (id, service) in self.services.iter_mut().filter(|(_, service)| affected(service)) {
            if let Some(entry) = &service.entry {
                let addresses = compiler.addresses(&service.host, service.port);
                let entry = Arc::new(entry.at(addresses));
                service.proxy_header = compiler.proxy_header(&entry);
                service.entry = Some(entry);
                self.changed.services.insert(*id);
            }
        }
    }

    /// Ends the upstreams that were deleted.
    pub(crate) fn end_upstreams(&mut self, compiler: &Compiler) {
        self.upstreams.end(&compiler.balancers);
    }

    /// The certificates by server name, if they have changed since the last call.
    pub(crate) fn take_served(&mut self) -> Option<ByName> {
        std::mem::take(&mut self.changed.served).then(|| self.certificates.by_name())
    }

    /// Compiles the services again whose certificates or authorities have changed.
    fn renew_services(&mut self, compiler: &Compiler) {
        let changed = std::mem::take(&mut self.changed.trust);
        if changed.is_empty() {
            return;
        }
        for (id, service) in &mut self.services {
            let affected = |document: &Document| references(document).any(|id| changed.contains(&id));
            if let Some(document) = service.document.take_if(|document| affected(document)) {
                *service = compiler.service(*document, &self.certificates);
                self.changed.services.insert(*id);
            }
        }
    }

    /// A snapshot with all changes. `None`: the last one has them.
    ///
    /// # Errors
    /// A route is unreadable, or there are too many routes.
    pub(crate) fn snapshot(&mut self, compiler: &Compiler) -> Result<Option<Snapshot>, SnapshotError> {
        if let Some(id) = self.unreadable_routes.first() {
            return Err(SnapshotError::Unreadable(*id));
        }
        self.renew_upstreams(compiler);
        self.renew_services(compiler);
        if self.changed.plugins {
            self.choice = PluginChoice::new(self.plugins.values().map(|plugin| &plugin.document));
            self.consumers = consumers(&self.choice, &self.plugins);
            compiler.metrics.export_target_health(wants_target_health(&self.plugins));
        }
        for route in self.routes.values_mut() {
            let service_changed = route.service.is_some_and(|id| self.changed.services.contains(&id));
            if self.changed.plugins || service_changed {
                route.entry = None;
                self.changed.routes = true;
            }
        }
        let served = self.changed.served;
        if !self.changed.routes {
            self.changed = Changed { served, ..Changed::default() };
            return Ok(None);
        }
        let mut routes = Vec::with_capacity(self.routes.len());
        let named = |(id, route): (&Uuid, &Route)| Some((*id, route.captures.named()?));
        let captures = self.routes.iter().filter_map(named).collect();
        for route in self.routes.values_mut() {
            let service = route.service.and_then(|id| self.services.get(&id));
            if service.is_some_and(|service| !service.enabled) {
                continue;
            }
            let make = || {
                let chain = match route.condition {
                    Condition::Sound => chain(&self.choice, &self.plugins, self.consumers.as_ref(), route),
                    Condition::Damaged => Chain::Uncompilable("route_uncompilable"),
                };
                Arc::new(entry(compiler, chain, service, route))
            };
            let entry = route.entry.clone().unwrap_or_else(make);
            route.entry = Some(Arc::clone(&entry));
            routes.push((Arc::clone(&route.matcher), entry));
        }
        let snapshot = Snapshot::of_compiled(routes)?.with_captures(captures);
        self.changed = Changed { served, ..Changed::default() };
        Ok(Some(snapshot))
    }
}

impl Compiler {
    fn service(&self, document: Document, certificates: &Certificates) -> Service {
        let label = document.text("name").or_else(|| document.text("host")).unwrap_or_default().to_owned();
        let enabled = document.flag("enabled") != Some(false);
        let host = document.text("host").unwrap_or_default().into();
        let port = document.integer("port").and_then(|port| u16::try_from(port).ok()).unwrap_or_default();
        let entry = self.service_entry(&document, certificates).map(Arc::new);
        let refers = references(&document).next().is_some();
        let proxy_header = entry.as_deref().and_then(|entry| self.proxy_header(entry));
        Service { label, host, port, enabled, entry, proxy_header, document: refers.then(|| Box::new(document)) }
    }

    /// Those of a host, which may be the name of an upstream.
    fn addresses(&self, host: &str, port: u16) -> Addresses {
        match self.balancers.by_name(host) {
            Some(balancer) => Addresses::of_upstream(balancer),
            None => Addresses::new(host, port, self.balancers.network()),
        }
    }

    /// Has probes begin with a PROXY header, if the service's connections to an upstream do.
    fn proxy_header(&self, service: &ServiceEntry) -> Option<UsesProxyHeader> {
        let balancer = service.balancer()?;
        let version = self.balancers.announcements().version_for(service.id, &service.label);
        version.map(|_| UsesProxyHeader::new(Arc::clone(balancer)))
    }

    fn service_entry(&self, document: &Document, certificates: &Certificates) -> Option<ServiceEntry> {
        let spec: ServiceSpec = read("services", document)?;
        let terms: TrustSpec = read("services", document)?;
        let trust = match trust(&terms, certificates) {
            Ok(trust) => trust,
            Err(error) => {
                tracing::error!(service = %spec.id, %error, "invalid TLS of an upstream; requests to the service are refused");
                return None;
            }
        };
        match ServiceEntry::new(&spec, self.verification, self.addresses(&spec.host, spec.port)) {
            Ok(entry) => Some(entry.with_trust(trust)),
            Err(error) => {
                tracing::error!(service = %spec.id, %error, "invalid upstream host; requests to the service are refused");
                None
            }
        }
    }

    fn plugin(&self, document: Document) -> Plugin {
        let link = self.chain_link(&document);
        Plugin { document: Arc::new(document), link }
    }

    fn chain_link(&self, document: &Document) -> Option<ChainLink> {
        let name = document.text("name")?;
        let Some(Registered { definition, plugin }) = self.registry.plugin(name) else {
            tracing::error!(plugin = name, "unknown plugin; requests to its routes are refused");
            return None;
        };
        let instance = Instance {
            id: document.id()?,
            service_id: document.reference("service"),
            route_id: document.reference("route"),
            config: document.get("config")?,
        };
        match plugin.compile(&instance) {
            Ok(handler) => Some(ChainLink { name: definition.name, priority: definition.priority, handler }),
            Err(error) => {
                let cause = &error as &dyn std::error::Error;
                tracing::error!(plugin = name, id = %instance.id, error = cause, "cannot compile plugin; requests to its routes are refused");
                None
            }
        }
    }

    fn route(&self, document: &Document) -> Option<Route> {
        let spec: RouteSpec = read("routes", document)?;
        let fields: RouteFields = read("routes", document)?;
        let mut faults = Vec::new();
        let matcher = Arc::new(CompiledRoute::covering(&spec, &mut faults));
        for fault in &faults {
            let cause = fault as &dyn std::error::Error;
            tracing::error!(route = %spec.id, error = cause, "cannot compile route; its requests are refused");
        }
        let condition = if faults.is_empty() { Condition::Sound } else { Condition::Damaged };
        let captures = Captures::new(&spec.paths);
        Some(Route { matcher, captures, condition, fields, service: document.reference("service"), entry: None })
    }
}

/// The certificates and authorities that a service refers to.
fn references(document: &Document) -> impl Iterator<Item = Uuid> {
    let authorities = document.texts("ca_certificates").filter_map(|id| Uuid::parse_str(id).ok());
    document.reference("client_certificate").into_iter().chain(authorities)
}

/// The terms of TLS with a service's upstream. A part that cannot be used is not left out: connections would be less
/// safe than they were meant to be.
fn trust(terms: &TrustSpec, certificates: &Certificates) -> Result<Option<Trust>, Unusable> {
    let client = terms
        .client_certificate
        .map(|Reference { id }| certificates.certificate(id).ok_or(Unusable { field: "client_certificate", id }));
    let authority =
        |id: &Uuid| certificates.authority(*id).cloned().ok_or(Unusable { field: "ca_certificates", id: *id });
    let authorities = terms.ca_certificates.as_ref().filter(|ids| !ids.is_empty());
    let authorities = authorities.map(|ids| ids.iter().map(authority).collect::<Result<Vec<_>, _>>()).transpose()?;
    let client = client.transpose()?;
    Ok(Trust::new(client.map(|client| client.primary()), authorities, terms.tls_verify_depth))
}

fn entry(compiler: &Compiler, chain: Chain, service: Option<&Service>, route: &Route) -> RouteEntry {
    let labels = Labels {
        service: service.map(|service| service.label.to_string()).unwrap_or_default(),
        route: route.fields.name.clone().unwrap_or_else(|| route.fields.id.to_string()),
    };
    let upstream = service.and_then(|service| service.entry.clone());
    let metrics = compiler.metrics.route(labels);
    metrics.export(match &chain {
        Chain::Ready(plugins) => plugins.traffic_metrics(),
        Chain::Uncompilable(_) => TrafficMetrics::default(),
    });
    let mut entry = RouteEntry::new(&route.fields, upstream, chain, metrics);
    // Tokens are bound to the service even if requests cannot be proxied to it.
    entry.target.service_id = route.service;
    entry
}

/// Compiles the plugin chain of a route.
fn chain(
    choice: &PluginChoice,
    plugins: &BTreeMap<Uuid, Plugin>,
    consumers: Option<&Arc<ConsumerPlugins>>,
    route: &Route,
) -> Chain {
    let chosen = choice.for_route(route.fields.id, route.service);
    let entries = chosen.into_iter().map(|(rank, instance)| Some(link(plugins, instance)?.entry(rank)));
    match entries.collect::<Option<Vec<_>>>() {
        Some(entries) => Chain::Ready(Plugins::new(entries, consumers.cloned())),
        None => Chain::Uncompilable("plugin_uncompilable"),
    }
}

/// Whether an instance wants the health of targets to be exported, or none says anything about it.
fn wants_target_health(plugins: &BTreeMap<Uuid, Plugin>) -> bool {
    let enabled = plugins.values().filter(|plugin| plugin.document.flag("enabled") != Some(false));
    let mut said = enabled.filter_map(|plugin| plugin.link.as_ref()?.handler.traffic_metrics()).peekable();
    said.peek().is_none() || said.any(|metrics| metrics.target_health)
}

/// The consumer-scoped instances; `None`: there are none.
fn consumers(choice: &PluginChoice, plugins: &BTreeMap<Uuid, Plugin>) -> Option<Arc<ConsumerPlugins>> {
    let mut consumers = ConsumerPlugins::default();
    for (binding, instance) in choice.of_consumers() {
        let name = instance.text("name").unwrap_or_default();
        if let Some(consumer) = binding.consumer {
            let entry = link(plugins, instance).map(|link| link.entry(binding.rank()));
            consumers.add(consumer, name, *binding, entry);
        }
    }
    consumers.shared()
}

/// `None`: the instance does not compile.
fn link<'p>(plugins: &'p BTreeMap<Uuid, Plugin>, instance: &Document) -> Option<&'p ChainLink> {
    plugins.get(&instance.id()?)?.link.as_ref()
}

pub(super) fn put<T>(map: &mut BTreeMap<Uuid, T>, id: Uuid, value: Option<T>) {
    match value {
        Some(value) => drop(map.insert(id, value)),
        None => drop(map.remove(&id)),
    }
}

pub(super) fn read<T: DeserializeOwned>(kind: &'static str, document: &Document) -> Option<T> {
    match document.read() {
        Ok(value) => Some(value),
        Err(error) => {
            let id = document.text("id").unwrap_or_default();
            tracing::error!(kind, id, %error, "cannot read stored entity");
            None
        }
    }
}

#[cfg(test)]
#[path = "mirror_tests.rs"]
mod tests;
