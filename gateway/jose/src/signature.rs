//! Signature checks, as OpenSSL does them.
//!
//! OpenSSL refuses signatures of a wrong length itself, except for ECDSA, whose two numbers JWS writes at full
//! length (RFC 7518 §3.4). PSS salts are as long as the hash (§3.5). An HMAC is compared in constant time.

use std::cell::RefCell;
use std::sync::{LazyLock, Mutex, PoisonError};

use openssl::bn::BigNum;
use openssl::ec::EcKey;
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::md::{Md, MdRef};
use openssl::md_ctx::MdCtx;
use openssl::pkey::{PKey, Private, Public};
use openssl::pkey_ctx::PkeyCtx;
use openssl::rsa::Padding;
use openssl::sign::{RsaPssSaltlen, Signer};

use crate::Family;
use crate::algorithm::{Algorithm, Hash};

/// The most contexts of a key that wait for their next check: about one for each thread that checks.
const MOST_IDLE: usize = 16;

/// Checks with an RSA key. Setting up a context takes a fifth of the time of a check, so contexts are used again.
pub(super) struct RsaChecks {
    key: PKey<Public>,
    idle: Mutex<Vec<(Algorithm, PkeyCtx<Public>)>>,
}

impl RsaChecks {
    /// With this key.
    pub(super) fn new(key: PKey<Public>) -> Self {
        Self { key, idle: Mutex::default() }
    }

    /// The key.
    pub(super) fn key(&self) -> &PKey<Public> {
        &self.key
    }

    /// Whether the signature is one of the text, with an algorithm for RSA.
    pub(super) fn verify(&self, algorithm: Algorithm, signed: &[u8], sent: &[u8]) -> Result<bool, ErrorStack> {
        let mut context = match self.take(algorithm) {
            Some(context) => context,
            None => rsa_context(&self.key, algorithm)?,
        };
        let (digest, length) = digest(algorithm.hash(), signed)?;
        // After an error, which a wrong signature may be, the context is not used again.
        let is_good = context.verify(digest.get(..length).unwrap_or_default(), sent)?;
        self.keep(algorithm, context);
        Ok(is_good)
    }

    fn take(&self, algorithm: Algorithm) -> Option<PkeyCtx<Public>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let index = idle.iter().position(|(of, _)| *of == algorithm)?;
        Some(idle.swap_remove(index).1)
    }

    fn keep(&self, algorithm: Algorithm, context: PkeyCtx<Public>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MOST_IDLE {
            idle.push((algorithm, context));
        }
    }
}

/// What verifies RSA signatures with this key, which may not permit it.
pub(super) fn rsa_context(key: &PKey<Public>, algorithm: Algorithm) -> Result<PkeyCtx<Public>, ErrorStack> {
    let md = md(algorithm.hash());
    let mut context = PkeyCtx::new(key)?;
    context.verify_init()?;
    let is_pss = algorithm.family() == Family::RsaPss;
    context.set_rsa_padding(if is_pss { Padding::PKCS1_PSS } else { Padding::PKCS1 })?;
    context.set_signature_md(md)?;
    if is_pss {
        context.set_rsa_mgf1_md(md)?;
        context.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
    }
    Ok(context)
}

fn md(hash: Hash) -> &'static MdRef {
    match hash {
        Hash::Sha256 => Md::sha256(),
        Hash::Sha384 => Md::sha384(),
        Hash::Sha512 => Md::sha512(),
    }
}

/// The digest, and its length.
fn digest(hash: Hash, signed: &[u8]) -> Result<([u8; 64], usize), ErrorStack> {
    /// Looked up once: that takes longer than the digest of a token.
    static FETCHED: LazyLock<[Option<Md>; 3]> =
        LazyLock::new(|| ["SHA2-256", "SHA2-384", "SHA2-512"].map(|name| Md::fetch(None, name, None).ok()));
    thread_local! {
        static CONTEXT: RefCell<Option<MdCtx>> = const { RefCell::new(None) };
    }
    let [sha256, sha384, sha512] = &*FETCHED;
    let fetched = match hash {
        Hash::Sha256 => sha256,
        Hash::Sha384 => sha384,
        Hash::Sha512 => sha512,
    };
    let md = fetched.as_deref().unwrap_or_else(|| md(hash));
    CONTEXT.with_borrow_mut(|kept| {
        let context = match kept {
            Some(context) => context,
            None => kept.insert(MdCtx::new()?),
        };
        let mut digest = [0; 64];
        context.digest_init(md)?;
        context.digest_update(signed)?;
        let length = context.digest_final(&mut digest)?;
        Ok((digest, length))
    })
}

/// With half a signature for each of its two numbers.
pub(super) fn ecdsa(
    key: &EcKey<Public>,
    half: usize,
    hash: Hash,
    signed: &[u8],
    signature: &[u8],
) -> Result<bool, ErrorStack> {
    let Some((r, s)) = signature.split_at_checked(half).filter(|(_, s)| s.len() == half) else { return Ok(false) };
    let signature = EcdsaSig::from_private_components(BigNum::from_slice(r)?, BigNum::from_slice(s)?)?;
    let (digest, length) = digest(hash, signed)?;
    signature.verify(digest.get(..length).unwrap_or_default(), key)
}

pub(super) fn hmac(secret: &PKey<Private>, hash: Hash, signed: &[u8], signature: &[u8]) -> Result<bool, ErrorStack> {
    let digest = match hash {
        Hash::Sha256 => MessageDigest::sha256(),
        Hash::Sha384 => MessageDigest::sha384(),
        Hash::Sha512 => MessageDigest::sha512(),
    };
    let mut expected = [0; 64];
    let length = Signer::new(digest, secret)?.sign_oneshot(&mut expected, signed)?;
    let expected = expected.get(..length).unwrap_or_default();
    Ok(expected.len() == signature.len() && openssl::memcmp::eq(expected, signature))
}

pub(super) fn eddsa(key: &PKey<Public>, signed: &[u8], signature: &[u8]) -> Result<bool, ErrorStack> {
    let mut context = MdCtx::new()?;
    context.digest_verify_init(None, key)?;
    context.digest_verify(signed, signature)
}
