//! Keys that verify signatures. A key is made once and verifies many tokens: nothing of it is parsed again.

mod pem;

use std::fmt;
use std::sync::Arc;

use openssl::ec::EcKey;
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private, Public};

use crate::signature::{self, RsaChecks};
use crate::{Algorithm, Algorithms, Family, Jws};

/// The smallest RSA key for JOSE, in bits (RFC 7518 §3.3).
const SMALLEST_RSA: u32 = 2048;

/// The largest RSA key: with larger ones a check takes milliseconds.
const LARGEST_RSA: u32 = 8192;

/// The longest public exponent, in bits; 65537, which nearly all keys have, has 17.
const LONGEST_EXPONENT: i32 = 64;

/// Above so many bits an RSA check is slow: one with 4096 takes as long as one with P-256.
const SLOW_RSA: u32 = 4096;

/// A key, and the algorithms of its type with which it may be used. Cheap to clone.
#[derive(Clone)]
pub struct VerificationKey {
    material: Material,
    algorithms: Algorithms,
}

#[derive(Clone)]
enum Material {
    Hmac(PKey<Private>),
    Rsa(Arc<RsaChecks>),
    Ec {
        key: EcKey<Public>,
        /// The length of half a signature, in bytes.
        half: usize,
    },
    Ed(PKey<Public>),
}

/// Which RSA keys are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RsaSize {
    /// At least 2048 bits (RFC 7518 §3.3).
    Secure,
    /// Any that OpenSSL reads: for keys that an operator configures, and other gateways accept.
    Any,
}

/// The token was not signed so with this key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token's signature is not valid")]
pub struct BadSignature;

/// Why a key cannot be used. Contains nothing of it.
#[derive(Debug, thiserror::Error)]
pub enum InvalidKey {
    /// No PEM block, or one of another kind.
    #[error("not a public key in PEM; expected PUBLIC KEY, RSA PUBLIC KEY or CERTIFICATE")]
    NotPem,
    /// A private key, which does not belong into a configuration that only verifies.
    #[error("a private key; configure the public key that belongs to it")]
    PrivateKey,
    /// OpenSSL refuses it.
    #[error("OpenSSL cannot read the key")]
    Unreadable(#[from] ErrorStack),
    /// A key of another type, or on another curve.
    #[error("not a key for {0:?}")]
    WrongType(Algorithms),
    /// Fewer bits than are secure.
    #[error("an RSA key of {0} bits; at least {SMALLEST_RSA} are needed")]
    RsaTooSmall(u32),
    /// A modulus or an exponent that makes checks slow.
    #[error("an RSA key of more than {LARGEST_RSA} bits, or with an exponent of more than {LONGEST_EXPONENT}")]
    RsaTooLarge,
}

impl VerificationKey {
    /// A secret shared with the issuer.
    ///
    /// # Errors
    /// The algorithm is not HMAC.
    pub fn hmac(secret: &[u8], algorithm: Algorithm) -> Result<Self, InvalidKey> {
        let algorithms = Algorithms::from_iter([algorithm]);
        if algorithm.family() != Family::Hmac {
            return Err(InvalidKey::WrongType(algorithms));
        }
        Ok(Self { material: Material::Hmac(PKey::hmac(secret)?), algorithms })
    }

    /// A public key in PEM: SPKI (`PUBLIC KEY`), PKCS #1 (`RSA PUBLIC KEY`), or that of an X.509 certificate, of
    /// which nothing else is checked.
    ///
    /// # Errors
    /// See [`InvalidKey`].
    pub fn from_pem(pem: &[u8], algorithm: Algorithm, size: RsaSize) -> Result<Self, InvalidKey> {
        let wanted = Algorithms::from_iter([algorithm]);
        clean(pem::public_key(pem).and_then(|key| Self::public(key, wanted, size)))
    }

    /// A public key, for those of the `wanted` algorithms that fit it.
    pub(super) fn public(key: PKey<Public>, wanted: Algorithms, size: RsaSize) -> Result<Self, InvalidKey> {
        let fitting = fitting(&key)?;
        let algorithms: Algorithms = wanted.iter().filter(|algorithm| fitting.contains(*algorithm)).collect();
        if algorithms.is_empty() {
            return Err(InvalidKey::WrongType(wanted));
        }
        let material = match key.id() {
            Id::EC => Material::Ec { half: half_of(key.bits()), key: key.ec_key()? },
            Id::RSA | Id::RSA_PSS => {
                check_size(&key, size)?;
                Material::Rsa(Arc::new(RsaChecks::new(key)))
            }
            _ => Material::Ed(key),
        };
        Ok(Self { material, algorithms })
    }

    /// The algorithms with which it may be used.
    pub fn algorithms(&self) -> Algorithms {
        self.algorithms
    }

    /// Whether a check takes more than a fifth of a millisecond (docs/decisions/0003-jose-library.md): run it in
    /// [`SignatureChecks`](super::SignatureChecks).
    pub fn is_slow(&self) -> bool {
        match &self.material {
            Material::Hmac(_) => false,
            Material::Rsa(checks) => checks.key().bits() > SLOW_RSA,
            Material::Ec { half, .. } => *half > half_of(256),
            Material::Ed(key) => key.id() == Id::ED448,
        }
    }

    /// Verifies a token's signature.
    ///
    /// # Errors
    /// The token was signed with another key or another algorithm, or was changed.
    pub fn verify(&self, jws: &Jws) -> Result<(), BadSignature> {
        let algorithm = jws.algorithm().filter(|algorithm| self.algorithms.contains(*algorithm)).ok_or(BadSignature)?;
        if matches!(self.check(algorithm, jws.signing_input(), jws.signature()), Ok(true)) {
            return Ok(());
        }
        forget_errors();
        Err(BadSignature)
    }

    /// The public key in DER (SPKI); `None` for a secret.
    pub(super) fn to_der(&self) -> Option<Vec<u8>> {
        match &self.material {
            Material::Hmac(_) => None,
            Material::Rsa(checks) => checks.key().public_key_to_der().ok(),
            Material::Ed(key) => key.public_key_to_der().ok(),
            Material::Ec { key, .. } => key.public_key_to_der().ok(),
        }
    }

    fn check(&self, algorithm: Algorithm, signed: &[u8], sent: &[u8]) -> Result<bool, ErrorStack> {
        let hash = algorithm.hash();
        match (&self.material, algorithm.family()) {
            (Material::Hmac(secret), Family::Hmac) => signature::hmac(secret, hash, signed, sent),
            (Material::Rsa(checks), Family::Rsa | Family::RsaPss) => checks.verify(algorithm, signed, sent),
            (Material::Ec { key, half }, Family::Ecdsa) => signature::ecdsa(key, *half, hash, signed, sent),
            (Material::Ed(key), Family::Eddsa) => signature::eddsa(key, signed, sent),
            _ => Ok(false),
        }
    }
}

/// Without its contents.
impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerificationKey").field("algorithms", &self.algorithms).finish_non_exhaustive()
    }
}

/// Drops what OpenSSL has noted about a failure: left in this thread's queue, the next TLS connection on the
/// thread would take it for an error of its own.
fn forget_errors() {
    drop(ErrorStack::get());
}

/// The result, after [`forget_errors`]: OpenSSL also notes what it tried on the way to a success.
pub(super) fn clean<T>(result: T) -> T {
    forget_errors();
    result
}

/// The algorithms whose key this can be.
fn fitting(key: &PKey<Public>) -> Result<Algorithms, ErrorStack> {
    let of = |families: &[Family]| {
        let all = Algorithm::ALL.into_iter();
        all.filter(|algorithm| families.contains(&algorithm.family())).collect::<Algorithms>()
    };
    Ok(match key.id() {
        Id::RSA => of(&[Family::Rsa, Family::RsaPss]),
        // Such a key may permit only one hash and one length of salts.
        Id::RSA_PSS => {
            of(&[Family::RsaPss]).iter().filter(|algorithm| signature::rsa_context(key, *algorithm).is_ok()).collect()
        }
        Id::EC => match key.ec_key()?.group().curve_name() {
            Some(Nid::X9_62_PRIME256V1) => Algorithms::from_iter([Algorithm::ES256]),
            Some(Nid::SECP384R1) => Algorithms::from_iter([Algorithm::ES384]),
            Some(Nid::SECP521R1) => Algorithms::from_iter([Algorithm::ES512]),
            _ => Algorithms::default(),
        },
        Id::ED25519 | Id::ED448 => of(&[Family::Eddsa]),
        _ => Algorithms::default(),
    })
}

fn check_size(key: &PKey<Public>, size: RsaSize) -> Result<(), InvalidKey> {
    if size == RsaSize::Any {
        return Ok(());
    }
    if key.bits() < SMALLEST_RSA {
        return Err(InvalidKey::RsaTooSmall(key.bits()));
    }
    if key.bits() > LARGEST_RSA || key.rsa()?.e().num_bits() > LONGEST_EXPONENT {
        return Err(InvalidKey::RsaTooLarge);
    }
    Ok(())
}

/// The bytes of a number with so many bits.
fn half_of(bits: u32) -> usize {
    usize::try_from(bits.div_ceil(8)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
