//! The document that `/schemas/…` publishes (gateway.md §2.5). decK reads defaults,
//! types and elements from it.

use serde_json::{Map, Value, json};

use crate::schema::{Auto, Field, OnDelete, Rule, Schema, Type};

impl Schema {
    /// `{"fields": [{name: {type, …}}, …], "entity_checks": […]}`, both even when they are empty.
    pub fn publish(&self) -> Value {
        json!({ "fields": self.published_fields(), "entity_checks": self.published_checks() })
    }

    /// The same for these fields only, in their order.
    pub fn publish_fields(&self, names: &[&str]) -> Value {
        let found = names.iter().filter_map(|name| self.fields.iter().find(|field| field.name == *name));
        json!({ "fields": found.map(named).collect::<Value>(), "entity_checks": self.published_checks() })
    }

    fn published_record(&self) -> Map<String, Value> {
        let mut published = Map::from_iter([("fields".to_owned(), self.published_fields().into())]);
        let checks = self.published_checks();
        if !checks.is_empty() {
            published.insert("entity_checks".to_owned(), checks.into());
        }
        published
    }

    fn published_fields(&self) -> Vec<Value> {
        self.fields.iter().filter(|field| !field.unlisted).map(named).collect()
    }

    fn published_checks(&self) -> Vec<Value> {
        self.checks.iter().filter_map(super::EntityCheck::published).collect()
    }
}

fn named(field: &Field) -> Value {
    Value::Object(Map::from_iter([(field.name.to_owned(), field.published())]))
}

impl Field {
    fn published(&self) -> Value {
        let mut shown = self.published_type();
        let mut show = |name: &str, value: Value| drop(shown.insert(name.to_owned(), value));
        // An id is always present, but need not be given.
        let must_be_given = self.required && self.auto != Some(Auto::Uuid) && !self.is_abstract();
        for (name, holds) in [("required", must_be_given), ("unique", self.unique), ("encrypted", self.sensitive)] {
            if holds {
                show(name, json!(true));
            }
        }
        if self.said_optional {
            show("required", json!(false));
        }
        if let Some(description) = self.description {
            show("description", json!(description));
        }
        if let Some(default) = &self.default {
            show("default", default.clone());
        }
        if let Some(auto) = self.auto {
            show("auto", json!(true));
            match auto {
                Auto::Uuid => show("uuid", json!(true)),
                Auto::CreatedAt | Auto::UpdatedAt | Auto::CreatedAtMillis | Auto::UpdatedAtMillis => {
                    show("timestamp", json!(true));
                }
                Auto::RandomString => {}
            }
        }
        if self.empty_allowed {
            show("len_min", json!(0));
        }
        for (name, value) in self.rules.iter().filter_map(Rule::published) {
            show(name, value);
        }
        Value::Object(shown)
    }

    /// A record whose fields depend on another field, such as a plugin's `config` on its name.
    fn is_abstract(&self) -> bool {
        matches!(&self.ty, Type::Record(schema) if schema.fields.is_empty())
    }

    fn published_type(&self) -> Map<String, Value> {
        let mut shown = Map::new();
        let mut show = |name: &str, value: Value| drop(shown.insert(name.to_owned(), value));
        match &self.ty {
            Type::String => show("type", json!("string")),
            Type::Integer => show("type", json!("integer")),
            Type::Number => show("type", json!("number")),
            Type::Boolean => show("type", json!("boolean")),
            Type::Array(element) => {
                show("type", json!("array"));
                show("elements", element.published());
            }
            Type::Set(element) => {
                show("type", json!("set"));
                show("elements", element.published());
            }
            Type::Map { keys, values } => {
                show("type", json!("map"));
                show("keys", keys.published());
                show("values", values.published());
            }
            Type::Record(_) if self.is_abstract() => {
                show("type", json!("record"));
                show("abstract", json!(true));
            }
            Type::Record(schema) => {
                show("type", json!("record"));
                schema.published_record().into_iter().for_each(|(name, value)| show(&name, value));
            }
            Type::Foreign { target, on_delete } => {
                show("type", json!("foreign"));
                show("reference", json!(target));
                if *on_delete == OnDelete::Cascade {
                    show("on_delete", json!("cascade"));
                }
            }
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::EntityCheck;

    #[test]
    fn everything_that_is_declared_is_published() {
        let schema = Schema::new(vec![
            Field::string("id").auto(Auto::Uuid).required(),
            Field::integer("port").default(80).between(0, 65535).required().describe("Where it listens."),
            Field::string("realm").optional().default(Value::Null),
            Field::record("open", Schema::default()).required(),
            Field::set("protocols", Field::string("").one_of(&["http", "https"])).default(json!(["http"])),
            Field::foreign("service", "services", OnDelete::Cascade),
            Field::record("config", Schema::new(vec![Field::boolean("on", false)])).required(),
            Field::integer("ttl").unlisted(),
        ])
        .entity_check(EntityCheck::AtLeastOneOf(&["id", "port"]));
        assert_eq!(
            schema.publish(),
            json!({
                "fields": [
                    {"id": {"type": "string", "auto": true, "uuid": true}},
                    {"port": {
                        "type": "integer", "required": true, "default": 80, "between": [0, 65535],
                        "description": "Where it listens.",
                    }},
                    {"realm": {"type": "string", "required": false, "default": null}},
                    {"open": {"type": "record", "abstract": true}},
                    {"protocols": {
                        "type": "set",
                        "elements": {"type": "string", "one_of": ["http", "https"]},
                        "default": ["http"],
                    }},
                    {"service": {"type": "foreign", "reference": "services", "on_delete": "cascade"}},
                    {"config": {
                        "type": "record",
                        "required": true,
                        "fields": [{"on": {"type": "boolean", "required": true, "default": false}}],
                    }},
                ],
                "entity_checks": [{"at_least_one_of": ["id", "port"]}],
            })
        );
        let checks = json!([{"at_least_one_of": ["id", "port"]}]);
        assert_eq!(schema.publish_fields(&[]), json!({"fields": [], "entity_checks": checks}));
        assert_eq!(Schema::default().publish(), json!({"fields": [], "entity_checks": []}));
    }
}
