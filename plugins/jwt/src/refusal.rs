//! Why a request is refused, and the response to it.

use http::StatusCode;
use http::header::WWW_AUTHENTICATE;
use serde_json::{Value, json};
use tollgate_plugin::Reply;

use crate::config::Challenges;
use crate::lifetime::Faults;

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It has no token.
    Missing,
    /// It has different tokens.
    Several,
    /// It has an argument for a token, without a value.
    Valueless,
    /// The token is none.
    BadToken(BadToken),
    /// The token does not name a credential.
    NoKey,
    /// What names the credential is not text, or empty.
    InvalidKey,
    /// The credential is unknown.
    NoCredential,
    /// The credential is for another algorithm.
    Algorithm,
    /// The credential has nothing to verify signatures with.
    NoVerificationKey,
    /// The signature is wrong.
    Signature,
    /// The token is not valid at this time.
    Times(Faults),
}

/// What is malformed in a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadToken {
    /// Its parts, or JSON in them.
    Json,
    /// It names no algorithm, or an unknown one such as `none`.
    Algorithm,
    /// Its claims are not an object.
    Claims,
    /// Its signature is not base64url.
    Signature,
    /// Its header has critical parameters (RFC 7515 §4.1.11).
    Critical,
    /// It is too long.
    TooLong,
}

impl BadToken {
    fn text(self) -> &'static str {
        match self {
            Self::Json => "invalid JSON",
            Self::Algorithm => "invalid alg",
            Self::Claims => "invalid claims",
            Self::Signature => "invalid signature",
            Self::Critical => "unsupported critical header",
            Self::TooLong => "too long",
        }
    }
}

impl Refusal {
    /// The body of the response. `claim` names the credential.
    fn body(self, claim: &str) -> Value {
        let message = match self {
            Self::Missing => "Unauthorized".to_owned(),
            Self::Several => "Multiple tokens provided".to_owned(),
            Self::Valueless => "Unrecognizable token".to_owned(),
            Self::BadToken(bad) => format!("Bad token; {}", bad.text()),
            Self::NoKey => format!("No mandatory '{claim}' in claims"),
            Self::InvalidKey => format!("Invalid '{claim}' in claims"),
            Self::NoCredential => format!("No credentials found for given '{claim}'"),
            Self::Algorithm => "Invalid algorithm".to_owned(),
            Self::NoVerificationKey => "Invalid key/secret".to_owned(),
            Self::Signature => "Invalid signature".to_owned(),
            Self::Times(faults) => return faults.body(),
        };
        json!({ "message": message })
    }

    /// The reason code in the access log.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing => "jwt_missing",
            Self::Several => "jwt_repeated",
            Self::Valueless | Self::BadToken(_) => "jwt_malformed",
            Self::NoKey | Self::InvalidKey => "jwt_without_key",
            Self::NoCredential => "jwt_key_unknown",
            Self::Algorithm => "jwt_algorithm_wrong",
            Self::NoVerificationKey => "jwt_credential_unusable",
            Self::Signature => "jwt_signature_wrong",
            Self::Times(faults) => faults.reason(),
        }
    }

    /// The response: JSON, whatever the client accepts.
    pub fn reply(self, claim: &str, challenges: &Challenges) -> Reply {
        let challenge = match self {
            Self::Missing => &challenges.absent,
            _ => &challenges.invalid,
        };
        Reply::json(StatusCode::UNAUTHORIZED, self.reason(), &self.body(claim))
            .with_header(WWW_AUTHENTICATE, challenge.clone())
    }
}
