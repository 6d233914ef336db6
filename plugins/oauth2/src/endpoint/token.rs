//! The token endpoint (RFC 6749 §3.2, oauth2.md §3.6b).
//!
//! 1. HTTPS, and no parameter twice; a failure ends the request.
//! 2. The grant is known and enabled.
//! 3. The client is known, with a registered redirect URI (not for the client credentials and device grants).
//! 4. The client is authenticated.
//! 5. What the client proves of its key or certificate ([`sender`]).
//! 6. The checks of the grant itself.
//!
//! Of 2 to 4 the last failure is reported. The client is looked up and its secret verified before
//! anything is reported, so that every refusal takes the same work.

use std::str::FromStr;

use tollgate_core::reply::Reply;
use tollgate_core::request::Request;
use tollgate_plugin::audit::Action;
use uuid::Uuid;

use crate::callers::note_token;
use crate::client::{self, AuthenticatedClient, Identification};
use crate::client_metadata::DEVICE_CODE;
use crate::config::Config;
use crate::config::endpoints::Name;
use crate::endpoint::record::Subject;
use crate::endpoint::response::{self};
use crate::endpoint::{AuthorizationServer, Endpoint, Outcome, begin, count_authentication};
use crate::error::{Error, Refusal};
use crate::grant::{Grantor, authorization_code, client_credentials, device_code, password, refresh_token};
use crate::issuer::Issued;
use crate::parameters::{Parameter, Parameters};
use crate::redirect_uri;
use crate::sender::{self, Proofs};

/// A grant of the token endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GrantType {
    AuthorizationCode,
    ClientCredentials,
    Password,
    RefreshToken,
    DeviceCode,
}

impl FromStr for GrantType {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        if name == DEVICE_CODE {
            return Ok(Self::DeviceCode);
        }
        [Self::AuthorizationCode, Self::ClientCredentials, Self::Password, Self::RefreshToken]
            .into_iter()
            .find(|grant| grant.as_str() == name)
            .ok_or(())
    }
}

impl GrantType {
    /// Its name in metrics and in the audit log, and but for the device grant in requests.
    fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::ClientCredentials => "client_credentials",
            Self::Password => "password",
            Self::RefreshToken => "refresh_token",
            Self::DeviceCode => "device_code",
        }
    }

    /// Its name in requests.
    fn name(self) -> &'static str {
        if self == Self::DeviceCode { DEVICE_CODE } else { self.as_str() }
    }

    /// Codes and refresh tokens are exchanged until they expire, whatever is enabled by then.
    fn is_enabled(self, config: &Config) -> bool {
        match self {
            Self::AuthorizationCode | Self::RefreshToken => true,
            Self::ClientCredentials => config.enable_client_credentials,
            Self::Password => config.enable_password_grant,
            Self::DeviceCode => config.endpoints.names.has(Name::Device),
        }
    }
}

pub(super) async fn respond(
    server: &AuthorizationServer,
    plugin_id: Uuid,
    config: &Config,
    request: &Request<'_>,
) -> Reply {
    let (parameters, state, verdict) = begin(config, request);
    let grant = parameters.text("grant_type").and_then(|name| name.parse().ok());
    let (credential, result) = match verdict {
        Ok(()) => exchange(server, plugin_id, config, grant, &parameters, request).await,
        Err(refusal) => (None, Err(refusal.into())),
    };
    let name = grant.map_or("unknown", GrantType::as_str);
    server.count(name, result.as_ref().err().map_or(Outcome::Issued, Outcome::from));
    if matches!(result, Err(Error::Overloaded(_))) {
        server.overloaded.inc();
    }
    let subject = Subject { plugin: plugin_id, credential, grant: name, request };
    let event = match &result {
        Ok(issued) => Some(subject.issued(action(grant), Some(issued.id))),
        Err(error) => subject.refused(error),
    };
    event.iter().for_each(|event| server.audit_log.write(event));
    let reply = match result {
        Ok(issued) => {
            note_token(issued.access_token.expose(), request);
            response::issued(&issued, &state)
        }
        Err(error) => response::failed(Endpoint::Token, &error, &state),
    };
    server.with_nonce(config, reply)
}

fn action(grant: Option<GrantType>) -> Action {
    if grant == Some(GrantType::RefreshToken) { Action::TokenRefreshed } else { Action::TokenIssued }
}

/// The credential that the request named, if there is one, and the result.
async fn exchange(
    server: &AuthorizationServer,
    plugin_id: Uuid,
    config: &Config,
    grant: Option<GrantType>,
    parameters: &Parameters,
    request: &Request<'_>,
) -> (Option<Uuid>, Result<Issued, Error>) {
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
        Err(error) => (None, Err(error)),
        Ok(identification) => {
            let credential = server.note_caller(identification.credential(), request).await;
            let mut grantor = Grantor::new(&server.issuer, &server.guesses, plugin_id, config, request);
            let result = issue(&mut grantor, (&server.proofs, request), identification, grant, parameters).await;
            if result.is_ok() {
                count_authentication(&grantor, parameters, request);
                server.note(&grantor, credential);
            }
            server.record_replay(&grantor, credential, grant.map_or("unknown", GrantType::as_str), request);
            (credential, result)
        }
    }
}

async fn issue(
    grantor: &mut Grantor<'_>,
    (proofs, request): (&Proofs, &Request<'_>),
    identification: Identification,
    grant: Option<GrantType>,
    parameters: &Parameters,
) -> Result<Issued, Error> {
    let config = grantor.config;
    let enabled = grant.filter(|grant| grant.is_enabled(config)).ok_or(Refusal::GrantType);
    let mode = identification.mode();
    let redirect = match grant {
        // Neither is sent anywhere: such clients need no address.
        Some(GrantType::ClientCredentials | GrantType::DeviceCode) => Ok(()),
        _ => known_with_redirect_uri(config, &identification, parameters),
    };
    let client = identification.authenticated()?;
    redirect?;
    let enabled = enabled?;
    if client.as_ref().is_some_and(|client| !client.credential().may_use(enabled.name())) {
        return Err(Refusal::UnauthorizedClient.into());
    }
    grantor.proved = sender::prove(proofs, config, request, grantor.now).await?;
    if let Some(client) = &client {
        sender::require_always(client.credential().registered.always, &grantor.proved)?;
    }

    let known = |client: Option<AuthenticatedClient>| client.ok_or(Refusal::InvalidClient(mode));
    match enabled {
        GrantType::ClientCredentials => client_credentials::exchange(grantor, client, parameters).await,
        GrantType::AuthorizationCode => authorization_code::exchange(grantor, &known(client)?, parameters).await,
        GrantType::Password => password::exchange(grantor, &known(client)?, parameters).await,
        GrantType::DeviceCode => device_code::exchange(grantor, &known(client)?, parameters).await,
        GrantType::RefreshToken => refresh_token::exchange(grantor, &known(client)?, parameters).await,
    }
}

/// Check 3.
fn known_with_redirect_uri(
    config: &Config,
    identification: &Identification,
    parameters: &Parameters,
) -> Result<(), Refusal> {
    let registered = identification.credential().map(|credential| credential.redirect_uris.as_slice());
    let Some(registered) = registered.filter(|uris| !uris.is_empty()) else {
        return Err(Refusal::InvalidClient(identification.mode()));
    };
    match parameters.get("redirect_uri").map(Parameter::text) {
        None => Ok(()),
        Some(Some(uri)) if redirect_uri::is_registered(registered, uri, config.profile.loopback_port) => Ok(()),
        Some(_) => Err(Refusal::RedirectUri),
    }
}
