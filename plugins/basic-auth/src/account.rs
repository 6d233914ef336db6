//! What is cached of a username: its credential with the hash of its password. A [`FactCache`] that reads credentials.
//!
//! A fact refers to its credential, which is invalidated in place when it or its consumer changes; unknown usernames
//! are looked up again after any change of a credential. So this cache needs no change listener itself.

use std::sync::{Arc, OnceLock};

use subtle::ConstantTimeEq;
use tollgate_plugin::cache::{Fact, FactCache, Generation, Loaded, SharedFact, Source};
use tollgate_plugin::{CredentialFacts, Credentials, Digest, Key, StoreError, thread_cache};

use crate::credential::{NAME, PasswordHash};

/// An estimate of the memory that a username takes besides its header lines: an entry of the cache as measured for
/// tokens (docs/performance.md), and the credential.
const ENTRY_BYTES: u32 = 560;

/// Accounts, by the digest of the username.
pub(crate) type Accounts = FactCache<Account, AccountSource>;

/// What is known of a username. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    credential: Arc<CredentialFacts>,
    secret: Arc<AccountSecret>,
}

/// The password of an account.
#[derive(Debug)]
struct AccountSecret {
    /// `None`: no password matches what is stored.
    hash: Option<PasswordHash>,
    /// The fingerprint of the password, once it was right.
    verified: OnceLock<Fingerprint>,
}

/// A keyed hash of a presented password. It is gone with the process, and nothing can be recovered from it.
#[derive(Clone, Copy)]
pub(crate) struct Fingerprint([u8; 32]);

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fingerprint(…)")
    }
}

impl Fingerprint {
    /// With a key of this process.
    pub(crate) fn of(key: &[u8; 32], password: &[u8]) -> Self {
        Self(*blake3::keyed_hash(key, password).as_bytes())
    }
}

/// Whether a password is right, as far as is known without hashing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    Right,
    Wrong,
    /// No password has been right yet.
    Not,
}

impl Account {
    /// The credential of the username.
    pub(crate) fn credential(&self) -> &CredentialFacts {
        &self.credential
    }

    /// Compares with the password that was right before.
    pub(crate) fn knows(&self, presented: Fingerprint) -> Known {
        match (self.secret.verified.get(), self.secret.hash) {
            (Some(verified), _) if verified.0.ct_eq(&presented.0).into() => Known::Right,
            (Some(_), _) | (None, None) => Known::Wrong,
            (None, Some(_)) => Known::Not,
        }
    }

    /// Hashes the password: not for I/O threads. A right one is remembered.
    pub(crate) fn verify(&self, password: &[u8], presented: Fingerprint) -> bool {
        let hash = PasswordHash::of(password, self.credential.consumer.id);
        let right = self.secret.hash.is_some_and(|stored| stored.matches(&hash));
        if right {
            self.secret.verified.get_or_init(|| presented);
        }
        right
    }
}

thread_cache!(Account);

impl Fact for Account {
    type Key = Digest;

    fn is_current(&self) -> bool {
        self.credential.is_current()
    }

    fn weight(&self) -> u32 {
        let lines = u32::try_from(self.credential.headers.lines().len()).unwrap_or(u32::MAX);
        ENTRY_BYTES.saturating_add(lines)
    }
}

/// The credentials in the store, with their consumers.
pub(crate) struct AccountSource {
    credentials: Credentials,
}

impl AccountSource {
    /// Reads from the store of credentials.
    pub(crate) fn new(credentials: Credentials) -> Self {
        Self { credentials }
    }

    /// The credentials.
    pub(crate) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    async fn find(&self, username: String) -> Loaded<Option<Account>> {
        let key = Key::Unique { field: "username", value: username };
        let found = self.credentials.collection().find(&key).await.map_err(Arc::new)?;
        let Some(document) = found else { return Ok(None) };
        let id = document.id().ok_or_else(|| Arc::new(StoreError::Corrupt { kind: NAME, what: "id" }))?;
        let hash = document.text("password").and_then(PasswordHash::parse);
        // By id, so that all facts that refer to this credential share it. If its password was changed in between,
        // the cache receives the change and does not keep this fact.
        let credential = self.credentials.load(id).await?;
        let secret = Arc::new(AccountSecret { hash, verified: OnceLock::new() });
        Ok(credential.map(|credential| Account { credential, secret }))
    }
}

impl Source<Account> for AccountSource {
    type Question = String;
    type Error = StoreError;

    async fn read(&self, _: Digest, username: String) -> Loaded<Option<Account>> {
        let read = self.find(username).await;
        if let Err(error) = &read
            && !error.is_reported()
        {
            tracing::warn!(error = &**error as &dyn std::error::Error, "basic-auth credential look-up failed");
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
