//! Keys of proofs, kept by their thumbprint.

use moka::sync::Cache;
use serde_json::{Map, Value};
use tollgate_jose::VerificationKey;

/// How many keys are kept; about a kilobyte each.
const MOST: u64 = 10_000;

/// The members that are a public key.
const PUBLIC: [&str; 6] = ["kty", "crv", "x", "y", "n", "e"];

/// Members that only private and symmetric keys have (RFC 7518 §6.2.2, §6.3.2, §6.4).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Keys that have signed a valid proof. What anybody sends takes no other's place: a key is kept only after that.
#[derive(Clone)]
pub struct KnownKeys(Cache<String, VerificationKey>);

impl Default for KnownKeys {
    fn default() -> Self {
        Self(Cache::new(MOST))
    }
}

impl std::fmt::Debug for KnownKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KnownKeys").finish_non_exhaustive()
    }
}

impl KnownKeys {
    /// The key with this thumbprint. `None`: it is none that a proof may have: private, symmetric, or slow to check.
    pub(super) fn get_or_make(&self, thumbprint: &str, jwk: &Map<String, Value>) -> Option<VerificationKey> {
        // The thumbprint is of the public members alone.
        if PRIVATE.iter().any(|member| jwk.contains_key(*member)) {
            return None;
        }
        if let Some(known) = self.0.get(thumbprint) {
            return Some(known);
        }
        // Whatever the key says that it is for: only the algorithms of proofs are accepted.
        let of_key = PUBLIC.iter().filter_map(|member| jwk.get_key_value(*member));
        let jwk = of_key.map(|(name, value)| (name.clone(), value.clone()));
        VerificationKey::from_jwk(&jwk.collect()).ok().filter(|key| !key.is_slow())
    }

    /// Keeps a key that has verified a proof.
    pub(super) fn keep_of_verified(&self, thumbprint: &str, key: VerificationKey) {
        if !self.0.contains_key(thumbprint) {
            self.0.insert(thumbprint.to_owned(), key);
        }
    }
}
