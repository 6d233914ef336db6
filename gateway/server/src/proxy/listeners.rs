//! The proxy as a Pingora service, with its listeners.

use std::net::SocketAddr;
use std::sync::Arc;
#[cfg(pingora_patched)]
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::apps::HttpServerOptions;
use pingora_core::listeners::tls::TlsSettings;
#[cfg(pingora_patched)]
use pingora_core::protocols::http::v2::{H2Closed, H2Limits};
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{ListenFds, ShutdownWatch};
use pingora_core::services::{Service, listening};
use pingora_proxy::http_proxy;

use super::connections::Connections;
use super::{Gateway, Settings, UpstreamSettings};
#[cfg(pingora_patched)]
use crate::telemetry::limit_metrics::Limit;
use crate::telemetry::metrics::Metrics;

/// Requests per client connection before it is closed, so that its memory is released.
const REQUESTS_PER_CONNECTION: u32 = 10_000;
/// A service's retries are at most 32,767; the limit per request is its service's.
const MAX_ATTEMPTS: usize = 32_768;

/// The interval between checks whether the sockets are bound.
const POLL: Duration = Duration::from_millis(1);

/// The proxy's listeners.
#[derive(Default)]
pub struct Listeners {
    /// Plain HTTP/1.1.
    pub http: Option<SocketAddr>,
    /// TLS, with HTTP/1.1, and HTTP/2 if the settings negotiate it.
    pub https: Option<(SocketAddr, TlsSettings)>,
}

/// Sets what the proxy needs in the server's configuration. Call this before the server and
/// [`service`] are created from it.
pub fn prepare(conf: &mut ServerConf, upstream: &UpstreamSettings) {
    conf.max_retries = MAX_ATTEMPTS;
    conf.upstream_keepalive_pool_size = upstream.keepalive_pool_size;
}

/// The proxy with its listeners. Pingora reports a service as started before it listens; this one reports
/// when it does.
pub struct ProxyService {
    proxy: listening::Service<Connections>,
    addresses: Vec<String>,
    /// Called once all addresses accept connections.
    listening: Option<Box<dyn FnOnce() + Send + Sync>>,
}

#[async_trait]
impl Service for ProxyService {
    async fn start_service(&mut self, fds: Option<ListenFds>, shutdown: ShutdownWatch, listeners_per_fd: usize) {
        let (addresses, listening) = (&self.addresses, self.listening.take());
        let sockets = fds.clone();
        let watch = async move {
            // Pingora adds each socket to this table when it is bound; it has no callback for that.
            let is_bound = |address: &String| sockets.as_ref().is_some_and(|fds| fds.lock().get(address).is_some());
            while !addresses.iter().all(is_bound) {
                tokio::time::sleep(POLL).await;
            }
            if let Some(listening) = listening {
                listening();
            }
        };
        tokio::join!(self.proxy.start_service(fds, shutdown, listeners_per_fd), watch);
    }

    fn name(&self) -> &str {
        Service::name(&self.proxy)
    }

    fn threads(&self) -> Option<usize> {
        Service::threads(&self.proxy)
    }
}

/// Creates the service, to be added to a server; `listening` is called once all its addresses accept
/// connections.
pub fn service(
    conf: &Arc<ServerConf>,
    gateway: Gateway,
    listeners: Listeners,
    listening: impl FnOnce() + Send + Sync + 'static,
) -> ProxyService {
    let settings = gateway.settings.clone();
    let options = server_options(&settings, &gateway.metrics);
    let metrics = Arc::clone(&gateway.metrics);
    let descriptors = Arc::clone(&gateway.descriptors);
    let mut proxy = http_proxy(conf, gateway);
    proxy.server_options = Some(options);
    proxy.h2_options = Some(settings.limits.h2_options());
    let mut service = listening::Service::new("proxy".to_owned(), Connections::of(proxy, metrics, &settings));
    service.set_connection_filter(descriptors);
    let mut addresses = Vec::new();
    if let Some(address) = listeners.http {
        addresses.push(address.to_string());
        service.add_tcp(&address.to_string());
    }
    if let Some((address, tls)) = listeners.https {
        addresses.push(address.to_string());
        service.add_tls_with_settings(&address.to_string(), None, tls);
    }
    ProxyService { proxy: service, addresses, listening: Some(Box::new(listening)) }
}

#[cfg_attr(not(pingora_patched), expect(unused_variables, reason = "Pingora as published counts nothing"))]
fn server_options(settings: &Settings, metrics: &Metrics) -> HttpServerOptions {
    let mut options = HttpServerOptions::default();
    // CONNECT is refused by us, like TRACE, with the body and headers of our own responses.
    options.allow_connect_method_proxying = true;
    options.keepalive_request_limit = Some(REQUESTS_PER_CONNECTION);
    options.h2_idle_timeout = Some(settings.keepalive_timeout);
    // Pingora as published has no such limits.
    #[cfg(pingora_patched)]
    {
        options.h1_header_timeout = Some(settings.head_timeout);
        options.h2_limits = Some(h2_limits(settings, metrics));
    }
    options
}

#[cfg(pingora_patched)]
fn h2_limits(settings: &Settings, metrics: &Metrics) -> H2Limits {
    let closed = Arc::new(H2Closed::default());
    let add = |limit, total: fn(&H2Closed) -> &AtomicU64| {
        let closed = Arc::clone(&closed);
        metrics.limits().add_source(limit, move || total(&closed).load(Ordering::Relaxed));
    };
    add(Limit::Http2Preface, |closed| &closed.slow_prefaces);
    add(Limit::Http2Head, |closed| &closed.slow_headers);
    add(Limit::Http2Frames, |closed| &closed.floods);
    H2Limits { excess_frames: settings.limits.http2_excess_frames, header_timeout: settings.head_timeout, closed }
}
