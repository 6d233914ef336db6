//! What traces say of requests, in the words of OpenTelemetry's semantic conventions for HTTP.
//!
//! Everything here begins with whether the request has a [`Trace`]: none has one unless traces are on.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use http::{Method, StatusCode, Version};
use pingora::http::RequestHeader;
use pingora_core::Error;
use pingora_proxy::Session;
use tollgate_core::span::{self, Attribute, Ended};

use super::Gateway;
use super::context::{Context, Proxied};
use crate::scheme::Scheme;
use crate::telemetry::trace_context::{TRACEPARENT, TRACESTATE};
use crate::telemetry::traces::{Attributes, Trace};

/// A request has arrived.
pub(super) fn begin(gateway: &Gateway, session: &Session, context: &mut Context) {
    if let Some(tracer) = &gateway.tracer {
        context.trace = tracer.begin(&session.req_header().headers, context.request_id.as_str());
    }
}

/// The plugins' work, as a span above what they wait for.
pub(super) fn plugins<'w, T: Send + 'w>(
    trace: &Trace,
    work: impl Future<Output = T> + Send + 'w,
) -> Pin<Box<dyn Future<Output = T> + Send + 'w>> {
    if !trace.is_sampled() {
        return Box::pin(work);
    }
    let measured = span::measured("plugins", span::Kind::Internal, work, |_| Ended::default());
    Box::pin(Arc::clone(&trace.record).scope(measured))
}

/// The headers of an attempt.
pub(super) fn outgoing(request: &mut RequestHeader, context: &Context) {
    let Some(trace) = &context.trace else { return };
    if trace.begins_here() {
        request.remove_header(&TRACESTATE);
    }
    if let Some(value) = trace.outgoing() {
        request.remove_header(&TRACEPARENT);
        // It cannot be refused: the name is valid, and there is room for one that was there.
        let _ = request.insert_header(TRACEPARENT, value);
    }
}

/// An attempt has failed.
pub(super) fn attempt_failed(session: &Session, context: &mut Context, error: &Error) {
    let Some(mut trace) = context.trace.take() else { return };
    let why = Cow::Owned(error.etype().as_str().to_owned());
    trace.attempt_ended(|resent| Ended { attributes: of_attempt(session, context, resent, None), error: Some(why) });
    context.trace = Some(trace);
}

/// A request is over.
pub(super) fn finish(gateway: &Gateway, session: &Session, context: &mut Context, status: Option<StatusCode>) {
    let Some(mut trace) = context.trace.take().filter(|trace| trace.is_sampled()) else { return };
    let Some(tracer) = &gateway.tracer else { return };
    let responded = context.proxied().is_some_and(|proxied| proxied.responded_at.is_some());
    trace.attempt_ended(|resent| {
        let upstream = status.filter(|_| responded);
        let failed = upstream.filter(|status| status.as_u16() >= 400).map(|status| status.as_str().to_owned().into());
        Ended { attributes: of_attempt(session, context, resent, upstream), error: failed }
    });
    let head = session.req_header();
    let method = method(&head.method);
    let route = context.route.as_ref().map(|route| route.metrics.labels());
    let name = route.map_or(Cow::Borrowed(method), |labels| format!("{method} {}", labels.route).into());
    let failed = status.filter(StatusCode::is_server_error);
    let ended = context.replied_at.unwrap_or_else(Instant::now);
    let attributes = of_request(session, context, status);
    tracer.finish(trace.finish(name, (context.started, ended), attributes, failed.is_some()));
}

fn of_request(session: &Session, context: &Context, status: Option<StatusCode>) -> Attributes {
    let head = session.req_header();
    let mut attributes: Attributes = vec![
        ("http.request.method", method(&head.method).into()),
        ("url.path", head.uri.path().into()),
        ("network.protocol.name", "http".into()),
        ("network.protocol.version", version(head.version).into()),
        ("tollgate.request_id", context.request_id.as_str().into()),
    ];
    if let Some(origin) = context.origin {
        let scheme = if origin.scheme == Scheme::Https { "https" } else { "http" };
        attributes.push(("url.scheme", scheme.into()));
        attributes.push(("server.port", origin.port.into()));
        attributes.push(("client.address", Attribute::Text(origin.client.address.to_string())));
        attributes.push(("network.peer.address", Attribute::Text(origin.peer.to_string())));
    }
    if let Some(route) = &context.route {
        let labels = route.metrics.labels();
        attributes.push(("tollgate.route", labels.route.as_str().into()));
        attributes.push(("tollgate.service", labels.service.as_str().into()));
    }
    if let Some(status) = status {
        attributes.push(("http.response.status_code", status.as_u16().into()));
    }
    if let Some(reason) = context.reason() {
        attributes.push(("tollgate.reason", reason.into()));
    }
    if let Some(failed) = status.filter(StatusCode::is_server_error) {
        attributes.push(("error.type", context.reason().unwrap_or(failed.as_str()).into()));
    }
    attributes
}

fn of_attempt(session: &Session, context: &mut Context, resent: usize, status: Option<StatusCode>) -> Attributes {
    let Some(proxied) = context.proxied() else { return Vec::new() };
    let mut attributes: Attributes = vec![
        ("http.request.method", method(&session.req_header().method).into()),
        ("tollgate.service", (*proxied.service.label).into()),
    ];
    attributes.extend(address(proxied));
    if resent > 0 {
        attributes.push(("http.request.resend_count", Attribute::Number(i64::try_from(resent).unwrap_or(i64::MAX))));
    }
    if let Some(status) = status {
        attributes.push(("http.response.status_code", status.as_u16().into()));
    }
    attributes
}

fn address(proxied: &Proxied) -> Attributes {
    let Some(address) = proxied.address else { return Vec::new() };
    let ip = || Attribute::Text(address.ip().to_string());
    vec![
        ("server.address", ip()),
        ("server.port", address.port().into()),
        ("network.peer.address", ip()),
        ("network.peer.port", address.port().into()),
    ]
}

/// Methods that are not registered could be any text.
fn method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        "TRACE" => "TRACE",
        "CONNECT" => "CONNECT",
        _ => "_OTHER",
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}
