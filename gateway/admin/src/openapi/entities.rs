//! Operations on entities, the same for every kind (gateway.md §2.1–§2.4).

use http::Method;
use serde_json::{Value, json};
use tollgate_core::entity::Kind;

use super::components::{changes, given, list_of, reference, shown};
use super::operation::{Operation, Success};
use super::types::must_be_given;
use crate::resource::{Nested, Resource};

/// What an entity's write may meet besides what every operation may: a file has the configuration; a value is taken.
const WRITE: &[u16] = &[405, 409];

/// The operation of a resource that consists of entities; `None`: it does not.
pub(super) fn operation(resource: &Resource<'_>, method: &Method) -> Option<Operation> {
    match resource {
        Resource::Collection(entities) => Some(collection(entities.kind(), method)),
        Resource::Entity(entities, _) => Some(entity(entities.kind(), method, "", &[])),
        Resource::Foreign(foreign, _) => {
            let kind = foreign.targets.kind();
            if method == Method::DELETE {
                let summary = format!("Refused: {} is set to null with a change of the entity itself", foreign.field);
                return Some(Operation { summary, failures: &[405], ..Operation::default() });
            }
            Some(entity(kind, method, &format!(", the {} of this entity", foreign.field), &[]))
        }
        Resource::Children(nested, _) => Some(children(nested, method)),
        Resource::Child(nested, ..) => Some(child(nested, method)),
        Resource::StoredChildren(nested, _) => {
            Some(list(nested.children.kind(), " as they are stored, in order of id", paging().to_vec()))
        }
        _ => None,
    }
}

/// What may stand for a variable part of the path.
pub(super) fn key_description(name: &str, resource: &Resource<'_>) -> Option<String> {
    let kinds: Vec<&Kind> = match resource {
        Resource::Entity(entities, _) => vec![entities.kind()],
        Resource::Foreign(foreign, _) => vec![foreign.owners.kind()],
        Resource::Children(nested, _) | Resource::StoredChildren(nested, _) | Resource::UpstreamHealth(nested, _) => {
            vec![nested.parents.kind()]
        }
        Resource::Child(nested, ..) => vec![nested.parents.kind(), nested.children.kind()],
        Resource::NewTargetHealth(new) => vec![new.nested.parents.kind(), new.nested.children.kind()],
        _ => return None,
    };
    let kind = kinds.iter().find(|kind| kind.name == name)?;
    let nested_key = kinds.first().filter(|parent| parent.name != name).and_then(|parent| {
        let (field, _) = kind.foreign_fields().find(|(_, target)| *target == parent.name)?;
        kind.key_below(field.name)
    });
    Some(match (kind.second_key, nested_key, kind.names) {
        (Some(key), ..) => format!("The id or the {key}."),
        (None, Some(key), _) => format!("The id or the {}.", key.name),
        (None, None, Some(names)) => format!("The id or one of the {}.", names.field),
        (None, None, None) => "The id.".to_owned(),
    })
}

fn collection(kind: &Kind, method: &Method) -> Operation {
    if method == Method::POST {
        return create(kind, "", &[]);
    }
    let tags = kind.schema.field("tags").is_some();
    let tags = tags.then(|| ("tags", json!({ "type": "string", "description": "a,b: with both; a/b: with either." })));
    let custom_id = json!({ "type": "string", "minLength": 1, "description": "Only the one with this custom_id." });
    let custom_id = (kind.name == "consumers").then_some(("custom_id", custom_id));
    list(kind, ", in order of id", paging().into_iter().chain(tags).chain(custom_id).collect())
}

fn list(kind: &Kind, order: &str, query: Vec<(&'static str, Value)>) -> Operation {
    Operation {
        summary: format!("List {}{order}", kind.name),
        query,
        success: vec![Success::json(200, "A page.", &reference(&list_of(kind)))],
        ..Operation::default()
    }
}

/// The arguments of lists.
pub(super) fn paging() -> [(&'static str, Value); 2] {
    let size = json!({
        "type": "integer", "minimum": 1, "maximum": 1000, "default": 100, "description": "Entities per page.",
    });
    [("size", size), ("offset", json!({ "type": "string", "description": "Where a page ended: its offset." }))]
}

fn create(kind: &Kind, place: &str, given_by_path: &[&str]) -> Operation {
    Operation {
        summary: format!("Create one of {}{place}", kind.name),
        body: Some(body(kind, given_by_path)),
        success: vec![Success::json(201, "The entity.", &reference(&shown(kind)))],
        failures: WRITE,
        ..Operation::default()
    }
}

fn children(nested: &Nested<'_>, method: &Method) -> Operation {
    let kind = nested.children.kind();
    if method == Method::POST {
        return create(kind, &format!(" below one of {}", nested.parents.kind().name), &[nested.field]);
    }
    let order = if kind.only_below_parent { "newest first" } else { "in order of id" };
    list(kind, &format!(" of one of {}, {order}", nested.parents.kind().name), paging().to_vec())
}

fn child(nested: &Nested<'_>, method: &Method) -> Operation {
    let kind = nested.children.kind();
    let key = kind.key_below(nested.field).filter(|_| kind.second_key.is_none());
    let given_by_path: Vec<&str> = [nested.field].into_iter().chain(key.map(|key| key.name)).collect();
    let place = format!(" below one of {}", nested.parents.kind().name);
    let operation = entity(kind, method, &place, &given_by_path);
    if kind.only_below_parent && method == Method::PUT {
        return Operation { body: Some(reference(&changes(kind))), ..operation };
    }
    operation
}

fn entity(kind: &Kind, method: &Method, place: &str, given_by_path: &[&str]) -> Operation {
    let entity = || vec![Success::json(200, "The entity.", &reference(&shown(kind)))];
    let summary = |verb: &str| format!("{verb} one of {}{place}", kind.name);
    match method.as_str() {
        "GET" => Operation { summary: summary("Show"), success: entity(), ..Operation::default() },
        "DELETE" => Operation {
            summary: summary("Delete"),
            success: vec![Success::empty(204, "It does not exist any more.")],
            failures: &[405],
            ..Operation::default()
        },
        "PATCH" => Operation {
            summary: summary("Change"),
            body: Some(reference(&changes(kind))),
            success: entity(),
            failures: WRITE,
            ..Operation::default()
        },
        _ => {
            let names = kind.names.map(|names| names.field);
            let by_path: Vec<&str> = given_by_path.iter().copied().chain(kind.second_key).chain(names).collect();
            Operation {
                summary: summary("Create or replace"),
                body: Some(body(kind, &by_path)),
                success: entity(),
                failures: WRITE,
                ..Operation::default()
            }
        }
    }
}

/// A whole entity, without what the path gives.
fn body(kind: &Kind, given_by_path: &[&str]) -> Value {
    let required: Vec<&str> = must_be_given(&kind.schema).filter(|name| !given_by_path.contains(name)).collect();
    let given = reference(&given(kind));
    if required.is_empty() { given } else { json!({ "allOf": [given, { "type": "object", "required": required }] }) }
}
