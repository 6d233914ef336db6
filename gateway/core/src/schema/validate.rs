//! Validates a complete record. All faults are collected, with the messages of gateway.md §4.1.

use serde_json::{Map, Value};

use crate::schema::phase::Phase;
use crate::schema::rule::parse_uuid;
use crate::schema::{Document, Field, Rule, Schema, Type, Violations};

impl Schema {
    /// Validates a document in which defaults are filled in. Absent fields count as null.
    pub fn validate(&self, document: &Document) -> Result<(), Violations> {
        self.faults(document, Phase::Insert).into_result()
    }

    pub(super) fn faults(&self, record: &Map<String, Value>, phase: Phase) -> Violations {
        self.faults_where(record, phase, |_| true)
    }

    /// The faults if only some fields are checked individually; rules about several fields see all.
    pub(super) fn faults_where(
        &self,
        record: &Map<String, Value>,
        phase: Phase,
        judged: impl Fn(&str) -> bool,
    ) -> Violations {
        let mut found = Violations::new();
        for field in self.fields.iter().filter(|field| judged(field.name)) {
            if let Some(fault) = field.fault(record.get(field.name).unwrap_or(&Value::Null), phase) {
                found.fields.insert(field.name.to_owned(), fault);
            }
        }
        for (name, value) in record.iter().filter(|(name, _)| self.field(name).is_none()) {
            // A shorthand is still present only if its value was invalid.
            let shorthand = self.shorthands.iter().map(|shorthand| &shorthand.field).find(|field| field.name == name);
            let fault = shorthand.and_then(|field| field.fault(value, phase));
            found.fields.insert(name.clone(), fault.unwrap_or_else(|| Value::from("unknown field")));
        }
        for check in self.checks.iter().filter(|check| check.concerns(&judged)) {
            check.run(record, phase, &mut found);
        }
        found
    }

    /// The fault of a nested record: a map, or the message of the final rule.
    fn nested_fault(&self, record: &Map<String, Value>, phase: Phase) -> Option<Value> {
        let found = self.faults(record, phase);
        if !found.is_empty() {
            return Some(Value::Object(found.fields));
        }
        let verdict = self.overall.map(|overall| overall(&Value::Object(record.clone())));
        verdict.and_then(Result::err).map(Value::String)
    }
}

impl Field {
    /// The first rule that a single value violates, for values outside of a document: a second key in a path.
    pub fn validate_alone(&self, value: &Value) -> Result<(), String> {
        match self.fault(value, Phase::Insert) {
            None => Ok(()),
            Some(Value::String(message)) => Err(message),
            Some(nested) => Err(super::lua_text::compact(&nested)),
        }
    }

    /// The same for a value that identifies an entity, in a path or a reference: an entity stored before a
    /// rule existed can still be addressed.
    pub fn validate_key(&self, value: &Value) -> Result<(), String> {
        let mut field = self.clone();
        field.rules.retain(|rule| !matches!(rule, Rule::HeaderText));
        field.validate_alone(value)
    }

    /// What is wrong with the value: a message, or a structure that mirrors the value.
    fn fault(&self, value: &Value, phase: Phase) -> Option<Value> {
        if value.is_null() {
            let missing = self.required.then(|| "required field missing".to_owned());
            return missing
                .or_else(|| self.broken(value, |rule| matches!(rule, Rule::Present | Rule::Equals(_))))
                .map(Value::String);
        }
        // If the field must be null, no other message is useful.
        let refused = self.broken(value, |rule| matches!(rule, Rule::Null)).map(Value::String);
        refused
            .or_else(|| self.type_fault(value, phase))
            .or_else(|| self.broken(value, Rule::precedes_length).map(Value::String))
            .or_else(|| self.is_refused_as_empty(value).then(|| Value::from("length must be at least 1")))
            .or_else(|| self.broken(value, |rule| !rule.precedes_length()).map(Value::String))
    }

    fn broken(&self, value: &Value, considered: impl Fn(&Rule) -> bool) -> Option<String> {
        self.rules.iter().filter(|rule| considered(rule)).find_map(|rule| rule.verdict(value).err())
    }

    fn is_refused_as_empty(&self, value: &Value) -> bool {
        !self.empty_allowed && value.as_str() == Some("")
    }

    fn type_fault(&self, value: &Value, phase: Phase) -> Option<Value> {
        match (&self.ty, value) {
            (Type::String, Value::String(text)) => text_fault(text),
            (Type::Integer, Value::Number(number)) if number.is_i64() => None,
            (Type::Number, Value::Number(_)) | (Type::Boolean, Value::Bool(_)) => None,
            (Type::Array(element) | Type::Set(element), Value::Array(elements)) => {
                elements_fault(element, elements, phase)
            }
            (Type::Map { keys, values }, Value::Object(entries)) => entries.iter().find_map(|(name, value)| {
                keys.fault(&Value::String(name.clone()), phase).or_else(|| values.element_fault(value, phase))
            }),
            (Type::Record(schema), Value::Object(record)) => schema.nested_fault(record, phase),
            (Type::Foreign { .. }, _) => reference_fault(value),
            (ty, _) => Some(Value::from(expected(ty))),
        }
    }

    /// Elements may not be null.
    fn element_fault(&self, value: &Value, phase: Phase) -> Option<Value> {
        if value.is_null() { Some(Value::from("required field missing")) } else { self.fault(value, phase) }
    }
}

/// Databases do not keep NUL in text. A reference to a vault, which is not there to be asked, would become the secret
/// itself, known to all who know its name.
fn text_fault(text: &str) -> Option<Value> {
    let fault = match text {
        _ if text.contains('\0') => "must not contain NUL characters",
        _ if text.starts_with("{vault://") && text.ends_with('}') => {
            "refers to a vault, and this gateway has none: give the value itself"
        }
        _ => return None,
    };
    Some(Value::from(fault))
}

/// Faults by position, up to the last faulty element.
fn elements_fault(element: &Field, elements: &[Value], phase: Phase) -> Option<Value> {
    let mut faults: Vec<Value> =
        elements.iter().map(|value| element.element_fault(value, phase).unwrap_or(Value::Null)).collect();
    let last = faults.iter().rposition(|fault| !fault.is_null())?;
    faults.truncate(last + 1);
    Some(Value::Array(faults))
}

fn reference_fault(value: &Value) -> Option<Value> {
    let message = match value.get("id") {
        None => "missing primary key",
        Some(Value::Null) => "required field missing",
        Some(Value::String(id)) if parse_uuid(id).is_some() => return None,
        Some(Value::String(_)) => "expected a valid UUID",
        Some(_) => "expected a string",
    };
    Some(Value::Object(Map::from_iter([("id".to_owned(), Value::from(message))])))
}

fn expected(ty: &Type) -> &'static str {
    match ty {
        Type::String => "expected a string",
        Type::Integer => "expected an integer",
        Type::Number => "expected a number",
        Type::Boolean => "expected a boolean",
        Type::Array(_) => "expected an array",
        Type::Set(_) => "expected a set",
        Type::Map { .. } => "expected a map",
        Type::Record(_) | Type::Foreign { .. } => "expected a record",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::OnDelete;
    use serde_json::json;

    fn fault(field: &Field, value: &Value) -> Value {
        field.fault(value, Phase::Insert).unwrap_or(Value::Null)
    }

    #[test]
    fn each_type_reports_what_it_expected() {
        let text = || Field::string("");
        let inner = Schema::new(vec![Field::integer("n").required()]);
        let service = || Field::foreign("", "services", OnDelete::Restrict);
        let table = [
            (text(), json!(5), json!("expected a string")),
            (text(), json!(""), json!("length must be at least 1")),
            (text().empty_allowed(), json!(""), Value::Null),
            (text().one_of(&["a"]), json!(""), json!("expected one of: a")),
            (text(), json!("a\u{0}b"), json!("must not contain NUL characters")),
            (
                text(),
                json!("{vault://env/SECRET}"),
                json!("refers to a vault, and this gateway has none: give the value itself"),
            ),
            (text(), json!("{vault://env/SECRET} and more"), Value::Null),
            (text().required(), Value::Null, json!("required field missing")),
            (text(), Value::Null, Value::Null),
            (Field::integer(""), json!(1.5), json!("expected an integer")),
            (Field::integer(""), json!("1"), json!("expected an integer")),
            (Field::number(""), json!("1"), json!("expected a number")),
            (Field::boolean("", true), json!("true"), json!("expected a boolean")),
            (Field::strings(""), json!("a"), json!("expected an array")),
            (
                Field::strings(""),
                json!(["a", 1, null, "b"]),
                json!([null, "expected a string", "required field missing"]),
            ),
            (Field::set("", text()), json!({"a": 1}), json!("expected a set")),
            (Field::map("", text(), text()), json!("a"), json!("expected a map")),
            (Field::map("", text(), text()), json!({"a": 1}), json!("expected a string")),
            (Field::record("", inner.clone()), json!("a"), json!("expected a record")),
            (Field::record("", inner), json!({"x": 1}), json!({"n": "required field missing", "x": "unknown field"})),
            (service(), json!({}), json!({"id": "missing primary key"})),
            (service(), json!("x"), json!({"id": "missing primary key"})),
            (service(), json!({"id": "x"}), json!({"id": "expected a valid UUID"})),
            (service().rule(Rule::Null), json!({"id": "x"}), json!("value must be null")),
        ];
        for (field, value, wanted) in table {
            assert_eq!(fault(&field, &value), wanted, "{:?} {value}", field.ty);
        }
    }

    #[test]
    fn the_final_rule_is_reported_only_if_nothing_else_is_wrong() {
        let schema = Schema::new(vec![Field::boolean("on", false)]).overall(|record| match record.get("on") {
            Some(Value::Bool(true)) => Ok(()),
            _ => Err("must be on".to_owned()),
        });
        let field = Field::record("config", schema);
        assert_eq!(fault(&field, &json!({"on": false})), json!("must be on"));
        assert_eq!(fault(&field, &json!({"on": 1})), json!({"on": "expected a boolean"}));
        assert_eq!(fault(&field, &json!({"on": true})), Value::Null);
    }
}
