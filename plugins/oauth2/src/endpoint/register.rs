//! Dynamic registration: of a client (RFC 7591 §3), and its management with the registration access token (RFC 7592 §2).
//!
//! 1. HTTPS, and a JSON body of moderate size.
//! 2. Where an initial access token is required, it is presented; a client's own address requires the registration
//!    access token, whatever else is wrong.
//! 3. The metadata can be registered.
//! 4. The quotas allow another client.

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};
use tollgate_core::reply::{Body, Reply};
use tollgate_core::request::{Request, RequestBody};
use tollgate_core::secret::Secret;
use tollgate_plugin::audit::{Action, Event, Outcome as Ended};
use uuid::Uuid;

use crate::client_metadata::{Before, ClientMetadata};
use crate::client_secret::Proof;
use crate::config::Config;
use crate::config::grants::RegistrationMode;
use crate::derivation_queue::Requester;
use crate::endpoint::response::{self, State};
use crate::endpoint::{AuthorizationServer, Endpoint, Outcome, https};
use crate::error::{Error, Refusal};
use crate::guesses::Kind;
use crate::issuer_identifier;
use crate::registrar::Known;

/// The largest body; that of a client has a few hundred bytes.
const MOST_BYTES: usize = 64 * 1024;

/// `…/oauth2/register`.
pub(super) async fn respond(
    server: &AuthorizationServer,
    plugin_id: Uuid,
    config: &Config,
    request: &Request<'_>,
) -> Reply {
    let result = register(server, plugin_id, config, request).await;
    finish(server, plugin_id, request, Action::ClientRegistered, &result);
    match result {
        Ok((_, body)) => response::framed(StatusCode::CREATED, "client_registered", body),
        Err(error) => response::failed(Endpoint::Register, &error, &State::default()),
    }
}

async fn register(
    server: &AuthorizationServer,
    plugin_id: Uuid,
    config: &Config,
    request: &Request<'_>,
) -> Result<(Uuid, Map<String, Value>), Error> {
    https::require(config, request)?;
    require_initial_access_token(server, plugin_id, config, request)?;
    let (metadata, _) = ClientMetadata::read(config, body(request)?, Before::Nothing)?;
    let issuer = issuer_identifier::of(&config.endpoints, request).ok_or(Refusal::NoHost)?;
    let registered = server.registrar.register(config, plugin_id, request.client, &metadata).await?;
    server.callers.note(registered.credential_id, &registered.client_id, request).await;
    let mut response = registered.metadata;
    let mut add = |name: &str, value: Value| drop(response.insert(name.to_owned(), value));
    if let Some(secret) = &registered.client_secret {
        add("client_secret", secret.expose().into());
        // It does not expire (RFC 7591 §3.2.1).
        add("client_secret_expires_at", 0.into());
    }
    add("client_id_issued_at", registered.issued_at.into());
    add("registration_access_token", registered.access_token.expose().into());
    add("registration_client_uri", own_address(&issuer, &registered.client_id).into());
    add("client_id", registered.client_id.into());
    Ok((registered.credential_id, response))
}

/// `…/oauth2/register/{client_id}`.
pub(super) async fn respond_to_client(
    server: &AuthorizationServer,
    plugin_id: Uuid,
    config: &Config,
    request: &Request<'_>,
) -> Reply {
    let (action, result) = match *request.method {
        Method::PUT => (Some(Action::ClientChanged), change(server, plugin_id, config, request).await),
        Method::DELETE => (Some(Action::ClientDeleted), delete(server, plugin_id, config, request).await),
        _ => (None, show(server, plugin_id, config, request).await),
    };
    let ended = result.as_ref().map(|(credential, _)| (*credential, ())).map_err(|_| ());
    if let (Some(action), Ok((credential, ()))) = (action, ended) {
        write(server, plugin_id, request, action, Some(credential));
    }
    match result {
        Ok((_, Some(body))) => response::framed(StatusCode::OK, "client_configuration", body),
        Ok((_, None)) => response::uncached(Reply {
            status: StatusCode::NO_CONTENT,
            headers: Vec::new(),
            body: Body::Empty,
            reason: "client_deleted",
        }),
        Err(error) => response::failed(Endpoint::RegisteredClient, &error, &State::default()),
    }
}

type Shown = Result<(Uuid, Option<Map<String, Value>>), Error>;

async fn show(server: &AuthorizationServer, plugin_id: Uuid, config: &Config, request: &Request<'_>) -> Shown {
    let (known, presented) = known(server, plugin_id, config, request).await?;
    Ok((known.credential_id, Some(configuration(config, request, &known, presented)?)))
}

async fn change(server: &AuthorizationServer, plugin_id: Uuid, config: &Config, request: &Request<'_>) -> Shown {
    let (known, presented) = known(server, plugin_id, config, request).await?;
    let (metadata, given) = ClientMetadata::read(config, body(request)?, Before::Registered(&known.metadata))?;
    // RFC 7592 §2.2: the client says which one it is, and may not choose these.
    if given.get("client_id") != Some(&json!(known.client_id)) {
        return Err(Refusal::ClientMetadata("client_id must be the client's own".to_owned()).into());
    }
    let chosen =
        ["registration_access_token", "registration_client_uri", "client_secret_expires_at", "client_id_issued_at"];
    if let Some(name) = chosen.iter().find(|name| given.contains_key(**name)) {
        return Err(Refusal::ClientMetadata(format!("{name} must not be sent")).into());
    }
    require_own_secret(server, request, &known.client_id, given.get("client_secret")).await?;
    let changed = server.registrar.change(&known, &metadata).await?;
    Ok((known.credential_id, Some(configuration(config, request, &changed, presented)?)))
}

/// RFC 7592 §2.2: a client that sends its secret sends the one that it has; it does not choose another.
async fn require_own_secret(
    server: &AuthorizationServer,
    request: &Request<'_>,
    client_id: &str,
    given: Option<&Value>,
) -> Result<(), Error> {
    let Some(given) = given else { return Ok(()) };
    let wrong = || Error::from(Refusal::ClientMetadata("client_secret must be the client's own".to_owned()));
    let presented = Secret::new(given.as_str().ok_or_else(wrong)?);
    let credential = server.credentials.by_client_id(client_id).await?.ok_or_else(wrong)?;
    let mut attempt = server.guesses.attempt(Kind::Client, client_id, request.client);
    attempt.allowed()?;
    let named = (client_id, Some(&credential.secret), credential.previous_secret(server.guesses.seconds()));
    let requester = Requester::new(request.client, Some(credential.id));
    if server.verifier.verify_either(requester, named, &presented, &mut attempt).await? == Proof::Right {
        attempt.succeeded();
        return Ok(());
    }
    attempt.failed()?;
    Err(wrong())
}

async fn delete(server: &AuthorizationServer, plugin_id: Uuid, config: &Config, request: &Request<'_>) -> Shown {
    let (known, _) = known(server, plugin_id, config, request).await?;
    server.registrar.delete(&known).await?;
    Ok((known.credential_id, None))
}

/// The client that the address names, and the token with which it has proved that.
async fn known<'r>(
    server: &AuthorizationServer,
    plugin_id: Uuid,
    config: &Config,
    request: &Request<'r>,
) -> Result<(Known, &'r str), Error> {
    https::require(config, request)?;
    let client_id = request.path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let presented = bearer(request).ok_or(Refusal::RegistrationAccessToken)?;
    let known = server.registrar.known(plugin_id, client_id, presented).await?;
    server.callers.note(known.credential_id, &known.client_id, request).await;
    Ok((known, presented))
}

/// RFC 7592 §3: the secret is stored hashed, so it is not shown again, and stays as it is.
fn configuration(
    config: &Config,
    request: &Request<'_>,
    known: &Known,
    presented: &str,
) -> Result<Map<String, Value>, Refusal> {
    let issuer = issuer_identifier::of(&config.endpoints, request).ok_or(Refusal::NoHost)?;
    let mut response = known.metadata.clone();
    let mut add = |name: &str, value: Value| drop(response.insert(name.to_owned(), value));
    add("client_id", known.client_id.as_str().into());
    add("client_id_issued_at", known.issued_at.into());
    add("registration_access_token", presented.into());
    add("registration_client_uri", own_address(&issuer, &known.client_id).into());
    Ok(response)
}

fn own_address(issuer: &str, client_id: &str) -> String {
    format!("{issuer}/oauth2/register/{client_id}")
}

/// Check 2. Wrong tokens are counted as guesses are.
fn require_initial_access_token(
    server: &AuthorizationServer,
    plugin_id: Uuid,
    config: &Config,
    request: &Request<'_>,
) -> Result<(), Refusal> {
    match config.grants.registration {
        Some(RegistrationMode::Open) => return Ok(()),
        Some(RegistrationMode::Token) => {}
        None => return Err(Refusal::InitialAccessToken),
    }
    let presented = bearer(request).ok_or(Refusal::InitialAccessToken)?;
    let name = plugin_id.to_string();
    let attempt = server.guesses.attempt(Kind::InitialAccessToken, &name, request.client);
    attempt.allowed()?;
    let known = &config.grants.initial_access_tokens;
    // Each is compared, whichever matches.
    if known.iter().fold(false, |found, token| found | token.matches(presented)) {
        attempt.succeeded();
        return Ok(());
    }
    attempt.failed()?;
    Err(Refusal::InitialAccessToken)
}

/// The bearer token of the header.
fn bearer<'r>(request: &Request<'r>) -> Option<&'r str> {
    let mut values = request.headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Check 1.
fn body<'r>(request: &'r Request<'_>) -> Result<&'r [u8], Refusal> {
    let content_type = request.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    match &request.body {
        RequestBody::Read(body) if body.len() > MOST_BYTES => Err(Refusal::TooLarge),
        RequestBody::TooLarge => Err(Refusal::TooLarge),
        RequestBody::Read(body) if kind.eq_ignore_ascii_case("application/json") => Ok(body),
        _ => Err(Refusal::ClientMetadata("the body must be application/json".to_owned())),
    }
}

fn finish(
    server: &AuthorizationServer,
    plugin_id: Uuid,
    request: &Request<'_>,
    action: Action,
    result: &Result<(Uuid, Map<String, Value>), Error>,
) {
    server.count("registration", result.as_ref().err().map_or(Outcome::Issued, Outcome::from));
    if let Ok((credential, _)) = result {
        write(server, plugin_id, request, action, Some(*credential));
    }
}

fn write(
    server: &AuthorizationServer,
    plugin_id: Uuid,
    request: &Request<'_>,
    action: Action,
    credential: Option<Uuid>,
) {
    let mut event = Event::new(action, Ended::Done);
    event.client = Some(request.client.to_canonical());
    event.credential = credential;
    event.service = request.target.service_id;
    event.plugin = Some(plugin_id);
    server.audit_log.write(&event);
}
