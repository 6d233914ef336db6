//! Request context: what is known about a request in progress, as states.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Uri};
use smallvec::SmallVec;
use tollgate_core::host::Host;
use tollgate_core::notes::Notes;
use tollgate_core::request::{BodyLimit, HeaderEdit};
use uuid::Uuid;

use super::arrival::Serving;
use super::balanced::Balanced;
use super::client::Origin;
use super::limits::BufferBytes;
use super::pipeline::ResponsePlan;
use super::request_id::RequestId;
use super::retry::Reached;
use crate::snapshot::RouteEntry;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::Trace;
use crate::upstream::service::ServiceEntry;
use crate::upstream::uses::Use;

/// Counts a request as in progress until it is dropped, even in a panic.
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
    /// The TCP peer as written in headers; created by the connection's first proxied request.
    pub(super) peer: Option<HeaderValue>,
    /// The client's connection.
    pub(super) serving: Serving,
    /// The client; set once the request is accepted.
    pub(super) origin: Option<Origin>,
    /// The matched route.
    pub(super) route: Option<Arc<RouteEntry>>,
    /// The identity found by the plugins.
    pub(super) consumer: Option<Uuid>,
    /// What the access log says of the sender; `None`: it says nothing.
    pub(super) notes: Option<Box<Notes>>,
    /// Its trace; `None`: traces are off, or the request is not traced.
    pub(super) trace: Option<Box<Trace>>,
    /// If it was decided on cached data while the store was away: for how long no changes were heard.
    pub(super) served_stale: Option<Duration>,
    /// How much of the request and its response is buffered.
    pub(super) buffer_bytes: BufferBytes,
    /// The plugins' changes to the response.
    pub(super) response: ResponsePlan,
    /// Who responds to it.
    pub(super) course: Course,
    /// When the gateway replied, if it had to read more from the client afterwards.
    pub(super) replied_at: Option<Instant>,
    _in_progress: InProgress,
}

/// The source of the response.
pub(super) enum Course {
    /// Undecided.
    Undecided,
    /// The gateway, for this reason.
    Replied(&'static str),
    /// The upstream.
    Proxied(Box<Proxied>),
}

/// The state of the client's `Expect: 100-continue`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expectation {
    /// The upstream decides on it.
    Forwarded,
    /// The gateway has replied to it, or has read the body anyway.
    Met,
}

/// The changes to a request on its way upstream.
pub(super) struct Outbound {
    /// Path and query.
    pub(super) uri: Uri,
    /// The prefix that `strip_path` removed, for `X-Forwarded-Prefix`.
    pub(super) stripped_prefix: Option<String>,
    /// The plugins' headers.
    pub(super) headers: SmallVec<[HeaderEdit; 8]>,
    /// The plugins' body.
    pub(super) body: Option<Bytes>,
    /// The most bytes that the client's body may have.
    pub(super) body_limit: Option<BodyLimit>,
    /// The state of `Expect`.
    pub(super) expectation: Expectation,
    /// The host that the client requested.
    pub(super) host: Option<Host<'static>>,
}

/// The proxying of a request: its attempts and their state.
pub(super) struct Proxied {
    pub(super) service: Arc<ServiceEntry>,
    pub(super) outbound: Outbound,
    /// Which targets were tried, if the service is an upstream.
    pub(super) balanced: Option<Box<Balanced>>,
    /// Attempts started.
    pub(super) attempts: u32,
    /// The address of the last one.
    pub(super) address: Option<SocketAddr>,
    /// The progress of the current attempt.
    pub(super) reached: Reached,
    /// The bytes of the client's body in the current attempt.
    pub(super) body_bytes: u64,
    /// Whether its connection may be reused.
    pub(super) connection: Use,
    /// When the current attempt's request was sent.
    pub(super) sent: Option<Instant>,
    /// When the response head arrived.
    pub(super) responded_at: Option<Instant>,
    /// Why the gateway had to reply after all.
    pub(super) failed: Option<&'static str>,
}

impl Proxied {
    /// Before the first attempt.
    pub(super) fn new(service: Arc<ServiceEntry>, outbound: Outbound) -> Self {
        let reached = Reached::NoConnection;
        let connection = Use::OneOfMany;
        Self {
            service,
            outbound,
            balanced: None,
            attempts: 0,
            address: None,
            reached,
            body_bytes: 0,
            connection,
            sent: None,
            responded_at: None,
            failed: None,
        }
    }
}

impl Context {
    pub(super) fn new(metrics: &Arc<Metrics>, notes: Option<Box<Notes>>) -> Self {
        metrics.request_started();
        Self {
            started: Instant::now(),
            request_id: RequestId::new(),
            peer: None,
            serving: Serving::new(),
            origin: None,
            route: None,
            consumer: None,
            notes,
            trace: None,
            served_stale: None,
            buffer_bytes: BufferBytes::default(),
            response: ResponsePlan::default(),
            course: Course::Undecided,
            replied_at: None,
            _in_progress: InProgress(Arc::clone(metrics)),
        }
    }

    /// The state of proxying, if the request is being proxied.
    pub(super) fn proxied(&mut self) -> Option<&mut Proxied> {
        match &mut self.course {
            Course::Proxied(proxied) => Some(proxied),
            Course::Undecided | Course::Replied(_) => None,
        }
    }

    /// Records that the gateway replies, for this reason.
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

    /// Records a connection: from now on something may have been sent.
    pub(super) fn connected_to_upstream(&mut self, connection: Use) {
        if let Some(proxied) = self.proxied() {
            proxied.reached = Reached::Sent;
            proxied.connection = connection;
        }
    }
}
