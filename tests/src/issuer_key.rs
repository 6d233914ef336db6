//! Keys that sign tokens, and tokens signed with them: right ones, and such as no library would make.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::rsa::{Padding, Rsa};
use openssl::sign::{RsaPssSaltlen, Signer};
use serde_json::{Value, json};

/// A key of an issuer, for one algorithm.
#[derive(Debug, Clone)]
pub struct IssuerKey {
    /// Its `kid`.
    pub id: String,
    /// The registered name of its algorithm.
    pub algorithm: &'static str,
    key: PKey<Private>,
}

/// As JWS encodes it.
pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl IssuerKey {
    /// A new key for this algorithm. An RSA key has 2048 bits.
    pub fn generate(id: &str, algorithm: &'static str) -> Self {
        let curve = |nid| {
            let group = EcGroup::from_curve_name(nid).unwrap();
            PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
        };
        let key = match algorithm {
            "ES256" => curve(Nid::X9_62_PRIME256V1),
            "ES384" => curve(Nid::SECP384R1),
            "ES512" => curve(Nid::SECP521R1),
            "EdDSA" => PKey::generate_ed25519().unwrap(),
            _ => PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap(),
        };
        Self { id: id.to_owned(), algorithm, key }
    }

    /// The same key under another `kid`, or for another algorithm.
    pub fn named(&self, id: &str, algorithm: &'static str) -> Self {
        Self { id: id.to_owned(), algorithm, key: self.key.clone() }
    }

    /// The public key in PEM.
    pub fn pem(&self) -> Vec<u8> {
        self.key.public_key_to_pem().unwrap()
    }

    /// The private key in PEM.
    pub fn private_pem(&self) -> String {
        String::from_utf8(self.key.private_key_to_pem_pkcs8().unwrap()).unwrap()
    }

    /// The private key as an issuer is configured with it; RSA or of a curve.
    pub fn private_jwk(&self) -> Value {
        let mut jwk = self.jwk();
        match self.key.id() {
            Id::RSA => {
                let rsa = self.key.rsa().unwrap();
                let numbers = [
                    ("d", Some(rsa.d())),
                    ("p", rsa.p()),
                    ("q", rsa.q()),
                    ("dp", rsa.dmp1()),
                    ("dq", rsa.dmq1()),
                    ("qi", rsa.iqmp()),
                ];
                for (name, number) in numbers {
                    jwk[name] = json!(base64url(number.unwrap().to_vec()));
                }
            }
            _ => {
                jwk["d"] =
                    json!(base64url(self.key.ec_key().unwrap().private_key().to_vec_padded(self.half()).unwrap()))
            }
        }
        jwk
    }

    /// The public key as an issuer publishes it.
    pub fn jwk(&self) -> Value {
        let mut jwk = match self.key.id() {
            Id::RSA => {
                let rsa = self.key.rsa().unwrap();
                json!({"kty": "RSA", "n": base64url(rsa.n().to_vec()), "e": base64url(rsa.e().to_vec())})
            }
            Id::EC => self.ec_jwk(),
            _ => json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(self.key.raw_public_key().unwrap())}),
        };
        jwk["kid"] = json!(self.id);
        jwk["alg"] = json!(self.algorithm);
        jwk["use"] = json!("sig");
        jwk
    }

    fn ec_jwk(&self) -> Value {
        let ec = self.key.ec_key().unwrap();
        let (mut x, mut y) = (BigNum::new().unwrap(), BigNum::new().unwrap());
        let mut context = BigNumContext::new().unwrap();
        ec.public_key().affine_coordinates(ec.group(), &mut x, &mut y, &mut context).unwrap();
        let coordinate = |number: BigNum| base64url(number.to_vec_padded(self.half()).unwrap());
        let curve = match self.algorithm {
            "ES256" => "P-256",
            "ES384" => "P-384",
            _ => "P-521",
        };
        json!({"kty": "EC", "crv": curve, "x": coordinate(x), "y": coordinate(y)})
    }

    /// The bytes of half an ECDSA signature.
    fn half(&self) -> i32 {
        i32::try_from(self.key.bits().div_ceil(8)).unwrap()
    }

    /// A token with these claims, `alg`, `kid` and `typ: at+jwt`.
    pub fn token(&self, claims: &Value) -> String {
        self.token_with(&json!({"alg": self.algorithm, "kid": self.id, "typ": "at+jwt"}), claims)
    }

    /// A token with exactly this header.
    pub fn token_with(&self, header: &Value, claims: &Value) -> String {
        self.token_of(&header.to_string(), &claims.to_string())
    }

    /// A token of these texts, which need not be JSON.
    pub fn token_of(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", base64url(header), base64url(payload));
        format!("{signed}.{}", base64url(self.signature(signed.as_bytes())))
    }

    /// The signature, as JWS has it.
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
        if self.key.id() == Id::ED25519 {
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
}

/// The HMAC with SHA-256 of these bytes.
pub fn hmac_sha256(secret: &[u8], signed: &[u8]) -> Vec<u8> {
    let key = PKey::hmac(secret).unwrap();
    Signer::new(MessageDigest::sha256(), &key).unwrap().sign_oneshot_to_vec(signed).unwrap()
}
