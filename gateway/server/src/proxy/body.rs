//! Reading a request's body for a plugin.
//!
//! Pingora buffers up to 64 KiB of what was read and replays it to the upstream; beyond that the
//! request can only be replied to here. So a body that is to be forwarded is read only as far as
//! it can be replayed, and one with a longer declared length is not read.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Version;
use http::header::{CONTENT_LENGTH, EXPECT};
use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::Session;
use tollgate_core::request::RequestBody;

/// The size of Pingora's replay buffer, a constant of Pingora.
const REPLAY_BUFFER: usize = 64 * 1024;
/// The deadline for the whole body.
const DEADLINE: Duration = Duration::from_secs(30);

/// The part of the body that is left for the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forwardable {
    /// All of it: unread, or buffered for replay.
    Yes,
    /// Part of it has been consumed.
    No,
}

/// The purpose of reading the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The gateway replies in any case: nothing needs to be buffered.
    Reply,
    /// The request may go on to the upstream.
    Forward,
}

/// The body as passed to a plugin.
pub(crate) struct Reading {
    pub(crate) body: RequestBody,
    pub(crate) forwardable: Forwardable,
}

/// Reads the body up to `limit` bytes. Errors are the client's: too slow, or disconnected.
pub(crate) async fn read(session: &mut Session, limit: usize, purpose: Purpose) -> Result<Reading> {
    let limit = if purpose == Purpose::Forward { limit.min(REPLAY_BUFFER) } else { limit };
    if session.is_body_empty() {
        return Ok(Reading { body: RequestBody::Read(Bytes::new()), forwardable: Forwardable::Yes });
    }
    if declared_length(session).is_some_and(|length| length > limit) {
        return Ok(Reading { body: RequestBody::TooLarge, forwardable: Forwardable::Yes });
    }
    if purpose == Purpose::Forward {
        session.enable_retry_buffering();
    }
    if expects_continue(session) {
        // Nothing else sends `100 Continue`, and the client waits for it.
        session.write_continue_response().await?;
    }
    match tokio::time::timeout(DEADLINE, collect(session, limit)).await {
        Ok(body) => body.map(|body| reading(session, body, purpose)),
        Err(_) => Error::e_explain(ErrorType::ReadTimedout, "request body not received in time"),
    }
}

/// `None`: more than `limit` bytes.
async fn collect(session: &mut Session, limit: usize) -> Result<Option<Bytes>> {
    let mut body = BytesMut::new();
    while let Some(chunk) = session.read_request_body().await? {
        if body.len() + chunk.len() > limit {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body.freeze()))
}

fn reading(session: &Session, body: Option<Bytes>, purpose: Purpose) -> Reading {
    let kept = purpose == Purpose::Forward && !session.retry_buffer_truncated();
    let forwardable = if kept { Forwardable::Yes } else { Forwardable::No };
    Reading { body: body.map_or(RequestBody::TooLarge, RequestBody::Read), forwardable }
}

pub(crate) fn declared_length(session: &Session) -> Option<usize> {
    session.req_header().headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether the client waits for `100 Continue` (RFC 9110 §10.1.1).
pub(crate) fn expects_continue(session: &Session) -> bool {
    let head = session.req_header();
    let expected = head.headers.get(EXPECT).map(http::HeaderValue::as_bytes);
    head.version == Version::HTTP_11 && expected.is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"))
}

/// The number of bytes that are read and discarded to keep a connection.
const DISCARDED: usize = 64 * 1024;
/// The number of bytes that are read and discarded after a response.
const LINGERING: usize = 4 * 1024 * 1024;
/// The time limit for that.
const DISCARD_DEADLINE: Duration = Duration::from_secs(1);

/// How long a client that has its response may take to send the body it declared.
const AWAITED: Duration = Duration::from_secs(5);

/// The state of the connection after [`discard`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// The whole request was read.
    Nothing,
    /// The client waits for `100 Continue`. The response is sent first; the body that follows is read
    /// by [`take`], as the next request comes after it (RFC 9110 §10.1.1).
    Awaited,
    /// The client is still sending; the connection is closed after the response.
    Unread,
}

/// Before a response: reads the rest of the body, if it is short, so that the connection can
/// be reused.
pub(crate) async fn discard(session: &mut Session) -> Rest {
    if session.is_body_empty() || session.is_body_done() {
        return Rest::Nothing;
    }
    if session.as_http1().is_some() && session.get_keepalive().is_none() {
        // No request follows, so nothing needs to be read before the response.
        return Rest::Unread;
    }
    let length = declared_length(session);
    if expects_continue(session) && session.response_written().is_none() {
        if length.is_some_and(|length| length <= DISCARDED) {
            session.set_close_on_response_before_downstream_finish(false);
            return Rest::Awaited;
        }
    } else if length.is_none_or(|length| length <= DISCARDED) && read_rest(session, DISCARDED).await {
        return Rest::Nothing;
    }
    session.set_keepalive(None);
    Rest::Unread
}

/// After a response to a client that was waiting: reads the body that it declared and now sends,
/// or else the connection is closed.
///
/// A client that has its response may omit the body and send another request; a proxy in front
/// of it may send the body all the same. What looks like a request could be either, so it is treated
/// as neither.
pub(crate) async fn take(session: &mut Session) {
    let reading = async {
        let mut first = true;
        loop {
            match session.read_request_body().await {
                Ok(Some(chunk)) if first && looks_like_request(&chunk) => return false,
                Ok(Some(chunk)) => first &= chunk.is_empty(),
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    };
    if !tokio::time::timeout(AWAITED, reading).await.unwrap_or(false) {
        session.set_keepalive(None);
    }
}

/// Whether the bytes, as far as they go, begin like a request line: with a method in capitals.
fn looks_like_request(bytes: &[u8]) -> bool {
    let method = bytes.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    method > 0 && bytes.get(method).is_none_or(|byte| *byte == b' ')
}

/// After a response: closing a connection, or resetting a stream, while the client is still
/// sending can destroy the response. So the rest is read for a while.
pub(crate) async fn linger(session: &mut Session) {
    read_rest(session, LINGERING).await;
}

/// Whether the body ended within the limits of size and time.
async fn read_rest(session: &mut Session, bound: usize) -> bool {
    let reading = async {
        let mut read = 0;
        while read <= bound {
            match session.read_request_body().await {
                Ok(Some(chunk)) => read += chunk.len(),
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
        false
    };
    tokio::time::timeout(DISCARD_DEADLINE, reading).await.unwrap_or(false)
}
