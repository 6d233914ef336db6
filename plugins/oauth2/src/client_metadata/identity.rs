//! What a client registers to authenticate with instead of a secret: its keys (RFC 7591 §2, RFC 7523), the subject of its
//! certificate (RFC 8705 §2.1.2), or the certificate itself (RFC 8705 §2.2.2). Nothing is fetched: `jwks_uri` is not read.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use openssl::sha::sha256;
use serde_json::{Map, Value};

use super::{MOST_BYTES, invalid, shortened, text};
use crate::entity::registered::Method;
use crate::error::Refusal;

/// As a credential has it; the credential's schema checks it further.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// Its keys.
    pub jwks: Option<Value>,
    /// The subject of its certificate.
    pub subject: Option<String>,
    /// The thumbprint of its certificate.
    pub thumbprint: Option<String>,
}

impl Identity {
    /// What this method needs.
    pub(super) fn read(method: Method, given: &Map<String, Value>) -> Result<Self, Refusal> {
        match method {
            Method::ClientSecretBasic | Method::ClientSecretPost | Method::None => Ok(Self::default()),
            Method::PrivateKeyJwt => Ok(Self { jwks: Some(jwks(given)?), ..Self::default() }),
            Method::TlsClientAuth => {
                // RFC 8705 §2.1.2: a client names its certificate in one way.
                if let Some(other) = given.keys().find(|name| name.starts_with("tls_client_auth_san_")) {
                    return Err(invalid(&format!(
                        "{} is not supported; use tls_client_auth_subject_dn",
                        shortened(other)
                    )));
                }
                let subject = text(given, "tls_client_auth_subject_dn", MOST_BYTES)?;
                let subject = subject.ok_or_else(|| invalid("tls_client_auth_subject_dn is required"))?;
                Ok(Self { subject: Some(subject), ..Self::default() })
            }
            Method::SelfSignedTlsClientAuth => {
                let jwks = jwks(given)?;
                let thumbprint = Some(thumbprint(&jwks)?);
                Ok(Self { jwks: Some(jwks), subject: None, thumbprint })
            }
        }
    }
}

fn jwks(given: &Map<String, Value>) -> Result<Value, Refusal> {
    match (given.get("jwks"), given.contains_key("jwks_uri")) {
        (Some(_), true) => Err(invalid("jwks and jwks_uri must not be sent together")),
        (Some(jwks), false) if jwks.is_object() => Ok(jwks.clone()),
        (Some(_), false) => Err(invalid("jwks is not a JWK set")),
        (None, true) => Err(invalid("jwks_uri is not supported; send jwks")),
        (None, false) => Err(invalid("jwks is required")),
    }
}

/// Of the only certificate in the set.
fn thumbprint(jwks: &Value) -> Result<String, Refusal> {
    let needed = || invalid("jwks must have one key with the certificate in x5c");
    let [key] = jwks.get("keys").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default() else {
        return Err(needed());
    };
    let certificate = key.pointer("/x5c/0").and_then(Value::as_str).ok_or_else(needed)?;
    let certificate = STANDARD.decode(certificate).map_err(|_| needed())?;
    Ok(URL_SAFE_NO_PAD.encode(sha256(&certificate)))
}
