//! The body that goes upstream: the client's, or a plugin's replacement.

use bytes::Bytes;

use super::context::Context;

/// Sends a plugin's replacement, if there is one. The client's body was read completely before, so the
/// replacement is sent in one piece per attempt; anything before the end is dropped.
pub(super) fn request_body_filter(body: &mut Option<Bytes>, end_of_stream: bool, context: &mut Context) {
    let Some(replacement) = context.proxied().and_then(|proxied| proxied.outbound.body.clone()) else { return };
    *body = Some(if end_of_stream { replacement } else { Bytes::new() });
}
