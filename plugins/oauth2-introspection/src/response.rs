//! The response of an introspection endpoint (RFC 7662 §2.2), read strictly: what two readers might understand
//! differently, and what no authority sends on purpose, says nothing about a token.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Response, StatusCode};
use serde_json::Value;
use tollgate_jose::claims::Claims;
use tollgate_third_party::registered::check_types;
use tollgate_third_party::{Active, CannotTell, Said};

use crate::signed_response;

/// What the authority of that name says.
///
/// # Errors
/// Its response has another status than 200, or is not an introspection response.
pub fn read(authority: &str, response: &Response<Bytes>) -> Result<Said, CannotTell> {
    check_status(authority, response)?;
    let malformed = |what: &str| CannotTell::malformed(authority, what);
    match MediaType::of(response) {
        MediaType::Json => {}
        MediaType::Signed => return Err(malformed("it is signed; configure jwks_uri or jwks")),
        MediaType::Other => return Err(malformed("Content-Type is not JSON; check introspection_url")),
    }
    let claims = Claims::parse(response.body()).map_err(|error| malformed(&error.to_string()))?;
    said(claims).map_err(|what| CannotTell::malformed(authority, what))
}

/// Fails unless the status is 200: no other one says anything about a token.
pub(crate) fn check_status(authority: &str, response: &Response<Bytes>) -> Result<(), CannotTell> {
    match response.status() {
        StatusCode::OK => Ok(()),
        status => Err(CannotTell::Status { authority: authority.into(), status }),
    }
}

/// What these members say; `Err`: what is wrong with them.
pub(crate) fn said(claims: Claims) -> Result<Said, String> {
    match claims.get("active") {
        Some(Value::Bool(false)) => Ok(Said::Inactive),
        Some(Value::Bool(true)) => {
            check_types(&claims).map_err(|wrong| wrong.to_string())?;
            Ok(Said::Active(Active { claims, signed_by: None }))
        }
        Some(_) => Err("active is not a boolean".to_owned()),
        None => Err("active is missing; check introspection_url".to_owned()),
    }
}

/// What a response says that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MediaType {
    /// JSON, or nothing: then the body decides.
    Json,
    /// A signed response (RFC 9701).
    Signed,
    /// Anything else.
    Other,
}

impl MediaType {
    pub(crate) fn of(response: &Response<Bytes>) -> Self {
        let mut values = response.headers().get_all(CONTENT_TYPE).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return if response.headers().contains_key(CONTENT_TYPE) { Self::Other } else { Self::Json };
        };
        let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
        let essence = essence.to_ascii_lowercase();
        let is_json = essence == "application/json" || (essence.contains('/') && essence.ends_with("+json"));
        match essence.strip_prefix("application/") {
            Some(signed_response::TYPE) => Self::Signed,
            _ if is_json => Self::Json,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, media_type: &str, body: &str) -> Response<Bytes> {
        let builder = Response::builder().status(status).header(CONTENT_TYPE, media_type);
        builder.body(Bytes::copy_from_slice(body.as_bytes())).unwrap()
    }

    /// The reason, or whether it is active.
    fn outcome(response: &Response<Bytes>) -> Result<bool, (&'static str, String)> {
        match read("issuer", response) {
            Ok(Said::Active(_)) => Ok(true),
            Ok(Said::Inactive) => Ok(false),
            Err(error) => Err((error.reason(), error.to_string())),
        }
    }

    #[test]
    fn only_active_decides_whether_a_token_is_active() {
        for media_type in ["application/json", "Application/JSON; charset=utf-8", "application/vnd.issuer+json"] {
            assert_eq!(outcome(&response(200, media_type, r#"{"active":true,"sub":"kate"}"#)), Ok(true));
            assert_eq!(outcome(&response(200, media_type, r#"{"active":false}"#)), Ok(false));
        }
        let untyped = Response::new(Bytes::from_static(br#"{"active":true}"#));
        assert_eq!(outcome(&untyped), Ok(true), "the body decides");
        let expired = response(200, "application/json", r#"{"active":false,"exp":"yesterday"}"#);
        assert_eq!(outcome(&expired), Ok(false), "nothing else of it is used");
    }

    #[test]
    fn what_is_no_introspection_response_says_nothing_about_the_token() {
        for (body, what) in [
            ("", "not valid JSON"),
            ("<html></html>", "not valid JSON"),
            ("[]", "not a JSON object"),
            ("true", "not a JSON object"),
            (r#"{"active":true} {"active":true}"#, "not valid JSON"),
            (r#"{"active":true,"active":true}"#, "a member is repeated"),
            (r#"{"active":true,"x":{"a":1,"a":2}}"#, "a member is repeated"),
            (r#"{"active":"true"}"#, "active is not a boolean"),
            (r#"{"active":1}"#, "active is not a boolean"),
            (r#"{"active":null}"#, "active is not a boolean"),
            (r#"{"Active":true}"#, "active is missing; check introspection_url"),
            (r#"{"error":"invalid_client"}"#, "active is missing; check introspection_url"),
            (r#"{"active":true,"exp":"7"}"#, "exp is not a number"),
            (r#"{"active":true,"scope":7}"#, "scope is not a string or an array of strings"),
            (r#"{"active":true,"username":["kate"]}"#, "username is not a string"),
        ] {
            let text = format!("response of authority issuer cannot be used: {what}");
            let expected = Err(("authority_response_malformed", text));
            assert_eq!(outcome(&response(200, "application/json", body)), expected, "{body}");
        }
    }

    #[test]
    fn a_response_of_another_type_is_not_read() {
        let text = "response of authority issuer cannot be used: Content-Type is not JSON; check introspection_url";
        let expected = Err(("authority_response_malformed", text.to_owned()));
        for media_type in ["text/html", "application/jwt", "application/json, text/html", "json", "+json", ""] {
            assert_eq!(outcome(&response(200, media_type, r#"{"active":true}"#)), expected, "{media_type}");
        }
        let mut twice = response(200, "application/json", r#"{"active":true}"#);
        twice.headers_mut().append(CONTENT_TYPE, http::HeaderValue::from_static("text/html"));
        assert_eq!(outcome(&twice), expected);
    }

    #[test]
    fn a_signed_response_needs_keys() {
        let text = "response of authority issuer cannot be used: it is signed; configure jwks_uri or jwks";
        let signed = response(200, "application/token-introspection+jwt", "e30.e30.c2ln");
        assert_eq!(outcome(&signed), Err(("authority_response_malformed", text.to_owned())));
    }

    #[test]
    fn a_response_with_another_status_is_not_read() {
        for (status, reason) in [
            (201, "authority_response_malformed"),
            (204, "authority_response_malformed"),
            (302, "authority_response_malformed"),
            (400, "authority_response_malformed"),
            (401, "authority_credentials_refused"),
            (403, "authority_credentials_refused"),
            (404, "authority_response_malformed"),
            (429, "authority_unavailable"),
            (500, "authority_unavailable"),
            (503, "authority_unavailable"),
        ] {
            let refused = outcome(&response(status, "application/json", r#"{"active":true}"#));
            assert_eq!(refused.map_err(|(reason, _)| reason), Err(reason), "{status}");
        }
    }
}
