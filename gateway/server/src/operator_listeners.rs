//! The listeners of the operator: the Admin API, and health probes with metrics.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tollgate_admin::{Acceptor, Admission, Bound, Bounds, Listener};

use crate::proxy::{OpenConnections, TrustedIps};
use crate::settings::Settings;
use crate::telemetry::limit_metrics::{Limit, LimitMetrics};

/// Serves a listening socket from then on; with TLS if there is an acceptor.
///
/// # Errors
/// If the socket cannot be used.
pub(crate) fn serve(
    socket: std::net::TcpListener,
    tls: Option<Acceptor>,
    router: axum::Router,
    (settings, metrics): (&Settings, &LimitMetrics),
) -> std::io::Result<()> {
    let tcp = TcpListener::from_std(socket)?;
    let limits = &settings.limits;
    let bounds = Bounds {
        handshake_timeout: limits.tls_handshake_timeout,
        head_timeout: settings.proxy.head_timeout,
        write_timeout: settings.proxy.write_timeout,
        head_bytes: limits.head_bytes,
        header_count: limits.header_count,
    };
    // The operator's own proxies are not told apart: their limits are set with them in mind.
    let nobody = TrustedIps::new([]);
    let open = OpenConnections::new(limits.operator_connections, limits.operator_connections_per_address, nobody);
    let counted = Counted { open: Arc::new(open), metrics: metrics.clone() };
    tokio::spawn(Listener::new(tcp, tls, bounds, Arc::new(counted)).serve(router));
    Ok(())
}

/// The connections of one listener.
struct Counted {
    open: Arc<OpenConnections>,
    metrics: LimitMetrics,
}

impl Admission for Counted {
    fn admit(&self, client: IpAddr) -> Option<Box<dyn Send>> {
        match self.open.open(Some(client)) {
            Ok(open) => Some(Box::new(open)),
            Err(limit) => {
                self.metrics.count(match limit {
                    Limit::ConnectionsPerAddress => Limit::OperatorConnectionsPerAddress,
                    _ => Limit::OperatorConnections,
                });
                None
            }
        }
    }

    fn reached(&self, bound: Bound) {
        self.metrics.count(match bound {
            Bound::Handshake => Limit::TlsHandshake,
            Bound::HeadTimeout => Limit::ClientTimeout,
            Bound::HeadSize => Limit::Head,
            Bound::Write => Limit::WriteTimeout,
        });
    }
}
