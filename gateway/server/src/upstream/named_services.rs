//! Services that a setting names.

use uuid::Uuid;

/// Names or ids of services.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamedServices(Vec<String>);

impl NamedServices {
    /// From names or ids of services.
    pub fn new(names_or_ids: impl IntoIterator<Item = String>) -> Self {
        Self(names_or_ids.into_iter().collect())
    }

    /// Whether it names none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it names the service with this id and label (its name, or else its host).
    pub fn contain(&self, id: Uuid, label: &str) -> bool {
        self.0.iter().any(|text| text == label || text.parse() == Ok(id))
    }
}
