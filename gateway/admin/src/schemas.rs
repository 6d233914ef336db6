//! `/schemas/…`: the schemas as documents, and validation without a write (gateway.md §2.5).

use serde_json::json;
use tollgate_core::entity::Kind;

use crate::draft;
use crate::input::Input;
use crate::response::{Failure, Response};
use crate::state::AdminState;

/// `GET /schemas/{entity}`.
pub(crate) fn entity(state: &AdminState, name: &str) -> Result<Response, Failure> {
    Ok(Response::ok(&kind(state, name)?.schema.publish()))
}

/// `GET /schemas/plugins/{name}`: only the plugin's own fields; the rest is in `/schemas/plugins`.
pub(crate) fn plugin(state: &AdminState, name: &str) -> Result<Response, Failure> {
    let schema = state.plugin_schema(name).ok_or_else(|| Failure::NoPluginNamed(name.to_owned()))?;
    Ok(Response::ok(&schema.publish_fields(&["consumer", "protocols", "config"])))
}

/// `POST /schemas/{entity}/validate` and, for `plugins`, `/schemas/plugins/validate`. Also for kinds that the
/// Admin API does not serve. The store is not queried.
pub(crate) fn validate(state: &AdminState, name: &str, input: Input) -> Result<Response, Failure> {
    draft::validate(state, kind(state, name)?, input)?;
    Ok(Response::ok(&json!({ "message": "schema validation successful" })))
}

fn kind<'s>(state: &'s AdminState, name: &str) -> Result<&'s Kind, Failure> {
    state.registry.kind(name).ok_or_else(|| Failure::NoEntityNamed(name.to_owned()))
}
