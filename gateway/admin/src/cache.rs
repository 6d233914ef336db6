//! `/cache` and `/cache/{key}`: what the plugins remember (oauth2.md §5).

use http::StatusCode;
use serde_json::{Value, json};

use crate::answer::{Answer, Failure};
use crate::state::AdminState;

/// `GET /cache/{key}`: the first plugin that knows the key answers.
pub(crate) fn show(state: &AdminState, key: &str) -> Result<Answer, Failure> {
    match state.registry.plugins().find_map(|plugin| plugin.cached(key)) {
        Some(object @ Value::Object(_)) => Ok(Answer::ok(&object)),
        Some(scalar) => Ok(Answer::ok(&json!({ "message": scalar }))),
        None => Err(Failure::NotFound),
    }
}

/// `DELETE /cache/{key}`, or `DELETE /cache` without a key.
pub(crate) fn forget(state: &AdminState, key: Option<&str>) -> Answer {
    for plugin in state.registry.plugins() {
        plugin.forget_cached(key);
    }
    Answer::empty(StatusCode::NO_CONTENT)
}
