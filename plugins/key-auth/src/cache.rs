//! The key cache: facts about API keys, by the digest of the key. A [`FactCache`] that reads credentials.
//!
//! A fact refers to its credential, which is invalidated in place when it or its consumer changes; unknown keys
//! are queried again after any change of a credential. So this cache needs no change listener itself.

use std::sync::Arc;

use tollgate_plugin::cache::{Fact, FactCache, Generation, Loaded, SharedFact, Source};
use tollgate_plugin::{Clock, CredentialFacts, Credentials, Digest, Document, Key, Secret, StoreError, thread_cache};

use crate::credential::NAME;

/// An estimate of the memory that a key takes besides its header lines: an entry of the cache as
/// measured for tokens (docs/performance.md), and the credential, which no other key shares.
const ENTRY_BYTES: u32 = 480;

/// Facts about keys, by digest.
pub type KeyCache = FactCache<KeyFacts, KeySource>;

/// Facts about a key. Cheap to clone.
#[derive(Debug, Clone)]
pub struct KeyFacts {
    credential: Arc<CredentialFacts>,
    /// The last Unix second in which it is valid; `i64::MAX`: it never expires.
    valid_until: i64,
}

impl KeyFacts {
    /// The owner of the key.
    pub fn credential(&self) -> &CredentialFacts {
        &self.credential
    }

    /// Whether it is valid at this second.
    pub fn is_alive(&self, clock: &dyn Clock) -> bool {
        self.valid_until == i64::MAX || clock.now() <= self.valid_until
    }
}

thread_cache!(KeyFacts);

impl Fact for KeyFacts {
    type Key = Digest;

    fn is_current(&self) -> bool {
        self.credential.is_current()
    }

    fn weight(&self) -> u32 {
        let lines = u32::try_from(self.credential.headers.lines().len()).unwrap_or(u32::MAX);
        ENTRY_BYTES.saturating_add(lines)
    }
}

/// The keys in the store, with their consumers.
pub struct KeySource {
    credentials: Credentials,
    clock: Arc<dyn Clock>,
}

impl KeySource {
    /// Reads from the store of credentials, which are the keys.
    pub fn new(credentials: Credentials, clock: Arc<dyn Clock>) -> Self {
        Self { credentials, clock }
    }

    /// The credentials.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    async fn find(&self, key: &Secret) -> Loaded<Option<KeyFacts>> {
        // Taken before the store is queried, so that a key does not outlive its row.
        let now = self.clock.now();
        let key = Key::Unique { field: "key", value: key.expose().to_owned() };
        let found = self.credentials.collection().find(&key).await.map_err(Arc::new)?;
        let Some(document) = found else { return Ok(None) };
        let id = document.id().ok_or_else(|| Arc::new(StoreError::Corrupt { kind: NAME, what: "id" }))?;
        let valid_until = valid_until(&document, now);
        // By id, so that all facts that refer to this credential share it. If its key was changed in
        // between, the cache receives the change and does not keep this fact.
        let credential = self.credentials.load(id).await?;
        Ok(credential.map(|credential| KeyFacts { credential, valid_until }))
    }
}

/// `ttl` is the remaining life of the row, in seconds; a row exists up to and including its last second.
fn valid_until(document: &Document, now: i64) -> i64 {
    document.integer("ttl").map_or(i64::MAX, |left| now.saturating_add(left))
}

impl Source<KeyFacts> for KeySource {
    type Question = Secret;
    type Error = StoreError;

    async fn read(&self, _: Digest, key: Secret) -> Loaded<Option<KeyFacts>> {
        let read = self.find(&key).await;
        if let Err(error) = &read
            && !error.is_reported()
        {
            tracing::warn!(error = &**error as &dyn std::error::Error, "API key look-up failed");
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
