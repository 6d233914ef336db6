//! A pair of tokens that only the holder of the refresh token it replaced can read.
//!
//! The key is derived from that refresh token, of which the database has a digest alone: whoever reads the
//! database learns nothing of the pair. A refresh token that is kept (`reuse_refresh_token`) seals several pairs,
//! so each has a random nonce.

use openssl::error::ErrorStack;
use openssl::symm::{Cipher, decrypt_aead, encrypt_aead};
use tollgate_core::random::Random;
use tollgate_core::secret::Secret;
use uuid::Uuid;
use zeroize::Zeroizing;

/// What the key is for (BLAKE3's key derivation).
const CONTEXT: &str = "tollgate 2026-11-28 oauth2 token pair for a repeated refresh";
const NONCE: usize = 12;
const TAG: usize = 16;
/// Between the two tokens: no token contains it.
const SEPARATOR: char = '\n';

/// An access token and its refresh token, if it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The access token.
    pub access_token: Secret,
    /// The refresh token.
    pub refresh_token: Option<Secret>,
}

impl Pair {
    /// Seals it for who has `refresh_token`. `row`: the row it belongs to; it cannot be opened as another's.
    ///
    /// # Errors
    /// OpenSSL's.
    pub fn seal(&self, refresh_token: &str, row: Uuid, random: &dyn Random) -> Result<Vec<u8>, ErrorStack> {
        let mut clear = Zeroizing::new(self.access_token.expose().to_owned());
        if let Some(refresh_token) = &self.refresh_token {
            clear.push(SEPARATOR);
            clear.push_str(refresh_token.expose());
        }
        let mut nonce = [0; NONCE];
        random.fill(&mut nonce);
        let mut tag = [0; TAG];
        let (key, cipher) = (key(refresh_token), Cipher::aes_256_gcm());
        let sealed = encrypt_aead(cipher, &*key, Some(&nonce), row.as_bytes(), clear.as_bytes(), &mut tag)?;
        Ok([&nonce[..], &tag, &sealed].concat())
    }

    /// Opens it. `None`: it was sealed for another refresh token or row, or altered.
    pub fn open(sealed: &[u8], refresh_token: &str, row: Uuid) -> Option<Self> {
        let (nonce, rest) = sealed.split_at_checked(NONCE)?;
        let (tag, rest) = rest.split_at_checked(TAG)?;
        let (key, cipher) = (key(refresh_token), Cipher::aes_256_gcm());
        let clear = Zeroizing::new(decrypt_aead(cipher, &*key, Some(nonce), row.as_bytes(), rest, tag).ok()?);
        let clear = std::str::from_utf8(&clear).ok()?;
        let (access_token, refresh_token) = match clear.split_once(SEPARATOR) {
            Some((access_token, refresh_token)) => (access_token, Some(refresh_token)),
            None => (clear, None),
        };
        Some(Self { access_token: Secret::new(access_token), refresh_token: refresh_token.map(Secret::new) })
    }
}

fn key(refresh_token: &str) -> Zeroizing<[u8; blake3::KEY_LEN]> {
    Zeroizing::new(blake3::derive_key(CONTEXT, refresh_token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use tollgate_core::random::SystemRandom;

    use super::*;

    fn pair() -> Pair {
        Pair { access_token: Secret::new("access"), refresh_token: Some(Secret::new("refresh")) }
    }

    #[test]
    fn a_pair_is_opened_with_the_refresh_token_and_the_row_it_was_sealed_for() {
        let row = Uuid::from_u128(1);
        let sealed = pair().seal("old", row, &SystemRandom).unwrap();
        assert_eq!(Pair::open(&sealed, "old", row), Some(pair()));
        assert_eq!(Pair::open(&sealed, "other", row), None);
        assert_eq!(Pair::open(&sealed, "old", Uuid::from_u128(2)), None);
        let alone = Pair { refresh_token: None, ..pair() };
        assert_eq!(Pair::open(&alone.seal("old", row, &SystemRandom).unwrap(), "old", row), Some(alone));
    }

    #[test]
    fn an_altered_or_short_pair_is_not_opened() {
        let row = Uuid::from_u128(1);
        let sealed = pair().seal("old", row, &SystemRandom).unwrap();
        for place in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[place] ^= 1;
            assert_eq!(Pair::open(&altered, "old", row), None, "byte {place}");
            assert_eq!(Pair::open(&sealed[..place], "old", row), None, "{place} bytes");
        }
    }

    #[test]
    fn a_sealed_pair_shows_nothing_and_is_never_the_same() {
        let row = Uuid::from_u128(1);
        let seal = || pair().seal("old", row, &SystemRandom).unwrap();
        let (one, two) = (seal(), seal());
        assert_ne!(one, two);
        assert!(!one.windows(4).any(|part| part == b"acce" || part == b"refr"));
    }
}
