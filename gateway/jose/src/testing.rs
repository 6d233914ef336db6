//! Keys that sign, for tests.

#![allow(clippy::unwrap_used, clippy::panic, clippy::missing_panics_doc, reason = "only for tests")]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::bn::BigNumContext;
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::rsa::{Padding, Rsa};
use openssl::sign::{RsaPssSaltlen, Signer};
use serde_json::{Map, Value, json};

use crate::algorithm::Hash;
use crate::{Algorithm, Family};

/// A key of an issuer.
pub struct SigningKey(pub PKey<Private>);

/// As base64url without padding.
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Of a JSON value that is an object.
pub fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        other => panic!("not an object: {other}"),
    }
}

impl SigningKey {
    /// A new key for this algorithm.
    pub fn generate(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::ES256 => Self::ec(Nid::X9_62_PRIME256V1),
            Algorithm::ES384 => Self::ec(Nid::SECP384R1),
            Algorithm::ES512 => Self::ec(Nid::SECP521R1),
            Algorithm::EdDSA => Self(PKey::generate_ed25519().unwrap()),
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => Self(PKey::hmac(b"a secret of tests").unwrap()),
            _ => Self::rsa(2048),
        }
    }

    /// A new RSA key of this size.
    pub fn rsa(bits: u32) -> Self {
        Self(PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap())
    }

    /// A new key on this curve.
    pub fn ec(curve: Nid) -> Self {
        let group = EcGroup::from_curve_name(curve).unwrap();
        Self(PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap())
    }

    /// The public key in PEM.
    pub fn pem(&self) -> Vec<u8> {
        self.0.public_key_to_pem().unwrap()
    }

    /// The public key, without `kid`, `alg` and `use`.
    pub fn jwk(&self) -> Map<String, Value> {
        let key = &self.0;
        members(match key.id() {
            Id::RSA => {
                let rsa = key.rsa().unwrap();
                json!({"kty": "RSA", "n": encode(rsa.n().to_vec()), "e": encode(rsa.e().to_vec())})
            }
            Id::EC => {
                let ec = key.ec_key().unwrap();
                let (mut x, mut y) = (openssl::bn::BigNum::new().unwrap(), openssl::bn::BigNum::new().unwrap());
                let mut context = BigNumContext::new().unwrap();
                ec.public_key().affine_coordinates(ec.group(), &mut x, &mut y, &mut context).unwrap();
                let (name, length) = match ec.group().curve_name() {
                    Some(Nid::X9_62_PRIME256V1) => ("P-256", 32),
                    Some(Nid::SECP384R1) => ("P-384", 48),
                    _ => ("P-521", 66),
                };
                let coordinate = |number: openssl::bn::BigNum| encode(number.to_vec_padded(length).unwrap());
                json!({"kty": "EC", "crv": name, "x": coordinate(x), "y": coordinate(y)})
            }
            id => {
                let name = if id == Id::ED448 { "Ed448" } else { "Ed25519" };
                json!({"kty": "OKP", "crv": name, "x": encode(key.raw_public_key().unwrap())})
            }
        })
    }

    /// The public key with this `kid`.
    pub fn jwk_of(&self, id: &str) -> Value {
        let mut jwk = self.jwk();
        jwk.insert("kid".to_owned(), json!(id));
        Value::Object(jwk)
    }

    /// A token with this header, in which `alg` is set, and this payload.
    pub fn sign(&self, algorithm: Algorithm, header: &Value, payload: &Value) -> String {
        let mut header = members(header.clone());
        header.insert("alg".to_owned(), json!(algorithm.name()));
        let signed = format!("{}.{}", encode(Value::Object(header).to_string()), encode(payload.to_string()));
        let signature = self.signature(algorithm, signed.as_bytes());
        format!("{signed}.{}", encode(signature))
    }

    fn signature(&self, algorithm: Algorithm, signed: &[u8]) -> Vec<u8> {
        let digest = match algorithm.hash() {
            Hash::Sha256 => MessageDigest::sha256(),
            Hash::Sha384 => MessageDigest::sha384(),
            Hash::Sha512 => MessageDigest::sha512(),
        };
        if algorithm.family() == Family::Eddsa {
            return Signer::new_without_digest(&self.0).unwrap().sign_oneshot_to_vec(signed).unwrap();
        }
        let mut signer = Signer::new(digest, &self.0).unwrap();
        if algorithm.family() == Family::RsaPss {
            signer.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
            signer.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH).unwrap();
        }
        let signature = signer.sign_oneshot_to_vec(signed).unwrap();
        if algorithm.family() != Family::Ecdsa {
            return signature;
        }
        let signature = EcdsaSig::from_der(&signature).unwrap();
        let half = i32::try_from(self.0.bits().div_ceil(8)).unwrap();
        [signature.r().to_vec_padded(half).unwrap(), signature.s().to_vec_padded(half).unwrap()].concat()
    }
}
