//! Connection counting: client connections are counted while open, around Pingora's proxy.
//!
//! A draining process needs the count: over HTTP/2, the end of a response may
//! still be waiting to be written by its connection.

use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::apps::ServerApp;
use pingora_core::protocols::Stream;
use pingora_core::server::ShutdownWatch;
use pingora_proxy::HttpProxy;

use super::Gateway;
use crate::telemetry::metrics::Metrics;

/// The proxy with connection counting.
pub(super) struct Connections {
    proxy: Arc<HttpProxy<Gateway>>,
    metrics: Arc<Metrics>,
}

impl Connections {
    pub(super) fn of(proxy: HttpProxy<Gateway>, metrics: Arc<Metrics>) -> Self {
        Self { proxy: Arc::new(proxy), metrics }
    }
}

/// An open connection; it is counted until this is dropped, even in a panic.
struct Open(Arc<Metrics>);

impl Open {
    fn new(metrics: &Arc<Metrics>) -> Self {
        metrics.connection_opened();
        Self(Arc::clone(metrics))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connection_closed();
    }
}

#[async_trait]
impl ServerApp for Connections {
    /// Serves a connection until it ends, for any number of requests.
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let _open = Open::new(&self.metrics);
        self.proxy.process_new(stream, shutdown).await
    }

    /// Pingora as published does not make this call.
    #[cfg(pingora_patched)]
    async fn process_plaintext_on_tls(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) {
        let _open = Open::new(&self.metrics);
        self.proxy.process_plaintext_on_tls(stream, shutdown).await;
    }

    async fn cleanup(&self) {
        self.proxy.cleanup().await;
    }
}
