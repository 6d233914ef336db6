//! An entity as a document, and accessors for its fields.
//!
//! An accessor returns `None` for a field that is absent, null, or of a type other than the requested one. A
//! document that has passed validation has the types of its schema, so `None` means null; in a document from
//! the store it may also mean a damaged row, and the caller decides which fields it cannot do without.

use std::fmt;
use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

/// An entity as the Admin API shows it: every schema field present, missing values null.
///
/// It dereferences to its JSON object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Document(Map<String, Value>);

/// The JSON value is not an object, so it is not a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a JSON object")]
pub struct NotAnObject;

impl Document {
    /// A document without fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// The primary key.
    pub fn id(&self) -> Option<Uuid> {
        uuid(self.get("id")?)
    }

    /// The id that a foreign field refers to.
    pub fn reference(&self, field: &str) -> Option<Uuid> {
        uuid(self.get(field)?.get("id")?)
    }

    /// The value of a text field.
    pub fn text(&self, field: &str) -> Option<&str> {
        self.get(field)?.as_str()
    }

    /// The value of a whole-number field.
    pub fn integer(&self, field: &str) -> Option<i64> {
        self.get(field)?.as_i64()
    }

    /// The value of a boolean field.
    pub fn flag(&self, field: &str) -> Option<bool> {
        self.get(field)?.as_bool()
    }

    /// The strings in a list or set; none if it is null.
    pub fn texts<'d>(&'d self, field: &str) -> impl Iterator<Item = &'d str> + use<'d> {
        self.get(field).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }

    /// Reads the fields of `T` without copying the document.
    ///
    /// # Errors
    /// A field of `T` is missing or has another type.
    pub fn read<'d, T: Deserialize<'d>>(&'d self) -> Result<T, serde_json::Error> {
        T::deserialize(&self.0)
    }
}

fn uuid(value: &Value) -> Option<Uuid> {
    Uuid::try_parse(value.as_str()?).ok()
}

impl Deref for Document {
    type Target = Map<String, Value>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Document {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// JSON text, as it is stored.
impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(&self.0).map_err(|_| fmt::Error)?)
    }
}

impl From<Map<String, Value>> for Document {
    fn from(fields: Map<String, Value>) -> Self {
        Self(fields)
    }
}

impl From<Document> for Map<String, Value> {
    fn from(document: Document) -> Self {
        document.0
    }
}

impl From<Document> for Value {
    fn from(document: Document) -> Self {
        Self::Object(document.0)
    }
}

impl TryFrom<Value> for Document {
    type Error = NotAnObject;

    fn try_from(value: Value) -> Result<Self, NotAnObject> {
        match value {
            Value::Object(fields) => Ok(Self(fields)),
            _ => Err(NotAnObject),
        }
    }
}

impl FromIterator<(String, Value)> for Document {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(fields: I) -> Self {
        Self(fields.into_iter().collect())
    }
}

impl IntoIterator for Document {
    type Item = (String, Value);
    type IntoIter = serde_json::map::IntoIter;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'d> IntoIterator for &'d Document {
    type Item = (&'d String, &'d Value);
    type IntoIter = serde_json::map::Iter<'d>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "c0ffee00-0000-4000-8000-00000000000a";

    fn document(value: Value) -> Document {
        Document::try_from(value).unwrap()
    }

    #[test]
    fn fields_are_read_by_their_type() {
        let read = document(json!({
            "id": ID, "name": "n", "retries": 5, "enabled": false, "service": {"id": ID}, "tags": ["a", "b"],
        }));
        let id = Uuid::parse_str(ID).ok();
        assert_eq!((read.id(), read.reference("service")), (id, id));
        assert_eq!(
            (read.text("name"), read.integer("retries"), read.flag("enabled")),
            (Some("n"), Some(5), Some(false))
        );
        assert_eq!(read.texts("tags").collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn absent_null_and_mistyped_fields_are_none() {
        let empty = Document::new();
        let nulls = document(json!({"id": null, "field": null}));
        let wrong = document(json!({"id": "not-a-uuid", "field": {"id": 1}}));
        for read in [empty, nulls, wrong] {
            assert_eq!((read.id(), read.reference("field")), (None, None), "{read}");
            assert_eq!((read.text("field"), read.integer("field"), read.flag("field")), (None, None, None), "{read}");
            assert_eq!(read.texts("field").count(), 0, "{read}");
        }
    }

    #[test]
    fn a_document_is_its_json_object() {
        let value = json!({"id": ID, "tags": null});
        let read = document(value.clone());
        assert_eq!(serde_json::from_str::<Document>(&read.to_string()).ok(), Some(read.clone()));
        assert_eq!(Value::from(read), value);
        assert_eq!(Document::try_from(json!([])), Err(NotAnObject));
        for text in ["[]", "null", "5"] {
            assert!(serde_json::from_str::<Document>(text).is_err(), "{text}");
        }
    }
}
