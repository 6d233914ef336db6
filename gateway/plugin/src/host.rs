//! Host: what the gateway provides to a plugin that starts.

use std::convert::Infallible;
use std::sync::Arc;

use tollgate_core::audit::AuditLog;
use tollgate_core::clock::Clock;
use tollgate_core::collection::Collection;
use tollgate_core::entity;
use tollgate_core::random::Random;
use tollgate_core::setting::SettingValues;
use tollgate_http_client::Client;
use tollgate_store::Store;
use uuid::Uuid;

use crate::cache::Trust;
use crate::consumers::Consumers;
use crate::metrics::Metrics;
use crate::shared::Shared;

/// The gateway as seen by a plugin. Cheap to clone.
#[derive(Clone)]
pub struct Host {
    /// The id of this node.
    pub node_id: Uuid,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The source of randomness.
    pub random: Arc<dyn Random>,
    /// Entities, the plugin's own tables, the change feed, and secrets shared by all nodes.
    pub store: Store,
    /// The HTTP client for other servers: one for all plugins, each with its own profiles.
    pub http_client: Client,
    /// Consumers, shared by all authentication plugins.
    pub consumers: Consumers,
    /// Where what a plugin issues, and whom it refuses, is recorded.
    pub audit_log: Arc<dyn AuditLog>,
    /// Metrics under the plugin's prefixes.
    pub metrics: Metrics,
    /// The values of plugins' settings.
    pub settings: SettingValues,
    pub(crate) trust: Arc<dyn Trust>,
    pub(crate) shared: Shared,
}

impl Host {
    /// Whether cached data may be used, that is, whether this node still receives every change, or the store is away.
    pub fn trust(&self) -> Arc<dyn Trust> {
        Arc::clone(&self.trust)
    }

    /// The routes.
    pub fn routes(&self) -> Arc<dyn Collection> {
        self.store.documents(Arc::new(entity::route::kind()))
    }

    /// The services.
    pub fn services(&self) -> Arc<dyn Collection> {
        self.store.documents(Arc::new(entity::service::kind()))
    }

    /// What several plugins share, such as one cache: the gateway has one value of each type, made by the first plugin
    /// that asks. So metrics made with it have that plugin's prefixes: all that share it declare the same ones.
    ///
    /// `make` is not called again while the gateway runs. It must not ask for the type that it makes.
    pub fn shared<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let Ok(made) = self.try_shared(|| Ok::<_, Infallible>(make()));
        made
    }

    /// The same, where it may fail: then nothing is shared, and the next plugin that asks makes it.
    ///
    /// # Errors
    /// That of `make`.
    pub fn try_shared<T, E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<Arc<T>, E>
    where
        T: Send + Sync + 'static,
    {
        self.shared.get_or_make(make)
    }

    /// Runs a background task until the process ends. Call it in [`start`].
    ///
    /// [`start`]: crate::Factory::start
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.store.runtime().spawn(task);
    }
}
