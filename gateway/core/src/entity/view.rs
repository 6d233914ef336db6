//! Reads typed values out of stored documents.

use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use crate::schema::Document;

/// A stored document lacks what its schema promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stored {kind} entity has no usable {field}")]
pub struct ReadError {
    /// The kind, such as `routes`.
    pub kind: &'static str,
    /// The field.
    pub field: &'static str,
}

/// A document of a known kind.
pub(super) struct View<'a> {
    pub(super) kind: &'static str,
    pub(super) document: &'a Document,
}

impl View<'_> {
    fn missing(&self, field: &'static str) -> ReadError {
        ReadError { kind: self.kind, field }
    }

    /// A value of a field that may be null.
    pub(super) fn optional<T>(
        &self,
        field: &'static str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, ReadError> {
        match self.document.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| self.missing(field)),
        }
    }

    /// A value of a field that is never null.
    pub(super) fn required<T>(
        &self,
        field: &'static str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<T, ReadError> {
        self.optional(field, read)?.ok_or_else(|| self.missing(field))
    }

    pub(super) fn id(&self) -> Result<Uuid, ReadError> {
        self.required("id", |value| Uuid::try_parse(value.as_str()?).ok())
    }

    pub(super) fn reference(&self, field: &'static str) -> Result<Option<Uuid>, ReadError> {
        self.optional(field, |value| Uuid::try_parse(value.get("id")?.as_str()?).ok())
    }

    pub(super) fn text(&self, field: &'static str) -> Result<Option<String>, ReadError> {
        self.optional(field, text)
    }

    /// A list; null is the empty one.
    pub(super) fn list<T>(&self, field: &'static str, read: impl Fn(&Value) -> Option<T>) -> Result<Vec<T>, ReadError> {
        let list = self.optional(field, |value| value.as_array()?.iter().map(read).collect());
        list.map(Option::unwrap_or_default)
    }

    /// Milliseconds; null is the minute that is the default.
    pub(super) fn timeout(&self, field: &'static str) -> Result<Duration, ReadError> {
        let given = self.optional(field, Value::as_u64)?;
        Ok(Duration::from_millis(given.unwrap_or(60_000)))
    }
}

pub(super) fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}
