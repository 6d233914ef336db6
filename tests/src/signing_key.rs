//! Keys of issuers, which sign tokens (RFC 7515, RFC 7518, RFC 8037). Written with OpenSSL alone, apart from the code
//! that it tests.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::rsa::{Padding, Rsa};
use openssl::sign::{RsaPssSaltlen, Signer};
use serde_json::{Value, json};

/// Every algorithm.
pub const ALGORITHMS: [&str; 13] = [
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
];

/// A key that signs with one algorithm.
#[derive(Debug, Clone)]
pub struct SigningKey {
    algorithm: &'static str,
    pub(crate) key: PKey<Private>,
}

/// In base64url without padding.
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl SigningKey {
    /// A secret for HMAC.
    pub fn hmac(algorithm: &'static str, secret: &[u8]) -> Self {
        Self { algorithm, key: PKey::hmac(secret).unwrap() }
    }

    /// A new key pair for an algorithm other than HMAC; for `EdDSA`, on Ed25519.
    pub fn generate(algorithm: &'static str) -> Self {
        let key = match algorithm {
            "ES256" => ec(Nid::X9_62_PRIME256V1),
            "ES384" => ec(Nid::SECP384R1),
            "ES512" => ec(Nid::SECP521R1),
            "EdDSA" => PKey::generate_ed25519().unwrap(),
            _ => PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap(),
        };
        Self { algorithm, key }
    }

    /// A new key pair for `EdDSA` on Ed448.
    pub fn ed448() -> Self {
        Self { algorithm: "EdDSA", key: PKey::generate_ed448().unwrap() }
    }

    /// The same key for another algorithm.
    pub fn with_algorithm(&self, algorithm: &'static str) -> Self {
        Self { algorithm, key: self.key.clone() }
    }

    /// Its algorithm.
    pub fn algorithm(&self) -> &'static str {
        self.algorithm
    }

    /// The public key in PEM.
    pub fn public_pem(&self) -> String {
        String::from_utf8(self.key.public_key_to_pem().unwrap()).unwrap()
    }

    /// A token with these claims and no more than `alg` in its header.
    pub fn token(&self, claims: &Value) -> String {
        self.sign(&json!({"alg": self.algorithm}).to_string(), &claims.to_string())
    }

    /// A token with this header, whatever algorithm it names, and these claims.
    pub fn sign(&self, header: &str, claims: &str) -> String {
        let input = format!("{}.{}", encode(header), encode(claims));
        let signature = encode(self.signature(input.as_bytes()));
        format!("{input}.{signature}")
    }

    /// The signature of these bytes, as JWS has it.
    pub fn signature(&self, signed: &[u8]) -> Vec<u8> {
        let signature = self.openssl_signature(signed);
        if self.key.id() != Id::EC {
            return signature;
        }
        let signature = EcdsaSig::from_der(&signature).unwrap();
        [signature.r(), signature.s()].map(|number| number.to_vec_padded(self.half()).unwrap()).concat()
    }

    /// The signature as OpenSSL makes it: in DER for ECDSA.
    pub fn openssl_signature(&self, signed: &[u8]) -> Vec<u8> {
        if matches!(self.key.id(), Id::ED25519 | Id::ED448) {
            return Signer::new_without_digest(&self.key).unwrap().sign_oneshot_to_vec(signed).unwrap();
        }
        let digest = match &self.algorithm[2..] {
            "384" => MessageDigest::sha384(),
            "512" => MessageDigest::sha512(),
            _ => MessageDigest::sha256(),
        };
        let mut signer = Signer::new(digest, &self.key).unwrap();
        if self.algorithm.starts_with("PS") {
            signer.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
            signer.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH).unwrap();
        }
        signer.sign_oneshot_to_vec(signed).unwrap()
    }

    /// The bytes of half an ECDSA signature, and of a coordinate of a public key.
    pub(crate) fn half(&self) -> i32 {
        i32::try_from(self.key.bits().div_ceil(8)).unwrap()
    }
}

fn ec(curve: Nid) -> PKey<Private> {
    let group = EcGroup::from_curve_name(curve).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}
