//! References in bodies: `{"id": …}` or any unique field of the referenced entity, resolved before validation
//! (gateway.md §2.2).

use serde_json::{Map, Value, json};
use tollgate_core::collection::{Document, Key};
use tollgate_core::entity::{Kind, Names};
use tollgate_core::error::{DaoError, StoreError};
use tollgate_core::schema::Field;
use uuid::Uuid;

use crate::resource::Entities;
use crate::response::Failure;
use crate::state::AdminState;

/// The value of a foreign field.
pub(crate) fn to(id: Uuid) -> Value {
    json!({ "id": id })
}

/// A UUID as written in paths and bodies: with hyphens. (32 hexadecimal digits are a name.)
pub(crate) fn parse_uuid(text: &str) -> Option<Uuid> {
    if text.len() == 36 { Uuid::parse_str(text).ok() } else { None }
}

/// The key for a path segment: an id, or else the kind's second key.
pub(crate) fn key(kind: &Kind, segment: &str) -> Result<Key, DaoError> {
    if let Some(id) = parse_uuid(segment) {
        return Ok(Key::Id(id));
    }
    let field = kind.second_key.and_then(|name| kind.schema.field(name)).ok_or(DaoError::InvalidPrimaryKey)?;
    validate_key(field, segment)?;
    Ok(Key::Unique { field: field.name, value: segment.to_owned() })
}

/// The key of an entity that exists, for a path segment: one of its names may stand for it ([`Names`]).
pub(crate) async fn existing(state: &AdminState, entities: &Entities, segment: &str) -> Result<Key, Failure> {
    let Some(names) = entities.kind().names else { return Ok(key(entities.kind(), segment)?) };
    match owner_of_name(state, names, segment).await? {
        Named::Id(id) => Ok(Key::Id(id)),
        Named::Nobody => Err(Failure::NoSuchName(names.missing)),
    }
}

/// What a path segment identifies among entities that have names.
pub(crate) enum Named {
    /// An entity: by its id, whether or not it exists, or by a name that it has.
    Id(Uuid),
    /// Nothing: no entity has this name.
    Nobody,
}

/// Finds the entity with that id or name.
pub(crate) async fn owner_of_name(state: &AdminState, names: Names, segment: &str) -> Result<Named, DaoError> {
    if let Some(id) = parse_uuid(segment) {
        return Ok(Named::Id(id));
    }
    let Some(collection) = state.registry.collection(names.kind) else { return Ok(Named::Nobody) };
    let found = collection.find(&key(collection.kind(), segment)?).await?;
    Ok(found.and_then(|name| name.reference(names.reference)).map_or(Named::Nobody, Named::Id))
}

/// Whether the field can have the value of a path segment.
pub(crate) fn validate_key(field: &Field, segment: &str) -> Result<(), DaoError> {
    let validated = field.validate_key(&Value::from(segment));
    validated.map_err(|why| DaoError::InvalidUnique { field: field.name, why })
}

/// Replaces references by unique name with ids. Values that are not references are left for validation to
/// refuse.
pub(crate) async fn resolve(state: &AdminState, kind: &Kind, document: &mut Document) -> Result<(), DaoError> {
    for (field, target) in kind.foreign_fields() {
        let (Some(Value::Object(given)), Some(targets)) = (document.get(field.name), state.registry.collection(target))
        else {
            continue;
        };
        let resolved = match given.get("id") {
            Some(Value::String(id)) if parse_uuid(id).is_some() => json!({ "id": id.to_ascii_lowercase() }),
            Some(id) if !id.is_null() => json!({ "id": id }),
            _ => match by_unique_field(targets, given, field.name).await? {
                Some(id) => to(id),
                None => continue,
            },
        };
        document.insert(field.name.to_owned(), resolved);
    }
    Ok(())
}

/// The id of the entity with the first unique field that is given.
async fn by_unique_field(
    targets: &Entities,
    given: &Map<String, Value>,
    field: &'static str,
) -> Result<Option<Uuid>, DaoError> {
    for unique in targets.kind().unique_fields() {
        let Some(Value::String(value)) = given.get(unique.name) else { continue };
        let found = match unique.validate_key(&Value::from(value.as_str())) {
            Ok(()) => targets.find(&Key::Unique { field: unique.name, value: value.clone() }).await?,
            Err(_) => None,
        };
        let id = found.as_ref().and_then(Document::id);
        return id.map(Some).ok_or_else(|| DaoError::ForeignUnresolved {
            field,
            target: targets.kind().name,
            by: unique.name.to_owned(),
            value: value.clone(),
        });
    }
    Ok(None)
}

/// A stored document without an id, which no schema permits.
pub(crate) fn without_id(kind: &Kind) -> StoreError {
    StoreError::Corrupt { kind: kind.name, what: "it has no id" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_core::entity::{consumer, plugin, service};

    const ID: &str = "c0ffee00-0000-4000-8000-00000000000A";

    #[test]
    fn a_segment_is_an_id_or_the_second_key() {
        let id = Uuid::parse_str(ID).unwrap();
        assert_eq!(key(&service::kind(), ID).unwrap(), Key::Id(id));
        let name = |value: &str| Key::Unique { field: "name", value: value.to_owned() };
        assert_eq!(key(&service::kind(), "svc").unwrap(), name("svc"));
        let hexadecimal = "c0ffee0000004000800000000000000a";
        assert_eq!(key(&service::kind(), hexadecimal).unwrap(), name(hexadecimal));
        assert!(matches!(key(&consumer::kind(), "bob"), Ok(Key::Unique { field: "username", .. })));
        assert!(matches!(key(&plugin::kind(), "mine"), Ok(Key::Unique { field: "instance_name", .. })));
    }

    #[test]
    fn a_segment_that_breaks_the_rule_of_its_field_is_an_invalid_unique_value() {
        assert!(matches!(key(&service::kind(), "a b"), Err(DaoError::InvalidUnique { field: "name", .. })));
    }

    #[test]
    fn a_kind_without_a_second_key_takes_ids_only() {
        let kind = Kind { second_key: None, ..service::kind() };
        assert!(matches!(key(&kind, "svc"), Err(DaoError::InvalidPrimaryKey)));
    }
}
