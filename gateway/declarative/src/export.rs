//! Entities → text (gateway.md §10.1): flat, references as ids, secrets as they are stored. Reading the text makes the
//! same entities.

use serde_json::{Map, Value, json};
use tollgate_core::entity::{InFiles, Kind};
use tollgate_core::schema::{Document, Field, Schema, Type};

use crate::catalogue::Catalogue;

/// Writes entities of several kinds. Kinds that could not be read again are left out.
///
/// # Errors
/// A value has no form in YAML.
pub fn export<'d>(
    catalogue: &Catalogue<'_>,
    entities: impl IntoIterator<Item = (&'d str, &'d [Document])>,
) -> Result<String, serde_yaml::Error> {
    let mut file = Map::new();
    file.insert("_format_version".to_owned(), json!("3.0"));
    file.insert("_transform".to_owned(), json!(false));
    for (name, documents) in entities {
        let Some(kind) = catalogue.kind(name).filter(|kind| kind.in_files == InFiles::Declared) else { continue };
        let mut listed: Vec<Value> = documents.iter().map(|document| written(catalogue, kind, document)).collect();
        if !listed.is_empty() {
            listed.sort_by_cached_key(|one| one.get("id").and_then(Value::as_str).map(str::to_owned));
            file.insert(kind.name.to_owned(), Value::Array(listed));
        }
    }
    serde_yaml::to_string(&file)
}

fn written(catalogue: &Catalogue<'_>, kind: &Kind, document: &Document) -> Value {
    let schema = catalogue.kind(kind.name).and_then(|kind| catalogue.schema(kind, document.get("name")).ok());
    let mut fields = without_nulls(schema.unwrap_or(&kind.schema), document);
    for (field, _) in kind.foreign_fields() {
        if let Some(id) = document.reference(field.name) {
            fields.insert(field.name.to_owned(), json!(id));
        }
    }
    if let Some(names) = kind.names {
        // They are entities of their own.
        fields.remove(names.field);
    }
    Value::Object(fields)
}

/// A record without the nulls that reading would fill in again.
fn without_nulls(schema: &Schema, record: &Map<String, Value>) -> Map<String, Value> {
    let mut written = Map::new();
    for (name, value) in record {
        let field = schema.field(name);
        let value = match (field.map(|field| &field.ty), value) {
            (Some(Type::Record(nested)), Value::Object(record)) => Value::Object(without_nulls(nested, record)),
            (_, Value::Null) if field.is_none_or(|field| is_null_by_default(schema, field)) => continue,
            (_, value) => value.clone(),
        };
        written.insert(name.clone(), value);
    }
    written
}

fn is_null_by_default(schema: &Schema, field: &Field) -> bool {
    let mut dependent = schema.dependent_defaults.iter().flat_map(|rule| &rule.defaults);
    let is_made = field.default.as_ref().is_some_and(|default| !default.is_null()) || field.auto.is_some();
    !is_made && !dependent.any(|(name, _)| *name == field.name)
}
