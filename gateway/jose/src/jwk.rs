//! Public keys as JSON: JWK (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2).
//!
//! `x5c`, `x5t` and `x5u` are ignored: the issuer's TLS certificate vouches for its keys.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Public};
use openssl::rsa::Rsa;
use openssl::sha::sha256;
use serde_json::{Map, Value};

use crate::key::{InvalidKey, RsaSize, VerificationKey, clean};
use crate::{Algorithm, Algorithms, Family};

/// Members that only private keys have (RFC 7518 §6.2.2, §6.3.2).
const PRIVATE: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "oth"];

/// Why a JWK is not used. Contains nothing of it.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Its `use` or `key_ops` is another.
    #[error("not for signatures")]
    NotForSignatures,
    /// A secret that is published is none.
    #[error("a symmetric key")]
    Symmetric,
    /// Whoever reads it can sign.
    #[error("a private key")]
    Private,
    /// A type or a curve that nothing here verifies with.
    #[error("of an unknown type or curve")]
    UnknownType,
    /// An algorithm that nothing here verifies.
    #[error("for an unknown algorithm")]
    UnknownAlgorithm,
    /// A member is missing, or of the wrong type or form.
    #[error("without a valid member {0}")]
    Member(&'static str),
    /// Its values make no key for its algorithm.
    #[error("not a valid key: {0}")]
    Invalid(#[from] InvalidKey),
}

impl Unusable {
    /// A stable word for metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotForSignatures => "not_for_signatures",
            Self::Symmetric => "symmetric",
            Self::Private => "private",
            Self::UnknownType => "unknown_type",
            Self::UnknownAlgorithm => "unknown_algorithm",
            Self::Member(_) | Self::Invalid(_) => "invalid",
        }
    }
}

impl VerificationKey {
    /// The public key in a JWK, for its `alg`; without one for all algorithms that fit it.
    ///
    /// # Errors
    /// See [`Unusable`].
    pub fn from_jwk(jwk: &Map<String, Value>) -> Result<Self, Unusable> {
        let kind = text(jwk, "kty")?;
        check_use(jwk)?;
        if kind == "oct" || jwk.contains_key("k") {
            return Err(Unusable::Symmetric);
        }
        if PRIVATE.iter().any(|member| jwk.contains_key(*member)) {
            return Err(Unusable::Private);
        }
        let wanted = wanted(jwk)?;
        clean(public_key(jwk, kind).and_then(|key| Ok(Self::public(key, wanted, RsaSize::Secure)?)))
    }
}

/// The thumbprint of a public key, with SHA-256 (RFC 7638 §3): base64url of the digest of its required members in
/// lexicographic order. `None`: it is of an unknown type, or lacks one.
pub fn thumbprint(jwk: &Map<String, Value>) -> Option<String> {
    let members: &[&str] = match jwk.get("kty")?.as_str()? {
        "EC" => &["crv", "kty", "x", "y"],
        "OKP" => &["crv", "kty", "x"],
        "RSA" => &["e", "kty", "n"],
        _ => return None,
    };
    let mut text = String::with_capacity(160);
    for (index, member) in members.iter().enumerate() {
        text.push_str(if index == 0 { "{" } else { "," });
        let value = Value::String(jwk.get(*member)?.as_str()?.to_owned());
        text.push_str(&format!("\"{member}\":{value}"));
    }
    text.push('}');
    Some(URL_SAFE_NO_PAD.encode(sha256(text.as_bytes())))
}

/// Whether it is for signatures (RFC 7517 §4.2, §4.3).
fn check_use(jwk: &Map<String, Value>) -> Result<(), Unusable> {
    let is_for_signatures = match jwk.get("use") {
        None => true,
        Some(Value::String(purpose)) => purpose == "sig",
        Some(_) => return Err(Unusable::Member("use")),
    };
    let verifies = match jwk.get("key_ops") {
        None => true,
        Some(Value::Array(operations)) => operations.iter().any(|operation| operation == "verify"),
        Some(_) => return Err(Unusable::Member("key_ops")),
    };
    if is_for_signatures && verifies { Ok(()) } else { Err(Unusable::NotForSignatures) }
}

/// The algorithms that the key's owner permits.
fn wanted(jwk: &Map<String, Value>) -> Result<Algorithms, Unusable> {
    match jwk.get("alg") {
        None => Ok(Algorithm::ALL.into_iter().filter(|algorithm| algorithm.family() != Family::Hmac).collect()),
        Some(Value::String(name)) => {
            Ok(Algorithms::from_iter([Algorithm::parse(name).ok_or(Unusable::UnknownAlgorithm)?]))
        }
        Some(_) => Err(Unusable::Member("alg")),
    }
}

fn public_key(jwk: &Map<String, Value>, kind: &str) -> Result<PKey<Public>, Unusable> {
    match kind {
        "RSA" => {
            let rsa = Rsa::from_public_components(number(jwk, "n")?, number(jwk, "e")?);
            rsa.and_then(PKey::from_rsa).map_err(unreadable)
        }
        "EC" => {
            let (curve, length) = match text(jwk, "crv")? {
                "P-256" => (Nid::X9_62_PRIME256V1, 32),
                "P-384" => (Nid::SECP384R1, 48),
                "P-521" => (Nid::SECP521R1, 66),
                _ => return Err(Unusable::UnknownType),
            };
            let (x, y) = (coordinate(jwk, "x", length)?, coordinate(jwk, "y", length)?);
            let group = EcGroup::from_curve_name(curve).map_err(unreadable)?;
            // Refuses points that are not on the curve.
            let key = EcKey::from_public_key_affine_coordinates(&group, &x, &y);
            key.and_then(PKey::from_ec_key).map_err(unreadable)
        }
        "OKP" => {
            let curve = match text(jwk, "crv")? {
                "Ed25519" => Id::ED25519,
                "Ed448" => Id::ED448,
                _ => return Err(Unusable::UnknownType),
            };
            PKey::public_key_from_raw_bytes(&bytes(jwk, "x")?, curve).map_err(unreadable)
        }
        _ => Err(Unusable::UnknownType),
    }
}

fn unreadable(error: openssl::error::ErrorStack) -> Unusable {
    Unusable::Invalid(InvalidKey::Unreadable(error))
}

fn text<'j>(jwk: &'j Map<String, Value>, member: &'static str) -> Result<&'j str, Unusable> {
    jwk.get(member).and_then(Value::as_str).ok_or(Unusable::Member(member))
}

fn bytes(jwk: &Map<String, Value>, member: &'static str) -> Result<Vec<u8>, Unusable> {
    URL_SAFE_NO_PAD.decode(text(jwk, member)?).map_err(|_| Unusable::Member(member))
}

fn number(jwk: &Map<String, Value>, member: &'static str) -> Result<BigNum, Unusable> {
    BigNum::from_slice(&bytes(jwk, member)?).map_err(unreadable)
}

/// A coordinate, which is written at full length (RFC 7518 §6.2.1.2).
fn coordinate(jwk: &Map<String, Value>, member: &'static str, length: usize) -> Result<BigNum, Unusable> {
    let bytes = bytes(jwk, member)?;
    if bytes.len() != length {
        return Err(Unusable::Member(member));
    }
    BigNum::from_slice(&bytes).map_err(unreadable)
}

#[cfg(test)]
mod tests;
