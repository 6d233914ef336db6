//! The keys of an issuer: JWK sets (RFC 7517 §5).
//!
//! A set may contain keys that are not for us: of unknown types, for encryption, broken. Those are left out and
//! counted; the rest of the set is used.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::claims::{Claims, MalformedClaims};
use crate::{Algorithm, Unusable, VerificationKey};

/// A set with more keys is refused: no issuer has as many.
const MAX_KEYS: usize = 200;

/// How many keys are tried for a token that names none. A token costs at most so many checks.
const MAX_CANDIDATES: usize = 8;

/// A key that an issuer has published, as long as it does.
pub struct PublishedKey {
    /// Its `kid`.
    pub id: Option<String>,
    /// The key.
    pub key: VerificationKey,
    /// Tells it from other keys, those with the same `kid` included.
    identity: Uuid,
    withdrawn: AtomicBool,
}

impl std::fmt::Debug for PublishedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PublishedKey").field("id", &self.id).field("key", &self.key).finish_non_exhaustive()
    }
}

/// The keys of an issuer that can be used.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<Arc<PublishedKey>>,
    skipped: BTreeMap<&'static str, usize>,
}

/// Why a document is not a key set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedKeySet {
    /// Not an object.
    #[error("the key set is malformed: {0}")]
    Document(#[from] MalformedClaims),
    /// No array `keys`.
    #[error("the key set has no array `keys`")]
    NoKeys,
    /// More than anybody needs.
    #[error("the key set has more than {MAX_KEYS} keys")]
    TooMany,
}

impl KeySet {
    /// Reads a key set. It may be empty.
    ///
    /// # Errors
    /// See [`MalformedKeySet`].
    pub fn parse(document: &[u8]) -> Result<Self, MalformedKeySet> {
        Self::from_keys(Claims::parse(document)?.get("keys"))
    }

    /// A key set whose members have been read.
    ///
    /// # Errors
    /// As in [`Self::parse`].
    pub fn from_members(members: &Map<String, Value>) -> Result<Self, MalformedKeySet> {
        Self::from_keys(members.get("keys"))
    }

    fn from_keys(keys: Option<&Value>) -> Result<Self, MalformedKeySet> {
        let Some(Value::Array(keys)) = keys else { return Err(MalformedKeySet::NoKeys) };
        if keys.len() > MAX_KEYS {
            return Err(MalformedKeySet::TooMany);
        }
        let mut set = Self::default();
        for jwk in keys {
            match published(jwk) {
                Ok(key) => set.keys.push(Arc::new(key)),
                Err(unusable) => *set.skipped.entry(unusable.reason()).or_default() += 1,
            }
        }
        Ok(set)
    }

    /// A set of these keys, each with its id.
    pub fn of(keys: impl IntoIterator<Item = (Option<String>, VerificationKey)>) -> Self {
        let keys = keys.into_iter().map(|(id, key)| Arc::new(PublishedKey::new(id, key))).collect();
        Self { keys, skipped: BTreeMap::new() }
    }

    /// The keys that may have signed a token with this `kid` and algorithm. A `kid` may have several; a token
    /// without one may be signed with any, unless there are more than can be tried.
    pub fn candidates(&self, id: Option<&str>, algorithm: Algorithm) -> Vec<Arc<PublishedKey>> {
        let is_candidate = |key: &&Arc<PublishedKey>| {
            key.key.algorithms().contains(algorithm) && id.is_none_or(|id| key.id.as_deref() == Some(id))
        };
        let found: Vec<_> = self.keys.iter().filter(is_candidate).take(MAX_CANDIDATES + 1).cloned().collect();
        if found.len() > MAX_CANDIDATES { Vec::new() } else { found }
    }

    /// All usable keys.
    pub fn keys(&self) -> &[Arc<PublishedKey>] {
        &self.keys
    }

    /// Keeps the objects of keys that are in both sets, to which what was verified with them refers.
    pub fn adopt(&mut self, known: &Self) {
        let by_identity: BTreeMap<Uuid, _> = known.keys.iter().map(|key| (key.identity(), key)).collect();
        for key in &mut self.keys {
            if let Some(known) = by_identity.get(&key.identity()).filter(|known| known.is_current()) {
                *key = Arc::clone(known);
            }
        }
    }

    /// Whether both have the same keys.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.skipped == other.skipped
            && self.keys.len() == other.keys.len()
            && self.keys.iter().zip(&other.keys).all(|(own, other)| own.identity() == other.identity())
    }

    /// How many keys were left out, by [reason](Unusable::reason).
    pub fn skipped(&self) -> &BTreeMap<&'static str, usize> {
        &self.skipped
    }
}

impl PublishedKey {
    /// Whether the issuer still publishes it, as far as this node knows. What was verified with a key that it no
    /// longer publishes is no longer valid; once withdrawn, this key stays so.
    pub fn is_current(&self) -> bool {
        !self.withdrawn.load(Ordering::Acquire)
    }

    /// Ends what was verified with it.
    pub fn withdraw(&self) {
        self.withdrawn.store(true, Ordering::Release);
    }

    /// Equal for keys of the same id, algorithms and values.
    pub fn identity(&self) -> Uuid {
        self.identity
    }

    fn new(id: Option<String>, key: VerificationKey) -> Self {
        let identity = identity(id.as_deref(), &key);
        Self { id, key, identity, withdrawn: AtomicBool::new(false) }
    }
}

/// Of an element of `keys`.
fn published(jwk: &Value) -> Result<PublishedKey, Unusable> {
    let jwk = jwk.as_object().ok_or(Unusable::Member("kty"))?;
    let id = match jwk.get("kid") {
        None => None,
        Some(Value::String(id)) => Some(id.clone()),
        Some(_) => return Err(Unusable::Member("kid")),
    };
    Ok(PublishedKey::new(id, VerificationKey::from_jwk(jwk)?))
}

/// A digest of all that matters of a key: one with another id, algorithm or value is another key.
fn identity(id: Option<&str>, key: &VerificationKey) -> Uuid {
    let mut digest = blake3::Hasher::new();
    digest.update(&key.algorithms().bits().to_be_bytes());
    let der = key.to_der().unwrap_or_default();
    digest.update(&der.len().to_be_bytes());
    digest.update(&der);
    if let Some(id) = id {
        digest.update(b"kid");
        digest.update(id.as_bytes());
    }
    let mut head = [0; 16];
    digest.finalize_xof().fill(&mut head);
    Uuid::from_bytes(head)
}

#[cfg(test)]
mod tests;
