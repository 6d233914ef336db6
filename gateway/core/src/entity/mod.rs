//! Kinds of entity: what the Admin API, the stores and the declarative files know about each.
//!
//! A kind is data: fields, defaults and rules are said once, in its file, and everything else is
//! worked out from them. The gateway's own kinds are here; plugins bring theirs.

use crate::schema::{Field, Schema, Type};

pub mod consumer;
pub mod field;
mod host;
mod path_rule;
pub mod plugin;
mod protocol;
pub mod route;
pub mod service;
mod view;

pub use protocol::Protocol;
pub use view::ReadError;

/// How a kind's entities are used, which decides how they are held (architecture, "two kinds of
/// state, never mixed").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    /// Small, read on every request: compiled into the snapshot.
    Configuration,
    /// Unbounded: never loaded whole, looked up by key.
    Identity,
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
    /// The unique field that may stand for the id in paths and references.
    pub second_key: Option<&'static str>,
    /// Fields that are unique together.
    pub unique_together: &'static [&'static str],
    /// How it is held.
    pub nature: Nature,
    /// Whether rows may expire: `ttl` is accepted on writes and shown as the seconds left.
    pub ttl: bool,
    /// Whether the Admin API serves it.
    pub admin: bool,
    /// Its fields.
    pub schema: Schema,
}

impl Kind {
    /// The foreign fields with the kinds they refer to.
    pub fn foreign_fields(&self) -> impl Iterator<Item = (&Field, &'static str)> {
        self.schema.fields.iter().filter_map(|field| match field.ty {
            Type::Foreign { target, .. } => Some((field, target)),
            _ => None,
        })
    }

    /// The unique fields.
    pub fn unique_fields(&self) -> impl Iterator<Item = &Field> {
        self.schema.fields.iter().filter(|field| field.unique)
    }
}
