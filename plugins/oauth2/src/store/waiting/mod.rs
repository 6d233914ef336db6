//! Authorization requests that wait for a user: pushed by a client (RFC 9126), or begun on a device (RFC 8628).
//!
//! As with codes, one statement decides what happens once: a pushed request is taken, a user decides, a device code
//! is redeemed. Expired rows are invisible, but for [`WaitingRequests::poll`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tollgate_core::error::StoreError;
use tollgate_plugin::store::{Store, Sweep, statement};
use uuid::Uuid;

use super::{Outcome, Token};
use crate::binding::Binding;
use crate::token::Digest;

mod tables;

/// A pushed authorization request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedRequest {
    /// Digest of the reference in its request URI.
    pub reference: Digest,
    /// The client that pushed it.
    pub credential_id: Uuid,
    /// The plugin instance that it was pushed to.
    pub plugin_id: Uuid,
    /// Its parameters, as a JSON object.
    pub parameters: String,
    /// The last second in which it can be used, in Unix seconds.
    pub expires_at: i64,
}

/// What the user said of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing yet.
    Pending,
    /// This user agreed.
    Approved(String),
    /// No.
    Denied,
}

/// What a device has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceCode {
    /// Its id.
    pub id: Uuid,
    /// Digest of the device code.
    pub device_code: Digest,
    /// Keyed digest of the user code.
    pub user_code: Digest,
    /// The client's credential.
    pub credential_id: Uuid,
    /// The service that it is bound to; `None` when begun at a global plugin.
    pub service_id: Option<Uuid>,
    /// The plugin instance.
    pub plugin_id: Uuid,
    /// Space-separated scope: requested, then granted.
    pub scope: Option<String>,
    /// The user's decision.
    pub decision: Decision,
    /// Seconds between two polls.
    pub poll_interval: i64,
    /// Whether this poll came too soon.
    pub hurried: bool,
    /// When it was begun, in Unix seconds.
    pub created_at: i64,
    /// The last second in which it can be used, in Unix seconds.
    pub expires_at: i64,
    /// What its tokens are bound to beyond client and service.
    pub binding: Option<Arc<Binding>>,
}

/// Waiting requests in the store. `now` is Unix seconds.
#[async_trait]
pub trait WaitingRequests: Send + Sync + 'static {
    /// Stores a pushed request. Lost: its client or plugin was deleted.
    async fn insert_pushed(&self, request: PushedRequest) -> Result<Outcome, StoreError>;

    /// The parameters of a request that this client pushed to this plugin instance. It can still be taken.
    async fn find_pushed(
        &self,
        reference: Digest,
        credential_id: Uuid,
        plugin_id: Uuid,
        now: i64,
    ) -> Result<Option<String>, StoreError>;

    /// Takes a request that this client pushed to this plugin instance: its parameters. Of two callers one has them.
    async fn take_pushed(
        &self,
        reference: Digest,
        credential_id: Uuid,
        plugin_id: Uuid,
        now: i64,
    ) -> Result<Option<String>, StoreError>;

    /// Stores what a device has begun. Lost: its client, service or plugin was deleted, or the user code is taken.
    async fn insert_device(&self, device: DeviceCode) -> Result<Outcome, StoreError>;

    /// What waits for a user's decision at this plugin instance.
    async fn find_user_code(
        &self,
        user_code: Digest,
        plugin_id: Uuid,
        now: i64,
    ) -> Result<Option<DeviceCode>, StoreError>;

    /// Records the user's decision and the granted scope. Lost: decided already, expired or unknown.
    async fn decide(
        &self,
        user_code: Digest,
        plugin_id: Uuid,
        decision: Decision,
        scope: Option<String>,
        now: i64,
    ) -> Result<Outcome<DeviceCode>, StoreError>;

    /// Records a poll of this client's device, and returns what it has begun, even if that has expired: for an hour.
    async fn poll(
        &self,
        device_code: Digest,
        credential_id: Uuid,
        now_millis: i64,
    ) -> Result<Option<DeviceCode>, StoreError>;

    /// Redeems this client's approved device code and adds the token, both or neither.
    async fn redeem_device_code(
        &self,
        device_code: Digest,
        credential_id: Uuid,
        token: Token,
        now: i64,
    ) -> Result<Outcome, StoreError>;
}

/// Removes what has expired.
pub const SWEEPS: [Sweep; 2] = [
    Sweep {
        table: "oauth2_pushed_requests",
        statement: statement!("oauth2/sweep_pushed_requests.sql"),
        interval: Duration::from_secs(60),
    },
    Sweep {
        table: "oauth2_device_codes",
        statement: statement!("oauth2/sweep_device_codes.sql"),
        interval: Duration::from_secs(60),
    },
];

/// The waiting requests of a store.
pub fn open(store: &Store) -> Arc<dyn WaitingRequests> {
    Arc::new(tables::Tables::new(store))
}
