//! The profile, and a field for each of its behaviours: what none of them says is as the profile says.

use serde::Deserialize;
use tollgate_core::schema::Field;

use crate::profile::{Name, Profile};

pub(super) fn fields() -> Vec<Field> {
    Vec::new()
}

/// The fields as stored.
#[derive(Deserialize)]
pub(super) struct Stored {}

impl Stored {
    /// The behaviours of the instance. `default`: the profile if it names none.
    pub(super) fn resolve(self, default: Name) -> Profile {
        Profile::of(default)
    }
}
