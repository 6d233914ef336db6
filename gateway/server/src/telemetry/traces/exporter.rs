//! Sends spans to a collector, in batches, from one task.
//!
//! A batch that the collector cannot take now (OTLP/HTTP: 429, 502, 503, 504, or no response) is tried again a few times
//! while further spans are queued; one that it refuses is counted as failed.

use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout_at};
use tollgate_plugin::http_client::Profile;

use super::otlp::{self, Resource};
use super::trace::Finished;

/// How many spans are sent at once.
const BATCH: usize = 512;

/// How long a span waits for others.
const DELAY: Duration = Duration::from_secs(1);

/// How often a batch is sent, and the pause before the second time; it doubles.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(500);

/// Where spans are sent, as whom.
#[derive(Clone)]
pub struct Export {
    /// The collector's URL.
    pub endpoint: Uri,
    /// Sent with every batch: may be secrets.
    pub headers: HeaderMap,
    /// Who sends.
    pub resource: Resource,
}

/// What became of spans.
#[derive(Debug, Clone)]
pub struct SpanMetrics {
    pub(super) exported: IntCounter,
    pub(super) failed: IntCounter,
    pub(super) dropped: IntCounter,
}

impl SpanMetrics {
    /// Creates and registers it.
    ///
    /// # Errors
    /// It is registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let about = "Spans of traces, by what became of them: exported; dropped, because the queue was full; failed, \
                     because the collector did not take them.";
        let spans = IntCounterVec::new(Opts::new("tollgate_trace_spans_total", about), &["result"])?;
        registry.register(Box::new(spans.clone()))?;
        let of = |result: &str| spans.with_label_values(&[result]);
        Ok(Self { exported: of("exported"), failed: of("failed"), dropped: of("dropped") })
    }
}

/// What the task is told.
#[derive(Debug)]
pub(super) enum Command {
    /// A span is to be sent.
    Export(Finished),
    /// Everything before is to be sent now; says when it has been.
    Flush(std::sync::mpsc::Sender<()>),
}

pub(super) struct Exporter {
    export: Export,
    profile: Profile,
    metrics: SpanMetrics,
}

/// How sending a batch ended.
enum Sent {
    Taken,
    Later(String),
    Refused(String),
}

impl Exporter {
    pub(super) fn new(export: Export, profile: Profile, metrics: SpanMetrics) -> Self {
        // Spans that arrive twice are one: they have ids.
        Self { export, profile: profile.repeatable(), metrics }
    }

    /// Until every sender is gone.
    pub(super) async fn run(self, mut queue: Receiver<Command>) {
        let mut batch = Vec::new();
        while let Some(first) = queue.recv().await {
            let mut next = Some(first);
            let mut flushed = None;
            let deadline = Instant::now() + DELAY;
            while let Some(command) = next {
                match command {
                    Command::Export(span) => batch.push(span),
                    Command::Flush(done) => flushed = Some(done),
                }
                if flushed.is_some() || batch.len() >= BATCH {
                    break;
                }
                next = timeout_at(deadline, queue.recv()).await.ok().flatten();
            }
            self.send(&std::mem::take(&mut batch)).await;
            if let Some(done) = flushed {
                // Whoever asked may have given up.
                let _ = done.send(());
            }
        }
    }

    async fn send(&self, batch: &[Finished]) {
        if batch.is_empty() {
            return;
        }
        let body = Bytes::from(otlp::request(&self.export.resource, batch));
        let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let mut pause = PAUSE;
        for attempt in 1..=ATTEMPTS {
            let why = match self.post(body.clone()).await {
                Sent::Taken => return self.metrics.exported.inc_by(count),
                Sent::Later(_) if attempt < ATTEMPTS => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                    continue;
                }
                Sent::Later(why) | Sent::Refused(why) => why,
            };
            tracing::warn!(
                spans = count,
                error = why,
                "the collector of traces has not taken spans: see tracing.endpoint"
            );
            return self.metrics.failed.inc_by(count);
        }
    }

    async fn post(&self, body: Bytes) -> Sent {
        let mut request = Request::new(body);
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.export.endpoint.clone();
        request.headers_mut().clone_from(&self.export.headers);
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        match self.profile.send(request).await {
            Ok(response) if response.status().is_success() => Sent::Taken,
            Ok(response) => match response.status() {
                status @ (StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT) => Sent::Later(format!("status {status}")),
                status => Sent::Refused(format!("status {status}")),
            },
            Err(error) => Sent::Later(error.to_string()),
        }
    }
}
