//! What the gateway hands to a plugin that starts.

use std::sync::Arc;

use tollgate_core::clock::Clock;
use tollgate_core::collection::Collection;
use tollgate_core::entity;
use tollgate_core::random::Random;
use tollgate_core::setting::SettingValues;
use tollgate_store::Store;

/// The gateway, as a plugin sees it. Cheap to clone.
#[derive(Clone)]
pub struct Host {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// Entities, tables of the plugin's own, the change feed, secrets that all nodes share.
    pub store: Store,
    /// Where metrics are registered: named `tollgate_…`, with the plugin's word behind it.
    pub metrics: prometheus::Registry,
    /// The values of plugins' settings.
    pub settings: SettingValues,
}

impl Host {
    /// The `consumers` kind.
    pub fn consumers(&self) -> Arc<dyn Collection> {
        self.store.documents(Arc::new(entity::consumer::kind()))
    }

    /// Runs a background task for as long as the process lives. To be called in [`start`].
    ///
    /// [`start`]: crate::Factory::start
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.store.runtime().spawn(task);
    }
}
