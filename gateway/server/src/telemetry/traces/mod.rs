//! Traces: what a request waited for, as OpenTelemetry spans (OTLP over HTTP).
//!
//! Off unless `tracing.endpoint` is set; then a request has no [`Trace`], and nothing is measured. Of a sampled request
//! the spans are put together after the response ([`trace`]) and queued; one task sends them ([`exporter`]), in the
//! format of [`otlp`]. A full queue drops spans and counts them: no request waits for a collector.
//!
//! Invariant: a span holds no query, no header value but that of `tracestate`, and no body, so no token and no secret.

mod exporter;
mod otlp;
mod sampler;
mod trace;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use tokio::runtime::{Handle, RuntimeFlavor};
use tollgate_plugin::http_client::Profile;

use super::trace_context;
use exporter::{Command, Exporter};
use sampler::Sampler;

pub use exporter::{Export, SpanMetrics};
pub use otlp::Resource;
pub use sampler::Ratio;
pub(crate) use trace::{Attributes, Finished, Trace};

/// What is traced, and how it is named.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// How many of the traces that begin here are recorded.
    pub ratio: Ratio,
    /// Whether the sender of a `traceparent` decides instead.
    pub follows_parent: bool,
    /// How many spans may wait to be sent.
    pub queue: usize,
}

/// Begins traces, and takes their spans. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tracer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    sampler: Sampler,
    queue: tokio::sync::mpsc::Sender<Command>,
    metrics: SpanMetrics,
}

impl Tracer {
    /// Sends spans from a task on `runtime`.
    pub fn start(rules: &Rules, export: Export, profile: Profile, metrics: SpanMetrics, runtime: &Handle) -> Self {
        let (queue, waiting) = tokio::sync::mpsc::channel(rules.queue);
        runtime.spawn(Exporter::new(export, profile, metrics.clone()).run(waiting));
        let sampler = Sampler { ratio: rules.ratio, follows_parent: rules.follows_parent };
        Self(Arc::new(Shared { sampler, queue, metrics }))
    }

    /// The trace of a request; `None`: its headers, or their absence, reach the upstream as they are. `id` is that of a
    /// trace that begins here.
    pub(crate) fn begin(&self, headers: &HeaderMap, id: &str) -> Option<Box<Trace>> {
        let parent = trace_context::parent(headers);
        let is_sampled = self.0.sampler.decide(parent.as_ref(), id);
        match (parent, is_sampled) {
            (Some(_), false) => None,
            (parent, is_sampled) => Trace::begin(parent.as_ref(), headers, id, is_sampled).map(Box::new),
        }
    }

    /// Queues the spans of a request.
    pub(crate) fn finish(&self, finished: Vec<Finished>) {
        for span in finished {
            if self.0.queue.try_send(Command::Export(span)).is_err() {
                self.0.metrics.dropped.inc();
            }
        }
    }

    /// Waits, for a limited time, until what is queued has been sent. For shutdown.
    pub fn flush(&self, bound: Duration) {
        let (done, wait) = std::sync::mpsc::channel();
        if self.0.queue.try_send(Command::Flush(done)).is_err() {
            return;
        }
        let wait = || {
            // What was not sent in time is given up.
            let _ = wait.recv_timeout(bound);
        };
        // The task that sends may be next on this very thread.
        match Handle::try_current().map(|here| here.runtime_flavor()) {
            Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(wait),
            _ => wait(),
        }
    }
}
