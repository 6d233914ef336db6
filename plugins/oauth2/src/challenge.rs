//! The guard's refusals: statuses, bodies and challenges of oauth2.md §4.2, rendered once per
//! plugin instance.

use bytes::Bytes;
use http::header::WWW_AUTHENTICATE;
use http::{HeaderValue, StatusCode};
use tollgate_core::reply::{Body, Reply};
use tollgate_plugin::authentication;

const MISSING: &[u8] = br#"{"error":"invalid_request","error_description":"The access token is missing"}"#;
const SEVERAL: &[u8] = br#"{"error":"invalid_request","error_description":"The access token must be presented once"}"#;
const SEVERAL_PARAMETERS: &str =
    r#"error="invalid_request", error_description="The access token must be presented once""#;
const INVALID: &[u8] = br#"{"error":"invalid_token","error_description":"The access token is invalid or has expired"}"#;
const GLOBAL: &[u8] = br#"{"error":"invalid_token","error_description":"The access token is global, but the current plugin is configured without 'global_credentials'"}"#;
const INVALID_PARAMETERS: &str =
    r#"error="invalid_token", error_description="The access token is invalid or has expired""#;

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No token was presented.
    Missing,
    /// More than one token was presented (RFC 6750 §3.1).
    Several,
    /// Forged: its checksum is not ours.
    Forged,
    /// Unknown to the store.
    Unknown,
    /// The token is global, the plugin instance is not.
    Global,
    /// Bound to another service.
    OtherService,
    /// Expired.
    Expired,
}

impl Refusal {
    /// The reason code in the access log.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing => "token_missing",
            Self::Several => "repeated_credentials",
            Self::Forged => "token_forged",
            Self::Unknown => "token_unknown",
            Self::Global => "token_global",
            Self::OtherService => "token_of_other_service",
            Self::Expired => "token_expired",
        }
    }
}

/// The challenges of a plugin instance.
#[derive(Debug, Clone)]
pub struct Challenges {
    missing: HeaderValue,
    several: HeaderValue,
    invalid: HeaderValue,
}

impl Challenges {
    /// For an optional realm; `None` if the realm is not valid in a header.
    pub fn new(realm: Option<&str>) -> Option<Self> {
        let missing = authentication::challenge("Bearer", realm);
        let separator = if realm.is_some() { ", " } else { " " };
        let with = |parameters| HeaderValue::from_bytes(format!("{missing}{separator}{parameters}").as_bytes()).ok();
        Some(Self {
            missing: HeaderValue::from_bytes(missing.as_bytes()).ok()?,
            several: with(SEVERAL_PARAMETERS)?,
            invalid: with(INVALID_PARAMETERS)?,
        })
    }

    /// The response.
    pub fn reply(&self, refusal: Refusal) -> Reply {
        let (body, challenge) = match refusal {
            Refusal::Missing => (MISSING, &self.missing),
            Refusal::Several => (SEVERAL, &self.several),
            Refusal::Global => (GLOBAL, &self.invalid),
            Refusal::Forged | Refusal::Unknown | Refusal::OtherService | Refusal::Expired => (INVALID, &self.invalid),
        };
        Reply {
            status: if refusal == Refusal::Several { StatusCode::BAD_REQUEST } else { StatusCode::UNAUTHORIZED },
            headers: vec![(WWW_AUTHENTICATE, challenge.clone())],
            body: Body::Json(Bytes::from_static(body)),
            reason: refusal.reason(),
        }
    }
}
