//! The authorization server's two endpoints, present on every protected route (oauth2.md §3).
//!
//! This module recognises the path, refuses other methods and reads the body; the requests
//! themselves are handled in [`token`] and [`authorize`].

use std::fmt;
use std::sync::Arc;

use http::Method;
use prometheus::{IntCounter, IntCounterVec};
use tollgate_core::plugin::Verdict;
use tollgate_core::request::{Request, RequestBody};
use tollgate_plugin::AuditLog;
use tollgate_plugin::bearer;
use tollgate_plugin::presented::Presented;
use uuid::Uuid;

use crate::client::Credentials;
use crate::client_secret::SecretVerifier;
use crate::config::Config;
use crate::error::{Error, Refusal};
use crate::guesses::Guesses;
use crate::issuer::Issuer;
use crate::parameters::Parameters;

mod authorize;
mod https;
mod record;
mod response;
mod token;

use response::State;

/// The largest accepted body. Legitimate requests have a few hundred bytes.
const BODY_LIMIT: usize = 1024 * 1024;

/// One of the endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `…/oauth2/authorize`
    Authorize,
    /// `…/oauth2/token`
    Token,
}

impl Endpoint {
    /// The endpoint of a normalised path, with any prefix (oauth2.md §3.1).
    pub fn of_path(path: &str) -> Option<Self> {
        let path = path.strip_suffix('/').unwrap_or(path);
        if path.ends_with("/oauth2/token") {
            Some(Self::Token)
        } else if path.ends_with("/oauth2/authorize") {
            Some(Self::Authorize)
        } else {
            None
        }
    }
}

impl fmt::Display for Endpoint {
    /// The endpoint's name in error texts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Authorize => "authorization",
            Self::Token => "token",
        })
    }
}

/// The authorization server of a node, shared by all plugin instances.
pub struct AuthorizationServer {
    /// Issues tokens and codes.
    pub issuer: Issuer,
    /// The clients' credentials.
    pub credentials: Arc<dyn Credentials>,
    /// Verifies client secrets.
    pub verifier: SecretVerifier,
    /// Limits guesses of secrets.
    pub guesses: Guesses,
    /// Counts requests for which too many secrets were waiting.
    pub overloaded: IntCounter,
    /// Counts requests by `grant` and `outcome`, including refused ones.
    pub issued: IntCounterVec,
    /// Where what is issued, and who is refused, is recorded.
    pub audit_log: Arc<dyn AuditLog>,
}

impl AuthorizationServer {
    /// Responds to a request at an endpoint of the plugin instance `plugin_id`. Never lets it pass.
    pub async fn respond(
        &self,
        plugin_id: Uuid,
        config: &Config,
        endpoint: Endpoint,
        request: &Request<'_>,
    ) -> Verdict {
        if request.method != Method::POST {
            return Verdict::Reply(response::invalid_method(endpoint, request.method, config.realm.as_deref()));
        }
        if request.body == RequestBody::Unread {
            return Verdict::NeedBody { limit: BODY_LIMIT, terminal: true };
        }
        Verdict::Reply(match endpoint {
            Endpoint::Token => token::respond(self, plugin_id, config, request).await,
            Endpoint::Authorize => authorize::respond(self, plugin_id, config, request).await,
        })
    }

    fn count(&self, grant: &str, outcome: Outcome) {
        let outcome = match outcome {
            Outcome::Issued => "issued",
            Outcome::Refused => "refused",
            Outcome::Failed => "failed",
        };
        self.issued.with_label_values(&[grant, outcome]).inc();
    }
}

/// The outcome of a request, for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Issued,
    Refused,
    Failed,
}

impl From<&Error> for Outcome {
    fn from(error: &Error) -> Self {
        if matches!(error, Error::Refused(_)) { Self::Refused } else { Self::Failed }
    }
}

/// The first steps of both endpoints: parameters, state, and refusal of malformed
/// requests.
fn begin(config: &Config, request: &Request<'_>) -> (Parameters, State, Result<(), Refusal>) {
    let parameters = Parameters::read(request);
    let (state, state_verdict) = match State::of(&parameters) {
        Ok(state) => (state, Ok(())),
        Err(refusal) => (State::default(), Err(refusal)),
    };
    let in_header = config.auth_header.as_ref().map(|header| bearer::in_header(header, request));
    let verdict = https::require(config, request).and_then(|()| match (&request.body, parameters.repeated()) {
        _ if in_header == Some(Presented::Several) => Err(Refusal::SeveralCredentials),
        (RequestBody::TooLarge, _) => Err(Refusal::TooLarge),
        (_, Some(name)) => Err(Refusal::Repeated(name)),
        (_, None) => state_verdict,
    });
    (parameters, state, verdict)
}

#[cfg(test)]
pub(crate) mod tests;
