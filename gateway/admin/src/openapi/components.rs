//! Schemas and responses that the operations refer to.

use serde_json::{Map, Value, json};
use tollgate_core::entity::{Kind, field};
use tollgate_core::plugin::Definition;
use tollgate_core::schema::Field;

use super::operation::FAILURES;
use super::types::{self, Document, Types};
use crate::draft;
use crate::state::AdminState;

/// The component of an entity as responses show it.
pub(super) fn shown(kind: &Kind) -> String {
    kind.name.to_owned()
}

/// The component of a whole entity in a request.
pub(super) fn given(kind: &Kind) -> String {
    format!("{}.given", kind.name)
}

/// The component of changes of an entity.
pub(super) fn changes(kind: &Kind) -> String {
    format!("{}.changes", kind.name)
}

/// The component of a page of entities.
pub(super) fn list_of(kind: &Kind) -> String {
    format!("{}.list", kind.name)
}

fn plugin_given(plugin: &str) -> String {
    format!("plugins.{plugin}.given")
}

/// A reference to a schema.
pub(super) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// A page of these items.
pub(super) fn page_of(items: &Value) -> Value {
    json!({
        "type": "object",
        "properties": {
            "data": { "type": "array", "items": items },
            "next": { "type": ["string", "null"], "description": "The path of the next page; null: this is the last." },
            "offset": { "type": "string", "description": "Where the next page begins; absent on the last." },
        },
        "required": ["data", "next"],
        "additionalProperties": false,
    })
}

/// `components`.
pub(super) fn all(state: &AdminState) -> Value {
    json!({
        "schemas": schemas(state),
        "responses": responses(),
        "securitySchemes": {
            "bearer": { "type": "http", "scheme": "bearer" },
            "token": { "type": "apiKey", "in": "header", "name": "Kong-Admin-Token" },
        },
    })
}

fn schemas(state: &AdminState) -> Map<String, Value> {
    let unique = |target: &str| {
        let kind = state.registry.collection(target).map(|collection| collection.kind());
        kind.map(|kind| kind.unique_fields().map(|field| field.name).collect()).unwrap_or_default()
    };
    let types = |document| Types { document, unique: &unique };
    let mut schemas = Map::from_iter([("error".to_owned(), error()), ("message".to_owned(), message())]);
    for kind in state.served().map(|collection| collection.kind()) {
        schemas.insert(shown(kind), entity(types(Document::Shown), kind));
        schemas.insert(list_of(kind), page_of(&reference(&shown(kind))));
        schemas.insert(changes(kind), entity(types(Document::Changes), kind));
        let whole = if draft::is_plugins(kind) {
            let names = state.registry.plugins().map(|plugin| plugin.definition.name);
            json!({ "anyOf": names.map(|name| reference(&plugin_given(name))).collect::<Vec<_>>() })
        } else {
            entity(types(Document::Given), kind)
        };
        schemas.insert(given(kind), whole);
    }
    for plugin in state.registry.plugins() {
        let definition = &plugin.definition;
        schemas.insert(plugin_given(definition.name), instance(types(Document::Given), definition));
    }
    schemas
}

fn entity(types: Types<'_>, kind: &Kind) -> Value {
    let mut object = types.entity(&kind.schema);
    let ttl = Field { required: false, ..field::ttl() };
    let expiry = kind.ttl.then(|| ("ttl".to_owned(), types.field(&ttl)));
    let is_shown = types.document == Document::Shown;
    let warnings = json!({
        "type": "array", "items": { "type": "string" }, "description": "What the write has perhaps not meant.",
    });
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        properties.extend(expiry);
        properties.extend(is_shown.then(|| ("warnings".to_owned(), warnings)));
    }
    Value::Object(object)
}

/// An instance of a plugin.
fn instance(types: Types<'_>, plugin: &Definition) -> Value {
    let schema = plugin.instance_schema();
    let mut object = types.entity(&schema);
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        let described = properties.get("name").and_then(|name| name.get("description")).cloned();
        properties.insert("name".to_owned(), json!({ "const": plugin.name, "description": described }));
    }
    object.insert("required".to_owned(), types::must_be_given(&schema).collect());
    Value::Object(object)
}

/// The errors of gateway.md §4.
fn error() -> Value {
    json!({
        "type": "object",
        "properties": {
            "code": { "type": "integer", "minimum": 1, "maximum": 19 },
            "name": { "type": "string" },
            "message": { "type": "string" },
            "fields": { "type": ["object", "string"], "description": "What is wrong, by field." },
            "options": { "type": "object", "description": "What is wrong, by argument of the query." },
            "flattened_errors": { "type": "array", "items": { "type": "object" } },
        },
        "required": ["message"],
        "additionalProperties": false,
    })
}

/// `{"message": …}`.
fn message() -> Value {
    json!({
        "type": "object",
        "properties": { "message": { "type": "string" } },
        "required": ["message"],
        "additionalProperties": false,
    })
}

fn responses() -> Map<String, Value> {
    FAILURES.into_iter().map(|(status, name)| (name.to_owned(), response(status))).collect()
}

fn response(status: u16) -> Value {
    let text = || json!({ "schema": { "type": "string" } });
    let retry = json!({ "Retry-After": { "description": "In seconds.", "schema": { "type": "integer" } } });
    let (description, schema, headers) = match status {
        400 => ("Something is wrong with the request.", "error", None),
        401 => ("No admin token, or an unknown one.", "message", Some(json!({ "WWW-Authenticate": text() }))),
        403 => ("Not for this origin, this host, or a token with the role read.", "message", None),
        404 => ("There is no such entity.", "error", None),
        405 => ("This cannot be done here.", "error", Some(json!({ "Allow": text() }))),
        408 => ("The body did not arrive in time.", "message", None),
        409 => ("A value that must be unique is taken.", "error", None),
        413 => ("The body is too large.", "message", None),
        429 => ("Another configuration is being read.", "message", Some(retry)),
        500 => ("The gateway failed.", "message", None),
        503 => ("The store is not available, or too many requests are handled at once.", "message", Some(retry)),
        // 415 has no body.
        _ => return json!({ "description": "The body is of a type that is not read." }),
    };
    let mut shown = json!({
        "description": description,
        "content": { "application/json": { "schema": reference(schema) } },
    });
    if let (Some(headers), Some(shown)) = (headers, shown.as_object_mut()) {
        shown.insert("headers".to_owned(), headers);
    }
    shown
}
