//! What only the running gateway knows, and the endpoints that show it (gateway.md §2.5).

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use tollgate_core::collection::{Filter, PageQuery};
use uuid::Uuid;

use crate::API_VERSION;
use crate::answer::{Answer, Failure};
use crate::memory::Memory;
use crate::query::Query;
use crate::state::AdminState;

/// How long `/status` waits for the store: less than the second that probes commonly wait for it.
const PROBE: Duration = Duration::from_millis(500);

/// Counters of the proxy's connections since the start.
#[derive(Debug, Clone, Copy, Default)]
pub struct Connections {
    /// Accepted connections.
    pub accepted: u64,
    /// Open connections.
    pub active: u64,
    /// Connections that were served.
    pub handled: u64,
    /// Connections whose request is being read.
    pub reading: u64,
    /// Connections whose answer is being written.
    pub writing: u64,
    /// Idle connections.
    pub waiting: u64,
    /// Requests on all of them.
    pub requests: u64,
}

/// A log level that the Admin API can set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// What happened.
    Info,
    /// What an operator may want to know.
    Notice,
    /// What may need attention.
    Warn,
    /// What failed.
    Error,
    /// What failed badly.
    Crit,
    /// What needs action at once.
    Alert,
    /// What makes the gateway unusable.
    Emerg,
}

impl LogLevel {
    const ALL: [Self; 8] =
        [Self::Debug, Self::Info, Self::Notice, Self::Warn, Self::Error, Self::Crit, Self::Alert, Self::Emerg];

    /// The word in paths and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Crit => "crit",
            Self::Alert => "alert",
            Self::Emerg => "emerg",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == word)
    }
}

/// The running gateway, as the Admin API shows it.
#[async_trait]
pub trait Node: Send + Sync + 'static {
    /// This node's id, the same after a restart.
    fn id(&self) -> Uuid;

    /// The machine's name.
    fn hostname(&self) -> String;

    /// The process.
    fn pid(&self) -> u32;

    /// The settings, secrets already masked as `******`. Clients expect `database` and
    /// `router_flavor` among them.
    fn configuration(&self) -> Map<String, Value>;

    /// Connection counters.
    fn connections(&self) -> Connections;

    /// Memory figures.
    fn memory(&self) -> Memory;

    /// Whether the store answers now, within a bound of the implementation's choice.
    async fn database_reachable(&self) -> bool;

    /// All metrics in Prometheus' text format.
    fn metrics(&self) -> String;

    /// The log level in force.
    fn log_level(&self) -> LogLevel;

    /// Changes the log level.
    fn set_log_level(&self, level: LogLevel);
}

/// `GET /`.
pub(crate) async fn information(state: &AdminState) -> Result<Answer, Failure> {
    let node = &state.node;
    let available: Map<String, Value> = state
        .registry
        .plugins()
        .map(|plugin| (plugin.name().to_owned(), json!({ "version": API_VERSION, "priority": plugin.priority() })))
        .collect();
    Ok(Answer::ok(&json!({
        "tagline": "Welcome to kong",
        "version": API_VERSION,
        "edition": "community",
        "hostname": node.hostname(),
        "node_id": node.id(),
        "timers": { "running": 0, "pending": 0 },
        "plugins": { "available_on_server": available, "enabled_in_cluster": configured_plugins(state).await? },
        // Clients only check that it is there; no Lua runs here.
        "lua_version": "none",
        "configuration": node.configuration(),
        "pids": { "master": node.pid(), "workers": [node.pid()] },
    })))
}

/// The names of the plugins that have an instance, each once.
async fn configured_plugins(state: &AdminState) -> Result<BTreeSet<String>, Failure> {
    let mut names = BTreeSet::new();
    let Some(plugins) = state.registry.collection("plugins") else { return Ok(names) };
    let mut query = PageQuery { filter: Filter::All, after: None, size: 1000 };
    loop {
        let page = plugins.page(&query).await?;
        names.extend(page.documents.iter().filter_map(|plugin| plugin.get("name")?.as_str().map(str::to_owned)));
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(names),
        }
    }
}

/// `GET /status`.
pub(crate) async fn status(state: &AdminState, query: &Query) -> Result<Answer, Failure> {
    let memory = state.node.memory().publish(query)?;
    let connections = state.node.connections();
    Ok(Answer::ok(&json!({
        "memory": memory,
        "server": {
            "connections_accepted": connections.accepted,
            "connections_active": connections.active,
            "connections_handled": connections.handled,
            "connections_reading": connections.reading,
            "connections_writing": connections.writing,
            "connections_waiting": connections.waiting,
            "total_requests": connections.requests,
        },
        "database": { "reachable": database_reachable(state).await },
    })))
}

/// Whether the store answers before a probe loses its patience.
async fn database_reachable(state: &AdminState) -> bool {
    tokio::time::timeout(PROBE, state.node.database_reachable()).await.unwrap_or(false)
}

/// `GET /timers`. The gateway has no timers of the kind that are counted here.
pub(crate) fn timers() -> Answer {
    let stats = json!({ "sys": { "running": 0, "pending": 0, "waiting": 0, "total": 0, "runs": 0 }, "timers": {} });
    Answer::ok(&json!({ "worker": { "id": 0, "count": 1 }, "stats": stats }))
}

/// `GET /plugins/enabled`.
pub(crate) fn enabled_plugins(state: &AdminState) -> Answer {
    let names: Vec<&str> = state.registry.plugins().map(|plugin| plugin.name()).collect();
    Answer::ok(&json!({ "enabled_plugins": names }))
}

/// `GET /debug/node/log-level`.
pub(crate) fn log_level(state: &AdminState) -> Answer {
    Answer::ok(&json!({ "message": format!("log level: {}", state.node.log_level().as_str()) }))
}

/// `PUT /debug/node/log-level/{level}`.
pub(crate) fn set_log_level(state: &AdminState, word: &str) -> Result<Answer, Failure> {
    let level = LogLevel::parse(word).ok_or_else(|| Failure::UnknownLogLevel(word.to_owned()))?;
    if level == state.node.log_level() {
        return Ok(Answer::ok(&json!({ "message": format!("log level is already {}", level.as_str()) })));
    }
    state.node.set_log_level(level);
    Ok(Answer::ok(&json!({ "message": "log level changed" })))
}
