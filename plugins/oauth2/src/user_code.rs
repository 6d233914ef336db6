//! User codes of the device grant (RFC 8628 §6.1): eight letters without vowels, `WDJB-MJHT`, which are 34.5 bits.
//!
//! Few enough that all could be tried, so two things stand against it: they live for minutes, with a limit on wrong ones
//! ([`guesses`](crate::guesses)), and the database has only a digest, keyed with a secret of the store.

use std::fmt;

use tollgate_core::error::StoreError;
use tollgate_core::random::Random;
use tollgate_plugin::Digest;
use tollgate_plugin::store::Store;

const ALPHABET: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
const LENGTH: usize = 8;
const GROUP: usize = 4;

/// Bytes from here on would make some letters more frequent than others.
const UNBIASED: u8 = 240;

/// The name of the key among the store's secrets.
const KEY_NAME: &str = "oauth2_user_code_key";

/// A user code.
#[derive(Clone, PartialEq, Eq)]
pub struct UserCode([u8; LENGTH]);

impl UserCode {
    /// A new one.
    pub fn generate(random: &dyn Random) -> Self {
        let mut letters = [0; LENGTH];
        let mut filled = 0;
        while filled < LENGTH {
            let mut bytes = [0; 2 * LENGTH];
            random.fill(&mut bytes);
            for byte in bytes.into_iter().filter(|byte| *byte < UNBIASED) {
                let letter = ALPHABET.get(usize::from(byte) % ALPHABET.len());
                if let (Some(place), Some(letter)) = (letters.get_mut(filled), letter) {
                    *place = *letter;
                    filled += 1;
                }
            }
        }
        Self(letters)
    }

    /// What a user typed: in any letter case, with any punctuation between the letters (RFC 8628 §6.1).
    pub fn parse(typed: &str) -> Option<Self> {
        if typed.len() > 4 * LENGTH {
            return None;
        }
        let letters = typed.bytes().filter(u8::is_ascii_alphanumeric).map(|byte| byte.to_ascii_uppercase());
        let letters: Vec<u8> = letters.collect();
        let known = letters.iter().all(|letter| ALPHABET.contains(letter));
        known.then(|| letters.try_into().ok()).flatten().map(Self)
    }
}

impl fmt::Display for UserCode {
    /// As it is shown to the user.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, letter) in self.0.iter().enumerate() {
            let separator = if place > 0 && place.is_multiple_of(GROUP) { "-" } else { "" };
            write!(f, "{separator}{}", char::from(*letter))?;
        }
        Ok(())
    }
}

impl fmt::Debug for UserCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserCode")
    }
}

/// The key of the digests.
#[derive(Clone)]
pub struct UserCodeKey([u8; 32]);

impl UserCodeKey {
    /// A key.
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// That of the store, the same on every node; the first caller creates it.
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
        let unreadable = |_| StoreError::Corrupt { kind: "user code key", what: "not 32 bytes long" };
        Ok(Self(kept.try_into().map_err(unreadable)?))
    }

    /// A key for another purpose.
    pub fn derived(&self, purpose: &str) -> [u8; 32] {
        *blake3::keyed_hash(&self.0, purpose.as_bytes()).as_bytes()
    }

    /// The digest under which a code is stored.
    pub fn digest(&self, code: &UserCode) -> Digest {
        Digest(*blake3::keyed_hash(&self.0, &code.0).as_bytes())
    }
}

impl fmt::Debug for UserCodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserCodeKey")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tollgate_core::random::SystemRandom;

    use super::*;

    #[test]
    fn a_code_is_shown_in_two_groups_and_read_as_people_type_it_rfc8628_6_1() {
        let code = UserCode::generate(&SystemRandom);
        let shown = code.to_string();
        assert_eq!((shown.len(), &shown[4..5]), (9, "-"));
        for typed in [shown.clone(), shown.to_lowercase(), shown.replace('-', ""), shown.replace('-', " . ")] {
            assert_eq!(UserCode::parse(&typed), Some(code.clone()), "{typed}");
        }
        for typed in ["", "WDJB", "WDJB-MJHA", "WDJB-MJHTX", "WDJB-MJH0", &"-".repeat(40)] {
            assert_eq!(UserCode::parse(typed), None, "{typed}");
        }
    }

    #[test]
    fn every_letter_is_as_frequent_as_the_others() {
        let mut counts = [0_u32; 256];
        for _ in 0..2000 {
            UserCode::generate(&SystemRandom).0.iter().for_each(|letter| counts[usize::from(*letter)] += 1);
        }
        // 800 each; five standard deviations are 140.
        assert!(ALPHABET.iter().all(|letter| (600..1000).contains(&counts[usize::from(*letter)])), "{counts:?}");
    }

    #[test]
    fn a_digest_is_of_its_key_and_neither_shows_anything() {
        let code = UserCode::parse("WDJB-MJHT").unwrap();
        let (one, other) = (UserCodeKey::new([1; 32]), UserCodeKey::new([2; 32]));
        assert_ne!(one.digest(&code), other.digest(&code));
        assert_eq!(format!("{code:?} {one:?}"), "UserCode UserCodeKey");
    }

    proptest! {
        #[test]
        fn any_text_can_be_typed(typed in "\\PC{0,40}") {
            if let Some(code) = UserCode::parse(&typed) {
                prop_assert_eq!(UserCode::parse(&code.to_string()), Some(code));
            }
        }
    }
}
