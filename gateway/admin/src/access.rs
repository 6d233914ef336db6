//! Who may do what: every request is refused here, or has a [`Caller`].
//!
//! 1. Pages of other origins, and other hosts, are refused ([`BrowserRules`]).
//! 2. With tokens, a request presents one, as `Authorization: Bearer` or `Kong-Admin-Token`; the token's role decides
//!    whether it may write.
//! 3. Without tokens, a client certificate names the caller; without either, whoever reaches the listener may do
//!    everything. The settings permit that on loopback only.

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use tollgate_core::audit::{Action, Event, Outcome};

use crate::admin_token::{AdminTokens, Role};
use crate::browser::{BrowserRules, Foreign};
use crate::peer::{Peer, Transport};
use crate::response::Failure;

const KONG_ADMIN_TOKEN: HeaderName = HeaderName::from_static("kong-admin-token");

/// How callers prove who they are.
#[derive(Clone, Default)]
pub enum Authentication {
    /// Not at all, or with the client certificate that the listener requires.
    #[default]
    Connection,
    /// With an admin token.
    Tokens(AdminTokens),
}

/// The rules of one listener.
#[derive(Clone, Default)]
pub struct Access {
    /// What web pages may do.
    pub browser: BrowserRules,
    /// How callers prove who they are.
    pub authentication: Authentication,
}

/// Who sent a request, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// For the audit log.
    pub(crate) name: String,
    pub(crate) role: Role,
}

impl Caller {
    /// Refuses a reader that wants to write.
    pub(crate) fn require_write(&self) -> Result<(), Failure> {
        match self.role {
            Role::Write => Ok(()),
            Role::Read => Err(Failure::RoleInsufficient),
        }
    }
}

impl Access {
    /// The caller; refusals are failures with 401 or 403, a store that cannot be asked is 503.
    pub(crate) async fn caller(&self, headers: &HeaderMap, peer: Option<&Peer>) -> Result<Caller, Failure> {
        let Authentication::Tokens(tokens) = &self.authentication else {
            let name = match peer.map(|peer| &peer.transport) {
                Some(Transport::TlsWithCertificate(subject)) => format!("certificate:{subject}"),
                _ => "anonymous".to_owned(),
            };
            return Ok(Caller { name, role: Role::Write });
        };
        let presented = presented(headers)?.ok_or(Failure::TokenMissing)?;
        let found = tokens.find(presented).await?.ok_or(Failure::TokenUnknown)?;
        Ok(Caller { name: format!("token:{}", found.name), role: found.role })
    }
}

/// The token of a request; several different ones are refused.
fn presented(headers: &HeaderMap) -> Result<Option<&str>, Failure> {
    let bearer = headers.get_all(AUTHORIZATION).iter().map(bearer);
    let own = headers.get_all(KONG_ADMIN_TOKEN).iter().map(|value| value.to_str().ok().map(str::trim));
    let mut found = None;
    for value in bearer.chain(own) {
        let value = value.ok_or(Failure::TokenUnknown)?;
        if found.is_some_and(|other| other != value) {
            return Err(Failure::TokenUnknown);
        }
        found = Some(value);
    }
    Ok(found)
}

fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

impl From<Foreign> for Failure {
    fn from(foreign: Foreign) -> Self {
        match foreign {
            Foreign::Host => Self::HostNotAllowed,
            Foreign::Origin => Self::OriginNotAllowed,
        }
    }
}

/// The event of a request that was refused for who sent it; `None` for other failures.
pub(crate) fn refusal(failure: &Failure, actor: Option<&str>, peer: Option<&Peer>) -> Option<Event> {
    let reason = match failure {
        Failure::HostNotAllowed => "host_not_allowed",
        Failure::OriginNotAllowed => "origin_not_allowed",
        Failure::TokenMissing => "token_missing",
        Failure::TokenUnknown => "token_unknown",
        Failure::RoleInsufficient => "role_insufficient",
        Failure::PeerNotLocal => "peer_not_local",
        _ => return None,
    };
    let mut event = Event::new(Action::AdminRefused, Outcome::Refused);
    event.actor = actor.map(str::to_owned);
    event.client = peer.map(Peer::ip);
    event.reason = Some(reason);
    Some(event)
}
