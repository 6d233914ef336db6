//! `/cache` and `/cache/{key}`: the plugins' caches (oauth2.md §5).

use http::StatusCode;
use serde_json::{Value, json};

use crate::response::{Failure, Response};
use crate::state::AdminState;

/// `GET /cache/{key}`: the response of the first plugin that has the key.
pub(crate) fn show(state: &AdminState, key: &str) -> Result<Response, Failure> {
    match state.registry.plugins().find_map(|registered| registered.plugin.cached(key)) {
        Some(object @ Value::Object(_)) => Ok(Response::ok(&object)),
        Some(scalar) => Ok(Response::ok(&json!({ "message": scalar }))),
        None => Err(Failure::NotFound),
    }
}

/// `DELETE /cache/{key}`, or `DELETE /cache` without a key.
pub(crate) fn forget(state: &AdminState, key: Option<&str>) -> Response {
    for registered in state.registry.plugins() {
        registered.plugin.forget_cached(key);
    }
    Response::empty(StatusCode::NO_CONTENT)
}
