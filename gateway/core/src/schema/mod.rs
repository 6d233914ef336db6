//! Schemas as data.
//!
//! A [`Document`] holds an entity's values; a [`Key`] identifies one entity. A [`Schema`] lists the fields of
//! a record with their types, defaults and rules. Everything known about an entity is derived from its
//! schema: validation and its messages, defaults, the conversion of form input, and the document that
//! `/schemas/…` publishes (gateway.md §1.1, §2.5, §4).
//!
//! This module defines the types. Each operation has a file: `process` (what a write stores), `defaults`,
//! `validate`, `form` and `publish`. Nothing in here knows a particular entity or queries a store; the store
//! checks uniqueness and references.

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
mod warning;

pub use document::{Document, NotAnObject};
pub use entity_check::{Branch, EntityCheck, Forbidden, RecordCheck};
pub use key::Key;
pub use makers::Makers;
pub use process::Insertion;
pub use rule::{Check, Rule};
pub use violations::Violations;

/// What happens to an entity when the entity it references is deleted.
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
    /// A map.
    Map {
        /// Rules of the keys.
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
        /// What its deletion causes.
        on_delete: OnDelete,
    },
}

/// A value that the gateway generates if none is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auto {
    /// A random UUID.
    Uuid,
    /// Now, in whole seconds; on creation.
    CreatedAt,
    /// Now, in whole seconds; on every write.
    UpdatedAt,
    /// Now, in seconds to the millisecond; on creation.
    CreatedAtMillis,
    /// Now, in seconds to the millisecond; on every write.
    UpdatedAtMillis,
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
    /// Whether null is refused (`required field missing`).
    pub required: bool,
    /// The default value.
    pub default: Option<Value>,
    /// How a missing value is generated.
    pub auto: Option<Auto>,
    /// Whether its value must be unique.
    pub unique: bool,
    /// Whether the empty string is accepted (otherwise `length must be at least 1`).
    pub empty_allowed: bool,
    /// Whether the value must not be shown in logs.
    pub sensitive: bool,
    /// Whether `/schemas` leaves it out, such as the `ttl` of rows that may expire.
    pub unlisted: bool,
    /// Whether an entity leaves it out while it is null.
    pub left_out_if_null: bool,
    /// The kind of the entities whose ids the list contains; they must exist, and cannot be deleted before
    /// this entity.
    pub ids_of: Option<&'static str>,
    /// Further rules.
    pub rules: Vec<Rule>,
    /// The description that `/schemas` shows.
    pub description: Option<&'static str>,
    /// Whether `/schemas` states explicitly that it may be null, as published schemas do for some fields and
    /// not for others.
    pub said_optional: bool,
}

impl Field {
    /// A field of any type, nullable and without rules.
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
            left_out_if_null: false,
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

    /// A boolean field with a default.
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

    /// States in `/schemas` that null is accepted.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.said_optional = true;
        self
    }

    /// Sets the description.
    #[must_use]
    pub fn describe(mut self, description: &'static str) -> Self {
        self.description = Some(description);
        self
    }

    /// Sets the default value.
    #[must_use]
    pub fn default(mut self, value: impl Into<Value>) -> Self {
        self.default = Some(value.into());
        self
    }

    /// Generates the value if none is given.
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

    /// Accepts only these strings.
    #[must_use]
    pub fn one_of(self, values: &[&'static str]) -> Self {
        self.rule(Rule::OneOf(values.to_vec()))
    }

    /// Accepts only numbers in this closed range.
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

    /// Leaves the field out of entities in which it is null, for one that clients of a published API do not expect.
    #[must_use]
    pub fn left_out_if_null(mut self) -> Self {
        self.left_out_if_null = true;
        self
    }

    /// A list of ids of entities of kind `target`, which must exist.
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

/// The fields of a record and the rules about several fields.
#[derive(Debug, Clone, Default)]
pub struct Schema {
    /// The fields, in the order in which they are published.
    pub fields: Vec<Field>,
    /// Rules about several fields.
    pub checks: Vec<EntityCheck>,
    /// A final rule about the record, only checked if nothing else is wrong with it. Its message replaces the
    /// violations of a nested record.
    pub overall: Option<Check>,
    /// Changes the given fields before defaults are filled in, where a default depends on another field.
    pub adjust: Option<fn(&mut Map<String, Value>)>,
    /// Defaults that depend on the value of another field.
    pub dependent_defaults: Vec<DependentDefaults>,
    /// Fields that are accepted and translated into other fields, such as a service's `url`.
    pub shorthands: Vec<Shorthand>,
    /// Values that are rewritten before they are stored, such as a secret that is hashed.
    pub transformations: Vec<Transformation>,
    /// Values that are rewritten with the id of another entity as salt.
    pub salted: Vec<Salted>,
    /// Values that follow from others, such as a digest.
    pub derivations: Vec<Derivation>,
}

/// A value that follows from another one, whatever is given for it.
#[derive(Debug, Clone)]
pub struct Derivation {
    /// The field from which it follows.
    pub from: &'static str,
    /// The field that gets it.
    pub field: &'static str,
    /// The value, `None` if none follows.
    pub derive: fn(&str) -> Option<String>,
}

/// Defaults in records in which a field has a given value. A stored value that was the default follows when an update
/// changes that field.
#[derive(Debug, Clone)]
pub struct DependentDefaults {
    /// The field that decides.
    pub field: &'static str,
    /// Its value.
    pub value: Value,
    /// The defaults of other fields.
    pub defaults: Vec<(&'static str, Value)>,
}

/// Rewrites values before they are stored. On an update, `input` and `needs` must be given together or not at
/// all, since the stored values may already be rewritten (`all or none of these fields must be set: …`).
#[derive(Debug, Clone)]
pub struct Transformation {
    /// The field that requests the rewrite: values are rewritten if it is true.
    pub input: &'static str,
    /// The field that is rewritten.
    pub needs: &'static str,
    /// The rewrite.
    pub on_write: fn(&str) -> String,
    /// Another field that is rewritten in the same way.
    pub companion: Option<Companion>,
}

/// A field that may also hold a value that was rewritten before: whoever writes it may not know another one.
#[derive(Debug, Clone)]
pub struct Companion {
    /// The field.
    pub field: &'static str,
    /// Whether a value was rewritten before.
    pub is_rewritten: fn(&str) -> bool,
}

/// Rewrites every given value before it is stored, with the id of the entity that another field refers to as salt. On
/// an update, both must be given or neither, unless that entity is said to be the same as before: the stored value is
/// already rewritten, and cannot be salted again (`all or none of these fields must be set: …`).
#[derive(Debug, Clone)]
pub struct Salted {
    /// The field that is rewritten.
    pub field: &'static str,
    /// The foreign field with the salt.
    pub salt: &'static str,
    /// The salt as messages name it, such as `consumer.id`.
    pub salt_id: &'static str,
    /// The rewrite of a value with its salt.
    pub on_write: fn(&str, &str) -> String,
}

/// A write-only field that is translated into others.
#[derive(Debug, Clone)]
pub struct Shorthand {
    /// The given field.
    pub field: Field,
    /// Returns the fields that replace it.
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

    /// Sets descriptions: pairs of field name and description.
    #[must_use]
    pub fn describe(mut self, descriptions: &[(&str, &'static str)]) -> Self {
        for field in &mut self.fields {
            let said = descriptions.iter().find(|(name, _)| *name == field.name);
            field.description = said.map(|(_, description)| *description).or(field.description);
        }
        self
    }

    /// Sets the default of a field.
    #[must_use]
    pub fn default_of(mut self, name: &str, value: Value) -> Self {
        if let Some(field) = self.fields.iter_mut().find(|field| field.name == name) {
            field.default = Some(value);
        }
        self
    }

    /// Sets the defaults of records in which `field` has this value.
    #[must_use]
    pub fn defaults_where(mut self, field: &'static str, value: Value, defaults: Vec<(&'static str, Value)>) -> Self {
        self.dependent_defaults.push(DependentDefaults { field, value, defaults });
        self
    }

    /// Adds a rule about several fields.
    #[must_use]
    pub fn entity_check(mut self, check: EntityCheck) -> Self {
        self.checks.push(check);
        self
    }

    /// Adds a rule about several fields that needs code; `published` is its form in `/schemas`.
    #[must_use]
    pub fn check(self, published: Value, check: RecordCheck) -> Self {
        self.entity_check(EntityCheck::Custom { published, check })
    }

    /// Sets the final rule about the record.
    #[must_use]
    pub fn overall(mut self, check: Check) -> Self {
        self.overall = Some(check);
        self
    }

    /// Sets the function that changes given fields before defaults are filled in.
    #[must_use]
    pub fn adjust(mut self, adjust: fn(&mut Map<String, Value>)) -> Self {
        self.adjust = Some(adjust);
        self
    }

    /// Adds a write-only field that is translated into others.
    #[must_use]
    pub fn shorthand(mut self, shorthand: Shorthand) -> Self {
        self.shorthands.push(shorthand);
        self
    }

    /// Adds a rewrite with a salt.
    #[must_use]
    pub fn salted(mut self, salted: Salted) -> Self {
        self.salted.push(salted);
        self
    }

    /// Adds a value that follows from another one.
    #[must_use]
    pub fn derivation(mut self, derivation: Derivation) -> Self {
        self.derivations.push(derivation);
        self
    }

    /// Adds a rewrite of values before they are stored.
    #[must_use]
    pub fn transformation(mut self, transformation: Transformation) -> Self {
        self.transformations.push(transformation);
        self
    }
}
