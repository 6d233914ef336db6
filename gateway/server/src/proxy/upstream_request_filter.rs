//! The head that goes upstream (contract gateway.md §7.1).
//!
//! Order matters: hop-by-hop headers go first, then the headers about this hop are set, and the
//! plugins' last, so that nothing a client sends can remove or replace what we say of it.

use std::time::Instant;

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Version};
use pingora::http::RequestHeader;
use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::Session;
use tollgate_core::request::HeaderEdit;

use super::client::Origin;
use super::context::{Context, Expectation, Outbound};
use super::forwarded::{self, HeaderSink, Hop, VIA_HTTP1, VIA_HTTP2};
use super::hop_by_hop::{self, Trailers};
use crate::config::HeaderNames;
use crate::snapshot::UpstreamHost;

const X_KONG_REQUEST_ID: HeaderName = HeaderName::from_static("x-kong-request-id");

/// Headers that are added at most, but for those of plugins: room for them is made once.
const OURS: usize = 12;

/// Edits through Pingora's type, which keeps the spelling of names beside the map.
struct AsReceived<'h>(&'h mut RequestHeader);

impl HeaderSink for AsReceived<'_> {
    fn set(&mut self, name: HeaderName, value: HeaderValue) {
        // Fails only for a map of more than 32,768 names, which no checked head has.
        let _ = self.0.insert_header(name, value);
    }

    fn remove(&mut self, name: HeaderName) {
        self.0.remove_header(&name);
    }

    fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }
}

/// Writes the head of one attempt; `request` is a copy of the client's.
pub(super) fn upstream_request_filter(
    session: &Session,
    request: &mut RequestHeader,
    context: &mut Context,
    names: HeaderNames,
) -> Result<()> {
    let client = session.req_header();
    let request_id = context.request_id.header();
    let (Some(origin), Some(route)) = (context.origin, context.route.clone()) else {
        return Error::e_explain(ErrorType::InternalError, "a proxied request has an origin and a route");
    };
    let peer = context.peer.take().or_else(|| forwarded::text(origin.peer));
    let (Some(peer), Some(proxied)) = (peer, context.proxied()) else {
        return Error::e_explain(ErrorType::InternalError, "a proxied request has a peer and an upstream");
    };
    let is_peer = origin.client.address == origin.peer.to_canonical();
    let address = if is_peer { None } else { forwarded::text(origin.client.address) };
    let head = Head {
        client,
        origin,
        peer: &peer,
        address: address.as_ref().unwrap_or(&peer),
        request_id,
        upstream_host: route.upstream_host,
        service_host: &proxied.service.host_header,
        outbound: &proxied.outbound,
    };
    match names {
        HeaderNames::AsReceived => head.write(&mut AsReceived(request)),
        HeaderNames::LowerCase => {
            let mut parts = Parts::from(std::mem::replace(request, empty()));
            parts.headers.reserve(OURS + proxied.outbound.headers.len());
            head.write(&mut parts.headers);
            *request = RequestHeader::from(parts);
        }
    }
    request.set_uri(proxied.outbound.uri.clone());
    proxied.sent = Some(Instant::now());
    proxied.answered = None;
    context.peer = Some(peer);
    Ok(())
}

/// A head that allocates nothing.
fn empty() -> RequestHeader {
    RequestHeader::from(http::Request::new(()).into_parts().0)
}

/// What the head of an attempt is made of.
struct Head<'r> {
    client: &'r RequestHeader,
    origin: Origin,
    peer: &'r HeaderValue,
    address: &'r HeaderValue,
    request_id: HeaderValue,
    upstream_host: UpstreamHost,
    service_host: &'r HeaderValue,
    outbound: &'r Outbound,
}

impl Head<'_> {
    fn write(&self, upstream: &mut impl HeaderSink) {
        remove_hop_by_hop(self.client, upstream);
        let hop = Hop {
            peer: self.peer,
            client: self.address,
            standing: self.origin.client.peer,
            headers: &self.client.headers,
            scheme: self.origin.scheme,
            via: if self.client.version == Version::HTTP_2 { &VIA_HTTP2 } else { &VIA_HTTP1 },
            host: host(self.client),
            listener_port: self.origin.port,
            path: self.client.uri.path(),
            stripped: self.outbound.stripped_prefix.as_deref(),
        };
        hop.apply(upstream);
        upstream.set(X_KONG_REQUEST_ID, self.request_id.clone());
        self.set_host(upstream);
        set_connection(upstream);
        apply(self.outbound, upstream);
    }

    fn set_host(&self, upstream: &mut impl HeaderSink) {
        match self.upstream_host {
            UpstreamHost::Service => upstream.set(HOST, self.service_host.clone()),
            UpstreamHost::Client if !self.client.headers.contains_key(HOST) => {
                // An HTTP/1.0 client need not say any: then there is none to preserve.
                let asked = host(self.client).and_then(|host| host.parse().ok());
                upstream.set(HOST, asked.unwrap_or_else(|| self.service_host.clone()));
            }
            UpstreamHost::Client => {}
        }
    }
}

/// The host asked for: of the header, or of the target (HTTP/2).
fn host(client: &RequestHeader) -> Option<&str> {
    let header = client.headers.get(HOST).and_then(|value| value.to_str().ok());
    header.or_else(|| client.uri.authority().map(http::uri::Authority::as_str))
}

fn remove_hop_by_hop(client: &RequestHeader, upstream: &mut impl HeaderSink) {
    for name in hop_by_hop::of_request(&client.headers) {
        upstream.remove(name);
    }
    if Trailers::of(&client.headers) == Trailers::Wanted {
        upstream.set(TE, HeaderValue::from_static("trailers"));
    }
}

/// Pingora has left `Upgrade` only to a WebSocket handshake.
fn set_connection(upstream: &mut impl HeaderSink) {
    let upgrade = upstream.headers().contains_key(UPGRADE);
    let connection = if upgrade { "keep-alive, Upgrade" } else { "keep-alive" };
    upstream.set(CONNECTION, HeaderValue::from_static(connection));
}

/// The plugins' edits.
fn apply(outbound: &Outbound, upstream: &mut impl HeaderSink) {
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
