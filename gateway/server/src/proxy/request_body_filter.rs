//! The body that goes upstream: the client's, or a plugin's replacement.

use bytes::Bytes;
use pingora_core::{Error, ErrorType, Result};

use super::context::{Context, Proxied};

/// The error of a body that is longer than a plugin allows.
pub(super) const BODY_TOO_LARGE: ErrorType = ErrorType::Custom("BodyTooLarge");

/// Sends a plugin's replacement, if there is one. The client's body was read completely before, so the
/// replacement is sent in one piece per attempt; anything before the end is dropped.
///
/// # Errors
/// The client's body is longer than a plugin allows: the upstream does not receive its end.
pub(super) fn request_body_filter(body: &mut Option<Bytes>, end_of_stream: bool, context: &mut Context) -> Result<()> {
    let Some(proxied) = context.proxied() else { return Ok(()) };
    if let Some(replacement) = proxied.outbound.body.clone() {
        *body = Some(if end_of_stream { replacement } else { Bytes::new() });
        return Ok(());
    }
    match exceeds(proxied, body.as_ref()) {
        true => Err(Error::explain(BODY_TOO_LARGE, "request body exceeds the limit of a plugin").into_down()),
        false => Ok(()),
    }
}

/// Counts the bytes, if they are limited.
fn exceeds(proxied: &mut Proxied, body: Option<&Bytes>) -> bool {
    let (Some(limit), Some(body)) = (proxied.outbound.body_limit, body) else { return false };
    proxied.body_bytes = proxied.body_bytes.saturating_add(u64::try_from(body.len()).unwrap_or(u64::MAX));
    proxied.body_bytes > limit.bytes
}
