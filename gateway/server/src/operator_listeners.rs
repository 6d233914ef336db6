//! The listeners of the operator: the Admin API, and health probes with metrics.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tollgate_admin::{Acceptor, Admission, Bound, Bounds, Course, Listener};

use crate::proxy::{ConnectionLimits, OpenConnections};
use crate::telemetry::limit_metrics::{Limit, LimitMetrics};

/// What their connections may cost; may change while they are served.
#[derive(Debug, Clone)]
pub struct OperatorLimits {
    /// Each of them.
    pub bounds: Bounds,
    /// Their number, of each listener.
    pub connections: ConnectionLimits,
}

/// All of them. Cheap to clone.
#[derive(Clone)]
pub struct OperatorListeners {
    bounds: Arc<ArcSwap<Bounds>>,
    course: watch::Sender<Course>,
    /// Of the Admin API, and of the status listener.
    open: [Arc<OpenConnections>; 2],
}

impl OperatorListeners {
    /// None so far; they accept connections once the course says so.
    pub fn new(limits: OperatorLimits, course: Course) -> Self {
        let open = || Arc::new(OpenConnections::new(limits.connections.clone()));
        let bounds = Arc::new(ArcSwap::from_pointee(limits.bounds));
        Self { bounds, course: watch::Sender::new(course), open: [open(), open()] }
    }

    /// Has these limits for connections from now on.
    pub fn set_limits(&self, limits: OperatorLimits) {
        self.bounds.store(Arc::new(limits.bounds));
        self.open.iter().for_each(|open| open.set_limits(limits.connections.clone()));
    }

    /// Serves the Admin API on a listening socket; with TLS if there is an acceptor.
    ///
    /// # Errors
    /// If the socket cannot be used.
    pub(crate) fn serve_admin(
        &self,
        socket: std::net::TcpListener,
        tls: Option<Acceptor>,
        router: axum::Router,
        metrics: &LimitMetrics,
    ) -> std::io::Result<()> {
        let [open, _] = &self.open;
        self.serve(socket, tls, router, (open, metrics))
    }

    /// Serves health probes and metrics.
    ///
    /// # Errors
    /// If the socket cannot be used.
    pub(crate) fn serve_status(
        &self,
        socket: std::net::TcpListener,
        router: axum::Router,
        metrics: &LimitMetrics,
    ) -> std::io::Result<()> {
        let [_, open] = &self.open;
        self.serve(socket, None, router, (open, metrics))
    }

    fn serve(
        &self,
        socket: std::net::TcpListener,
        tls: Option<Acceptor>,
        router: axum::Router,
        (open, metrics): (&Arc<OpenConnections>, &LimitMetrics),
    ) -> std::io::Result<()> {
        let tcp = TcpListener::from_std(socket)?;
        let counted = Counted { open: Arc::clone(open), metrics: metrics.clone() };
        let listener = Listener::new(tcp, tls, Arc::clone(&self.bounds), Arc::new(counted));
        tokio::spawn(listener.serve(router, self.course.subscribe()));
        Ok(())
    }

    /// Accepts connections from now on.
    pub fn accept(&self) {
        self.course.send_replace(Course::Accepting);
    }

    /// Accepts none any more, and finishes the requests that are under way.
    pub fn stop(&self) {
        self.course.send_replace(Course::Stopped);
    }

    /// The number of open connections.
    pub fn count_open(&self) -> usize {
        self.open.iter().map(|open| open.count_open()).sum()
    }
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
