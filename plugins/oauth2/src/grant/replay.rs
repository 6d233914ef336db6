//! What follows when a code or refresh token is used a second time (RFC 6749 §4.1.2, RFC 9700 §2.2.2, §4.14): all tokens
//! that descend from it end, since either use may be an attacker's.
//!
//! Used ones are remembered by the statement that takes them, as long as a second use is noticed. One statement decides
//! what ends. The client must be the one that they were issued to.

use tollgate_core::error::StoreError;
use uuid::Uuid;

use crate::grant::Grantor;
use crate::profile::Replay;
use crate::store::Cause;
use crate::token::{Digest, Shape};

/// How long one is remembered whose tokens never expire, in seconds.
const WITHOUT_EXPIRY: i64 = 1_209_600;

/// The last second in which a second use is noticed. `ttl`: when the tokens end.
pub fn until(ttl: Option<i64>, now: i64) -> i64 {
    ttl.unwrap_or_else(|| now.saturating_add(WITHOUT_EXPIRY))
}

/// Ends what this client got for the code or refresh token, if it was used before. Made-up ones are not looked up.
pub async fn end_family(grantor: &Grantor<'_>, presented: &str, credential_id: Uuid) -> Result<(), StoreError> {
    let is_ours = grantor.issuer.own_tokens.is_ours(presented) == Shape::Genuine;
    if grantor.config.profile.replay == Replay::Ignore || !is_ours {
        return Ok(());
    }
    let ended =
        grantor.issuer.tokens.end_replayed(Digest::of(presented), credential_id, Cause::Reuse, grantor.now).await?;
    if !ended.is_empty() {
        grantor.ended.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(ended);
    }
    Ok(())
}
