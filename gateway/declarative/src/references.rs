//! References: an id, or the value of a unique field, of an entity in the same file (gateway.md §10.1).

use serde_json::{Value, json};
use tollgate_core::entity::Kind;
use tollgate_core::schema::Field;
use uuid::Uuid;

use crate::fault::{Fault, Step};
use crate::index::Index;
use crate::layout::Declared;

/// What a value refers to.
enum Reference {
    /// An entity.
    Found(Uuid),
    /// Nothing that is declared; the value as messages show it.
    Missing(String),
    /// Nothing: the field is null, or validation refuses its value.
    None,
}

/// The ids that an entity's foreign fields refer to, as far as they are known.
pub(crate) fn of(
    declared: &Declared<'_>,
    index: &Index,
    entities: &[Declared<'_>],
) -> Vec<(&'static str, Option<Uuid>)> {
    let parent = declared.parent.and_then(|(field, parent)| Some((field, entities.get(parent)?.id)));
    let fields = declared.kind.foreign_fields();
    let id = |field: &Field, target| match (parent, read(declared, field, target, index)) {
        (Some((name, id)), _) if name == field.name => Some(id),
        (_, Reference::Found(id)) => Some(id),
        _ => None,
    };
    fields.map(|(field, target)| (field.name, id(field, target))).collect()
}

/// Replaces all references by ids, and reports those that mean nothing.
pub(crate) fn resolve(entities: &mut [Declared<'_>], index: &Index, faults: &mut Vec<Fault>) {
    let ids: Vec<Uuid> = entities.iter().map(|declared| declared.id).collect();
    for declared in entities {
        let kind = declared.kind;
        for (field, target) in kind.foreign_fields() {
            let reference = read(declared, field, target, index);
            let parent = declared.parent.filter(|(name, _)| *name == field.name);
            if let Some((name, parent)) = parent {
                if declared.document.get(name).is_some_and(|given| !given.is_null()) {
                    faults.push(fault(declared, vec![Step::Name(name.to_owned())], "value must be null".to_owned()));
                }
                let parent = ids.get(parent).copied().unwrap_or_default();
                declared.document.insert(name.to_owned(), json!({ "id": parent }));
                continue;
            }
            let id = match reference {
                Reference::None => continue,
                Reference::Found(id) => id,
                Reference::Missing(value) => {
                    let name = Step::Name(field.name.to_owned());
                    faults.push(fault(declared, vec![name], invalid(field.name, &value, target)));
                    // The field is given: only what it means is unknown.
                    Uuid::nil()
                }
            };
            declared.document.insert(field.name.to_owned(), json!({ "id": id }));
        }
        check_lists(declared, kind, index, faults);
    }
}

fn check_lists(declared: &Declared<'_>, kind: &Kind, index: &Index, faults: &mut Vec<Fault>) {
    for field in &kind.schema.fields {
        let (Some(target), Some(Value::Array(listed))) = (field.ids_of, declared.document.get(field.name)) else {
            continue;
        };
        for (position, value) in listed.iter().enumerate() {
            let Some(id) = value.as_str().and_then(|text| Uuid::parse_str(text).ok()) else { continue };
            if !index.has(target, id) {
                let path = vec![Step::Name(field.name.to_owned()), Step::Index(position)];
                faults.push(fault(declared, path, invalid(field.name, &id.to_string(), target)));
            }
        }
    }
}

fn fault(declared: &Declared<'_>, below: Vec<Step>, message: String) -> Fault {
    let path = [declared.path.clone(), below].concat();
    Fault { of_entity: declared.path.len(), ..Fault::of_field(path, message) }
}

fn invalid(field: &str, value: &str, target: &str) -> String {
    format!("invalid reference '{field}: {value}' (no such entry in '{target}')")
}

fn read(declared: &Declared<'_>, field: &Field, target: &'static str, index: &Index) -> Reference {
    match declared.document.get(field.name) {
        Some(Value::String(text)) => by_text(text, target, index),
        Some(Value::Object(given)) => {
            let named = given.iter().find_map(|(name, value)| Some((name.as_str(), value.as_str()?)));
            match (given.get("id").and_then(Value::as_str), named) {
                (Some(id), _) => by_text(id, target, index),
                (None, Some((name, value))) => match index.with(target, name, value) {
                    Some(id) => Reference::Found(id),
                    None => Reference::Missing(value.to_owned()),
                },
                (None, None) => Reference::None,
            }
        }
        _ => Reference::None,
    }
}

/// A text is an id, or a value of any unique field.
fn by_text(text: &str, target: &'static str, index: &Index) -> Reference {
    let id = Uuid::parse_str(text).ok().filter(|id| index.has(target, *id));
    match id.or_else(|| index.named(target, text)) {
        Some(id) => Reference::Found(id),
        None => Reference::Missing(text.to_owned()),
    }
}
