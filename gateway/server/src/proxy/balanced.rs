//! A request to an upstream: the target of each attempt, and what its outcome says about that target.
//!
//! A target that has failed is not tried again in the request while there are others. What a reused connection ends
//! with says nothing about the target: it may have closed the connection while the request was on its way.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderValue, StatusCode};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::Session;
use smallvec::SmallVec;
use tollgate_core::path;
use tollgate_core::request::HeaderEdit;

use super::Gateway;
use super::context::{Context, Proxied};
use super::upstream_peer::Cause;
use crate::descriptors::are_exhausted;
use crate::upstream::balancing::{Balancer, HashInputs, Input, Lease, NewCookie, Observer, Sign};
use crate::upstream::service::ServiceEntry;
use crate::upstream::uses::Reused;

/// The error of an upstream of which no target can be used.
pub(super) const NO_TARGET: ErrorType = ErrorType::Custom("NoTarget");

/// The attempts of a request.
pub(super) struct Balanced {
    balancer: Arc<Balancer>,
    /// What is hashed.
    key: Option<Vec<u8>>,
    /// Where attempts have failed.
    tried: SmallVec<[SocketAddr; 4]>,
    /// The attempt under way, or the last one.
    lease: Option<Lease>,
}

impl Balanced {
    /// The `Host` of the attempt, unless the client's is preserved.
    pub(super) fn host_header(&self, service: &ServiceEntry) -> Option<HeaderValue> {
        let endpoint = &self.lease.as_ref()?.endpoint;
        match self.balancer.host_header() {
            Some(host) => HeaderValue::try_from(host).ok(),
            None => service.host_at(&endpoint.host, endpoint.address.port()),
        }
    }
}

/// The peer of the next attempt.
pub(super) async fn peer(
    gateway: &Gateway,
    session: &Session,
    context: &mut Context,
    preserved: Option<&str>,
) -> Result<Box<HttpPeer>> {
    let proxied = context.proxied();
    if proxied.is_some_and(|proxied| proxied.balanced.is_none()) {
        begin(gateway, session, context);
    }
    let idle_timeout = gateway.settings.upstream.keepalive_timeout;
    let Some(Proxied { service, balanced: Some(balanced), .. }) = context.proxied() else {
        return Error::e_explain(ErrorType::InternalError, "no upstream peer: request is not balanced");
    };
    // The attempt before has ended.
    balanced.lease = None;
    let Some(endpoint) = balanced.balancer.pick(balanced.key.as_deref(), &balanced.tried).await else {
        tracing::warn!(service = %service.id, upstream = balanced.balancer.name(), "no target of the upstream can be used");
        return Error::e_explain(NO_TARGET, "no target of the upstream can be used");
    };
    let host = balanced.balancer.host_header().unwrap_or_else(|| endpoint.host.to_string());
    let peer = service.peer_of((&balanced.balancer, &endpoint), &host, preserved, idle_timeout);
    balanced.lease = Some(Lease::new(endpoint));
    peer.map_or_else(|| Error::e_explain(NO_TARGET, "the upstream's client certificate cannot be used"), Ok)
}

/// Decides what of the request is hashed.
fn begin(gateway: &Gateway, session: &Session, context: &mut Context) {
    let balancer = context.proxied().and_then(|proxied| proxied.service.balancer().cloned());
    let Some(balancer) = balancer else { return };
    let inputs = balancer.hash_inputs();
    let (key, cookie) = inputs.map_or((None, None), |inputs| key(gateway, session, context, &inputs));
    if let Some(cookie) = cookie {
        context.response.edits.push(HeaderEdit::Append(http::header::SET_COOKIE, cookie.into_value()));
    }
    if let Some(proxied) = context.proxied() {
        proxied.balanced = Some(Box::new(Balanced { balancer, key, tried: SmallVec::new(), lease: None }));
    }
}

fn key(
    gateway: &Gateway,
    session: &Session,
    context: &Context,
    inputs: &HashInputs,
) -> (Option<Vec<u8>>, Option<NewCookie>) {
    let head = session.req_header();
    let given = head.uri.path();
    let path = path::normalise(given).unwrap_or_else(|_| given.into());
    let route = context.route.as_ref().map(|route| route.target.route_id);
    let capture = |name: &str| gateway.snapshot.load().capture(route?, &path, name);
    inputs.key(&Input {
        headers: &head.headers,
        client: context.origin.map(|origin| origin.client.address),
        consumer: context.consumer,
        path: &path,
        query: head.uri.query(),
        capture: &capture,
    })
}

/// The attempt has failed. Only what the upstream has brought about is a sign against the target.
pub(super) fn failed(context: &mut Context, error: &Error, reused: Reused, cause: Cause) {
    let Some(Proxied { balanced: Some(balanced), .. }) = context.proxied() else { return };
    let Some(lease) = &balanced.lease else { return };
    let address = lease.endpoint.address;
    if !balanced.tried.contains(&address) {
        balanced.tried.push(address);
    }
    let io_error = error.root_cause().downcast_ref::<std::io::Error>();
    let sign = sign_of(error.etype());
    let is_sign = cause == Cause::Upstream && !(reused == Reused::Yes && sign == Sign::ConnectionFailed);
    if is_sign && !io_error.is_some_and(are_exhausted) {
        balanced.balancer.observe(&lease.endpoint, Observer::Passive, sign);
    }
}

fn sign_of(kind: &ErrorType) -> Sign {
    match kind {
        ErrorType::ConnectTimedout
        | ErrorType::TLSHandshakeTimedout
        | ErrorType::ReadTimedout
        | ErrorType::WriteTimedout => Sign::TimedOut,
        _ => Sign::ConnectionFailed,
    }
}

/// The head of the response has arrived.
pub(super) fn responded(context: &mut Context, status: StatusCode) {
    let Some(Proxied { balanced: Some(balanced), .. }) = context.proxied() else { return };
    if let Some(lease) = &balanced.lease {
        lease.responded();
        balanced.balancer.observe(&lease.endpoint, Observer::Passive, Sign::Status(status.as_u16()));
    }
}
