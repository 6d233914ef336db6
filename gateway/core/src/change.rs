//! What the store announces after a commit.
//!
//! Listeners run before the write is answered, so a write is in force on this node when its 2xx
//! is sent; other nodes hear the same changes through the store's feed. Applying a change twice
//! must be harmless: a node may hear its own changes again from the feed.

use async_trait::async_trait;
use uuid::Uuid;

use crate::error::StoreError;
use crate::schema::Document;

/// What happened to an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A new entity.
    Created,
    /// An entity has other values.
    Updated,
    /// An entity is gone.
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
#[derive(Debug, Clone)]
pub struct Change {
    /// The kind of the entity, such as `routes`.
    pub kind: String,
    /// What happened to it.
    pub operation: Operation,
    /// The entity.
    pub id: Uuid,
    /// What else identifies it to a cache (a token's digest); empty where the id is enough.
    pub key: Vec<u8>,
    /// The entity as it is now; `None` when deleted, and when only the feed told of the change
    /// (then the listener reads it from the store).
    pub document: Option<Document>,
}

/// Someone who must act on changes before they count as done.
#[async_trait]
pub trait ChangeListener: Send + Sync + 'static {
    /// Acts on committed changes, in order. An error means that this node may be stale: the
    /// feed keeps the changes and offers them again, and the node stops trusting its caches
    /// when that goes on for longer than its bound.
    async fn apply(&self, changes: &[Change]) -> Result<(), StoreError>;

    /// Forgets everything that was learnt from the store: the feed was interrupted for longer
    /// than it can replay.
    async fn reset(&self) -> Result<(), StoreError>;
}
