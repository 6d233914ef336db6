//! What a plugin instance permits beyond the current recommendations (RFC 9700, OAuth 2.1), one
//! behaviour a field. [`Profile::kong`] permits what clients of Kong's plugin may rely on.

/// Whether something is permitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// It is accepted.
    Permitted,
    /// It is refused.
    Refused,
}

/// Whether a code can be redeemed without naming the redirect URI it was sent to (RFC 6749 §4.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedirectBinding {
    /// Any registered URI will do, and none.
    Free,
    /// The token request repeats the URI of the authorization request.
    Bound,
}

/// What the use of a code or refresh token that is used up leads to (RFC 9700 §2.2.2, §4.14.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// It is refused.
    Refused,
    /// It is refused, and ends what the code or token gave before.
    EndsFamily,
}

/// What is made of a second way of presenting a token in one request (RFC 6750 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeveralTokens {
    /// The first place that is looked at wins.
    FirstWins,
    /// The request is refused.
    Refused,
}

/// The error that an unknown or used code or refresh token is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownGrant {
    /// `invalid_request`.
    InvalidRequest,
    /// `invalid_grant` (RFC 6749 §5.2).
    InvalidGrant,
}

/// Where a redirect URI that is not registered is complained about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadRedirect {
    /// At the first URI that is registered.
    ToFirstRegistered,
    /// In a plain answer, without any redirect (RFC 6749 §4.1.2.1).
    Plain,
}

/// Which ports of a loopback redirect URI are registered (RFC 8252 §7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoopbackPort {
    /// The one that is written there.
    Exact,
    /// All.
    Any,
}

/// Whether a token answer names the scope when it is not what was asked for (RFC 6749 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScopeInAnswer {
    /// Never.
    Absent,
    /// When it differs.
    WhenDifferent,
}

/// The behaviours. Those that have a configuration field of their own (`pkce`,
/// `hide_credentials`, the enabled grants) are not repeated here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Codes and the redirect URI they were sent to.
    pub redirect_binding: RedirectBinding,
    /// Client credentials grant for public clients.
    pub public_client_credentials: Permission,
    /// Second use of a code or refresh token.
    pub replay: Replay,
    /// A PKCE verifier for a code without challenge: permitted, it is ignored.
    pub verifier_without_challenge: Permission,
    /// Access tokens in the query.
    pub token_in_query: Permission,
    /// Access tokens in the body.
    pub token_in_body: Permission,
    /// Client secrets in the query.
    pub client_secret_in_query: Permission,
    /// Access tokens over plain HTTP.
    pub bearer_over_plain_http: Permission,
    /// Several ways of presenting a token at once.
    pub several_tokens: SeveralTokens,
    /// Unknown and used codes and refresh tokens.
    pub unknown_grant: UnknownGrant,
    /// Redirect URIs that are not registered.
    pub bad_redirect: BadRedirect,
    /// Loopback redirect URIs of native apps.
    pub loopback_port: LoopbackPort,
    /// `scope` in token answers.
    pub scope_in_answer: ScopeInAnswer,
    /// What stands as `iss` in authorization answers (RFC 9207); `None` leaves it out.
    pub issuer: Option<String>,
}

impl Profile {
    /// Everything that clients of Kong's plugin may do.
    pub fn kong() -> Self {
        Self {
            redirect_binding: RedirectBinding::Free,
            public_client_credentials: Permission::Permitted,
            replay: Replay::Refused,
            verifier_without_challenge: Permission::Permitted,
            token_in_query: Permission::Permitted,
            token_in_body: Permission::Permitted,
            client_secret_in_query: Permission::Permitted,
            bearer_over_plain_http: Permission::Permitted,
            several_tokens: SeveralTokens::FirstWins,
            unknown_grant: UnknownGrant::InvalidRequest,
            bad_redirect: BadRedirect::ToFirstRegistered,
            loopback_port: LoopbackPort::Exact,
            scope_in_answer: ScopeInAnswer::Absent,
            issuer: None,
        }
    }
}
