//! Services that a setting names.

use crate::upstream::service::ServiceEntry;

/// Names or ids of services.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamedServices(Vec<String>);

impl NamedServices {
    /// From names or ids of services.
    pub fn new(names_or_ids: impl IntoIterator<Item = String>) -> Self {
        Self(names_or_ids.into_iter().collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contain(&self, service: &ServiceEntry) -> bool {
        self.0.iter().any(|text| *text == *service.label || text.parse() == Ok(service.id))
    }
}
