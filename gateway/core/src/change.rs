//! What the store announces after a commit.
//!
//! Listeners run before the response to a write, so a write is in force on this node when its 2xx is sent.
//! Other nodes read the same changes from the store's change feed. Applying a change twice must be harmless:
//! a node may read its own changes from the feed again.

use async_trait::async_trait;
use uuid::Uuid;

use crate::error::StoreError;
use crate::schema::Document;

/// What happened to an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A new entity.
    Created,
    /// An entity has new values.
    Updated,
    /// An entity was deleted.
    Deleted,
}

impl Operation {
    /// The word kept in the `changes` table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
        }
    }

    /// Reads the word kept in the `changes` table.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Created, Self::Updated, Self::Deleted].into_iter().find(|operation| operation.as_str() == word)
    }
}

/// One committed change.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The kind of the entity, such as `routes`.
    pub kind: String,
    /// What happened to it.
    pub operation: Operation,
    /// The entity.
    pub id: Uuid,
    /// A further key under which caches hold it (a token's digest); empty where the id is enough.
    pub key: Vec<u8>,
    /// The current document. Listeners always get it for kinds that the store keeps as documents; `None` then means
    /// that the entity is gone. An entity that was deleted and made again under its id arrives as an update.
    pub document: Option<Document>,
}

/// Acts on changes before the write returns.
#[async_trait]
pub trait ChangeListener: Send + Sync + 'static {
    /// Acts on committed changes, in order. An error means that this node may be stale: the feed keeps the
    /// changes and delivers them again, and the node stops trusting its caches if that takes longer than its
    /// limit.
    async fn apply(&self, changes: &[Change]) -> Result<(), StoreError>;

    /// Drops everything that was read from the store: the feed was interrupted for longer than it can
    /// replay.
    async fn reset(&self) -> Result<(), StoreError>;
}
