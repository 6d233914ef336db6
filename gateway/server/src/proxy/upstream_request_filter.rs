//! The head that goes upstream (contract gateway.md §7.1).
//!
//! Order matters: hop-by-hop headers go first, then the headers about this hop are set, and the
//! plugins' last, so that nothing a client sends can remove or replace what we say of it.

use std::time::Instant;

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, HeaderValue, Version};
use pingora::http::RequestHeader;
use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::Session;
use tollgate_core::request::HeaderEdit;

use super::context::{Context, Expectation, Outbound};
use super::forwarded::{HeaderSink, Hop, VIA_HTTP1, VIA_HTTP2};
use super::hop_by_hop::{self, Trailers};
use crate::snapshot::UpstreamHost;

const X_KONG_REQUEST_ID: HeaderName = HeaderName::from_static("x-kong-request-id");

/// Edits through Pingora's type, which keeps the spelling of names beside the map.
struct Upstream<'h>(&'h mut RequestHeader);

impl HeaderSink for Upstream<'_> {
    fn set(&mut self, name: HeaderName, value: HeaderValue) {
        // Fails only for a map of more than 32,768 names, which no checked head has.
        let _ = self.0.insert_header(name, value);
    }

    fn remove(&mut self, name: HeaderName) {
        self.0.remove_header(&name);
    }
}

/// Writes the head of one attempt; `request` is a copy of the client's.
pub(super) fn upstream_request_filter(
    session: &Session,
    request: &mut RequestHeader,
    context: &mut Context,
) -> Result<()> {
    let client = session.req_header();
    let request_id = context.request_id.header();
    let (Some(origin), Some(route)) = (context.origin, context.route.clone()) else {
        return Error::e_explain(ErrorType::InternalError, "a proxied request has an origin and a route");
    };
    let Some(proxied) = context.proxied() else {
        return Error::e_explain(ErrorType::InternalError, "a request that is not proxied has no upstream");
    };
    let mut upstream = Upstream(request);
    remove_hop_by_hop(client, &mut upstream);
    let hop = Hop {
        peer: origin.peer,
        client: origin.client,
        headers: &client.headers,
        scheme: origin.scheme,
        via: if client.version == Version::HTTP_2 { &VIA_HTTP2 } else { &VIA_HTTP1 },
        host: host(client),
        listener_port: origin.port,
        path: client.uri.path(),
        stripped: proxied.outbound.stripped_prefix.as_deref(),
    };
    hop.apply(&mut upstream);
    upstream.set(X_KONG_REQUEST_ID, request_id);
    match route.upstream_host {
        UpstreamHost::Service => upstream.set(HOST, proxied.service.host_header.clone()),
        UpstreamHost::Client if !client.headers.contains_key(HOST) => {
            // An HTTP/1.0 client need not say any: then there is none to preserve.
            let asked = host(client).and_then(|host| host.parse().ok());
            upstream.set(HOST, asked.unwrap_or_else(|| proxied.service.host_header.clone()));
        }
        UpstreamHost::Client => {}
    }
    set_connection(&mut upstream);
    apply(&proxied.outbound, &mut upstream);
    upstream.0.set_uri(proxied.outbound.uri.clone());
    proxied.sent = Some(Instant::now());
    proxied.answered = None;
    Ok(())
}

/// The host asked for: of the header, or of the target (HTTP/2).
fn host(client: &RequestHeader) -> Option<&str> {
    let header = client.headers.get(HOST).and_then(|value| value.to_str().ok());
    header.or_else(|| client.uri.authority().map(http::uri::Authority::as_str))
}

fn remove_hop_by_hop(client: &RequestHeader, upstream: &mut Upstream<'_>) {
    for name in hop_by_hop::of_request(&client.headers) {
        upstream.remove(name);
    }
    if Trailers::of(&client.headers) == Trailers::Wanted {
        upstream.set(TE, HeaderValue::from_static("trailers"));
    }
}

/// Pingora has left `Upgrade` only to a WebSocket handshake.
fn set_connection(upstream: &mut Upstream<'_>) {
    let upgrade = upstream.0.headers.contains_key(UPGRADE);
    let connection = if upgrade { "keep-alive, Upgrade" } else { "keep-alive" };
    upstream.set(CONNECTION, HeaderValue::from_static(connection));
}

/// The plugins' edits.
fn apply(outbound: &Outbound, upstream: &mut Upstream<'_>) {
    for edit in &outbound.headers {
        match edit {
            HeaderEdit::Set(name, value) => upstream.set(name.clone(), value.clone()),
            HeaderEdit::Remove(name) => upstream.remove(name.clone()),
        }
    }
    if outbound.expectation == Expectation::Met {
        upstream.remove(EXPECT);
    }
    if let Some(body) = &outbound.body {
        upstream.remove(TRANSFER_ENCODING);
        upstream.set(CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
}
