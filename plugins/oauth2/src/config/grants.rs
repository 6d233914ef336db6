//! Further ways to a token, and what a token is.

use serde::Deserialize;
use tollgate_core::schema::Field;

pub(super) fn fields() -> Vec<Field> {
    Vec::new()
}

/// The fields as stored and as requests use them.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Grants {}
