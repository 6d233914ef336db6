//! The authorization server's endpoints: two that are present on every protected route (oauth2.md §3), and those that
//! the instance names.
//!
//! [`path`] recognises them. This module refuses other methods, responds to preflights and has the body read; the
//! requests themselves are handled in the file of each endpoint.

use std::fmt;
use std::sync::{Arc, PoisonError};

use http::{HeaderValue, Method};
use prometheus::{IntCounter, IntCounterVec};
use tollgate_core::plugin::Verdict;
use tollgate_core::reply::Reply;
use tollgate_core::request::{Request, RequestBody};
use tollgate_plugin::AuditLog;
use tollgate_plugin::bearer;
use tollgate_plugin::presented::Presented;
use uuid::Uuid;

use crate::callers::Callers;
use crate::client::{self, AuthenticatedClient, Credentials};
use crate::client_secret::SecretVerifier;
use crate::config::Config;
use crate::config::sender::Requirement;
use crate::deviations::Deviations;
use crate::dpop::DPOP_NONCE;
use crate::entity::credential::Credential;
use crate::error::{Error, Refusal};
use crate::grant::Grantor;
use crate::guard;
use crate::guesses::Guesses;
use crate::https;
use crate::introspection_rate::IntrospectionRate;
use crate::issuer::Issuer;
use crate::parameters::Parameters;
use crate::profile::EmptyParameters;
use crate::registrar::Registrar;
use crate::sender::Proofs;

mod authorize;
mod client_call;
mod consent;
mod cross_origin;
mod device;
mod device_authorization;
mod introspect;
mod jwks;
mod metadata;
mod par;
pub mod path;
mod record;
mod register;
mod response;
mod revoke;
mod sender_metadata;
mod token;

use record::Subject;
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
    /// `…/oauth2/introspect`
    Introspect,
    /// `…/oauth2/revoke`
    Revoke,
    /// `/.well-known/oauth-authorization-server`
    Metadata,
    /// `/.well-known/oauth-protected-resource`
    ResourceMetadata,
    /// `…/oauth2/par`
    PushedAuthorization,
    /// `…/oauth2/device_authorization`
    DeviceAuthorization,
    /// `…/oauth2/device`: the hook of the page that users visit.
    Device,
    /// `…/oauth2/register`
    Register,
    /// `…/oauth2/register/{client_id}`
    RegisteredClient,
    /// `…/oauth2/jwks`
    Jwks,
    /// `…/oauth2/consent`, where scopes are described.
    Consent,
}

impl fmt::Display for Endpoint {
    /// The endpoint's name in error texts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Authorize => "authorization",
            Self::Token => "token",
            Self::Introspect => "introspection",
            Self::Revoke => "revocation",
            Self::Metadata => "metadata",
            Self::ResourceMetadata => "resource metadata",
            Self::PushedAuthorization => "pushed authorization request",
            Self::DeviceAuthorization => "device authorization",
            Self::Device => "device verification",
            Self::Register => "registration",
            Self::RegisteredClient => "client configuration",
            Self::Jwks => "key",
            Self::Consent => "consent",
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
    /// What the guards of this node know about tokens.
    pub guard: Arc<guard::Shared>,
    /// Limits introspections.
    pub introspections: IntrospectionRate,
    /// Counts those above the limit.
    pub introspections_limited: IntCounter,
    /// What clients prove of their keys.
    pub proofs: Arc<Proofs>,
    /// Registers clients.
    pub registrar: Arc<Registrar>,
    /// Limits what clients leave for users to decide about.
    pub waiting_limit: Guesses,
    /// Counts requests for which too many secrets were waiting.
    pub overloaded: IntCounter,
    /// Counts requests by `grant` and `outcome`, including refused ones.
    pub issued: IntCounterVec,
    /// Counts what profile `bcp` would refuse.
    pub deviations: Arc<Deviations>,
    /// The names of clients in the access log.
    pub callers: Callers,
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
        if let Some(reply) = cross_origin::preflight(config, endpoint, request) {
            return Verdict::Reply(reply);
        }
        let has_body = matches!(*request.method, Method::POST | Method::PUT);
        let reply = if !endpoint.methods().contains(request.method) {
            response::invalid_method(endpoint, request.method, config.realm.as_deref())
        } else if has_body && request.body == RequestBody::Unread {
            return Verdict::NeedBody { limit: BODY_LIMIT, terminal: true };
        } else {
            self.reply(plugin_id, config, endpoint, request).await
        };
        Verdict::Reply(cross_origin::open(config, endpoint, reply))
    }

    async fn reply(&self, plugin_id: Uuid, config: &Config, endpoint: Endpoint, request: &Request<'_>) -> Reply {
        match endpoint {
            Endpoint::Token => token::respond(self, plugin_id, config, request).await,
            Endpoint::Consent => consent::respond(self, plugin_id, config, request).await,
            Endpoint::Authorize => authorize::respond(self, plugin_id, config, request).await,
            Endpoint::Introspect => introspect::respond(self, plugin_id, config, request).await,
            Endpoint::Revoke => revoke::respond(self, plugin_id, config, request).await,
            Endpoint::Metadata => metadata::authorization_server(config, request),
            Endpoint::ResourceMetadata => metadata::resource(config, request),
            Endpoint::PushedAuthorization => par::respond(self, plugin_id, config, request).await,
            Endpoint::DeviceAuthorization => device_authorization::respond(self, plugin_id, config, request).await,
            Endpoint::Device => device::respond(self, plugin_id, config, request).await,
            Endpoint::Jwks => jwks::respond(self).await,
            Endpoint::Register => register::respond(self, plugin_id, config, request).await,
            Endpoint::RegisteredClient => register::respond_to_client(self, plugin_id, config, request).await,
        }
    }

    /// A client that proves a key needs a nonce for its next proof (RFC 9449 §8.2).
    fn with_nonce(&self, config: &Config, reply: Reply) -> Reply {
        if !config.sender.nonce || config.sender.dpop == Requirement::Off {
            return reply;
        }
        let nonce = self.proofs.nonces.current(self.issuer.clock.now());
        match HeaderValue::try_from(nonce) {
            Ok(nonce) => reply.with_header(DPOP_NONCE, nonce),
            Err(_) => reply,
        }
    }

    /// Counts what profile `bcp` would have refused of a call that a client has made for itself, and issues nothing.
    fn note_call(
        &self,
        plugin_id: Uuid,
        config: &Config,
        (parameters, request): (&Parameters, &Request<'_>),
        credential: Option<Uuid>,
    ) {
        if config.counted.is_some() {
            let grantor = Grantor::new(&self.issuer, &self.guesses, plugin_id, config, request);
            count_authentication(&grantor, parameters, request);
            self.note(&grantor, credential);
        }
    }

    /// Tells the access log which client a request names. The id of its credential.
    async fn note_caller(&self, credential: Option<&Credential>, request: &Request<'_>) -> Option<Uuid> {
        if let Some(credential) = credential {
            self.callers.note(credential.id, &credential.client_id, request).await;
        }
        credential.map(|credential| credential.id)
    }

    /// Counts what profile `bcp` would have refused of a request that was accepted.
    fn note(&self, grantor: &Grantor<'_>, credential: Option<Uuid>) {
        let deviations = grantor.deviations.lock().unwrap_or_else(PoisonError::into_inner);
        deviations.iter().for_each(|behaviour| self.deviations.note(behaviour, grantor.plugin_id, credential));
    }

    /// Records the tokens that a second use of a code or refresh token has ended.
    fn record_replay(
        &self,
        grantor: &Grantor<'_>,
        credential: Option<Uuid>,
        grant: &'static str,
        request: &Request<'_>,
    ) {
        let ended = grantor.ended.lock().unwrap_or_else(PoisonError::into_inner);
        for id in ended.iter() {
            let subject = Subject { plugin: grantor.plugin_id, credential, grant, request };
            self.audit_log.write(&subject.replayed(*id));
            tracing::warn!(
                grant,
                token = %id,
                plugin = %grantor.plugin_id,
                "a code or refresh token was used a second time: its tokens are revoked"
            );
        }
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

/// The first steps of the endpoints that echo a state: parameters, state, and refusal of malformed requests.
fn begin(config: &Config, request: &Request<'_>) -> (Parameters, State, Result<(), Refusal>) {
    let (parameters, verdict) = read(config, request);
    let (state, state_verdict) = match State::of(&parameters) {
        Ok(state) => (state, Ok(())),
        Err(refusal) => (State::default(), Err(refusal)),
    };
    (parameters, state, verdict.and(state_verdict))
}

/// The first steps of every endpoint: parameters, and refusal of malformed requests.
fn read(config: &Config, request: &Request<'_>) -> (Parameters, Result<(), Refusal>) {
    let parameters = Parameters::read(request);
    let parameters = match config.profile.empty_parameters {
        EmptyParameters::Kept => parameters,
        EmptyParameters::Omitted => parameters.without_empty(),
    };
    let in_header = config.auth_header.as_ref().map(|header| bearer::in_header(header, request));
    let verdict = https::require(config, request).and_then(|()| match (&request.body, parameters.repeated()) {
        _ if in_header == Some(Presented::Several) => Err(Refusal::SeveralCredentials),
        (RequestBody::TooLarge, _) => Err(Refusal::TooLarge),
        (_, Some(name)) => Err(Refusal::Repeated(name)),
        (_, None) => Ok(()),
    });
    (parameters, verdict)
}

/// The credential that a request names, if there is one, and the client if it has authenticated.
async fn authenticated(
    server: &AuthorizationServer,
    config: &Config,
    request: &Request<'_>,
    parameters: &Parameters,
) -> (Option<Uuid>, Result<AuthenticatedClient, Error>) {
    let credentials = server.credentials.as_ref();
    match client::identify(
        config,
        parameters,
        request,
        credentials,
        (&server.verifier, &server.guesses, &server.proofs),
    )
    .await
    {
        Err(error) => {
            if matches!(error, Error::Overloaded(_)) {
                server.overloaded.inc();
            }
            (None, Err(error))
        }
        Ok(identification) => {
            let mode = identification.mode();
            let credential = server.note_caller(identification.credential(), request).await;
            let client = identification.authenticated();
            let client = client.and_then(|client| client.ok_or(Refusal::InvalidClient(mode)));
            (credential, client.map_err(Error::from))
        }
    }
}

/// Counts what profile `bcp` would have refused of how the client of an accepted request has authenticated.
fn count_authentication(grantor: &Grantor<'_>, parameters: &Parameters, request: &Request<'_>) {
    grantor.count("client_secret_in_query", |config| client::check_place_of_secret(config, parameters));
    grantor.count("multiple_authentications", |config| client::check_ways(config, parameters, request));
}

#[cfg(test)]
pub(crate) mod tests;
