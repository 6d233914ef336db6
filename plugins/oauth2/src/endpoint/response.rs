//! The responses of the endpoints: JSON that must not be cached (RFC 6749 §5.1, oauth2.md
//! §3.4).

use http::header::{ALLOW, CACHE_CONTROL, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Map, Value, json};
use tollgate_core::header_text;
use tollgate_core::reply::Reply;
use tollgate_plugin::authentication;

use crate::endpoint::Endpoint;
use crate::error::{Error, Refusal, printable};
use crate::issuer::Issued;
use crate::parameters::{Parameter, Parameters};

/// The `state` of a request, which is echoed in its response.
#[derive(Debug, Clone, Default)]
pub(super) struct State(Option<Value>);

impl State {
    /// Strings, numbers and booleans are echoed; anything else is refused.
    pub(super) fn of(parameters: &Parameters) -> Result<Self, Refusal> {
        match parameters.get("state") {
            None | Some(Parameter::Other(Value::Null)) => Ok(Self(None)),
            Some(Parameter::Text(text)) if header_text::is_too_long(text) => Err(Refusal::TooLong("state")),
            Some(Parameter::Text(text)) => Ok(Self(Some(Value::String(text.clone())))),
            Some(Parameter::Other(Value::Number(number))) if header_text::is_too_long(&number.to_string()) => {
                Err(Refusal::TooLong("state"))
            }
            Some(Parameter::Other(value @ (Value::Number(_) | Value::Bool(_)))) => Ok(Self(Some(value.clone()))),
            Some(Parameter::Other(_) | Parameter::Unreadable | Parameter::Repeated) => Err(Refusal::NotText("state")),
        }
    }

    /// The state as a redirect parameter.
    pub(super) fn text(&self) -> Option<String> {
        self.0.as_ref().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }

    fn add_to(&self, body: &mut Map<String, Value>) {
        if let Some(state) = &self.0 {
            body.insert("state".to_owned(), state.clone());
        }
    }
}

/// The response with a token (RFC 6749 §5.1).
pub(super) fn issued(issued: &Issued, state: &State) -> Reply {
    let mut body = Map::new();
    let mut add = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
    add("access_token", issued.access_token.expose().into());
    add("token_type", issued.token_type.into());
    if let Some(seconds) = issued.expires_in {
        add("expires_in", seconds.into());
    }
    if let Some(refresh_token) = &issued.refresh_token {
        add("refresh_token", refresh_token.expose().into());
    }
    if let Some(scope) = &issued.scope {
        add("scope", scope.as_str().into());
    }
    state.add_to(&mut body);
    framed(StatusCode::OK, "token_issued", body)
}

/// The response with what a login page shows before it asks for consent.
pub(super) fn described(consent: Value, state: &State) -> Reply {
    let Value::Object(mut body) = consent else { return unexpected("consent_not_described") };
    state.add_to(&mut body);
    framed(StatusCode::OK, "consent_described", body)
}

/// The response with the address that the login page sends the browser to.
pub(super) fn redirect(status: StatusCode, reason: &'static str, uri: String) -> Reply {
    framed(status, reason, Map::from_iter([("redirect_uri".to_owned(), Value::String(uri))]))
}

/// A refusal without a redirect (RFC 6749 §5.2).
pub(super) fn refused(refusal: &Refusal, state: &State) -> Reply {
    let error = refusal.response();
    let mut body = Map::new();
    body.insert("error".to_owned(), error.error.into());
    body.insert("error_description".to_owned(), error.description.into_owned().into());
    state.add_to(&mut body);
    let mut reply = framed(error.status, error.reason, body);
    if let Some(seconds) = refusal.retry_after() {
        reply = reply.with_header(RETRY_AFTER, HeaderValue::from(seconds));
    }
    match error.challenge {
        Some(challenge) => reply.with_header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge)),
        None => reply,
    }
}

/// The response to any error. Errors that concern the operator are logged here, once.
pub(super) fn failed(endpoint: Endpoint, error: &Error, state: &State) -> Reply {
    match error {
        Error::Refused(refusal) => refused(refusal, state),
        Error::NoService => {
            tracing::error!(
                "{endpoint} request failed: route has no service to bind the token to; \
                 give the route a service or set global_credentials"
            );
            unexpected("route_without_service")
        }
        Error::NoConsumer => {
            tracing::error!(
                "{endpoint} request failed: {error}; set registration_consumer of the plugin to one that exists"
            );
            unexpected("registration_without_consumer")
        }
        Error::NoIssuer => {
            tracing::error!(
                "{endpoint} request failed: no issuer for a signed token; set issuer in the configuration of the plugin"
            );
            unexpected("token_without_issuer")
        }
        Error::Signing(source) => {
            tracing::error!(error = source as &dyn std::error::Error, "{endpoint} request failed: {error}");
            unexpected("token_not_signed")
        }
        Error::Sealing(source) => {
            tracing::error!(error = source as &dyn std::error::Error, "{endpoint} request failed: {error}");
            unexpected("tokens_not_sealed")
        }
        Error::Store(source) => {
            if !source.is_reported() {
                let error = source as &dyn std::error::Error;
                tracing::warn!(error, "{endpoint} request failed: store unavailable");
            }
            Reply::unavailable("token_store_unavailable")
        }
        Error::CannotTell(reason) => Reply::unavailable(reason),
        Error::Overloaded(_) => Reply::unavailable("secret_verification_overloaded"),
    }
}

fn unexpected(reason: &'static str) -> Reply {
    Reply::json(StatusCode::INTERNAL_SERVER_ERROR, reason, &json!({"message": "An unexpected error occurred"}))
}

/// Methods as in `Allow`.
pub(super) fn names(methods: &[Method]) -> String {
    methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ")
}

/// The response to a method that the endpoint does not have (oauth2.md §3.1): no frame, a Bearer challenge.
pub(super) fn invalid_method(endpoint: Endpoint, method: &Method, realm: Option<&str>) -> Reply {
    let text = printable(&format!("The HTTP method {method} is invalid for the {endpoint} endpoint"));
    let separator = if realm.is_some() { ", " } else { " " };
    let scheme = authentication::challenge("Bearer", realm);
    let challenge = format!("{scheme}{separator}error=\"invalid_method\", error_description=\"{text}\"");
    let body = json!({"error": "invalid_method", "error_description": text});
    let mut reply = Reply::json(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", &body);
    if let Ok(methods) = HeaderValue::try_from(names(endpoint.methods())) {
        reply = reply.with_header(ALLOW, methods);
    }
    match HeaderValue::from_bytes(challenge.as_bytes()) {
        Ok(challenge) => reply.with_header(WWW_AUTHENTICATE, challenge),
        Err(_) => reply,
    }
}

/// A JSON document that must not be cached.
pub(super) fn framed(status: StatusCode, reason: &'static str, body: Map<String, Value>) -> Reply {
    uncached(Reply::json(status, reason, &Value::Object(body)))
}

/// A response that must not be cached.
pub(super) fn uncached(reply: Reply) -> Reply {
    reply
        .with_header(CACHE_CONTROL, HeaderValue::from_static("no-store"))
        .with_header(PRAGMA, HeaderValue::from_static("no-cache"))
}

#[cfg(test)]
mod tests {
    use tollgate_core::reply::Body;
    use tollgate_core::secret::Secret;

    use super::*;
    use crate::error::Mode;

    fn body(reply: &Reply) -> Value {
        match &reply.body {
            Body::Json(bytes) => serde_json::from_slice(bytes).unwrap(),
            other => panic!("not JSON: {other:?}"),
        }
    }

    fn header<'r>(reply: &'r Reply, name: &http::HeaderName) -> Option<&'r str> {
        reply.headers.iter().find(|(known, _)| known == name).and_then(|(_, value)| value.to_str().ok())
    }

    #[test]
    fn responses_that_issue_or_refuse_may_not_be_stored_rfc6749_5_1() {
        let access_token = Secret::new("t");
        let token_type = "bearer";
        let token = Issued {
            id: uuid::Uuid::nil(),
            access_token,
            token_type,
            expires_in: None,
            refresh_token: None,
            scope: None,
        };
        for reply in [
            issued(&token, &State::default()),
            refused(&Refusal::GrantType, &State::default()),
            redirect(StatusCode::OK, "code_issued", "myapp://cb".to_owned()),
        ] {
            assert_eq!(header(&reply, &CACHE_CONTROL), Some("no-store"));
            assert_eq!(header(&reply, &PRAGMA), Some("no-cache"));
        }
    }

    #[test]
    fn the_state_is_echoed_unchanged() {
        for (given, text) in [(json!("a b"), "a b"), (json!(5), "5"), (json!(true), "true"), (json!(""), "")] {
            let state = State::of(&Parameters::of(&json!({"state": given}))).unwrap();
            assert_eq!(body(&refused(&Refusal::GrantType, &state))["state"], given);
            assert_eq!(state.text().as_deref(), Some(text));
        }
        for given in [json!(["a"]), json!({}), json!("\0")] {
            assert!(State::of(&Parameters::of(&json!({"state": given}))).is_err());
        }
    }

    #[test]
    fn a_client_that_failed_by_header_is_challenged() {
        let reply = refused(&Refusal::InvalidClient(Mode::Header), &State::default());
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
        assert_eq!(header(&reply, &WWW_AUTHENTICATE), Some("Basic realm=\"OAuth2.0\""));
    }

    #[test]
    fn other_methods_are_challenged_with_their_name() {
        for (endpoint, realm, challenge) in [
            (
                Endpoint::Token,
                None,
                "Bearer error=\"invalid_method\", error_description=\"The HTTP method GET is invalid for the token endpoint\"",
            ),
            (
                Endpoint::Authorize,
                Some(r#"a "b" \ c"#),
                r#"Bearer realm="a \"b\" \\ c", error="invalid_method", error_description="The HTTP method GET is invalid for the authorization endpoint""#,
            ),
        ] {
            let reply = invalid_method(endpoint, &Method::GET, realm);
            assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED);
            assert_eq!(header(&reply, &WWW_AUTHENTICATE), Some(challenge));
            assert_eq!(header(&reply, &ALLOW), Some("POST"));
            assert_eq!(header(&reply, &CACHE_CONTROL), None);
            assert_eq!(header(&reply, &ALLOW), Some("POST"));
            assert_eq!(body(&reply)["error"], "invalid_method");
        }
    }

    #[test]
    fn an_unavailable_store_is_503_with_retry_after() {
        let busy = tollgate_core::error::StoreError::Busy(std::time::Duration::from_secs(1));
        let reply = failed(Endpoint::Token, &Error::Store(busy), &State::default());
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(header(&reply, &http::header::RETRY_AFTER).is_some());
    }
}
