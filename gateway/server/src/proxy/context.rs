//! What is known of a request on its way, as states.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, Uri};
use smallvec::SmallVec;
use tollgate_core::host::Host;
use tollgate_core::request::HeaderEdit;
use uuid::Uuid;

use super::client::Origin;
use super::pipeline::ResponsePlan;
use super::request_id::RequestId;
use super::retry::Reached;
use crate::snapshot::RouteEntry;
use crate::telemetry::metrics::Metrics;
use crate::upstream::service::ServiceEntry;
use crate::upstream::uses::Use;

/// Counts a request as in progress for as long as it lives, even if it ends in a panic.
struct InProgress(Arc<Metrics>);

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.request_ended();
    }
}

/// One request.
pub struct Context {
    pub(super) started: Instant,
    pub(super) request_id: RequestId,
    /// The TCP peer as headers have it: made by the connection's first request that is proxied.
    pub(super) peer: Option<HeaderValue>,
    /// Where it is from; once accepted.
    pub(super) origin: Option<Origin>,
    /// What it matched.
    pub(super) route: Option<Arc<RouteEntry>>,
    /// Who it is from, as the plugins found out.
    pub(super) consumer: Option<Uuid>,
    /// What the plugins want of the response.
    pub(super) response: ResponsePlan,
    /// Who responds to it.
    pub(super) course: Course,
    /// When the gateway replied, where it still read what the client sent behind the request.
    pub(super) replied_at: Option<Instant>,
    _in_progress: InProgress,
}

/// Who responds.
pub(super) enum Course {
    /// Not decided.
    Undecided,
    /// The gateway, for this reason.
    Replied(&'static str),
    /// The upstream.
    Proxied(Box<Proxied>),
}

/// What became of the client's `Expect: 100-continue`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expectation {
    /// The upstream is to decide on it.
    Forwarded,
    /// The gateway has, or has read the body anyway.
    Met,
}

/// What goes upstream differently from how it came.
pub(super) struct Outbound {
    /// Path and query.
    pub(super) uri: Uri,
    /// The prefix that `strip_path` took away, for `X-Forwarded-Prefix`.
    pub(super) stripped_prefix: Option<String>,
    /// The plugins' headers.
    pub(super) headers: SmallVec<[HeaderEdit; 8]>,
    /// The plugins' body.
    pub(super) body: Option<Bytes>,
    /// What became of `Expect`.
    pub(super) expectation: Expectation,
    /// The host that the client asked for.
    pub(super) host: Option<Host<'static>>,
}

/// A request on its way to its upstream and back.
pub(super) struct Proxied {
    pub(super) service: Arc<ServiceEntry>,
    pub(super) outbound: Outbound,
    /// Attempts begun.
    pub(super) attempts: u32,
    /// How far the current attempt is.
    pub(super) reached: Reached,
    /// Whether its connection may be used again.
    pub(super) connection: Use,
    /// When the current attempt's request was sent.
    pub(super) sent: Option<Instant>,
    /// When the head of the response came.
    pub(super) responded_at: Option<Instant>,
    /// Why the gateway had to reply after all.
    pub(super) failed: Option<&'static str>,
}

impl Proxied {
    /// Before the first attempt.
    pub(super) fn new(service: Arc<ServiceEntry>, outbound: Outbound) -> Self {
        let reached = Reached::NoConnection;
        let connection = Use::OneOfMany;
        Self { service, outbound, attempts: 0, reached, connection, sent: None, responded_at: None, failed: None }
    }
}

impl Context {
    pub(super) fn new(metrics: &Arc<Metrics>) -> Self {
        metrics.request_started();
        Self {
            started: Instant::now(),
            request_id: RequestId::new(),
            peer: None,
            origin: None,
            route: None,
            consumer: None,
            response: ResponsePlan::default(),
            course: Course::Undecided,
            replied_at: None,
            _in_progress: InProgress(Arc::clone(metrics)),
        }
    }

    /// The request on its way to its upstream, if it is.
    pub(super) fn proxied(&mut self) -> Option<&mut Proxied> {
        match &mut self.course {
            Course::Proxied(proxied) => Some(proxied),
            Course::Undecided | Course::Replied(_) => None,
        }
    }

    /// The gateway replies, for this reason.
    pub(super) fn replied(&mut self, reason: &'static str) {
        match &mut self.course {
            Course::Proxied(proxied) => proxied.failed = Some(reason),
            course => *course = Course::Replied(reason),
        }
    }

    /// Why the gateway replied, if it did.
    pub(super) fn reason(&self) -> Option<&'static str> {
        match &self.course {
            Course::Undecided => None,
            Course::Replied(reason) => Some(reason),
            Course::Proxied(proxied) => proxied.failed,
        }
    }

    /// A connection stands: from now on something may have been sent.
    pub(super) fn connected_to_upstream(&mut self, connection: Use) {
        if let Some(proxied) = self.proxied() {
            proxied.reached = Reached::Sent;
            proxied.connection = connection;
        }
    }
}
