//! Entities that end by themselves: `ttl` in a document, a point in time in its row.
//!
//! A `ttl` that is written is in seconds from then on, 0 for ever; one that is read is what is left of it. An
//! entity is there up to and including its last second; then it is in nobody's way, and is swept.

use serde_json::{Value, json};
use tollgate_core::collection::Document;
use tollgate_core::entity::Kind;

const TTL: &str = "ttl";

/// The last Unix second of an entity; `None` is for ever.
pub(crate) type ExpiresAt = Option<i64>;

/// Takes the `ttl` out of a document that is going to be written at `now`. Without one, what was `kept` stays.
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

/// Shows in a document what is left at `now`.
pub(crate) fn show(kind: &Kind, document: &mut Document, expires_at: ExpiresAt, now: i64) {
    if kind.ttl {
        let left = expires_at.map(|end| end.saturating_sub(now).max(0));
        document.insert(TTL.to_owned(), json!(left));
    }
}

/// Whether the entity is still there.
pub(crate) fn is_there(expires_at: ExpiresAt, now: i64) -> bool {
    expires_at.is_none_or(|end| now <= end)
}
