//! What can go wrong with the store, and what an Admin client is told about its write.

use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use crate::collection::Key;
use crate::schema::Violations;

/// The store could not do its work. Never "not found": that is a result.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached, or the connection broke.
    #[error("the store is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No connection became free in time: too much waits for the store.
    #[error("no store connection became free within {0:?}")]
    Busy(Duration),
    /// The statement ran for longer than its bound.
    #[error("the store did not answer within {0:?}")]
    Timeout(Duration),
    /// A statement failed in a way that no input should cause.
    #[error("the store refused statement {statement}")]
    Statement {
        /// The file in `sql/`.
        statement: &'static str,
        /// What the driver said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A row does not have the shape that this version writes.
    #[error("a stored {kind} cannot be read: {what}")]
    Corrupt {
        /// The kind of entity.
        kind: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// Why a read or write of an entity was not done (contract gateway.md §4).
#[derive(Debug, thiserror::Error)]
pub enum DaoError {
    /// Code 1: the path names no UUID, and the kind has no second key.
    #[error("invalid primary key")]
    InvalidPrimaryKey,
    /// Code 2: the document breaks its schema.
    #[error("schema violation")]
    Schema(Violations),
    /// Code 3: the id is taken.
    #[error("primary key violation")]
    PrimaryKey {
        /// The id.
        id: Uuid,
    },
    /// Code 4: a reference leads nowhere.
    #[error("foreign key violation")]
    ForeignMissing {
        /// The foreign field, such as `service`.
        field: &'static str,
        /// The kind it refers to, such as `services`.
        target: &'static str,
        /// The id that does not exist.
        id: Uuid,
    },
    /// Code 4: something still refers to the entity that was to be deleted.
    #[error("foreign key violation")]
    Referenced {
        /// The kind that refers, such as `routes`.
        by: &'static str,
        /// The kind that is referred to, such as `services`.
        target: &'static str,
    },
    /// Code 5: a unique value, or a combination of values, is taken.
    #[error("unique constraint violation")]
    Unique {
        /// The fields of the constraint with the values that collide: strings, nulls, or `{"id": …}`.
        fields: Vec<(&'static str, Value)>,
    },
    /// Code 6: there is no such entity.
    #[error("not found")]
    NotFound {
        /// How it was asked for.
        key: Key,
    },
    /// Code 7: the list's `offset` cannot be read.
    #[error("invalid offset")]
    InvalidOffset {
        /// What was given.
        offset: String,
        /// Why it cannot be read, such as `bad base64 encoding`.
        why: &'static str,
    },
    /// Code 9: the list's `size` is out of bounds.
    #[error("invalid size")]
    InvalidSize {
        /// The sentence of the contract.
        why: &'static str,
    },
    /// Code 10: a unique field's value in the path breaks the field's rule.
    #[error("invalid unique {field}")]
    InvalidUnique {
        /// The field.
        field: &'static str,
        /// The rule's message.
        why: String,
    },
    /// Code 11: the list's options cannot be understood.
    #[error("invalid options")]
    InvalidOptions {
        /// Option and what is wrong with it.
        options: Vec<(&'static str, String)>,
    },
    /// Code 13: a reference by unique name leads nowhere.
    #[error("foreign keys unresolved")]
    ForeignUnresolved {
        /// The foreign field, such as `service`.
        field: &'static str,
        /// The kind it refers to.
        target: &'static str,
        /// The unique field that was given, such as `name`.
        by: String,
        /// Its value.
        value: String,
    },
    /// Code 12: the kind is not written this way (`tags`).
    #[error("operation unsupported")]
    Unsupported {
        /// The kind.
        kind: &'static str,
    },
    /// Code 8: the store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
