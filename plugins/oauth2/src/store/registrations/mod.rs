//! Clients that have registered themselves (RFC 7591), as rows beside their credentials.

use std::sync::Arc;

use async_trait::async_trait;
use tollgate_core::error::StoreError;
use tollgate_plugin::store::Store;
use uuid::Uuid;

use super::Outcome;
use crate::token::Digest;

mod tables;

/// A registration. Times are Unix seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The client's credential.
    pub credential_id: Uuid,
    /// The plugin instance.
    pub plugin_id: Uuid,
    /// Digest of the registration access token.
    pub access_token: Digest,
    /// Keyed digest of the network that it came from.
    pub network: Digest,
    /// What the client has registered, as a JSON object.
    pub metadata: String,
    /// When it was added.
    pub created_at: i64,
    /// From then on it is deleted when it has no token.
    pub unused_after: i64,
}

/// How many registrations there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// At the plugin instance.
    pub total: i64,
    /// Of them from one network since `since`.
    pub per_network: i64,
    /// In Unix seconds.
    pub since: i64,
}

/// Registrations in the store.
#[async_trait]
pub trait Registrations: Send + Sync + 'static {
    /// Adds a registration. Lost: the quota is used up, or the plugin is gone.
    async fn insert_registration(&self, registration: Registration, quota: Quota) -> Result<Outcome, StoreError>;

    /// That of a client.
    async fn find_registration(&self, credential_id: Uuid) -> Result<Option<Registration>, StoreError>;

    /// Changes what a client has registered. Lost: it is gone.
    async fn update_registration(&self, credential_id: Uuid, metadata: String) -> Result<Outcome, StoreError>;

    /// Deletes a registration without its credential.
    async fn delete_registration(&self, credential_id: Uuid) -> Result<(), StoreError>;

    /// Some credentials of clients that have been there for their time and have no token.
    async fn find_unused(&self, now: i64, most: i64) -> Result<Vec<Uuid>, StoreError>;
}

/// The registrations of a store.
pub fn open(store: &Store) -> Arc<dyn Registrations> {
    Arc::new(tables::Tables::new(store))
}
