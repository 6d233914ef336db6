//! The key sources of a plugin: those of equal configuration are one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tollgate_plugin::{Clock, Digest, Host, StartError};

use super::{Fetching, KeySource, KeySourceMetrics, Keys, Remote};
use crate::metrics::PREFIX;
use tollgate_jose::{KeySet, SignatureChecks};

/// How often it is looked whether keys are due.
const TICK: Duration = Duration::from_millis(100);

/// Makes key sources, and refreshes them as long as they are in use. Cheap to clone.
#[derive(Clone)]
pub struct KeySources(Arc<Shared>);

struct Shared {
    clock: Arc<dyn Clock>,
    runtime: Handle,
    checks: SignatureChecks,
    metrics: KeySourceMetrics,
    tick: Duration,
    sources: Mutex<HashMap<Digest, Weak<KeySource>>>,
}

impl KeySources {
    /// Those of this gateway, which all plugins for tokens of other authorities share; each names
    /// [`METRIC_PREFIX`](crate::METRIC_PREFIX) among its metric prefixes.
    ///
    /// # Errors
    /// The gateway does not start.
    pub fn of(host: &Host) -> Result<Arc<Self>, StartError> {
        host.try_shared(|| Ok(Self::new(host, KeySourceMetrics::register(&host.metrics, PREFIX)?)))
    }

    /// For a plugin, when it starts.
    pub fn new(host: &Host, metrics: KeySourceMetrics) -> Self {
        Self::with(Arc::clone(&host.clock), host.store.runtime().clone(), metrics, TICK)
    }

    /// Calls and slow checks run on `runtime`; every `tick` it is looked whether keys are due.
    pub fn with(clock: Arc<dyn Clock>, runtime: Handle, metrics: KeySourceMetrics, tick: Duration) -> Self {
        let checks = SignatureChecks::new(runtime.clone());
        Self(Arc::new(Shared { clock, runtime, checks, metrics, tick, sources: Mutex::default() }))
    }

    /// Runs the signature checks of all sources.
    pub fn checks(&self) -> &SignatureChecks {
        &self.0.checks
    }

    /// The keys of an authority that are fetched. `configuration` is a digest of all that is configured of it: as
    /// long as a source of equal configuration is in use, it is returned, so that instances share its keys, and a
    /// change elsewhere in the gateway's configuration ends nothing.
    pub fn remote(&self, configuration: Digest, remote: impl FnOnce() -> Remote) -> Arc<KeySource> {
        self.source(configuration, || {
            let source = Arc::new(self.make(remote()));
            self.0.runtime.spawn(keep_fresh(Arc::downgrade(&source), self.0.tick));
            source
        })
    }

    /// Keys that do not change; `configuration` as in [`Self::remote`].
    pub fn fixed(&self, configuration: Digest, keys: KeySet) -> Arc<KeySource> {
        let checks = self.0.checks.clone();
        self.source(configuration, || Arc::new(KeySource { keys: Keys::Static(keys), checks }))
    }

    fn source(&self, configuration: Digest, make: impl FnOnce() -> Arc<KeySource>) -> Arc<KeySource> {
        let mut sources = self.0.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = sources.get(&configuration).and_then(Weak::upgrade) {
            return known;
        }
        let source = make();
        sources.retain(|_, known| known.strong_count() > 0);
        sources.insert(configuration, Arc::downgrade(&source));
        source
    }

    /// A source that nobody refreshes in the background.
    pub(super) fn make(&self, mut remote: Remote) -> KeySource {
        let Shared { clock, runtime, checks, metrics, .. } = &*self.0;
        remote.profile = remote.profile.repeatable();
        let fetching = Fetching {
            metrics: metrics.of(&remote.name),
            remote,
            clock: Arc::clone(clock),
            runtime: runtime.clone(),
            state: ArcSwap::default(),
            refresh: Mutex::default(),
        };
        KeySource { keys: Keys::Remote(Arc::new(fetching)), checks: checks.clone() }
    }
}

/// Refreshes a source until it is no longer in use.
async fn keep_fresh(source: Weak<KeySource>, tick: Duration) {
    loop {
        tokio::time::sleep(tick).await;
        let Some(source) = source.upgrade() else { return };
        source.refresh_if_due().await;
    }
}
