//! Completes a record: adds missing fields, fills in defaults and automatic values, and converts values to
//! the form in which they are stored.
//!
//! It validates nothing: values that it does not understand are left for `validate` to refuse. Completing a
//! complete record changes nothing.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::schema::rule::parse_uuid;
use crate::schema::{Auto, Field, Makers, Rule, Schema, Type};

impl Schema {
    /// Fills in missing values and converts given values to their stored form.
    pub(super) fn complete(&self, record: &mut Map<String, Value>, makers: &Makers<'_>) {
        for field in &self.fields {
            if field.left_out_if_null && record.get(field.name).is_none_or(Value::is_null) {
                record.remove(field.name);
                continue;
            }
            let given = record.get_mut(field.name).filter(|value| !(value.is_null() && field.is_made_for_null()));
            match given {
                Some(value) => field.normalise(value, makers),
                None => {
                    let default = self.default_in(record, field);
                    let mut value = field.missing(default, makers);
                    field.normalise(&mut value, makers);
                    record.insert(field.name.to_owned(), value);
                }
            }
        }
    }
}

impl Schema {
    /// The default of a field in this record, which may depend on another field.
    pub(super) fn default_in<'s>(&'s self, record: &Map<String, Value>, field: &'s Field) -> Option<&'s Value> {
        let mut given = self.dependent_defaults.iter().filter(|rule| record.get(rule.field) == Some(&rule.value));
        let dependent = given.find_map(|rule| rule.defaults.iter().find(|(name, _)| *name == field.name));
        dependent.map(|(_, value)| value).or(field.default.as_ref())
    }
}

impl Field {
    /// The gateway generates ids and times for null as for a missing value.
    fn is_made_for_null(&self) -> bool {
        !matches!(self.auto, None | Some(Auto::RandomString))
    }

    /// The value when none is given.
    fn missing(&self, default: Option<&Value>, makers: &Makers<'_>) -> Value {
        match (&self.auto, default, &self.ty) {
            (Some(auto), _, _) => makers.make(*auto),
            (None, Some(default), _) => default.clone(),
            (None, None, Type::Record(_)) if self.required => Value::Object(Map::new()),
            _ => Value::Null,
        }
    }

    fn normalise(&self, value: &mut Value, makers: &Makers<'_>) {
        self.normalise_empty(value);
        match (&self.ty, value) {
            (Type::Record(schema), Value::Object(record)) => schema.complete(record, makers),
            (Type::Array(element), Value::Array(elements)) => {
                elements.iter_mut().for_each(|value| element.normalise(value, makers));
            }
            (Type::Set(element), Value::Array(elements)) => {
                elements.iter_mut().for_each(|value| element.normalise(value, makers));
                let mut seen = HashSet::new();
                elements.retain(|value| seen.insert(value.clone()));
            }
            (Type::Map { values, .. }, Value::Object(entries)) => {
                entries.values_mut().for_each(|value| values.normalise(value, makers));
            }
            (Type::Foreign { .. }, Value::Object(reference)) => {
                if let Some(id) = reference.get("id").and_then(Value::as_str).and_then(parse_uuid) {
                    *reference = Map::from_iter([("id".to_owned(), Value::String(id.to_string()))]);
                }
            }
            (Type::Integer, value @ Value::Number(_)) => {
                let fraction = value.as_i64().is_none().then(|| value.as_f64()).flatten();
                if let Some(whole) = fraction.and_then(whole_number) {
                    *value = Value::from(whole);
                }
            }
            (Type::String, Value::String(text)) if self.rules.iter().any(|rule| matches!(rule, Rule::Uuid)) => {
                if let Some(id) = parse_uuid(text) {
                    *text = id.to_string();
                }
            }
            _ => {}
        }
    }

    /// Clients in languages where empty lists and empty maps are the same write `[]` for `{}` and vice versa.
    fn normalise_empty(&self, value: &mut Value) {
        match (&self.ty, &*value) {
            (Type::Record(_) | Type::Map { .. }, Value::Array(elements)) if elements.is_empty() => {
                *value = Value::Object(Map::new());
            }
            (Type::Array(_) | Type::Set(_), Value::Object(entries)) if entries.is_empty() => {
                *value = Value::Array(Vec::new());
            }
            _ => {}
        }
    }
}

/// `5.0` is `5`; numbers too large to be exact are left alone.
#[expect(clippy::cast_possible_truncation, reason = "whole and within ±2^53")]
fn whole_number(number: f64) -> Option<i64> {
    let exact = number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0;
    exact.then_some(number as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::random::SystemRandom;
    use serde_json::json;

    fn completed(schema: &Schema, record: &Value) -> Value {
        let makers = Makers { clock: &ManualClock::at(1000), random: &SystemRandom };
        let mut record = record.as_object().cloned().unwrap_or_default();
        schema.complete(&mut record, &makers);
        Value::Object(record)
    }

    #[test]
    fn a_null_that_clients_do_not_expect_is_left_out() {
        let schema = Schema::new(vec![Field::string("a"), Field::string("b").left_out_if_null()]);
        assert_eq!(completed(&schema, &json!({})), json!({"a": null}));
        assert_eq!(completed(&schema, &json!({"b": null})), json!({"a": null}));
        assert_eq!(completed(&schema, &json!({"b": "c"})), json!({"a": null, "b": "c"}));
    }

    #[test]
    fn values_take_their_stored_form() {
        let schema = Schema::new(vec![
            Field::set("tags", Field::string("")),
            Field::integer("port").default(80),
            Field::foreign("service", "services", crate::schema::OnDelete::Restrict),
            Field::record("config", Schema::new(vec![Field::boolean("on", true)])).required(),
            Field::record("extra", Schema::new(vec![Field::boolean("on", true)])),
        ]);
        let id = "6F9619FF-8B86-D011-B42D-00CF4FC964FF";
        assert_eq!(
            completed(&schema, &json!({"tags": ["a", "b", "a"], "port": 5.0, "service": {"id": id, "name": "x"}})),
            json!({"tags": ["a", "b"], "port": 5, "service": {"id": id.to_lowercase()}, "config": {"on": true}, "extra": null})
        );
        assert_eq!(
            completed(&schema, &json!({"tags": {}, "port": null, "config": [], "extra": {}})),
            json!({"tags": [], "port": null, "service": null, "config": {"on": true}, "extra": {"on": true}})
        );
    }

    #[test]
    fn a_null_id_is_generated_and_a_null_secret_is_not() {
        let schema = Schema::new(vec![
            Field::integer("created_at").auto(Auto::CreatedAt),
            Field::string("secret").auto(Auto::RandomString),
        ]);
        assert_eq!(
            completed(&schema, &json!({"created_at": null, "secret": null})),
            json!({"created_at": 1000, "secret": null})
        );
    }
}
