//! Signature checks, as OpenSSL does them.
//!
//! OpenSSL refuses signatures of a wrong length itself, except for ECDSA, whose two numbers JWS writes at full
//! length (RFC 7518 §3.4). PSS salts are as long as the hash (§3.5). An HMAC is compared in constant time.

use openssl::bn::BigNum;
use openssl::ec::EcKey;
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::md::{Md, MdRef};
use openssl::md_ctx::MdCtx;
use openssl::pkey::{PKey, Private, Public};
use openssl::rsa::Padding;
use openssl::sha::{sha256, sha384, sha512};
use openssl::sign::{RsaPssSaltlen, Signer};

use super::Family;
use super::algorithm::Hash;

/// What verifies RSA signatures with this key, which may not permit it.
pub(super) fn rsa_context(key: &PKey<Public>, family: Family, hash: Hash) -> Result<MdCtx, ErrorStack> {
    let md: &MdRef = match hash {
        Hash::Sha256 => Md::sha256(),
        Hash::Sha384 => Md::sha384(),
        Hash::Sha512 => Md::sha512(),
    };
    let mut context = MdCtx::new()?;
    let parameters = context.digest_verify_init(Some(md), key)?;
    if family == Family::RsaPss {
        parameters.set_rsa_padding(Padding::PKCS1_PSS)?;
        parameters.set_rsa_mgf1_md(md)?;
        parameters.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
    } else {
        parameters.set_rsa_padding(Padding::PKCS1)?;
    }
    Ok(context)
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
    match hash {
        Hash::Sha256 => signature.verify(&sha256(signed), key),
        Hash::Sha384 => signature.verify(&sha384(signed), key),
        Hash::Sha512 => signature.verify(&sha512(signed), key),
    }
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
