//! The keys that sign access tokens: which one signs now, which ones verify, and when the next is made.
//!
//! - The node that needs a key and finds none makes it. A key that has signed for [`ROTATION`] is followed by the next
//!   one, which is made, and so published, a tenth of that time earlier, but at most a day. One statement decides which
//!   node has made it.
//! - A key stays, and is published, until no token that it has signed can be valid: before it signs a token that
//!   outlives what its row says, the row is changed, for an hour ahead.
//! - A change of the keys is heard through the change feed. A token of a key that this node does not know yet is no
//!   forgery: the key's id says that it is this gateway's, and the keys are read again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use serde_json::Value;
use tollgate_core::clock::Clock;
use tollgate_core::error::StoreError;
use tollgate_core::random::Random;
use tollgate_core::setting::{self, Setting, SettingError, SettingValues};
use tollgate_plugin::own_token::{TOKEN_LENGTH, jwt_key_id};
use tollgate_plugin::store::Store;

use crate::error::Error;
use crate::signing_key::{Algorithm, SealingKey, SigningKey};
use crate::store::Outcome;
use crate::store::signing_keys::{KeyRow, KeyRows};
use crate::token::OwnTokens;

/// The name of the secret from which the sealing key is derived, among the store's secrets.
const SEALING_NAME: &str = "oauth2_signing_key_sealing";
/// How far ahead a row is changed for the tokens that its key will sign.
const AHEAD: i64 = 3600;
/// The next key is made earlier than it signs, but no more than this.
const MOST_EARLY: i64 = 86_400;
/// How often a key is looked for that others make or delete at the same time.
const ATTEMPTS: usize = 8;

/// For how long a key signs.
pub const ROTATION: Setting = Setting::new(
    "signing_keys.rotate_after",
    "2160h",
    "How long a key signs access tokens (token_format: jwt) before the next one does; it is published until its last token has expired.",
)
.checked(|text| rotation(text).map(drop));

/// With which algorithm new keys sign.
pub const ALGORITHM: Setting = Setting::new(
    "signing_keys.algorithm",
    "ES256",
    "The algorithm of new keys: ES256 or RS256. A key that exists keeps its own.",
)
.checked(|text| algorithm(text).map(drop));

fn rotation(text: &str) -> Result<Duration, String> {
    let duration = setting::duration(text)?;
    if duration >= Duration::from_secs(60) { Ok(duration) } else { Err("expected at least 60s".to_owned()) }
}

/// Reads the name of an algorithm.
///
/// # Errors
/// What is expected.
pub fn algorithm(text: &str) -> Result<Algorithm, String> {
    let found = Algorithm::ALL.into_iter().find(|algorithm| algorithm.as_str() == text);
    found.ok_or_else(|| "expected ES256 or RS256".to_owned())
}

/// The settings of keys.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// For how long a key signs, in seconds.
    pub rotate_after: i64,
    /// The algorithm of new keys.
    pub algorithm: Algorithm,
}

impl Rules {
    /// Reads the settings.
    ///
    /// # Errors
    /// A setting is missing or wrong.
    pub fn read(settings: &SettingValues) -> Result<Self, SettingError> {
        let rotate_after = settings.read(ROTATION.path, rotation)?;
        Ok(Self {
            rotate_after: i64::try_from(rotate_after.as_secs()).unwrap_or(i64::MAX),
            algorithm: settings.read(ALGORITHM.path, algorithm)?,
        })
    }
}

/// A key with its row.
#[derive(Debug)]
pub struct KnownKey {
    /// The key.
    pub key: SigningKey,
    /// Its row, as it was read.
    pub row: KeyRow,
    /// What the row covers by now, as far as is known here.
    covers: AtomicI64,
}

impl KnownKey {
    /// No token that it has signed lives longer, in Unix seconds.
    pub fn covers(&self) -> i64 {
        self.covers.load(Ordering::Acquire).max(self.row.covers)
    }
}

/// The keys as they were read.
#[derive(Debug, Default)]
struct Known {
    /// The oldest first.
    keys: Vec<Arc<KnownKey>>,
    by_id: HashMap<[u8; TOKEN_LENGTH], Arc<KnownKey>>,
}

/// Whether a token is signed by one of the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    /// It is.
    Good,
    /// It is not.
    Bad,
    /// Its key is not known here.
    UnknownKey,
}

/// The signing keys of a node.
pub struct SigningKeys {
    rows: Arc<dyn KeyRows>,
    sealing: SealingKey,
    own_tokens: OwnTokens,
    rules: Rules,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    known: RwLock<Arc<Known>>,
    /// Whether the keys may have changed since they were read.
    stale: AtomicBool,
    /// One reading at a time; those who wait share the next one that begins.
    reading: tokio::sync::Mutex<()>,
    readings: AtomicU64,
    /// The last one that succeeded, by its number.
    good: AtomicU64,
}

impl SigningKeys {
    /// Those of a store.
    ///
    /// # Errors
    /// The store failed.
    pub async fn load(
        store: &Store,
        rows: Arc<dyn KeyRows>,
        own_tokens: OwnTokens,
        rules: Rules,
        (clock, random): (Arc<dyn Clock>, Arc<dyn Random>),
    ) -> Result<Self, StoreError> {
        let make = || {
            let mut secret = [0; 32];
            random.fill(&mut secret);
            secret.to_vec()
        };
        let sealing = SealingKey::of(&store.secret(SEALING_NAME, make).await?);
        Ok(Self::new(rows, sealing, own_tokens, rules, (clock, random)))
    }

    /// Starts with no key known.
    pub fn new(
        rows: Arc<dyn KeyRows>,
        sealing: SealingKey,
        own_tokens: OwnTokens,
        rules: Rules,
        (clock, random): (Arc<dyn Clock>, Arc<dyn Random>),
    ) -> Self {
        let (known, stale) = (RwLock::default(), AtomicBool::new(true));
        let (reading, readings, good) = (tokio::sync::Mutex::default(), AtomicU64::new(0), AtomicU64::new(0));
        Self { rows, sealing, own_tokens, rules, clock, random, known, stale, reading, readings, good }
    }

    /// The keys may have changed.
    pub fn changed(&self) {
        self.stale.store(true, Ordering::Release);
    }

    /// Whether a token whose header names one of our keys is signed by it.
    pub fn verify(&self, token: &str) -> Signature {
        let Some(key_id) = jwt_key_id(token) else { return Signature::Bad };
        match self.known().by_id.get(&key_id) {
            Some(known) if known.key.has_signed(token) => Signature::Good,
            Some(_) => Signature::Bad,
            None => Signature::UnknownKey,
        }
    }

    /// The same, with the keys that are in the store now.
    ///
    /// # Errors
    /// The store failed.
    pub async fn verify_anew(&self, token: &str) -> Result<Signature, StoreError> {
        self.read().await?;
        Ok(self.verify(token))
    }

    /// The public keys of all tokens that can be valid, and of those to come (RFC 7517 §5).
    ///
    /// # Errors
    /// The store failed.
    pub async fn published(&self) -> Result<Vec<Value>, StoreError> {
        let known = self.current_keys().await?;
        Ok(known.keys.iter().map(|known| known.key.jwk().clone()).collect())
    }

    /// All keys, the oldest first, as they are in the store now.
    ///
    /// # Errors
    /// The store failed.
    pub async fn all(&self) -> Result<Vec<Arc<KnownKey>>, StoreError> {
        self.read().await?;
        Ok(self.known().keys.clone())
    }

    /// The key that signs a token which lives until `expiry`. Makes it if there is none, and the next one when it is
    /// time.
    ///
    /// # Errors
    /// The store or OpenSSL failed.
    pub async fn signing(&self, expiry: i64) -> Result<Arc<KnownKey>, Error> {
        for _ in 0..ATTEMPTS {
            let known = self.current_keys().await?;
            let now = self.clock.now();
            if let Some(active_from) = self.next_is_due(&known, now) {
                self.make(self.rules.algorithm, active_from, newest(&known)).await?;
                continue;
            }
            let active = known.keys.iter().rev().find(|known| known.row.active_from <= now);
            let Some(active) = active.or_else(|| known.keys.first()) else { continue };
            if self.cover(active, expiry).await? {
                return Ok(Arc::clone(active));
            }
        }
        Err(StoreError::Unavailable("signing keys are changed too often".into()).into())
    }

    /// Makes the key that signs from now on, whatever is due.
    ///
    /// # Errors
    /// The store or OpenSSL failed.
    pub async fn rotate(&self, algorithm: Option<Algorithm>) -> Result<Arc<KnownKey>, Error> {
        for _ in 0..ATTEMPTS {
            self.read().await?;
            let (known, now) = (self.known(), self.clock.now());
            let algorithm = algorithm.unwrap_or(self.rules.algorithm);
            if let Some(key_id) = self.make(algorithm, now, newest(&known)).await? {
                let made = self.known().keys.iter().find(|known| known.row.key_id == key_id).cloned();
                return made.ok_or_else(|| StoreError::Unavailable("the new key is gone".into()).into());
            }
        }
        Err(StoreError::Unavailable("too many concurrent rotations of signing keys".into()).into())
    }

    /// Deletes a key. Lost: it is gone.
    ///
    /// # Errors
    /// The store failed.
    pub async fn delete(&self, id: uuid::Uuid) -> Result<Outcome, StoreError> {
        let outcome = self.rows.delete_key(id).await?;
        self.read().await?;
        Ok(outcome)
    }

    /// From when the next key signs, if it has to be made now.
    fn next_is_due(&self, known: &Known, now: i64) -> Option<i64> {
        let Some(newest) = known.keys.last() else { return Some(now) };
        let ends = newest.row.active_from.saturating_add(self.rules.rotate_after);
        let early = (self.rules.rotate_after / 10).min(MOST_EARLY);
        (now >= ends.saturating_sub(early)).then(|| ends.max(now))
    }

    /// Makes and adds a key: its id, unless another one was added meanwhile.
    async fn make(&self, algorithm: Algorithm, active_from: i64, follows: i64) -> Result<Option<String>, Error> {
        let key_id = self.own_tokens.mint(self.random.as_ref()).expose().to_owned();
        let made = {
            let key_id = key_id.clone();
            tokio::task::spawn_blocking(move || SigningKey::generate(key_id, algorithm)).await
        };
        let key = made.map_err(|_| StoreError::Unavailable("making a signing key was interrupted".into()))?;
        let key = key.map_err(Error::Signing)?;
        let now = self.clock.now();
        let row = KeyRow {
            id: self.random.uuid(),
            key_id: key_id.clone(),
            generation: follows.saturating_add(1),
            algorithm: algorithm.as_str().to_owned(),
            sealed: key.seal(&self.sealing, self.random.as_ref()).map_err(Error::Signing)?,
            created_at: now,
            active_from,
            covers: now,
        };
        let outcome = self.rows.insert_key(follows, row).await?;
        self.read().await?;
        Ok((outcome == Outcome::Won(())).then_some(key_id))
    }

    /// Keeps a key for a token that lives until then. `false`: it is gone.
    async fn cover(&self, known: &KnownKey, expiry: i64) -> Result<bool, StoreError> {
        if known.covers.load(Ordering::Acquire) >= expiry {
            return Ok(true);
        }
        match self.rows.cover(known.row.key_id.clone(), expiry.saturating_add(AHEAD)).await? {
            Outcome::Won(covers) => {
                known.covers.fetch_max(covers, Ordering::AcqRel);
                Ok(true)
            }
            Outcome::Lost => {
                self.changed();
                Ok(false)
            }
        }
    }

    fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    async fn current_keys(&self) -> Result<Arc<Known>, StoreError> {
        if self.stale.load(Ordering::Acquire) {
            self.read().await?;
        }
        Ok(self.known())
    }

    /// Reads the keys, or shares a reading that begins after this call.
    async fn read(&self) -> Result<(), StoreError> {
        let begun = self.readings.load(Ordering::Acquire);
        let _one = self.reading.lock().await;
        if self.good.load(Ordering::Acquire) > begun {
            return Ok(());
        }
        let this = self.readings.fetch_add(1, Ordering::AcqRel) + 1;
        self.stale.store(false, Ordering::Release);
        let rows = self.rows.find_keys().await.inspect_err(|_| self.changed())?;
        let known = self.opened(rows).inspect_err(|_| self.changed())?;
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
        self.good.store(this, Ordering::Release);
        Ok(())
    }

    fn opened(&self, rows: Vec<KeyRow>) -> Result<Known, StoreError> {
        let before = self.known();
        let mut known = Known::default();
        for row in rows {
            let corrupt = |what| StoreError::Corrupt { kind: "oauth2_signing_keys", what };
            let id: [u8; TOKEN_LENGTH] = row.key_id.as_bytes().try_into().map_err(|_| corrupt("key_id"))?;
            let key = match before.by_id.get(&id) {
                Some(kept) if kept.row.sealed == row.sealed => Arc::clone(kept),
                _ => {
                    let algorithm = algorithm(&row.algorithm).map_err(|_| corrupt("algorithm"))?;
                    let key = SigningKey::open(row.key_id.clone(), algorithm, &row.sealed, &self.sealing);
                    let (key, covers) = (key.ok_or_else(|| corrupt("sealed"))?, AtomicI64::new(row.covers));
                    Arc::new(KnownKey { key, row, covers })
                }
            };
            known.by_id.insert(id, Arc::clone(&key));
            known.keys.push(key);
        }
        Ok(known)
    }
}

fn newest(known: &Known) -> i64 {
    known.keys.last().map_or(0, |newest| newest.row.generation)
}

impl std::fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKeys").field("keys", &self.known().keys.len()).finish_non_exhaustive()
    }
}

/// Keys of a gateway that has none, for measurements.
pub mod sample {
    use async_trait::async_trait;
    use tollgate_core::random::SystemRandom;
    use uuid::Uuid;

    use super::*;

    struct None;

    #[async_trait]
    impl KeyRows for None {
        async fn find_keys(&self) -> Result<Vec<KeyRow>, StoreError> {
            Ok(Vec::new())
        }

        async fn insert_key(&self, _: i64, _: KeyRow) -> Result<Outcome, StoreError> {
            Ok(Outcome::Lost)
        }

        async fn cover(&self, _: String, _: i64) -> Result<Outcome<i64>, StoreError> {
            Ok(Outcome::Lost)
        }

        async fn delete_key(&self, _: Uuid) -> Result<Outcome, StoreError> {
            Ok(Outcome::Lost)
        }
    }

    /// No keys.
    pub fn none(own_tokens: &OwnTokens, clock: Arc<dyn Clock>) -> Arc<SigningKeys> {
        let rules = Rules { rotate_after: 1000, algorithm: Algorithm::Es256 };
        let makers: (Arc<dyn Clock>, Arc<dyn Random>) = (clock, Arc::new(SystemRandom));
        Arc::new(SigningKeys::new(Arc::new(None), SealingKey::of(&[]), own_tokens.clone(), rules, makers))
    }
}

/// Keys in memory.
#[cfg(test)]
pub(crate) mod testing {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use tollgate_core::random::SystemRandom;
    use uuid::Uuid;

    use super::*;

    #[derive(Default)]
    pub(crate) struct MemoryKeys(pub(crate) Mutex<Vec<KeyRow>>);

    #[async_trait]
    impl KeyRows for MemoryKeys {
        async fn find_keys(&self) -> Result<Vec<KeyRow>, StoreError> {
            tokio::task::yield_now().await;
            Ok(self.0.lock().unwrap().clone())
        }

        async fn insert_key(&self, follows: i64, key: KeyRow) -> Result<Outcome, StoreError> {
            let mut keys = self.0.lock().unwrap();
            if keys.last().map_or(0, |newest| newest.generation) != follows {
                return Ok(Outcome::Lost);
            }
            keys.push(key);
            Ok(Outcome::Won(()))
        }

        async fn cover(&self, key_id: String, until: i64) -> Result<Outcome<i64>, StoreError> {
            let mut keys = self.0.lock().unwrap();
            let Some(key) = keys.iter_mut().find(|key| key.key_id == key_id) else { return Ok(Outcome::Lost) };
            key.covers = key.covers.max(until);
            Ok(Outcome::Won(key.covers))
        }

        async fn delete_key(&self, id: Uuid) -> Result<Outcome, StoreError> {
            let mut keys = self.0.lock().unwrap();
            let before = keys.len();
            keys.retain(|key| key.id != id);
            Ok(if keys.len() < before { Outcome::Won(()) } else { Outcome::Lost })
        }
    }

    /// The keys of a node with this store.
    pub(crate) fn of_node(rows: &Arc<MemoryKeys>, own_tokens: &OwnTokens, clock: Arc<dyn Clock>) -> Arc<SigningKeys> {
        let rules = Rules { rotate_after: 1000, algorithm: Algorithm::Es256 };
        let rows = Arc::clone(rows) as Arc<dyn KeyRows>;
        let makers: (Arc<dyn Clock>, Arc<dyn Random>) = (clock, Arc::new(SystemRandom));
        Arc::new(SigningKeys::new(rows, SealingKey::of(b"test"), own_tokens.clone(), rules, makers))
    }

    /// Keys of a store of their own.
    pub(crate) fn keys<C: Clock>(own_tokens: &OwnTokens, clock: &Arc<C>) -> Arc<SigningKeys> {
        of_node(&Arc::default(), own_tokens, Arc::clone(clock) as Arc<dyn Clock>)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tollgate_core::clock::ManualClock;

    use super::testing::{MemoryKeys, of_node};
    use super::*;

    const NOW: i64 = 1_700_000_000;

    struct World {
        rows: Arc<MemoryKeys>,
        clock: Arc<ManualClock>,
        own_tokens: OwnTokens,
    }

    impl World {
        fn new() -> Self {
            let own_tokens = OwnTokens::new([1; 32], Vec::new());
            Self { rows: Arc::default(), clock: Arc::new(ManualClock::at(NOW)), own_tokens }
        }

        fn node(&self) -> Arc<SigningKeys> {
            of_node(&self.rows, &self.own_tokens, Arc::clone(&self.clock) as _)
        }
    }

    async fn signed(keys: &SigningKeys, expiry: i64) -> (i64, String) {
        let signing = keys.signing(expiry).await.unwrap();
        let token = signing.key.token(&json!({})).unwrap();
        (signing.row.generation, token.expose().to_owned())
    }

    #[tokio::test]
    async fn the_first_key_is_made_once_by_whichever_node_needs_it() {
        let world = World::new();
        let nodes: Vec<_> = (0..8).map(|_| world.node()).collect();
        let signed = futures::future::join_all(nodes.iter().map(|node| signed(node, NOW + 10))).await;
        assert!(signed.iter().all(|(generation, _)| *generation == 1), "{signed:?}");
        assert_eq!(world.rows.0.lock().unwrap().len(), 1);
        assert!(nodes.iter().all(|node| node.verify(&signed[0].1) == Signature::Good));
    }

    #[tokio::test]
    async fn the_next_key_is_published_before_it_signs_and_the_last_one_after() {
        let world = World::new();
        let node = world.node();
        assert_eq!(signed(&node, NOW + 10).await.0, 1);
        world.clock.advance(899);
        assert_eq!((signed(&node, NOW + 910).await.0, node.published().await.unwrap().len()), (1, 1));
        world.clock.advance(1);
        let (generation, old) = signed(&node, NOW + 910).await;
        assert_eq!((generation, node.published().await.unwrap().len()), (1, 2), "a tenth of the time early");
        world.clock.advance(99);
        assert_eq!(signed(&node, NOW + 1100).await.0, 1);
        world.clock.advance(1);
        assert_eq!(signed(&node, NOW + 1100).await.0, 2);
        assert_eq!((node.verify(&old), node.published().await.unwrap().len()), (Signature::Good, 2));
    }

    #[tokio::test]
    async fn a_row_covers_every_token_before_it_is_signed() {
        let world = World::new();
        let node = world.node();
        let covers = || world.rows.0.lock().unwrap()[0].covers;
        signed(&node, NOW + 10).await;
        assert_eq!(covers(), NOW + 10 + AHEAD);
        signed(&node, NOW + 10 + AHEAD).await;
        assert_eq!(covers(), NOW + 10 + AHEAD, "an hour ahead, so that it is rarely written");
        signed(&node, NOW + 11 + AHEAD).await;
        assert_eq!(covers(), NOW + 11 + 2 * AHEAD);
    }

    #[tokio::test]
    async fn a_key_that_another_node_has_made_or_deleted_is_heard_of() {
        let world = World::new();
        let (one, other) = (world.node(), world.node());
        let (_, token) = signed(&one, NOW + 10).await;
        assert_eq!(other.verify(&token), Signature::UnknownKey);
        assert_eq!(other.verify_anew(&token).await.unwrap(), Signature::Good);
        let rotated = other.rotate(Some(Algorithm::Rs256)).await.unwrap();
        assert_eq!((rotated.row.generation, rotated.key.algorithm()), (2, Algorithm::Rs256));
        one.changed();
        let (generation, new) = signed(&one, NOW + 10).await;
        assert_eq!((generation, one.published().await.unwrap()[1]["kty"].clone()), (2, json!("RSA")));
        assert_eq!(other.delete(rotated.row.id).await.unwrap(), Outcome::Won(()));
        assert_eq!(other.verify(&new), Signature::UnknownKey);
        // It covers this token already, so only the change feed tells.
        one.changed();
        assert_eq!(signed(&one, NOW + 10).await.0, 1);
        assert_eq!(other.verify(&token), Signature::Good);
    }

    #[tokio::test]
    async fn many_who_ask_at_once_share_readings() {
        let world = World::new();
        let (one, other) = (world.node(), world.node());
        let (_, token) = signed(&one, NOW + 10).await;
        let asked = futures::future::join_all((0..100).map(|_| other.verify_anew(&token))).await;
        assert!(asked.into_iter().all(|signature| signature.unwrap() == Signature::Good));
        assert!(other.readings.load(Ordering::SeqCst) <= 2);
    }
}
