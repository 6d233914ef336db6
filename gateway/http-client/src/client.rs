//! The process's client: its runtime, and the authorities that it calls.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use http::Uri;
use prometheus::Registry;
use tokio::runtime::Handle;

use crate::authority::{Authority, Origin};
use crate::breaker::Breaker;
use crate::destination::{Destinations, Refused};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::profile::Profile;
use crate::request;
#[cfg(test)]
use crate::resolver::Lookup;
use crate::resolver::{Names, Resolver};

/// One for the process, shared by all plugins. Cheap to clone.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    runtime: Handle,
    limits: Limits,
    names: Names,
    destinations: Arc<Destinations>,
    metrics: Metrics,
    authorities: Mutex<HashMap<Origin, Arc<Authority>>>,
}

impl Client {
    /// Calls and connections run on `runtime`, which should outlive the plugins: when it ends, calls fail
    /// with [`Error::Stopped`]. It needs I/O and time. It does not know the gateway's listeners
    /// ([`Client::for_gateway`]).
    ///
    /// # Errors
    /// The metrics are registered already.
    ///
    /// [`Error::Stopped`]: crate::Error::Stopped
    pub fn new(runtime: Handle, metrics: &Registry) -> Result<Self, prometheus::Error> {
        let resolver = tollgate_dns::Resolver::new(runtime.clone(), &tollgate_dns::Settings::default());
        let resolver = resolver.map_err(|error| prometheus::Error::Msg(error.to_string()))?;
        Self::for_gateway(runtime, metrics, Destinations::default(), resolver)
    }

    /// The same, for a gateway that says which addresses may be called, and how names are resolved.
    ///
    /// # Errors
    /// The metrics are registered already.
    pub fn for_gateway(
        runtime: Handle,
        metrics: &Registry,
        destinations: Destinations,
        resolver: tollgate_dns::Resolver,
    ) -> Result<Self, prometheus::Error> {
        Self::of(runtime, metrics, destinations, Limits::default(), Names::Resolver(resolver))
    }

    #[cfg(test)]
    pub(crate) fn with(
        runtime: Handle,
        metrics: &Registry,
        destinations: Destinations,
        limits: Limits,
        lookup: Lookup,
    ) -> Result<Self, prometheus::Error> {
        Self::of(runtime, metrics, destinations, limits, Names::Scripted(lookup))
    }

    pub(crate) fn of(
        runtime: Handle,
        metrics: &Registry,
        destinations: Destinations,
        limits: Limits,
        names: Names,
    ) -> Result<Self, prometheus::Error> {
        let metrics = Metrics::register(metrics)?;
        let destinations = Arc::new(destinations);
        let authorities = Mutex::default();
        let shared = Arc::new(Shared { runtime, limits, names, destinations, metrics, authorities });
        shared.runtime.spawn(sweep(Arc::downgrade(&shared), limits));
        Ok(Self(shared))
    }

    /// A profile for the calls of one plugin, which metrics label with `plugin`: certificates are verified
    /// with the system's trusted authorities, and the limits are those that [`Profile`]'s methods name.
    pub fn profile(&self, plugin: &'static str) -> Profile {
        Profile::new(self.clone(), self.0.metrics.of_plugin(plugin))
    }

    /// Whether calls to this URL are refused in any case, since its host is an address that may not be called, or
    /// `localhost` with the port of one of this gateway's listeners. For the moment when a configuration is
    /// written: it looks nothing up, so other names pass. Each call is checked again, at the address to which it
    /// connects.
    pub fn refuses_literal(&self, url: &Uri) -> Option<Refused> {
        let origin = request::origin(url).ok()?;
        self.0.destinations.check_literal(&origin.host, origin.port).err()
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
            let unused = || authorities.iter().filter(|(_, known)| Arc::strong_count(known) == 1);
            let forgettable = unused().find(|(_, known)| known.breaker.is_forgettable());
            let replaced = forgettable.or_else(|| unused().next())?.0.clone();
            authorities.remove(&replaced);
        }
        let made = Arc::new(self.0.new_authority(origin));
        authorities.insert(origin.clone(), Arc::clone(&made));
        Some(made)
    }
}

impl Shared {
    fn new_authority(&self, origin: &Origin) -> Authority {
        let resolver = Resolver::new(&origin.host, origin.port, &self.names, Arc::clone(&self.destinations));
        let name = origin.name();
        let gauge = self.metrics.of_breaker(&name);
        let breaker = Breaker::new(name, self.limits.breaker, gauge);
        Authority::new(origin.clone(), resolver, breaker, self.limits)
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
