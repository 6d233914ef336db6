//! Hosts: creates the [`Host`] of each plugin.

use std::sync::Arc;

use tollgate_core::clock::Clock;
use tollgate_core::entity;
use tollgate_core::random::Random;
use tollgate_core::setting::SettingValues;
use tollgate_http_client::Client;
use tollgate_store::Store;

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
    consumers: Consumers,
    shared: Shared,
}

impl Hosts {
    /// Uses this store; subscribes consumers to its changes.
    pub fn new(
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        store: Store,
        http_client: Client,
        registry: prometheus::Registry,
        settings: SettingValues,
    ) -> Self {
        let collection = store.documents(Arc::new(entity::consumer::kind()));
        let consumers = Consumers::new(collection, Arc::new(store.feed().clone()));
        store.feed().subscribe(Arc::new(consumers.clone()));
        Self { clock, random, store, http_client, registry, settings, consumers, shared: Shared::default() }
    }

    /// The host of one plugin.
    pub fn of(&self, factory: &dyn Factory) -> Host {
        let Self { clock, random, store, http_client, registry, settings, consumers, shared } = self;
        Host {
            clock: Arc::clone(clock),
            random: Arc::clone(random),
            store: store.clone(),
            http_client: http_client.clone(),
            consumers: consumers.clone(),
            metrics: Metrics::new(registry.clone(), factory.metric_prefixes()),
            settings: settings.clone(),
            shared: shared.clone(),
        }
    }
}
