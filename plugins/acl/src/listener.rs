//! Keeps cached groups exact: invalidates what a change of an `acls` row affects.

use async_trait::async_trait;
use tollgate_plugin::{Change, ChangeListener, Operation, StoreError};

use crate::entity::{CONSUMER, NAME};
use crate::groups::GroupCache;

/// Follows the change feed.
pub(crate) struct Listener {
    pub(crate) groups: GroupCache,
}

impl Listener {
    pub(crate) fn apply_one(&self, change: &Change) {
        // A new row belongs to no cached groups yet, except to those of its own consumer, which are forgotten.
        if change.operation != Operation::Created {
            self.groups.facts_ended();
        }
        self.groups.source().row_changed(change.id);
        if let Some(document) = &change.document {
            match document.reference(CONSUMER) {
                Some(consumer) => self.groups.forget(&consumer),
                None => self.groups.forget_all(),
            }
        }
    }
}

#[async_trait]
impl ChangeListener for Listener {
    async fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        changes.iter().filter(|change| change.kind == NAME).for_each(|change| self.apply_one(change));
        Ok(())
    }

    async fn reset(&self) -> Result<(), StoreError> {
        self.groups.forget_all();
        Ok(())
    }
}
