//! Token introspection (RFC 7662), for resource servers that do not stand behind the gateway.
//!
//! 1. §2.1: the caller authenticates, and its credential permits this (`resource_server`). Public clients cannot
//!    authenticate. §4: how often it may ask is limited.
//! 2. The token is looked up as the guard does, in the same cache.
//! 3. §2.2: it is active if the guard of this route would accept it; of any other nothing is said but that it is not.
//!    A refresh token is not active, since no resource server may accept one.

use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value};
use tollgate_core::reply::Reply;
use tollgate_core::request::Request;
use uuid::Uuid;

use super::record::Subject;
use super::response::{self, State};
use super::{AuthorizationServer, Endpoint};
use crate::binding::Confirmation;
use crate::callers::note_token;
use crate::client::AuthenticatedClient;
use crate::config::Config;
use crate::entity::credential::ClientType;
use crate::error::{Error, Mode, Refusal};
use crate::guard::{Acceptance, can_be_presented};
use crate::issuer_identifier;
use crate::parameters::Parameters;
use crate::required_scopes::RequiredScopes;
use crate::token_facts::Facts;

pub(super) async fn respond(
    server: &AuthorizationServer,
    plugin_id: Uuid,
    config: &Config,
    request: &Request<'_>,
) -> Reply {
    let (parameters, verdict) = super::read(config, request);
    let (credential, result) = match verdict {
        Ok(()) => introspect(server, config, request, &parameters).await,
        Err(refusal) => (None, Err(refusal.into())),
    };
    if result.is_ok() {
        server.note_call(plugin_id, config, (&parameters, request), credential);
    }
    match result {
        Ok(members) => response::framed(StatusCode::OK, "token_introspected", members),
        Err(error) => {
            let subject = Subject { plugin: plugin_id, credential, grant: "introspection", request };
            subject.refused(&error).iter().for_each(|event| server.audit_log.write(event));
            response::failed(Endpoint::Introspect, &error, &State::default())
        }
    }
}

/// The credential that the request named, if there is one, and the members of the response.
async fn introspect(
    server: &AuthorizationServer,
    config: &Config,
    request: &Request<'_>,
    parameters: &Parameters,
) -> (Option<Uuid>, Result<Map<String, Value>, Error>) {
    let (credential, client) = super::authenticated(server, config, request, parameters).await;
    let members = async {
        permitted(server, &client.map_err(unauthenticated)?)?;
        let token = parameters.text("token").filter(|token| !token.is_empty()).ok_or(Refusal::Missing("token"))?;
        note_token(token, request);
        let facts = server.guard.find(token).await?;
        let acceptance = Acceptance::of(config, server.issuer.clock.now());
        let is_accepted = |facts: &Facts| acceptance.refusal(facts, request.target.service_id).is_none();
        let active = facts.filter(|facts| is_accepted(facts) && can_be_used(config, facts));
        Ok(active.map_or_else(inactive, |facts| members(&facts, issuer_identifier::of(&config.endpoints, request))))
    };
    (credential, members.await)
}

/// Step 1. What a public client sends proves nothing: it is told what an unknown one is told.
fn permitted(server: &AuthorizationServer, client: &AuthenticatedClient) -> Result<(), Refusal> {
    let credential = client.credential();
    if credential.client_type == ClientType::Public {
        return Err(Refusal::InvalidClient(Mode::Header));
    }
    if !credential.resource_server {
        return Err(Refusal::NoResourceServer);
    }
    if !server.introspections.admits(credential.id, server.issuer.clock.now_millis()) {
        server.introspections_limited.inc();
        return Err(Refusal::TooManyIntrospections);
    }
    Ok(())
}

/// RFC 7662 §2.3: a caller that is not authenticated gets 401, wherever its credentials were.
fn unauthenticated(error: Error) -> Error {
    match error {
        Error::Refused(Refusal::InvalidClient(_) | Refusal::SecretOfPublicClient) => {
            Refusal::InvalidClient(Mode::Header).into()
        }
        error => error,
    }
}

/// Whether the guard accepts the token from the one who may present it.
fn can_be_used(config: &Config, facts: &Facts) -> bool {
    let confirmation = facts.binding().and_then(|binding| binding.confirmation.as_ref());
    let scope = facts.scope().map(HeaderValue::as_bytes);
    can_be_presented(&config.sender, confirmation)
        && RequiredScopes::of(config).is_none_or(|required| required.are_in(scope))
}

fn inactive() -> Map<String, Value> {
    Map::from_iter([("active".to_owned(), Value::Bool(false))])
}

/// RFC 7662 §2.2, and `cnf` of RFC 8705 §3.2 and RFC 9449 §6.2.
fn members(facts: &Facts, issuer: Option<String>) -> Map<String, Value> {
    let text = |value: &http::HeaderValue| Value::from(String::from_utf8_lossy(value.as_bytes()));
    let client_id = text(&facts.credential().identifier);
    let userid = facts.userid().as_ref().map(text);
    let binding = facts.binding();
    let confirmation = binding.and_then(|binding| binding.confirmation.as_ref());
    let is_dpop = matches!(confirmation, Some(Confirmation::Key(_)));
    let audience = binding.map(|binding| &binding.audience).filter(|audience| !audience.is_empty());
    let audience = audience.map(|audience| match audience.as_slice() {
        [one] => one.as_str().into(),
        several => several.into(),
    });
    [
        ("active", Some(Value::Bool(true))),
        ("scope", facts.scope().map(text)),
        ("client_id", Some(client_id.clone())),
        ("username", userid.clone()),
        ("token_type", Some(if is_dpop { "DPoP" } else { "bearer" }.into())),
        ("exp", facts.valid_until().map(Value::from)),
        ("iat", facts.issued_at().map(Value::from)),
        // The client itself, if it acts for nobody.
        ("sub", Some(userid.unwrap_or(client_id))),
        ("aud", audience),
        ("iss", issuer.map(Value::from)),
        ("cnf", confirmation.and_then(|confirmation| serde_json::to_value(confirmation).ok())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .collect()
}
