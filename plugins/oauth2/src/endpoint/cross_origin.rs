//! Requests of clients that run in browsers (Fetch standard, "CORS protocol").
//!
//! Pages of any origin may call the endpoints and read the responses: these depend on nothing that a browser adds by
//! itself. What a page must not send is for the operator's `cors` plugin to say, which runs before and overrides this.
//! Instances that name no endpoint have only the two of the contract, which leave preflights to that plugin.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
};
use http::{HeaderValue, Method, StatusCode};
use tollgate_core::reply::{Body, Reply};
use tollgate_core::request::Request;

use super::{Endpoint, response};
use crate::config::Config;

/// What clients send beyond what browsers always allow.
const ALLOWED: HeaderValue = HeaderValue::from_static("Authorization, Content-Type, DPoP, MCP-Protocol-Version");
/// What clients read beyond what browsers always show.
const EXPOSED: HeaderValue = HeaderValue::from_static("DPoP-Nonce, Retry-After, WWW-Authenticate");
const ANY_ORIGIN: HeaderValue = HeaderValue::from_static("*");
/// For how many seconds a browser need not ask again.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// The response to a preflight; `None`: it is none, or not for this endpoint.
pub(super) fn preflight(config: &Config, endpoint: Endpoint, request: &Request<'_>) -> Option<Reply> {
    let is_preflight = request.method == Method::OPTIONS
        && request.headers.contains_key(ORIGIN)
        && request.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    if !is_preflight || !is_open(config, endpoint) {
        return None;
    }
    let methods = HeaderValue::try_from(response::names(endpoint.methods())).ok()?;
    let reply = Reply { status: StatusCode::NO_CONTENT, headers: Vec::new(), body: Body::Empty, reason: "preflight" };
    let reply = reply
        .with_header(ACCESS_CONTROL_ALLOW_ORIGIN, ANY_ORIGIN)
        .with_header(ACCESS_CONTROL_ALLOW_METHODS, methods)
        .with_header(ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED)
        .with_header(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    Some(reply)
}

/// Lets pages read a response.
pub(super) fn open(config: &Config, endpoint: Endpoint, reply: Reply) -> Reply {
    if !is_open(config, endpoint) {
        return reply;
    }
    reply.with_header(ACCESS_CONTROL_ALLOW_ORIGIN, ANY_ORIGIN).with_header(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED)
}

fn is_open(config: &Config, endpoint: Endpoint) -> bool {
    endpoint.is_for_browsers() && !config.endpoints.names.is_empty()
}
