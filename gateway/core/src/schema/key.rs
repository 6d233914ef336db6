//! How requests identify an entity.

use uuid::Uuid;

/// Identifies one entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// By primary key.
    Id(Uuid),
    /// By a unique string field, such as a service's `name`.
    Unique {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
    },
}
