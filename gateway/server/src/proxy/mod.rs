//! The data plane on Pingora: each hook is one call into the file named after it.
//!
//! 1. [`accept`]: a raw head becomes a checked request, or is refused.
//! 2. [`request_filter`]: route, admission, plugins ([`pipeline`]); replies, or passes on.
//! 3. [`upstream_peer`], [`upstream_request_filter`], [`request_body_filter`]: out to the upstream; [`balanced`]: to one
//!    of its targets.
//! 4. [`response_filter`], [`trailers`]: back to the client.
//! 5. [`logging`]: metrics and access log, whatever the outcome, even if the head was unreadable.
//!
//! Our own responses are sent by [`reply`], failures by [`failure`]: nothing else chooses a status.
//! No part of this knows a plugin by name or reads the store.

mod accept;
mod admission;
mod announcement;
mod arrival;
mod authority;
mod balanced;
mod body;
mod buffering;
mod client;
mod climbing;
mod connections;
mod context;
mod failure;
#[cfg(pingora_patched)]
mod first_bytes;
pub mod framing;
mod grpc_call;
pub mod head;
mod hop;
mod hop_by_hop;
mod http2;
mod identity_headers;
mod idle_connections;
mod limits;
mod lines;
mod listeners;
mod logging;
mod lookalike;
mod negotiation;
mod open_connections;
mod pipeline;
mod product;
mod reply;
mod request_body_filter;
mod request_filter;
mod request_id;
mod response_filter;
mod response_phase;
mod retry;
mod traced;
mod trailers;
mod trusted_peer;
mod upstream_http2;
mod upstream_peer;
mod upstream_request_filter;
mod well_known;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_core::modules::http::HttpModules;
use pingora_core::protocols::Digest;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, Result};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};

pub use client::TlsClient;
pub use context::Context;
pub use identity_headers::{IdentityHeaders, InvalidName};
pub use idle_connections::IdleConnections;
pub use limits::{BufferBytes, Limits};
pub use listeners::{Lifecycle, Listener, Listeners, ProxyService, prepare, service};
pub use open_connections::{ConnectionLimits, OpenConnections};
pub use product::Product;
pub use trusted_peer::TrustedIps;

use crate::descriptors::Descriptors;
use crate::snapshot::Snapshot;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::Tracer;
use crate::upstream::announcement::Announcements;
use crate::upstream::named_services::NamedServices;
use crate::upstream::uses::Uses;
use crate::upstream::version::OfferedHttp2;

/// The data plane's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The name of the proxy in `Server` and `Via`.
    pub product: Product,
    /// Headers that no client may send.
    pub identity_headers: IdentityHeaders,
    /// Timeout of idle client connections; at least a second.
    pub keepalive_timeout: Duration,
    /// Timeout for the whole head of an HTTP/1.1 request.
    pub head_timeout: Duration,
    /// Connections to upstreams.
    pub upstream: UpstreamSettings,
    /// The upstreams that are told whose requests their connections carry.
    pub announcements: Announcements,
    /// Those that may change while requests are served.
    pub live: Arc<ArcSwap<Live>>,
    /// The clients' connections, whose limits may change too.
    pub connections: Arc<OpenConnections>,
}

/// The settings that may change while requests are served. They are replaced as a whole: a request that reads them sees
/// those of one moment.
#[derive(Debug, Clone, Default)]
pub struct Live {
    /// Peers whose forwarded headers are trusted.
    pub trusted_ips: TrustedIps,
    /// Services that get paths which climb for other readers.
    pub lenient_path_services: NamedServices,
    /// Timeout between two reads from a client.
    pub read_timeout: Duration,
    /// Timeout between two writes to a client.
    pub write_timeout: Duration,
    /// What clients may cost. Those of heads and of HTTP/2 are fixed when the proxy starts.
    pub limits: Limits,
}

/// Keep-alive of upstream connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// Timeout of idle connections.
    pub keepalive_timeout: Duration,
    /// Idle connections kept per thread; 0 for none.
    pub keepalive_pool_size: usize,
    /// Requests per connection; at least one.
    pub keepalive_requests: u32,
    /// Whether HTTP/2 is used where it is offered.
    pub http2: OfferedHttp2,
}

impl Default for UpstreamSettings {
    /// See gateway.md §7.4.
    fn default() -> Self {
        Self {
            keepalive_timeout: Duration::from_secs(60),
            keepalive_pool_size: 512,
            keepalive_requests: 10_000,
            http2: OfferedHttp2::Declined,
        }
    }
}

/// What one request of a connection leaves for the next.
struct Kept {
    /// The peer as written in headers.
    peer: Option<HeaderValue>,
    /// The connection with its next request.
    next: arrival::Serving,
}

/// The proxy. Created once in the composition root.
pub struct Gateway {
    /// The settings.
    pub settings: Settings,
    /// The configuration in force.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The access log.
    pub access_log: AccessLog,
    /// Traces; `None`: they are off.
    pub tracer: Option<Tracer>,
    /// The number of requests on each upstream connection.
    pub upstream_uses: Uses,
    /// The file descriptors available to connections.
    pub descriptors: Arc<Descriptors>,
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::new(&self.metrics, self.access_log.notes())
    }

    /// No modules: the default one compresses, which is off.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    fn on_connection_reuse(
        &self,
        _session: &mut Session,
        context: &mut Context,
        previous: Box<dyn std::any::Any + Send + Sync>,
    ) {
        if let Ok(kept) = previous.downcast::<Kept>() {
            (context.peer, context.serving) = (kept.peer, kept.next);
        }
    }

    fn persist_connection_context(
        &self,
        _session: &Session,
        context: &Context,
    ) -> Option<Box<dyn std::any::Any + Send + Sync>> {
        Some(Box::new(Kept { peer: context.peer.clone(), next: context.serving.next() }))
    }

    async fn request_filter(&self, session: &mut Session, context: &mut Context) -> Result<bool> {
        request_filter::request_filter(self, session, context).await
    }

    async fn upstream_peer(&self, session: &mut Session, context: &mut Context) -> Result<Box<HttpPeer>> {
        upstream_peer::upstream_peer(self, session, context).await
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        reused: bool,
        _peer: &HttpPeer,
        #[cfg(unix)] descriptor: std::os::unix::io::RawFd,
        _digest: Option<&Digest>,
        context: &mut Context,
    ) -> Result<()> {
        if !reused && self.descriptors.is_reserved(descriptor) {
            // Not the upstream's fault, so it is not retried.
            return Err(
                Error::explain(failure::NO_DESCRIPTOR, "no file descriptor left for an upstream connection").into_in()
            );
        }
        context.connected_to_upstream(self.upstream_uses.count(descriptor, reused.into()));
        Ok(())
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _peer: &HttpPeer,
        context: &mut Context,
        error: Box<Error>,
    ) -> Box<Error> {
        upstream_peer::fail_to_connect(session, context, error)
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        context: &mut Context,
        client_reused: bool,
    ) -> Box<Error> {
        upstream_peer::error_while_proxy(session, context, error, client_reused.into())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        context: &mut Context,
    ) -> Result<()> {
        if request.version == http::Version::HTTP_2 {
            upstream_http2::prepare(session, request).await?;
        }
        upstream_request_filter::upstream_request_filter(self.settings.product, session, request, context)
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        context: &mut Context,
    ) -> Result<()> {
        if session.was_upgraded() {
            // What follows is no body.
            return Ok(());
        }
        request_body_filter::request_body_filter(body, end_of_stream, context)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Context,
    ) -> Result<()> {
        response_filter::response_filter(self.settings.product, session, response, context)
    }

    async fn response_trailer_filter(
        &self,
        session: &mut Session,
        trailers: &mut HeaderMap,
        _context: &mut Context,
    ) -> Result<Option<Bytes>> {
        trailers::response_trailer_filter(session, trailers);
        Ok(None)
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, context: &mut Context) -> FailToProxy {
        failure::fail_to_proxy(self, session, error, context).await
    }

    async fn logging(&self, session: &mut Session, _error: Option<&Error>, context: &mut Context) {
        logging::logging(self, session, context);
    }

    /// Pingora's own summary contains the query, which may contain a token.
    fn request_summary(&self, session: &Session, context: &Context) -> String {
        let head = session.req_header();
        format!("{} {}, request_id: {}", head.method, head.uri.path(), context.request_id.as_str())
    }

    /// Failures are logged where they become a response.
    fn suppress_error_log(&self, _session: &Session, _context: &Context, _error: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _context: &Context,
        _error: &Error,
        _kind: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}
