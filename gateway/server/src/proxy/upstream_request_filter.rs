//! The head that goes upstream (gateway.md §7.1).
//!
//! Order matters: hop-by-hop headers are removed first, then the headers about this hop are set, and the
//! plugins' last, so that nothing a client sends can remove or replace what we set.

use std::time::Instant;

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderValue, Version};
use pingora::http::RequestHeader;
use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::Session;
use tollgate_core::request::HeaderEdit;

use super::client::Origin;
use super::context::{Context, Expectation, Outbound};
use super::head::{Edited, Field, Head};
use super::hop::{self, Hop, X_KONG_REQUEST_ID};
use super::hop_by_hop::{self, Trailers};
use super::product::Product;
use super::request_id::RequestId;
use super::response_phase;
use super::traced;
use super::upstream_http2;
use crate::snapshot::UpstreamHost;
use crate::upstream::uses::Use;

/// The usual size of our lines, in bytes, besides those that plugins have rendered.
const ROOM: usize = 768;

/// Writes the head of one attempt; `request` is a copy of the client's.
pub(super) fn upstream_request_filter(
    product: Product,
    session: &Session,
    request: &mut RequestHeader,
    context: &mut Context,
) -> Result<()> {
    let request_id = context.request_id;
    let upstream_host = context.route.as_ref().map(|route| route.upstream_host);
    let (Some(origin), Some(upstream_host)) = (context.origin, upstream_host) else {
        return Error::e_explain(ErrorType::InternalError, "proxied request has no origin or no route");
    };
    let peer = context.peer.take().or_else(|| hop::address_value(origin.peer));
    let (Some(peer), Some(proxied)) = (peer, context.proxied()) else {
        return Error::e_explain(ErrorType::InternalError, "proxied request has no peer address or no upstream");
    };
    upstream_http2::is_usable(request.version, proxied.service.transport)?;
    let version = request.version;
    let service_host = match &proxied.balanced {
        None => proxied.service.host_header(),
        Some(balanced) => balanced.host_header(&proxied.service),
    };
    let Some(service_host) = service_host else {
        return Error::e_explain(ErrorType::InternalError, "upstream host is not valid in a Host header");
    };
    let is_peer = origin.client.address == origin.peer.to_canonical();
    let address = if is_peer { None } else { hop::address_value(origin.client.address) };
    let attempt = Attempt {
        product,
        client: session.req_header(),
        origin,
        peer: &peer,
        address: address.as_ref().unwrap_or(&peer),
        request_id,
        upstream_host,
        service_host: &service_host,
        outbound: &proxied.outbound,
        connection: proxied.connection,
        version,
    };
    attempt.write(&mut Edited::new(request, ROOM + rendered(&proxied.outbound.headers)));
    request.set_uri(proxied.outbound.uri.clone());
    proxied.sent = Some(Instant::now());
    proxied.responded_at = None;
    proxied.body_bytes = 0;
    context.peer = Some(peer);
    traced::outgoing(request, context);
    Ok(())
}

/// The size of the lines that plugins have rendered, in bytes.
fn rendered(edits: &[HeaderEdit]) -> usize {
    let sizes = edits.iter().map(|edit| match edit {
        HeaderEdit::Apply(block) => block.lines().len(),
        HeaderEdit::Set(..) | HeaderEdit::Append(..) | HeaderEdit::Remove(_) => 0,
    });
    sizes.sum()
}

/// The parts of an attempt's head.
struct Attempt<'r> {
    product: Product,
    client: &'r RequestHeader,
    origin: Origin,
    peer: &'r HeaderValue,
    address: &'r HeaderValue,
    request_id: RequestId,
    upstream_host: UpstreamHost,
    service_host: &'r HeaderValue,
    outbound: &'r Outbound,
    connection: Use,
    /// Towards the upstream.
    version: Version,
}

impl Attempt<'_> {
    fn write(&self, head: &mut Edited<'_, RequestHeader>) {
        remove_hop_by_hop(self.client, head);
        let hop = Hop {
            peer: self.peer,
            client: self.address,
            standing: self.origin.client.peer,
            scheme: self.origin.scheme,
            via: self.product.via(self.client.version),
            host: self.outbound.host.as_ref(),
            listener_port: self.origin.port,
            path: self.client.uri.path(),
            stripped: self.outbound.stripped_prefix.as_deref(),
        };
        hop.apply(head);
        head.set(&X_KONG_REQUEST_ID, self.request_id.as_str().as_bytes());
        self.set_host(head);
        set_framing(head);
        // HTTP/2 has no such header (RFC 9113 §8.2.2).
        if self.version != Version::HTTP_2 {
            set_connection(self.connection, head);
        }
        apply(self.outbound, head);
    }

    fn set_host(&self, head: &mut impl Head) {
        match self.upstream_host {
            UpstreamHost::Service => head.set_header(&HOST, self.service_host),
            UpstreamHost::Client if !self.client.headers.contains_key(HOST) => {
                // An HTTP/1.0 client may send none: then there is none to preserve.
                let asked = host(self.client).and_then(|host| host.parse().ok());
                head.set_header(&HOST, asked.as_ref().unwrap_or(self.service_host));
            }
            UpstreamHost::Client => {}
        }
    }
}

/// The requested host as the client wrote it: from the header, or from the target (HTTP/2).
pub(super) fn host(client: &RequestHeader) -> Option<&str> {
    let header = client.headers.get(HOST).and_then(|value| value.to_str().ok());
    header.or_else(|| client.uri.authority().map(http::uri::Authority::as_str))
}

fn remove_hop_by_hop(client: &RequestHeader, head: &mut Edited<'_, RequestHeader>) {
    for name in hop_by_hop::of(&client.headers, |name| head.may_have(name)) {
        head.remove(&name);
    }
    if head.may_have(&TE) {
        head.remove(&TE);
        if Trailers::of(&client.headers) == Trailers::Wanted {
            head.set_header(&TE, &HeaderValue::from_static("trailers"));
        }
    }
}

/// The client's fields, in the spelling that every parser reads alike: some know `chunked` in small letters only, or
/// take leading zeros for another base.
fn set_framing(head: &mut Edited<'_, RequestHeader>) {
    if head.may_have(&TRANSFER_ENCODING) && head.headers().contains_key(TRANSFER_ENCODING) {
        head.set_header(&TRANSFER_ENCODING, &HeaderValue::from_static("chunked"));
    }
    let length = if head.may_have(&CONTENT_LENGTH) { head.headers().get(CONTENT_LENGTH) } else { None };
    let padded = length.and_then(|length| length.to_str().ok()).filter(|text| text.len() > 1 && text.starts_with('0'));
    let Some(digits) = padded.map(|text| text.trim_start_matches('0')) else { return };
    if let Ok(plain) = HeaderValue::from_str(if digits.is_empty() { "0" } else { digits }) {
        head.set_header(&CONTENT_LENGTH, &plain);
    }
}

/// Pingora has left `Upgrade` only for a WebSocket handshake.
fn set_connection(connection: Use, head: &mut Edited<'_, RequestHeader>) {
    const KEEP_ALIVE: Field = Field::new("connection", "Connection");
    if head.may_have(&UPGRADE) && head.headers().contains_key(UPGRADE) {
        head.set_header(&CONNECTION, &HeaderValue::from_static("keep-alive, Upgrade"));
    } else if connection == Use::Last {
        head.set_header(&CONNECTION, &HeaderValue::from_static("close"));
    } else {
        head.set(&KEEP_ALIVE, b"keep-alive");
    }
}

/// The plugins' edits.
fn apply(outbound: &Outbound, head: &mut impl Head) {
    response_phase::edit(head, &outbound.headers);
    if outbound.expectation == Expectation::Met {
        head.remove(&EXPECT);
    }
    if let Some(body) = &outbound.body {
        head.remove(&TRANSFER_ENCODING);
        head.set_header(&CONTENT_LENGTH, &HeaderValue::from(body.len()));
    }
}
