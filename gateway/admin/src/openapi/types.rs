//! Types of fields as JSON schemas, from the descriptions that `/schemas` publishes.

use serde_json::{Map, Value, json};
use tollgate_core::schema::{EntityCheck, Field, Rule, Schema, Type};

/// Which document a schema describes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Document {
    /// What a write contains, whole.
    Given,
    /// What a PATCH contains: records are merged, so nothing of them is required.
    Changes,
    /// What a response contains.
    Shown,
}

/// The unique fields of a kind, which may replace the id in references.
pub(super) type UniqueFields<'u> = &'u dyn Fn(&str) -> Vec<&'static str>;

/// A writer of schemas for one kind of document.
#[derive(Clone, Copy)]
pub(super) struct Types<'u> {
    pub(super) document: Document,
    pub(super) unique: UniqueFields<'u>,
}

/// The fields that a new entity must have: nothing else fills them.
pub(super) fn must_be_given(schema: &Schema) -> impl Iterator<Item = &'static str> {
    schema.fields.iter().filter(|field| is_required_in_input(field)).map(|field| field.name)
}

fn is_required_in_input(field: &Field) -> bool {
    let is_filled = field.default.is_some() || field.auto.is_some() || matches!(field.ty, Type::Record(_));
    field.required && !is_filled
}

impl Types<'_> {
    /// A record. Which fields of an entity itself are required depends on the path: see [`must_be_given`].
    pub(super) fn entity(self, schema: &Schema) -> Map<String, Value> {
        self.object(schema, self.document == Document::Shown)
    }

    fn object(self, schema: &Schema, says_required: bool) -> Map<String, Value> {
        let shown = self.document == Document::Shown;
        let shorthands = schema.shorthands.iter().map(|shorthand| &shorthand.field).filter(|_| !shown);
        let fields = schema.fields.iter().chain(shorthands);
        let properties: Map<String, Value> = fields.map(|field| (field.name.to_owned(), self.field(field))).collect();
        let required: Vec<&str> = match self.document {
            Document::Shown => {
                schema.fields.iter().filter(|field| !field.left_out_if_null).map(|field| field.name).collect()
            }
            Document::Given => must_be_given(schema).collect(),
            Document::Changes => Vec::new(),
        };
        let mut object = Map::from_iter([
            ("type".to_owned(), json!("object")),
            ("properties".to_owned(), properties.into()),
            ("additionalProperties".to_owned(), json!(false)),
        ]);
        if says_required && !required.is_empty() {
            object.insert("required".to_owned(), json!(required));
        }
        let checks: Vec<String> = schema.checks.iter().filter_map(check).collect();
        if !checks.is_empty() && !shown {
            object.insert("description".to_owned(), json!(checks.join(" ")));
        }
        object
    }

    /// A field, null included unless it is required.
    pub(super) fn field(self, field: &Field) -> Value {
        let mut shown = self.value(field);
        let mut set = |name: &str, value: Value| drop(shown.insert(name.to_owned(), value));
        if let Some(description) = field.description {
            set("description", json!(description));
        }
        if let Some(default) = field.default.as_ref().filter(|_| self.document == Document::Given) {
            set("default", default.clone());
        }
        for rule in &field.rules {
            self.rule(rule, &field.ty, &mut shown);
        }
        if !field.required {
            make_nullable(&mut shown);
        }
        Value::Object(shown)
    }

    fn value(self, field: &Field) -> Map<String, Value> {
        let of = |name: &str| Map::from_iter([("type".to_owned(), json!(name))]);
        let with = |name: &str, attribute: &str, value: Value| {
            let mut shown = of(name);
            shown.insert(attribute.to_owned(), value);
            shown
        };
        match &field.ty {
            Type::String if field.sensitive => with("string", "format", json!("password")),
            Type::String if field.empty_allowed => of("string"),
            Type::String => with("string", "minLength", json!(1)),
            Type::Integer => of("integer"),
            Type::Number => of("number"),
            Type::Boolean => of("boolean"),
            Type::Array(element) => with("array", "items", self.field(element)),
            Type::Set(element) => {
                let mut shown = with("array", "items", self.field(element));
                shown.insert("uniqueItems".to_owned(), json!(true));
                shown
            }
            Type::Map { keys, values } => {
                let mut shown = with("object", "additionalProperties", self.field(values));
                shown.insert("propertyNames".to_owned(), self.field(keys));
                shown
            }
            Type::Record(schema) if schema.fields.is_empty() => of("object"),
            Type::Record(schema) => self.object(schema, true),
            Type::Foreign { target, .. } => self.reference(target),
        }
    }

    fn reference(self, target: &str) -> Map<String, Value> {
        let id = json!({ "type": "string", "format": "uuid" });
        let unique = if self.document == Document::Shown { Vec::new() } else { (self.unique)(target) };
        let names = unique.into_iter().map(|name| (name.to_owned(), json!({ "type": "string" })));
        let properties: Map<String, Value> = [("id".to_owned(), id)].into_iter().chain(names).collect();
        let by_id_alone = properties.len() == 1;
        let mut reference = Map::from_iter([
            ("type".to_owned(), json!("object")),
            ("properties".to_owned(), properties.into()),
            ("minProperties".to_owned(), json!(1)),
        ]);
        if by_id_alone {
            reference.insert("required".to_owned(), json!(["id"]));
        }
        reference
    }

    fn rule(self, rule: &Rule, ty: &Type, shown: &mut Map<String, Value>) {
        let mut set = |name: &str, value: Value| drop(shown.insert(name.to_owned(), value));
        match rule {
            Rule::OneOf(options) => set("enum", json!(options)),
            Rule::OneOfNumbers(options) => set("enum", json!(options)),
            Rule::NotOneOf(options) => set("not", json!({ "enum": options })),
            Rule::Between(low, high) => {
                set("minimum", number(*low));
                set("maximum", number(*high));
            }
            Rule::GreaterThan(limit) => set("exclusiveMinimum", number(*limit)),
            Rule::Null => set("type", json!("null")),
            Rule::Equals(wanted) => set("const", wanted.clone()),
            Rule::StartsWith(start) => set("pattern", json!(format!("^{}", escaped(start)))),
            Rule::LengthMin(least) => set(length("min", ty), json!(least)),
            Rule::LengthEquals(wanted) => {
                set(length("min", ty), json!(wanted));
                set(length("max", ty), json!(wanted));
            }
            Rule::Uuid => set("format", json!("uuid")),
            Rule::Timestamp => set("exclusiveMinimum", json!(0)),
            Rule::Contains(wanted) => set("contains", json!({ "const": wanted })),
            Rule::ElementsNotOneOf(options) => {
                set("items", json!({ "type": "string", "not": { "enum": options } }));
            }
            // Code decides, or the type says it.
            Rule::Present | Rule::ExclusiveSets(_) | Rule::HeaderText | Rule::Custom(..) => {}
        }
    }
}

fn make_nullable(shown: &mut Map<String, Value>) {
    if let Some(Value::String(name)) = shown.get("type").filter(|ty| *ty != "null").cloned() {
        shown.insert("type".to_owned(), json!([name, "null"]));
    }
    if let Some(Value::Array(options)) = shown.get_mut("enum") {
        options.push(Value::Null);
    }
}

fn length(bound: &str, ty: &Type) -> &'static str {
    match (ty, bound) {
        (Type::Array(_) | Type::Set(_), "min") => "minItems",
        (Type::Array(_) | Type::Set(_), _) => "maxItems",
        (Type::Map { .. } | Type::Record(_), "min") => "minProperties",
        (Type::Map { .. } | Type::Record(_), _) => "maxProperties",
        (_, "min") => "minLength",
        _ => "maxLength",
    }
}

/// Text as a regular expression that matches it.
fn escaped(text: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "/_".contains(character);
    text.chars().flat_map(|character| (!plain(character)).then_some('\\').into_iter().chain([character])).collect()
}

/// Whole numbers without a fraction.
#[expect(clippy::cast_possible_truncation, reason = "only whole numbers far inside the range of i64 are cast")]
fn number(limit: f64) -> Value {
    if limit.fract() == 0.0 && limit.abs() < 1e15 { json!(limit as i64) } else { json!(limit) }
}

/// A rule about several fields, as a sentence.
fn check(check: &EntityCheck) -> Option<String> {
    let says = |what: &str, names: &[&str]| Some(format!("{what} {}.", names.join(", ")));
    match check {
        EntityCheck::AtLeastOneOf(names) => says("At least one is set of", names),
        EntityCheck::ExactlyOneOf(names) => says("Exactly one is set of", names),
        EntityCheck::OnlyOneOf(names) => says("At most one is set of", names),
        EntityCheck::AllOrNone(names) => says("All or none are set of", names),
        EntityCheck::Distinct(names) => says("Different values have", names),
        _ => None,
    }
}
