//! The authorization endpoint (RFC 6749 §3.1, oauth2.md §3.5). The back end of the login page calls
//! it once the resource owner has agreed, and sends the browser to the address in the
//! response.
//!
//! 1. HTTPS, and no parameter twice.
//! 2. The login page authenticates with the provision key.
//! 3. A user is logged in.
//! 4. The response type is enabled. From here on the parameters are those that were pushed, if a request URI names
//!    them (RFC 9126 §4); a request URI that names none ends the request.
//! 5. The scope can be granted, and the resources are served here (RFC 8707).
//! 6. The client is known and has redirect URIs.
//! 7. The redirect URI is registered (§3.1.2.3).
//! 8. PKCE, where it is required (RFC 7636 §4.4.1).
//!
//! A failure of 1 to 3 ends the request; of 4 to 8 the last failure is reported, through the redirect once a
//! client is known. The status is never a redirect itself.

use std::sync::Arc;

use http::StatusCode;
use tollgate_core::reply::Reply;
use tollgate_core::request::Request;
use tollgate_core::secret::Secret;
use tollgate_plugin::audit::Action;
use uuid::Uuid;

use crate::callers::note_token;
use crate::client;
use crate::config::Config;
use crate::config::endpoints::Name;
use crate::endpoint::record::Subject;
use crate::endpoint::response::{self, State};
use crate::endpoint::{AuthorizationServer, Endpoint, Outcome, begin};
use crate::entity::credential::Credential;
use crate::error::{Error, Mode, Refusal};
use crate::grant::pushed_request::{self, Use};
use crate::grant::{Authorization, Grantor, authorization_code, implicit, userid};
use crate::issuer::Issued;
use crate::issuer_identifier;
use crate::parameters::{Parameter, Parameters};
use crate::pkce;
use crate::profile::{BadRedirect, IssuerInResponse, Permission};
use crate::redirect_uri;
use crate::resource;
use crate::scope;
use crate::sender::announced;

/// The requested response type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ResponseType {
    Code,
    Token,
}

/// A client that the browser can be redirected to.
struct Target {
    client: Arc<Credential>,
    redirect_uri: String,
}

/// The result that the browser takes to the client.
enum Granted {
    Code(Secret),
    Token(Issued),
}

pub(super) async fn respond(
    server: &AuthorizationServer,
    plugin_id: Uuid,
    config: &Config,
    request: &Request<'_>,
) -> Reply {
    let (mut parameters, mut state, verdict) = begin(config, request);
    let mut grantor = Grantor::new(&server.issuer, &server.guesses, plugin_id, config, request);
    let mut certificate = None;
    let mut checked = verdict.and_then(|()| provisioned(&grantor, &parameters)).map_err(Error::from);
    if checked.is_ok() {
        checked = match pushed(server, &grantor, &parameters, Use::Once).await {
            Ok(None) => Ok(()),
            Ok(Some(pushed)) => {
                parameters = pushed.parameters;
                certificate = pushed.certificate;
                State::of(&parameters).map(|pushed| state = pushed).map_err(Error::from)
            }
            Err(error) => Err(error),
        };
    }
    let response_type = response_type(config, &parameters);
    if checked.is_ok() && response_type == Ok(ResponseType::Code) {
        // What was chosen when the request was pushed comes before what it announces (see `sender`).
        let announced = announced(config, &parameters);
        checked = announced.map(|key| grantor.proved.bound = certificate.or(key)).map_err(Error::from);
    }
    let (target, result) = match checked {
        Ok(()) => authorize(server, &grantor, &parameters).await,
        Err(error) => (None, Err(error)),
    };
    let grant = match response_type {
        Ok(ResponseType::Code) => "code",
        Ok(ResponseType::Token) => "implicit",
        Err(_) => "unknown",
    };
    if result.is_ok() {
        server.note(&grantor, target.as_ref().map(|target| target.client.id));
    }
    server.count(grant, result.as_ref().err().map_or(Outcome::Issued, Outcome::from));
    let credential = server.note_caller(target.as_ref().map(|target| &*target.client), request).await;
    let subject = Subject { plugin: plugin_id, credential, grant, request };
    let event = match &result {
        Ok(Granted::Code(_)) => Some(subject.issued(Action::CodeIssued, None)),
        Ok(Granted::Token(issued)) => {
            note_token(issued.access_token.expose(), request);
            Some(subject.issued(Action::TokenIssued, Some(issued.id)))
        }
        Err(error) => subject.refused(error),
    };
    event.iter().for_each(|event| server.audit_log.write(event));
    match (result, target) {
        (Ok(granted), Some(target)) => accepted(&target, &granted, context(config, request, &state)),
        (Err(Error::Refused(refusal)), Some(target)) => refused(config, &target, &refusal, request, &state),
        (Ok(_), None) => response::refused(&unknown_client(), &state),
        (Err(error), _) => response::failed(Endpoint::Authorize, &error, &state),
    }
}

/// Checks 2 and 3.
fn provisioned(grantor: &Grantor<'_>, parameters: &Parameters) -> Result<(), Refusal> {
    grantor.require_provision_key(parameters)?;
    userid(parameters).map(drop)
}

/// The parameters that the client pushed, if the request names them (RFC 9126 §4). What it says itself is then
/// ignored.
pub(super) async fn pushed(
    server: &AuthorizationServer,
    grantor: &Grantor<'_>,
    parameters: &Parameters,
    wanted: Use,
) -> Result<Option<pushed_request::Found>, Error> {
    let client = match parameters.text("client_id") {
        Some(client_id) => client::find(server.credentials.as_ref(), client_id).await?,
        None => None,
    };
    let can_push = grantor.config.endpoints.names.has(Name::Par);
    if !can_push || parameters.get("request_uri").is_none() {
        let always = client.is_some_and(|client| client.registered.always.pushes);
        let must_push = always || (can_push && grantor.config.grants.par_required);
        return if must_push { Err(Refusal::NotPushed.into()) } else { Ok(None) };
    }
    pushed_request::read(grantor, client.as_deref(), parameters, wanted).await.map(Some)
}

/// Checks 4 to 8 of a request that is pushed: the first failure.
pub(super) fn acceptable(config: &Config, client: &Credential, parameters: &Parameters) -> Result<(), Refusal> {
    let response_type = response_type(config, parameters)?;
    permitted(client, response_type)?;
    let (_, redirect) = target(config, Some(Arc::new(client.clone())), parameters);
    redirect?;
    scope::granted_to(client, config, parameters.get("scope"))?;
    resource::requested(config, parameters)?;
    pkce::challenge(config, Some(client), parameters).map(drop)
}

/// Check 4.
fn response_type(config: &Config, parameters: &Parameters) -> Result<ResponseType, Refusal> {
    match parameters.text("response_type") {
        Some("code") if config.enable_authorization_code => Ok(ResponseType::Code),
        // A token that the login page fetches cannot be bound to the client.
        Some("token") if config.enable_implicit_grant && !config.sender.some => Ok(ResponseType::Token),
        _ => Err(Refusal::ResponseType),
    }
}

/// Checks 4 to 8, then the grant.
async fn authorize(
    server: &AuthorizationServer,
    grantor: &Grantor<'_>,
    parameters: &Parameters,
) -> (Option<Target>, Result<Granted, Error>) {
    let config = grantor.config;
    let known = match parameters.text("client_id") {
        Some(client_id) => client::find(server.credentials.as_ref(), client_id).await,
        None => Ok(None),
    };
    let known = match known {
        Ok(known) => known,
        Err(error) => return (None, Err(error.into())),
    };
    let response_type = response_type(config, parameters);
    let asked = parameters.get("scope");
    let scope = match known.as_deref() {
        Some(client) => scope::granted_to(client, config, asked),
        None => scope::granted(config, asked),
    };
    let (target, redirect) = target(config, known.clone(), parameters);
    let challenge = pkce::challenge(config, known.as_deref(), parameters);
    let result = async {
        // The last check comes first, since its failure is the one to report.
        let challenge = challenge?;
        redirect?;
        let (scope, response_type) = (scope?, response_type?);
        let binding = resource::binding(config, parameters, None)?;
        let client = target.as_ref().ok_or_else(unknown_client)?;
        permitted(&client.client, response_type)?;
        let named = grantor.scope_to_name(asked, scope.as_deref());
        grantor.count("scope_syntax", |config| scope::granted(config, asked));
        let authorization = Authorization {
            credential_id: client.client.id,
            authenticated_userid: Some(userid(parameters)?),
            scope,
            binding,
        };
        match response_type {
            ResponseType::Token => {
                // `tollgate check` refuses this grant on profile bcp.
                grantor.count("enable_implicit_grant", |_| Err::<(), _>(Refusal::ResponseType));
                let issued = implicit::issue(grantor, &client.client, authorization).await?;
                Ok(Granted::Token(Issued { scope: named, ..issued }))
            }
            ResponseType::Code => {
                grantor.count("pkce", |config| pkce::challenge(config, Some(&client.client), parameters));
                let named = parameters.text("redirect_uri").map(str::to_owned);
                authorization_code::issue(grantor, authorization, challenge, named).await.map(Granted::Code)
            }
        }
    };
    let result = result.await;
    (target, result)
}

/// Whether the client may use the grant of a response type.
fn permitted(client: &Credential, response_type: ResponseType) -> Result<(), Refusal> {
    let grant = match response_type {
        ResponseType::Code => "authorization_code",
        ResponseType::Token => "implicit",
    };
    if client.may_use(grant) { Ok(()) } else { Err(Refusal::UnauthorizedClient) }
}

fn unknown_client() -> Refusal {
    // No client authenticates here, so there is no challenge.
    Refusal::InvalidClient(Mode::Parameters)
}

/// Checks 6 and 7: the requested redirect URI, or the client's first where none is requested.
fn target(
    config: &Config,
    client: Option<Arc<Credential>>,
    parameters: &Parameters,
) -> (Option<Target>, Result<(), Refusal>) {
    let Some((client, first)) = client.and_then(|client| {
        let first = client.redirect_uris.first().cloned()?;
        Some((client, first))
    }) else {
        return (None, Err(unknown_client()));
    };
    let (redirect_uri, verdict) = match parameters.get("redirect_uri").map(Parameter::text) {
        None => (first, Ok(())),
        Some(Some(uri)) if redirect_uri::is_registered(&client.redirect_uris, uri, config.profile.loopback_port) => {
            (uri.to_owned(), Ok(()))
        }
        Some(_) => (first, Err(Refusal::RedirectUri)),
    };
    if config.profile.http_redirect == Permission::Refused && redirect_uri::is_open(&redirect_uri) {
        return (None, Err(Refusal::OpenRedirect));
    }
    let is_refused = config.profile.private_use_redirect == Permission::Refused;
    if is_refused && verdict.is_ok() && redirect_uri::is_private_use(&redirect_uri) {
        return (None, Err(Refusal::PrivateUseRedirect));
    }
    (Some(Target { client, redirect_uri }), verdict)
}

/// Checks 6 and 7 for a page that asks for consent: the client, and where its browser would be sent.
pub(super) fn described_target(
    config: &Config,
    client: Option<Arc<Credential>>,
    parameters: &Parameters,
) -> Result<(Arc<Credential>, String), Refusal> {
    let (target, verdict) = target(config, client, parameters);
    verdict?;
    let Target { client, redirect_uri } = target.ok_or_else(unknown_client)?;
    Ok((client, redirect_uri))
}

fn accepted(target: &Target, granted: &Granted, context: Context) -> Reply {
    let uri = match granted {
        Granted::Code(code) => {
            let parameters = [vec![("code", code.expose().to_owned())], context].concat();
            redirect_uri::with_query(&target.redirect_uri, &parameters)
        }
        Granted::Token(issued) => {
            let mut parameters = vec![
                ("access_token", issued.access_token.expose().to_owned()),
                ("token_type", issued.token_type.to_owned()),
            ];
            parameters.extend(issued.expires_in.map(|seconds| ("expires_in", seconds.to_string())));
            parameters.extend(issued.scope.clone().map(|scope| ("scope", scope)));
            redirect_uri::with_fragment(&target.redirect_uri, &[parameters, context].concat())
        }
    };
    response::redirect(StatusCode::OK, "authorized", uri)
}

fn refused(config: &Config, target: &Target, refusal: &Refusal, request: &Request<'_>, state: &State) -> Reply {
    if *refusal == Refusal::RedirectUri && config.profile.bad_redirect == BadRedirect::Plain {
        return response::refused(refusal, state);
    }
    let error = refusal.response();
    let parameters = vec![("error", error.error.to_owned()), ("error_description", error.description.into_owned())];
    let parameters = [parameters, context(config, request, state)].concat();
    let uri = redirect_uri::with_query(&target.redirect_uri, &parameters);
    response::redirect(StatusCode::BAD_REQUEST, error.reason, uri)
}

/// The parameters of every response through a redirect: the state, and the issuer (RFC 9207 §2).
type Context = Vec<(&'static str, String)>;

fn context(config: &Config, request: &Request<'_>, state: &State) -> Context {
    let named = config.profile.issuer_in_response == IssuerInResponse::Present;
    let issuer = named.then(|| issuer_identifier::of(&config.endpoints, request)).flatten();
    let state = state.text().map(|state| ("state", state));
    state.into_iter().chain(issuer.map(|issuer| ("iss", issuer))).collect()
}
