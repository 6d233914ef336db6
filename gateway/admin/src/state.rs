//! The state shared by the handlers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tollgate_core::audit::{AuditLog, NoAuditLog};
use tollgate_core::clock::Clock;
use tollgate_core::collection::{Collection, TagIndex};
use tollgate_core::random::Random;
use tollgate_core::registry::Registry;
use tollgate_core::schema::{Makers, Schema};

use crate::access::Access;
use crate::declarations::Declarations;
use crate::node::Node;

/// Limits on requests to the Admin API.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The maximum size of a request body in bytes; larger bodies get 413.
    pub body_bytes: usize,
    /// How long a body may take to arrive; slower ones get 408.
    pub body_timeout: Duration,
    /// How many requests are handled concurrently; further ones get 503.
    pub concurrent_requests: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { body_bytes: 10 * 1024 * 1024, body_timeout: Duration::from_secs(30), concurrent_requests: 128 }
    }
}

/// The registry, the node and the ports of the Admin API. Created once in the composition root.
pub struct AdminState {
    pub(crate) registry: Registry,
    pub(crate) tags: Arc<dyn TagIndex>,
    pub(crate) node: Arc<dyn Node>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) limits: Limits,
    pub(crate) access: Access,
    pub(crate) audit: Arc<dyn AuditLog>,
    pub(crate) slots: Semaphore,
    /// `None`: the configuration is in the database.
    pub(crate) declarations: Option<Arc<dyn Declarations>>,
    /// Whether the console is served.
    pub(crate) console: bool,
    plugin_schemas: BTreeMap<&'static str, Schema>,
}

impl AdminState {
    /// Serves what is registered, on loopback, to whoever reaches it, without an audit log.
    pub fn new(
        registry: Registry,
        tags: Arc<dyn TagIndex>,
        node: Arc<dyn Node>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        limits: Limits,
    ) -> Self {
        let definitions = registry.plugins().map(|plugin| &plugin.definition);
        let plugin_schemas = definitions.map(|plugin| (plugin.name, plugin.instance_schema())).collect();
        let slots = Semaphore::new(limits.concurrent_requests);
        let (access, audit) = (Access::default(), Arc::new(NoAuditLog));
        Self {
            registry,
            tags,
            node,
            clock,
            random,
            limits,
            access,
            audit,
            slots,
            declarations: None,
            console: false,
            plugin_schemas,
        }
    }

    /// With other rules for who may call it.
    #[must_use]
    pub fn with_access(self, access: Access) -> Self {
        Self { access, ..self }
    }

    /// With an audit log.
    #[must_use]
    pub fn with_audit_log(self, audit: Arc<dyn AuditLog>) -> Self {
        Self { audit, ..self }
    }

    /// With a configuration that comes from a file.
    #[must_use]
    pub fn with_declarations(self, declarations: Arc<dyn Declarations>) -> Self {
        Self { declarations: Some(declarations), ..self }
    }

    /// With the console at `/ui`.
    #[must_use]
    pub fn with_console(self) -> Self {
        Self { console: true, ..self }
    }

    /// The schema of a `plugins` entity of that name, its `config` included.
    pub(crate) fn plugin_schema(&self, name: &str) -> Option<&Schema> {
        self.plugin_schemas.get(name)
    }

    /// The sources of ids, times and random strings.
    pub(crate) fn makers(&self) -> Makers<'_> {
        Makers { clock: self.clock.as_ref(), random: self.random.as_ref() }
    }

    /// The kinds that have paths, ordered by name.
    pub(crate) fn served(&self) -> impl Iterator<Item = &Arc<dyn Collection>> {
        self.registry.collections().filter(|collection| collection.kind().admin)
    }
}
