//! Ids that follow from what an entity is (gateway.md §10.1), so that the same file always means the same entities.
//!
//! An entity without an id has the UUIDv5 of its second key; or else of the values that are unique together, such as a
//! plugin's name and what it is bound to; or else of all that the file says of it but secrets, which an id must not
//! betray.

use std::collections::HashMap;

use serde_json::{Value, json};
use tollgate_core::entity::Kind;
use tollgate_core::schema::Document;
use uuid::Uuid;

use crate::catalogue::Catalogue;
use crate::index::Index;
use crate::layout::Declared;
use crate::references;

/// The namespace of all ids.
const ROOT: Uuid = Uuid::from_u128(0xfd02801f_0957_4a15_a55a_c8d9606f30b5);

/// Gives every entity its id.
pub(crate) fn assign(entities: &mut [Declared<'_>], catalogue: &Catalogue<'_>) -> Index {
    let mut index = Index::default();
    let mut left: HashMap<&str, Vec<usize>> = HashMap::new();
    for (position, declared) in entities.iter_mut().enumerate() {
        match given(&declared.document).or_else(|| of_second_key(declared.kind, &declared.document)) {
            Some(id) => {
                declared.set_id(id);
                index.add(declared);
            }
            None => left.entry(declared.kind.name).or_default().push(position),
        }
    }
    // The id of one of these may follow from what it refers to, which has its id by then.
    let mut seen = HashMap::new();
    for kind in catalogue.kinds() {
        for position in left.remove(kind.name).unwrap_or_default() {
            let Some(declared) = entities.get(position) else { continue };
            let text = identifying(declared, &references::of(declared, &index, entities));
            let times: &mut u32 = seen.entry((kind.name, text.clone())).or_default();
            *times += 1;
            let text = if *times == 1 || !kind.unique_together.is_empty() { text } else { format!("{text}#{times}") };
            if let Some(declared) = entities.get_mut(position) {
                declared.set_id(of_text(kind, &text));
                index.add(declared);
            }
        }
    }
    index
}

fn given(document: &Document) -> Option<Uuid> {
    let text = document.text("id")?;
    if text.len() == 36 { Uuid::parse_str(text).ok() } else { None }
}

fn of_second_key(kind: &Kind, document: &Document) -> Option<Uuid> {
    document.text(kind.second_key?).map(|key| of_text(kind, key))
}

fn of_text(kind: &Kind, text: &str) -> Uuid {
    let namespace = Uuid::new_v5(&ROOT, kind.name.as_bytes());
    Uuid::new_v5(&namespace, text.as_bytes())
}

/// What identifies an entity that has no second key.
fn identifying(declared: &Declared<'_>, references: &[(&'static str, Option<Uuid>)]) -> String {
    let kind = declared.kind;
    let value = |name: &str| match references.iter().find(|(field, _)| *field == name) {
        Some((_, id)) => json!(id),
        None => declared.document.get(name).cloned().unwrap_or(Value::Null),
    };
    if !kind.unique_together.is_empty() {
        return Value::Array(kind.unique_together.iter().map(|name| value(name)).collect()).to_string();
    }
    let is_secret = |name: &str| kind.schema.field(name).is_some_and(|field| field.sensitive);
    let own = declared.document.iter().filter(|(name, _)| !is_secret(name));
    let mut fields: Vec<(&str, Value)> = own.map(|(name, _)| (name.as_str(), value(name))).collect();
    fields.extend(references.iter().map(|(field, id)| (*field, json!(id))));
    fields.sort_by_key(|(name, _)| *name);
    fields.dedup_by(|(one, _), (other, _)| one == other);
    json!(fields).to_string()
}
