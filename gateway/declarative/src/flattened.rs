//! The faults by entity (gateway.md §10.2, `flatten_errors`).

use serde_json::{Map, Value, json};

use crate::fault::{Fault, Faults, Scope, Step, dotted};

/// One element for each entity with faults.
pub(crate) fn errors(faults: &Faults) -> Value {
    let mut found: Vec<(&[Step], Vec<Value>)> = Vec::new();
    for fault in faults.faults.iter().filter(|fault| fault.of_entity > 0) {
        let Some((entity, field)) = fault.path.split_at_checked(fault.of_entity) else { continue };
        let error = error(fault, field);
        match found.iter_mut().find(|(known, _)| *known == entity) {
            Some((_, errors)) => errors.push(error),
            None => found.push((entity, vec![error])),
        }
    }
    found.into_iter().map(|(path, errors)| entity(&faults.document, path, errors)).collect()
}

fn error(fault: &Fault, field: &[Step]) -> Value {
    match (fault.scope, field) {
        (Scope::Field, [_, ..]) => json!({"type": "field", "field": dotted(field), "message": fault.message}),
        _ => json!({"type": "entity", "message": fault.message}),
    }
}

fn entity(document: &Value, path: &[Step], errors: Vec<Value>) -> Value {
    let kind = path.iter().rev().find_map(|step| match step {
        Step::Name(name) => Some(name.strip_suffix('s').unwrap_or(name)),
        Step::Index(_) => None,
    });
    let given = path.iter().try_fold(document, |value, step| match step {
        Step::Name(name) => value.get(name),
        Step::Index(index) => value.get(index),
    });
    let mut shown = Map::new();
    shown.insert("entity_type".to_owned(), kind.into());
    for (name, field) in [("entity_id", "id"), ("entity_name", "name"), ("entity_tags", "tags")] {
        if let Some(value) = given.and_then(|given| given.get(field)).filter(|value| !value.is_null()) {
            shown.insert(name.to_owned(), value.clone());
        }
    }
    shown.insert("entity".to_owned(), given.cloned().unwrap_or(Value::Null));
    shown.insert("errors".to_owned(), Value::Array(errors));
    Value::Object(shown)
}
