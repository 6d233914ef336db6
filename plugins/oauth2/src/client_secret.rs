//! Client secrets: stored as given, or as a PBKDF2 hash if `hash_secret` is set.
//!
//! A hash is a PHC string, `$pbkdf2-sha512$i=10000,l=32$<salt>$<hash>`, with salt and hash in standard
//! base64 without padding (oauth2.md §5). New hashes have these parameters; hashes created
//! elsewhere are verified with their own parameters, within limits.
//!
//! Refusing a secret costs one key derivation, whether the client is unknown or has a plain or a
//! hashed secret, and the request waits in the queue of refused requests: timing does not reveal which clients
//! exist. Derivations run outside the I/O threads, a few at a time, and a client whose secret may be
//! right does not wait behind refused requests ([`derivation_queue`](crate::derivation_queue)).

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use openssl::hash::MessageDigest;
use openssl::pkcs5::pbkdf2_hmac;
use subtle::ConstantTimeEq;
use tollgate_core::random::{Random, SystemRandom};
use tollgate_core::secret::Secret;
use tollgate_core::setting::{self, Setting};

use crate::derivation_queue::{Class, DerivationQueue, Permit, Requester};
use crate::guesses::{Attempt, Limited};

const ITERATIONS: u32 = 10_000;
const MAX_ITERATIONS: u32 = 1_000_000;
const HASH_LENGTH: usize = 32;
/// Shorter hashes could be guessed; longer ones exceed the output of SHA-512.
const HASH_LENGTHS: std::ops::RangeInclusive<usize> = 16..=64;
const SALT_LENGTH: usize = 16;
const MAX_SALT_LENGTH: usize = 128;

/// How long a verified secret is remembered.
const REMEMBERED: Duration = Duration::from_secs(600);
/// The number of verified secrets that are remembered (about 1 MiB).
const MAX_REMEMBERED: u64 = 10_000;
/// How long a verification may wait for its key derivation.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// How many secrets wait to be verified.
pub const WAITING: Setting = Setting::new(
    "limits.secrets_waiting",
    "1024",
    "Maximum number of client secrets of known clients that wait to be verified, and as many others; more get 503.",
)
.checked(|text| waiting(text).map(drop));

/// Reads [`WAITING`].
///
/// # Errors
/// What is expected.
pub fn waiting(text: &str) -> Result<usize, String> {
    let number = usize::try_from(setting::number(text)?).ok().filter(|number| (1..=65_536).contains(number));
    number.ok_or_else(|| "expected a number from 1 to 65536".to_owned())
}

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_encode_padding(false).with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A client's secret as its credential stores it.
#[derive(Debug, Clone)]
pub enum ClientSecret {
    /// In plain text.
    Plain(Secret),
    /// As a hash.
    Hashed(SecretHash),
    /// Matches no secret: none was set, or the stored hash is invalid.
    Unmatchable,
}

impl ClientSecret {
    /// The secret of a stored credential.
    pub fn hashed(phc: &str) -> Self {
        SecretHash::parse(phc).map_or(Self::Unmatchable, Self::Hashed)
    }
}

/// A PBKDF2-HMAC-SHA512 hash with its parameters.
#[derive(Clone)]
pub struct SecretHash {
    iterations: u32,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl SecretHash {
    /// Parses a PHC string; `None` for other algorithms and for parameters out of range.
    pub fn parse(phc: &str) -> Option<Self> {
        let mut parts = phc.strip_prefix("$pbkdf2-sha512$")?.split('$');
        let (parameters, salt, hash) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let (iterations, length) = parameters.strip_prefix("i=")?.split_once(",l=")?;
        let iterations: u32 = iterations.parse().ok()?;
        let length: usize = length.parse().ok()?;
        let (salt, hash) = (BASE64.decode(salt).ok()?, BASE64.decode(hash).ok()?);
        let bounded = (1..=MAX_ITERATIONS).contains(&iterations)
            && HASH_LENGTHS.contains(&length)
            && (1..=MAX_SALT_LENGTH).contains(&salt.len());
        (bounded && hash.len() == length).then_some(Self { iterations, salt, hash })
    }

    /// Derives the hash of a presented secret and compares. Takes milliseconds; not for I/O threads.
    fn matches(&self, presented: &Secret) -> bool {
        let mut derived = vec![0; self.hash.len()];
        derive(presented.expose(), &self.salt, self.iterations, &mut derived)
            && bool::from(derived.as_slice().ct_eq(&self.hash))
    }

    /// A hash that no secret matches and that costs as much to verify as any new one.
    fn of_nobody() -> Self {
        Self { iterations: ITERATIONS, salt: vec![0; SALT_LENGTH], hash: vec![0; HASH_LENGTH] }
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretHash").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

/// The PHC string of a secret, with a new salt. `hash_secret` stores it.
pub fn hash(clear: &str) -> String {
    let mut salt = [0; SALT_LENGTH];
    SystemRandom.fill(&mut salt);
    hash_with_salt(clear, &salt)
}

/// Whether a text is such a hash.
pub fn is_hash(text: &str) -> bool {
    SecretHash::parse(text).is_some()
}

fn hash_with_salt(clear: &str, salt: &[u8]) -> String {
    let mut hash = [0; HASH_LENGTH];
    if !derive(clear, salt, ITERATIONS, &mut hash) {
        // Without a hash nothing may match; the plain secret must not be stored instead.
        return "$pbkdf2-sha512$".to_owned();
    }
    format!("$pbkdf2-sha512$i={ITERATIONS},l={HASH_LENGTH}${}${}", BASE64.encode(salt), BASE64.encode(hash))
}

fn derive(clear: &str, salt: &[u8], iterations: u32, into: &mut [u8]) -> bool {
    let iterations = usize::try_from(iterations).unwrap_or(usize::MAX);
    pbkdf2_hmac(clear.as_bytes(), salt, iterations, MessageDigest::sha512(), into).is_ok()
}

/// Too many secrets are waiting to be verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many client secrets are waiting to be verified")]
pub struct Overloaded;

/// Why a secret is not verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unverified {
    /// The queue is full.
    Overloaded(Overloaded),
    /// The client or its address has failed too often.
    Limited(Limited),
}

impl From<Overloaded> for Unverified {
    fn from(overloaded: Overloaded) -> Self {
        Self::Overloaded(overloaded)
    }
}

impl From<Limited> for Unverified {
    fn from(limited: Limited) -> Self {
        Self::Limited(limited)
    }
}

/// Whether a presented secret is the client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The secret is right.
    Right,
    /// The secret is wrong.
    Wrong,
}

/// Verifies client secrets; there is one per node.
pub struct SecretVerifier {
    /// Keyed hashes of stored hash and presented secret; no secret can be recovered from them.
    verified: moka::sync::Cache<[u8; 32], ()>,
    key: [u8; 32],
    queue: DerivationQueue,
    nobody: SecretHash,
}

impl Default for SecretVerifier {
    fn default() -> Self {
        Self::new(&SystemRandom, 1024)
    }
}

impl SecretVerifier {
    /// Starts with nothing remembered. At most a quarter of the CPUs derive keys at once, so that refused clients
    /// cannot starve the others.
    ///
    /// `max_waiting`: of known clients, and as many others.
    pub fn new(random: &dyn Random, max_waiting: usize) -> Self {
        let mut key = [0; 32];
        random.fill(&mut key);
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            verified: moka::sync::Cache::builder().max_capacity(MAX_REMEMBERED).time_to_live(REMEMBERED).build(),
            key,
            queue: DerivationQueue::new(processors.div_ceil(4), max_waiting, MAX_WAIT),
            nobody: SecretHash::of_nobody(),
        }
    }

    /// Whether the secret presented by `requester` is the stored one; `None` is an unknown client. The attempt is counted
    /// before a wrong secret is refused, and before a key is derived to find out.
    pub async fn verify(
        &self,
        requester: Requester,
        kept: Option<&ClientSecret>,
        presented: &Secret,
        attempt: &mut Attempt<'_>,
    ) -> Result<Proof, Unverified> {
        match kept {
            Some(ClientSecret::Plain(secret)) if secret.matches(presented.expose()) => Ok(Proof::Right),
            Some(ClientSecret::Hashed(hash)) => self.verify_hash(requester, hash, presented, attempt).await,
            Some(ClientSecret::Plain(_) | ClientSecret::Unmatchable) | None => {
                attempt.count()?;
                let permit = self.acquire(Class::Refused, requester).await?;
                derive_during(permit, &self.nobody, presented).await?;
                Ok(Proof::Wrong)
            }
        }
    }

    /// The same for a client whose previous secret is still accepted. Refusing it costs two derivations, as it does for
    /// some names that are [decoys](Self::is_decoy), so that this shows of no client that it exists.
    pub async fn verify_either(
        &self,
        requester: Requester,
        (name, kept, previous): (&str, Option<&ClientSecret>, Option<&ClientSecret>),
        presented: &Secret,
        attempt: &mut Attempt<'_>,
    ) -> Result<Proof, Unverified> {
        if let Some(ClientSecret::Hashed(hash)) = previous
            && self.verified.contains_key(&self.fingerprint(hash, presented))
        {
            return Ok(Proof::Right);
        }
        if let Some(ClientSecret::Plain(secret)) = previous
            && secret.matches(presented.expose())
        {
            return Ok(Proof::Right);
        }
        let proof = self.verify(requester, kept, presented, attempt).await?;
        if proof == Proof::Right || (previous.is_none() && !self.is_decoy(name)) {
            return Ok(proof);
        }
        self.verify(requester, previous, presented, attempt).await
    }

    /// One name in eight, always the same ones on this node.
    fn is_decoy(&self, name: &str) -> bool {
        let hash = blake3::keyed_hash(&self.key, name.as_bytes());
        hash.as_bytes().first().is_some_and(|byte| byte % 8 == 0)
    }

    async fn verify_hash(
        &self,
        requester: Requester,
        hash: &SecretHash,
        presented: &Secret,
        attempt: &mut Attempt<'_>,
    ) -> Result<Proof, Unverified> {
        let known = self.fingerprint(hash, presented);
        if self.verified.contains_key(&known) {
            return Ok(Proof::Right);
        }
        let permit = self.acquire(Class::Claimed, requester).await?;
        if self.verified.contains_key(&known) {
            // Another request of the same client has already verified it.
            return Ok(Proof::Right);
        }
        // With the permit: requests of one client at once count one by one, and only while they are wrong.
        attempt.count()?;
        let proof = derive_during(permit, hash, presented).await?;
        match proof {
            Proof::Right => self.verified.insert(known, ()),
            // An unknown client would have waited in this queue, so this one does too.
            Proof::Wrong => drop(self.acquire(Class::Refused, requester).await?),
        }
        Ok(proof)
    }

    async fn acquire(&self, class: Class, requester: Requester) -> Result<Permit, Overloaded> {
        self.queue.acquire(class, requester).await.ok_or(Overloaded)
    }

    fn fingerprint(&self, hash: &SecretHash, presented: &Secret) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&hash.iterations.to_le_bytes());
        for part in [&hash.salt, &hash.hash] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.update(presented.expose().as_bytes());
        *hasher.finalize().as_bytes()
    }
}

async fn derive_during(permit: Permit, hash: &SecretHash, presented: &Secret) -> Result<Proof, Overloaded> {
    let (hash, presented) = (hash.clone(), presented.clone());
    let derivation = tokio::task::spawn_blocking(move || {
        // The derivation itself holds the permit, since it continues after the client has disconnected.
        let _permit = permit;
        hash.matches(&presented)
    });
    match derivation.await {
        Ok(true) => Ok(Proof::Right),
        Ok(false) => Ok(Proof::Wrong),
        Err(_) => Err(Overloaded),
    }
}

impl fmt::Debug for SecretVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretVerifier").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tollgate_core::clock::SystemClock;

    use super::*;
    use crate::guesses::tests::guesses;
    use crate::guesses::{Kind, Limits};

    const SALT: &[u8] = b"a litte bit, just a little bit";
    const TOFU: &str = "$pbkdf2-sha512$i=10000,l=32$YSBsaXR0ZSBiaXQsIGp1c3QgYSBsaXR0bGUgYml0$z6ysNworexAhDELywIDi0ba0B0T7F/MBZ6Ige9lWRYI";

    fn secret(text: &str) -> Secret {
        Secret::new(text)
    }

    /// Verifies without limits for guesses.
    async fn verify(
        verifier: &SecretVerifier,
        requester: Requester,
        kept: Option<&ClientSecret>,
        presented: &Secret,
    ) -> Result<Proof, Unverified> {
        let none = Limits { per_name_and_address: 0, per_address: 0, per_name: 0, window: Duration::from_secs(1) };
        let guesses = guesses(none, std::sync::Arc::new(SystemClock));
        let mut attempt = guesses.attempt(Kind::Client, "shoe", std::net::Ipv4Addr::LOCALHOST.into());
        verifier.verify(requester, kept, presented, &mut attempt).await
    }

    fn requester() -> Requester {
        Requester::new(std::net::IpAddr::from([192, 0, 2, 1]), None)
    }

    #[test]
    fn the_known_vector_is_derived() {
        assert_eq!(hash_with_salt("tofu", SALT), TOFU);
    }

    #[tokio::test]
    async fn a_secret_is_right_for_its_hash_alone() -> Result<(), Unverified> {
        let verifier = SecretVerifier::default();
        let kept = ClientSecret::hashed(TOFU);
        for _ in 0..2 {
            assert_eq!(verify(&verifier, requester(), Some(&kept), &secret("tofu")).await?, Proof::Right);
            assert_eq!(verify(&verifier, requester(), Some(&kept), &secret("tofu ")).await?, Proof::Wrong);
        }
        verifier.verified.run_pending_tasks();
        assert_eq!(verifier.verified.entry_count(), 1, "only a right secret is remembered");
        assert_eq!(verify(&verifier, requester(), None, &secret("tofu")).await?, Proof::Wrong);
        assert_eq!(verify(&verifier, requester(), Some(&ClientSecret::Unmatchable), &secret("")).await?, Proof::Wrong);
        let plain = ClientSecret::Plain(secret("tofu"));
        assert_eq!(verify(&verifier, requester(), Some(&plain), &secret("tofu")).await?, Proof::Right);
        assert_eq!(verify(&verifier, requester(), Some(&plain), &secret("Tofu")).await?, Proof::Wrong);
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_right_secret_does_not_wait_behind_refused_ones() {
        let verifier = std::sync::Arc::new(SecretVerifier {
            queue: DerivationQueue::new(1, 1024, Duration::from_secs(60)),
            // Refused requests take their time, beside which that of recording a result is nothing.
            nobody: SecretHash { iterations: 100_000, ..SecretHash::of_nobody() },
            ..SecretVerifier::default()
        });
        let (held, kept) = (verifier.acquire(Class::Refused, requester()).await.unwrap(), ClientSecret::hashed(TOFU));
        let ended: std::sync::Arc<std::sync::Mutex<Vec<String>>> = std::sync::Arc::default();
        let spawn = |kept: Option<ClientSecret>, text: &str, requester: Requester| {
            let (verifier, ended) = (std::sync::Arc::clone(&verifier), std::sync::Arc::clone(&ended));
            let text = text.to_owned();
            tokio::spawn(async move {
                let proof = verify(&verifier, requester, kept.as_ref(), &secret(&text)).await.unwrap();
                ended.lock().unwrap().push(text);
                proof
            })
        };
        // Each from an address of its own: within a class, addresses take turns.
        let other = |number| Requester::new(std::net::IpAddr::from([198, 51, 100, number]), None);
        let refused: Vec<_> = (0..40).map(|number| spawn(None, "x", other(number))).collect();
        let known = Requester::new(std::net::IpAddr::from([192, 0, 2, 1]), Some(uuid::Uuid::nil()));
        let wrong = spawn(Some(kept.clone()), "y", known);
        let right = spawn(Some(kept), "tofu", known);
        // The only permit is held until all of them are waiting.
        while verifier.queue.waiting() < 42 {
            tokio::task::yield_now().await;
        }
        drop(held);
        assert_eq!((right.await.unwrap(), wrong.await.unwrap()), (Proof::Right, Proof::Wrong));
        refused.iter().for_each(tokio::task::JoinHandle::abort);
        // The classes take turns: at most two refused requests before either of the client's requests.
        let ended = ended.lock().unwrap();
        let place = ended.iter().position(|text| text == "tofu").unwrap();
        assert!(place < 6, "{place}: {ended:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_wrong_secret_of_a_client_that_exists_waits_among_the_refused_as_well() {
        let verifier = std::sync::Arc::new(SecretVerifier {
            queue: DerivationQueue::new(1, 1024, Duration::from_secs(60)),
            ..SecretVerifier::default()
        });
        let (held, kept) = (verifier.acquire(Class::Claimed, requester()).await.unwrap(), ClientSecret::hashed(TOFU));
        let wrong = {
            let verifier = std::sync::Arc::clone(&verifier);
            let known = Requester::new(std::net::IpAddr::from([192, 0, 2, 1]), Some(uuid::Uuid::nil()));
            tokio::spawn(async move { verify(&verifier, known, Some(&kept), &secret("y")).await.unwrap() })
        };
        while verifier.queue.waiting() < 1 {
            tokio::task::yield_now().await;
        }
        let behind = {
            let verifier = std::sync::Arc::clone(&verifier);
            tokio::spawn(async move { verifier.acquire(Class::Claimed, requester()).await.unwrap() })
        };
        while verifier.queue.waiting() < 2 {
            tokio::task::yield_now().await;
        }
        drop(held);
        // The wrong secret has used its first permit, and cannot get this one.
        let permit = behind.await.unwrap();
        while verifier.queue.waiting() < 1 {
            assert!(!wrong.is_finished(), "a wrong secret was refused after one permit");
            tokio::task::yield_now().await;
        }
        drop(permit);
        assert_eq!(wrong.await.unwrap(), Proof::Wrong);
    }

    #[test]
    fn hashes_with_other_parameters_are_verified_with_their_own() {
        let mut derived = [0; 64];
        assert!(derive("s", b"salt", 3, &mut derived));
        let phc = format!("$pbkdf2-sha512$i=3,l=64${}${}", BASE64.encode("salt"), BASE64.encode(derived));
        assert!(SecretHash::parse(&phc).is_some_and(|hash| hash.matches(&secret("s")) && !hash.matches(&secret("t"))));
    }

    #[test]
    fn a_hash_out_of_bounds_is_not_read() {
        for phc in [
            "",
            "plain",
            "$pbkdf2-sha512$",
            "$pbkdf2-sha256$i=10000,l=32$YWFhYWFhYWFhYWFhYWFhYQ$z6ysNworexAhDELywIDi0ba0B0T7F/MBZ6Ige9lWRYI",
            "$pbkdf2-sha512$i=1000001,l=32$YQ$z6ysNworexAhDELywIDi0ba0B0T7F/MBZ6Ige9lWRYI",
            "$pbkdf2-sha512$i=0,l=32$YQ$z6ysNworexAhDELywIDi0ba0B0T7F/MBZ6Ige9lWRYI",
            "$pbkdf2-sha512$i=10000,l=31$YQ$z6ysNworexAhDELywIDi0ba0B0T7F/MBZ6Ige9lWRYI",
            "$pbkdf2-sha512$i=10000,l=1$YQ$YQ",
            "$pbkdf2-sha512$i=10000,l=32$$z6ysNworexAhDELywIDi0ba0B0T7F/MBZ6Ige9lWRYI",
        ] {
            assert!(SecretHash::parse(phc).is_none(), "{phc}");
        }
    }

    proptest! {
        #[test]
        fn any_text_can_be_read_as_a_hash(text in "\\PC{0,80}") {
            let _ = SecretHash::parse(&text);
            let _ = SecretHash::parse(&format!("$pbkdf2-sha512${text}"));
        }
    }
}
