//! Signing keys, and JWTs signed with them (RFC 7515 in compact form, RFC 9068).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::sign;
use serde_json::{Map, Value, json};

/// Length of a coordinate of P-256, and of each half of its signatures.
const P256: i32 = 32;

/// Signature algorithms (RFC 7518 §3.1, RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA of 2048 bits, PKCS #1 v1.5, SHA-256.
    Rs256,
    /// ECDSA on P-256, SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// Its name in `alg`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The digest that is signed; Ed25519 has its own.
    pub fn digest(self) -> Option<MessageDigest> {
        (self != Self::EdDsa).then(MessageDigest::sha256)
    }
}

/// A signing key. The name of its algorithm is its `kid`. It has no `Debug`: it is secret.
#[derive(Clone)]
pub struct Signer {
    algorithm: Algorithm,
    key: PKey<Private>,
}

impl Signer {
    /// A new key.
    ///
    /// # Errors
    /// Those of OpenSSL, as all functions here.
    pub fn generate(algorithm: Algorithm) -> Result<Self, ErrorStack> {
        let key = match algorithm {
            Algorithm::Rs256 => PKey::from_rsa(Rsa::generate(2048)?)?,
            Algorithm::Es256 => PKey::from_ec_key(EcKey::generate(&*p256()?)?)?,
            Algorithm::EdDsa => PKey::generate_ed25519()?,
        };
        Ok(Self { algorithm, key })
    }

    /// A key from [`Signer::to_pem`].
    ///
    /// # Errors
    /// If it is not a private key.
    pub fn from_pem(algorithm: Algorithm, pem: &str) -> Result<Self, ErrorStack> {
        Ok(Self { algorithm, key: PKey::private_key_from_pem(pem.as_bytes())? })
    }

    /// The private key.
    ///
    /// # Errors
    /// Those of OpenSSL.
    pub fn to_pem(&self) -> Result<String, ErrorStack> {
        Ok(String::from_utf8_lossy(&self.key.private_key_to_pem_pkcs8()?).into_owned())
    }

    /// The public key.
    ///
    /// # Errors
    /// Those of OpenSSL.
    pub fn public_pem(&self) -> Result<String, ErrorStack> {
        Ok(String::from_utf8_lossy(&self.key.public_key_to_pem()?).into_owned())
    }

    /// Its algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The public key as a JSON Web Key.
    ///
    /// # Errors
    /// Those of OpenSSL.
    pub fn jwk(&self) -> Result<Value, ErrorStack> {
        let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = match self.algorithm {
            Algorithm::Rs256 => {
                let key = self.key.rsa()?;
                json!({"kty": "RSA", "n": encoded(&key.n().to_vec()), "e": encoded(&key.e().to_vec())})
            }
            Algorithm::Es256 => {
                let (mut x, mut y, mut context) = (BigNum::new()?, BigNum::new()?, BigNumContext::new()?);
                self.key.ec_key()?.public_key().affine_coordinates(&*p256()?, &mut x, &mut y, &mut context)?;
                let (x, y) = (x.to_vec_padded(P256)?, y.to_vec_padded(P256)?);
                json!({"kty": "EC", "crv": "P-256", "x": encoded(&x), "y": encoded(&y)})
            }
            Algorithm::EdDsa => json!({"kty": "OKP", "crv": "Ed25519", "x": encoded(&self.key.raw_public_key()?)}),
        };
        if let Some(members) = jwk.as_object_mut() {
            let name = self.algorithm.name();
            members.extend([("kid", name), ("alg", name), ("use", "sig")].map(|(k, v)| (k.to_owned(), v.into())));
        }
        Ok(jwk)
    }

    /// An access token with these claims.
    ///
    /// # Errors
    /// Those of OpenSSL.
    pub fn sign(&self, claims: &Map<String, Value>) -> Result<String, ErrorStack> {
        let name = self.algorithm.name();
        self.sign_as(&json!({"alg": name, "typ": "at+jwt", "kid": name}), claims)
    }

    /// A DPoP proof with these claims (RFC 9449 §4.2).
    ///
    /// # Errors
    /// Those of OpenSSL.
    pub fn prove(&self, claims: &Map<String, Value>) -> Result<String, ErrorStack> {
        self.sign_as(&json!({"alg": self.algorithm.name(), "typ": "dpop+jwt", "jwk": self.jwk()?}), claims)
    }

    fn sign_as(&self, header: &Value, claims: &Map<String, Value>) -> Result<String, ErrorStack> {
        let payload = serde_json::to_vec(claims).unwrap_or_default();
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(payload));
        let mut signer = match self.algorithm.digest() {
            Some(digest) => sign::Signer::new(digest, &self.key)?,
            None => sign::Signer::new_without_digest(&self.key)?,
        };
        let mut signature = signer.sign_oneshot_to_vec(signed.as_bytes())?;
        if self.algorithm == Algorithm::Es256 {
            let halves = EcdsaSig::from_der(&signature)?;
            signature = [halves.r().to_vec_padded(P256)?, halves.s().to_vec_padded(P256)?].concat();
        }
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

fn p256() -> Result<EcGroup, ErrorStack> {
    EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Verified with the key that the JSON Web Key describes.
    #[test]
    fn the_published_key_verifies_what_was_signed() {
        for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa] {
            let signer = Signer::from_pem(algorithm, &Signer::generate(algorithm).unwrap().to_pem().unwrap()).unwrap();
            let claims = json!({"sub": "somebody"});
            let token = signer.sign(claims.as_object().unwrap()).unwrap();
            let (signed, signature) = token.rsplit_once('.').unwrap();
            let payload = URL_SAFE_NO_PAD.decode(signed.split_once('.').unwrap().1).unwrap();
            assert_eq!(serde_json::from_slice::<Value>(&payload).unwrap(), claims);
            let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
            let jwk = signer.jwk().unwrap();
            let number = |member: &str| {
                let bytes = URL_SAFE_NO_PAD.decode(jwk[member].as_str().unwrap()).unwrap();
                (BigNum::from_slice(&bytes).unwrap(), bytes)
            };
            let key = match algorithm {
                Algorithm::Rs256 => {
                    let key = Rsa::from_public_components(number("n").0, number("e").0).unwrap();
                    PKey::from_rsa(key).unwrap()
                }
                Algorithm::Es256 => {
                    let halves = [&signature[..32], &signature[32..]].map(|half| BigNum::from_slice(half).unwrap());
                    let [r, s] = halves;
                    signature = EcdsaSig::from_private_components(r, s).unwrap().to_der().unwrap();
                    let (x, y) = (number("x").0, number("y").0);
                    let key = EcKey::from_public_key_affine_coordinates(&p256().unwrap(), &x, &y).unwrap();
                    PKey::from_ec_key(key).unwrap()
                }
                Algorithm::EdDsa => {
                    PKey::public_key_from_raw_bytes(&number("x").1, openssl::pkey::Id::ED25519).unwrap()
                }
            };
            let mut verifier = match algorithm.digest() {
                Some(digest) => sign::Verifier::new(digest, &key).unwrap(),
                None => sign::Verifier::new_without_digest(&key).unwrap(),
            };
            assert!(verifier.verify_oneshot(&signature, signed.as_bytes()).unwrap(), "{}", algorithm.name());
        }
    }
}
