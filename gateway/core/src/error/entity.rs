//! Why an entity could not be read or written, and the Admin API's error for it (gateway.md §4).

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::error::StoreError;
use crate::schema::{Key, Violations, lua_text};

/// Why reading or writing an entity failed (gateway.md §4).
#[derive(Debug, thiserror::Error)]
pub enum DaoError {
    /// Code 1: the path contains no UUID, and the kind has no second key.
    #[error("invalid primary key")]
    InvalidPrimaryKey,
    /// Code 2: the document violates its schema.
    #[error("schema violation")]
    Schema(Violations),
    /// Code 3: the id is taken.
    #[error("primary key violation")]
    PrimaryKey {
        /// The id.
        id: Uuid,
    },
    /// Code 4: a referenced entity does not exist.
    #[error("foreign key violation")]
    ForeignMissing {
        /// The foreign field, such as `service`.
        field: &'static str,
        /// The kind it refers to, such as `services`.
        target: &'static str,
        /// The id that does not exist.
        id: Uuid,
    },
    /// Code 4: another entity still refers to the one to be deleted.
    #[error("foreign key violation")]
    Referenced {
        /// The kind that refers, such as `routes`.
        by: &'static str,
        /// The kind that is referred to, such as `services`.
        target: &'static str,
    },
    /// Code 19: the entity to be deleted is in a list of another one.
    #[error("referenced by others")]
    Listed {
        /// The kind with the list, such as `services`.
        by: &'static str,
        /// The entity with the list.
        by_id: Uuid,
        /// The kind that is listed, such as `ca_certificates`.
        target: &'static str,
        /// The entity that is listed.
        id: Uuid,
    },
    /// Code 5: a unique value, or a combination of values, is taken.
    #[error("unique constraint violation")]
    Unique {
        /// The fields of the constraint with the values that collide: strings, nulls, or `{"id": …}`.
        fields: Vec<(&'static str, Value)>,
    },
    /// Code 6: no such entity exists.
    #[error("not found")]
    NotFound {
        /// The requested key.
        key: Key,
    },
    /// Code 7: the list's `offset` is invalid.
    #[error("invalid offset")]
    InvalidOffset {
        /// The given offset.
        offset: String,
        /// Why it is invalid, such as `bad base64 encoding`.
        why: &'static str,
    },
    /// Code 9: the list's `size` is out of bounds.
    #[error("invalid size")]
    InvalidSize {
        /// The text that clients see (gateway.md §4).
        why: &'static str,
    },
    /// Code 10: the value of a unique field in the path violates the field's rule.
    #[error("invalid unique {field}")]
    InvalidUnique {
        /// The field.
        field: &'static str,
        /// The rule's message.
        why: String,
    },
    /// Code 11: the list's options are invalid.
    #[error("invalid options")]
    InvalidOptions {
        /// Each option and what is wrong with it.
        options: Vec<(&'static str, String)>,
    },
    /// Code 13: no entity has the given unique name.
    #[error("foreign keys unresolved")]
    ForeignUnresolved {
        /// The foreign field, such as `service`.
        field: &'static str,
        /// The kind it refers to.
        target: &'static str,
        /// The given unique field, such as `name`.
        by: String,
        /// Its value.
        value: String,
    },
    /// Code 12: the kind cannot be written directly (`tags`).
    #[error("operation unsupported")]
    Unsupported {
        /// The kind.
        kind: &'static str,
    },
    /// Code 12: the configuration comes from a file.
    #[error("operation unsupported")]
    WithoutDatabase {
        /// What was asked for: `create`, `update`, `create or update` or `remove`.
        operation: &'static str,
        /// The kind.
        kind: &'static str,
        /// The second key by which the entity was named.
        by: Option<&'static str>,
    },
    /// Code 8: the store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The message for a failure of the gateway itself.
const UNEXPECTED: &str = "An unexpected error occurred";

impl DaoError {
    /// The error code (gateway.md §4).
    pub fn code(&self) -> u8 {
        match self {
            Self::InvalidPrimaryKey => 1,
            Self::Schema(_) => 2,
            Self::PrimaryKey { .. } => 3,
            Self::ForeignMissing { .. } | Self::Referenced { .. } => 4,
            Self::Unique { .. } => 5,
            Self::Listed { .. } => 19,
            Self::NotFound { .. } => 6,
            Self::InvalidOffset { .. } => 7,
            Self::Store(_) => 8,
            Self::InvalidSize { .. } => 9,
            Self::InvalidUnique { .. } => 10,
            Self::InvalidOptions { .. } => 11,
            Self::Unsupported { .. } | Self::WithoutDatabase { .. } => 12,
            Self::ForeignUnresolved { .. } => 13,
        }
    }

    /// The error name.
    pub fn name(&self) -> String {
        match self {
            Self::Store(_) => "database error".to_owned(),
            _ => self.to_string(),
        }
    }

    /// The message sent to the client.
    pub fn message(&self) -> String {
        let text = |fields: &Value| lua_text::compact(fields);
        match self {
            Self::InvalidPrimaryKey => format!("invalid primary key: '{}'", text(&self.fields())),
            Self::Schema(violations) => violations.message(),
            Self::PrimaryKey { .. } => format!("primary key violation on key '{}'", text(&self.fields())),
            Self::ForeignMissing { target, id, .. } => {
                format!(
                    "the foreign key '{}' does not reference an existing '{target}' entity.",
                    text(&json!({"id": id}))
                )
            }
            Self::Referenced { by, target } => {
                format!("an existing '{by}' entity references this '{target}' entity")
            }
            Self::Listed { by, by_id, target, id } => {
                let one = target.trim_end_matches('s').replace('_', " ");
                format!("{one} {id} is still referenced by {by} (id = {by_id})")
            }
            Self::Unique { .. } => format!("UNIQUE violation detected on '{}'", text(&self.fields())),
            Self::NotFound { key: Key::Id(_) } => {
                format!("could not find the entity with primary key '{}'", text(&self.fields()))
            }
            Self::NotFound { key: Key::Unique { .. } } => {
                format!("could not find the entity with '{}'", text(&self.fields()))
            }
            Self::InvalidOffset { offset, why } => format!("'{offset}' is not a valid offset: {why}"),
            Self::InvalidSize { why } => (*why).to_owned(),
            Self::InvalidUnique { why, .. } => why.clone(),
            Self::InvalidOptions { options } => options_message(options),
            Self::ForeignUnresolved { field, by, .. } => {
                let why = self.fields();
                let why = why.get(*field).and_then(|field| field.get(by)).and_then(Value::as_str).unwrap_or_default();
                format!("foreign key unresolved ({field}.{by}: {why})")
            }
            Self::Unsupported { kind } => format!("cannot write '{kind}' entities"),
            Self::WithoutDatabase { operation, kind, by: None } => {
                format!("cannot {operation} '{kind}' entities when not using a database")
            }
            Self::WithoutDatabase { operation, kind, by: Some(field) } => {
                format!("cannot {operation} '{kind}' entities by '{field}' when not using a database")
            }
            Self::Store(_) => UNEXPECTED.to_owned(),
        }
    }

    /// The details, by field; the options for code 11, an empty map if there are none.
    pub fn fields(&self) -> Value {
        match self {
            Self::InvalidPrimaryKey => json!({"id": "expected a valid UUID"}),
            Self::Schema(violations) => Value::Object(violations.fields.clone()),
            Self::PrimaryKey { id } => json!({"id": id}),
            Self::ForeignMissing { field, id, .. } => named(field, json!({"id": id})),
            Self::Referenced { by, .. } => json!({"@referenced_by": by}),
            Self::Unique { fields } => {
                Value::Object(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
            }
            Self::NotFound { key: Key::Id(id) } => json!({"id": id}),
            Self::NotFound { key: Key::Unique { field, value } } => named(field, json!(value)),
            Self::InvalidOptions { options } => {
                Value::Object(options.iter().map(|(name, why)| ((*name).to_owned(), json!(why))).collect())
            }
            Self::ForeignUnresolved { field, target, by, value } => {
                let key = lua_text::compact(&named(by, json!(value)));
                let why = format!("the foreign key cannot be resolved with '{key}' for an existing '{target}' entity");
                named(field, named(by, json!(why)))
            }
            Self::InvalidOffset { .. }
            | Self::InvalidSize { .. }
            | Self::InvalidUnique { .. }
            | Self::Listed { .. }
            | Self::Unsupported { .. }
            | Self::WithoutDatabase { .. }
            | Self::Store(_) => json!({}),
        }
    }

    /// The HTTP status: 503 if a retry may succeed, 500 otherwise.
    pub fn status(&self) -> u16 {
        match self {
            Self::NotFound { .. } => 404,
            Self::Unsupported { .. } | Self::WithoutDatabase { .. } => 405,
            Self::Unique { .. } => 409,
            Self::Store(error) if error.is_transient() => 503,
            Self::Store(_) => 500,
            _ => 400,
        }
    }

    /// The response body. It contains nothing of a store error's text.
    pub fn to_json(&self) -> Value {
        let fields = match self {
            Self::Store(_) => return json!({"message": UNEXPECTED}),
            Self::InvalidOptions { .. } => Some("options"),
            Self::InvalidOffset { .. }
            | Self::InvalidSize { .. }
            | Self::InvalidUnique { .. }
            | Self::Listed { .. }
            | Self::Unsupported { .. }
            | Self::WithoutDatabase { .. } => None,
            _ => Some("fields"),
        };
        let mut body = json!({"code": self.code(), "name": self.name(), "message": self.message()});
        if let (Some(name), Some(body)) = (fields, body.as_object_mut()) {
            body.insert(name.to_owned(), self.fields());
        }
        body
    }
}

fn named(name: &str, value: Value) -> Value {
    Value::Object(Map::from_iter([(name.to_owned(), value)]))
}

fn options_message(options: &[(&'static str, String)]) -> String {
    let mut faults: Vec<String> = options.iter().map(|(name, why)| format!("{name}: {why}")).collect();
    faults.sort_unstable();
    let all = faults.join("; ");
    match options.len() {
        1 => format!("invalid option ({all})"),
        count => format!("{count} option violations ({all})"),
    }
}

#[cfg(test)]
#[path = "entity_tests.rs"]
mod tests;
