//! A server as addressed by calls, and the state that all calls to it share: the limit on calls, the breaker,
//! the addresses, the pools.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::breaker::Breaker;
use crate::limits::Limits;
use crate::pool::Pool;
use crate::resolver::Resolver;
use crate::tls::Tls;

/// Identifies an authority.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    pub(crate) scheme: Scheme,
    /// A name in lower case, or an address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// With or without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    /// The scheme of a URL.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that a URL may omit.
    pub(crate) fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl Origin {
    /// As metrics and logs name it, always with the port.
    pub(crate) fn name(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{}://{host}:{}", self.scheme.name(), self.port)
    }

    /// Host and port as in `Host` and `:authority`.
    pub(crate) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == self.scheme.default_port() { host } else { format!("{host}:{}", self.port) }
    }
}

/// See the module.
pub(crate) struct Authority {
    pub(crate) resolver: Resolver,
    pub(crate) breaker: Breaker,
    origin: Origin,
    limits: Limits,
    calls: Semaphore,
    waiting: AtomicUsize,
    pools: Mutex<Vec<Arc<Pool>>>,
}

impl Authority {
    /// Without calls and connections.
    pub(crate) fn new(origin: Origin, resolver: Resolver, breaker: Breaker, limits: Limits) -> Self {
        Self {
            resolver,
            breaker,
            origin,
            limits,
            calls: Semaphore::new(limits.calls),
            waiting: AtomicUsize::new(0),
            pools: Mutex::default(),
        }
    }

    /// A permit for a call; waits for one, after those that already wait. `None` if too many calls wait.
    pub(crate) async fn admit(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(permit) = self.calls.try_acquire() {
            return Some(permit);
        }
        let _waiting = Waiting::enter(&self.waiting, self.limits.queue)?;
        self.calls.acquire().await.ok()
    }

    /// The connections shared by calls with this TLS profile on the current runtime, which drives them.
    pub(crate) fn pool(&self, tls: Option<&Tls>) -> Arc<Pool> {
        let runtime = tokio::runtime::Handle::current().id();
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.iter().find(|pool| pool.is_for(tls, runtime)) {
            return Arc::clone(pool);
        }
        let pool = Arc::new(Pool::new(&self.origin.host, tls.cloned(), runtime, self.limits));
        pools.push(Arc::clone(&pool));
        pool
    }

    /// Closes idle and old connections. Whether anything is left that a later call would miss.
    pub(crate) fn sweep(&self) -> bool {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        // A pool held by a call is about to get a connection. No call can start holding another one: they are
        // only found here.
        pools.retain(|pool| pool.sweep() || Arc::strong_count(pool) > 1);
        !pools.is_empty() || !self.breaker.is_forgettable()
    }
}

/// One waiting call.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(waiting: &'a AtomicUsize, limit: usize) -> Option<Self> {
        let more = |now: usize| (now < limit).then(|| now.saturating_add(1));
        waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok().map(|_| Self(waiting))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
