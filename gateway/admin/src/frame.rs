//! What every request passes through: limits, who may send it, CORS, `OPTIONS`, `HEAD`, latency, the audit log, and
//! the one place where a failure becomes a response (gateway.md §1).

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::Response as HttpResponse;
use axum::routing::get;
use futures::FutureExt;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_HEADERS, ALLOW,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use tollgate_core::audit::{self, Action, Event, Outcome};

use crate::access::{self, Caller};
use crate::input::Input;
use crate::peer::Peer;
use crate::query::Query;
use crate::reader::Reader;
use crate::resource::Resource;
use crate::response::{Failure, Head, Response};
use crate::state::AdminState;
use crate::{
    SERVER, cache, catalogue, configuration, console, entity, explain, foreign, information, list, openapi, path,
    schemas, tags, targets, upstream_health,
};

const LATENCY: HeaderName = HeaderName::from_static("x-kong-admin-latency");

/// The Admin API as a service. Limits of the listener (header size and time, connections) are set where it is
/// bound.
pub fn router(state: Arc<AdminState>) -> Router {
    Router::new().fallback(serve).with_state(state)
}

/// `/status` alone, for the listener of health probes: not counted among concurrent API requests, so that a
/// busy API does not look like a dead gateway, and without CORS.
pub fn status_router(state: Arc<AdminState>) -> Router {
    Router::new().route("/status", get(serve_status)).with_state(state)
}

pub(crate) async fn serve_status(State(state): State<Arc<AdminState>>, RawQuery(query): RawQuery) -> HttpResponse {
    let shown = match Query::parse(query.as_deref()) {
        Ok(query) => information::status(&state, &query, Reader::Anybody).await,
        Err(failure) => Err(failure),
    };
    shown.unwrap_or_else(Response::from).into_response(Head::AndBody)
}

pub(crate) async fn serve(State(state): State<Arc<AdminState>>, request: Request<Body>) -> HttpResponse {
    let begin = Instant::now();
    let (mut response, origin) = match state.slots.try_acquire() {
        Ok(_slot) => respond(&state, request).await,
        Err(_) => (Response::from(Failure::Overloaded).into_response(head_of(request.method())), None),
    };
    let headers = response.headers_mut();
    headers.insert(http::header::SERVER, HeaderValue::from_static(SERVER));
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    headers.insert(LATENCY, HeaderValue::from(u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX)));
    response
}

fn head_of(method: &Method) -> Head {
    if method == Method::HEAD { Head::Only } else { Head::AndBody }
}

/// The response, and the origin whose pages may read it: none after a refusal for the origin or host.
async fn respond(state: &AdminState, request: Request<Body>) -> (HttpResponse, Option<HeaderValue>) {
    let (parts, body) = request.into_parts();
    let peer = Peer::of(&parts.extensions);
    match state.access.browser.judge(&parts.uri, &parts.headers, peer) {
        Ok(origin) => (respond_to_allowed(state, &parts, body).await, Some(origin)),
        Err(foreign) => {
            let failure = foreign.into();
            log_refusal(state, &failure, None, peer);
            (Response::from(failure).into_response(head_of(&parts.method)), None)
        }
    }
}

async fn respond_to_allowed(state: &AdminState, parts: &Parts, body: Body) -> HttpResponse {
    let head = head_of(&parts.method);
    let peer = Peer::of(&parts.extensions);
    let segments = path::segments(parts.uri.path());
    let resource = segments.as_ref().and_then(|segments| Resource::of(state, segments));
    // A browser asks without credentials; the methods of a path are no secret.
    if parts.method == Method::OPTIONS
        && let Some(resource) = &resource
    {
        return preflight(resource, &parts.headers);
    }
    // The files are no secret either: the page asks for the credentials.
    if let Some(Resource::ConsoleFile(file)) = resource
        && matches!(parts.method, Method::GET | Method::HEAD)
    {
        return file.respond(head);
    }
    let caller = match state.access.caller(&parts.headers, peer).await {
        Ok(caller) => caller,
        Err(failure) => {
            log_refusal(state, &failure, None, peer);
            return Response::from(failure).into_response(head);
        }
    };
    let Some(resource) = resource else {
        return Response::from(Failure::NotFound).into_response(head);
    };
    let audited = audit::Caller { actor: caller.name.clone(), client: peer.map(Peer::ip) };
    let outcome = audited.scope(authorized(state, parts, &resource, &caller, body)).await;
    let response = outcome.unwrap_or_else(Response::from);
    if resource.is_write(&parts.method) && resource.allows(&parts.method) {
        state.audit.write(&written(parts, &resource, &caller, &response));
    }
    let mut response = response.into_response(head);
    if response.status() == StatusCode::METHOD_NOT_ALLOWED
        && let Ok(allow) = HeaderValue::try_from(resource.allow_without(&parts.method))
    {
        // RFC 9110 §15.5.6.
        response.headers_mut().insert(ALLOW, allow);
    }
    response
}

/// Handles the request of a caller whose role permits it.
async fn authorized(
    state: &AdminState,
    parts: &Parts,
    resource: &Resource<'_>,
    caller: &Caller,
    body: Body,
) -> Result<Response, Failure> {
    if resource.is_write(&parts.method) {
        caller.require_write()?;
    }
    // A panic in one request must not end others on its connection, nor leave its client without a response.
    let work = AssertUnwindSafe(handle(state, parts, resource, caller, body)).catch_unwind();
    work.await.unwrap_or(Err(Failure::Panicked))
}

fn log_refusal(state: &AdminState, failure: &Failure, caller: Option<&Caller>, peer: Option<&Peer>) {
    let actor = caller.map(|caller| caller.name.as_str());
    if let Some(event) = access::refusal(failure, actor, peer) {
        state.audit.write(&event);
    }
}

/// The event of a write, whatever its outcome.
fn written(parts: &Parts, resource: &Resource<'_>, caller: &Caller, response: &Response) -> Event {
    let outcome = match response.status {
        status if status.is_success() => Outcome::Done,
        status if status.is_server_error() => Outcome::Failed,
        _ => Outcome::Refused,
    };
    let mut event = Event::new(Action::AdminWrite, outcome);
    event.actor = Some(caller.name.clone());
    event.client = Peer::of(&parts.extensions).map(Peer::ip);
    event.method = Some(parts.method.to_string());
    event.entity = Some(resource.audited().to_owned());
    event.id = response.change.id.or_else(|| resource.id());
    event.fields.clone_from(&response.change.fields);
    event.status = Some(response.status.as_u16());
    event
}

async fn handle(
    state: &AdminState,
    parts: &Parts,
    resource: &Resource<'_>,
    caller: &Caller,
    body: Body,
) -> Result<Response, Failure> {
    if !resource.allows(&parts.method) {
        return Err(Failure::MethodNotAllowed);
    }
    let query = Query::parse(parts.uri.query())?;
    match (&state.declarations, resource) {
        (None, Resource::Configuration) => return Err(Failure::NeedsNoDatabase),
        (Some(declarations), Resource::Configuration) if parts.method == Method::POST => {
            let (headers, limits) = (&parts.headers, &state.limits);
            return configuration::replace(declarations.as_ref(), &query, headers, body, limits).await;
        }
        (Some(declarations), Resource::Configuration) => return configuration::show(declarations.as_ref()).await,
        (Some(_), resource) => {
            if let Some(error) = configuration::refusal(resource, &parts.method) {
                return Err(error.into());
            }
        }
        (None, _) => {}
    }
    let input = Input::read(&parts.method, &parts.headers, body, &state.limits).await?;
    if matches!(resource, Resource::ConsoleCaller) {
        return Ok(console::caller(state, caller));
    }
    dispatch(state, parts, resource, &query, input).await
}

async fn dispatch(
    state: &AdminState,
    parts: &Parts,
    resource: &Resource<'_>,
    query: &Query,
    input: Input,
) -> Result<Response, Failure> {
    let method = &parts.method;
    let post = method == Method::POST;
    match resource {
        Resource::Collection(entities) if post => entity::create(state, entities, input).await,
        Resource::Collection(entities) => list::collection(entities, query).await,
        Resource::Entity(entities, key) => entity::act(state, method, entities, key, input).await,
        Resource::Children(nested, parent) if post => entity::create_child(state, nested, parent, input).await,
        Resource::Children(nested, parent) if nested.children.kind().only_below_parent => {
            targets::newest_first(state, nested, parent, parts.uri.path(), query).await
        }
        Resource::StoredChildren(nested, parent) | Resource::Children(nested, parent) => {
            list::children(state, nested, parent, parts.uri.path(), query).await
        }
        Resource::Child(nested, parent, key) => entity::act_on_child(state, method, nested, parent, key, input).await,
        Resource::Foreign(field, owner) => foreign::act(state, method, field, owner, input).await,
        Resource::UpstreamHealth(nested, upstream) => {
            upstream_health::show(state, nested, upstream, parts.uri.path(), query).await
        }
        Resource::NewTargetHealth(new) => upstream_health::set(state, new).await,
        Resource::Information => information::show(state).await,
        Resource::Status => information::status(state, query, Reader::Operator).await,
        Resource::Metrics => Ok(Response::metrics(state.node.metrics())),
        Resource::Timers => Ok(information::timers()),
        Resource::Endpoints => Ok(catalogue::show(state)),
        Resource::OpenApi => Ok(openapi::show(state)),
        Resource::EnabledPlugins => Ok(information::enabled_plugins(state)),
        Resource::Schema(name) => schemas::entity(state, name),
        Resource::PluginSchema(name) => schemas::plugin(state, name),
        Resource::SchemaValidation(name) => schemas::validate(state, name, input),
        Resource::PluginValidation => schemas::validate(state, "plugins", input),
        Resource::Tags => tags::act(state, method, None, query).await,
        Resource::Tag(tag) => tags::act(state, method, Some(tag), query).await,
        Resource::Cache => Ok(cache::forget(state, None)),
        Resource::CacheKey(key) if method == Method::DELETE => Ok(cache::forget(state, Some(key))),
        Resource::CacheKey(key) => cache::show(state, key),
        Resource::Configuration => Err(Failure::NeedsNoDatabase),
        // `respond_to_allowed` and `handle` respond to these.
        Resource::ConsoleFile(_) | Resource::ConsoleCaller => Err(Failure::NotFound),
        Resource::Explanation => explain::explain(state, parts.uri.query(), input).await,
        Resource::LogLevel => Ok(information::log_level(state)),
        Resource::NewLogLevel(level) => information::set_log_level(state, level),
    }
}

/// The response to `OPTIONS`.
fn preflight(resource: &Resource<'_>, asked: &HeaderMap) -> HttpResponse {
    let mut response = Response::empty(StatusCode::NO_CONTENT).into_response(Head::AndBody);
    let headers = response.headers_mut();
    if let Ok(allow) = HeaderValue::try_from(resource.allow()) {
        headers.insert(ALLOW, allow.clone());
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, allow);
    }
    let allowed = asked.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed.unwrap_or(HeaderValue::from_static("Content-Type")));
    response
}
