//! The port to a configuration that comes from a file (gateway.md §10).

use async_trait::async_trait;
use serde_json::Value;
use tollgate_core::error::{DaoError, StoreError};

/// Whether a configuration that is in force already is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfIdentical {
    /// It is read and applied again.
    Apply,
    /// It is not read.
    Refuse,
}

/// How faults are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Faults {
    /// As a structure that mirrors the document.
    Nested,
    /// By entity as well.
    Flattened,
}

/// Why a configuration was not replaced.
#[derive(Debug)]
pub enum Refusal {
    /// It is in force already.
    Identical,
    /// Another one is being read.
    Busy,
    /// Something is wrong with it: the body of the response.
    Invalid(Value),
    /// It contradicts what is in the database, or the store failed.
    Dao(DaoError),
}

/// What is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its MD5 in hexadecimal; zeros: there is none.
    pub hash: String,
    /// Why the newest file is not in force; empty: it is.
    pub faults: Vec<String>,
}

/// A configuration that is replaced as a whole.
#[async_trait]
pub trait Declarations: Send + Sync + 'static {
    /// Replaces the configuration. Returns its entities by kind and id.
    async fn replace(&self, text: String, if_identical: IfIdentical, faults: Faults) -> Result<Value, Refusal>;

    /// The configuration as text.
    async fn export(&self) -> Result<String, StoreError>;

    /// What is in force.
    fn standing(&self) -> Standing;
}
