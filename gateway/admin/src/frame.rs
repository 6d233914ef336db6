//! What every request passes through: limits, CORS, `OPTIONS`, `HEAD`, latency, and the one place where a
//! failure becomes a response (gateway.md §1).

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
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_HEADERS, ALLOW, ORIGIN,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};

use crate::input::Input;
use crate::query::Query;
use crate::resource::Resource;
use crate::response::{Failure, Head, Response};
use crate::state::AdminState;
use crate::{SERVER, cache, catalogue, entity, foreign, information, list, path, schemas, tags};

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
        Ok(query) => information::status(&state, &query).await,
        Err(failure) => Err(failure),
    };
    shown.unwrap_or_else(Response::from).into_response(Head::AndBody)
}

pub(crate) async fn serve(State(state): State<Arc<AdminState>>, request: Request<Body>) -> HttpResponse {
    let begin = Instant::now();
    let head = if request.method() == Method::HEAD { Head::Only } else { Head::AndBody };
    let origin = request.headers().get(ORIGIN).cloned().unwrap_or(HeaderValue::from_static("*"));
    let mut response = match state.slots.try_acquire() {
        Ok(_slot) => respond(&state, request).await,
        Err(_) => Response::from(Failure::Overloaded).into_response(head),
    };
    let headers = response.headers_mut();
    headers.insert(http::header::SERVER, HeaderValue::from_static(SERVER));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    headers.insert(LATENCY, HeaderValue::from(u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX)));
    response
}

async fn respond(state: &AdminState, request: Request<Body>) -> HttpResponse {
    let (parts, body) = request.into_parts();
    let head = if parts.method == Method::HEAD { Head::Only } else { Head::AndBody };
    let segments = path::segments(parts.uri.path());
    let Some(resource) = segments.as_ref().and_then(|segments| Resource::of(state, segments)) else {
        return Response::from(Failure::NotFound).into_response(head);
    };
    if parts.method == Method::OPTIONS {
        return preflight(&resource, &parts.headers);
    }
    // A panic in one request must not end others on its connection, nor leave its client without a response.
    let work = AssertUnwindSafe(handle(state, &parts, &resource, body)).catch_unwind();
    let outcome = work.await.unwrap_or(Err(Failure::Panicked));
    let mut response = outcome.unwrap_or_else(Response::from).into_response(head);
    if response.status() == StatusCode::METHOD_NOT_ALLOWED
        && let Ok(allow) = HeaderValue::try_from(resource.allow_without(&parts.method))
    {
        // RFC 9110 §15.5.6.
        response.headers_mut().insert(ALLOW, allow);
    }
    response
}

async fn handle(
    state: &AdminState,
    parts: &http::request::Parts,
    resource: &Resource<'_>,
    body: Body,
) -> Result<Response, Failure> {
    if !resource.allows(&parts.method) {
        return Err(Failure::MethodNotAllowed);
    }
    if matches!(resource, Resource::Configuration) {
        // Tollgate always has a database.
        return Err(Failure::NeedsNoDatabase);
    }
    let query = Query::parse(parts.uri.query())?;
    let input = Input::read(&parts.method, &parts.headers, body, &state.limits).await?;
    dispatch(state, parts, resource, &query, input).await
}

async fn dispatch(
    state: &AdminState,
    parts: &http::request::Parts,
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
        Resource::Children(nested, parent) => list::children(nested, parent, parts.uri.path(), query).await,
        Resource::Child(nested, parent, key) => entity::act_on_child(state, method, nested, parent, key, input).await,
        Resource::Foreign(field, owner) => foreign::act(state, method, field, owner, input).await,
        Resource::Information => information::show(state).await,
        Resource::Status => information::status(state, query).await,
        Resource::Metrics => Ok(Response::metrics(state.node.metrics())),
        Resource::Timers => Ok(information::timers()),
        Resource::Endpoints => Ok(catalogue::show(state)),
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
