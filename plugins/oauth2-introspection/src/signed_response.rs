//! Signed responses (RFC 9701): once keys are configured, what an authority says counts only with its signature.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use serde_json::Value;
use tollgate_third_party::claims::Claims;
use tollgate_third_party::jose::{Jws, KeySource, PublishedKey, Unverified};
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
