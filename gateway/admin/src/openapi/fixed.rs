//! Operations on everything that is no entity (gateway.md §2.3, §2.5).

use http::Method;
use serde_json::{Map, Value, json};

use super::components::{page_of, reference};
use super::entities::paging;
use super::operation::{Operation, Success};
use crate::node::LogLevel;
use crate::resource::Resource;

/// The only values of a path's variable part; `None`: any text.
pub(super) fn path_values(resource: &Resource<'_>) -> Option<Value> {
    let levels = LogLevel::ALL.map(LogLevel::as_str);
    matches!(resource, Resource::NewLogLevel(_)).then(|| json!({ "type": "string", "enum": levels }))
}

/// The operation of a resource that is not one of entities.
pub(super) fn operation(resource: &Resource<'_>, method: &Method) -> Operation {
    match resource {
        Resource::Tags | Resource::Tag(_) => tags(method),
        Resource::Configuration => configuration(method),
        Resource::UpstreamHealth(..) | Resource::NewTargetHealth(_) => health(resource),
        Resource::Schema(_) | Resource::PluginSchema(_) => {
            let fields = json!({ "type": "array", "items": { "type": "object" } });
            let schema = object(&[("fields", fields.clone()), ("entity_checks", fields)]);
            shows("Show a schema: fields, types, defaults and rules", &schema)
        }
        Resource::SchemaValidation(_) => validation(json!({ "type": "object" }), "Check an entity without writing it"),
        Resource::PluginValidation => validation(reference("plugins.given"), "Check a plugin without writing it"),
        Resource::Explanation => explanation(),
        Resource::Cache => forgets("Drop what the plugins have cached"),
        Resource::CacheKey(_) if method == Method::DELETE => forgets("Drop an entry of the plugins' caches"),
        Resource::CacheKey(_) => shows("Show an entry of the plugins' caches", &json!({ "type": "object" })),
        Resource::NewLogLevel(_) => shows("Change the log level until the next start", &reference("message")),
        _ => of_node(resource),
    }
}

fn of_node(resource: &Resource<'_>) -> Operation {
    let strings = json!({ "type": "array", "items": { "type": "string" } });
    match resource {
        Resource::Information => shows("Show the node: version, plugins, settings without secrets", &information()),
        Resource::Status => Operation {
            query: vec![
                (
                    "unit",
                    json!({ "type": "string", "enum": ["b", "k", "K", "m", "M", "g", "G"], "description": "Of memory." }),
                ),
                ("scale", json!({ "type": "integer", "minimum": 0, "description": "Digits after the point." })),
            ],
            ..shows("Show memory, connections, and whether the store responds", &status())
        },
        Resource::Metrics => Operation {
            summary: "Show all metrics".to_owned(),
            success: vec![Success {
                status: 200,
                description: "Prometheus' text format.",
                content: Some(json!({ "text/plain": { "schema": { "type": "string" } } })),
            }],
            ..Operation::default()
        },
        Resource::Timers => shows("Show timers, of which there are none", &json!({ "type": "object" })),
        Resource::Endpoints => shows("List all paths", &object(&[("data", strings)])),
        Resource::EnabledPlugins => shows("List the available plugins", &object(&[("enabled_plugins", strings)])),
        Resource::OpenApi => {
            shows("Show this document", &json!({ "type": "object", "required": ["openapi", "paths"] }))
        }
        Resource::ConsoleFile(_) => Operation {
            summary: "Show the console".to_owned(),
            success: vec![Success {
                status: 200,
                description: "A page for people.",
                content: Some(json!({ "text/html": { "schema": { "type": "string" } } })),
            }],
            ..Operation::default()
        },
        Resource::ConsoleCaller => shows("Show who calls, for the console", &caller()),
        _ => shows("Show the log level", &reference("message")),
    }
}

fn shows(summary: &str, schema: &Value) -> Operation {
    Operation {
        summary: summary.to_owned(),
        success: vec![Success::json(200, "As asked for.", schema)],
        ..Operation::default()
    }
}

fn forgets(summary: &str) -> Operation {
    Operation {
        summary: summary.to_owned(),
        success: vec![Success::empty(204, "It is not cached any more.")],
        ..Operation::default()
    }
}

fn validation(body: Value, summary: &str) -> Operation {
    Operation { body: Some(body), ..shows(summary, &reference("message")) }
}

/// Tags are written with the entities that have them: nothing but reading succeeds.
fn tags(method: &Method) -> Operation {
    if method != Method::GET {
        return Operation { summary: "Refused: tags are written with entities".to_owned(), ..Operation::default() };
    }
    let text = || json!({ "type": "string" });
    let item = object(&[("entity_name", text()), ("entity_id", text()), ("tag", text())]);
    Operation { query: paging().to_vec(), ..shows("List tags and what has them", &page_of(&item)) }
}

fn configuration(method: &Method) -> Operation {
    let flag = |description: &str| json!({ "type": "string", "enum": ["0", "1"], "description": description });
    if method == Method::POST {
        return Operation {
            summary: "Replace the configuration, where database.mode is off".to_owned(),
            query: vec![
                ("check_hash", flag("1: not if it is in force already.")),
                ("flatten_errors", flag("1: faults by entity as well.")),
            ],
            body: Some(json!({ "type": "object" })),
            success: vec![
                Success::json(201, "The entities by kind and id.", &json!({ "type": "object" })),
                Success::empty(304, "It is in force already."),
            ],
            failures: &[409, 429],
            ..Operation::default()
        };
    }
    let schema = object(&[("config", json!({ "type": "string" }))]);
    shows("Show the configuration as YAML, where database.mode is off", &schema)
}

fn health(resource: &Resource<'_>) -> Operation {
    if matches!(resource, Resource::NewTargetHealth(_)) {
        return Operation {
            summary: "Say what the health of a target or of one of its addresses is, on all nodes".to_owned(),
            success: vec![Success::empty(204, "It is.")],
            ..Operation::default()
        };
    }
    let whole = json!({ "type": "string", "enum": ["1"], "description": "1: the upstream as a whole." });
    let schema = json!({
        "type": "object",
        "properties": {
            "data": { "type": ["array", "object", "null"] },
            "next": { "type": ["string", "null"] },
            "offset": { "type": "string" },
            "node_id": { "type": "string", "format": "uuid" },
        },
        "required": ["data", "next", "node_id"],
        "additionalProperties": false,
    });
    let query = paging().into_iter().chain([("balancer_health", whole)]).collect();
    Operation { query, ..shows("Show what this node knows of the health of an upstream's targets", &schema) }
}

fn explanation() -> Operation {
    let text = || json!({ "type": "string", "minLength": 1 });
    let question = json!({
        "type": "object", "properties": { "route": text(), "token": text() }, "required": ["route", "token"],
    });
    Operation {
        body: Some(question),
        failures: &[404],
        ..shows("Say what becomes of a token on a route: each check with its verdict", &json!({ "type": "object" }))
    }
}

fn caller() -> Value {
    let text = || json!({ "type": "string" });
    let id = json!({ "type": "string", "format": "uuid" });
    object(&[
        ("name", text()),
        ("role", json!({ "type": "string", "enum": ["read", "write"] })),
        ("configuration", json!({ "type": "string", "enum": ["database", "file"] })),
        ("node", object(&[("id", id), ("hostname", text())])),
    ])
}

fn information() -> Value {
    let (text, map) = (|| json!({ "type": "string" }), || json!({ "type": "object" }));
    let plugins = object(&[
        ("available_on_server", map()),
        ("enabled_in_cluster", json!({ "type": "array", "items": { "type": "string" } })),
    ]);
    object(&[
        ("tagline", text()),
        ("version", text()),
        ("edition", text()),
        ("hostname", text()),
        ("node_id", json!({ "type": "string", "format": "uuid" })),
        ("timers", map()),
        ("plugins", plugins),
        ("lua_version", text()),
        ("configuration", map()),
        ("pids", map()),
    ])
}

fn status() -> Value {
    let map = || json!({ "type": "object" });
    let database = object(&[("reachable", json!({ "type": "boolean" }))]);
    let mut status = object(&[("memory", map()), ("server", map()), ("database", database)]);
    if let Some(Value::Object(properties)) = status.get_mut("properties") {
        properties.insert("configuration_hash".to_owned(), json!({ "type": "string" }));
        properties.insert("declarative_config".to_owned(), map());
    }
    status
}

/// An object with these members and no others.
fn object(members: &[(&str, Value)]) -> Value {
    let properties: Map<String, Value> = members.iter().map(|(name, ty)| ((*name).to_owned(), ty.clone())).collect();
    let required: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}
