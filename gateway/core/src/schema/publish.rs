//! The document that `/schemas/…` publishes (contract gateway.md §2.5). decK reads defaults,
//! types and elements from it.

use serde_json::{Map, Value, json};

use crate::schema::{Auto, Field, OnDelete, Schema, Type};

impl Schema {
    /// `{"fields": [{name: {type, …}}, …], "entity_checks": […]}`.
    pub fn publish(&self) -> Value {
        let mut published = self.published_record();
        if !self.shorthands.is_empty() {
            let shorthands = self.shorthands.iter().map(|shorthand| named(&shorthand.field));
            published.insert("shorthand_fields".to_owned(), shorthands.collect());
        }
        Value::Object(published)
    }

    /// The same with these fields alone, in their order.
    pub fn publish_fields(&self, names: &[&str]) -> Value {
        let found = names.iter().filter_map(|name| self.fields.iter().find(|field| field.name == *name));
        json!({ "fields": found.map(named).collect::<Value>() })
    }

    fn published_record(&self) -> Map<String, Value> {
        let fields: Value = self.fields.iter().filter(|field| !field.unlisted).map(named).collect();
        let mut published = Map::from_iter([("fields".to_owned(), fields)]);
        if !self.checks.is_empty() {
            let checks = self.checks.iter().map(super::EntityCheck::published);
            published.insert("entity_checks".to_owned(), checks.collect());
        }
        published
    }
}

fn named(field: &Field) -> Value {
    Value::Object(Map::from_iter([(field.name.to_owned(), field.published())]))
}

impl Field {
    fn published(&self) -> Value {
        let mut shown = self.published_type();
        let mut show = |name: &str, value: Value| drop(shown.insert(name.to_owned(), value));
        for (name, holds) in [("required", self.required), ("unique", self.unique), ("encrypted", self.sensitive)] {
            if holds {
                show(name, json!(true));
            }
        }
        if let Some(default) = &self.default {
            show("default", default.clone());
        }
        if let Some(auto) = self.auto {
            show("auto", json!(true));
            match auto {
                Auto::Uuid => show("uuid", json!(true)),
                Auto::CreatedAt | Auto::UpdatedAt => show("timestamp", json!(true)),
                Auto::RandomString => {}
            }
        }
        if self.empty_allowed {
            show("len_min", json!(0));
        }
        for rule in &self.rules {
            let (name, value) = rule.published();
            show(name, value);
        }
        Value::Object(shown)
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
            Field::string("id").auto(Auto::Uuid),
            Field::integer("port").default(80).between(0, 65535).required(),
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
                    {"port": {"type": "integer", "required": true, "default": 80, "between": [0, 65535]}},
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
    }
}
