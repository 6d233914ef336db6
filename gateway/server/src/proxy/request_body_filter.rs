//! The body that goes upstream: the client's, or the one a plugin put in its place.

use bytes::Bytes;

use super::context::Context;

/// Replaces the body if a plugin did. It was read whole before, so it comes in one piece, once an
/// attempt; anything before its end is swallowed.
pub(super) fn request_body_filter(body: &mut Option<Bytes>, end_of_stream: bool, context: &mut Context) {
    let Some(replacement) = context.proxied().and_then(|proxied| proxied.outbound.body.clone()) else { return };
    *body = Some(if end_of_stream { replacement } else { Bytes::new() });
}
