//! The endpoints beside those for authorization and tokens.

use serde::Deserialize;
use tollgate_core::schema::Field;

pub(super) fn fields() -> Vec<Field> {
    Vec::new()
}

/// The fields as stored and as requests use them.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Endpoints {}
