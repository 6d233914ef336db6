//! Refusals: statuses, bodies and challenges (RFC 6750 §3), rendered once per instance.

use bytes::Bytes;
use http::header::WWW_AUTHENTICATE;
use http::{HeaderValue, StatusCode};
use tollgate_plugin::authentication;
use tollgate_plugin::{Body, Reply};

use crate::requirements::Lack;

const MISSING: &str = r#"{"error":"invalid_request","error_description":"The access token is missing"}"#;
const SEVERAL: &str = r#"{"error":"invalid_request","error_description":"The access token must be presented once"}"#;
const SEVERAL_PARAMETERS: &str =
    r#"error="invalid_request", error_description="The access token must be presented once""#;
const INVALID: &str = r#"{"error":"invalid_token","error_description":"The access token is invalid or has expired"}"#;
const INVALID_PARAMETERS: &str =
    r#"error="invalid_token", error_description="The access token is invalid or has expired""#;

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It has no token.
    Missing,
    /// It has several.
    Several,
    /// The token was minted by this gateway.
    Own,
    /// No authority of the instance can have issued it.
    Foreign,
    /// The authorities do not know it, or it has been revoked.
    Inactive,
    /// Its `exp` has passed.
    Expired,
    /// Its `nbf` has not come.
    NotYetValid,
    /// It is valid, but lacks something.
    Insufficient(Lack),
}

impl Refusal {
    /// The reason code in the access log.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Missing => "token_missing",
            Self::Several => "repeated_credentials",
            Self::Own => "token_of_this_gateway",
            Self::Foreign => "token_of_other_authority",
            Self::Inactive => "token_inactive",
            Self::Expired => "token_expired",
            Self::NotYetValid => "token_not_yet_valid",
            Self::Insufficient(Lack::Scope) => "scope_insufficient",
            Self::Insufficient(Lack::Audience) => "audience_insufficient",
            Self::Insufficient(Lack::Claim) => "claims_insufficient",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::Several => StatusCode::BAD_REQUEST,
            Self::Insufficient(_) => StatusCode::FORBIDDEN,
            _ => StatusCode::UNAUTHORIZED,
        }
    }
}

/// What a token lacks, for the client.
fn description(lack: Lack) -> &'static str {
    match lack {
        Lack::Scope => "The access token lacks a required scope",
        Lack::Audience => "The access token is not intended for this API",
        Lack::Claim => "The access token lacks a required claim",
    }
}

/// The challenges of an instance.
#[derive(Debug, Clone)]
pub(crate) struct Challenges {
    missing: HeaderValue,
    several: HeaderValue,
    invalid: HeaderValue,
    insufficient: [HeaderValue; 3],
}

impl Challenges {
    /// For an optional realm, and the required scopes. `None`: they are not valid in a header.
    pub(crate) fn new(realm: Option<&str>, scopes: &[String]) -> Option<Self> {
        let missing = authentication::challenge("Bearer", realm);
        let separator = if realm.is_some() { ", " } else { " " };
        let with =
            |parameters: &str| HeaderValue::from_bytes(format!("{missing}{separator}{parameters}").as_bytes()).ok();
        let scope = if scopes.is_empty() { String::new() } else { format!(", scope=\"{}\"", scopes.join(" ")) };
        let insufficient =
            |lack| with(&format!("error=\"insufficient_scope\", error_description=\"{}\"{scope}", description(lack)));
        Some(Self {
            missing: HeaderValue::from_bytes(missing.as_bytes()).ok()?,
            several: with(SEVERAL_PARAMETERS)?,
            invalid: with(INVALID_PARAMETERS)?,
            insufficient: [insufficient(Lack::Scope)?, insufficient(Lack::Audience)?, insufficient(Lack::Claim)?],
        })
    }

    /// The response.
    pub(crate) fn reply(&self, refusal: Refusal) -> Reply {
        let [scope, audience, claim] = &self.insufficient;
        let (body, challenge) = match refusal {
            Refusal::Missing => (Bytes::from_static(MISSING.as_bytes()), &self.missing),
            Refusal::Several => (Bytes::from_static(SEVERAL.as_bytes()), &self.several),
            Refusal::Insufficient(lack) => {
                let body = format!(r#"{{"error":"insufficient_scope","error_description":"{}"}}"#, description(lack));
                let challenge = match lack {
                    Lack::Scope => scope,
                    Lack::Audience => audience,
                    Lack::Claim => claim,
                };
                (body.into(), challenge)
            }
            Refusal::Own | Refusal::Foreign | Refusal::Inactive | Refusal::Expired | Refusal::NotYetValid => {
                (Bytes::from_static(INVALID.as_bytes()), &self.invalid)
            }
        };
        Reply {
            status: refusal.status(),
            headers: vec![(WWW_AUTHENTICATE, challenge.clone())],
            body: Body::Json(body),
            reason: refusal.reason(),
        }
    }
}
