//! The process's client: its runtime, and the authorities that it calls.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use prometheus::Registry;
use tokio::runtime::Handle;

use crate::authority::{Authority, Origin};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::profile::Profile;
use crate::resolver::{self, Lookup};

/// One for the process, shared by all plugins. Cheap to clone.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    runtime: Handle,
    limits: Limits,
    lookup: Lookup,
    metrics: Metrics,
    authorities: Mutex<HashMap<Origin, Arc<Authority>>>,
}

impl Client {
    /// Calls and connections run on `runtime`, which should outlive the plugins: when it ends, calls fail
    /// with [`Error::Stopped`]. It needs I/O and time.
    ///
    /// # Errors
    /// The metrics are registered already.
    ///
    /// [`Error::Stopped`]: crate::Error::Stopped
    pub fn new(runtime: Handle, metrics: &Registry) -> Result<Self, prometheus::Error> {
        Self::with(runtime, metrics, Limits::default(), resolver::system())
    }

    pub(crate) fn with(
        runtime: Handle,
        metrics: &Registry,
        limits: Limits,
        lookup: Lookup,
    ) -> Result<Self, prometheus::Error> {
        let metrics = Metrics::register(metrics)?;
        let shared = Arc::new(Shared { runtime, limits, lookup, metrics, authorities: Mutex::default() });
        shared.runtime.spawn(sweep(Arc::downgrade(&shared), limits));
        Ok(Self(shared))
    }

    /// A profile for the calls of one plugin, which metrics label with `plugin`: certificates are verified
    /// with the system's trusted authorities, and the limits are those that [`Profile`]'s methods name.
    pub fn profile(&self, plugin: &'static str) -> Profile {
        Profile::new(self.clone(), self.0.metrics.of_plugin(plugin))
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.0.runtime
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// The state shared by calls to this authority; `None` if there are too many others.
    pub(crate) fn authority(&self, origin: &Origin) -> Option<Arc<Authority>> {
        let mut authorities = self.0.authorities.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = authorities.get(origin) {
            return Some(Arc::clone(known));
        }
        if authorities.len() >= self.0.limits.authorities {
            // An authority without calls is replaced even if it has idle connections.
            let unused = authorities.iter().find(|(_, known)| Arc::strong_count(known) == 1)?.0.clone();
            authorities.remove(&unused);
        }
        let made = Arc::new(Authority::new(origin.clone(), Arc::clone(&self.0.lookup), self.0.limits));
        authorities.insert(origin.clone(), Arc::clone(&made));
        Some(made)
    }
}

/// Closes idle and old connections and forgets unused authorities, until the client is dropped.
async fn sweep(client: Weak<Shared>, limits: Limits) {
    loop {
        tokio::time::sleep(limits.sweep).await;
        let Some(shared) = client.upgrade() else { return };
        let mut authorities = shared.authorities.lock().unwrap_or_else(PoisonError::into_inner);
        authorities.retain(|_, authority| authority.sweep() || Arc::strong_count(authority) > 1);
    }
}
