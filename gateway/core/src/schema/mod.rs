//! Schemas as data.
//!
//! A [`Document`] is an entity's values, a [`Key`] names one entity. A [`Schema`] lists the fields of a record with their types, defaults and rules. Everything that
//! is known about an entity comes from it: validation and its texts, defaults, the conversion of
//! form input, and the document that `/schemas/…` publishes (gateway.md §1.1, §2.5, §4).
//!
//! This module holds the vocabulary. What is done with it stands in a file each: `process` (what
//! a write stores), `defaults`, `validate`, `form` and `publish`. Nothing in here knows a
//! particular entity or asks a store; uniqueness and references are decided there.

use serde_json::{Map, Value};

mod defaults;
mod document;
mod entity_check;
mod form;
mod key;
pub mod lua_text;
mod makers;
mod phase;
mod process;
mod publish;
mod rule;
mod validate;
mod violations;

pub use document::{Document, NotAnObject};
pub use entity_check::{Branch, EntityCheck, Forbidden, RecordCheck};
pub use key::Key;
pub use makers::Makers;
pub use rule::{Check, Rule};
pub use violations::Violations;

/// What deleting the referenced entity does to the one that refers to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDelete {
    /// The deletion is refused (gateway.md §4, code 4).
    Restrict,
    /// The referring entity is deleted as well.
    Cascade,
}

/// The type of a field.
#[derive(Debug, Clone)]
pub enum Type {
    /// Text.
    String,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// True or false.
    Boolean,
    /// A list.
    Array(Box<Field>),
    /// A list without order or duplicates.
    Set(Box<Field>),
    /// Names to values.
    Map {
        /// Rules of the names.
        keys: Box<Field>,
        /// Type and rules of the values.
        values: Box<Field>,
    },
    /// A nested record.
    Record(Schema),
    /// A reference: `{"id": …}`.
    Foreign {
        /// The kind referred to, such as `services`.
        target: &'static str,
        /// What its deletion does.
        on_delete: OnDelete,
    },
}

/// A value the gateway makes when none is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auto {
    /// A random UUID.
    Uuid,
    /// Now, in whole seconds; on creation.
    CreatedAt,
    /// Now, in whole seconds; on every write.
    UpdatedAt,
    /// 32 random characters `[0-9A-Za-z]`.
    RandomString,
}

/// A field of a record.
#[derive(Debug, Clone)]
pub struct Field {
    /// Its name; empty for the elements of arrays, sets and maps.
    pub name: &'static str,
    /// Its type.
    pub ty: Type,
    /// Whether its value may be null (`required field missing`).
    pub required: bool,
    /// Its value when none is given.
    pub default: Option<Value>,
    /// How its value is made when none is given.
    pub auto: Option<Auto>,
    /// Whether no two entities may have the same value.
    pub unique: bool,
    /// The empty string is refused unless this is set (`length must be at least 1`).
    pub empty_allowed: bool,
    /// Whether the value must not be shown in logs.
    pub sensitive: bool,
    /// Whether `/schemas` leaves it out, such as the `ttl` of rows that may expire.
    pub unlisted: bool,
    /// The kind whose ids the list holds; its entities must exist, and go only after this one.
    pub ids_of: Option<&'static str>,
    /// What else is asked of it.
    pub rules: Vec<Rule>,
    /// What `/schemas` says that it is for.
    pub description: Option<&'static str>,
    /// Whether `/schemas` says in so many words that it may be null, as published schemas do
    /// for some fields and not for others.
    pub said_optional: bool,
}

impl Field {
    /// A field of any type, optional and without rules.
    pub fn new(name: &'static str, ty: Type) -> Self {
        Self {
            name,
            ty,
            required: false,
            default: None,
            auto: None,
            unique: false,
            empty_allowed: false,
            sensitive: false,
            unlisted: false,
            ids_of: None,
            rules: Vec::new(),
            description: None,
            said_optional: false,
        }
    }

    /// A text field.
    pub fn string(name: &'static str) -> Self {
        Self::new(name, Type::String)
    }

    /// A whole-number field.
    pub fn integer(name: &'static str) -> Self {
        Self::new(name, Type::Integer)
    }

    /// A number field.
    pub fn number(name: &'static str) -> Self {
        Self::new(name, Type::Number)
    }

    /// A true-or-false field that is `default` unless given.
    pub fn boolean(name: &'static str, default: bool) -> Self {
        Self::new(name, Type::Boolean).default(default).required()
    }

    /// A list of strings.
    pub fn strings(name: &'static str) -> Self {
        Self::array(name, Self::string(""))
    }

    /// A list.
    pub fn array(name: &'static str, elements: Self) -> Self {
        Self::new(name, Type::Array(Box::new(elements)))
    }

    /// A set.
    pub fn set(name: &'static str, elements: Self) -> Self {
        Self::new(name, Type::Set(Box::new(elements)))
    }

    /// A map.
    pub fn map(name: &'static str, keys: Self, values: Self) -> Self {
        Self::new(name, Type::Map { keys: Box::new(keys), values: Box::new(values) })
    }

    /// A nested record.
    pub fn record(name: &'static str, schema: Schema) -> Self {
        Self::new(name, Type::Record(schema))
    }

    /// A reference to an entity of kind `target`.
    pub fn foreign(name: &'static str, target: &'static str, on_delete: OnDelete) -> Self {
        Self::new(name, Type::Foreign { target, on_delete })
    }

    /// Refuses null.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Has `/schemas` say that null is accepted.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.said_optional = true;
        self
    }

    /// Says what the field is for.
    #[must_use]
    pub fn describe(mut self, description: &'static str) -> Self {
        self.description = Some(description);
        self
    }

    /// Sets the value that is taken when none is given.
    #[must_use]
    pub fn default(mut self, value: impl Into<Value>) -> Self {
        self.default = Some(value.into());
        self
    }

    /// Has the gateway make the value when none is given.
    #[must_use]
    pub fn auto(mut self, auto: Auto) -> Self {
        self.auto = Some(auto);
        self
    }

    /// Refuses a value that another entity has.
    #[must_use]
    pub fn unique(mut self) -> Self {
        self.unique = true;
        self
    }

    /// Adds a rule.
    #[must_use]
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Only these strings.
    #[must_use]
    pub fn one_of(self, values: &[&'static str]) -> Self {
        self.rule(Rule::OneOf(values.to_vec()))
    }

    /// Only numbers in this closed range.
    #[must_use]
    pub fn between(self, low: i32, high: i32) -> Self {
        self.rule(Rule::Between(f64::from(low), f64::from(high)))
    }

    /// Keeps the value out of logs.
    #[must_use]
    pub fn sensitive(mut self) -> Self {
        self.sensitive = true;
        self
    }

    /// Leaves the field out of `/schemas`.
    #[must_use]
    pub fn unlisted(mut self) -> Self {
        self.unlisted = true;
        self
    }

    /// A list of the ids of entities of kind `target`, which must exist.
    pub fn ids_of(name: &'static str, target: &'static str) -> Self {
        Self { ids_of: Some(target), ..Self::array(name, Self::string("").rule(Rule::Uuid)) }
    }

    /// Accepts the empty string.
    #[must_use]
    pub fn empty_allowed(mut self) -> Self {
        self.empty_allowed = true;
        self
    }
}

/// The fields of a record and the rules about several of them at once.
#[derive(Debug, Clone, Default)]
pub struct Schema {
    /// The fields, in the order in which they are published.
    pub fields: Vec<Field>,
    /// Rules about several fields.
    pub checks: Vec<EntityCheck>,
    /// A last rule about the record, only looked at when nothing else is wrong with it. Its
    /// message stands in the place of a nested record's own faults.
    pub overall: Option<Check>,
    /// Changes the given fields before defaults are filled in, where a default depends on
    /// another field.
    pub adjust: Option<fn(&mut Map<String, Value>)>,
    /// Fields that are accepted and translated into others, such as a service's `url`.
    pub shorthands: Vec<Shorthand>,
    /// Values that are rewritten before they are stored, such as a secret that is hashed.
    pub transformations: Vec<Transformation>,
}

/// A rewrite of values before they are stored. On an update, `input` and `needs` are given
/// together or not at all: the stored values may already be rewritten
/// (`all or none of these fields must be set: …`).
#[derive(Debug, Clone)]
pub struct Transformation {
    /// The field that asks for the rewrite: it happens when this is true.
    pub input: &'static str,
    /// The field that is rewritten.
    pub needs: &'static str,
    /// The rewrite.
    pub on_write: fn(&str) -> String,
}

/// A write-only field that stands for others.
#[derive(Debug, Clone)]
pub struct Shorthand {
    /// The field that is given.
    pub field: Field,
    /// Makes the fields it stands for.
    pub expand: fn(&Value) -> Map<String, Value>,
}

impl Schema {
    /// A record of these fields, without rules about several of them.
    pub fn new(fields: Vec<Field>) -> Self {
        Self { fields, ..Self::default() }
    }

    /// The field of that name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Says what fields are for: names with their descriptions.
    #[must_use]
    pub fn describe(mut self, descriptions: &[(&str, &'static str)]) -> Self {
        for field in &mut self.fields {
            let said = descriptions.iter().find(|(name, _)| *name == field.name);
            field.description = said.map(|(_, description)| *description).or(field.description);
        }
        self
    }

    /// Adds a rule about several fields.
    #[must_use]
    pub fn entity_check(mut self, check: EntityCheck) -> Self {
        self.checks.push(check);
        self
    }

    /// Adds a rule about several fields that only code can tell; `published` is what `/schemas`
    /// shows of it.
    #[must_use]
    pub fn check(self, published: Value, check: RecordCheck) -> Self {
        self.entity_check(EntityCheck::Custom { published, check })
    }

    /// Sets the last rule about the record.
    #[must_use]
    pub fn overall(mut self, check: Check) -> Self {
        self.overall = Some(check);
        self
    }

    /// Sets the change of given fields that comes before defaults.
    #[must_use]
    pub fn adjust(mut self, adjust: fn(&mut Map<String, Value>)) -> Self {
        self.adjust = Some(adjust);
        self
    }

    /// Adds a write-only field that stands for others.
    #[must_use]
    pub fn shorthand(mut self, shorthand: Shorthand) -> Self {
        self.shorthands.push(shorthand);
        self
    }

    /// Adds a rewrite of values before they are stored.
    #[must_use]
    pub fn transformation(mut self, transformation: Transformation) -> Self {
        self.transformations.push(transformation);
        self
    }
}
