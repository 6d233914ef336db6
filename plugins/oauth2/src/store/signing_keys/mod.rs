//! The keys that sign access tokens, as rows. A few, which all nodes share.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tollgate_core::error::StoreError;
use tollgate_plugin::store::{Store, Sweep, statement};
use uuid::Uuid;

use super::Outcome;

mod tables;

pub use crate::entity::signing_key::NAME;

/// A signing key. Times are Unix seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// Its id.
    pub id: Uuid,
    /// The `kid` of its tokens.
    pub key_id: String,
    /// The order in which keys were made: 1, 2, 3 …
    pub generation: i64,
    /// `ES256` or `RS256`.
    pub algorithm: String,
    /// The private key, sealed.
    pub sealed: Vec<u8>,
    /// When it was made.
    pub created_at: i64,
    /// The first second in which it signs.
    pub active_from: i64,
    /// No token that it has signed lives longer.
    pub covers: i64,
}

/// Signing keys in the store.
#[async_trait]
pub trait KeyRows: Send + Sync + 'static {
    /// All of them, the oldest first.
    async fn find_keys(&self) -> Result<Vec<KeyRow>, StoreError>;

    /// Adds the key that follows its generation. Lost: another one has become the newest.
    async fn insert_key(&self, follows: i64, key: KeyRow) -> Result<Outcome, StoreError>;

    /// Keeps a key for tokens that live until then. Lost: it is gone.
    async fn cover(&self, key_id: String, until: i64) -> Result<Outcome<i64>, StoreError>;

    /// Deletes a key. Lost: it is gone.
    async fn delete_key(&self, id: Uuid) -> Result<Outcome, StoreError>;
}

/// Removes keys whose tokens have all expired, once a newer one signs.
pub const SWEEP: Sweep =
    Sweep { table: NAME, statement: statement!("oauth2/sweep_signing_keys.sql"), interval: Duration::from_secs(600) };

/// The signing keys of a store.
pub fn open(store: &Store) -> Arc<dyn KeyRows> {
    Arc::new(tables::Tables::new(store))
}
