//! Hosts: creates the [`Host`] of each plugin.

use std::sync::Arc;

use tollgate_core::audit::{AuditLog, NoAuditLog};
use tollgate_core::clock::Clock;
use tollgate_core::entity;
use tollgate_core::random::Random;
use tollgate_core::setting::{SettingError, SettingValues};
use tollgate_http_client::Client;
use tollgate_store::Store;
use uuid::Uuid;

use crate::cache::Trust;
use crate::cache::outage::{NodeTrust, OutageLimit};
use crate::consumers::Consumers;
use crate::factory::Factory;
use crate::host::Host;
use crate::metrics::Metrics;
use crate::shared::Shared;

/// What all plugins share; created once by the gateway.
pub struct Hosts {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The source of randomness.
    pub random: Arc<dyn Random>,
    /// The store.
    pub store: Store,
    /// The HTTP client for other servers.
    pub http_client: Client,
    /// The registry of metrics.
    pub registry: prometheus::Registry,
    /// The values of plugins' settings.
    pub settings: SettingValues,
    node_id: Uuid,
    audit_log: Arc<dyn AuditLog>,
    consumers: Consumers,
    trust: Arc<dyn Trust>,
    outage_limit: OutageLimit,
    shared: Shared,
}

impl Hosts {
    /// Uses this store; subscribes consumers to its changes.
    ///
    /// # Errors
    /// A setting is missing or wrong.
    pub fn new(
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        store: Store,
        http_client: Client,
        registry: prometheus::Registry,
        settings: SettingValues,
    ) -> Result<Self, SettingError> {
        let outage_limit = OutageLimit::read(&settings)?;
        let trust: Arc<dyn Trust> = Arc::new(NodeTrust::new(store.feed().clone(), outage_limit.clone()));
        let collection = store.documents(Arc::new(entity::consumer::kind()));
        let consumers = Consumers::new(collection, Arc::clone(&trust));
        store.feed().subscribe(Arc::new(consumers.clone()));
        let (audit_log, shared) = (Arc::new(NoAuditLog), Shared::default());
        let node_id = Uuid::nil();
        Ok(Self {
            clock,
            random,
            store,
            http_client,
            registry,
            settings,
            node_id,
            audit_log,
            consumers,
            trust,
            outage_limit,
            shared,
        })
    }

    /// How long caches are used while the store is away.
    pub fn outage_limit(&self) -> OutageLimit {
        self.outage_limit.clone()
    }

    /// With an audit log.
    #[must_use]
    pub fn with_audit_log(self, audit_log: Arc<dyn AuditLog>) -> Self {
        Self { audit_log, ..self }
    }

    /// On the node with this id.
    #[must_use]
    pub fn on_node(self, node_id: Uuid) -> Self {
        Self { node_id, ..self }
    }

    /// The host of one plugin.
    pub fn of(&self, factory: &dyn Factory) -> Host {
        let Self { clock, random, store, http_client, registry, settings, audit_log, consumers, trust, shared, .. } =
            self;
        Host {
            node_id: self.node_id,
            clock: Arc::clone(clock),
            random: Arc::clone(random),
            store: store.clone(),
            http_client: http_client.clone(),
            consumers: consumers.clone(),
            trust: Arc::clone(trust),
            audit_log: Arc::clone(audit_log),
            metrics: Metrics::new(registry.clone(), factory.metric_prefixes()),
            settings: settings.clone(),
            shared: shared.clone(),
        }
    }
}
