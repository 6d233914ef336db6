//! Expiry of entities: `ttl` in a document, a point in time in its row.
//!
//! On a write, `ttl` is the number of seconds from now, 0 for no expiry; on a read, the number of seconds
//! left. An entity exists up to and including its last second; after that it conflicts with nothing, and is
//! swept.

use serde_json::{Value, json};
use tollgate_core::collection::Document;
use tollgate_core::entity::Kind;

const TTL: &str = "ttl";

/// The last Unix second of an entity; `None` means no expiry.
pub(crate) type ExpiresAt = Option<i64>;

/// Removes `ttl` from a document that will be written at `now`. Without one, the expiry stays as `kept`.
pub(crate) fn take(kind: &Kind, document: &mut Document, now: i64, kept: ExpiresAt) -> ExpiresAt {
    if !kind.ttl {
        return None;
    }
    match document.remove(TTL).as_ref().and_then(Value::as_i64) {
        None => kept,
        Some(0) => None,
        Some(seconds) => Some(now.saturating_add(seconds)),
    }
}

/// Adds the time left at `now` to a document.
pub(crate) fn show(kind: &Kind, document: &mut Document, expires_at: ExpiresAt, now: i64) {
    if kind.ttl {
        let left = expires_at.map(|end| end.saturating_sub(now).max(0));
        document.insert(TTL.to_owned(), json!(left));
    }
}

/// Whether the entity still exists.
pub(crate) fn is_there(expires_at: ExpiresAt, now: i64) -> bool {
    expires_at.is_none_or(|end| now <= end)
}
