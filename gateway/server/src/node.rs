//! Node information for the Admin API.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use tollgate_admin::{
    Connections, HealthReport, LogLevel, Memory, MemoryWorker, Node, NotSet, SettingsStanding, Unexplained,
    UpstreamHealth,
};
use tollgate_core::collection::Document;
use tollgate_core::random::{Random as _, SystemRandom};
use tollgate_core::schema::Violations;
use tollgate_plugin::http_client::{Destinations, Purpose};
use tollgate_store::{Abort, Store};
use uuid::Uuid;

use crate::declarative::Objections;
use crate::explain::Explainer;
use crate::log;
use crate::proxy::Listener;
use crate::settings::{ConfigurationSource, Settings};
use crate::status::{export, responds};
use crate::telemetry::metrics::Metrics;
use crate::upstream::balancing::{self, Balancers};

/// This node.
pub struct ThisNode {
    id: Uuid,
    configuration: Mutex<Map<String, Value>>,
    standing: Mutex<Option<SettingsStanding>>,
    store: Store,
    registry: prometheus::Registry,
    metrics: Arc<Metrics>,
    log: log::Handle,
    level: Mutex<LogLevel>,
    upstreams: Arc<Destinations>,
    balancers: Option<Arc<Balancers>>,
    explainer: Explainer,
}

impl ThisNode {
    /// Describes a node with these settings.
    pub fn new(
        id: Uuid,
        settings: &Settings,
        store: Store,
        registry: prometheus::Registry,
        metrics: Arc<Metrics>,
        log: log::Handle,
        explainer: Explainer,
    ) -> Self {
        let level = level_of(settings);
        let (configuration, standing) = (Mutex::new(published(settings)), Mutex::new(None));
        let upstreams = upstream_destinations(settings);
        let (level, balancers) = (Mutex::new(level), None);
        Self { id, configuration, standing, store, registry, metrics, log, level, upstreams, balancers, explainer }
    }

    /// Shows these settings from now on.
    pub fn set_configuration(&self, settings: &Settings) {
        *lock(&self.configuration) = published(settings);
    }

    /// Logs as these settings say from now on.
    pub fn set_level(&self, settings: &Settings) {
        self.set_log_level(level_of(settings));
    }

    /// Shows what came of reading the settings again.
    pub fn set_settings_standing(&self, standing: SettingsStanding) {
        *lock(&self.standing) = Some(standing);
    }

    /// Shows what is wrong with settings of which nothing is in force.
    pub fn refuse_settings(&self, faults: Vec<String>) {
        lock(&self.standing).get_or_insert_default().faults = faults;
    }

    /// With what is known about the targets of upstreams.
    #[must_use]
    pub fn with_upstreams(self, balancers: Arc<Balancers>) -> Self {
        Self { balancers: Some(balancers), ..self }
    }

    /// What speaks against setting the health of a target.
    fn settable(&self, upstream: Uuid, target: &str, address: Option<SocketAddr>) -> Result<(), String> {
        let balancer = self.balancers.as_ref().and_then(|balancers| balancers.get(upstream));
        let Some(balancer) = balancer else { return Err("the upstream is unknown to this node".to_owned()) };
        if !balancer.health().is_checked {
            return Err(format!("no healthchecker found for {}", balancer.name()));
        }
        if balancer.has(target, address) { Ok(()) } else { Err("target not found".to_owned()) }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn level_of(settings: &Settings) -> LogLevel {
    match settings.log_level {
        tracing::Level::ERROR => LogLevel::Error,
        tracing::Level::WARN => LogLevel::Warn,
        tracing::Level::INFO => LogLevel::Info,
        tracing::Level::DEBUG => LogLevel::Debug,
        tracing::Level::TRACE => LogLevel::Trace,
    }
}

/// Where this gateway's own calls may go: not to itself.
pub fn outbound_destinations(settings: &Settings) -> Destinations {
    Destinations::new(settings.outbound_allowed.iter().copied(), settings.listeners())
}

/// The addresses to which requests are proxied.
pub fn upstream_destinations(settings: &Settings) -> Arc<Destinations> {
    let allowed = settings.proxy.allowed_upstreams.iter().copied();
    Arc::new(Destinations::new(allowed, settings.listeners()).for_purpose(Purpose::Upstreams))
}

/// What a node that proxies to these addresses has against entities.
pub fn objections(upstreams: Arc<Destinations>) -> Objections {
    Arc::new(move |kind, document| objections_to(&upstreams, kind.name, document))
}

/// The host of a service or target is refused where it is an address; a name is resolved, and checked, when it is used.
fn objections_to(upstreams: &Destinations, kind: &str, document: &Document) -> Violations {
    let (field, (host, port)) = match kind {
        "services" => {
            let port = document.get("port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
            ("host", (document.text("host").unwrap_or_default(), port.unwrap_or_default()))
        }
        "targets" => {
            let (host, port) = document.text("target").and_then(|text| text.rsplit_once(':')).unwrap_or_default();
            ("target", (host, port.parse().unwrap_or_default()))
        }
        _ => return Violations::new(),
    };
    match upstreams.check_literal(host.trim_matches(['[', ']']), port) {
        Ok(()) => Violations::new(),
        Err(refused) => Violations::of_field(field, refused.to_string()),
    }
}

/// Lists no secrets: the whole database URL is omitted, since it may contain a
/// password.
fn published(settings: &Settings) -> Map<String, Value> {
    let database = match settings.configuration {
        // Tools that write entities see by it that they cannot.
        ConfigurationSource::File { .. } => "off",
        ConfigurationSource::Database if settings.database.is_embedded() => "sqlite",
        ConfigurationSource::Database => "postgres",
    };
    let listen = |listener: Option<Listener>| listener.map(|listener| listener.to_string());
    let trusted: Vec<String> = settings.trusted_ips.iter().map(ToString::to_string).collect();
    let value = json!({
        "database": database,
        "database_url": "******",
        "router_flavor": "traditional_compatible",
        "proxy_listen": [listen(settings.proxy.http_listen), listen(settings.proxy.https_listen)],
        "admin_listen": [settings.admin.listen.to_string()],
        "status_listen": [settings.status_listen.to_string()],
        "trusted_ips": trusted,
        "role": "traditional",
    });
    value.as_object().cloned().unwrap_or_default()
}

#[async_trait]
impl Node for ThisNode {
    fn id(&self) -> Uuid {
        self.id
    }

    fn hostname(&self) -> String {
        let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        name.trim().to_owned()
    }

    fn pid(&self) -> u32 {
        std::process::id()
    }

    fn configuration(&self) -> Map<String, Value> {
        lock(&self.configuration).clone()
    }

    fn settings_standing(&self) -> Option<SettingsStanding> {
        lock(&self.standing).clone()
    }

    fn connections(&self) -> Connections {
        let seen = self.metrics.traffic();
        Connections {
            accepted: seen.accepted,
            active: seen.open,
            handled: seen.accepted,
            reading: 0,
            writing: seen.under_way,
            waiting: seen.open.saturating_sub(seen.under_way),
            requests: seen.requests,
        }
    }

    fn memory(&self) -> Memory {
        // The second number in statm is the resident set, in pages of 4 KiB.
        let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0);
        let worker = MemoryWorker { pid: std::process::id(), allocated: pages * 4096 };
        Memory { regions: Vec::new(), workers: vec![worker] }
    }

    async fn database_reachable(&self) -> bool {
        responds(&self.store).await
    }

    fn metrics(&self) -> String {
        String::from_utf8(export(&self.registry)).unwrap_or_default()
    }

    fn log_level(&self) -> LogLevel {
        *lock(&self.level)
    }

    fn objections(&self, kind: &str, document: &Document) -> Violations {
        objections_to(&self.upstreams, kind, document)
    }

    fn upstream_health(&self, upstream: Uuid) -> Option<UpstreamHealth> {
        Some(self.balancers.as_ref()?.get(upstream)?.health())
    }

    async fn set_target_health(
        &self,
        upstream: Uuid,
        target: &str,
        address: Option<SocketAddr>,
        health: HealthReport,
    ) -> Result<(), NotSet> {
        self.settable(upstream, target, address).map_err(NotSet::Refused)?;
        let change = balancing::said(upstream, target, address, health);
        let write = self.store.transaction(change, async |change, tx| {
            tx.record(change.clone()).await?;
            Ok::<_, Abort>(())
        });
        Ok(write.await?)
    }

    async fn explain(&self, route: &str, token: &str) -> Result<Value, Unexplained> {
        let mut explanation = self.explainer.explain(route, token).await?;
        if let Some(members) = explanation.as_object_mut() {
            members.insert("changes_heard_seconds_ago".to_owned(), self.store.feed().age().as_secs_f64().into());
        }
        Ok(explanation)
    }

    fn set_log_level(&self, level: LogLevel) {
        *lock(&self.level) = level;
        self.log.set_level(match level {
            LogLevel::Trace => tracing::Level::TRACE,
            LogLevel::Debug => tracing::Level::DEBUG,
            LogLevel::Info | LogLevel::Notice => tracing::Level::INFO,
            LogLevel::Warn => tracing::Level::WARN,
            LogLevel::Error | LogLevel::Crit | LogLevel::Alert | LogLevel::Emerg => tracing::Level::ERROR,
        });
    }
}

/// The id of this node: created on first start, kept in the data directory.
pub fn id(data_directory: &Path) -> io::Result<Uuid> {
    let path = data_directory.join("node_id");
    if let Ok(text) = fs::read_to_string(&path)
        && let Ok(id) = text.trim().parse()
    {
        return Ok(id);
    }
    let id = SystemRandom.uuid();
    fs::create_dir_all(data_directory)?;
    fs::write(path, id.to_string())?;
    Ok(id)
}
