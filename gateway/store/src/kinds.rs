//! The kinds that this process stores in the entity tables.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use tollgate_core::entity::Kind;

/// Kinds by name. Shared: a kind is added when its collection is created.
#[derive(Clone, Default)]
pub(crate) struct Kinds {
    by_name: Arc<RwLock<BTreeMap<&'static str, Arc<Kind>>>>,
}

impl Kinds {
    pub(crate) fn add(&self, kind: Arc<Kind>) {
        self.by_name.write().unwrap_or_else(PoisonError::into_inner).insert(kind.name, kind);
    }

    /// All kinds, ordered by name.
    pub(crate) fn all(&self) -> Vec<Arc<Kind>> {
        self.by_name.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Kind>> {
        self.by_name.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// A kind's name for errors. Rows of an unknown kind, such as that of a plugin that is no longer built
    /// in, are called entities.
    pub(crate) fn name_of(&self, name: &str) -> &'static str {
        self.get(name).map_or("entities", |kind| kind.name)
    }
}
