//! What a plugin instance permits beyond the current recommendations (RFC 9700, OAuth 2.1), one
//! field per behaviour (oauth2.md §7). The profile of an instance is decided only where its
//! configuration is checked, in [`config`](crate::config).

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use tollgate_core::setting::{Setting, SettingError, SettingValues};

/// The name of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Name {
    /// Everything that clients of Kong's plugin rely on.
    #[default]
    Kong,
    /// The current recommendations: RFC 9700, OAuth 2.1.
    Bcp,
}

/// The profile of instances that name none, and what it says of credentials, which belong to no instance.
pub const DEFAULT: Setting = Setting::new(
    "oauth2_default_profile",
    "kong",
    "Profile of oauth2 plugins that name none: `kong`, or `bcp` for the current recommendations (RFC 9700).",
)
.checked(|text| text.parse::<Name>().map(drop));

/// Reads [`DEFAULT`].
///
/// # Errors
/// It is missing or wrong.
pub fn default_in(settings: &SettingValues) -> Result<Name, SettingError> {
    settings.read(DEFAULT.path, str::parse)
}

impl FromStr for Name {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "kong" => Ok(Self::Kong),
            "bcp" => Ok(Self::Bcp),
            _ => Err("expected kong or bcp".to_owned()),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kong => "kong",
            Self::Bcp => "bcp",
        })
    }
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownGrant {
    /// `invalid_request`.
    InvalidRequest,
    /// `invalid_grant` (RFC 6749 §5.2).
    InvalidGrant,
}

/// Where an unregistered redirect URI is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BadRedirect {
    /// To the first registered URI.
    #[serde(rename = "redirect")]
    ToFirstRegistered,
    /// In a plain response, without any redirect (RFC 6749 §4.1.2.1).
    Plain,
}

/// Which ports of a loopback redirect URI are registered (RFC 8252 §7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
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

/// Whether `iss` is in authorization responses (RFC 9207).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IssuerInResponse {
    /// It is not.
    Absent,
    /// It is.
    Present,
}

/// What follows when a code or refresh token is used a second time (RFC 9700 §2.2.2, RFC 6749 §4.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Replay {
    /// The second use is refused, and nothing else.
    Ignore,
    /// All tokens that descend from it end as well.
    Revoke,
}

/// What follows when a request presents a token in two ways at once (RFC 6750 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MultipleTokens {
    /// The first is used: header, body, query.
    First,
    /// The request is refused.
    Refuse,
}

/// What follows when a client authenticates in two ways at once (RFC 6749 §2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MultipleAuthentications {
    /// The first is used (oauth2.md §3.6).
    First,
    /// The request is refused.
    Refuse,
}

/// What a parameter without a value is (RFC 6749 §3.1, §3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmptyParameters {
    /// A parameter with an empty value.
    Kept,
    /// None.
    Omitted,
}

/// What the `scope` of a refresh means (RFC 6749 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshScope {
    /// Nothing.
    Ignored,
    /// The scope of the new access token, which may be narrower than the granted one.
    Narrows,
}

/// How a requested `scope` is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScopeSyntax {
    /// Words between white space of any kind, kept as often as they are requested.
    Lenient,
    /// The grammar of RFC 6749 §3.3: words between single spaces, each of which counts once.
    Strict,
}

/// How many of the required scopes a token needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Match {
    /// One of them.
    Any,
    /// Each of them.
    #[default]
    All,
}

/// The behaviours. Those with a field of the contract (`pkce`, `hide_credentials`, the enabled grants) are not
/// repeated here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The redirect URI of a code exchange.
    pub redirect_binding: RedirectBinding,
    /// Client credentials grant for public clients.
    pub public_client_credentials: Permission,
    /// A second use of a code or refresh token.
    pub replay: Replay,
    /// A PKCE verifier for a code without challenge: if permitted, it is ignored.
    pub verifier_without_challenge: Permission,
    /// Access tokens in the query.
    pub token_in_query: Permission,
    /// Access tokens in the body.
    pub token_in_body: Permission,
    /// Client secrets in the query.
    pub client_secret_in_query: Permission,
    /// Several ways of authentication of a client at once.
    pub multiple_authentications: MultipleAuthentications,
    /// Access tokens in requests that did not come over HTTPS.
    pub bearer_over_http: Permission,
    /// A token presented in two ways at once.
    pub multiple_tokens: MultipleTokens,
    /// The error code for unknown and used codes and refresh tokens.
    pub unknown_grant: UnknownGrant,
    /// Unregistered redirect URIs.
    pub bad_redirect: BadRedirect,
    /// Loopback redirect URIs of native apps.
    pub loopback_port: LoopbackPort,
    /// Redirect URIs of native apps without a host (RFC 8252 §7.1).
    pub private_use_redirect: Permission,
    /// Redirect URIs that are `http`, but for loopback addresses (RFC 9700 §2.6).
    pub http_redirect: Permission,
    /// Parameters without a value.
    pub empty_parameters: EmptyParameters,
    /// The `scope` of a refresh.
    pub refresh_scope: RefreshScope,
    /// The `scope` of all other requests.
    pub scope_syntax: ScopeSyntax,
    /// `scope` in token responses.
    pub scope_in_response: ScopeInResponse,
    /// `iss` in authorization responses.
    pub issuer_in_response: IssuerInResponse,
}

impl Profile {
    /// The behaviours of this profile.
    pub fn of(name: Name) -> Self {
        match name {
            Name::Kong => Self::kong(),
            Name::Bcp => Self::bcp(),
        }
    }

    fn kong() -> Self {
        Self {
            redirect_binding: RedirectBinding::Free,
            public_client_credentials: Permission::Permitted,
            replay: Replay::Ignore,
            verifier_without_challenge: Permission::Permitted,
            token_in_query: Permission::Permitted,
            token_in_body: Permission::Permitted,
            client_secret_in_query: Permission::Permitted,
            multiple_authentications: MultipleAuthentications::First,
            bearer_over_http: Permission::Permitted,
            multiple_tokens: MultipleTokens::First,
            unknown_grant: UnknownGrant::InvalidRequest,
            bad_redirect: BadRedirect::ToFirstRegistered,
            loopback_port: LoopbackPort::Exact,
            private_use_redirect: Permission::Refused,
            http_redirect: Permission::Permitted,
            empty_parameters: EmptyParameters::Kept,
            refresh_scope: RefreshScope::Ignored,
            scope_syntax: ScopeSyntax::Lenient,
            scope_in_response: ScopeInResponse::Absent,
            issuer_in_response: IssuerInResponse::Absent,
        }
    }

    fn bcp() -> Self {
        Self {
            redirect_binding: RedirectBinding::Bound,
            public_client_credentials: Permission::Refused,
            replay: Replay::Revoke,
            verifier_without_challenge: Permission::Refused,
            token_in_query: Permission::Refused,
            token_in_body: Permission::Refused,
            client_secret_in_query: Permission::Refused,
            multiple_authentications: MultipleAuthentications::Refuse,
            bearer_over_http: Permission::Refused,
            multiple_tokens: MultipleTokens::Refuse,
            unknown_grant: UnknownGrant::InvalidGrant,
            bad_redirect: BadRedirect::Plain,
            loopback_port: LoopbackPort::Any,
            private_use_redirect: Permission::Permitted,
            http_redirect: Permission::Permitted,
            empty_parameters: EmptyParameters::Omitted,
            refresh_scope: RefreshScope::Narrows,
            scope_syntax: ScopeSyntax::Strict,
            scope_in_response: ScopeInResponse::WhenDifferent,
            issuer_in_response: IssuerInResponse::Present,
        }
    }
}
