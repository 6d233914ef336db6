//! A key that signs access tokens (RFC 9068): ES256 or RS256, with OpenSSL.
//!
//! The private key is kept sealed (AES-256-GCM): whoever reads its row alone cannot sign. It is bound to its key id,
//! so a row cannot be given another's key.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::sha::sha256;
use openssl::sign::{Signer, Verifier};
use openssl::symm::{Cipher, decrypt_aead, encrypt_aead};
use serde_json::{Value, json};
use tollgate_core::random::Random;
use tollgate_core::secret::Secret;
use tollgate_plugin::own_token;
use zeroize::Zeroizing;

pub use tollgate_plugin::own_token::SigningAlgorithm as Algorithm;

/// What the sealing key is for (BLAKE3's key derivation).
const CONTEXT: &str = "tollgate 2026-11-28 oauth2 signing keys at rest";
const NONCE: usize = 12;
const TAG: usize = 16;
/// The length of a coordinate of P-256, and of each number of a signature (RFC 7518 §3.4, §6.2.1).
const COORDINATE: usize = 32;
const RSA_BITS: u32 = 2048;

/// A key pair.
pub struct SigningKey {
    key_id: String,
    algorithm: Algorithm,
    key: PKey<Private>,
    /// The first part of its tokens.
    header: String,
    jwk: Value,
}

impl SigningKey {
    /// A new one. RSA takes a tenth of a second or more: not for I/O threads.
    ///
    /// # Errors
    /// OpenSSL's.
    pub fn generate(key_id: String, algorithm: Algorithm) -> Result<Self, ErrorStack> {
        let key = match algorithm {
            Algorithm::Es256 => {
                let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
                PKey::from_ec_key(EcKey::generate(&group)?)?
            }
            Algorithm::Rs256 => PKey::from_rsa(Rsa::generate(RSA_BITS)?)?,
        };
        Self::of(key_id, algorithm, key)
    }

    fn of(key_id: String, algorithm: Algorithm, key: PKey<Private>) -> Result<Self, ErrorStack> {
        let jwk = jwk(&key_id, algorithm, &key)?;
        let header = own_token::jwt_header(&key_id, algorithm);
        Ok(Self { key_id, algorithm, key, header, jwk })
    }

    /// The `kid` of its tokens.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Its algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The public key as published (RFC 7517).
    pub fn jwk(&self) -> &Value {
        &self.jwk
    }

    /// A token with these claims.
    ///
    /// # Errors
    /// OpenSSL's.
    pub fn token(&self, claims: &Value) -> Result<Secret, ErrorStack> {
        let signed = format!("{}.{}", self.header, BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = match self.algorithm {
            Algorithm::Es256 => {
                let signature = EcdsaSig::sign(&sha256(signed.as_bytes()), self.key.ec_key()?.as_ref())?;
                let length = i32::try_from(COORDINATE).unwrap_or_default();
                [signature.r().to_vec_padded(length)?, signature.s().to_vec_padded(length)?].concat()
            }
            Algorithm::Rs256 => {
                Signer::new(MessageDigest::sha256(), &self.key)?.sign_oneshot_to_vec(signed.as_bytes())?
            }
        };
        Ok(Secret::new(format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))))
    }

    /// Whether it has signed a token.
    pub fn has_signed(&self, token: &str) -> bool {
        let Some((signed, signature)) = token.rsplit_once('.') else { return false };
        let Ok(signature) = BASE64_URL_SAFE_NO_PAD.decode(signature) else { return false };
        self.verify(signed.as_bytes(), &signature).unwrap_or(false)
    }

    fn verify(&self, signed: &[u8], signature: &[u8]) -> Result<bool, ErrorStack> {
        match self.algorithm {
            Algorithm::Es256 => {
                let Some((r, s)) = signature.split_at_checked(COORDINATE).filter(|(_, s)| s.len() == COORDINATE) else {
                    return Ok(false);
                };
                let signature = EcdsaSig::from_private_components(BigNum::from_slice(r)?, BigNum::from_slice(s)?)?;
                signature.verify(&sha256(signed), self.key.ec_key()?.as_ref())
            }
            Algorithm::Rs256 => Verifier::new(MessageDigest::sha256(), &self.key)?.verify_oneshot(signature, signed),
        }
    }

    /// The private key for its row.
    ///
    /// # Errors
    /// OpenSSL's.
    pub fn seal(&self, sealing: &SealingKey, random: &dyn Random) -> Result<Vec<u8>, ErrorStack> {
        let clear = Zeroizing::new(self.key.private_key_to_pkcs8()?);
        let mut nonce = [0; NONCE];
        random.fill(&mut nonce);
        let mut tag = [0; TAG];
        let bound = self.key_id.as_bytes();
        let sealed = encrypt_aead(Cipher::aes_256_gcm(), &*sealing.0, Some(&nonce), bound, &clear, &mut tag)?;
        Ok([&nonce[..], &tag, &sealed].concat())
    }

    /// From its row. `None`: it was sealed with another key, for another key id, or altered.
    pub fn open(key_id: String, algorithm: Algorithm, sealed: &[u8], sealing: &SealingKey) -> Option<Self> {
        let (nonce, rest) = sealed.split_at_checked(NONCE)?;
        let (tag, rest) = rest.split_at_checked(TAG)?;
        let bound = key_id.as_bytes();
        let clear = decrypt_aead(Cipher::aes_256_gcm(), &*sealing.0, Some(nonce), bound, rest, tag).ok()?;
        let key = PKey::private_key_from_pkcs8(&Zeroizing::new(clear)).ok()?;
        Self::of(key_id, algorithm, key).ok()
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

fn jwk(key_id: &str, algorithm: Algorithm, key: &PKey<Private>) -> Result<Value, ErrorStack> {
    let encode = |number: Vec<u8>| BASE64_URL_SAFE_NO_PAD.encode(number);
    let public = match algorithm {
        Algorithm::Es256 => {
            let ec = key.ec_key()?;
            let (mut x, mut y) = (BigNum::new()?, BigNum::new()?);
            ec.public_key().affine_coordinates(ec.group(), &mut x, &mut y, &mut *BigNumContext::new()?)?;
            let length = i32::try_from(COORDINATE).unwrap_or_default();
            let (x, y) = (encode(x.to_vec_padded(length)?), encode(y.to_vec_padded(length)?));
            [("kty", json!("EC")), ("crv", json!("P-256")), ("x", json!(x)), ("y", json!(y))].to_vec()
        }
        Algorithm::Rs256 => {
            let rsa = key.rsa()?;
            let (n, e) = (encode(rsa.n().to_vec()), encode(rsa.e().to_vec()));
            [("kty", json!("RSA")), ("n", json!(n)), ("e", json!(e))].to_vec()
        }
    };
    let common = [("kid", json!(key_id)), ("alg", json!(algorithm.as_str())), ("use", json!("sig"))];
    Ok(public.into_iter().chain(common).map(|(name, value)| (name.to_owned(), value)).collect())
}

/// What private keys are sealed with.
#[derive(Clone)]
pub struct SealingKey(Zeroizing<[u8; blake3::KEY_LEN]>);

impl SealingKey {
    /// Derived from a secret of the store.
    pub fn of(secret: &[u8]) -> Self {
        Self(Zeroizing::new(blake3::derive_key(CONTEXT, secret)))
    }
}

#[cfg(test)]
mod tests {
    use tollgate_core::random::SystemRandom;
    use tollgate_plugin::own_token::{OwnTokens, Shape};

    use super::*;

    fn key_id(own_tokens: &OwnTokens) -> String {
        own_tokens.mint(&SystemRandom).expose().to_owned()
    }

    #[test]
    fn a_token_is_verified_by_its_key_alone_and_is_ours_rfc9068_2_1() {
        let own_tokens = OwnTokens::new([1; 32], Vec::new());
        for algorithm in [Algorithm::Es256, Algorithm::Rs256] {
            let key = SigningKey::generate(key_id(&own_tokens), algorithm).unwrap();
            let other = SigningKey::generate(key_id(&own_tokens), algorithm).unwrap();
            let token = key.token(&json!({"sub": "kate"})).unwrap();
            assert!(key.has_signed(token.expose()) && !other.has_signed(token.expose()));
            assert_eq!(own_tokens.is_ours(token.expose()), Shape::Signed);
            let parts: Vec<&str> = token.expose().split('.').collect();
            let header: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(parts[0]).unwrap()).unwrap();
            let expected = json!({"alg": algorithm.as_str(), "typ": "at+jwt", "kid": key.key_id()});
            assert_eq!((header, parts.len()), (expected, 3));
            for altered in [
                token.expose().replace('.', ""),
                format!("{}A", token.expose()),
                format!("{}.{}.{}", parts[0], BASE64_URL_SAFE_NO_PAD.encode("{}"), parts[2]),
                format!("{}.{}.", parts[0], parts[1]),
            ] {
                assert!(!key.has_signed(&altered), "{altered}");
            }
        }
    }

    #[test]
    fn a_sealed_key_is_opened_with_its_sealing_key_and_key_id() {
        let (sealing, other) = (SealingKey::of(b"one"), SealingKey::of(b"other"));
        for algorithm in [Algorithm::Es256, Algorithm::Rs256] {
            let key = SigningKey::generate("k".to_owned(), algorithm).unwrap();
            let sealed = key.seal(&sealing, &SystemRandom).unwrap();
            let open = |id: &str, sealed: &[u8], sealing| SigningKey::open(id.to_owned(), algorithm, sealed, sealing);
            let opened = open("k", &sealed, &sealing).unwrap();
            assert_eq!(opened.jwk(), key.jwk());
            assert!(key.has_signed(opened.token(&json!({})).unwrap().expose()));
            assert!(open("k", &sealed, &other).is_none() && open("l", &sealed, &sealing).is_none());
            let mut altered = sealed.clone();
            altered[40] ^= 1;
            assert!(open("k", &altered, &sealing).is_none() && open("k", &sealed[..20], &sealing).is_none());
        }
    }

    #[test]
    fn what_is_published_has_no_private_part_rfc7517_4() {
        let members = |algorithm| {
            let key = SigningKey::generate("k".to_owned(), algorithm).unwrap();
            key.jwk().as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ")
        };
        let sorted = |members: String| {
            let mut names: Vec<_> = members.split(' ').map(str::to_owned).collect();
            names.sort();
            names.join(" ")
        };
        assert_eq!(sorted(members(Algorithm::Es256)), "alg crv kid kty use x y");
        assert_eq!(sorted(members(Algorithm::Rs256)), "alg e kid kty n use");
        let key = SigningKey::generate("k".to_owned(), Algorithm::Es256).unwrap();
        assert_eq!(format!("{key:?}"), "SigningKey { key_id: \"k\", .. }");
    }
}
