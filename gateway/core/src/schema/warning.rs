//! What a client that writes an entity has perhaps not meant, although the schema accepts it. Nothing is refused for it.
//! The texts contain no values, which may be secrets.

use serde_json::Value;

use super::{Document, Schema, Type};

impl Schema {
    /// Secrets that are generated and rewritten at once, so that nobody knows them: the client has asked for the one
    /// and not given the other.
    pub(super) fn warnings_of_unknown_secrets(&self, input: &Document) -> Vec<String> {
        let asked = |name| input.get(name) == Some(&Value::Bool(true));
        let is_open = |name| input.get(name).is_none_or(Value::is_null);
        let unknown = self.transformations.iter().filter(|rewrite| asked(rewrite.input) && is_open(rewrite.needs));
        let text = |needs: &str, input: &str| {
            format!(
                "{needs}: it was generated, and only its hash is stored, so nobody knows it: send {needs} with {input}, \
                 or neither of them"
            )
        };
        unknown.map(|rewrite| text(rewrite.needs, rewrite.input)).collect()
    }

    /// Values of a form that are one element of a list, although they look like several.
    pub fn warnings_of_form(&self, input: &Document) -> Vec<String> {
        let mut found = Vec::new();
        self.find_joined("", input, &mut found);
        found
    }

    fn find_joined(&self, within: &str, input: &Document, found: &mut Vec<String>) {
        for field in &self.fields {
            let name = format!("{within}{}", field.name);
            match (&field.ty, input.get(field.name)) {
                (Type::Array(_) | Type::Set(_), Some(Value::Array(values)))
                    if values.iter().filter_map(Value::as_str).any(|text| text.contains(',')) =>
                {
                    found.push(format!(
                        "{name}: a value with a comma is one value: send several as {name}[]=ONE&{name}[]=TWO, or as JSON"
                    ));
                }
                (Type::Record(schema), Some(Value::Object(inner))) => {
                    schema.find_joined(&format!("{name}."), &Document::from(inner.clone()), found);
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Field;
    use super::*;

    #[test]
    fn a_list_that_was_sent_as_one_value_is_named_with_its_path() {
        let config = Schema::new(vec![Field::strings("scopes"), Field::string("realm")]);
        let schema = Schema::new(vec![Field::strings("tags"), Field::record("config", config)]);
        let warnings = |input: Value| schema.warnings_of_form(&Document::from(input.as_object().unwrap().clone()));
        assert_eq!(warnings(json!({"tags": ["a", "b"], "config": {"scopes": ["read"], "realm": "a,b"}})), [""; 0]);
        assert_eq!(
            warnings(json!({"config": {"scopes": ["read,write"]}})),
            ["config.scopes: a value with a comma is one value: send several as \
                 config.scopes[]=ONE&config.scopes[]=TWO, or as JSON"]
        );
    }
}
