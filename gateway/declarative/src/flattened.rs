//! The faults by entity (gateway.md §10.2, `flatten_errors`).

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::fault::{Fault, Faults, Scope, Step, dotted};

impl Faults {
    /// The response of the Admin API with the faults of each entity.
    pub fn to_flattened_json(&self) -> Value {
        let mut response = self.to_json();
        if let Some(fields) = response.as_object_mut() {
            fields.insert("flattened_errors".to_owned(), errors(self));
        }
        response
    }
}

/// One element for each entity with faults.
fn errors(faults: &Faults) -> Value {
    let mut found: Vec<(&[Step], Vec<Value>)> = Vec::new();
    for fault in faults.faults.iter().filter(|fault| fault.of_entity > 0) {
        let Some((entity, field)) = fault.path.split_at_checked(fault.of_entity) else { continue };
        let error = error(fault, field);
        match found.iter_mut().find(|(known, _)| *known == entity) {
            Some((_, errors)) => errors.push(error),
            None => found.push((entity, vec![error])),
        }
    }
    found.into_iter().map(|(path, errors)| entity(faults, path, errors)).collect()
}

fn error(fault: &Fault, field: &[Step]) -> Value {
    match (fault.scope, field) {
        (Scope::Field, [_, ..]) => json!({"type": "field", "field": dotted(field), "message": fault.message}),
        _ => json!({"type": "entity", "message": fault.message}),
    }
}

fn entity(faults: &Faults, path: &[Step], errors: Vec<Value>) -> Value {
    let kind = kind_of(path);
    let mut given = at(&faults.document, path).cloned().unwrap_or(Value::Null);
    if let Value::Object(fields) = &mut given {
        // Entities that are nested in it have their own elements.
        let is_nested = |name: &str| faults.relations.iter().any(|(child, ..)| *child == name);
        fields.retain(|name, value| !(is_nested(name) && is_list_of_records(value)));
        if let Some((field, id)) = parent(faults, path) {
            fields.entry(field).or_insert_with(|| json!({ "id": id }));
        }
    }
    let id = given.get("id").filter(|id| id.as_str().is_some_and(|id| id.len() == 36 && Uuid::parse_str(id).is_ok()));
    let name = given.get("name").filter(|name| name.as_str().is_some_and(|name| !name.is_empty()));
    let is_texts = |tags: &&Value| tags.as_array().is_some_and(|tags| tags.iter().all(Value::is_string));
    let tags = given.get("tags").filter(is_texts);
    let mut shown = Map::new();
    shown.insert("entity_type".to_owned(), kind.strip_suffix('s').unwrap_or(kind).into());
    for (name, value) in [("entity_id", id), ("entity_name", name), ("entity_tags", tags)] {
        shown.extend(value.map(|value| (name.to_owned(), value.clone())));
    }
    shown.insert("entity".to_owned(), given);
    shown.insert("errors".to_owned(), Value::Array(errors));
    Value::Object(shown)
}

fn kind_of(path: &[Step]) -> &str {
    let names = path.iter().rev().filter_map(|step| match step {
        Step::Name(name) => Some(name.as_str()),
        Step::Index(_) => None,
    });
    names.into_iter().next().unwrap_or_default()
}

fn at<'d>(document: &'d Value, path: &[Step]) -> Option<&'d Value> {
    path.iter().try_fold(document, |value, step| match step {
        Step::Name(name) => value.get(name),
        Step::Index(index) => value.get(index),
    })
}

fn is_list_of_records(value: &Value) -> bool {
    value.as_array().is_some_and(|values| values.iter().all(Value::is_object))
}

/// The field that refers to the entity in which this one is nested, and that one's id, if it is given.
fn parent<'f>(faults: &'f Faults, path: &[Step]) -> Option<(&'static str, &'f str)> {
    let above = path.get(..path.len().checked_sub(2)?).filter(|above| !above.is_empty())?;
    let (kind, parent) = (kind_of(path), kind_of(above));
    let (_, _, field) = faults.relations.iter().find(|(child, target, _)| *child == kind && *target == parent)?;
    let id = at(&faults.document, above)?.get("id")?.as_str()?;
    Some((field, id))
}
