//! The trace of one request, from its head to its spans.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue};
use tollgate_core::random::{Random, SystemRandom};
use tollgate_core::span::{self, Attribute, Record};

use crate::telemetry::trace_context::{Parent, TRACESTATE};

/// A longer `tracestate` is not kept with spans; it goes upstream all the same (W3C Trace Context §3.3.1.5).
const MAX_STATE: usize = 512;

/// Names of the semantic conventions, with values.
pub(crate) type Attributes = Vec<(&'static str, Attribute)>;

/// What is known of a trace while its request is in progress.
#[derive(Debug)]
pub(crate) struct Trace {
    /// The trace: 32 hexadecimal digits.
    id: String,
    /// The span of the request at the gateway.
    span: [u8; 8],
    parent: Option<[u8; 8]>,
    state: Option<String>,
    is_sampled: bool,
    /// What plugins wait for.
    pub(crate) record: Arc<Record>,
    /// The attempts upstream that have begun.
    attempts: Vec<Attempt>,
}

/// A request to an upstream.
#[derive(Debug)]
struct Attempt {
    span: [u8; 8],
    began: Instant,
    /// When it ended, and what is known of it; `None`: it is under way.
    ended: Option<(Instant, span::Ended)>,
}

/// A span to be sent.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(super) trace: [u8; 16],
    pub(super) span: [u8; 8],
    pub(super) parent: Option<[u8; 8]>,
    /// Whether the parent is a span of another process.
    pub(super) has_remote_parent: bool,
    pub(super) state: Option<String>,
    pub(super) name: Cow<'static, str>,
    pub(super) kind: Kind,
    /// In nanoseconds since 1970.
    pub(super) began: u64,
    pub(super) ended: u64,
    pub(super) attributes: Attributes,
    pub(super) has_failed: bool,
}

/// As OTLP numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Internal = 1,
    Server = 2,
    Client = 3,
}

impl Trace {
    /// `None`: the id is none.
    pub(super) fn begin(parent: Option<&Parent<'_>>, headers: &HeaderMap, id: &str, is_sampled: bool) -> Option<Self> {
        let state = headers.get_all(TRACESTATE).iter().map(|value| value.to_str().ok()).collect::<Option<Vec<_>>>();
        let state = state.map(|parts| parts.join(",")).filter(|state| !state.is_empty() && state.len() <= MAX_STATE);
        let id = parent.map_or(id, |parent| parent.trace_id).to_owned();
        bytes::<16>(&id)?;
        Some(Self {
            id,
            span: new_id(),
            parent: parent.and_then(|parent| bytes(parent.span_id)),
            // Without a parent it says nothing.
            state: parent.and(state),
            is_sampled,
            record: Arc::default(),
            attempts: Vec::new(),
        })
    }

    /// Its id: 32 hexadecimal digits.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn is_sampled(&self) -> bool {
        self.is_sampled
    }

    /// Whether it began at this gateway, so that a `tracestate` that was sent belongs to no trace.
    pub(crate) fn begins_here(&self) -> bool {
        self.parent.is_none()
    }

    /// An attempt begins; the one before, if any, has ended.
    pub(crate) fn attempt_begins(&mut self) {
        if self.is_sampled {
            self.attempts.push(Attempt { span: new_id(), began: Instant::now(), ended: None });
        }
    }

    /// The attempt under way has ended.
    pub(crate) fn attempt_ended(&mut self, describe: impl FnOnce(usize) -> span::Ended) {
        let resent = self.attempts.len().saturating_sub(1);
        if let Some(attempt) = self.attempts.last_mut().filter(|attempt| attempt.ended.is_none()) {
            attempt.ended = Some((Instant::now(), describe(resent)));
        }
    }

    /// `traceparent` of the attempt under way.
    pub(crate) fn outgoing(&self) -> Option<HeaderValue> {
        let span = self.attempts.last().map_or(self.span, |attempt| attempt.span);
        let flags = u8::from(self.is_sampled);
        HeaderValue::try_from(format!("00-{}-{:016x}-{flags:02x}", self.id, u64::from_be_bytes(span))).ok()
    }

    /// The spans of a request that is over: its own, named so and with these attributes, first.
    pub(crate) fn finish(
        self,
        name: Cow<'static, str>,
        times: (Instant, Instant),
        attributes: Attributes,
        has_failed: bool,
    ) -> Vec<Finished> {
        let (Some(trace), (_, ended)) = (bytes(&self.id), times) else { return Vec::new() };
        let mut made = Making { trace, state: self.state, clock: Clock::now(), spans: Vec::new() };
        made.add(self.span, self.parent, name, Kind::Server, times, (attributes, has_failed));
        let of_plugins = self.record.take();
        let ids: Vec<[u8; 8]> = of_plugins.iter().map(|_| new_id()).collect();
        for (recorded, id) in of_plugins.into_iter().zip(&ids) {
            let above = recorded.parent.and_then(|position| ids.get(position)).copied();
            let kind = match recorded.kind {
                span::Kind::Internal => Kind::Internal,
                span::Kind::Client => Kind::Client,
            };
            let times = (recorded.began, recorded.ended.unwrap_or(ended));
            let what = described(recorded.attributes, recorded.error);
            made.add(*id, above.or(Some(self.span)), recorded.name.into(), kind, times, what);
        }
        for attempt in self.attempts {
            let (at, known) = attempt.ended.unwrap_or_else(|| (ended, span::Ended::default()));
            let what = described(known.attributes, known.error);
            made.add(attempt.span, Some(self.span), "upstream".into(), Kind::Client, (attempt.began, at), what);
        }
        made.spans
    }
}

/// The spans of a request in the making.
struct Making {
    trace: [u8; 16],
    state: Option<String>,
    clock: Clock,
    spans: Vec<Finished>,
}

impl Making {
    fn add(
        &mut self,
        span: [u8; 8],
        parent: Option<[u8; 8]>,
        name: Cow<'static, str>,
        kind: Kind,
        (began, ended): (Instant, Instant),
        (attributes, has_failed): (Attributes, bool),
    ) {
        self.spans.push(Finished {
            trace: self.trace,
            span,
            parent,
            has_remote_parent: kind == Kind::Server && parent.is_some(),
            state: self.state.clone(),
            name,
            kind,
            began: self.clock.nanos(began),
            ended: self.clock.nanos(ended.max(began)),
            attributes,
            has_failed,
        });
    }
}

/// The attributes, with the error among them.
fn described(mut attributes: Attributes, error: Option<Cow<'static, str>>) -> (Attributes, bool) {
    let has_failed = error.is_some();
    attributes.extend(error.map(|error| ("error.type", Attribute::Text(error.into_owned()))));
    (attributes, has_failed)
}

/// The system's time for instants of the near past.
struct Clock {
    instant: Instant,
    since_epoch: Duration,
}

impl Clock {
    fn now() -> Self {
        Self { instant: Instant::now(), since_epoch: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() }
    }

    fn nanos(&self, at: Instant) -> u64 {
        let since_epoch = self.since_epoch.saturating_sub(self.instant.saturating_duration_since(at));
        u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
    }
}

fn new_id() -> [u8; 8] {
    let mut id = [0; 8];
    while id == [0; 8] {
        SystemRandom.fill(&mut id);
    }
    id
}

/// The bytes of hexadecimal digits.
fn bytes<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    for (position, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * position..2 * position + 2)?, 16).ok()?;
    }
    (digits.len() == 2 * N).then_some(bytes)
}
