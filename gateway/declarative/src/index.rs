//! Which entities a file declares.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use crate::layout::Declared;

/// Which entities are declared, by what may refer to them.
#[derive(Default)]
pub(crate) struct Index {
    ids: HashSet<(&'static str, Uuid)>,
    /// By kind and value: the unique fields that have it.
    by_unique: HashMap<(&'static str, String), Vec<(&'static str, Uuid)>>,
}

impl Index {
    /// Whether an entity with that id is declared.
    pub(crate) fn has(&self, kind: &'static str, id: Uuid) -> bool {
        self.ids.contains(&(kind, id))
    }

    /// The entity with a value in that unique field.
    pub(crate) fn with(&self, kind: &'static str, field: &str, value: &str) -> Option<Uuid> {
        let found = self.by_unique.get(&(kind, value.to_owned()))?;
        found.iter().find(|(name, _)| *name == field).map(|(_, id)| *id)
    }

    /// The entity with a value in its second key, or else in another unique field.
    pub(crate) fn named(&self, kind: &'static str, value: &str) -> Option<Uuid> {
        let found = self.by_unique.get(&(kind, value.to_owned()))?;
        found.first().map(|(_, id)| *id)
    }

    /// Adds an entity, whose id is known.
    pub(crate) fn add(&mut self, declared: &Declared<'_>) {
        let kind = declared.kind;
        self.ids.insert((kind.name, declared.id));
        for field in kind.unique_fields() {
            if let Some(value) = declared.document.text(field.name) {
                let found = self.by_unique.entry((kind.name, value.to_owned())).or_default();
                let position = if kind.second_key == Some(field.name) { 0 } else { found.len() };
                found.insert(position, (field.name, declared.id));
            }
        }
    }
}
