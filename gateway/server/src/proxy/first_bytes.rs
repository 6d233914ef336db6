//! The PROXY header of a connection to a listener with `proxy_protocol`.
//!
//! Invariant: only peers in `trusted_ips` state an address, and a connection without a valid header is closed before
//! anything else is read. The address that is stated takes the place of the peer's: `trusted_ips` then decides whether
//! `X-Forwarded-*` of that client are believed, since what follows the header is the client's own.

use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora_core::listeners::PreTlsProcess;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::{GetSocketDigest as _, SocketDigest};
use pingora_core::{Error, ErrorType, Result};
use tollgate_core::clock::{Clock, SystemClock};

use super::Live;
use crate::proxy_protocol::{self, Header};
use crate::telemetry::limit_metrics::Limit;
use crate::telemetry::metrics::Metrics;

/// The error of a connection that is closed.
const NO_HEADER: ErrorType = ErrorType::Custom("NoProxyHeader");

/// Reads the header.
pub(super) struct FirstBytes {
    live: Arc<ArcSwap<Live>>,
    metrics: Arc<Metrics>,
    /// The second in which a refusal was last logged: anybody can cause one.
    logged: AtomicU64,
}

#[async_trait]
impl PreTlsProcess for FirstBytes {
    async fn process(&self, stream: &mut Stream) -> Result<()> {
        let peer = stream.get_socket_digest().and_then(|digest| digest.peer_addr()?.as_inet().copied());
        let Some(peer) = peer.filter(|peer| self.live.load().trusted_ips.contains(peer.ip())) else {
            return self.refuse(peer, "it is not in trusted_ips");
        };
        match proxy_protocol::read(stream).await {
            Ok(Header::Own) => Ok(()),
            Ok(Header::Proxied { source, .. }) => {
                let digest = SocketDigest::from_raw_fd(stream.as_raw_fd());
                // It is new, so nothing has set it before.
                let _ = digest.peer_addr.set(Some(SocketAddr::Inet(source)));
                stream.set_socket_digest(digest);
                Ok(())
            }
            Err(fault) => self.refuse(Some(peer), &fault.to_string()),
        }
    }
}

impl FirstBytes {
    /// Believes the peers in these settings.
    pub(super) fn new(live: Arc<ArcSwap<Live>>, metrics: Arc<Metrics>) -> Self {
        Self { live, metrics, logged: AtomicU64::new(0) }
    }

    fn refuse(&self, peer: Option<std::net::SocketAddr>, reason: &str) -> Result<()> {
        self.metrics.limits().count(Limit::ProxyProtocol);
        let second = SystemClock.now_millis().unsigned_abs() / 1000;
        if self.logged.swap(second, Ordering::Relaxed) != second {
            let peer = peer.map(|peer| peer.to_string());
            tracing::warn!(peer, reason, "connection to a listener with proxy_protocol closed");
        }
        Err(Error::explain(NO_HEADER, "no valid PROXY header from a trusted peer").into_down())
    }
}
