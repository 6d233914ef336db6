//! An operation of the document: what a method of a resource takes and returns.

use http::Method;
use serde_json::{Map, Value, json};

/// What is sent if it succeeds.
pub(super) struct Success {
    pub(super) status: u16,
    pub(super) description: &'static str,
    /// The content by its type; `None`: there is none.
    pub(super) content: Option<Value>,
}

impl Success {
    pub(super) fn json(status: u16, description: &'static str, schema: &Value) -> Self {
        Self { status, description, content: Some(json!({ "application/json": { "schema": schema } })) }
    }

    pub(super) fn empty(status: u16, description: &'static str) -> Self {
        Self { status, description, content: None }
    }
}

/// A method of a resource.
#[derive(Default)]
pub(super) struct Operation {
    pub(super) id: String,
    pub(super) tag: &'static str,
    pub(super) summary: String,
    /// Whether the path has variable parts.
    pub(super) is_below: bool,
    /// Arguments of the query: name and schema, with a description.
    pub(super) query: Vec<(&'static str, Value)>,
    /// The schema of the body.
    pub(super) body: Option<Value>,
    pub(super) success: Vec<Success>,
    /// Statuses beyond those of every operation of the method.
    pub(super) failures: &'static [u16],
}

/// Where a status is described: the component's name.
pub(super) const FAILURES: [(u16, &str); 12] = [
    (400, "BadRequest"),
    (401, "Unauthorized"),
    (403, "Forbidden"),
    (404, "NotFound"),
    (405, "MethodNotAllowed"),
    (408, "RequestTimeout"),
    (409, "Conflict"),
    (413, "PayloadTooLarge"),
    (415, "UnsupportedMediaType"),
    (429, "Busy"),
    (500, "Unexpected"),
    (503, "Unavailable"),
];

impl Operation {
    pub(super) fn show(self, method: &Method) -> Value {
        let mut shown = Map::new();
        let mut set = |name: &str, value: Value| drop(shown.insert(name.to_owned(), value));
        set("operationId", json!(self.id));
        set("tags", json!([self.tag]));
        set("summary", json!(self.summary));
        if !self.query.is_empty() {
            set("parameters", self.query.iter().map(|(name, schema)| argument(name, schema)).collect());
        }
        if let Some(schema) = &self.body {
            set("requestBody", body(schema));
        }
        set("responses", self.responses(method));
        Value::Object(shown)
    }

    fn responses(&self, method: &Method) -> Value {
        let has_body = [Method::POST, Method::PUT, Method::PATCH].contains(method);
        let of_all: &[u16] =
            if has_body { &[400, 401, 403, 408, 413, 415, 500, 503] } else { &[400, 401, 403, 500, 503] };
        let of_path: &[u16] = if self.is_below { &[404] } else { &[] };
        let mut failures = [of_all, of_path, self.failures].concat();
        failures.sort_unstable();
        let named = failures.into_iter().filter_map(|status| FAILURES.into_iter().find(|(known, _)| *known == status));
        let failed = named
            .map(|(status, name)| (status.to_string(), json!({ "$ref": format!("#/components/responses/{name}") })));
        let succeeded = self.success.iter().map(|success| {
            let mut shown = Map::from_iter([("description".to_owned(), json!(success.description))]);
            shown.extend(success.content.clone().map(|content| ("content".to_owned(), content)));
            (success.status.to_string(), Value::Object(shown))
        });
        Value::Object(succeeded.chain(failed).collect())
    }
}

/// An argument of the query; the description is beside its schema.
fn argument(name: &str, schema: &Value) -> Value {
    let mut schema = schema.clone();
    let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
    json!({ "name": name, "in": "query", "required": false, "description": description, "schema": schema })
}

fn body(schema: &Value) -> Value {
    json!({
        "required": false,
        "content": {
            "application/json": { "schema": schema },
            "application/x-www-form-urlencoded": { "schema": { "type": "object" } },
            "multipart/form-data": { "schema": { "type": "object" } },
        },
    })
}
