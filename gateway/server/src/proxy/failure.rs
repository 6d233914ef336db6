//! Failures as responses: the status of a failed request (gateway.md §7.3).

use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use pingora_core::{Error, ErrorSource, ErrorType};
use pingora_proxy::{FailToProxy, Session};
use tollgate_core::reply::Reply;

use super::Gateway;
use super::balanced::NO_TARGET;
use super::client::Origin;
use super::context::Context;
use super::logging::is_final;
use super::reply::{self, OwnResponse};
use super::request_body_filter::BODY_TOO_LARGE;
use super::upstream_peer::{ADDRESS_REFUSED, NAME_RESOLUTION};
use crate::descriptors::are_exhausted;
use crate::telemetry::limit_metrics::Limit;

/// The error of a request for which no file descriptor is left to connect upstream.
pub(super) const NO_DESCRIPTOR: ErrorType = ErrorType::Custom("NoDescriptor");

/// Responds to a failed request, if the client is still connected. Requests with an unreadable head come
/// here directly.
pub(super) async fn fail_to_proxy(
    gateway: &Gateway,
    session: &mut Session,
    error: &Error,
    context: &mut Context,
) -> FailToProxy {
    context.origin = context.origin.or_else(|| Origin::of(session, &gateway.settings.live.load().trusted_ips));
    let begun = session.response_written().is_some_and(|response| is_final(&response.status));
    // Pingora closes the connection in any case, so it must not be announced as kept.
    session.set_keepalive(None);
    let io_error = error.root_cause().downcast_ref::<std::io::Error>();
    let kind = if io_error.is_some_and(are_exhausted) { &NO_DESCRIPTOR } else { error.etype() };
    let due = match too_large(kind, context) {
        Some(response) => Some(response),
        None => response_to(error.esource(), kind),
    };
    count(gateway, error.esource(), kind, due.as_ref());
    let response = if begun { None } else { due };
    let Some(response) = response else {
        context.replied(if begun { "answer_cut_short" } else { "client_gone" });
        return FailToProxy { error_code: 0, can_reuse_downstream: false };
    };
    let status = response.reply.status;
    log(error, &response.reply, context);
    // The client may have disconnected by now; the log has the status it would have received.
    let _ = reply::send(gateway.settings.product, session, context, response).await;
    FailToProxy { error_code: status.as_u16(), can_reuse_downstream: false }
}

/// The response to a body that is longer than a plugin allows.
fn too_large(kind: &ErrorType, context: &mut Context) -> Option<OwnResponse> {
    let limit = context.proxied()?.outbound.body_limit.filter(|_| *kind == BODY_TOO_LARGE)?;
    let reply = Reply::message(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", limit.message);
    Some(OwnResponse::gateway(reply))
}

/// Counts a limit that ended the request, even if it is too late for a response.
fn count(gateway: &Gateway, source: &ErrorSource, kind: &ErrorType, response: Option<&OwnResponse>) {
    let limits = gateway.metrics.limits();
    match (source, kind, response) {
        (ErrorSource::Downstream, ErrorType::WriteTimedout, _) => limits.count(Limit::WriteTimeout),
        (_, _, Some(response)) => limits.count_reason(response.reply.reason),
        (_, _, None) => {}
    }
}

/// Logs error types only: the text of an error may quote what a client or an upstream sent.
fn log(error: &Error, reply: &Reply, context: &mut Context) {
    let request_id = context.request_id.as_str().to_owned();
    let service = context.proxied().map(|proxied| tracing::field::display(proxied.service.id));
    let (error, status) = (error.root_etype().as_str(), reply.status.as_u16());
    match reply.status.is_server_error() {
        true => tracing::warn!(request_id, service, error, status, reason = reply.reason, "request failed"),
        false => tracing::debug!(request_id, error, status, reason = reply.reason, "request refused"),
    }
}

/// `None`: the client has disconnected.
fn response_to(source: &ErrorSource, kind: &ErrorType) -> Option<OwnResponse> {
    if *kind == NAME_RESOLUTION {
        let reply = Reply::message(StatusCode::SERVICE_UNAVAILABLE, "name_resolution", "name resolution failed");
        return Some(OwnResponse::gateway(reply));
    }
    if *kind == NO_TARGET {
        let text = "failure to get a peer from the ring-balancer";
        let reply = Reply::message(StatusCode::SERVICE_UNAVAILABLE, "no_target", text);
        return Some(OwnResponse::gateway(reply));
    }
    if *kind == ADDRESS_REFUSED {
        let text = "The upstream server is currently unavailable";
        let reply = Reply::message(StatusCode::SERVICE_UNAVAILABLE, "upstream_address_refused", text);
        return Some(OwnResponse::gateway(reply));
    }
    if *kind == NO_DESCRIPTOR {
        let text = "The upstream server is currently unavailable";
        let reply = Reply::message(StatusCode::SERVICE_UNAVAILABLE, "out_of_descriptors", text);
        return Some(OwnResponse::gateway(reply.with_header(RETRY_AFTER, HeaderValue::from_static("1"))));
    }
    match source {
        ErrorSource::Upstream => Some(of_upstream(kind)),
        ErrorSource::Downstream => of_client(kind),
        ErrorSource::Internal | ErrorSource::Unset => Some(internal(kind)),
    }
}

fn of_upstream(kind: &ErrorType) -> OwnResponse {
    match kind {
        ErrorType::ConnectTimedout
        | ErrorType::TLSHandshakeTimedout
        | ErrorType::ReadTimedout
        | ErrorType::WriteTimedout => {
            engine(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", "The upstream server is timing out")
        }
        ErrorType::InvalidCert | ErrorType::TLSHandshakeFailure => invalid_response("upstream_tls"),
        ErrorType::ConnectRefused | ErrorType::ConnectNoRoute | ErrorType::SocketError => {
            invalid_response("upstream_refused")
        }
        _ => invalid_response("upstream_invalid_response"),
    }
}

fn invalid_response(reason: &'static str) -> OwnResponse {
    engine(StatusCode::BAD_GATEWAY, reason, "An invalid response was received from the upstream server")
}

/// Pingora's error for a plain-text request on a TLS port, by its name: released versions do not
/// have it.
const PLAINTEXT_ON_TLS: &str = "PlaintextOnTLS";

/// Pingora's error for a request body below its minimum pace, likewise.
const BODY_TOO_SLOW: &str = "BodyTooSlow";

fn of_client(kind: &ErrorType) -> Option<OwnResponse> {
    match kind {
        ErrorType::HTTPStatus(414) => Some(engine(StatusCode::URI_TOO_LONG, "target_too_long", "URI too long")),
        ErrorType::HTTPStatus(431) => {
            let message = "Request header or cookie too large";
            Some(engine(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_long", message))
        }
        ErrorType::HTTPStatus(505) => {
            let message = "The upstream server responded with 505";
            Some(engine(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "bad_version", message))
        }
        kind if kind.as_str() == PLAINTEXT_ON_TLS => {
            let message = "The plain HTTP request was sent to HTTPS port";
            Some(OwnResponse::plain(Reply::message(StatusCode::BAD_REQUEST, "plain_http_on_https", message)))
        }
        ErrorType::ReadTimedout => Some(engine(StatusCode::REQUEST_TIMEOUT, "client_timeout", "Request timeout")),
        kind if kind.as_str() == BODY_TOO_SLOW => {
            Some(engine(StatusCode::REQUEST_TIMEOUT, "client_too_slow", "Request timeout"))
        }
        // HTTP/2 errors are those of the stream: it was reset, and no response can be sent.
        ErrorType::ReadError
        | ErrorType::WriteError
        | ErrorType::WriteTimedout
        | ErrorType::ConnectionClosed
        | ErrorType::H2Error => None,
        _ => Some(engine(StatusCode::BAD_REQUEST, "bad_request", "Bad request")),
    }
}

fn internal(kind: &ErrorType) -> OwnResponse {
    match kind {
        ErrorType::InvalidHTTPHeader => engine(StatusCode::BAD_REQUEST, "bad_request", "Bad request"),
        _ => engine(StatusCode::INTERNAL_SERVER_ERROR, "internal", "An unexpected error occurred"),
    }
}

fn engine(status: StatusCode, reason: &'static str, message: &str) -> OwnResponse {
    OwnResponse::engine(Reply::message(status, reason, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_get_their_status_by_the_table() {
        let rows = [
            (ErrorSource::Upstream, ErrorType::ConnectRefused, Some(502)),
            (ErrorSource::Upstream, ErrorType::ConnectionClosed, Some(502)),
            (ErrorSource::Upstream, ErrorType::InvalidHTTPHeader, Some(502)),
            (ErrorSource::Upstream, ErrorType::InvalidCert, Some(502)),
            (ErrorSource::Upstream, ErrorType::ConnectTimedout, Some(504)),
            (ErrorSource::Upstream, ErrorType::ReadTimedout, Some(504)),
            (ErrorSource::Unset, NAME_RESOLUTION, Some(503)),
            (ErrorSource::Unset, ADDRESS_REFUSED, Some(503)),
            (ErrorSource::Unset, NO_TARGET, Some(503)),
            (ErrorSource::Internal, NO_DESCRIPTOR, Some(503)),
            (ErrorSource::Downstream, ErrorType::InvalidHTTPHeader, Some(400)),
            (ErrorSource::Downstream, ErrorType::ReadTimedout, Some(408)),
            (ErrorSource::Downstream, ErrorType::HTTPStatus(414), Some(414)),
            (ErrorSource::Downstream, ErrorType::HTTPStatus(431), Some(431)),
            (ErrorSource::Downstream, ErrorType::HTTPStatus(505), Some(505)),
            (ErrorSource::Downstream, ErrorType::Custom(PLAINTEXT_ON_TLS), Some(400)),
            (ErrorSource::Downstream, ErrorType::ConnectionClosed, None),
            (ErrorSource::Downstream, ErrorType::H2Error, None),
            (ErrorSource::Internal, ErrorType::InternalError, Some(500)),
        ];
        for (source, kind, expected) in rows {
            let status = response_to(&source, &kind).map(|response| response.reply.status.as_u16());
            assert_eq!(status, expected, "{source:?} {kind:?}");
        }
    }
}
