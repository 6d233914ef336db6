//! The plugin's store port: tokens and authorization codes.
//!
//! One statement decides each one-time operation ([`Tokens::redeem_code`],
//! [`Tokens::rotate_refresh_token`]): the condition is in its WHERE clause, and losing the race is a
//! result, not an error. Expired rows are invisible to every method.
//!
//! [`TokenRows`] are the Admin API's operations on tokens. Both ports report what has ended to this node's
//! caches, and through the change feed to those of other nodes, before they return.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tollgate_core::error::{DaoError, StoreError};
use tollgate_plugin::store::{Store, Sweep, statement};
use uuid::Uuid;

use crate::binding::Binding;
use crate::token::Digest;

mod batches;
mod columns;
pub mod declared;
#[cfg(test)]
pub(crate) mod memory;
pub mod registrations;
pub mod signing_keys;
mod single_use;
mod tables;
#[cfg(test)]
pub(crate) mod tests;
pub mod waiting;

pub use single_use::SingleUse;

/// A token row, without clear values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its id.
    pub id: Uuid,
    /// Digest of the access token.
    pub access_token: Digest,
    /// Digest of the refresh token, if it has one.
    pub refresh_token: Option<Digest>,
    /// The last four characters of the access token, for operators to distinguish tokens.
    pub token_hint: String,
    /// The client's credential.
    pub credential_id: Uuid,
    /// The service it is bound to; `None` is a global token.
    pub service_id: Option<Uuid>,
    /// Lifetime in seconds from `created_at`; 0 or less means it never expires.
    pub expires_in: i64,
    /// When it was issued, in Unix seconds.
    pub created_at: i64,
    /// When the row expires with both its tokens, in Unix seconds; `None` is never.
    pub ttl: Option<i64>,
    /// The resource owner.
    pub authenticated_userid: Option<String>,
    /// Space-separated scope.
    pub scope: Option<String>,
    /// The code or refresh token this one descends from, shared by all descendants, so that a replay
    /// can revoke the whole family.
    pub family: Option<Uuid>,
    /// What it is bound to beyond its client and service.
    pub binding: Option<Arc<Binding>>,
}

/// An authorization code row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    /// Its id.
    pub id: Uuid,
    /// Digest of the code.
    pub code: Digest,
    /// The client's credential.
    pub credential_id: Uuid,
    /// The service it is bound to; `None` when issued by a global plugin.
    pub service_id: Option<Uuid>,
    /// The plugin instance that issued it.
    pub plugin_id: Option<Uuid>,
    /// The resource owner.
    pub authenticated_userid: Option<String>,
    /// Space-separated scope.
    pub scope: Option<String>,
    /// PKCE challenge, normalised.
    pub challenge: Option<String>,
    /// PKCE method, `S256`.
    pub challenge_method: Option<String>,
    /// The redirect URI of the authorization request, if it named one (RFC 6749 §4.1.3).
    pub redirect_uri: Option<String>,
    /// When it was issued, in Unix seconds.
    pub created_at: i64,
    /// When it expires, in Unix seconds.
    pub ttl: i64,
    /// What its tokens are bound to beyond their client and service.
    pub binding: Option<Arc<Binding>>,
}

/// How a refresh changes the stored row (oauth2.md §3.9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotation {
    /// `reuse_refresh_token = false`: a new row replaces the old one, which ends both old tokens.
    Replace {
        /// The new row.
        successor: Token,
        /// The scope of its refresh token, if its access token is narrower.
        granted_scope: Option<String>,
        /// How long a second use of the old refresh token is noticed.
        remembered: Option<Remembered>,
    },
    /// `reuse_refresh_token = true`: the same row gets a new access token and new times.
    Renew {
        /// The access token the caller saw in the row. The refresh token is unchanged, so this
        /// decides a race: of the callers that saw the same access token, one wins.
        replaces: Digest,
        /// Digest of the new access token.
        access_token: Digest,
        /// Its last four characters.
        token_hint: String,
        /// Lifetime in seconds.
        expires_in: i64,
        /// Now, in Unix seconds.
        created_at: i64,
        /// When the row expires.
        ttl: Option<i64>,
        /// What the new access token is bound to.
        binding: Option<Arc<Binding>>,
        /// The scope of the new access token.
        scope: Option<String>,
        /// The scope of the refresh token, if the access token is narrower.
        granted_scope: Option<String>,
    },
}

/// How long a second use of a code or refresh token is noticed, in Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remembered {
    /// The last second in which it is only refused; later ones end the family.
    pub tolerated_until: i64,
    /// The last second in which it is noticed.
    pub until: i64,
}

/// Why a used code or refresh token ends what it gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It is used again, and that is not tolerated any more.
    Reuse,
    /// Its client revokes it.
    Revocation,
}

/// A token that is about to be refreshed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refreshable {
    /// Its row.
    pub token: Token,
    /// The scope that its refresh token has, if its access token was narrowed.
    pub granted_scope: Option<String>,
}

/// What a repeated refresh gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeatable {
    /// The new pair, readable with the refresh token that was presented.
    pub sealed: Vec<u8>,
    /// The last second in which it is given out, in Unix seconds.
    pub until: i64,
}

/// A refresh that can still be repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecentRefresh {
    /// The row that the refresh added or renewed, as it is now.
    pub token: Token,
    /// The scope that its refresh token has, if its access token was narrowed.
    pub granted_scope: Option<String>,
    /// The pair that it gave out, sealed.
    pub sealed: Vec<u8>,
}

/// Whether a one-time operation succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome<T = ()> {
    /// This caller won.
    Won(T),
    /// Too late: used, expired or revoked.
    Lost,
}

/// Tokens and codes in the store. `now` is Unix seconds.
#[async_trait]
pub trait Tokens: Send + Sync + 'static {
    /// Tokens by the digest of their access token, in any order; unknown and expired rows are
    /// omitted. The implementation batches concurrent look-ups into one statement.
    async fn find_tokens(&self, access_tokens: &[Digest], now: i64) -> Result<Vec<Token>, StoreError>;

    /// The same for a cache, which hears of every later change: it may read a replica that shows every change
    /// applied on this node.
    async fn look_up_tokens(&self, access_tokens: &[Digest], now: i64) -> Result<Vec<Token>, StoreError> {
        self.find_tokens(access_tokens, now).await
    }

    /// The token with this refresh token.
    async fn find_by_refresh_token(&self, refresh_token: Digest, now: i64) -> Result<Option<Refreshable>, StoreError>;

    /// Adds an issued token. Its digests are random, so they do not collide. Lost: its client or
    /// its service was deleted.
    async fn insert_token(&self, token: Token) -> Result<Outcome, StoreError>;

    /// Stores an authorization code. Lost: its client, service or plugin was deleted.
    async fn insert_code(&self, code: Code) -> Result<Outcome, StoreError>;

    /// The code, without redeeming it.
    async fn find_code(&self, code: Digest, now: i64) -> Result<Option<Code>, StoreError>;

    /// Redeems this client's code and adds the token, both or neither. `remembered_until`: how long a second use of the
    /// code is noticed.
    async fn redeem_code(
        &self,
        code: Digest,
        credential_id: Uuid,
        token: Token,
        remembered_until: Option<i64>,
        now: i64,
    ) -> Result<Outcome, StoreError>;

    /// Rotates this client's refresh token: both changes or neither. Won: the digest of the access
    /// token that ended, which the caller's cache must evict. `repeatable` is stored with it.
    async fn rotate_refresh_token(
        &self,
        refresh_token: Digest,
        credential_id: Uuid,
        rotation: Rotation,
        repeatable: Option<Repeatable>,
        now: i64,
    ) -> Result<Outcome<Digest>, StoreError>;

    /// Ends the tokens that descend from this client's code or refresh token, which is used a second time, if that is
    /// noticed. Returns the ids of their rows.
    async fn end_replayed(
        &self,
        used: Digest,
        credential_id: Uuid,
        cause: Cause,
        now: i64,
    ) -> Result<Vec<Uuid>, StoreError>;

    /// The last refresh with this refresh token that was stored as repeatable, if its row still exists.
    async fn find_recent_refresh(&self, refresh_token: Digest, now: i64) -> Result<Option<RecentRefresh>, StoreError>;

    /// Ends this client's tokens that descend from `family`, a code or a token, and that token itself; also those that
    /// are being refreshed at the same time.
    async fn end_family(&self, family: Uuid, credential_id: Uuid, now: i64) -> Result<(), StoreError>;

    /// Returns when this node has applied every change that was committed before the call: for a
    /// write that changes nothing because of an earlier write.
    async fn catch_up(&self) -> Result<(), StoreError>;

    /// Whether there is an access token that was not minted here; an expired one may count.
    async fn any_imported(&self) -> Result<bool, StoreError>;
}

/// The origin of an access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provenance {
    /// Minted by this gateway, so it carries a checksum.
    Minted,
    /// Given by an operator or imported: it may have any form.
    Given,
}

/// The tokens in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenFilter {
    /// All tokens.
    All,
    /// Those of a client's credential.
    Credential(Uuid),
    /// Those bound to a service.
    Service(Uuid),
}

/// Tokens as the Admin API reads and writes them. `now` is in Unix seconds.
///
/// Errors of the writes: [`DaoError::PrimaryKey`]; [`DaoError::Unique`] with `access_token` or
/// `refresh_token` and a null, because the clear value is not known here;
/// [`DaoError::ForeignMissing`] for `credential` and `service`; [`DaoError::Store`].
#[async_trait]
pub trait TokenRows: Tokens {
    /// The token with this id. By its access token: [`Tokens::find_tokens`].
    async fn find_token_by_id(&self, id: Uuid, now: i64) -> Result<Option<Token>, StoreError>;

    /// At most `size` tokens in the order of their ids, starting after `after`.
    async fn page_tokens(
        &self,
        filter: TokenFilter,
        after: Option<Uuid>,
        size: usize,
        now: i64,
    ) -> Result<Vec<Token>, StoreError>;

    /// Adds a token.
    async fn insert_row(&self, token: Token, provenance: Provenance, now: i64) -> Result<(), DaoError>;

    /// Replaces `old` by `new`, which has the same id. Lost: the row was changed since it was
    /// read, or deleted. `provenance` is that of a changed access token; an unchanged one
    /// keeps its own.
    async fn replace_row(&self, old: &Token, new: Token, provenance: Provenance, now: i64)
    -> Result<Outcome, DaoError>;

    /// Deletes the token and returns it.
    async fn delete_row(&self, id: Uuid, now: i64) -> Result<Option<Token>, StoreError>;
}

/// Removes expired rows, which are already invisible.
pub const SWEEPS: [Sweep; 6] = [
    Sweep {
        table: "oauth2_tokens",
        statement: statement!("oauth2/sweep_tokens.sql"),
        interval: Duration::from_secs(60),
    },
    Sweep {
        table: "oauth2_authorization_codes",
        statement: statement!("oauth2/sweep_codes.sql"),
        interval: Duration::from_secs(60),
    },
    Sweep {
        table: "oauth2_recent_refreshes",
        statement: statement!("oauth2/sweep_recent_refreshes.sql"),
        interval: Duration::from_secs(60),
    },
    Sweep {
        table: "oauth2_single_use",
        statement: statement!("oauth2/sweep_single_use.sql"),
        interval: Duration::from_secs(60),
    },
    Sweep {
        table: "oauth2_used_grants",
        statement: statement!("oauth2/sweep_used_grants.sql"),
        interval: Duration::from_secs(60),
    },
    Sweep {
        table: "oauth2_registrations",
        statement: statement!("oauth2/sweep_registrations.sql"),
        interval: Duration::from_secs(3600),
    },
];

/// The tokens and codes of a store.
pub fn open(store: &Store) -> Arc<dyn TokenRows> {
    Arc::new(tables::Tables::new(store))
}
