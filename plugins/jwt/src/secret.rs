//! The credential cache: facts about credentials, by the digest of their key. A [`FactCache`] that reads credentials.
//!
//! A fact refers to its credential, which is invalidated in place when it or its consumer changes; unknown keys
//! are queried again after any change of a credential. So this cache needs no change listener itself.

use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use tollgate_jose::{Algorithm, Family, VerificationKey};
use tollgate_plugin::cache::{Fact, FactCache, Generation, Known, Loaded, ServeCached, SharedFact, Source};
use tollgate_plugin::{CredentialFacts, Credentials, Digest, Document, Key, Request, StoreError, thread_cache};

use crate::credential::{DEFAULT_ALGORITHM, NAME, public_key};

/// An estimate of the memory that a credential takes besides its header lines: an entry of the cache as
/// measured for tokens (docs/performance.md), the credential, which no other key shares, and a parsed key.
const ENTRY_BYTES: u32 = 3_000;

/// Facts about credentials, by the digest of their key.
pub type SecretCache = FactCache<SecretFacts, SecretSource>;

/// How secrets are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As they are.
    Plain,
    /// In base64 (`secret_is_base64`).
    Base64,
}

/// What signatures are verified with. `None`: there is nothing, or nothing that the algorithm can use.
enum Keys {
    /// The secret, as it is and decoded from base64: instances choose.
    Shared { plain: Option<VerificationKey>, decoded: Option<VerificationKey> },
    /// The public key.
    Public(Option<VerificationKey>),
}

struct Inner {
    credential: Arc<CredentialFacts>,
    algorithm: Algorithm,
    keys: Keys,
}

/// Facts about a credential. Cheap to clone.
#[derive(Clone)]
pub struct SecretFacts(Arc<Inner>);

impl SecretFacts {
    /// The owner.
    pub fn credential(&self) -> &Arc<CredentialFacts> {
        &self.0.credential
    }

    /// The algorithm of its tokens.
    pub fn algorithm(&self) -> Algorithm {
        self.0.algorithm
    }

    /// What its tokens are verified with.
    pub fn verification_key(&self, encoding: Encoding) -> Option<&VerificationKey> {
        match (&self.0.keys, encoding) {
            (Keys::Public(key), _) => key.as_ref(),
            (Keys::Shared { plain, .. }, Encoding::Plain) => plain.as_ref(),
            (Keys::Shared { decoded, .. }, Encoding::Base64) => decoded.as_ref(),
        }
    }
}

thread_cache!(SecretFacts);

impl Fact for SecretFacts {
    type Key = Digest;

    fn is_current(&self) -> bool {
        self.0.credential.is_current()
    }

    fn weight(&self) -> u32 {
        let lines = u32::try_from(self.0.credential.headers.lines().len()).unwrap_or(u32::MAX);
        ENTRY_BYTES.saturating_add(lines)
    }
}

/// The credentials in the store, with their consumers.
pub struct SecretSource {
    credentials: Credentials,
}

impl SecretSource {
    /// Reads from the store of credentials.
    pub fn new(credentials: Credentials) -> Self {
        Self { credentials }
    }

    /// The credentials.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    async fn find(&self, key: &str) -> Loaded<Option<SecretFacts>> {
        let key = Key::Unique { field: "key", value: key.to_owned() };
        let found = self.credentials.collection().find(&key).await.map_err(Arc::new)?;
        let Some(document) = found else { return Ok(None) };
        let corrupt = |what| Arc::new(StoreError::Corrupt { kind: NAME, what });
        let id = document.id().ok_or_else(|| corrupt("id"))?;
        let algorithm = document.text("algorithm").map_or(Some(DEFAULT_ALGORITHM), Algorithm::parse);
        let algorithm = algorithm.ok_or_else(|| corrupt("algorithm"))?;
        let keys = keys(&document, algorithm);
        // By id, so that all facts that refer to this credential share it. If the row was changed in
        // between, the cache receives the change and does not keep this fact.
        let credential = self.credentials.load(id).await?;
        Ok(credential.map(|credential| SecretFacts(Arc::new(Inner { credential, algorithm, keys }))))
    }
}

fn keys(document: &Document, algorithm: Algorithm) -> Keys {
    if algorithm.family() != Family::Hmac {
        let key = document.text("rsa_public_key").and_then(|pem| public_key(pem, algorithm).ok());
        return Keys::Public(key);
    }
    let hmac = |secret: &[u8]| VerificationKey::hmac(secret, algorithm).ok();
    let secret = document.text("secret");
    Keys::Shared {
        plain: secret.and_then(|secret| hmac(secret.as_bytes())),
        // With an empty secret everyone could sign.
        decoded: secret.and_then(decoded).filter(|secret| !secret.is_empty()).and_then(|secret| hmac(&secret)),
    }
}

/// Both alphabets, with or without padding: what issuers call base64.
fn decoded(secret: &str) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let alphabet = if secret.contains(['-', '_']) { alphabet::URL_SAFE } else { alphabet::STANDARD };
    GeneralPurpose::new(&alphabet, config).decode(secret).ok()
}

impl Source<SecretFacts> for SecretSource {
    /// The key, which is not a secret.
    type Question = Arc<str>;
    type Error = StoreError;

    async fn read(&self, _: Digest, key: Arc<str>) -> Loaded<Option<SecretFacts>> {
        let read = self.find(&key).await;
        if let Err(error) = &read
            && !error.is_reported()
        {
            tracing::warn!(error = &**error as &dyn std::error::Error, "JWT credential look-up failed");
        }
        read
    }

    fn endings(&self) -> Generation {
        self.credentials.endings()
    }

    fn additions(&self) -> Generation {
        self.credentials.changes()
    }
}

/// The credential with this key, from the cache or else from the store.
///
/// # Errors
/// The store failed.
pub async fn find(cache: &SecretCache, key: &Arc<str>) -> Loaded<Option<SecretFacts>> {
    let digest = Digest::of(key);
    match cache.of_this_thread(&digest, SecretFacts::clone).map(Known::Fact).or_else(|| cache.get(&digest)) {
        Some(Known::Fact(facts)) => Ok(Some(facts)),
        Some(Known::Unknown) => Ok(None),
        None => cache.load(digest, Arc::clone(key)).await,
    }
}

/// The credential with this key, for a request: while the store is away, as it was when this node last heard of changes,
/// if the instance serves that.
pub fn known(cache: &SecretCache, key: &str, rule: ServeCached, request: &mut Request<'_>) -> Option<SecretFacts> {
    match cache.get_for(&Digest::of(key), rule, request)? {
        Known::Fact(facts) => Some(facts),
        Known::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_decoded_from_either_alphabet() {
        for (stored, secret) in [
            ("c2VjcmV0", Some(&b"secret"[..])),
            ("c2VjcmV0cw==", Some(b"secrets")),
            ("c2VjcmV0cw", Some(b"secrets")),
            ("+/+/", Some(b"\xfb\xff\xbf")),
            ("-_-_", Some(b"\xfb\xff\xbf")),
            ("+_", None),
            ("a b", None),
            ("=", None),
            ("", Some(b"")),
        ] {
            assert_eq!(decoded(stored).as_deref(), secret, "{stored}");
        }
    }
}
