//! The upstream peer of an attempt, and whether a failed one is retried.

use pingora_core::upstreams::peer::{HttpPeer, Peer};
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_proxy::Session;
use uuid::Uuid;

use super::Gateway;
use super::announcement::announce;
use super::balanced;
use super::context::Context;
use super::logging::is_final;
use super::retry::{self, Reached, Replay};
use super::traced;
use super::upstream_request_filter::host;
use super::{buffering, grpc_call, upstream_http2};
use crate::snapshot::UpstreamHost;
use crate::upstream::uses::Reused;
use crate::upstream::{addresses, version};

/// The error of a service whose host cannot be resolved.
pub(super) const NAME_RESOLUTION: ErrorType = ErrorType::Custom("NameResolution");

/// The error of a service at an address to which requests are not proxied.
pub(super) const ADDRESS_REFUSED: ErrorType = ErrorType::Custom("AddressRefused");

/// The peer of the next attempt.
pub(super) async fn upstream_peer(
    gateway: &Gateway,
    session: &Session,
    context: &mut Context,
) -> Result<Box<HttpPeer>> {
    let preserves = context.route.as_ref().is_some_and(|route| route.upstream_host == UpstreamHost::Client);
    let preserved = preserves.then(|| host(session.req_header())).flatten();
    let buffers = context.route.as_ref().is_some_and(|route| route.buffers_responses);
    let (origin, buffer_bytes) = (context.origin, context.buffer_bytes);
    if let Some(trace) = &mut context.trace {
        trace.attempt_begins();
    }
    let Some(proxied) = context.proxied() else {
        return Error::e_explain(ErrorType::InternalError, "no upstream peer: request is not proxied");
    };
    proxied.reached = Reached::NoConnection;
    let mut peer = if proxied.service.balancer().is_some() {
        Box::pin(balanced::peer(gateway, session, context, preserved)).await?
    } else {
        let found = proxied.service.peer(preserved, gateway.settings.upstream.keepalive_timeout).await;
        found.map_err(|error| unusable(&error, proxied.service.id))?
    };
    let Some(proxied) = context.proxied() else {
        return Error::e_explain(ErrorType::InternalError, "no upstream peer: request is not proxied");
    };
    // An attempt for which there is no peer is none.
    proxied.attempts += 1;
    proxied.address = peer.address().as_inet().copied();
    let (settings, transport) = (&gateway.settings, proxied.service.transport);
    version::set(&mut peer.options, transport, settings.upstream.http2);
    grpc_call::bound(&mut peer.options, session.req_header(), transport);
    buffering::read_ahead(&mut peer.options, buffers, buffer_bytes.response);
    announce(&settings.announcements, &mut peer, &proxied.service, origin, session);
    Ok(peer)
}

fn unusable(error: &addresses::Error, service: Uuid) -> Box<Error> {
    let (kind, what) = match error {
        addresses::Error::Refused(_) => (ADDRESS_REFUSED, "upstream address refused"),
        _ => (NAME_RESOLUTION, "cannot resolve upstream host"),
    };
    tracing::warn!(%service, error = describe(error), "{what}");
    Error::because(kind, what, describe(error))
}

fn describe(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

/// There was no connection: nothing was sent, so any request may be retried.
pub(super) fn fail_to_connect(session: &Session, context: &mut Context, mut error: Box<Error>) -> Box<Error> {
    traced::attempt_failed(session, context, &error);
    let cause = cause(session, context, &error);
    balanced::failed(context, &error, Reused::No, cause);
    let again = cause != Cause::Deadline && is_another(session, context);
    error.set_retry(again);
    error
}

/// There was a connection, and it failed. Pingora requires that the retry be decided here.
pub(super) fn error_while_proxy(
    session: &Session,
    context: &mut Context,
    mut error: Box<Error>,
    reused: Reused,
) -> Box<Error> {
    traced::attempt_failed(session, context, &error);
    let upstream = *error.esource() == ErrorSource::Upstream;
    let unprocessed = upstream && is_unprocessed(&error, context);
    let cause = cause(session, context, &error);
    if upstream && !unprocessed {
        balanced::failed(context, &error, reused, cause);
    }
    let broke_off = broke_off(error.etype()) && cause != Cause::Deadline;
    let again = upstream && (unprocessed || broke_off) && is_another(session, context);
    error.set_retry(again);
    error
}

/// Who has brought a failure about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The upstream, as far as is known.
    Upstream,
    /// The client, so that it says nothing about the upstream: the name that it sent is none of the upstream's
    /// certificate, or it was content to wait for more of a response that has begun, such as a stream of events.
    Client,
    /// The deadline of the client's call, which has passed for each further attempt too.
    Deadline,
}

fn cause(session: &Session, context: &mut Context, error: &Error) -> Cause {
    let sends_own_name = context.route.as_ref().is_some_and(|route| route.upstream_host == UpstreamHost::Client);
    let Some(proxied) = context.proxied() else { return Cause::Upstream };
    let (service, transport) = (&proxied.service, proxied.service.transport);
    let limit = match error.etype() {
        ErrorType::ReadTimedout | ErrorType::WriteTimedout if has_responded(session) => return Cause::Client,
        ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert => {
            return if sends_own_name && transport.verification().is_some() { Cause::Client } else { Cause::Upstream };
        }
        ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => service.connect_timeout(),
        ErrorType::ReadTimedout => service.read_timeout(),
        _ => return Cause::Upstream,
    };
    let deadline = grpc_call::deadline(session.req_header(), transport);
    if deadline.is_some_and(|deadline| deadline < limit) { Cause::Deadline } else { Cause::Upstream }
}

fn has_responded(session: &Session) -> bool {
    session.response_written().is_some_and(|response| is_final(&response.status))
}

/// Whether the upstream has said that nothing was done. Then it is as if it had not been sent.
fn is_unprocessed(error: &Error, context: &mut Context) -> bool {
    let Some(proxied) = context.proxied() else { return false };
    let unprocessed = upstream_http2::was_not_processed(error, proxied.service.transport);
    if unprocessed && proxied.reached == Reached::Sent {
        proxied.reached = Reached::NoConnection;
    }
    unprocessed
}

/// Whether the connection ended or was silent before there was a response. An unreadable response
/// means that the upstream has acted on the request (gateway.md §7.4).
fn broke_off(kind: &ErrorType) -> bool {
    matches!(
        kind,
        ErrorType::ConnectionClosed
            | ErrorType::ReadError
            | ErrorType::ReadTimedout
            | ErrorType::WriteError
            | ErrorType::WriteTimedout
    )
}

fn is_another(session: &Session, context: &mut Context) -> bool {
    let responded = has_responded(session);
    let replay = if session.as_ref().retry_buffer_truncated() { Replay::Impossible } else { Replay::Possible };
    let Some(proxied) = context.proxied() else { return false };
    let reached = if responded { Reached::Responded } else { proxied.reached };
    let again = retry::again(proxied.attempts, proxied.service.attempts, &session.req_header().method, reached, replay);
    if again {
        tracing::debug!(service = %proxied.service.id, attempt = proxied.attempts, "upstream attempt failed; retrying");
    }
    again
}
