//! What a write changed, by the names of fields: values may be secrets.

use serde_json::Value;
use tollgate_core::collection::Document;
use uuid::Uuid;

/// Fields that change by themselves.
const AUTOMATIC: [&str; 3] = ["id", "created_at", "updated_at"];

/// The record whose fields are named one by one.
const CONFIG: &str = "config";

/// The effect of a write.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Change {
    /// The entity.
    pub(crate) id: Option<Uuid>,
    /// Its fields, sorted.
    pub(crate) fields: Vec<String>,
}

/// The fields of a new document that have a value.
pub(crate) fn given(document: &Document) -> Vec<String> {
    different(&Document::new(), document)
}

/// The fields in which two documents differ. One that is absent counts as null.
pub(crate) fn different(before: &Document, after: &Document) -> Vec<String> {
    let mut found = Vec::new();
    let nothing = Value::Null;
    for (name, value) in after.iter().filter(|(name, _)| !AUTOMATIC.contains(&name.as_str())) {
        let earlier = before.get(name).unwrap_or(&nothing);
        match value {
            _ if value == earlier => {}
            Value::Object(config) if name == CONFIG => {
                let differs =
                    |(field, value): &(&String, &Value)| earlier.get(field.as_str()).unwrap_or(&nothing) != *value;
                found.extend(config.iter().filter(differs).map(|(field, _)| format!("{CONFIG}.{field}")));
            }
            _ => found.push(name.clone()),
        }
    }
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document(value: Value) -> Document {
        value.try_into().unwrap()
    }

    #[test]
    fn fields_that_differ_are_named_and_values_are_not() {
        let before = document(json!({"id": "1", "name": "a", "tags": null, "config": {"scopes": ["a"], "key": "k"}}));
        let after = document(
            json!({"id": "2", "name": "a", "tags": ["t"], "updated_at": 1, "config": {"scopes": ["b"], "key": "k"}}),
        );
        assert_eq!(different(&before, &after), ["config.scopes", "tags"]);
        assert_eq!(given(&after), ["config.key", "config.scopes", "name", "tags"]);
        assert_eq!(different(&after, &after), Vec::<String>::new());
    }
}
