//! The head of the upstream's answer on its way to the client (contract gateway.md §7.2).

use std::time::{Duration, Instant};

use http::header::{SERVER, UPGRADE};
use http::{HeaderValue, StatusCode};
use pingora::http::ResponseHeader;
use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::Session;

use super::context::Context;
use super::forwarded::{VIA_HTTP1, with_via};
use super::hop_by_hop::{self, Trailers};
use super::retry::Reached;

// As text: Pingora writes such names as they are spelled here, others in lower case.
const X_KONG_UPSTREAM_LATENCY: &str = "X-Kong-Upstream-Latency";
const X_KONG_PROXY_LATENCY: &str = "X-Kong-Proxy-Latency";
pub(super) const X_KONG_REQUEST_ID: &str = "X-Kong-Request-Id";

/// Edits the head of an answer.
pub(super) fn response_filter(session: &Session, response: &mut ResponseHeader, context: &mut Context) -> Result<()> {
    let switching = response.status == StatusCode::SWITCHING_PROTOCOLS;
    if switching && !session.is_upgrade_req() {
        // Behind it, the upstream's bytes would pass as another answer on the same connection.
        return Err(Error::explain(ErrorType::InvalidHTTPHeader, "a 101 that was not asked for").into_up());
    }
    if response.status.is_informational() && !switching {
        return Ok(());
    }
    let trailers = Trailers::of(&session.req_header().headers);
    for name in hop_by_hop::of_response(&response.headers, trailers) {
        response.remove_header(&name);
    }
    if switching {
        response.insert_header("Connection", "Upgrade")?;
    } else {
        response.remove_header(&UPGRADE);
    }
    if !response.headers.contains_key(SERVER) {
        response.insert_header("Server", HeaderValue::from_static(super::SERVER))?;
    }
    if let Some(via) = with_via(&response.headers, &VIA_HTTP1) {
        response.insert_header("Via", via)?;
    }
    set_latencies(response, context)?;
    response.insert_header(X_KONG_REQUEST_ID, context.request_id.header())
}

fn set_latencies(response: &mut ResponseHeader, context: &mut Context) -> Result<()> {
    let (now, started) = (Instant::now(), context.started);
    let Some(proxied) = context.proxied() else { return Ok(()) };
    proxied.answered = Some(now);
    proxied.reached = Reached::Answered;
    let sent = proxied.sent.unwrap_or(now);
    response.insert_header(X_KONG_UPSTREAM_LATENCY, millis(now.duration_since(sent)))?;
    response.insert_header(X_KONG_PROXY_LATENCY, millis(sent.duration_since(started)))
}

/// Whole milliseconds, as a header's value.
pub(super) fn millis(duration: Duration) -> HeaderValue {
    HeaderValue::from(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
