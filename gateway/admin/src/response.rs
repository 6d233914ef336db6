//! Responses, and the one exhaustive mapping from failures to them (gateway.md §1, §4).

use axum::body::Body;
use axum::response::Response as HttpResponse;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};
use tollgate_core::error::{DaoError, StoreError};

use crate::audit::Change;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"Admin API\"");
const PROMETHEUS: HeaderValue = HeaderValue::from_static("text/plain; charset=UTF-8");

/// A response without the headers that every response has.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    content_type: HeaderValue,
    body: Vec<u8>,
    retry: Retry,
    /// What a write did, for the audit log.
    pub(crate) change: Change,
}

/// Whether the client should retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Retry {
    Never,
    Soon,
}

impl Response {
    /// A JSON body.
    pub(crate) fn json(status: StatusCode, body: &Value) -> Self {
        Self { body: body.to_string().into_bytes(), ..Self::empty(status) }
    }

    /// 200 with a JSON body.
    pub(crate) fn ok(body: &Value) -> Self {
        Self::json(StatusCode::OK, body)
    }

    /// `{"message": …}`.
    pub(crate) fn message(status: StatusCode, message: &str) -> Self {
        Self::json(status, &json!({ "message": message }))
    }

    /// No body.
    pub(crate) fn empty(status: StatusCode) -> Self {
        Self { status, content_type: JSON, body: Vec::new(), retry: Retry::Never, change: Change::default() }
    }

    /// 200 with metrics in Prometheus' text format.
    pub(crate) fn metrics(text: String) -> Self {
        Self { content_type: PROMETHEUS, body: text.into_bytes(), ..Self::empty(StatusCode::OK) }
    }

    /// The response; without its body for `HEAD`, whose headers are those of `GET`.
    pub(crate) fn into_response(self, head: Head) -> HttpResponse {
        let length = HeaderValue::from(self.body.len());
        let body = match head {
            Head::Only => Body::empty(),
            Head::AndBody => Body::from(self.body),
        };
        let mut response = HttpResponse::new(body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        // A 204 has no content that could have a type, and must not carry a length (RFC 9110 §8.6).
        if ![StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&self.status) {
            headers.insert(CONTENT_TYPE, self.content_type);
            headers.insert(CONTENT_LENGTH, length);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, CHALLENGE);
        }
        if self.retry == Retry::Soon {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }

    /// With what it changed.
    pub(crate) fn changed(self, change: Change) -> Self {
        Self { change, ..self }
    }

    fn retry_soon(self) -> Self {
        Self { retry: Retry::Soon, ..self }
    }
}

/// Whether the client requested only the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Head {
    /// `HEAD`.
    Only,
    /// Any other method.
    AndBody,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("not found")]
    NotFound,
    #[error("no entity with that name")]
    NoEntityNamed(String),
    #[error("no plugin with that name")]
    NoPluginNamed(String),
    #[error("no entity has that name")]
    NoSuchName(&'static str),
    #[error("method not allowed")]
    MethodNotAllowed,
    #[error("there is no configuration in the body")]
    NoDeclaration,
    #[error("another configuration is being read")]
    LoadingConfiguration,
    #[error("unsupported content type")]
    UnsupportedMediaType,
    #[error("multiple Content-Type headers")]
    SeveralContentTypes,
    #[error("the body is not a JSON object")]
    BadJson,
    #[error("the body is not a valid form")]
    BadForm,
    #[error("form names or values are not UTF-8")]
    FormNotUtf8,
    #[error("too many arguments")]
    TooManyArguments,
    #[error("the body is too large")]
    BodyTooLarge,
    #[error("timed out reading the body")]
    BodyTimeout,
    #[error("the body cannot be read")]
    BrokenBody,
    #[error("too many requests at once")]
    Overloaded,
    #[error("{0} is empty")]
    EmptyFilter(&'static str),
    #[error("invalid unit")]
    InvalidUnit(String),
    #[error("invalid scale")]
    InvalidScale,
    #[error("not what is expected")]
    BadQuestion(&'static str),
    #[error("unknown log level")]
    UnknownLogLevel(String),
    #[error("the health of the target cannot be set")]
    HealthNotSet(String),
    #[error("available only without a database")]
    NeedsNoDatabase,
    #[error(transparent)]
    Dao(#[from] DaoError),
    #[error("host not allowed")]
    HostNotAllowed,
    #[error("origin not allowed")]
    OriginNotAllowed,
    #[error("no admin token")]
    TokenMissing,
    #[error("unknown admin token")]
    TokenUnknown,
    #[error("the admin token's role is read")]
    RoleInsufficient,
    #[error("the peer is not on this machine")]
    PeerNotLocal,
    #[error("a handler panicked")]
    Panicked,
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Dao(DaoError::Store(error))
    }
}

impl From<Failure> for Response {
    fn from(failure: Failure) -> Self {
        let bad = |message: &str| Self::message(StatusCode::BAD_REQUEST, message);
        match failure {
            Failure::NotFound => Self::message(StatusCode::NOT_FOUND, "Not found"),
            Failure::NoSuchName(message) => Self::message(StatusCode::NOT_FOUND, message),
            Failure::NoEntityNamed(name) => Self::message(StatusCode::NOT_FOUND, &format!("No entity named '{name}'")),
            Failure::NoPluginNamed(name) => Self::message(StatusCode::NOT_FOUND, &format!("No plugin named '{name}'")),
            Failure::MethodNotAllowed => Self::message(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed"),
            Failure::UnsupportedMediaType => Self::empty(StatusCode::UNSUPPORTED_MEDIA_TYPE),
            Failure::SeveralContentTypes => several_content_types(),
            Failure::BadJson => bad("Cannot parse JSON body"),
            Failure::BadForm => bad("Cannot parse form body"),
            Failure::BrokenBody => bad("Cannot read the body: it ends too early, or its framing is invalid"),
            Failure::FormNotUtf8 => bad("Cannot parse form body: names and values must be UTF-8"),
            Failure::TooManyArguments => bad("Too many arguments"),
            Failure::BodyTooLarge => Self::message(StatusCode::PAYLOAD_TOO_LARGE, "Payload too large"),
            Failure::BodyTimeout => Self::message(StatusCode::REQUEST_TIMEOUT, "Request timeout"),
            Failure::Overloaded => unavailable("Too many requests at once"),
            Failure::EmptyFilter(field) => bad(&format!("{field} must be an unempty string")),
            Failure::InvalidUnit(unit) => bad(&format!("invalid unit '{unit}' (expected 'k/K', 'm/M', or 'g/G')")),
            Failure::InvalidScale => bad("scale must be equal or greater than 0"),
            Failure::BadQuestion(expected) => bad(expected),
            Failure::UnknownLogLevel(level) => bad(&format!("unknown log level: {level}")),
            Failure::HealthNotSet(why) => bad(&why),
            Failure::NoDeclaration => bad("expected a declarative configuration"),
            Failure::LoadingConfiguration => {
                Self::message(StatusCode::TOO_MANY_REQUESTS, "Currently loading previous configuration").retry_soon()
            }
            Failure::NeedsNoDatabase => {
                bad("this endpoint is only available when Kong is configured to not use a database")
            }
            Failure::Dao(DaoError::Store(error)) => store_failed(&error),
            Failure::Dao(error) => {
                let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                Self::json(status, &error.to_json())
            }
            Failure::HostNotAllowed => forbidden(
                "The Host of this request is not a name of this listener: web pages could reach it by their own names. \
                 Use its address or localhost, or add the name to admin.allowed_hosts",
            ),
            Failure::OriginNotAllowed => forbidden(
                "This request comes from a web page of another origin: add the origin to admin.allowed_origins if its \
                 pages may use this API",
            ),
            Failure::TokenMissing => unauthorized(
                "This request has no admin token: send one in Authorization: Bearer, or in Kong-Admin-Token; \
                 tollgate admin-token create makes one",
            ),
            Failure::TokenUnknown => unauthorized(
                "The admin token of this request is unknown or revoked: tollgate admin-token list shows which exist",
            ),
            Failure::RoleInsufficient => {
                forbidden("The role of this admin token is read: changes need one with the role write")
            }
            Failure::PeerNotLocal => {
                forbidden("Only this machine, or an admin token with the role write, may change this node's state")
            }
            Failure::Panicked => unexpected(),
        }
    }
}

/// The only error sent as plain text under the JSON content type (gateway.md §1).
fn several_content_types() -> Response {
    Response { body: b"Multiple Content-Type headers not allowed".to_vec(), ..Response::empty(StatusCode::BAD_REQUEST) }
}

fn forbidden(message: &str) -> Response {
    Response::message(StatusCode::FORBIDDEN, message)
}

fn unauthorized(message: &str) -> Response {
    Response::message(StatusCode::UNAUTHORIZED, message)
}

fn unexpected() -> Response {
    Response::message(StatusCode::INTERNAL_SERVER_ERROR, "An unexpected error occurred")
}

fn unavailable(message: &str) -> Response {
    Response::message(StatusCode::SERVICE_UNAVAILABLE, message).retry_soon()
}

/// Details from the database are logged, not sent: they may contain stored values.
fn store_failed(error: &StoreError) -> Response {
    let causes = causes(error);
    match error {
        StoreError::Unavailable(_) | StoreError::Busy(_) | StoreError::Timeout(_) => {
            if !error.is_reported() {
                tracing::warn!(error = %error, causes, "Admin request failed: store unavailable");
            }
            unavailable("The store is not available")
        }
        StoreError::Statement { .. } | StoreError::Corrupt { .. } => {
            tracing::error!(error = %error, causes, "Admin request failed: store error");
            unexpected()
        }
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(error.source(), |cause| cause.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
