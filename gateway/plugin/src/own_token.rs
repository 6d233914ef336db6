//! The gateway's own tokens: their format, and how they are told from others.
//!
//! 32 characters `[0-9A-Za-z]`: 22 random ones (131 bits) and 10 of a keyed checksum over them (59 bits). The
//! checksum proves nothing about validity; it only allows refusing a forged token, or leaving a token to another
//! plugin, without a look-up in cache or store. An attacker who knows the key gains a look-up, not access.
//!
//! A token may instead be signed (RFC 9068). The id of the key that has signed it, in its header, is in the format
//! above: so a signed token is told from those of other authorization servers by the checksum as well, before its
//! signature is verified, by whoever knows the checksum key and no other.
//!
//! Which tokens exist is known to the `oauth2` plugin alone.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use subtle::{Choice, ConstantTimeEq};
use tollgate_core::error::StoreError;
use tollgate_core::random::Random;
use tollgate_core::secret::Secret;
use tollgate_store::Store;

/// The length of a token in characters.
pub const TOKEN_LENGTH: usize = 32;

const RANDOM_LENGTH: usize = 22;
const CHECKSUM_LENGTH: usize = TOKEN_LENGTH - RANDOM_LENGTH;

/// The name of the checksum key among the store's secrets.
const KEY_NAME: &str = "token_checksum_key";

/// Whether a presented token carries our checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Minted with one of our keys.
    Genuine,
    /// It says that it is signed by one of our signing keys; whether it is only the signature says.
    Signed,
    /// Not minted with our keys: forged, mistyped, imported, or another authorization server's.
    Foreign,
}

/// A checksum key.
pub type ChecksumKey = [u8; 32];

/// Recognises the tokens of this gateway, and mints them. Cheap to clone.
#[derive(Clone)]
pub struct OwnTokens(Arc<Keys>);

struct Keys {
    newest: ChecksumKey,
    /// Keys from before a rotation; their tokens are still recognised.
    older: Vec<ChecksumKey>,
}

impl OwnTokens {
    /// Mints with `newest`, and recognises tokens of that key and of the `older` ones.
    pub fn new(newest: ChecksumKey, older: Vec<ChecksumKey>) -> Self {
        Self(Arc::new(Keys { newest, older }))
    }

    /// Those of the gateway with this store: its key is the same on every node, and the first caller creates it.
    ///
    /// # Errors
    /// The store failed, or what it keeps is not a key.
    pub async fn load(store: &Store, random: &dyn Random) -> Result<Self, StoreError> {
        let make = || {
            let mut key = ChecksumKey::default();
            random.fill(&mut key);
            key.to_vec()
        };
        let kept = store.secret(KEY_NAME, make).await?;
        let unreadable = |_| StoreError::Corrupt { kind: "token checksum key", what: "not 32 bytes long" };
        Ok(Self::new(ChecksumKey::try_from(kept).map_err(unreadable)?, Vec::new()))
    }

    /// Mints a new token.
    pub fn mint(&self, random: &dyn Random) -> Secret {
        let mut clear = random.alphanumeric(RANDOM_LENGTH);
        clear.extend(checksum(&self.0.newest, clear.as_bytes()).map(char::from));
        Secret::new(clear)
    }

    /// Checks only the checksum. Allocates nothing; takes the same time for every token of the right
    /// length.
    pub fn is_ours(&self, presented: &str) -> Shape {
        if presented.len() == TOKEN_LENGTH {
            return if self.has_checksum(presented.as_bytes()) { Shape::Genuine } else { Shape::Foreign };
        }
        match jwt_key_id(presented) {
            Some(key_id) if self.has_checksum(&key_id) => Shape::Signed,
            _ => Shape::Foreign,
        }
    }

    fn has_checksum(&self, presented: &[u8]) -> bool {
        let (random, given) = presented.split_at(RANDOM_LENGTH);
        let mut genuine = Choice::from(0);
        for key in std::iter::once(&self.0.newest).chain(&self.0.older) {
            genuine |= checksum(key, random).ct_eq(given);
        }
        genuine.into()
    }
}

impl fmt::Debug for OwnTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnTokens").field("keys", &(1 + self.0.older.len())).finish_non_exhaustive()
    }
}

/// With which algorithm a token is signed (RFC 7518 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigningAlgorithm {
    /// ECDSA on P-256.
    Es256,
    /// RSA.
    Rs256,
}

impl SigningAlgorithm {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Es256, Self::Rs256];

    /// The value of `alg`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }

    /// The header after the key id.
    fn rest(self) -> &'static [u8] {
        match self {
            Self::Es256 => br#"","alg":"ES256","typ":"at+jwt"}"#,
            Self::Rs256 => br#"","alg":"RS256","typ":"at+jwt"}"#,
        }
    }
}

/// The header before the key id.
const JWT_BEGIN: &[u8] = br#"{"kid":""#;
/// The header's length: its beginning, the key id, and the rest, which is equally long for every algorithm.
const JWT_HEADER: usize = JWT_BEGIN.len() + TOKEN_LENGTH + 31;
/// Its length in base64url without padding.
const JWT_HEADER_TEXT: usize = (JWT_HEADER * 4).div_ceil(3);

/// The first part of the tokens that are signed with this key.
pub fn jwt_header(key_id: &str, algorithm: SigningAlgorithm) -> String {
    BASE64_URL_SAFE_NO_PAD.encode([JWT_BEGIN, key_id.as_bytes(), algorithm.rest()].concat())
}

/// The id of the key that a token says it is signed with, if its header is as we write it.
pub fn jwt_key_id(token: &str) -> Option<[u8; TOKEN_LENGTH]> {
    let (text, rest) = token.as_bytes().split_at_checked(JWT_HEADER_TEXT)?;
    if rest.first() != Some(&b'.') {
        return None;
    }
    // The decoder asks for room for whole groups.
    let mut header = [0; JWT_HEADER + 2];
    let length = BASE64_URL_SAFE_NO_PAD.decode_slice(text, &mut header).ok()?;
    let header = header.get(..length)?.strip_prefix(JWT_BEGIN)?;
    let (key_id, rest) = header.split_at_checked(TOKEN_LENGTH)?;
    let known = SigningAlgorithm::ALL.iter().any(|algorithm| algorithm.rest() == rest);
    known.then(|| key_id.try_into().ok()).flatten()
}

/// Ten characters of `[0-9A-Za-z]` from the keyed hash.
fn checksum(key: &ChecksumKey, random: &[u8]) -> [u8; CHECKSUM_LENGTH] {
    let hash = blake3::keyed_hash(key, random);
    let mut value = hash.as_bytes().iter().take(8).fold(0_u64, |value, &byte| (value << 8) | u64::from(byte));
    // 62^10 is a twentieth of 2^64: the bias of the remainder is far too small to help a forger.
    let mut text = [0; CHECKSUM_LENGTH];
    for place in &mut text {
        *place = alphanumeric((value % 62) as u8);
        value /= 62;
    }
    text
}

const fn alphanumeric(digit: u8) -> u8 {
    match digit {
        0..=9 => b'0' + digit,
        10..=35 => b'A' + digit - 10,
        _ => b'a' + digit - 36,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tollgate_core::random::SystemRandom;
    use tollgate_store::testing::{Backend, TestDatabase};

    use super::*;

    fn own_tokens(newest: u8, older: &[u8]) -> OwnTokens {
        OwnTokens::new([newest; 32], older.iter().map(|&key| [key; 32]).collect())
    }

    #[test]
    fn a_minted_token_is_ours_and_has_the_documented_shape() {
        let own_tokens = own_tokens(1, &[]);
        for _ in 0..100 {
            let token = own_tokens.mint(&SystemRandom);
            assert_eq!(token.expose().len(), TOKEN_LENGTH);
            assert!(token.expose().bytes().all(|byte| byte.is_ascii_alphanumeric()));
            assert_eq!(own_tokens.is_ours(token.expose()), Shape::Genuine);
        }
    }

    #[test]
    fn a_token_of_another_gateway_is_foreign() {
        let other = own_tokens(2, &[]).mint(&SystemRandom);
        assert_eq!(own_tokens(1, &[]).is_ours(other.expose()), Shape::Foreign);
    }

    #[test]
    fn tokens_from_before_a_key_rotation_stay_ours() {
        let old = own_tokens(1, &[]).mint(&SystemRandom);
        assert_eq!(own_tokens(2, &[1]).is_ours(old.expose()), Shape::Genuine);
        assert_eq!(own_tokens(3, &[2]).is_ours(old.expose()), Shape::Foreign);
    }

    #[tokio::test]
    async fn every_plugin_of_a_gateway_recognises_its_tokens_and_those_of_no_other() {
        let (database, other) =
            (TestDatabase::create(Backend::Sqlite).await, TestDatabase::create(Backend::Sqlite).await);
        let (store, other) = (database.open().await, other.open().await);
        let token = OwnTokens::load(&store, &SystemRandom).await.unwrap().mint(&SystemRandom);
        for (store, expected) in [(&store, Shape::Genuine), (&other, Shape::Foreign)] {
            let own_tokens = OwnTokens::load(store, &SystemRandom).await.unwrap();
            assert_eq!(own_tokens.is_ours(token.expose()), expected);
        }
    }

    #[tokio::test]
    async fn a_key_of_another_length_is_refused() {
        let database = TestDatabase::create(Backend::Sqlite).await;
        let store = database.open().await;
        store.secret(KEY_NAME, || vec![1; 31]).await.unwrap();
        let error = OwnTokens::load(&store, &SystemRandom).await.unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { kind: "token checksum key", .. }), "{error:?}");
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", own_tokens(7, &[8])), "OwnTokens { keys: 2, .. }");
    }

    #[test]
    fn a_signed_token_is_ours_by_the_id_of_its_key() {
        let own_tokens = own_tokens(1, &[]);
        let key_id = own_tokens.mint(&SystemRandom);
        for algorithm in SigningAlgorithm::ALL {
            let header = jwt_header(key_id.expose(), algorithm);
            let token = format!("{header}.e30.c2ln");
            assert_eq!(own_tokens.is_ours(&token), Shape::Signed);
            assert_eq!(jwt_key_id(&token).as_ref().map(<[u8; 32]>::as_slice), Some(key_id.expose().as_bytes()));
            for other in [header.clone(), format!("{header}e30.c2ln"), format!("A{token}"), token.replace('.', "")] {
                assert_eq!(own_tokens.is_ours(&other), Shape::Foreign, "{other}");
            }
        }
        let made_up = jwt_header(&"k".repeat(TOKEN_LENGTH), SigningAlgorithm::Es256);
        assert_eq!(own_tokens.is_ours(&format!("{made_up}.e30.c2ln")), Shape::Foreign);
        let other = BASE64_URL_SAFE_NO_PAD.encode(format!("{{\"kid\":\"{}\",\"alg\":\"none\"}}", key_id.expose()));
        assert_eq!(own_tokens.is_ours(&format!("{other}.e30.")), Shape::Foreign);
    }

    proptest! {
        #[test]
        fn any_header_can_be_read(text in "[A-Za-z0-9_.-]{90,120}") {
            prop_assert_eq!(own_tokens(1, &[]).is_ours(&text), Shape::Foreign);
        }

        #[test]
        fn a_changed_character_makes_a_token_foreign(place in 0..TOKEN_LENGTH, other in "[0-9A-Za-z]") {
            let own_tokens = own_tokens(1, &[]);
            let token = own_tokens.mint(&SystemRandom);
            let mut forged = token.expose().to_owned();
            forged.replace_range(place..=place, &other);
            prop_assume!(forged != token.expose());
            prop_assert_eq!(own_tokens.is_ours(&forged), Shape::Foreign);
        }

        #[test]
        fn any_text_can_be_checked(text in "\\PC{0,64}") {
            prop_assert_eq!(own_tokens(1, &[]).is_ours(&text), Shape::Foreign);
        }
    }
}
