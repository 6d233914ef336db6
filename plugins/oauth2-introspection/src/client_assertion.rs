//! Client assertions: how a client authenticates with a signed token (`private_key_jwt`, RFC 7523 §2.2).

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::rsa::Padding;
use openssl::sign::{RsaPssSaltlen, Signer};
use serde_json::json;
use tollgate_jose::{Algorithm, Family};
use tollgate_plugin::{Clock, Random, Secret};

/// How long an assertion is valid, in seconds: a call and the difference of two clocks.
const LIFETIME: i64 = 60;

/// The value of `client_assertion_type`.
pub const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The names of the algorithms with which assertions are signed.
pub const ALGORITHMS: [&str; 10] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"];

/// A private key, and an algorithm that fits it.
#[derive(Clone)]
pub struct SigningKey {
    key: PKey<Private>,
    algorithm: Algorithm,
}

/// Why a key cannot be used. Contains nothing of it.
#[derive(Debug, thiserror::Error)]
pub enum InvalidKey {
    /// Not a private key.
    #[error("expected a private key in PEM, without a passphrase")]
    NotPem,
    /// Of a type or on a curve that no algorithm uses.
    #[error("expected an RSA key of at least 2048 bits, an EC key on P-256, P-384 or P-521, or an Ed25519 key")]
    Unsupported,
    /// Not one of that algorithm.
    #[error("not a key for {}", .0.name())]
    WrongType(Algorithm),
}

impl SigningKey {
    /// A key in PEM. Without an algorithm the usual one of its type is used.
    ///
    /// # Errors
    /// See [`InvalidKey`].
    pub fn parse(pem: &str, algorithm: Option<Algorithm>) -> Result<Self, InvalidKey> {
        // Without a callback OpenSSL asks for a passphrase on the terminal.
        let key = PKey::private_key_from_pem_callback(pem.as_bytes(), |_| Ok(0)).map_err(|_| InvalidKey::NotPem)?;
        let usual = usual(&key).ok_or(InvalidKey::Unsupported)?;
        let algorithm = algorithm.unwrap_or(usual);
        let fits = match usual.family() {
            Family::Rsa => matches!(algorithm.family(), Family::Rsa | Family::RsaPss),
            _ => algorithm == usual,
        };
        if fits { Ok(Self { key, algorithm }) } else { Err(InvalidKey::WrongType(algorithm)) }
    }

    fn sign(&self, signed: &[u8]) -> Result<Vec<u8>, ErrorStack> {
        let digest = match self.algorithm {
            Algorithm::RS384 | Algorithm::PS384 | Algorithm::ES384 => MessageDigest::sha384(),
            Algorithm::RS512 | Algorithm::PS512 | Algorithm::ES512 => MessageDigest::sha512(),
            _ => MessageDigest::sha256(),
        };
        let family = self.algorithm.family();
        if family == Family::Eddsa {
            return Signer::new_without_digest(&self.key)?.sign_oneshot_to_vec(signed);
        }
        let mut signer = Signer::new(digest, &self.key)?;
        if family == Family::RsaPss {
            signer.set_rsa_padding(Padding::PKCS1_PSS)?;
            signer.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
        }
        let signature = signer.sign_oneshot_to_vec(signed)?;
        if family != Family::Ecdsa {
            return Ok(signature);
        }
        // JWS writes both numbers at full length (RFC 7518 §3.4).
        let signature = EcdsaSig::from_der(&signature)?;
        let half = i32::try_from(self.key.bits().div_ceil(8)).unwrap_or_default();
        Ok([signature.r().to_vec_padded(half)?, signature.s().to_vec_padded(half)?].concat())
    }
}

fn usual(key: &PKey<Private>) -> Option<Algorithm> {
    match key.id() {
        Id::RSA if key.bits() >= 2048 => Some(Algorithm::RS256),
        Id::EC => match key.ec_key().ok()?.group().curve_name()? {
            Nid::X9_62_PRIME256V1 => Some(Algorithm::ES256),
            Nid::SECP384R1 => Some(Algorithm::ES384),
            Nid::SECP521R1 => Some(Algorithm::ES512),
            _ => None,
        },
        Id::ED25519 => Some(Algorithm::EdDSA),
        _ => None,
    }
}

/// What assertions are made from.
pub struct ClientAssertion {
    /// The key.
    pub key: SigningKey,
    /// Its `kid`.
    pub key_id: Option<String>,
    /// Who we are: `iss` and `sub`.
    pub client_id: String,
    /// Who the authority is: `aud`.
    pub audience: String,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The source of `jti`.
    pub random: Arc<dyn Random>,
}

impl ClientAssertion {
    /// A new assertion, for one call.
    ///
    /// # Errors
    /// OpenSSL cannot sign it.
    pub fn sign(&self) -> Result<Secret, ErrorStack> {
        let mut header = json!({"alg": self.key.algorithm.name(), "typ": "JWT"});
        if let (Some(id), Some(header)) = (&self.key_id, header.as_object_mut()) {
            header.insert("kid".to_owned(), json!(id));
        }
        let now = self.clock.now();
        let claims = json!({
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": self.audience,
            "jti": self.random.alphanumeric(32),
            "iat": now,
            "exp": now.saturating_add(LIFETIME),
        });
        let encode = |part: &serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self.key.sign(signed.as_bytes())?;
        Ok(Secret::new(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))))
    }
}

#[cfg(test)]
mod tests {
    use openssl::ec::{EcGroup, EcKey};
    use openssl::rsa::Rsa;
    use tollgate_core::clock::ManualClock;
    use tollgate_core::random::SystemRandom;
    use tollgate_jose::{Jws, RsaSize, VerificationKey};

    use super::*;

    fn ec(curve: Nid) -> PKey<Private> {
        PKey::from_ec_key(EcKey::generate(&EcGroup::from_curve_name(curve).unwrap()).unwrap()).unwrap()
    }

    fn rsa(bits: u32) -> PKey<Private> {
        PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap()
    }

    fn pem(key: &PKey<Private>) -> String {
        String::from_utf8(key.private_key_to_pem_pkcs8().unwrap()).unwrap()
    }

    fn assertion(key: SigningKey) -> ClientAssertion {
        ClientAssertion {
            key,
            key_id: Some("k1".to_owned()),
            client_id: "gateway".to_owned(),
            audience: "https://issuer.example".to_owned(),
            clock: Arc::new(ManualClock::at(1000)),
            random: Arc::new(SystemRandom),
        }
    }

    #[test]
    fn an_assertion_is_a_token_that_the_authority_can_verify() {
        let rsa = rsa(2048);
        for (key, algorithms) in [
            (&rsa, &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"][..]),
            (&ec(Nid::X9_62_PRIME256V1), &["ES256"]),
            (&ec(Nid::SECP384R1), &["ES384"]),
            (&ec(Nid::SECP521R1), &["ES512"]),
            (&PKey::generate_ed25519().unwrap(), &["EdDSA"]),
        ] {
            for name in algorithms {
                let algorithm = Algorithm::parse(name).unwrap();
                let signed = assertion(SigningKey::parse(&pem(key), Some(algorithm)).unwrap()).sign().unwrap();
                let jws = Jws::parse(signed.expose()).unwrap();
                let public = key.public_key_to_pem().unwrap();
                let public = VerificationKey::from_pem(&public, algorithm, RsaSize::Secure).unwrap();
                assert_eq!(public.verify(&jws), Ok(()), "{name}");
                assert_eq!(jws.header.to_value(), json!({"alg": name, "typ": "JWT", "kid": "k1"}));
            }
            let usual = SigningKey::parse(&pem(key), None).unwrap();
            assert_eq!(usual.algorithm.name(), algorithms[0], "the usual algorithm of such a key");
        }
    }

    #[test]
    fn an_assertion_is_for_one_call_to_one_authority() {
        let assertion = assertion(SigningKey::parse(&pem(&PKey::generate_ed25519().unwrap()), None).unwrap());
        let claims = || Jws::parse(assertion.sign().unwrap().expose()).unwrap().claims().unwrap();
        let (first, second) = (claims(), claims());
        let id = first.text("jti").unwrap();
        assert_eq!(id.len(), 32);
        assert_ne!(Some(id), second.text("jti"), "each has an id of its own");
        let expected = json!({
            "iss": "gateway", "sub": "gateway", "aud": "https://issuer.example", "jti": id, "iat": 1000, "exp": 1060,
        });
        assert_eq!(first.to_value(), expected);
    }

    #[test]
    fn a_key_that_cannot_sign_is_refused() {
        let refused = |pem: &str, algorithm: Option<&str>| {
            let algorithm = algorithm.map(|name| Algorithm::parse(name).unwrap());
            SigningKey::parse(pem, algorithm).err().unwrap().to_string()
        };
        let unsupported =
            "expected an RSA key of at least 2048 bits, an EC key on P-256, P-384 or P-521, or an Ed25519 key";
        assert_eq!(refused("secret", None), "expected a private key in PEM, without a passphrase");
        let public = String::from_utf8(rsa(2048).public_key_to_pem().unwrap()).unwrap();
        assert_eq!(refused(&public, None), "expected a private key in PEM, without a passphrase");
        assert_eq!(refused(&pem(&rsa(1024)), None), unsupported);
        assert_eq!(refused(&pem(&ec(Nid::SECP256K1)), None), unsupported);
        assert_eq!(refused(&pem(&ec(Nid::SECP384R1)), Some("ES256")), "not a key for ES256");
        assert_eq!(refused(&pem(&rsa(2048)), Some("HS256")), "not a key for HS256");
    }
}
