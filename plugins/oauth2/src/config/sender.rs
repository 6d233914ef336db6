//! What binds a token to its sender.

use serde::Deserialize;
use tollgate_core::schema::Field;

pub(super) fn fields() -> Vec<Field> {
    Vec::new()
}

/// The fields as stored and as requests use them.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Sender {}
