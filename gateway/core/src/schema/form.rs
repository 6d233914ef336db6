//! Form input becomes a document by the types of its schema (gateway.md §1.1).
//!
//! Names address nested values with dots and brackets: `service.id`, `headers.location[]`, `config[pkce]`.
//! Text is converted to the type of its field; text that cannot be converted is left for validation to
//! refuse. Nothing in here fails.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::schema::{Document, Field, Schema, Type};

/// The maximum nesting depth of names; deeper levels are part of the last name.
const MAX_DEPTH: usize = 16;

impl Schema {
    /// The document that the pairs describe. Values that are not text (JSON parts of a multipart body) are
    /// used as they are.
    pub fn decode_form(&self, pairs: Vec<(String, Value)>) -> Document {
        let mut root = Node::default();
        for (name, value) in pairs {
            let mut node = &mut root;
            for segment in segments(&name) {
                node = node.children.entry(segment).or_default();
            }
            node.values.push(value);
        }
        root.children.into_iter().map(|(name, node)| (name.clone(), node.into_value(self.form_field(&name)))).collect()
    }

    fn form_field(&self, name: &str) -> Option<&Field> {
        self.field(name)
            .or_else(|| self.shorthands.iter().map(|shorthand| &shorthand.field).find(|field| field.name == name))
    }
}

/// What was given under one name: values and nested names. `[]` is the empty name.
#[derive(Default)]
struct Node {
    values: Vec<Value>,
    children: BTreeMap<String, Node>,
}

impl Node {
    fn into_value(self, field: Option<&Field>) -> Value {
        match field.map(|field| &field.ty) {
            Some(Type::Array(element) | Type::Set(element)) => self.into_list(element),
            Some(Type::Record(schema)) if !self.children.is_empty() => self.into_record(|name| schema.form_field(name)),
            Some(Type::Map { values, .. }) if !self.children.is_empty() => self.into_record(|_| Some(values)),
            _ if self.children.is_empty() => self.into_scalar(field),
            None if self.children.keys().all(|name| is_position(name)) => {
                Value::Array(self.into_elements().into_iter().map(|node| node.into_value(None)).collect())
            }
            _ => self.into_record(|_| None),
        }
    }

    fn into_record<'f>(self, field: impl Fn(&str) -> Option<&'f Field>) -> Value {
        let entries = self.children.into_iter().map(|(name, node)| {
            let value = node.into_value(field(&name));
            (name, value)
        });
        Value::Object(entries.collect())
    }

    fn into_list(mut self, element: &Field) -> Value {
        if !self.children.keys().all(|name| is_position(name)) {
            return self.into_record(|_| None);
        }
        let alone = self.children.is_empty() && self.values.len() == 1;
        match self.values.pop_if(|_| alone) {
            Some(Value::String(text)) if text.is_empty() => Value::Null,
            Some(Value::String(text)) => Value::Array(vec![converted(Value::String(text), Some(element))]),
            Some(given) => given,
            None => {
                let elements = self.into_elements().into_iter().map(|node| node.into_value(Some(element)));
                Value::Array(elements.collect())
            }
        }
    }

    /// Repeated values first, then `[]`, then by position.
    fn into_elements(self) -> Vec<Self> {
        let single = |value| Self { values: vec![value], children: BTreeMap::new() };
        let mut elements: Vec<Self> = self.values.into_iter().map(single).collect();
        let mut positions: Vec<(Option<u64>, Self)> =
            self.children.into_iter().map(|(name, node)| (name.parse().ok(), node)).collect();
        positions.sort_by_key(|(position, _)| *position);
        for (position, mut node) in positions {
            match position {
                None => {
                    elements.extend(std::mem::take(&mut node.values).into_iter().map(single));
                    if !node.children.is_empty() {
                        elements.push(node);
                    }
                }
                Some(_) => elements.push(node),
            }
        }
        elements
    }

    fn into_scalar(mut self, field: Option<&Field>) -> Value {
        match self.values.pop() {
            None => Value::Null,
            Some(value) if self.values.is_empty() => converted(value, field),
            Some(last) => {
                self.values.push(last);
                Value::Array(self.values.into_iter().map(|value| converted(value, field)).collect())
            }
        }
    }
}

fn converted(value: Value, field: Option<&Field>) -> Value {
    let Value::String(text) = value else { return value };
    let number = || text.parse::<i64>().map(Value::from).ok().or_else(|| text.parse::<f64>().ok().map(Value::from));
    let typed = match field.map(|field| &field.ty) {
        _ if text.is_empty() => Some(Value::Null),
        Some(Type::Boolean) => text.parse::<bool>().ok().map(Value::Bool),
        // `inf` and `nan` parse as numbers, but JSON cannot represent them.
        Some(Type::Integer | Type::Number) => number().filter(|number| !number.is_null()),
        _ => None,
    };
    typed.unwrap_or(Value::String(text))
}

fn is_position(name: &str) -> bool {
    name.is_empty() || name.parse::<u64>().is_ok()
}

/// `headers.location[1]` is `headers`, `location`, `1`.
fn segments(name: &str) -> Vec<String> {
    let mut segments = vec![String::new()];
    let mut rest = name;
    while let Some(cut) = rest.find(['.', '[']) {
        let (before, from_cut) = rest.split_at(cut);
        append(&mut segments, before);
        let bracketed = from_cut.strip_prefix('[').and_then(|inner| inner.split_once(']'));
        let after_dot = from_cut.strip_prefix('.');
        if segments.len() >= MAX_DEPTH {
            append(&mut segments, from_cut);
            return segments;
        }
        match (bracketed, after_dot) {
            (Some((inner, after)), _) => {
                segments.push(inner.to_owned());
                rest = after;
            }
            (None, Some(after)) => {
                segments.push(String::new());
                rest = after;
            }
            (None, None) => {
                append(&mut segments, from_cut);
                return segments;
            }
        }
    }
    append(&mut segments, rest);
    segments
}

fn append(segments: &mut [String], text: &str) {
    if let Some(last) = segments.last_mut() {
        last.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn schema() -> Schema {
        let config = Schema::new(vec![Field::boolean("enable_implicit_grant", false), Field::strings("key_names")]);
        Schema::new(vec![
            Field::string("name"),
            Field::set("hosts", Field::string("")),
            Field::foreign("service", "services", crate::schema::OnDelete::Restrict),
            Field::map("headers", Field::string(""), Field::strings("")),
            Field::boolean("strip_path", true),
            Field::integer("regex_priority"),
            Field::number("ratio"),
            Field::array("ports", Field::integer("")),
            Field::array("sources", Field::record("", Schema::new(vec![Field::string("ip"), Field::integer("port")]))),
            Field::record("config", config),
        ])
    }

    fn decode(form: &str) -> Value {
        let pairs = form_urlencoded::parse(form.as_bytes());
        let pairs = pairs.map(|(name, value)| (name.into_owned(), Value::String(value.into_owned())));
        Value::from(schema().decode_form(pairs.collect()))
    }

    #[test]
    fn form_input_is_converted_by_the_schema() {
        let table = [
            ("hosts=a.com", json!({"hosts": ["a.com"]})),
            ("hosts[]=a&hosts[]=b", json!({"hosts": ["a", "b"]})),
            ("hosts[1]=a&hosts[2]=b", json!({"hosts": ["a", "b"]})),
            ("hosts[10]=b&hosts[9]=a", json!({"hosts": ["a", "b"]})),
            ("hosts=a&hosts=b", json!({"hosts": ["a", "b"]})),
            ("hosts=a.com,b.com", json!({"hosts": ["a.com,b.com"]})),
            ("hosts=", json!({"hosts": null})),
            ("service.id=x", json!({"service": {"id": "x"}})),
            ("service[name]=x", json!({"service": {"name": "x"}})),
            ("headers.location[1]=v", json!({"headers": {"location": ["v"]}})),
            ("headers.location[]=v", json!({"headers": {"location": ["v"]}})),
            ("config.key_names[1]=apikey", json!({"config": {"key_names": ["apikey"]}})),
            ("config[enable_implicit_grant]=true", json!({"config": {"enable_implicit_grant": true}})),
            ("config[key_names][]=a", json!({"config": {"key_names": ["a"]}})),
            ("strip_path=false&regex_priority=5", json!({"strip_path": false, "regex_priority": 5})),
            ("strip_path=yes&regex_priority=many", json!({"strip_path": "yes", "regex_priority": "many"})),
            ("ratio=1.5", json!({"ratio": 1.5})),
            ("ratio=nan", json!({"ratio": "nan"})),
            ("ports[]=1&ports[]=x", json!({"ports": [1, "x"]})),
            ("sources[1].ip=::1&sources[1].port=5", json!({"sources": [{"ip": "::1", "port": 5}]})),
            ("name=", json!({"name": null})),
            ("name=123", json!({"name": "123"})),
            ("unknown=5&other.x=y", json!({"unknown": "5", "other": {"x": "y"}})),
            ("name[=x&a]=y", json!({"name[": "x", "a]": "y"})),
        ];
        for (form, wanted) in table {
            assert_eq!(decode(form), wanted, "{form}");
        }
    }

    #[test]
    fn json_parts_are_taken_as_they_are() {
        let pairs = vec![("config".to_owned(), json!({"key_names": ["a"]})), ("name".to_owned(), json!("n"))];
        let decoded = Value::from(schema().decode_form(pairs));
        assert_eq!(decoded, json!({"config": {"key_names": ["a"]}, "name": "n"}));
    }

    #[test]
    fn the_nesting_of_names_is_bounded() {
        let pairs = vec![("a.".repeat(100_000), json!("x"))];
        let decoded = Value::from(schema().decode_form(pairs));
        let mut depth = 0;
        let mut value = &decoded;
        while let Some((_, inner)) = value.as_object().and_then(|entries| entries.iter().next()) {
            depth += 1;
            value = inner;
        }
        assert_eq!(depth, MAX_DEPTH);
    }

    proptest! {
        #[test]
        fn no_form_makes_the_decoder_panic(
            pairs in prop::collection::vec(("(name|hosts|config|sources|headers|[.\\[\\]0-9a-z]{0,3}){1,6}", ".{0,8}"), 0..8)
        ) {
            let pairs = pairs.into_iter().map(|(name, value)| (name, Value::String(value))).collect();
            schema().decode_form(pairs);
        }
    }
}
