//! The end of every request, whatever the outcome: metrics and the access log.

use std::time::{Duration, Instant};

use http::StatusCode;
use pingora_proxy::Session;
use tollgate_core::clock::{Clock, SystemClock};

use super::Gateway;
use super::context::{Context, Course, Proxied};
use super::traced;
use crate::telemetry::access_log::{Line, Timestamp};
use crate::telemetry::route_metrics::{Observation, Source};
use crate::telemetry::trace_context;
use crate::telemetry::traces::Trace;

/// Counts and logs a finished request.
pub(super) fn logging(gateway: &Gateway, session: &Session, context: &mut Context) {
    let total = context.replied_at.unwrap_or_else(Instant::now).duration_since(context.started);
    let status = session.response_written().map(|response| response.status).filter(is_final);
    let proxied = match &context.course {
        Course::Proxied(proxied) => Some(&**proxied),
        Course::Undecided | Course::Replied(_) => None,
    };
    let upstream = proxied.and_then(|proxied| Some(proxied.responded_at?.duration_since(proxied.sent?)));
    let by_service = proxied.is_some_and(|proxied| proxied.responded_at.is_some());
    let seen = Observation {
        status: status.unwrap_or(StatusCode::BAD_REQUEST),
        source: if by_service { Source::Service } else { Source::Gateway },
        total,
        upstream,
        bytes_in: u64::try_from(session.body_bytes_read()).unwrap_or(u64::MAX),
        bytes_out: u64::try_from(session.body_bytes_sent()).unwrap_or(u64::MAX),
    };
    match &context.route {
        Some(route) => route.metrics.observe_of(context.consumer, &seen),
        None => gateway.metrics.observe_unmatched(&seen),
    }
    if let Some(reason) = context.reason() {
        gateway.metrics.refused(reason);
    }
    if gateway.access_log.is_on() {
        write(gateway, session, context, proxied, status, &seen);
    }
    if context.trace.is_some() {
        traced::finish(gateway, session, context, status);
    }
}

/// `100 Continue` ends nothing, `101 Switching Protocols` does (RFC 9110 §15.2).
pub(super) fn is_final(status: &StatusCode) -> bool {
    !status.is_informational() || *status == StatusCode::SWITCHING_PROTOCOLS
}

/// Writes the line. What plugins have noted of the sender is completed by what the gateway knows itself.
fn write(
    gateway: &Gateway,
    session: &Session,
    context: &Context,
    proxied: Option<&Proxied>,
    status: Option<StatusCode>,
    seen: &Observation,
) {
    let head = session.req_header();
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let sent = proxied.and_then(|proxied| proxied.sent);
    let target = context.route.as_ref().map(|route| &route.target);
    let mut caller = context.notes.as_deref().map(|notes| std::mem::take(&mut *notes.caller())).unwrap_or_default();
    caller.consumer = caller.consumer.or(context.consumer);
    let connection = session.digest().and_then(|digest| digest.ssl_digest.as_ref());
    gateway.access_log.write(&Line {
        time: Timestamp::new(SystemClock.now_millis()),
        request_id: context.request_id.as_str(),
        trace_id: context.trace.as_deref().map(Trace::id).or_else(|| trace_context::trace_id(&head.headers)),
        client: context.origin.map(|origin| origin.client.address),
        tls: connection.map(|tls| &*tls.version),
        method: head.method.as_str(),
        path: head.uri.path(),
        status: status.map_or(0, |status| status.as_u16()),
        reason: context.reason(),
        route: target.map(|target| target.route_id),
        service: target.and_then(|target| target.service_id),
        labels: context.route.as_ref().map(|route| route.metrics.labels()),
        caller: &caller,
        upstream: proxied.and_then(|proxied| proxied.address),
        retries: proxied.map(|proxied| proxied.attempts.saturating_sub(1)),
        bytes_in: session.body_bytes_read(),
        bytes_out: session.body_bytes_sent(),
        total_ms: millis(seen.total),
        proxy_ms: sent.map(|sent| millis(sent.duration_since(context.started))),
        upstream_ms: seen.upstream.map(millis),
        served_stale: context.served_stale.map(|age| age.as_secs()),
    });
}
