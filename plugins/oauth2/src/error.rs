//! Why the authorization server refuses a request or fails, and the error response for it
//! (oauth2.md §6). One match, [`Refusal::response`], decides on status, code and text.

use std::borrow::Cow;

use http::StatusCode;
use tollgate_core::error::StoreError;
use tollgate_core::header_text;

use crate::client_secret::{Overloaded, Unverified};
use crate::dpop::Fault;
use crate::entity::credential::ClientType;
use crate::entity::registered::AssertionFault;
use crate::guesses::Limited;
use crate::profile::UnknownGrant;

/// How a client tried to authenticate; decides how a failure is reported (RFC 6749 §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// By parameters: 400.
    Parameters,
    /// By header: 401 with a Basic challenge.
    Header,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The connection is not HTTPS.
    PlainHttp,
    /// A trusted peer sent several `X-Forwarded-Proto` values.
    SeveralForwardedProtos,
    /// The body is too large.
    TooLarge,
    /// A parameter is repeated.
    Repeated(&'static str),
    /// A parameter is not a string.
    NotText(&'static str),
    /// The provision key is missing or wrong.
    ProvisionKey,
    /// No user is logged in.
    MissingUserid,
    /// The header has several credentials (RFC 6749 §5.2).
    SeveralCredentials,
    /// The user id has control characters, which no header can carry to the upstream.
    UnprintableUserid,
    /// The user id begins or ends with white space. Header parsers trim it, so the upstream would see
    /// another user.
    PaddedUserid,
    /// A value that is kept or sent on is too long.
    TooLong(&'static str),
    /// Too many attempts to authenticate have failed; seconds until the next one is possible.
    TooManyFailures(u64),
    /// The response type is unknown or not enabled.
    ResponseType,
    /// The scope is not a string.
    ScopeNotText,
    /// A word of the scope is not configured.
    UnknownScope(String),
    /// A scope is mandatory but missing.
    MissingScope,
    /// A refresh token's scope is no longer configured.
    ScopeMismatch,
    /// The client is unknown, or its secret is wrong.
    InvalidClient(Mode),
    /// The client may not use this grant.
    UnauthorizedClient,
    /// A public client sent a secret.
    SecretOfPublicClient,
    /// The redirect URI is not registered.
    RedirectUri,
    /// A PKCE method without a challenge.
    MethodWithoutChallenge,
    /// A PKCE method other than S256.
    ChallengeMethod,
    /// The client must use PKCE.
    MissingChallenge(ClientType),
    /// The grant type is unknown or not enabled.
    GrantType,
    /// The code is unknown, used, expired or another client's.
    InvalidCode(UnknownGrant),
    /// The refresh token is unknown, used, expired or another service's.
    InvalidRefreshToken(UnknownGrant),
    /// The PKCE verifier is missing.
    MissingVerifier,
    /// The PKCE verifier is not a string.
    VerifierNotText,
    /// The PKCE verifier is too short or too long.
    VerifierLength,
    /// The PKCE verifier does not match the challenge.
    VerifierMismatch,
    /// A parameter is missing.
    Missing(&'static str),
    /// The client may not introspect tokens.
    NoResourceServer,
    /// The client introspects too many tokens.
    TooManyIntrospections,
    /// The request names no host, and no issuer is configured.
    NoHost,
    /// A resource is not served here, or not granted (RFC 8707 §2).
    Resource,
    /// No resource is named, although tokens have to be bound to one.
    MissingResource,
    /// The announced key is no thumbprint.
    Thumbprint,
    /// The proof of a key is not accepted.
    Proof(Fault),
    /// The connection has no certificate.
    CertificateMissing,
    /// The code or refresh token is bound to another key or certificate.
    OtherSender,
    /// The client's assertion is not accepted, whoever the client is.
    Assertion(AssertionFault),
    /// The scope is not of the grammar of RFC 6749 §3.3.
    ScopeSyntax,
    /// A refresh requests a word that was not granted (RFC 6749 §6).
    ScopeNotGranted(String),
    /// The client's credential does not allow a word of the scope.
    ScopeNotAllowed(String),
    /// The registered redirect URI has no host, and the instance does not redirect there.
    PrivateUseRedirect,
    /// The registered redirect URI is `http`, and the instance sends nobody there.
    OpenRedirect,
    /// A pushed request names another one (RFC 9126 §2.1).
    PushedRequestUri,
    /// `client_id` is not that of the client that has authenticated.
    OtherClient,
    /// The authorization request was not pushed, but has to be.
    NotPushed,
    /// The request URI is unknown, used, expired or another client's.
    RequestUri,
    /// The device code is unknown, used or another client's.
    DeviceCode,
    /// The device code has expired.
    DeviceCodeExpired,
    /// The user has not decided yet.
    AuthorizationPending,
    /// The device polls too often.
    SlowDown,
    /// The user has denied the device.
    UserDenied,
    /// The user code is unknown, expired, or decided already.
    UserCode,
    /// The login page's decision about a device is none.
    UserDecision,
    /// A redirect URI cannot be registered (RFC 7591 §3.2.2).
    RedirectUriMetadata(String),
    /// A client cannot be registered with this metadata.
    ClientMetadata(String),
    /// The initial access token is missing or wrong.
    InitialAccessToken,
    /// The registration access token is missing or wrong, or its client is gone (RFC 7592 §2).
    RegistrationAccessToken,
    /// Too many clients have registered.
    RegistrationQuota,
}

/// An error response (RFC 6749 §5.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorResponse {
    /// The status, unless the response goes through a redirect.
    pub status: StatusCode,
    /// `error`.
    pub error: &'static str,
    /// `error_description`, in the characters that RFC 6749 §5.2 allows.
    pub description: Cow<'static, str>,
    /// `WWW-Authenticate`.
    pub challenge: Option<&'static str>,
    /// The reason code in the access log.
    pub reason: &'static str,
}

impl Refusal {
    /// The error response.
    pub fn response(&self) -> ErrorResponse {
        let (error, description, reason): (_, Cow<'static, str>, _) = match self {
            Self::PlainHttp => ("access_denied", "You must use HTTPS".into(), "https_required"),
            Self::SeveralForwardedProtos => {
                ("access_denied", "Only one X-Forwarded-Proto header allowed".into(), "forwarded_proto_ambiguous")
            }
            Self::TooLarge => ("invalid_request", "The request is too large".into(), "request_too_large"),
            Self::Repeated(name) => {
                ("invalid_request", format!("{name} must not be repeated").into(), "parameter_repeated")
            }
            Self::SeveralCredentials => {
                ("invalid_request", "The client must present its credentials once".into(), "repeated_credentials")
            }
            Self::NotText(name) => ("invalid_request", format!("{name} is not a string").into(), "parameter_not_text"),
            Self::ProvisionKey => ("invalid_provision_key", "Invalid provision_key".into(), "provision_key_invalid"),
            Self::MissingUserid => {
                ("invalid_authenticated_userid", "Missing authenticated_userid parameter".into(), "userid_missing")
            }
            Self::UnprintableUserid => (
                "invalid_authenticated_userid",
                "authenticated_userid must not contain control characters".into(),
                "userid_unprintable",
            ),
            Self::PaddedUserid => (
                "invalid_authenticated_userid",
                "authenticated_userid must not begin or end with white space".into(),
                "userid_padded",
            ),
            Self::TooLong(name) => too_long(name),
            Self::TooManyFailures(_) => (
                "temporarily_unavailable",
                "Too many attempts to authenticate have failed; try again later".into(),
                "too_many_failures",
            ),
            Self::ResponseType => {
                ("unsupported_response_type", "Invalid response_type".into(), "response_type_unsupported")
            }
            Self::ScopeNotText => ("invalid_scope", "scope must be a string".into(), "scope_not_text"),
            Self::UnknownScope(word) => {
                ("invalid_scope", printable(&format!("\"{word}\" is an invalid scope")).into(), "scope_unknown")
            }
            Self::MissingScope => ("invalid_scope", "You must specify a scope".into(), "scope_missing"),
            Self::ScopeMismatch => ("invalid_scope", "Scope mismatch".into(), "scope_mismatch"),
            Self::InvalidClient(_) => ("invalid_client", "Invalid client authentication".into(), "client_invalid"),
            Self::UnauthorizedClient => {
                ("unauthorized_client", "The client must not use this grant_type".into(), "client_unauthorized")
            }
            Self::SecretOfPublicClient => (
                "invalid_request",
                "client_secret is disallowed for public clients".into(),
                "client_secret_of_public_client",
            ),
            Self::RedirectUri => (
                "invalid_request",
                "Invalid redirect_uri that does not match with any redirect_uri created with the application".into(),
                "redirect_uri_unknown",
            ),
            Self::MethodWithoutChallenge => (
                "invalid_request",
                "code_challenge is required when code_method is present".into(),
                "code_challenge_missing",
            ),
            Self::ChallengeMethod => (
                "invalid_request",
                "code_challenge_method is not supported, must be S256".into(),
                "code_challenge_method_unsupported",
            ),
            Self::MissingChallenge(client) => (
                "invalid_request",
                format!("code_challenge is required for {client} clients").into(),
                "code_challenge_missing",
            ),
            Self::GrantType => ("unsupported_grant_type", "Invalid grant_type".into(), "grant_type_unsupported"),
            Self::InvalidCode(unknown) => (unknown_grant(*unknown), "Invalid code".into(), "code_invalid"),
            Self::InvalidRefreshToken(unknown) => {
                (unknown_grant(*unknown), "Invalid refresh_token".into(), "refresh_token_invalid")
            }
            Self::MissingVerifier => (
                "invalid_request",
                "code_verifier is required for PKCE authorization requests".into(),
                "code_verifier_missing",
            ),
            Self::VerifierNotText => {
                ("invalid_request", "code_verifier is not a string".into(), "code_verifier_not_text")
            }
            Self::VerifierLength => (
                "invalid_request",
                "code_verifier must be between 43 and 128 characters".into(),
                "code_verifier_length",
            ),
            Self::VerifierMismatch => ("invalid_grant", "Invalid code".into(), "code_verifier_mismatch"),
            Self::Missing(name) => ("invalid_request", format!("{name} is required").into(), "parameter_missing"),
            Self::NoResourceServer => (
                "access_denied",
                "The client must not introspect tokens; its credential needs resource_server".into(),
                "client_is_no_resource_server",
            ),
            Self::TooManyIntrospections => (
                "temporarily_unavailable",
                "The client introspects too many tokens; try again later".into(),
                "too_many_introspections",
            ),
            Self::NoHost => ("invalid_request", "The request names no host".into(), "host_missing"),
            Self::Resource => {
                ("invalid_target", "The requested resource is unknown or not granted".into(), "resource_unknown")
            }
            Self::MissingResource => ("invalid_target", "resource is required".into(), "resource_missing"),
            Self::Thumbprint => (
                "invalid_request",
                "dpop_jkt must be the SHA-256 thumbprint of a key, in base64url".into(),
                "dpop_jkt_invalid",
            ),
            Self::Proof(fault) => (fault.error(), fault.description().into(), fault.reason()),
            Self::CertificateMissing => {
                ("invalid_request", "The client must connect with a certificate".into(), "client_certificate_missing")
            }
            Self::OtherSender => (
                "invalid_grant",
                "The code or refresh token is bound to another key or certificate".into(),
                "sender_other",
            ),
            Self::Assertion(fault) => ("invalid_client", fault.description().into(), "client_assertion_invalid"),
            Self::ScopeSyntax => {
                ("invalid_scope", "scope must be words of printable ASCII between single spaces".into(), "scope_syntax")
            }
            Self::ScopeNotGranted(word) => {
                ("invalid_scope", printable(&format!("\"{word}\" was not granted")).into(), "scope_not_granted")
            }
            Self::ScopeNotAllowed(word) => (
                "invalid_scope",
                printable(&format!("\"{word}\" is not allowed for this client")).into(),
                "scope_not_allowed",
            ),
            Self::PrivateUseRedirect => {
                ("invalid_request", "redirect_uri must have a host".into(), "redirect_uri_private_use")
            }
            Self::OpenRedirect => {
                ("invalid_request", "redirect_uri must be https, or on a loopback address".into(), "redirect_uri_open")
            }
            Self::PushedRequestUri => {
                ("invalid_request", "request_uri must not be pushed".into(), "request_uri_pushed")
            }
            Self::OtherClient => {
                ("invalid_request", "client_id is of another client".into(), "client_id_of_other_client")
            }
            Self::NotPushed => {
                ("invalid_request", "The authorization request must be pushed".into(), "request_not_pushed")
            }
            Self::RequestUri => (
                "invalid_request_uri",
                "request_uri is unknown, used, expired or of another client".into(),
                "request_uri_unknown",
            ),
            Self::DeviceCode => ("invalid_grant", "Invalid device_code".into(), "device_code_invalid"),
            Self::DeviceCodeExpired => {
                ("expired_token", "The device_code has expired; begin again".into(), "device_code_expired")
            }
            Self::AuthorizationPending => {
                ("authorization_pending", "The user has not decided yet".into(), "authorization_pending")
            }
            Self::SlowDown => (
                "slow_down",
                "The user has not decided yet; wait five seconds longer between two requests".into(),
                "slow_down",
            ),
            Self::UserDenied => ("access_denied", "The user has denied the request".into(), "user_denied"),
            Self::UserCode => {
                ("invalid_user_code", "user_code is unknown, expired, or decided already".into(), "user_code_invalid")
            }
            Self::UserDecision => ("invalid_request", "action must be approve or deny".into(), "user_decision_unknown"),
            Self::RedirectUriMetadata(text) => {
                ("invalid_redirect_uri", printable(text).into(), "redirect_uri_unregistrable")
            }
            Self::ClientMetadata(text) => {
                ("invalid_client_metadata", printable(text).into(), "client_metadata_invalid")
            }
            Self::InitialAccessToken => {
                ("invalid_token", "The initial access token is missing or wrong".into(), "initial_access_token_invalid")
            }
            Self::RegistrationAccessToken => (
                "invalid_token",
                "The registration access token is missing or wrong".into(),
                "registration_access_token_invalid",
            ),
            Self::RegistrationQuota => (
                "temporarily_unavailable",
                "Too many clients have registered; try again later".into(),
                "registration_quota_reached",
            ),
        };
        let (status, challenge) = match self {
            Self::InvalidClient(Mode::Header) => (StatusCode::UNAUTHORIZED, Some("Basic realm=\"OAuth2.0\"")),
            Self::InitialAccessToken | Self::RegistrationAccessToken => {
                (StatusCode::UNAUTHORIZED, Some("Bearer error=\"invalid_token\""))
            }
            Self::RegistrationQuota => (StatusCode::TOO_MANY_REQUESTS, None),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, None),
            Self::NoResourceServer => (StatusCode::FORBIDDEN, None),
            Self::TooManyFailures(_) | Self::TooManyIntrospections => (StatusCode::TOO_MANY_REQUESTS, None),
            _ => (StatusCode::BAD_REQUEST, None),
        };
        ErrorResponse { status, error, description, challenge, reason }
    }
}

impl Refusal {
    /// In how many seconds the client may try again, if that is the only fault.
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::TooManyFailures(seconds) => Some(*seconds),
            Self::TooManyIntrospections => Some(1),
            Self::RegistrationQuota => Some(3600),
            _ => None,
        }
    }
}

fn too_long(name: &str) -> (&'static str, Cow<'static, str>, &'static str) {
    let description = format!("{name} must not be longer than {} bytes", header_text::max_bytes()).into();
    match name {
        "authenticated_userid" => ("invalid_authenticated_userid", description, "userid_too_long"),
        "scope" => ("invalid_scope", description, "scope_too_long"),
        _ => ("invalid_request", description, "parameter_too_long"),
    }
}

impl From<Limited> for Refusal {
    fn from(limited: Limited) -> Self {
        Self::TooManyFailures(limited.retry_after)
    }
}

fn unknown_grant(unknown: UnknownGrant) -> &'static str {
    match unknown {
        UnknownGrant::InvalidRequest => "invalid_request",
        UnknownGrant::InvalidGrant => "invalid_grant",
    }
}

/// Maps a text to the characters that `error_description` allows (RFC 6749 §5.2): printable ASCII without
/// `"` and `\`. A quote becomes `'`, anything else `?`.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '"' => '\'',
            '\\' => '?',
            ' '..='~' => character,
            _ => '?',
        })
        .collect()
}

/// Why a request is refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is refused.
    #[error("refused")]
    Refused(Refusal),
    /// The tokens of this plugin instance are bound to a service, and the route has none.
    #[error("route has no service to bind the token to")]
    NoService,
    /// The tokens cannot be sealed for a repeated request.
    #[error("cannot seal the new tokens for refresh_grace")]
    Sealing(#[from] openssl::error::ErrorStack),
    /// The consumer of registered clients does not exist.
    #[error("the consumer of registered clients does not exist")]
    NoConsumer,
    /// A token cannot be signed.
    #[error("cannot sign the access token")]
    Signing(#[source] openssl::error::ErrorStack),
    /// A signed token names its issuer.
    #[error("no issuer is configured, and the request names no host")]
    NoIssuer,
    /// The store is unavailable.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot be told what a token is, for this reason, which is logged already.
    #[error("cannot tell what the token is")]
    CannotTell(&'static str),
    /// Too many secrets are waiting to be verified.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
}

impl From<Limited> for Error {
    fn from(limited: Limited) -> Self {
        Self::Refused(limited.into())
    }
}

impl From<Unverified> for Error {
    fn from(unverified: Unverified) -> Self {
        match unverified {
            Unverified::Overloaded(overloaded) => Self::Overloaded(overloaded),
            Unverified::Limited(limited) => limited.into(),
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_its_status_code_text_and_challenge() {
        let kong = UnknownGrant::InvalidRequest;
        let bcp = UnknownGrant::InvalidGrant;
        for (refusal, status, error, description) in [
            (Refusal::PlainHttp, 400, "access_denied", "You must use HTTPS"),
            (Refusal::SeveralForwardedProtos, 400, "access_denied", "Only one X-Forwarded-Proto header allowed"),
            (Refusal::TooLarge, 413, "invalid_request", "The request is too large"),
            (Refusal::SeveralCredentials, 400, "invalid_request", "The client must present its credentials once"),
            (Refusal::Repeated("client_id"), 400, "invalid_request", "client_id must not be repeated"),
            (Refusal::NotText("state"), 400, "invalid_request", "state is not a string"),
            (Refusal::ProvisionKey, 400, "invalid_provision_key", "Invalid provision_key"),
            (Refusal::MissingUserid, 400, "invalid_authenticated_userid", "Missing authenticated_userid parameter"),
            (
                Refusal::UnprintableUserid,
                400,
                "invalid_authenticated_userid",
                "authenticated_userid must not contain control characters",
            ),
            (
                Refusal::PaddedUserid,
                400,
                "invalid_authenticated_userid",
                "authenticated_userid must not begin or end with white space",
            ),
            (
                Refusal::TooLong("authenticated_userid"),
                400,
                "invalid_authenticated_userid",
                "authenticated_userid must not be longer than 4096 bytes",
            ),
            (Refusal::TooLong("scope"), 400, "invalid_scope", "scope must not be longer than 4096 bytes"),
            (Refusal::TooLong("state"), 400, "invalid_request", "state must not be longer than 4096 bytes"),
            (
                Refusal::TooManyFailures(6),
                429,
                "temporarily_unavailable",
                "Too many attempts to authenticate have failed; try again later",
            ),
            (Refusal::ResponseType, 400, "unsupported_response_type", "Invalid response_type"),
            (Refusal::ScopeNotText, 400, "invalid_scope", "scope must be a string"),
            (Refusal::UnknownScope("wot".to_owned()), 400, "invalid_scope", "'wot' is an invalid scope"),
            (Refusal::UnknownScope("w\"\\é\n".to_owned()), 400, "invalid_scope", "'w'???' is an invalid scope"),
            (Refusal::MissingScope, 400, "invalid_scope", "You must specify a scope"),
            (Refusal::ScopeMismatch, 400, "invalid_scope", "Scope mismatch"),
            (Refusal::InvalidClient(Mode::Parameters), 400, "invalid_client", "Invalid client authentication"),
            (Refusal::InvalidClient(Mode::Header), 401, "invalid_client", "Invalid client authentication"),
            (Refusal::UnauthorizedClient, 400, "unauthorized_client", "The client must not use this grant_type"),
            (Refusal::SecretOfPublicClient, 400, "invalid_request", "client_secret is disallowed for public clients"),
            (
                Refusal::RedirectUri,
                400,
                "invalid_request",
                "Invalid redirect_uri that does not match with any redirect_uri created with the application",
            ),
            (
                Refusal::MethodWithoutChallenge,
                400,
                "invalid_request",
                "code_challenge is required when code_method is present",
            ),
            (Refusal::ChallengeMethod, 400, "invalid_request", "code_challenge_method is not supported, must be S256"),
            (
                Refusal::MissingChallenge(ClientType::Public),
                400,
                "invalid_request",
                "code_challenge is required for public clients",
            ),
            (
                Refusal::MissingChallenge(ClientType::Confidential),
                400,
                "invalid_request",
                "code_challenge is required for confidential clients",
            ),
            (Refusal::GrantType, 400, "unsupported_grant_type", "Invalid grant_type"),
            (Refusal::InvalidCode(kong), 400, "invalid_request", "Invalid code"),
            (Refusal::InvalidCode(bcp), 400, "invalid_grant", "Invalid code"),
            (Refusal::InvalidRefreshToken(kong), 400, "invalid_request", "Invalid refresh_token"),
            (Refusal::InvalidRefreshToken(bcp), 400, "invalid_grant", "Invalid refresh_token"),
            (
                Refusal::MissingVerifier,
                400,
                "invalid_request",
                "code_verifier is required for PKCE authorization requests",
            ),
            (Refusal::VerifierNotText, 400, "invalid_request", "code_verifier is not a string"),
            (Refusal::VerifierLength, 400, "invalid_request", "code_verifier must be between 43 and 128 characters"),
            (Refusal::VerifierMismatch, 400, "invalid_grant", "Invalid code"),
            (Refusal::Missing("token"), 400, "invalid_request", "token is required"),
            (
                Refusal::NoResourceServer,
                403,
                "access_denied",
                "The client must not introspect tokens; its credential needs resource_server",
            ),
            (
                Refusal::TooManyIntrospections,
                429,
                "temporarily_unavailable",
                "The client introspects too many tokens; try again later",
            ),
            (Refusal::NoHost, 400, "invalid_request", "The request names no host"),
            (Refusal::Resource, 400, "invalid_target", "The requested resource is unknown or not granted"),
            (Refusal::MissingResource, 400, "invalid_target", "resource is required"),
            (
                Refusal::Thumbprint,
                400,
                "invalid_request",
                "dpop_jkt must be the SHA-256 thumbprint of a key, in base64url",
            ),
            (Refusal::Proof(Fault::Missing), 400, "invalid_dpop_proof", "A DPoP proof is required"),
            (Refusal::Proof(Fault::Nonce), 400, "use_dpop_nonce", "The DPoP proof must have a nonce of this server"),
            (Refusal::CertificateMissing, 400, "invalid_request", "The client must connect with a certificate"),
            (
                Refusal::OtherSender,
                400,
                "invalid_grant",
                "The code or refresh token is bound to another key or certificate",
            ),
            (
                Refusal::ScopeSyntax,
                400,
                "invalid_scope",
                "scope must be words of printable ASCII between single spaces",
            ),
            (Refusal::ScopeNotGranted("a\"b".to_owned()), 400, "invalid_scope", "'a'b' was not granted"),
            (
                Refusal::ScopeNotAllowed("admin".to_owned()),
                400,
                "invalid_scope",
                "'admin' is not allowed for this client",
            ),
            (Refusal::OpenRedirect, 400, "invalid_request", "redirect_uri must be https, or on a loopback address"),
            (Refusal::PrivateUseRedirect, 400, "invalid_request", "redirect_uri must have a host"),
        ] {
            let response = refusal.response();
            assert_eq!((response.status.as_u16(), response.error), (status, error), "{refusal:?}");
            assert_eq!(response.description, description);
            assert_eq!(response.challenge, (status == 401).then_some("Basic realm=\"OAuth2.0\""), "{refusal:?}");
        }
    }
}
