//! The running gateway, as a port of the Admin API.

use std::net::SocketAddr;

use async_trait::async_trait;
use serde_json::{Map, Value};
use tollgate_core::collection::Document;
use tollgate_core::error::StoreError;
use tollgate_core::schema::Violations;
use uuid::Uuid;

use crate::health::{HealthReport, UpstreamHealth};
use crate::memory::Memory;

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
    /// Connections whose response is being written.
    pub writing: u64,
    /// Idle connections.
    pub waiting: u64,
    /// Requests on all connections.
    pub requests: u64,
}

/// A log level that the Admin API can set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Every step.
    Trace,
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
    /// All levels.
    pub(crate) const ALL: [Self; 9] = [
        Self::Trace,
        Self::Debug,
        Self::Info,
        Self::Notice,
        Self::Warn,
        Self::Error,
        Self::Crit,
        Self::Alert,
        Self::Emerg,
    ];

    /// The name in paths and responses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
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

    /// The level with that name.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == word)
    }
}

/// Why the health of a target was not set.
#[derive(Debug, thiserror::Error)]
pub enum NotSet {
    /// It has none that could be set; the text is for the client.
    #[error("{0}")]
    Refused(String),
    /// Other nodes could not be told.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a token is not explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unexplained {
    /// There is no such route, or its service is disabled.
    NoRoute,
    /// None of its plugins looks for tokens.
    NoPlugin,
    /// No header can carry the token.
    NotPresentable,
}

/// What came of reading the settings again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SettingsStanding {
    /// What is wrong with those that were read last, of which nothing is in force then.
    pub faults: Vec<String>,
    /// Settings that need a restart to be in force.
    pub needs_restart: Vec<String>,
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

    /// The settings, with secrets masked as `******`. Clients expect `database` and `router_flavor` among
    /// them.
    fn configuration(&self) -> Map<String, Value>;

    /// Connection counters.
    fn connections(&self) -> Connections;

    /// Memory figures.
    fn memory(&self) -> Memory;

    /// Whether the store responds, within a timeout that the implementation chooses.
    async fn database_reachable(&self) -> bool;

    /// All metrics in Prometheus' text format.
    fn metrics(&self) -> String;

    /// The current log level.
    fn log_level(&self) -> LogLevel;

    /// Changes the log level.
    fn set_log_level(&self, level: LogLevel);

    /// What came of reading the settings again; `None`: they never were.
    fn settings_standing(&self) -> Option<SettingsStanding> {
        None
    }

    /// What becomes of a token on the route with this id or name: the verdict, and each check.
    async fn explain(&self, _route: &str, _token: &str) -> Result<Value, Unexplained> {
        Err(Unexplained::NoRoute)
    }

    /// What this node has against an entity of that kind that its schema accepts, such as an address to which it does
    /// not proxy.
    fn objections(&self, _kind: &str, _document: &Document) -> Violations {
        Violations::new()
    }

    /// What this node knows about the targets of an upstream; `None`: it does not know the upstream.
    fn upstream_health(&self, _upstream: Uuid) -> Option<UpstreamHealth> {
        None
    }

    /// Makes a target's addresses, or one of them, healthy or unhealthy, on every node.
    ///
    /// # Errors
    /// The target has no such address, the upstream's targets are not checked, or the store failed.
    async fn set_target_health(
        &self,
        _upstream: Uuid,
        _target: &str,
        _address: Option<SocketAddr>,
        _health: HealthReport,
    ) -> Result<(), NotSet> {
        Err(NotSet::Refused("this node has no upstreams".to_owned()))
    }
}
