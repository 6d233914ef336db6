//! Tokens, codes and their digests.
//!
//! A clear value exists only in the response that issues it and in the request that presents it; only its
//! BLAKE3 [`Digest`] is stored and cached.
//!
//! Our own tokens are 32 characters `[0-9A-Za-z]`: 22 random ones (131 bits) and 10 of a
//! keyed checksum over them (59 bits). The checksum proves nothing about validity; it only allows
//! refusing a forged token without a look-up in cache or store. An attacker who knows the key gains a look-up,
//! not access.

use std::fmt;
use std::sync::Arc;

use subtle::{Choice, ConstantTimeEq};
use tollgate_core::random::Random;
use tollgate_core::secret::Secret;

pub use tollgate_plugin::Digest;

/// The length of a token in characters.
pub const TOKEN_LENGTH: usize = 32;

const RANDOM_LENGTH: usize = 22;
const CHECKSUM_LENGTH: usize = TOKEN_LENGTH - RANDOM_LENGTH;
const HINT_LENGTH: usize = 4;

/// The last four characters of a token, for operators to distinguish tokens; empty for a token
/// too short to reveal them.
pub fn hint(clear: &str) -> String {
    if clear.chars().count() < 4 * HINT_LENGTH {
        return String::new();
    }
    let start = clear.char_indices().rev().nth(HINT_LENGTH - 1).map_or(0, |(index, _)| index);
    clear.get(start..).unwrap_or_default().to_owned()
}

/// Whether a presented token carries our checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Minted with one of our keys.
    Genuine,
    /// Not minted with our keys: forged, mistyped or imported.
    Foreign,
}

/// A checksum key.
pub type ChecksumKey = [u8; 32];

/// Mints tokens and recognises those it minted.
pub struct Minter {
    newest: ChecksumKey,
    /// Keys from before a rotation; their tokens are still recognised.
    older: Vec<ChecksumKey>,
    random: Arc<dyn Random>,
}

impl Minter {
    /// Mints with `newest`, and recognises tokens of that key and of the `older` ones.
    pub fn new(newest: ChecksumKey, older: Vec<ChecksumKey>, random: Arc<dyn Random>) -> Self {
        Self { newest, older, random }
    }

    /// Mints a new token.
    pub fn mint(&self) -> Secret {
        let mut clear = self.random.alphanumeric(RANDOM_LENGTH);
        clear.extend(checksum(&self.newest, clear.as_bytes()).map(char::from));
        Secret::new(clear)
    }

    /// Checks only the checksum. Allocates nothing; takes the same time for every token of the right
    /// length.
    pub fn is_ours(&self, presented: &str) -> Shape {
        let presented = presented.as_bytes();
        if presented.len() != TOKEN_LENGTH {
            return Shape::Foreign;
        }
        let (random, given) = presented.split_at(RANDOM_LENGTH);
        let mut genuine = Choice::from(0);
        for key in std::iter::once(&self.newest).chain(&self.older) {
            genuine |= checksum(key, random).ct_eq(given);
        }
        if genuine.into() { Shape::Genuine } else { Shape::Foreign }
    }
}

impl fmt::Debug for Minter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Minter").field("keys", &(1 + self.older.len())).finish_non_exhaustive()
    }
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

    use super::*;

    fn minter(newest: u8, older: &[u8]) -> Minter {
        Minter::new([newest; 32], older.iter().map(|&key| [key; 32]).collect(), Arc::new(SystemRandom))
    }

    #[test]
    fn a_minted_token_is_ours_and_has_the_documented_shape() {
        let minter = minter(1, &[]);
        for _ in 0..100 {
            let token = minter.mint();
            assert_eq!(token.expose().len(), TOKEN_LENGTH);
            assert!(token.expose().bytes().all(|byte| byte.is_ascii_alphanumeric()));
            assert_eq!(minter.is_ours(token.expose()), Shape::Genuine);
        }
    }

    #[test]
    fn a_token_of_another_gateway_is_foreign() {
        assert_eq!(minter(1, &[]).is_ours(minter(2, &[]).mint().expose()), Shape::Foreign);
    }

    #[test]
    fn tokens_from_before_a_key_rotation_stay_ours() {
        let old = minter(1, &[]).mint();
        assert_eq!(minter(2, &[1]).is_ours(old.expose()), Shape::Genuine);
        assert_eq!(minter(3, &[2]).is_ours(old.expose()), Shape::Foreign);
    }

    #[test]
    fn a_hint_is_the_end_of_a_long_token_and_empty_for_a_short_one() {
        assert_eq!(hint("0123456789abcdefghijklmnopqrstuv"), "stuv");
        assert_eq!(hint("short"), "");
        assert_eq!(hint("ééééééééééééééééabcé"), "abcé");
    }

    proptest! {
        #[test]
        fn a_changed_character_makes_a_token_foreign(place in 0..TOKEN_LENGTH, other in "[0-9A-Za-z]") {
            let minter = minter(1, &[]);
            let token = minter.mint();
            let mut forged = token.expose().to_owned();
            forged.replace_range(place..=place, &other);
            prop_assume!(forged != token.expose());
            prop_assert_eq!(minter.is_ours(&forged), Shape::Foreign);
        }

        #[test]
        fn any_text_can_be_checked(text in "\\PC{0,64}") {
            prop_assert_eq!(minter(1, &[]).is_ours(&text), Shape::Foreign);
            let _ = hint(&text);
        }
    }
}
