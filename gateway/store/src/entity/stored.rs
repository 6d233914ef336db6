//! An entity as rows: the document, and its keys, references and tags.

use std::borrow::Cow;

use openssl::sha::sha256;
use serde_json::Value;
use tollgate_core::collection::Document;
use tollgate_core::entity::Kind;
use tollgate_core::error::StoreError;
use tollgate_core::schema::{OnDelete, Type};
use uuid::Uuid;

/// Longer values are stored as their digest: the size of index entries is limited.
const LONGEST: usize = 512;

/// The rows of one entity.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) id: Uuid,
    pub(crate) body: String,
    pub(crate) created_at: i64,
    pub(crate) keys: Vec<UniqueKey>,
    pub(crate) references: Vec<Reference>,
    pub(crate) tags: Vec<String>,
}

/// A value, or combination of values, that must be unique within the kind.
#[derive(Debug, PartialEq)]
pub(crate) struct UniqueKey {
    /// The fields with their values, for error messages.
    pub(crate) fields: Vec<(&'static str, Value)>,
    /// The names of the fields, joined.
    pub(crate) field: String,
    /// The values in canonical text.
    pub(crate) value: String,
}

/// A foreign field that is set, or one id in a list of ids.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) field: &'static str,
    /// The position in a list, from 1.
    pub(crate) position: Option<usize>,
    pub(crate) target: &'static str,
    pub(crate) id: Uuid,
    pub(crate) on_delete: OnDelete,
}

impl Reference {
    /// The field as named in the table: each id of a list has its own row.
    pub(crate) fn column(&self) -> Cow<'static, str> {
        match self.position {
            None => self.field.into(),
            Some(position) => format!("{}.{position}", self.field).into(),
        }
    }

    /// The value in the table.
    pub(crate) fn on_delete(&self) -> &'static str {
        match self.on_delete {
            OnDelete::Cascade => CASCADE,
            OnDelete::Restrict => "restrict",
        }
    }
}

/// The table's value for [`OnDelete::Cascade`]; any other value forbids the deletion.
pub(crate) const CASCADE: &str = "cascade";

impl Stored {
    /// The rows of a validated document.
    pub(crate) fn from_document(kind: &Kind, document: &Document) -> Result<Self, StoreError> {
        Ok(Self {
            id: id_of(kind, document)?,
            body: document.to_string(),
            created_at: created_at(document),
            keys: unique_keys(kind, document),
            references: references(kind, document),
            tags: tags(document),
        })
    }
}

/// The document's primary key.
pub(crate) fn id_of(kind: &Kind, document: &Document) -> Result<Uuid, StoreError> {
    document.id().ok_or(StoreError::Corrupt { kind: kind.name, what: "its id is not a UUID" })
}

/// Whole seconds, also for targets, whose times have a fraction.
fn created_at(document: &Document) -> i64 {
    let fraction = || document.get("created_at").and_then(Value::as_f64);
    #[expect(clippy::cast_possible_truncation, reason = "whole seconds are wanted; `as` saturates")]
    document.integer("created_at").or_else(|| fraction().map(|seconds| seconds as i64)).unwrap_or(0)
}

fn unique_keys(kind: &Kind, document: &Document) -> Vec<UniqueKey> {
    let value = |field: &str| document.get(field).cloned().unwrap_or(Value::Null);
    let single = kind.unique_fields().filter_map(|field| {
        let value = value(field.name);
        let canonical = canonical_value(&value)?;
        Some(UniqueKey { fields: vec![(field.name, value)], field: field.name.to_owned(), value: canonical })
    });
    let mut keys: Vec<UniqueKey> = single.collect();
    if !kind.unique_together.is_empty() {
        let fields: Vec<_> = kind.unique_together.iter().map(|field| (*field, value(field))).collect();
        // Two entities that both lack a field collide as well, such as two global plugins.
        let values = fields.iter().map(|(_, value)| foreign_id(value).unwrap_or(value).clone()).collect();
        let value = bounded(Value::Array(values).to_string());
        keys.push(UniqueKey { fields, field: kind.unique_together.join(","), value });
    }
    keys
}

/// A single value as stored in `entity_keys`; null does not occupy a key.
fn canonical_value(value: &Value) -> Option<String> {
    match foreign_id(value).unwrap_or(value) {
        Value::Null => None,
        Value::String(text) => Some(canonical_text(text)),
        other => Some(bounded(other.to_string())),
    }
}

/// A string value as stored in `entity_keys`.
pub(crate) fn canonical_text(text: &str) -> String {
    bounded(text.to_owned())
}

/// Values that are too long for an index, cannot be stored as PostgreSQL text, or look like output of this
/// function, are stored as their digest.
fn bounded(text: String) -> String {
    if text.len() <= LONGEST && !text.contains('\0') && !text.starts_with("sha256:") {
        return text;
    }
    let digest: String = sha256(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digest}")
}

fn foreign_id(value: &Value) -> Option<&Value> {
    value.as_object().and_then(|object| object.get("id"))
}

fn references(kind: &Kind, document: &Document) -> Vec<Reference> {
    let mut references = Vec::new();
    for field in &kind.schema.fields {
        if let Type::Foreign { target, on_delete } = field.ty {
            references.extend(document.reference(field.name).map(|id| Reference {
                field: field.name,
                position: None,
                target,
                id,
                on_delete,
            }));
        }
        if let Some(target) = field.ids_of {
            references.extend(document.texts(field.name).enumerate().filter_map(|(position, id)| {
                let (position, on_delete) = (Some(position + 1), OnDelete::Restrict);
                Some(Reference { field: field.name, position, target, id: Uuid::parse_str(id).ok()?, on_delete })
            }));
        }
    }
    references
}

fn tags(document: &Document) -> Vec<String> {
    document.texts("tags").map(canonical_text).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tollgate_core::schema::{Field, Schema};

    use super::*;

    fn kind() -> Kind {
        Kind::new(
            "plugins",
            Schema::new(vec![
                Field::string("label").unique(),
                Field::string("name"),
                Field::foreign("service", "services", OnDelete::Cascade),
            ]),
        )
        .second_key("label")
        .unique_together(&["name", "service"])
    }

    fn stored(document: &Value) -> Stored {
        Stored::from_document(&kind(), &Document::try_from(document.clone()).unwrap()).unwrap()
    }

    #[test]
    fn null_is_not_unique_alone_but_counts_in_a_combination() {
        let stored = stored(&json!({"id": Uuid::nil(), "name": "cors", "label": null, "service": null}));
        let fields = vec![("name", json!("cors")), ("service", Value::Null)];
        let key = UniqueKey { fields, field: "name,service".into(), value: r#"["cors",null]"#.into() };
        assert_eq!(stored.keys, [key]);
        assert!(stored.references.is_empty());
    }

    #[test]
    fn a_reference_is_compared_by_its_id() {
        let service = Uuid::from_u128(7);
        let stored = stored(&json!({"id": Uuid::nil(), "name": "cors", "service": {"id": service}}));
        assert_eq!(stored.keys[0].value, format!(r#"["cors","{service}"]"#));
        let on_delete = OnDelete::Cascade;
        let reference = Reference { field: "service", position: None, target: "services", id: service, on_delete };
        assert_eq!(stored.references, [reference]);
    }

    #[test]
    fn each_id_of_a_list_is_a_reference() {
        let ids = [Uuid::from_u128(7), Uuid::from_u128(8)];
        let kind = Kind { schema: Schema::new(vec![Field::ids_of("authorities", "certificates")]), ..kind() };
        let document = Document::try_from(json!({"id": Uuid::nil(), "authorities": ids})).unwrap();
        let stored = Stored::from_document(&kind, &document).unwrap();
        let rows: Vec<_> = stored.references.iter().map(|row| (row.column(), row.target, row.id)).collect();
        let expected = ids.iter().zip(["authorities.1", "authorities.2"]);
        assert_eq!(rows, expected.map(|(id, column)| (column.into(), "certificates", *id)).collect::<Vec<_>>());
    }

    #[test]
    fn long_values_are_kept_by_digest_and_cannot_be_forged() {
        let long = "a".repeat(LONGEST + 1);
        let digest = canonical_text(&long);
        assert_eq!(digest.len(), "sha256:".len() + 64);
        assert_ne!(canonical_text(&digest), digest);
        assert!(!canonical_text("a\0b").contains('\0'));
    }

    #[test]
    fn a_time_with_a_fraction_is_truncated() {
        assert_eq!(stored(&json!({"id": Uuid::nil(), "created_at": 12.75})).created_at, 12);
    }
}
