//! The guard's refusals: statuses, bodies and challenges of oauth2.md §4.2, rendered once per
//! plugin instance.

use bytes::Bytes;
use http::header::WWW_AUTHENTICATE;
use http::{HeaderValue, StatusCode};
use tollgate_core::reply::{Body, Reply};
use tollgate_plugin::{authentication, bearer};

use crate::dpop::Fault;
use crate::profile::Name;

const MISSING: &[u8] = br#"{"error":"invalid_request","error_description":"The access token is missing"}"#;
const SEVERAL: &[u8] = br#"{"error":"invalid_request","error_description":"The access token must be presented once"}"#;
const SEVERAL_PARAMETERS: &str =
    r#"error="invalid_request", error_description="The access token must be presented once""#;
const NOT_IN_HEADER: &[u8] =
    br#"{"error":"invalid_request","error_description":"The access token must be presented in the header"}"#;
const NOT_IN_HEADER_PARAMETERS: &str =
    r#"error="invalid_request", error_description="The access token must be presented in the header""#;
const PLAIN_HTTP: &[u8] =
    br#"{"error":"invalid_request","error_description":"The access token must be presented over HTTPS"}"#;
const PLAIN_HTTP_PARAMETERS: &str =
    r#"error="invalid_request", error_description="The access token must be presented over HTTPS""#;
const SCOPE: &[u8] =
    br#"{"error":"insufficient_scope","error_description":"The access token does not have the required scope"}"#;
const SCOPE_PARAMETERS: &str =
    r#"error="insufficient_scope", error_description="The access token does not have the required scope""#;
const INVALID: &[u8] = br#"{"error":"invalid_token","error_description":"The access token is invalid or has expired"}"#;
const GLOBAL: &[u8] = br#"{"error":"invalid_token","error_description":"The access token is global, but the current plugin is configured without 'global_credentials'"}"#;
const INVALID_PARAMETERS: &str =
    r#"error="invalid_token", error_description="The access token is invalid or has expired""#;

/// The realm of a challenge that would have no parameter.
const REALM: &str = "api";

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No token was presented.
    Missing,
    /// More than one token was presented (RFC 6750 §3.1).
    Several,
    /// The token is in the query, where the instance accepts none.
    InQuery,
    /// The token is in the body, where the instance accepts none.
    InBody,
    /// The request did not come over HTTPS, as the instance requires.
    PlainHttp,
    /// The token lacks a scope that the instance requires (RFC 6750 §3.1).
    InsufficientScope,
    /// Forged: its checksum is not ours.
    Forged,
    /// The credential of another scheme, such as `Basic`, is where the token should be.
    OtherScheme,
    /// Unknown to the store.
    Unknown,
    /// The token is global, the plugin instance is not.
    Global,
    /// Bound to another service.
    OtherService,
    /// Bound to other resources, or to none although that is required (RFC 8707).
    OtherResource,
    /// Expired.
    Expired,
    /// Bound to a key or certificate, and presented without it.
    Bound,
    /// Bound to another key or certificate.
    OtherSender,
    /// Not bound to a key or certificate as it has to be.
    Unbound,
    /// The proof of a key is not accepted.
    Proof(Fault),
}

impl Refusal {
    /// The reason code in the access log.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing => "token_missing",
            Self::Several => "repeated_credentials",
            Self::InQuery => "token_in_query",
            Self::InBody => "token_in_body",
            Self::PlainHttp => "https_required",
            Self::InsufficientScope => "scope_insufficient",
            Self::Forged => "token_forged",
            Self::OtherScheme => "token_of_other_scheme",
            Self::Unknown => "token_unknown",
            Self::Global => "token_global",
            Self::OtherService => "token_of_other_service",
            Self::OtherResource => "token_of_other_resource",
            Self::Expired => "token_expired",
            Self::Bound => "token_bound",
            Self::OtherSender => "token_of_other_sender",
            Self::Unbound => "token_unbound",
            Self::Proof(fault) => fault.reason(),
        }
    }
}

impl Refusal {
    /// Of something that cannot be one of our tokens.
    pub fn of_forged(presented: &str) -> Self {
        if bearer::is_of_other_scheme(presented) { Self::OtherScheme } else { Self::Forged }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::Several | Self::InQuery | Self::InBody | Self::PlainHttp => StatusCode::BAD_REQUEST,
            Self::InsufficientScope => StatusCode::FORBIDDEN,
            _ => StatusCode::UNAUTHORIZED,
        }
    }
}

/// The challenges of a plugin instance.
#[derive(Debug, Clone)]
pub struct Challenges {
    missing: HeaderValue,
    /// The same where no address of metadata follows.
    missing_alone: HeaderValue,
    several: HeaderValue,
    not_in_header: HeaderValue,
    plain_http: HeaderValue,
    scope: HeaderValue,
    invalid: HeaderValue,
}

impl Challenges {
    /// For an optional realm; `None` if the realm is not valid in a header. RFC 6750 §3 has a parameter follow the scheme:
    /// on profile `bcp` it is a realm where there is nothing else.
    pub fn new(realm: Option<&str>, required_scopes: &[String], profile: Name) -> Option<Self> {
        let missing = authentication::challenge("Bearer", realm);
        let separator = if realm.is_some() { ", " } else { " " };
        let with =
            |parameters: &str| HeaderValue::from_bytes(format!("{missing}{separator}{parameters}").as_bytes()).ok();
        let alone = if profile == Name::Bcp { realm.or(Some(REALM)) } else { realm };
        Some(Self {
            missing_alone: HeaderValue::from_bytes(authentication::challenge("Bearer", alone).as_bytes()).ok()?,
            missing: HeaderValue::from_bytes(missing.as_bytes()).ok()?,
            several: with(SEVERAL_PARAMETERS)?,
            not_in_header: with(NOT_IN_HEADER_PARAMETERS)?,
            plain_http: with(PLAIN_HTTP_PARAMETERS)?,
            scope: with(&format!("{SCOPE_PARAMETERS}, scope=\"{}\"", required_scopes.join(" ")))?,
            invalid: with(INVALID_PARAMETERS)?,
        })
    }

    /// The response. `metadata`: the address of the document that says who issues tokens for the resource (RFC 9728
    /// §5.1).
    pub fn reply(&self, refusal: Refusal, metadata: Option<&str>) -> Reply {
        let (body, challenge) = match refusal {
            Refusal::Missing if metadata.is_none_or(is_unsendable) => (MISSING, &self.missing_alone),
            Refusal::Missing => (MISSING, &self.missing),
            Refusal::Several => (SEVERAL, &self.several),
            Refusal::InQuery | Refusal::InBody => (NOT_IN_HEADER, &self.not_in_header),
            Refusal::PlainHttp => (PLAIN_HTTP, &self.plain_http),
            Refusal::InsufficientScope => (SCOPE, &self.scope),
            Refusal::Global => (GLOBAL, &self.invalid),
            Refusal::Forged
            | Refusal::OtherScheme
            | Refusal::Unknown
            | Refusal::OtherService
            | Refusal::OtherResource
            | Refusal::Expired
            | Refusal::Bound
            | Refusal::OtherSender
            | Refusal::Unbound
            // Its own body and challenge are in guard/sender.rs.
            | Refusal::Proof(_) => (INVALID, &self.invalid),
        };
        Reply {
            status: refusal.status(),
            headers: vec![(WWW_AUTHENTICATE, with_metadata(challenge, metadata))],
            body: Body::Json(Bytes::from_static(body)),
            reason: refusal.reason(),
        }
    }
}

fn is_unsendable(address: &str) -> bool {
    address.contains(['"', '\\'])
}

/// An address that cannot be sent is left out.
pub(crate) fn with_metadata(challenge: &HeaderValue, metadata: Option<&str>) -> HeaderValue {
    let extended = metadata.filter(|address| !is_unsendable(address)).and_then(|address| {
        let separator: &[u8] = if challenge.as_bytes().contains(&b' ') { b", " } else { b" " };
        let parameter = format!("resource_metadata=\"{address}\"");
        HeaderValue::from_bytes(&[challenge.as_bytes(), separator, parameter.as_bytes()].concat()).ok()
    });
    extended.unwrap_or_else(|| challenge.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_names_the_metadata_of_the_resource_rfc9728_5_1() {
        let known = "https://a.test/.well-known/oauth-protected-resource";
        let address = Some(known);
        for (realm, refusal, metadata, expected) in [
            (None, Refusal::Missing, None, "Bearer"),
            (None, Refusal::Missing, Some("https://a.test/\""), "Bearer"),
            (None, Refusal::Missing, address, r#"Bearer resource_metadata="ADDRESS""#),
            (Some("R"), Refusal::Missing, address, r#"Bearer realm="R", resource_metadata="ADDRESS""#),
            (
                None,
                Refusal::Expired,
                address,
                r#"Bearer error="invalid_token", error_description="The access token is invalid or has expired", resource_metadata="ADDRESS""#,
            ),
        ] {
            let reply = Challenges::new(realm, &[], Name::Kong).unwrap().reply(refusal, metadata);
            let expected = expected.replace("ADDRESS", known);
            assert_eq!(reply.headers, [(WWW_AUTHENTICATE, expected.parse().unwrap())]);
        }
    }

    #[test]
    fn a_parameter_follows_the_scheme_on_profile_bcp_rfc6750_3() {
        let address = Some("https://a.test/x");
        for (realm, metadata, expected) in [
            (None, None, r#"Bearer realm="api""#),
            (None, Some("https://a.test/\""), r#"Bearer realm="api""#),
            (Some("R"), None, r#"Bearer realm="R""#),
            (None, address, r#"Bearer resource_metadata="https://a.test/x""#),
        ] {
            let reply = Challenges::new(realm, &[], Name::Bcp).unwrap().reply(Refusal::Missing, metadata);
            assert_eq!(reply.headers, [(WWW_AUTHENTICATE, expected.parse().unwrap())]);
        }
    }
}
