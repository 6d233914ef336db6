//! docs/admin-api.md, the reference of the Admin API, is what `/openapi.json` says.
//!
//! `./dev admin-api` writes it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use serde_json::{Map, Value};
use tollgate_tests::{Gateway, repository};

const PAGE: &str = "docs/admin-api.md";

const BEGIN: &str = "# The Admin API

Every path of the Admin API, every entity, and the configuration of every plugin. This page is generated from the
`/openapi.json` of a node (`./dev admin-api` writes it), which is generated from the descriptions that the node itself
works with. [The gateway](compatibility/gateway.md) says what requests mean: bodies (§1), verbs (§2.2), lists (§3), errors
(§4).

    curl -s localhost:8001/openapi.json

Every operation may also get 400, 401 and 403 (who may call), 500 and 503; below a path with `{…}` 404; with a body 408,
413 and 415. `HEAD` is served wherever `GET` is, and `OPTIONS` everywhere.
";

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_of_the_admin_api_is_up_to_date() {
    let gateway = Gateway::on_sqlite().await;
    let document = gateway.admin_get("/openapi.json").await.expect(200).json();
    let page = page(&document);
    let file = repository().join(PAGE);
    if std::env::var_os("TOLLGATE_WRITE_ADMIN_API").is_some() {
        fs::write(&file, &page).unwrap();
    }
    let stored = fs::read_to_string(&file).unwrap_or_default();
    let differs = stored.lines().zip(page.lines()).find(|(stored, made)| stored != made);
    assert!(stored == page, "{PAGE} is not what /openapi.json says: run ./dev admin-api ({differs:?})");
}

fn page(document: &Value) -> String {
    let mut by_tag: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters") {
            let tag = operation["tags"][0].as_str().unwrap();
            by_tag.entry(tag).or_default().push(operation_row(&method.to_uppercase(), path, operation));
        }
    }
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let mut page = BEGIN.to_owned();
    for (tag, rows) in by_tag {
        write!(page, "\n## {tag}\n\n| request | what it does | success |\n|---|---|---|\n").unwrap();
        rows.iter().for_each(|row| page.push_str(row));
        if let Some(fields) = schemas.get(&format!("{tag}.given")).filter(|given| given.get("properties").is_some()) {
            page.push_str(&fields_of(fields, &required(document, tag)));
        }
    }
    page.push_str("\n## Plugins\n\nThe fields of an instance of `plugins`, by its `name`.\n");
    for (name, schema) in schemas {
        if let Some(plugin) = name.strip_prefix("plugins.").and_then(|name| name.strip_suffix(".given")) {
            write!(page, "\n### {plugin}\n{}", fields_of(schema, &[])).unwrap();
        }
    }
    page
}

fn operation_row(method: &str, path: &str, operation: &Value) -> String {
    let arguments = operation["parameters"].as_array().into_iter().flatten();
    let arguments: Vec<String> =
        arguments.map(|argument| format!("`{}`", argument["name"].as_str().unwrap())).collect();
    let arguments = if arguments.is_empty() { String::new() } else { format!("; arguments {}", arguments.join(", ")) };
    let statuses = operation["responses"].as_object().unwrap().keys().filter(|status| status.as_str() < "400");
    let statuses: Vec<&str> = statuses.map(String::as_str).collect();
    let summary = operation["summary"].as_str().unwrap();
    format!("| `{method} {path}` | {}{arguments} | {} |\n", escaped(summary), statuses.join(", "))
}

/// What a new entity must have: where a path gives some of it, less.
fn required<'d>(document: &'d Value, tag: &str) -> Vec<&'d str> {
    let created = document["paths"].as_object().unwrap().values().map(|item| &item["post"]);
    let of_kind = created.filter(|operation| operation["tags"][0] == tag);
    let lists = of_kind.filter_map(|operation| {
        let body = &operation["requestBody"]["content"]["application/json"]["schema"];
        Some(body["allOf"][1]["required"].as_array()?.iter().filter_map(Value::as_str).collect::<Vec<_>>())
    });
    lists.max_by_key(Vec::len).unwrap_or_default()
}

fn fields_of(schema: &Value, required: &[&str]) -> String {
    let mut text = String::new();
    if let Some(rules) = schema["description"].as_str() {
        write!(text, "\n{rules}\n").unwrap();
    }
    text.push_str("\n| field | type | default | meaning |\n|---|---|---|---|\n");
    rows("", schema, required, &mut text);
    text
}

/// A row for each field, those of nested records as `config.field`.
fn rows(prefix: &str, schema: &Value, required: &[&str], text: &mut String) {
    let own = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let required: Vec<&str> = own.chain(required.iter().copied()).collect();
    let nothing = Map::new();
    for (name, field) in schema["properties"].as_object().unwrap_or(&nothing) {
        let is_reference = field["properties"].get("id").is_some();
        let is_record = field.get("properties").is_some() && !is_reference;
        let default = match field.get("default") {
            Some(default) => format!("`{default}`"),
            None if required.contains(&name.as_str()) => "required".to_owned(),
            None => String::new(),
        };
        let description = escaped(field["description"].as_str().unwrap_or_default());
        writeln!(text, "| `{prefix}{name}` | {} | {} | {description} |", escaped(&type_of(field)), escaped(&default))
            .unwrap();
        if is_record {
            rows(&format!("{prefix}{name}."), field, &[], text);
        }
    }
}

fn type_of(field: &Value) -> String {
    if let Some(value) = field.get("const") {
        return format!("`{value}`");
    }
    let name = match &field["type"] {
        Value::Array(types) => types[0].as_str().unwrap(),
        one => one.as_str().unwrap_or("any"),
    };
    let of = |what: &str| format!(" of {}", type_of(&field[what]));
    let base = match name {
        "object" if field["properties"].get("id").is_some() => "reference".to_owned(),
        "object" if field["additionalProperties"].is_object() => format!("map{}", of("additionalProperties")),
        "object" => "record".to_owned(),
        "array" if field["uniqueItems"] == true => format!("set{}", of("items")),
        "array" => format!("array{}", of("items")),
        name => name.to_owned(),
    };
    [Some(base), values(field)].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Which values a field accepts, as far as the document says.
fn values(field: &Value) -> Option<String> {
    if let Some(options) = field["enum"].as_array() {
        let options = options.iter().filter(|option| !option.is_null()).map(|option| format!("`{option}`"));
        return Some(format!("one of {}", options.collect::<Vec<_>>().join(" ")));
    }
    match (field.get("minimum"), field.get("maximum"), field.get("exclusiveMinimum"), field.get("format")) {
        (Some(low), Some(high), ..) => Some(format!("{low} to {high}")),
        (_, _, Some(limit), _) => Some(format!("above {limit}")),
        (.., Some(format)) => Some(format.as_str()?.to_owned()),
        _ => None,
    }
}

fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
