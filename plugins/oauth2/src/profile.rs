//! What a plugin instance permits beyond the current recommendations (RFC 9700, OAuth 2.1), one
//! field per behaviour (oauth2.md §7). The profile of an instance is decided only where its
//! configuration is checked, in [`config`](crate::config).

use serde::Deserialize;

/// The name of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Name {
    /// Everything that clients of Kong's plugin rely on.
    Kong,
    /// The current recommendations: RFC 9700, OAuth 2.1.
    Bcp,
}

/// Whether something is permitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Accepted.
    Permitted,
    /// Refused.
    Refused,
}

/// Whether a code can be redeemed without naming the redirect URI it was sent to (RFC 6749 §4.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedirectBinding {
    /// Any registered URI is accepted, and so is none.
    Free,
    /// The token request repeats the URI of the authorization request.
    Bound,
}

/// The error code for an unknown or used code or refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownGrant {
    /// `invalid_request`.
    InvalidRequest,
    /// `invalid_grant` (RFC 6749 §5.2).
    InvalidGrant,
}

/// Where an unregistered redirect URI is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadRedirect {
    /// To the first registered URI.
    ToFirstRegistered,
    /// In a plain response, without any redirect (RFC 6749 §4.1.2.1).
    Plain,
}

/// Which ports of a loopback redirect URI are registered (RFC 8252 §7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoopbackPort {
    /// Only the registered one.
    Exact,
    /// Any.
    Any,
}

/// Whether a token response names the scope if it differs from the requested one (RFC 6749 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScopeInResponse {
    /// Never.
    Absent,
    /// If it differs.
    WhenDifferent,
}

/// The behaviours. Those with a configuration field of their own (`pkce`,
/// `hide_credentials`, the enabled grants) are not repeated here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The redirect URI of a code exchange.
    pub redirect_binding: RedirectBinding,
    /// Client credentials grant for public clients.
    pub public_client_credentials: Permission,
    /// A PKCE verifier for a code without challenge: if permitted, it is ignored.
    pub verifier_without_challenge: Permission,
    /// Client secrets in the query.
    pub client_secret_in_query: Permission,
    /// The error code for unknown and used codes and refresh tokens.
    pub unknown_grant: UnknownGrant,
    /// Unregistered redirect URIs.
    pub bad_redirect: BadRedirect,
    /// Loopback redirect URIs of native apps.
    pub loopback_port: LoopbackPort,
    /// `scope` in token responses.
    pub scope_in_response: ScopeInResponse,
    /// The `iss` of authorization responses (RFC 9207); `None` omits it.
    pub issuer: Option<String>,
}

impl Profile {
    /// The behaviours of this profile.
    pub fn of(name: Name) -> Self {
        match name {
            Name::Kong | Name::Bcp => Self::kong(),
        }
    }

    fn kong() -> Self {
        Self {
            redirect_binding: RedirectBinding::Free,
            public_client_credentials: Permission::Permitted,
            verifier_without_challenge: Permission::Permitted,
            client_secret_in_query: Permission::Permitted,
            unknown_grant: UnknownGrant::InvalidRequest,
            bad_redirect: BadRedirect::ToFirstRegistered,
            loopback_port: LoopbackPort::Exact,
            scope_in_response: ScopeInResponse::Absent,
            issuer: None,
        }
    }
}
