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

    /// Adds a fault of one field, or of a field of nested records such as `config.path`, unless it or a record that it
    /// is in already has one.
    pub fn field_unless_known(&mut self, name: &str, message: impl Into<String>) {
        let (records, name) = name.rsplit_once('.').map_or((None, name), |(records, name)| (Some(records), name));
        let mut fields = &mut self.fields;
        for record in records.into_iter().flat_map(|records| records.split('.')) {
            let nested = fields.entry(record).or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(nested) = nested else { return };
            fields = nested;
        }
        fields.entry(name).or_insert_with(|| Value::String(message.into()));
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
    fn a_fault_of_a_nested_field_is_in_its_record() {
        let faults = |fields: Value, name: &str| {
            let mut violations = Violations { fields: fields.as_object().cloned().unwrap_or_default() };
            violations.field_unless_known(name, "new");
            Value::Object(violations.fields)
        };
        assert_eq!(faults(json!({"host": "h"}), "port"), json!({"host": "h", "port": "new"}));
        assert_eq!(faults(json!({"host": "h"}), "host"), json!({"host": "h"}));
        let known = json!({"config": {"minute": "m"}});
        assert_eq!(faults(known, "config.redis.host"), json!({"config": {"minute": "m", "redis": {"host": "new"}}}));
        let whole = json!({"config": "expected a record"});
        assert_eq!(faults(whole.clone(), "config.path"), whole);
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
