//! What a document breaks of its schema, and the text that says so (contract gateway.md §4, code 2).

use serde_json::{Map, Value};

/// Faults of a document: a mirror of its shape with messages at the faulty places.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Violations {
    /// By field; nested records hold nested maps, arrays are positional with null. Faults of the
    /// whole record stand in an array under `@entity`.
    pub fields: Map<String, Value>,
}

impl Violations {
    /// No faults yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Adds the fault of one field.
    pub fn field(&mut self, name: &str, message: impl Into<String>) {
        self.fields.insert(name.to_owned(), Value::String(message.into()));
    }

    /// Adds a fault of the record as a whole.
    pub fn entity(&mut self, message: impl Into<String>) {
        let entry = self.fields.entry("@entity").or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(messages) = entry {
            messages.push(Value::String(message.into()));
        }
    }
}
