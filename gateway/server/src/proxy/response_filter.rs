//! The head of the upstream's response on its way to the client (gateway.md §7.2).

use std::time::{Duration, Instant};

use http::header::{CONNECTION, TRAILER, UPGRADE};
use http::{HeaderValue, StatusCode, Version};
use pingora::http::ResponseHeader;
use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::Session;
use tollgate_core::reply::Source;

use super::balanced;
use super::context::Context;
use super::head::{Edited, Field, Head};
use super::hop::set_via;
use super::hop_by_hop::{self, Trailers};
use super::product::Product;
use super::response_phase;
use super::retry::Reached;

const SERVER: Field = Field::new("server", "Server");
const X_KONG_UPSTREAM_LATENCY: Field = Field::new("x-kong-upstream-latency", "X-Kong-Upstream-Latency");
const X_KONG_PROXY_LATENCY: Field = Field::new("x-kong-proxy-latency", "X-Kong-Proxy-Latency");
const X_KONG_RESPONSE_LATENCY: Field = Field::new("x-kong-response-latency", "X-Kong-Response-Latency");
const X_KONG_REQUEST_ID: Field = Field::new("x-kong-request-id", "X-Kong-Request-Id");

/// The usual size of our lines, in bytes.
const ROOM: usize = 192;

/// Edits the head of a response.
pub(super) fn response_filter(
    product: Product,
    session: &mut Session,
    response: &mut ResponseHeader,
    context: &mut Context,
) -> Result<()> {
    let switching = response.status == StatusCode::SWITCHING_PROTOCOLS;
    if switching && !(session.is_upgrade_req() && response.version == Version::HTTP_11) {
        // After it, the upstream's bytes would pass as another response on the same connection.
        return Err(Error::explain(ErrorType::InvalidHTTPHeader, "unsolicited 101 response").into_up());
    }
    // The version is the sender's own (RFC 9110 §2.5), and we are the sender.
    let received = if response.version == Version::HTTP_2 { Version::HTTP_2 } else { Version::HTTP_11 };
    response.set_version(Version::HTTP_11);
    if response.status.is_informational() && !switching {
        return Ok(());
    }
    let_go_when_draining(session);
    let status = response.status;
    balanced::responded(context, status);
    let mut head = Edited::new(response, ROOM);
    remove_hop_by_hop(session, &mut head);
    if switching {
        head.set_header(&CONNECTION, &HeaderValue::from_static("Upgrade"));
    } else {
        head.remove(&UPGRADE);
    }
    set_names(&mut head, product, received);
    set_latencies(&mut head, context);
    head.set(&X_KONG_REQUEST_ID, context.request_id.as_str().as_bytes());
    response_phase::apply(&context.response, &mut head, status, Source::Upstream);
    Ok(())
}

/// Sets `Server`, unless the upstream has set it, and adds our entry to `Via`: the version in which the response was
/// received.
fn set_names(head: &mut impl Head, product: Product, received: Version) {
    if !head.has(&SERVER) {
        head.set(&SERVER, product.server().as_bytes());
    }
    set_via(head, product.via(received));
}

/// Closes the connection if the process is draining, and announces it.
pub(super) fn let_go_when_draining(session: &mut Session) {
    if session.is_process_shutting_down() {
        session.set_keepalive(None);
    }
}

/// Adds our own fields about the request, and the plugins' changes.
pub(super) fn set_ours(response: &mut ResponseHeader, context: &Context) {
    let status = response.status;
    let mut head = Edited::new(response, ROOM);
    response_phase::apply(&context.response, &mut head, status, Source::Gateway);
    set_millis(&mut head, &X_KONG_RESPONSE_LATENCY, context.started.elapsed());
    head.set(&X_KONG_REQUEST_ID, context.request_id.as_str().as_bytes());
}

fn remove_hop_by_hop(session: &Session, head: &mut Edited<'_, ResponseHeader>) {
    for name in hop_by_hop::of(head.headers(), |name| head.may_have(name)) {
        head.remove(&name);
    }
    // For HTTP/1 clients, Pingora itself announces whether the connection is kept.
    if session.req_header().version == Version::HTTP_2 {
        head.remove(&CONNECTION);
    }
    if head.may_have(&TRAILER) && Trailers::of(&session.req_header().headers) == Trailers::Unwanted {
        head.remove(&TRAILER);
    }
}

fn set_latencies(head: &mut impl Head, context: &mut Context) {
    let (now, started) = (Instant::now(), context.started);
    let Some(proxied) = context.proxied() else { return };
    proxied.responded_at = Some(now);
    proxied.reached = Reached::Responded;
    let sent = proxied.sent.unwrap_or(now);
    set_millis(head, &X_KONG_UPSTREAM_LATENCY, now.duration_since(sent));
    set_millis(head, &X_KONG_PROXY_LATENCY, sent.duration_since(started));
}

/// Whole milliseconds.
fn set_millis(head: &mut impl Head, field: &Field, duration: Duration) {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    head.set(field, itoa::Buffer::new().format(millis).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(product: Product, upstream: &[(&'static str, &'static str)]) -> (String, u64) {
        let mut response = ResponseHeader::build(StatusCode::OK, None).unwrap();
        for (name, value) in upstream {
            response.append_header(*name, *value).unwrap();
        }
        let mut head = Edited::new(&mut response, ROOM);
        let allocated = allocation_counter::measure(|| set_names(&mut head, product, Version::HTTP_11)).count_total;
        let mut text = Vec::new();
        response.header_to_h1_wire(&mut text);
        (String::from_utf8(text).unwrap(), allocated)
    }

    #[test]
    fn an_upstreams_own_name_is_kept_and_ours_is_added_to_via() {
        let ours = format!("Server: tollgate/{}\r\nVia: 1.1 tollgate\r\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(named(Product::Tollgate, &[]).0, ours);
        assert_eq!(named(Product::Kong, &[]).0, "Server: kong/3.10.0\r\nVia: 1.1 kong/3.10.0\r\n");
        let theirs = [("Server", "theirs"), ("Via", "1.0 fred")];
        assert_eq!(named(Product::Tollgate, &theirs).0, "Server: theirs\r\nVia: 1.0 fred, 1.1 tollgate\r\n");
    }

    /// Without the patches, added fields join Pingora's map, which grows.
    #[cfg(pingora_patched)]
    #[test]
    fn naming_ourselves_allocates_nothing() {
        for product in [Product::Tollgate, Product::Kong] {
            assert_eq!(named(product, &[("Date", "today")]).1, 0);
        }
    }
}
