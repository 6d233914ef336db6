//! `/config` (gateway.md §10.2), and the refusal of writes to entities while the configuration comes from a file.

use axum::body::Body;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use tollgate_core::entity::{InFiles, Kind};
use tollgate_core::error::DaoError;

use crate::declarations::{Declarations, Faults, IfIdentical, Refusal};
use crate::input::{self, Posted};
use crate::query::Query;
use crate::reader::Reader;
use crate::reference;
use crate::resource::Resource;
use crate::response::{Failure, Response};
use crate::state::Limits;

/// `GET`: the configuration in force.
pub(crate) async fn show(declarations: &dyn Declarations) -> Result<Response, Failure> {
    let text = declarations.export().await.map_err(DaoError::from)?;
    Ok(Response::ok(&json!({ "config": text })))
}

/// `POST`: replaces it.
pub(crate) async fn replace(
    declarations: &dyn Declarations,
    query: &Query,
    headers: &HeaderMap,
    body: Body,
    limits: &Limits,
) -> Result<Response, Failure> {
    let Posted { text, arguments } = input::configuration(headers, body, limits).await?;
    let asks = |name: &str| {
        let in_body = arguments.iter().any(|(given, value)| given == name && value == "1");
        in_body || query.get(name).is_some_and(|value| value == "1")
    };
    let if_identical = if asks("check_hash") { IfIdentical::Refuse } else { IfIdentical::Apply };
    let faults = if asks("flatten_errors") { Faults::Flattened } else { Faults::Nested };
    let text = text.filter(|text| !text.trim().is_empty()).ok_or(Failure::NoDeclaration)?;
    match declarations.replace(text, if_identical, faults).await {
        Ok(entities) => Ok(Response::json(StatusCode::CREATED, &entities)),
        Err(Refusal::Identical) => Ok(Response::empty(StatusCode::NOT_MODIFIED)),
        Err(Refusal::Busy) => Err(Failure::LoadingConfiguration),
        Err(Refusal::Invalid(body)) => Ok(Response::json(StatusCode::BAD_REQUEST, &body)),
        Err(Refusal::Dao(error)) => Err(error.into()),
    }
}

/// The refusal of a write to entities that a file declares; `None`: it is no such write. What the gateway issues, such
/// as tokens, is in the database all the same.
pub(crate) fn refusal(resource: &Resource<'_>, method: &Method) -> Option<DaoError> {
    let (kind, key) = match resource {
        Resource::Collection(entities) => (entities.kind(), None),
        Resource::Entity(entities, key) => (entities.kind(), Some(*key)),
        Resource::Children(nested, _) => (nested.children.kind(), None),
        Resource::Child(nested, _, key) => (nested.children.kind(), Some(*key)),
        Resource::Foreign(foreign, _) if *method != Method::DELETE => (foreign.targets.kind(), None),
        _ => return None,
    };
    let operation = match (resource, method.as_str()) {
        (Resource::Collection(_) | Resource::Children(..), "POST") => "create",
        (Resource::Entity(..) | Resource::Child(..) | Resource::Foreign(..), "PUT") => "create or update",
        (Resource::Entity(..) | Resource::Child(..) | Resource::Foreign(..), "PATCH") => "update",
        (Resource::Entity(..) | Resource::Child(..), "DELETE") => "remove",
        _ => return None,
    };
    (kind.in_files == InFiles::Declared).then(|| refused(kind, operation, key))
}

fn refused(kind: &Kind, operation: &'static str, key: Option<&str>) -> DaoError {
    let is_name = key.is_some_and(|key| reference::parse_uuid(key).is_none());
    DaoError::WithoutDatabase { operation, kind: kind.name, by: kind.second_key.filter(|_| is_name) }
}

/// What `/status` says of the configuration. Faults name what is in the file, which is not for everybody who reaches the
/// status listener: there it is their number.
pub(crate) fn status(declarations: &dyn Declarations, reader: Reader) -> [(String, Value); 2] {
    let standing = declarations.standing();
    let faults = match reader {
        Reader::Operator => json!(standing.faults),
        Reader::Anybody => json!(standing.faults.len()),
    };
    let file = json!({ "valid": standing.faults.is_empty(), "faults": faults });
    [("configuration_hash".to_owned(), json!(standing.hash)), ("declarative_config".to_owned(), file)]
}
