//! What the gateway hands to a plugin that starts.

use std::sync::Arc;

use tollgate_core::clock::Clock;
use tollgate_core::random::Random;
use tollgate_core::setting::SettingValues;
use tollgate_http_client::Client;
use tollgate_store::Store;

use crate::cache::Trust;
use crate::consumers::Consumers;
use crate::metrics::Metrics;

/// The gateway, as a plugin sees it. Cheap to clone.
#[derive(Clone)]
pub struct Host {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// Entities, tables of the plugin's own, the change feed, secrets that all nodes share.
    pub store: Store,
    /// Calls to other servers: one client for all plugins, each of which takes its profiles from it.
    pub http_client: Client,
    /// Consumers, as all authentication plugins share them.
    pub consumers: Consumers,
    /// Metrics under the plugin's own names.
    pub metrics: Metrics,
    /// The values of plugins' settings.
    pub settings: SettingValues,
}

impl Host {
    /// Whether what is cached may be used: whether this node still hears of every change.
    pub fn trust(&self) -> Arc<dyn Trust> {
        Arc::new(self.store.feed().clone())
    }

    /// Runs a background task for as long as the process lives. To be called in [`start`].
    ///
    /// [`start`]: crate::Factory::start
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.store.runtime().spawn(task);
    }
}
