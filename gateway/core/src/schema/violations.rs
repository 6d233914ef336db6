//! How a document violates its schema, and the message about it (gateway.md §4, code 2).

use serde_json::{Map, Value};

use crate::schema::lua_text;

/// The key for faults of a record as a whole.
const ENTITY: &str = "@entity";

/// Faults of a document: a structure that mirrors it, with messages at the faulty places.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Violations {
    /// By field; nested records hold nested maps, arrays are positional with null for elements without fault.
    /// Faults of the whole record are in an array under `@entity`.
    pub fields: Map<String, Value>,
}

impl Violations {
    /// No faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The fault of one field.
    pub fn of_field(name: &str, message: impl Into<String>) -> Self {
        let mut violations = Self::new();
        violations.field(name, message);
        violations
    }

    /// Whether there are no faults.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Whether the field has a fault.
    pub fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    /// Adds the fault of one field.
    pub fn field(&mut self, name: &str, message: impl Into<String>) {
        self.fields.insert(name.to_owned(), Value::String(message.into()));
    }

    /// Adds a fault of one field unless it already has one.
    pub fn field_unless_known(&mut self, name: &str, message: impl Into<String>) {
        if !self.has(name) {
            self.field(name, message);
        }
    }

    /// Adds a fault of the record as a whole.
    pub fn entity(&mut self, message: impl Into<String>) {
        let entry = self.fields.entry(ENTITY).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(messages) = entry {
            messages.push(Value::String(message.into()));
        }
    }

    /// `Ok` if there are no faults.
    pub fn into_result(self) -> Result<(), Self> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }

    /// All faults in one line: `schema violation (FIELD: ERR)` or `N schema violations (E1; E2; …)`,
    /// those of the whole record first, then by field.
    pub fn message(&self) -> String {
        let whole = self.fields.get(ENTITY).and_then(Value::as_array).into_iter().flatten();
        let mut faults: Vec<String> = whole.map(plain).collect();
        let mut fields: Vec<(&String, &Value)> = self.fields.iter().filter(|(name, _)| *name != ENTITY).collect();
        fields.sort_unstable_by_key(|(name, _)| *name);
        for (name, fault) in fields {
            collect_faults(name, fault, &mut faults);
        }
        let all = faults.join("; ");
        match faults.len() {
            1 => format!("schema violation ({all})"),
            count => format!("{count} schema violations ({all})"),
        }
    }
}

fn collect_faults(name: &str, fault: &Value, faults: &mut Vec<String>) {
    match fault {
        Value::Object(nested) => {
            let mut nested: Vec<(&String, &Value)> = nested.iter().collect();
            nested.sort_unstable_by_key(|(sub, _)| *sub);
            faults.extend(nested.into_iter().map(|(sub, fault)| format!("{name}.{sub}: {}", plain(fault))));
        }
        Value::Array(elements) => {
            let present = elements.iter().enumerate().filter(|(_, fault)| !fault.is_null());
            faults.extend(present.map(|(position, fault)| format!("{name}.{}: {}", position + 1, plain(fault))));
        }
        _ => faults.push(format!("{name}: {}", plain(fault))),
    }
}

/// A message as it is; deeper structures as Lua table text.
fn plain(fault: &Value) -> String {
    fault.as_str().map_or_else(|| lua_text::indented(fault), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn message(fields: Value) -> String {
        let fields = fields.as_object().cloned().unwrap_or_default();
        Violations { fields }.message()
    }

    #[test]
    fn messages_match_the_reference() {
        let table = [
            (json!({"host": "required field missing"}), "schema violation (host: required field missing)"),
            (
                json!({"zebra": "z", "@entity": ["whole"], "apple": "a"}),
                "3 schema violations (whole; apple: a; zebra: z)",
            ),
            (json!({"service": {"id": "missing primary key"}}), "schema violation (service.id: missing primary key)"),
            (json!({"hosts": [null, "bad"]}), "schema violation (hosts.2: bad)"),
            (
                json!({"config": {"@entity": ["failed conditional"], "scopes": "required field missing"}}),
                "2 schema violations (config.@entity: {\n  \"failed conditional\"\n}; config.scopes: required field missing)",
            ),
            (json!({"config": {"scopes": [null, "bad"]}}), "schema violation (config.scopes: {\n  [2] = \"bad\"\n})"),
        ];
        for (fields, text) in table {
            assert_eq!(message(fields), text);
        }
    }
}
