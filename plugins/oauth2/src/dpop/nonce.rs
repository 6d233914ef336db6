//! Nonces for proofs (RFC 9449 §8, §9): the server's time, in a form that nobody else can make, so that a proof cannot
//! be made long before it is used.
//!
//! A nonce names a period and carries a keyed hash of it. The key is in the store, so every node makes the same nonces
//! and accepts those of all others, and nothing is remembered. Proofs may share a nonce; each has an id of its own.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq as _;
use tollgate_core::error::StoreError;
use tollgate_core::random::Random;
use tollgate_plugin::store::Store;

/// The seconds of a period.
const PERIOD: i64 = 60;

/// How many periods a nonce is accepted after its own.
const OLDER: i64 = 2;

/// The name of the key among the store's secrets.
const KEY_NAME: &str = "dpop_nonce_key";

/// Makes nonces and recognises them.
#[derive(Clone)]
pub struct Nonces([u8; 32]);

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nonces").finish_non_exhaustive()
    }
}

/// What a nonce is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// It is the current one.
    Current,
    /// It is accepted, and will soon not be.
    Old,
    /// It is not ours, or too old.
    Invalid,
}

impl Nonces {
    /// With this key.
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// Those of the gateway with this store: its key is the same on every node, and the first caller creates it.
    ///
    /// # Errors
    /// The store failed, or what it keeps is not a key.
    pub async fn load(store: &Store, random: &dyn Random) -> Result<Self, StoreError> {
        let make = || {
            let mut key = [0; 32];
            random.fill(&mut key);
            key.to_vec()
        };
        let kept = store.secret(KEY_NAME, make).await?;
        let unreadable = |_| StoreError::Corrupt { kind: "DPoP nonce key", what: "not 32 bytes long" };
        Ok(Self(kept.try_into().map_err(unreadable)?))
    }

    /// The nonce to give out now.
    pub fn current(&self, now: i64) -> String {
        self.of(now.div_euclid(PERIOD))
    }

    /// What a nonce is worth now. One of the next period comes from a node whose clock is ahead.
    pub fn check(&self, nonce: &str, now: i64) -> Freshness {
        let period = now.div_euclid(PERIOD);
        let is_of = |period: i64| bool::from(self.of(period).as_bytes().ct_eq(nonce.as_bytes()));
        if is_of(period) || is_of(period.saturating_add(1)) {
            Freshness::Current
        } else if (1..=OLDER).any(|age| is_of(period.saturating_sub(age))) {
            Freshness::Old
        } else {
            Freshness::Invalid
        }
    }

    fn of(&self, period: i64) -> String {
        let hash = blake3::keyed_hash(&self.0, &period.to_be_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(hash.as_bytes().get(..18).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_accepted_in_its_period_and_the_two_after_it_rfc9449_8() {
        let nonces = Nonces::new([7; 32]);
        let nonce = nonces.current(600);
        assert_eq!(nonce, nonces.current(659));
        for (now, freshness) in [
            (539, Freshness::Invalid),
            (540, Freshness::Current),
            (600, Freshness::Current),
            (659, Freshness::Current),
            (660, Freshness::Old),
            (779, Freshness::Old),
            (780, Freshness::Invalid),
        ] {
            assert_eq!(nonces.check(&nonce, now), freshness, "{now}");
        }
    }

    #[test]
    fn only_who_has_the_key_makes_nonces() {
        let nonces = Nonces::new([7; 32]);
        for foreign in [&*Nonces::new([8; 32]).current(600), "", "AAAA", &nonces.current(600).to_lowercase()] {
            assert_eq!(nonces.check(foreign, 600), Freshness::Invalid, "{foreign}");
        }
        assert_eq!(format!("{nonces:?}"), "Nonces { .. }");
    }
}
