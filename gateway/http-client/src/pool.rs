//! The connections to one authority that were opened with one TLS profile.
//!
//! Over HTTP/1.1 a connection serves one call at a time, and the most recently used connection is taken
//! first. Over HTTP/2 calls share one until the server accepts no more streams. Until the protocol is known,
//! and while it is HTTP/2, connections are opened one at a time, so that calls that begin together share the
//! first.
//!
//! How long a connection may be idle is decided by the call that used it last: profiles that share a pool may
//! differ.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime;
use tokio::sync::Mutex as AsyncMutex;

use crate::connection::{Lease, Opened, Protocol, Usage};
use crate::dial::{Failure, dial};
use crate::limits::Limits;
use crate::metrics::PluginMetrics;
use crate::resolver::Resolver;
use crate::tls::Tls;

/// A call that needs a connection.
pub(crate) struct Caller<'a> {
    pub(crate) resolver: &'a Resolver,
    pub(crate) metrics: &'a PluginMetrics,
    /// How long the connection may be idle afterwards.
    pub(crate) keepalive: Duration,
}

/// See the module.
pub(crate) struct Pool {
    host: String,
    tls: Option<Tls>,
    /// What drives its connections.
    runtime: runtime::Id,
    limits: Limits,
    /// Whether the last connection opened speaks HTTP/1.1.
    speaks_http1: AtomicBool,
    turn: AsyncMutex<()>,
    kept: Mutex<Vec<Opened>>,
}

impl Pool {
    /// Without connections.
    pub(crate) fn new(host: &str, tls: Option<Tls>, runtime: runtime::Id, limits: Limits) -> Self {
        Self {
            host: host.to_owned(),
            // Without TLS nothing is negotiated.
            speaks_http1: AtomicBool::new(tls.is_none()),
            tls,
            runtime,
            limits,
            turn: AsyncMutex::new(()),
            kept: Mutex::default(),
        }
    }

    /// Whether calls with this profile may use its connections, on this runtime.
    pub(crate) fn is_for(&self, tls: Option<&Tls>, runtime: runtime::Id) -> bool {
        self.runtime == runtime && self.tls.as_ref() == tls
    }

    /// A connection for a call: a kept one, or a new one.
    pub(crate) async fn lease(&self, caller: &Caller<'_>) -> Result<Lease, Failure> {
        if let Some(kept) = self.take(caller) {
            return Ok(kept);
        }
        if self.speaks_http1.load(Ordering::Acquire) {
            return self.open(caller).await;
        }
        let turn = self.turn.lock().await;
        if let Some(kept) = self.take(caller) {
            return Ok(kept);
        }
        if self.speaks_http1.load(Ordering::Acquire) {
            drop(turn);
        }
        self.open(caller).await
    }

    /// A connection for the second attempt of a call. Over HTTP/1.1 it is new, since other kept ones may be as
    /// dead as the first; over HTTP/2 all calls that lost theirs share one again.
    pub(crate) async fn lease_again(&self, caller: &Caller<'_>) -> Result<Lease, Failure> {
        if self.speaks_http1.load(Ordering::Acquire) {
            return self.open(caller).await;
        }
        self.lease(caller).await
    }

    /// Keeps a connection for the next call, if it is one call's at a time. Others are kept from the start.
    pub(crate) async fn put_back(&self, lease: Lease) {
        let Some(settled) = lease.settle(self.limits.settle).await else { return };
        let mut kept = self.kept();
        let idle = kept.iter().filter(|opened| opened.protocol() == Protocol::Http1).count();
        if idle < self.limits.idle && settled.is_usable(&self.limits, Instant::now()) {
            kept.push(settled);
        }
    }

    /// Closes what is too old, or has been idle for too long. Whether connections are left.
    pub(crate) fn sweep(&self) -> bool {
        let (mut kept, now) = (self.kept(), Instant::now());
        kept.retain(|opened| opened.is_usable(&self.limits, now));
        !kept.is_empty()
    }

    /// Looks only at what it may take: [`Self::sweep`] closes the rest.
    fn take(&self, caller: &Caller<'_>) -> Option<Lease> {
        let (mut kept, now) = (self.kept(), Instant::now());
        let usable = |opened: &Opened| opened.is_usable(&self.limits, now);
        if let Some(shared) = kept.iter().filter(|opened| usable(opened)).find_map(Opened::share) {
            return Some(shared.lease(Usage::Reused, caller.keepalive));
        }
        while let Some(newest) = kept.iter().rposition(|opened| opened.protocol() == Protocol::Http1) {
            let opened = kept.remove(newest);
            if usable(&opened) {
                return Some(opened.lease(Usage::Reused, caller.keepalive));
            }
        }
        None
    }

    async fn open(&self, caller: &Caller<'_>) -> Result<Lease, Failure> {
        // On the heap: calls are moved before they begin, and most of them open no connection.
        let opened = Box::pin(dial(caller.resolver, &self.host, self.tls.as_ref())).await?;
        let protocol = opened.protocol();
        caller.metrics.connected(protocol);
        self.speaks_http1.store(protocol == Protocol::Http1, Ordering::Release);
        let Some(shared) = opened.share() else { return Ok(opened.lease(Usage::New, caller.keepalive)) };
        // Leased before it is kept, so that it does not count as idle.
        let lease = shared.lease(Usage::New, caller.keepalive);
        self.kept().push(opened);
        Ok(lease)
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Opened>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
