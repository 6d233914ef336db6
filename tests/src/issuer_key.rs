//! Keys that sign tokens, and tokens signed with them: right ones, and such as no library would make.

use openssl::bn::{BigNum, BigNumContext};
use openssl::pkey::Id;
use serde_json::{Value, json};

use crate::signing_key::{SigningKey, encode};

/// A key of an issuer, for one algorithm.
#[derive(Debug, Clone)]
pub struct IssuerKey {
    /// Its `kid`.
    pub id: String,
    /// The key itself.
    pub signing: SigningKey,
}

impl IssuerKey {
    /// A new key for this algorithm. An RSA key has 2048 bits.
    pub fn generate(id: &str, algorithm: &'static str) -> Self {
        Self { id: id.to_owned(), signing: SigningKey::generate(algorithm) }
    }

    /// The same key under another `kid`, or for another algorithm.
    pub fn named(&self, id: &str, algorithm: &'static str) -> Self {
        Self { id: id.to_owned(), signing: self.signing.with_algorithm(algorithm) }
    }

    /// The private key in PEM.
    pub fn private_pem(&self) -> String {
        String::from_utf8(self.signing.key.private_key_to_pem_pkcs8().unwrap()).unwrap()
    }

    /// The private key as an issuer is configured with it; RSA or of a curve.
    pub fn private_jwk(&self) -> Value {
        let mut jwk = self.jwk();
        match self.signing.key.id() {
            Id::RSA => {
                let rsa = self.signing.key.rsa().unwrap();
                let numbers = [
                    ("d", Some(rsa.d())),
                    ("p", rsa.p()),
                    ("q", rsa.q()),
                    ("dp", rsa.dmp1()),
                    ("dq", rsa.dmq1()),
                    ("qi", rsa.iqmp()),
                ];
                for (name, number) in numbers {
                    jwk[name] = json!(encode(number.unwrap().to_vec()));
                }
            }
            _ => {
                jwk["d"] = json!(encode(
                    self.signing.key.ec_key().unwrap().private_key().to_vec_padded(self.signing.half()).unwrap()
                ))
            }
        }
        jwk
    }

    /// The public key as an issuer publishes it.
    pub fn jwk(&self) -> Value {
        let mut jwk = match self.signing.key.id() {
            Id::RSA => {
                let rsa = self.signing.key.rsa().unwrap();
                json!({"kty": "RSA", "n": encode(rsa.n().to_vec()), "e": encode(rsa.e().to_vec())})
            }
            Id::EC => self.ec_jwk(),
            _ => json!({"kty": "OKP", "crv": "Ed25519", "x": encode(self.signing.key.raw_public_key().unwrap())}),
        };
        jwk["kid"] = json!(self.id);
        jwk["alg"] = json!(self.signing.algorithm());
        jwk["use"] = json!("sig");
        jwk
    }

    fn ec_jwk(&self) -> Value {
        let ec = self.signing.key.ec_key().unwrap();
        let (mut x, mut y) = (BigNum::new().unwrap(), BigNum::new().unwrap());
        let mut context = BigNumContext::new().unwrap();
        ec.public_key().affine_coordinates(ec.group(), &mut x, &mut y, &mut context).unwrap();
        let coordinate = |number: BigNum| encode(number.to_vec_padded(self.signing.half()).unwrap());
        let curve = match self.signing.algorithm() {
            "ES256" => "P-256",
            "ES384" => "P-384",
            _ => "P-521",
        };
        json!({"kty": "EC", "crv": curve, "x": coordinate(x), "y": coordinate(y)})
    }

    /// A token with these claims, `alg`, `kid` and `typ: at+jwt`.
    pub fn token(&self, claims: &Value) -> String {
        self.token_with(&json!({"alg": self.signing.algorithm(), "kid": self.id, "typ": "at+jwt"}), claims)
    }

    /// A token with exactly this header.
    pub fn token_with(&self, header: &Value, claims: &Value) -> String {
        self.token_of(&header.to_string(), &claims.to_string())
    }

    /// A token of these texts, which need not be JSON.
    pub fn token_of(&self, header: &str, payload: &str) -> String {
        self.signing.sign(header, payload)
    }
}
