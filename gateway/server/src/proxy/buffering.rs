//! `request_buffering` and `response_buffering` of routes.
//!
//! Both spare an upstream the pace of its clients. With the first, the whole body of a request is read before the upstream
//! is asked; with the second, a response is read from the upstream as fast as it comes, while the client gets it as fast
//! as it can. Neither delays a response: what has arrived is passed on at once, buffered or not.
//!
//! Both are limited (`limits.request_buffer_bytes`, `limits.response_buffer_bytes`): a longer body is passed on as it
//! arrives. Not buffered are gRPC calls and upgraded connections, whose messages may be answers to each other, and a body
//! for which the client waits to be asked (`Expect: 100-continue`), which is the upstream's to decide.

use pingora_core::Result;
use pingora_core::upstreams::peer::PeerOptions;
use pingora_proxy::Session;

#[cfg(pingora_patched)]
use super::{body, grpc_call};
use crate::upstream::service::Transport;

/// The most that is read of a body at once.
#[cfg(pingora_patched)]
const READ_SIZE: usize = 128 * 1024;

/// Reads the body, if it is not longer than the limit. Errors are the client's.
#[cfg(pingora_patched)]
pub(super) async fn read_request(session: &mut Session, transport: Transport, limit: usize) -> Result<()> {
    if session.is_body_done() {
        return Ok(());
    }
    let is_call = transport.is_grpc() || grpc_call::is(session.req_header());
    if is_call || session.is_upgrade_req() || body::expects_continue(session) {
        return Ok(());
    }
    if limit == 0 || body::declared_length(session).is_some_and(|length| length > limit) {
        return Ok(());
    }
    // What was read is sent from this buffer, which must hold it all.
    session.as_mut().enable_retry_buffering_of(limit.saturating_add(READ_SIZE));
    let mut read = 0;
    while read < limit {
        match session.read_request_body().await.map_err(|error| error.into_down())? {
            Some(chunk) => read += chunk.len(),
            None => break,
        }
    }
    Ok(())
}

/// Pingora as published keeps too little of a body.
#[cfg(not(pingora_patched))]
pub(super) async fn read_request(_: &mut Session, _: Transport, _: usize) -> Result<()> {
    Ok(())
}

/// Has a response read ahead of the client, up to a limit.
#[cfg_attr(not(pingora_patched), expect(unused_variables, reason = "Pingora as published reads nothing ahead"))]
pub(super) fn read_ahead(options: &mut PeerOptions, buffers: bool, limit: usize) {
    #[cfg(pingora_patched)]
    if buffers {
        options.response_read_ahead = limit;
    }
}
