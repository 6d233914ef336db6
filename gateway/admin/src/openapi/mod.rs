//! `/openapi.json`: this API as an OpenAPI 3.1 document.
//!
//! Nothing is written twice: the paths are those of `/endpoints`, each read by the same function that reads the paths of
//! requests ([`Resource::of`]), and the schemas are the descriptions that `/schemas` publishes. What a resource adds
//! (queries, bodies, responses) is in `entities` and `fixed`, in one exhaustive match each.
//!
//! `HEAD` is served wherever `GET` is, and `OPTIONS` everywhere: neither is in the document.

mod components;
mod entities;
mod fixed;
mod operation;
mod types;

use serde_json::{Map, Value, json};

use crate::API_VERSION;
use crate::catalogue;
use crate::path;
use crate::resource::Resource;
use crate::response::Response;
use crate::state::AdminState;
use operation::Operation;

const DESCRIPTION: &str = "The Admin API of this node, with the entities and configurations of its plugins. HEAD is \
    served wherever GET is, and OPTIONS on every path. Bodies are JSON, forms or multipart forms; fields of forms are \
    converted to their types, and nested ones are written as config.field. Below a parent, the path says which parent \
    an entity has.";

/// `GET /openapi.json`.
pub(crate) fn show(state: &AdminState) -> Response {
    Response::ok(&document(state))
}

fn document(state: &AdminState) -> Value {
    let templates = catalogue::paths(state);
    let paths: Map<String, Value> = templates
        .iter()
        .filter_map(|template| {
            let segments = path::segments(template)?;
            Some((template.clone(), path_item(&segments, &Resource::of(state, &segments)?)))
        })
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tollgate Admin API",
            "version": API_VERSION,
            "description": DESCRIPTION,
        },
        "servers": [{ "url": "/" }],
        // Without `admin.auth: tokens`, no token is asked for.
        "security": [{}, { "bearer": [] }, { "token": [] }],
        "paths": paths,
        "components": components::all(state),
    })
}

fn path_item(segments: &[String], resource: &Resource<'_>) -> Value {
    let mut item = Map::new();
    let variable: Vec<Value> = variables(segments).map(|name| path_parameter(name, resource)).collect();
    let is_below = !variable.is_empty();
    if is_below {
        item.insert("parameters".to_owned(), variable.into());
    }
    for method in resource.own_methods() {
        let operation = match entities::operation(resource, method) {
            Some(operation) => operation,
            None => fixed::operation(resource, method),
        };
        let name = method.as_str().to_ascii_lowercase();
        let id = [name.as_str()].into_iter().chain(segments.iter().map(|part| part.trim_matches(['{', '}'])));
        let id = id.collect::<Vec<_>>().join("_");
        item.insert(name, Operation { id, is_below, tag: resource.audited(), ..operation }.show(method));
    }
    Value::Object(item)
}

fn variables(segments: &[String]) -> impl Iterator<Item = &str> {
    segments.iter().filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
}

fn path_parameter(name: &str, resource: &Resource<'_>) -> Value {
    let schema = fixed::path_values(resource).unwrap_or_else(|| json!({ "type": "string", "minLength": 1 }));
    let mut parameter = json!({ "name": name, "in": "path", "required": true, "schema": schema });
    if let (Some(description), Some(parameter)) = (entities::key_description(name, resource), parameter.as_object_mut())
    {
        parameter.insert("description".to_owned(), description.into());
    }
    parameter
}
