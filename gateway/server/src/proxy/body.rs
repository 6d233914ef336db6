//! Reading a request's body for a plugin.
//!
//! Pingora keeps up to 64 KiB of what was read and sends it on to the upstream; past that the
//! request could only be replied to here. So a body that is to be forwarded is read only as far as
//! it can be replayed, and one that announces to be longer is not touched.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Version;
use http::header::{CONTENT_LENGTH, EXPECT};
use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::Session;
use tollgate_core::request::RequestBody;

/// What Pingora keeps for replaying; a constant of its.
const REPLAY_BUFFER: usize = 64 * 1024;
/// The whole body has to arrive within this.
const DEADLINE: Duration = Duration::from_secs(30);

/// What is left of the body for the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forwardable {
    /// All of it: unread, or kept for replaying.
    Yes,
    /// Part of it is gone.
    No,
}

/// What the body is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The gateway replies in any case: nothing needs to be kept.
    Reply,
    /// The request may go on to the upstream.
    Forward,
}

/// A body as a plugin gets it.
pub(crate) struct Reading {
    pub(crate) body: RequestBody,
    pub(crate) forwardable: Forwardable,
}

/// Reads the body up to `limit` bytes. Errors are the client's: too slow, or gone.
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
        // Nobody else will say it, and the client waits for it.
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

fn declared_length(session: &Session) -> Option<usize> {
    session.req_header().headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether the client waits for `100 Continue` (RFC 9110 §10.1.1).
pub(crate) fn expects_continue(session: &Session) -> bool {
    let head = session.req_header();
    let expected = head.headers.get(EXPECT).map(http::HeaderValue::as_bytes);
    head.version == Version::HTTP_11 && expected.is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"))
}

/// Bytes that are read and discarded to keep a connection.
const DISCARDED: usize = 64 * 1024;
/// Bytes that are read and discarded after a response.
const LINGERING: usize = 4 * 1024 * 1024;
/// For so long.
const DISCARD_DEADLINE: Duration = Duration::from_secs(1);

/// How long a client that has its response may take to send what it announced.
const AWAITED: Duration = Duration::from_secs(5);

/// What [`discard`] left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// The whole request was read.
    Nothing,
    /// The client waits for `100 Continue`. The response comes first; what it then sends is read
    /// ([`take`]), as the connection goes on behind that (RFC 9110 §10.1.1).
    Awaited,
    /// The client is still sending; the connection is closed after the response.
    Unread,
}

/// Before a response: reads what is left of the body, if that is little, so that the connection can
/// be used again.
pub(crate) async fn discard(session: &mut Session) -> Rest {
    if session.is_body_empty() || session.is_body_done() {
        return Rest::Nothing;
    }
    if session.as_http1().is_some() && session.get_keepalive().is_none() {
        // Nothing follows, so nothing needs to be cleared away before the response.
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

/// After a response to a client that was waiting: reads the body that it announced and now sends,
/// or the connection is closed.
///
/// A client that has its response may leave the body out and send another request; a proxy in front
/// of it may send the body all the same. What looks like a request could be either, so it is taken
/// for neither.
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

/// Whether it begins as a request line does, as far as it goes: with a method in capitals.
fn looks_like_request(bytes: &[u8]) -> bool {
    let method = bytes.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    method > 0 && bytes.get(method).is_none_or(|byte| *byte == b' ')
}

/// After a response: a connection that is closed, or a stream that is reset, while the client still
/// sends can take the response with it. So what it sends is read for a while.
pub(crate) async fn linger(session: &mut Session) {
    read_rest(session, LINGERING).await;
}

/// Whether the body came to its end in bounded space and time.
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
