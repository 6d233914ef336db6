//! Proofs for tests.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use openssl::sha::sha256;
use serde_json::{Value, json};
use tollgate_jose::testing::SigningKey;
use tollgate_jose::{Algorithm, thumbprint};

/// A client's key.
pub(crate) struct ProofKey {
    pub(crate) key: SigningKey,
    pub(crate) algorithm: Algorithm,
}

impl ProofKey {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        Self { key: SigningKey::generate(algorithm), algorithm }
    }

    pub(crate) fn thumbprint(&self) -> String {
        thumbprint(&self.key.jwk()).unwrap()
    }

    /// A proof with these claims, and header parameters that replace or add to the usual ones.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let mut usual = json!({"typ": "dpop+jwt"});
        if header.get("jwk").is_none() {
            usual["jwk"] = Value::Object(self.key.jwk());
        }
        replace(&mut usual, header);
        self.key.sign(self.algorithm, &usual, claims)
    }

    /// A proof for this request.
    pub(crate) fn prove(&self, claims: &Value) -> String {
        self.sign(&json!({}), claims)
    }
}

/// The `ath` of a token.
pub(crate) fn token_hash(token: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(sha256(token.as_bytes()))
}

/// Members of `patch` replace those of `whole`; null removes one.
pub(crate) fn replace(whole: &mut Value, patch: &Value) {
    for (name, value) in patch.as_object().into_iter().flatten() {
        if value.is_null() {
            whole.as_object_mut().unwrap().remove(name);
        } else {
            whole[name] = value.clone();
        }
    }
}
