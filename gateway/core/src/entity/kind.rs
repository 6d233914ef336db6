//! A kind of entity as data.

use crate::schema::{Field, Schema, Type};

/// Names of an entity that are entities of another kind, such as the SNIs of a certificate: they are shown and written
/// as a list with the entity, in the same transaction, and one of them may replace its id in paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names {
    /// The list, an array of strings in the schema. It is not stored.
    pub field: &'static str,
    /// The kind of the names.
    pub kind: &'static str,
    /// That kind's unique field with the name.
    pub name: &'static str,
    /// That kind's reference to the entity.
    pub reference: &'static str,
    /// The message if a path has a name that does not exist.
    pub missing: &'static str,
}

/// Whether files of configuration contain entities of a kind (gateway.md §10).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum InFiles {
    /// They are read and written.
    #[default]
    Declared,
    /// They are read, such as tokens that another gateway issued; nothing that is written could be read again.
    ReadOnly,
    /// They are not: only the gateway makes them.
    Never,
}

/// A kind of entity, such as `services`.
#[derive(Debug, Clone)]
pub struct Kind {
    /// Its name in references, errors and the database, such as `oauth2_credentials`.
    pub name: &'static str,
    /// Its path segment in the Admin API, such as `oauth2`.
    pub segment: &'static str,
    /// Its path segment below a parent, such as `key-auth` for the collection `key-auths`.
    pub nested_segment: &'static str,
    /// The unique field that may replace the id in paths and references.
    pub second_key: Option<&'static str>,
    /// Fields whose combination is unique.
    pub unique_together: &'static [&'static str],
    /// Whether rows may expire: `ttl` is accepted on writes and shown as the seconds left.
    pub ttl: bool,
    /// Whether the Admin API serves it.
    pub admin: bool,
    /// Whether it does so only below a parent: newest first, and a PUT changes an entity as a PATCH does.
    pub only_below_parent: bool,
    /// Its names, if those are entities.
    pub names: Option<Names>,
    /// Foreign fields without a path below the entity.
    pub pathless: &'static [&'static str],
    /// Whether files of configuration contain it.
    pub in_files: InFiles,
    /// Its fields.
    pub schema: Schema,
}

impl Kind {
    /// A kind that the Admin API serves under its name, by id, and whose rows do not expire.
    pub fn new(name: &'static str, schema: Schema) -> Self {
        Self {
            name,
            segment: name,
            nested_segment: name,
            second_key: None,
            unique_together: &[],
            ttl: false,
            admin: true,
            only_below_parent: false,
            names: None,
            pathless: &[],
            in_files: InFiles::default(),
            schema,
        }
    }

    /// Sets the path segment, and the one below a parent unless that was set to something else.
    #[must_use]
    pub fn segment(self, segment: &'static str) -> Self {
        let nested_segment = if self.nested_segment == self.segment { segment } else { self.nested_segment };
        Self { segment, nested_segment, ..self }
    }

    /// Sets the path segment below a parent, if it differs.
    #[must_use]
    pub fn nested_segment(self, nested_segment: &'static str) -> Self {
        Self { nested_segment, ..self }
    }

    /// Lets a unique field replace the id in paths and references.
    #[must_use]
    pub fn second_key(self, field: &'static str) -> Self {
        Self { second_key: Some(field), ..self }
    }

    /// Refuses a combination of values that another entity has. If there are two fields and one of them is a
    /// reference, the other field replaces the id below the referenced entity ([`Kind::key_below`]).
    #[must_use]
    pub fn unique_together(self, fields: &'static [&'static str]) -> Self {
        Self { unique_together: fields, ..self }
    }

    /// Lets rows expire: `ttl` is accepted on writes, without a field in the schema, and a document that is read
    /// shows the seconds left. A cache adds them to the time before the read, and reads again once it is over:
    /// the deletion of an expired row is not announced. No other kind may refer to such a row.
    #[must_use]
    pub fn ttl(self) -> Self {
        Self { ttl: true, ..self }
    }

    /// Gives its entities names that are entities of another kind.
    #[must_use]
    pub fn names(self, names: Names) -> Self {
        Self { names: Some(names), ..self }
    }

    /// Serves no path to what these foreign fields refer to, such as `/snis/{x}/certificate`.
    #[must_use]
    pub fn without_path_to(self, fields: &'static [&'static str]) -> Self {
        Self { pathless: fields, ..self }
    }

    /// Sets whether files of configuration contain it.
    #[must_use]
    pub fn in_files(self, in_files: InFiles) -> Self {
        Self { in_files, ..self }
    }

    /// Gives the kind no paths in the Admin API: only its schema is shown.
    #[must_use]
    pub fn internal(self) -> Self {
        Self { admin: false, ..self }
    }

    /// Serves it only below the entity that it belongs to: newest first, and a PUT changes an entity as a PATCH does.
    #[must_use]
    pub fn only_below_parent(self) -> Self {
        Self { only_below_parent: true, ..self }
    }

    /// The field that identifies an entity among those whose `foreign` field refers to the same one, such as
    /// the `group` of a consumer's `acls`; `None` if no pair of fields is unique together.
    pub fn key_below(&self, foreign: &str) -> Option<&Field> {
        match *self.unique_together {
            [parent, key] | [key, parent] if parent == foreign => self.schema.field(key),
            _ => None,
        }
    }

    /// The foreign fields with the kinds they refer to.
    pub fn foreign_fields(&self) -> impl Iterator<Item = (&Field, &'static str)> {
        self.schema.fields.iter().filter_map(|field| match field.ty {
            Type::Foreign { target, .. } => Some((field, target)),
            _ => None,
        })
    }

    /// The foreign fields that have a path below the entity, such as `/routes/{x}/service`.
    pub fn foreign_paths(&self) -> impl Iterator<Item = (&Field, &'static str)> {
        self.foreign_fields().filter(|(field, _)| !self.pathless.contains(&field.name))
    }

    /// The unique fields.
    pub fn unique_fields(&self) -> impl Iterator<Item = &Field> {
        self.schema.fields.iter().filter(|field| field.unique)
    }
}
