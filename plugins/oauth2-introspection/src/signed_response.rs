//! Signed responses (RFC 9701): once keys are configured, what an authority says counts only with its signature.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use serde_json::Value;
use tollgate_jose::claims::Claims;
use tollgate_jose::{Jws, PublishedKey};
use tollgate_third_party::key_source::{KeySource, Unverified};
use tollgate_third_party::{Active, CannotTell, Said};

use crate::response::{self, MediaType};

/// The `typ` of signed responses, and their media type after `application/`. It tells them from access tokens, which
/// the authority may sign with the same key (RFC 9701 §8.1).
pub const TYPE: &str = "token-introspection+jwt";

/// How the responses of one authority are verified.
pub struct SignedResponses {
    /// Its keys.
    pub keys: Arc<KeySource>,
    /// Its `iss`.
    pub issuer: String,
    /// Who its responses are for, as far as it is configured: `aud`.
    pub audience: Option<String>,
}

impl SignedResponses {
    /// What the authority of that name says.
    ///
    /// # Errors
    /// The response is not signed by the authority for this gateway, or its keys are unknown.
    pub async fn read(&self, authority: &str, response: &Response<Bytes>) -> Result<Said, CannotTell> {
        response::check_status(authority, response)?;
        let malformed = |what: &str| CannotTell::malformed(authority, what);
        if MediaType::of(response) != MediaType::Signed {
            return Err(malformed("it is not signed, although keys are configured"));
        }
        let text = std::str::from_utf8(response.body()).map_err(|_| malformed("not a signed token"))?;
        let jws = Jws::parse(text.trim_ascii()).map_err(|error| malformed(&error.to_string()))?;
        if !has_type(&jws) {
            return Err(malformed("typ is not token-introspection+jwt"));
        }
        let key = self.keys.verify(&jws).await.map_err(|error| unverified(authority, error))?;
        let claims = jws.claims().map_err(|error| malformed(&error.to_string()))?;
        self.said(&claims, key).map_err(|what| CannotTell::malformed(authority, what))
    }

    fn said(&self, claims: &Claims, key: Arc<PublishedKey>) -> Result<Said, String> {
        if claims.text("iss") != Some(&self.issuer) {
            return Err("iss is not the issuer that is configured".to_owned());
        }
        if self.audience.as_deref().is_some_and(|audience| !is_for(audience, claims.get("aud"))) {
            return Err("aud does not contain the client_id that is configured".to_owned());
        }
        let Some(Value::Object(members)) = claims.get("token_introspection") else {
            return Err("token_introspection is not an object".to_owned());
        };
        Ok(match response::said(Claims::from(members.clone()))? {
            // Asked about again when the key is withdrawn.
            Said::Active(active) => Said::Active(Active { signed_by: Some(key), ..active }),
            Said::Inactive => Said::Inactive,
        })
    }
}

/// `application/` may be left out, and there is no letter case (RFC 7515 §4.1.9).
fn has_type(jws: &Jws) -> bool {
    let name = jws.header.text("typ").unwrap_or_default().to_ascii_lowercase();
    name.strip_prefix("application/").unwrap_or(&name) == TYPE
}

fn is_for(audience: &str, aud: Option<&Value>) -> bool {
    match aud {
        Some(Value::String(one)) => one == audience,
        Some(Value::Array(several)) => several.iter().any(|one| one.as_str() == Some(audience)),
        _ => false,
    }
}

fn unverified(authority: &str, error: Unverified) -> CannotTell {
    match error {
        Unverified::NoSuchKey | Unverified::BadSignature(_) => CannotTell::malformed(authority, error.to_string()),
        Unverified::CannotTell(_) => CannotTell::NoKeys { authority: authority.into(), what: error.to_string().into() },
        Unverified::Overloaded => {
            CannotTell::Overloaded { authority: authority.into(), what: "too many slow signature checks wait" }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use http::header::CONTENT_TYPE;
    use openssl::pkey::{PKey, Private};
    use openssl::sign::Signer;
    use serde_json::json;
    use tokio::runtime::Handle;
    use tollgate_core::clock::ManualClock;
    use tollgate_jose::KeySet;
    use tollgate_plugin::{Digest, Metrics};
    use tollgate_third_party::key_source::{KeySourceMetrics, KeySources};

    use super::*;

    fn encode(bytes: impl AsRef<[u8]>) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn sign(key: &PKey<Private>, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let signature = Signer::new_without_digest(key).unwrap().sign_oneshot_to_vec(signed.as_bytes()).unwrap();
        format!("{signed}.{}", encode(signature))
    }

    /// Verifies with this key, for the client `gateway`.
    fn responses(key: &PKey<Private>) -> SignedResponses {
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": encode(key.raw_public_key().unwrap())});
        let metrics = Metrics::new(prometheus::Registry::new(), ["test"]);
        let metrics = KeySourceMetrics::register(&metrics, "test").unwrap();
        let clock = Arc::new(ManualClock::at(0));
        let sources = KeySources::with(clock, Handle::current(), metrics, Duration::from_secs(1));
        let keys = KeySet::parse(json!({ "keys": [jwk] }).to_string().as_bytes()).unwrap();
        let (issuer, audience) = ("https://issuer.test".to_owned(), Some("gateway".to_owned()));
        SignedResponses { keys: sources.fixed(Digest::of("test"), keys), issuer, audience }
    }

    /// The `sub` of an active token, or what is wrong.
    async fn outcome(responses: &SignedResponses, media_type: &str, body: &str) -> Result<Option<String>, String> {
        let response = Response::builder().header(CONTENT_TYPE, media_type);
        let response = response.body(Bytes::copy_from_slice(body.as_bytes())).unwrap();
        match responses.read("issuer", &response).await {
            Ok(Said::Active(active)) => {
                assert_eq!(active.signed_by.unwrap().id.as_deref(), Some("k1"));
                Ok(active.claims.text("sub").map(str::to_owned))
            }
            Ok(Said::Inactive) => Ok(None),
            Err(error) => {
                assert_eq!(error.reason(), "authority_response_malformed");
                let text = error.to_string();
                Err(text.strip_prefix("response of authority issuer cannot be used: ").unwrap().to_owned())
            }
        }
    }

    const SIGNED: &str = "application/token-introspection+jwt";

    fn header() -> Value {
        json!({"alg": "EdDSA", "kid": "k1", "typ": "token-introspection+jwt"})
    }

    fn claims(introspection: Value) -> Value {
        json!({"iss": "https://issuer.test", "aud": "gateway", "iat": 1, "token_introspection": introspection})
    }

    fn with(mut members: Value, name: &str, value: Value) -> Value {
        members.as_object_mut().unwrap().insert(name.to_owned(), value);
        members
    }

    #[tokio::test]
    async fn a_response_that_the_authority_has_signed_for_us_counts_rfc9701_5() {
        let key = PKey::generate_ed25519().unwrap();
        let responses = responses(&key);
        let active = claims(json!({"active": true, "sub": "kate"}));
        for claims in [active.clone(), with(active, "aud", json!(["other", "gateway"]))] {
            let signed = sign(&key, &header(), &claims);
            assert_eq!(outcome(&responses, SIGNED, &signed).await, Ok(Some("kate".to_owned())));
        }
        let typ = with(header(), "typ", json!("application/Token-Introspection+JWT"));
        let inactive = sign(&key, &typ, &claims(json!({"active": false})));
        assert_eq!(outcome(&responses, SIGNED, &inactive).await, Ok(None));
    }

    #[tokio::test]
    async fn any_other_response_says_nothing() {
        let (key, other) = (PKey::generate_ed25519().unwrap(), PKey::generate_ed25519().unwrap());
        let responses = responses(&key);
        let active = claims(json!({"active": true}));
        let signed = |header: Value, claims: &Value| sign(&key, &header, claims);
        let audience = "aud does not contain the client_id that is configured";
        let object = "token_introspection is not an object";
        for (media_type, body, what) in [
            ("application/json", r#"{"active":true}"#.to_owned(), "it is not signed, although keys are configured"),
            ("application/jwt", signed(header(), &active), "it is not signed, although keys are configured"),
            (SIGNED, "{}".to_owned(), "not a token of three parts"),
            (SIGNED, sign(&other, &header(), &active), "the token's signature is not valid"),
            (SIGNED, signed(with(header(), "kid", json!("k2")), &active), "the authority publishes no such key"),
            (SIGNED, signed(with(header(), "alg", json!("none")), &active), "the authority publishes no such key"),
            (SIGNED, signed(with(header(), "typ", json!("at+jwt")), &active), "typ is not token-introspection+jwt"),
            (
                SIGNED,
                signed(header(), &with(active.clone(), "iss", json!("https://issuer.test/"))),
                "iss is not the issuer that is configured",
            ),
            (SIGNED, signed(header(), &with(active.clone(), "aud", json!("other"))), audience),
            (SIGNED, signed(header(), &with(active.clone(), "aud", Value::Null)), audience),
            (SIGNED, signed(header(), &with(active.clone(), "token_introspection", json!(true))), object),
            (SIGNED, signed(header(), &claims(json!({"active": "true"}))), "active is not a boolean"),
            (SIGNED, signed(header(), &claims(json!({"active": true, "exp": "1"}))), "exp is not a number"),
        ] {
            assert_eq!(outcome(&responses, media_type, &body).await, Err(what.to_owned()), "{body}");
        }
    }
}
