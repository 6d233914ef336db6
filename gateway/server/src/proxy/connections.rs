//! Connection counting: client connections are counted while open, around Pingora's proxy.
//!
//! A draining process needs the count: over HTTP/2, the end of a response may
//! still be waiting to be written by its connection.

#[cfg(pingora_patched)]
use std::any::Any;
use std::sync::Arc;
#[cfg(pingora_patched)]
use std::time::Duration;

#[cfg(pingora_patched)]
use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora_core::apps::ServerApp;
use pingora_core::protocols::Stream;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::server::ShutdownWatch;
use pingora_proxy::HttpProxy;

#[cfg(pingora_patched)]
use super::Live;
use super::idle_connections::IdleConnections;
use super::open_connections::{OpenConnection, OpenConnections};
use super::{Gateway, Settings};
#[cfg(pingora_patched)]
use crate::telemetry::limit_metrics::Limit;
use crate::telemetry::metrics::{Listener, Metrics};

/// The proxy with connection counting.
pub(super) struct Connections {
    proxy: Arc<HttpProxy<Gateway>>,
    metrics: Arc<Metrics>,
    open: Arc<OpenConnections>,
    idle: IdleConnections,
    #[cfg(pingora_patched)]
    live: Arc<ArcSwap<Live>>,
}

impl Connections {
    pub(super) fn of(
        proxy: HttpProxy<Gateway>,
        metrics: Arc<Metrics>,
        settings: &Settings,
        idle: IdleConnections,
    ) -> Self {
        Self {
            proxy: Arc::new(proxy),
            metrics,
            open: Arc::clone(&settings.connections),
            idle,
            #[cfg(pingora_patched)]
            live: Arc::clone(&settings.live),
        }
    }

    /// Counts a connection, or refuses it.
    fn admit_peer(&self, peer: Option<&SocketAddr>) -> Option<OpenConnection> {
        let address = peer.and_then(SocketAddr::as_inet).map(std::net::SocketAddr::ip);
        self.open.open(address).inspect_err(|limit| self.metrics.limits().count(*limit)).ok()
    }
}

/// An open connection; it is counted until this is dropped, even in a panic.
struct Open(Arc<Metrics>, Listener);

impl Open {
    fn new(metrics: &Arc<Metrics>, listener: Listener) -> Self {
        metrics.connection_opened(listener);
        Self(Arc::clone(metrics), listener)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connection_closed(self.1);
    }
}

#[async_trait]
impl ServerApp for Connections {
    /// Counts a connection before its handshake.
    #[cfg(pingora_patched)]
    fn admit(&self, peer: Option<&SocketAddr>) -> Option<Box<dyn Any + Send>> {
        self.admit_peer(peer).map(|open| Box::new(open) as _)
    }

    /// Counts the client behind a proxy, whose connection was counted already.
    #[cfg(pingora_patched)]
    fn admit_behind(&self, client: Option<&SocketAddr>) -> Option<Box<dyn Any + Send>> {
        let address = client.and_then(SocketAddr::as_inet).map(std::net::SocketAddr::ip);
        let open = self.open.open_behind(address).inspect_err(|limit| self.metrics.limits().count(*limit)).ok();
        open.map(|open| Box::new(open) as _)
    }

    #[cfg(pingora_patched)]
    fn handshake_timeout(&self) -> Duration {
        self.live.load().limits.tls_handshake_timeout
    }

    #[cfg(pingora_patched)]
    fn handshake_timed_out(&self) {
        self.metrics.limits().count(Limit::TlsHandshake);
    }

    /// Serves a connection until it ends, for any number of requests.
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        // Pingora as published does not ask before the handshake.
        #[cfg(not(pingora_patched))]
        let _admitted = {
            let digest = stream.get_socket_digest();
            self.admit_peer(digest.as_ref().and_then(|digest| digest.peer_addr()))?
        };
        let listener = if stream.get_ssl_digest().is_some() { Listener::Https } else { Listener::Http };
        let _open = Open::new(&self.metrics, listener);
        self.metrics.tasks().add_this_thread();
        self.proxy.process_new(stream, shutdown).await
    }

    /// Pingora as published does not make this call.
    #[cfg(pingora_patched)]
    async fn process_plaintext_on_tls(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) {
        let _open = Open::new(&self.metrics, Listener::Https);
        self.proxy.process_plaintext_on_tls(stream, shutdown).await;
    }

    /// No new connections are accepted any more.
    async fn cleanup(&self) {
        self.idle.are_closed().await;
        self.proxy.cleanup().await;
    }
}
