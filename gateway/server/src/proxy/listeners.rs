//! The proxy as a Pingora service, with its listeners.

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::IntoRawFd as _;
use std::sync::Arc;
#[cfg(pingora_patched)]
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::apps::HttpServerOptions;
use pingora_core::listeners::ListenerConfig;
use pingora_core::listeners::tls::TlsSettings;
#[cfg(pingora_patched)]
use pingora_core::protocols::http::v2::{H2Closed, H2Limits};
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{ListenFds, ShutdownWatch};
use pingora_core::services::{Service, listening};
use pingora_proxy::http_proxy;

use super::connections::Connections;
#[cfg(pingora_patched)]
use super::first_bytes::FirstBytes;
use super::idle_connections::IdleConnections;
use super::{Gateway, Settings, UpstreamSettings};
use crate::sockets::{Name, Sockets};
#[cfg(pingora_patched)]
use crate::telemetry::limit_metrics::Limit;
use crate::telemetry::metrics::Metrics;

/// Requests per client connection before it is closed, so that its memory is released.
const REQUESTS_PER_CONNECTION: u32 = 10_000;
/// A service's retries are at most 32,767; the limit per request is its service's.
const MAX_ATTEMPTS: usize = 32_768;

/// The interval between checks whether the sockets are bound.
const POLL: Duration = Duration::from_millis(1);

/// A listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    /// Its address.
    pub address: SocketAddr,
    /// Whether a plain connection may begin with HTTP/2 (RFC 9113 §3.3); over TLS, it is negotiated.
    pub http2: bool,
    /// Whether connections begin with a PROXY header.
    pub proxy_protocol: bool,
}

impl From<SocketAddr> for Listener {
    fn from(address: SocketAddr) -> Self {
        Self { address, http2: false, proxy_protocol: false }
    }
}

/// As in the settings.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)?;
        f.write_str(if self.http2 { " http2" } else { "" })?;
        f.write_str(if self.proxy_protocol { " proxy_protocol" } else { "" })
    }
}

/// How the proxy's connections begin and end.
#[derive(Clone, Default)]
pub struct Lifecycle {
    /// The sockets of the listeners.
    pub sockets: Sockets,
    /// What becomes of idle connections at the end.
    pub idle: IdleConnections,
}

/// The proxy's listeners.
#[derive(Default)]
pub struct Listeners {
    /// Plain HTTP.
    pub http: Option<Listener>,
    /// TLS, with HTTP/1.1, and HTTP/2 if the settings negotiate it.
    pub https: Option<(Listener, TlsSettings)>,
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
    addresses: Vec<(Name, SocketAddr)>,
    sockets: Sockets,
    /// Called once all addresses accept connections.
    listening: Option<Box<dyn FnOnce() + Send + Sync>>,
}

#[async_trait]
impl Service for ProxyService {
    async fn start_service(&mut self, fds: Option<ListenFds>, shutdown: ShutdownWatch, listeners_per_fd: usize) {
        let listening = self.listening.take();
        let sockets = fds.clone();
        if let Some(fds) = &fds {
            hand_over(&self.addresses, &self.sockets, fds);
        }
        let addresses: Vec<_> = self.addresses.iter().map(|(_, address)| address.to_string()).collect();
        let watch = async move {
            // Pingora adds each socket to this table that it binds itself; it has no callback for that.
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

/// Puts the sockets into the table in which Pingora looks for those that it need not bind.
fn hand_over(addresses: &[(Name, SocketAddr)], sockets: &Sockets, fds: &ListenFds) {
    for (name, address) in addresses {
        match sockets.listen(*name, *address) {
            Ok(socket) => fds.lock().add(address.to_string(), socket.into_raw_fd()),
            // Pingora tries for a while, and says what is wrong.
            Err(error) => tracing::warn!(setting = name.setting(), %address, %error, "cannot listen yet"),
        }
    }
}

/// Creates the service, to be added to a server; `listening` is called once all its addresses accept
/// connections.
pub fn service(
    conf: &Arc<ServerConf>,
    gateway: Gateway,
    listeners: Listeners,
    lifecycle: Lifecycle,
    listening: impl FnOnce() + Send + Sync + 'static,
) -> ProxyService {
    let settings = gateway.settings.clone();
    let mut options = server_options(&settings, &gateway.metrics);
    options.h2c = listeners.http.is_some_and(|listener| listener.http2);
    let metrics = Arc::clone(&gateway.metrics);
    let descriptors = Arc::clone(&gateway.descriptors);
    #[cfg(pingora_patched)]
    let first_bytes = Arc::new(FirstBytes::new(Arc::clone(&settings.live), Arc::clone(&metrics)));
    let mut proxy = http_proxy(conf, gateway);
    proxy.server_options = Some(options);
    proxy.h2_options = Some(settings.live.load().limits.h2_options());
    let mut service =
        listening::Service::new("proxy".to_owned(), Connections::of(proxy, metrics, &settings, lifecycle.idle));
    service.set_connection_filter(descriptors);
    let mut addresses = Vec::new();
    let mut add = |name: Name, listener: Listener, tls: Option<TlsSettings>| {
        let address = listener.address.to_string();
        let mut endpoint = ListenerConfig::tcp(&address);
        if let Some(tls) = tls {
            endpoint = endpoint.tls(tls);
        }
        // Settings permit it with our patches only.
        #[cfg(pingora_patched)]
        if listener.proxy_protocol {
            endpoint = endpoint.pre_tls_callback(Arc::clone(&first_bytes) as _);
        }
        addresses.push((name, listener.address));
        service.add_listener(endpoint);
    };
    if let Some(listener) = listeners.http {
        add(Name::Http, listener, None);
    }
    if let Some((listener, tls)) = listeners.https {
        add(Name::Https, listener, Some(tls));
    }
    ProxyService { proxy: service, addresses, sockets: lifecycle.sockets, listening: Some(Box::new(listening)) }
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
    H2Limits {
        excess_frames: settings.live.load().limits.http2_excess_frames,
        header_timeout: settings.head_timeout,
        closed,
    }
}
