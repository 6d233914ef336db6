//! What the audit log says of a request at an endpoint: what was issued, and whom it refused.
//!
//! Requests that are malformed, and those that failed on our side, are in the access log alone.

use tollgate_core::request::Request;
use tollgate_plugin::audit::{Action, Event, Outcome};
use uuid::Uuid;

use crate::error::{Error, Refusal};

/// Whom a request was about.
pub(super) struct Subject<'r> {
    /// The plugin instance.
    pub(super) plugin: Uuid,
    /// The credential that it named, if there is one.
    pub(super) credential: Option<Uuid>,
    /// Its grant.
    pub(super) grant: &'static str,
    /// The request.
    pub(super) request: &'r Request<'r>,
}

impl Subject<'_> {
    /// A code or token was issued; `id` is that of the token's row.
    pub(super) fn issued(&self, action: Action, id: Option<Uuid>) -> Event {
        let mut event = self.event(action, Outcome::Done);
        event.id = id;
        event
    }

    /// A second use of a code or refresh token has revoked the token of this row.
    pub(super) fn replayed(&self, id: Uuid) -> Event {
        let mut event = self.event(Action::TokenRevoked, Outcome::Done);
        event.id = Some(id);
        event.reason = Some("replayed");
        event
    }

    /// The request was refused; `None` if that is no matter of credentials.
    pub(super) fn refused(&self, error: &Error) -> Option<Event> {
        let Error::Refused(refusal) = error else { return None };
        let mut event = self.event(action(refusal)?, Outcome::Refused);
        event.reason = Some(refusal.response().reason);
        Some(event)
    }

    fn event(&self, action: Action, outcome: Outcome) -> Event {
        let mut event = Event::new(action, outcome);
        event.client = Some(self.request.client.to_canonical());
        event.grant = Some(self.grant);
        event.credential = self.credential;
        event.service = self.request.target.service_id;
        event.plugin = Some(self.plugin);
        event
    }
}

fn action(refusal: &Refusal) -> Option<Action> {
    match refusal {
        Refusal::InvalidClient(_)
        | Refusal::UnauthorizedClient
        | Refusal::NoResourceServer
        | Refusal::SecretOfPublicClient
        | Refusal::ProvisionKey => Some(Action::ClientRefused),
        Refusal::InvalidCode(_) | Refusal::InvalidRefreshToken(_) | Refusal::VerifierMismatch => {
            Some(Action::GrantRefused)
        }
        _ => None,
    }
}
