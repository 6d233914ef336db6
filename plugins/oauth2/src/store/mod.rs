//! The plugin's store port: tokens and authorization codes.
//!
//! One-time things are decided by one statement each ([`Tokens::redeem_code`],
//! [`Tokens::rotate_refresh_token`]): the condition stands in its WHERE, and losing the race is a
//! result, not an error. Expired rows are invisible to every method.
//!
//! [`TokenRows`] is what the Admin API does to tokens. Both ports tell this node's caches, and
//! through the change feed those of other nodes, what has ended before they return.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tollgate_core::error::{DaoError, StoreError};
use tollgate_plugin::store::{Store, Sweep, statement};
use uuid::Uuid;

use crate::token::Digest;

mod batches;
mod columns;
#[cfg(test)]
pub(crate) mod memory;
mod tables;
#[cfg(test)]
pub(crate) mod tests;

/// A token row, clear values excluded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its id.
    pub id: Uuid,
    /// Digest of the access token.
    pub access_token: Digest,
    /// Digest of the refresh token, if it has one.
    pub refresh_token: Option<Digest>,
    /// The last four characters of the access token, so that an operator can tell tokens apart.
    pub token_hint: String,
    /// The client's credential.
    pub credential_id: Uuid,
    /// The service it is bound to; `None` is a global token.
    pub service_id: Option<Uuid>,
    /// Seconds of validity from `created_at`; 0 or less is for ever.
    pub expires_in: i64,
    /// When it was issued, in Unix seconds.
    pub created_at: i64,
    /// When the row vanishes with both its tokens, in Unix seconds; `None` is never.
    pub ttl: Option<i64>,
    /// The resource owner.
    pub authenticated_userid: Option<String>,
    /// Space-separated scope.
    pub scope: Option<String>,
    /// The code or refresh token this one came from, shared by all descendants, so that a replay
    /// can end the whole family.
    pub family: Option<Uuid>,
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
    /// The redirect URI of the authorization request, when it was given there (RFC 6749 §4.1.3).
    pub redirect_uri: Option<String>,
    /// When it was issued, in Unix seconds.
    pub created_at: i64,
    /// When it vanishes, in Unix seconds.
    pub ttl: i64,
}

/// How a refresh changes the stored row (oauth2.md §3.9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotation {
    /// `reuse_refresh_token = false`: a new row replaces the old one, which ends both old tokens.
    Replace(Token),
    /// `reuse_refresh_token = true`: the same row gets a new access token and new times.
    Renew {
        /// The access token the caller saw in the row. The refresh token stays as it is, so this
        /// is what decides a race: of those who saw the same access token, one wins.
        replaces: Digest,
        /// Digest of the new access token.
        access_token: Digest,
        /// Its last four characters.
        token_hint: String,
        /// Seconds of validity.
        expires_in: i64,
        /// Now, in Unix seconds.
        created_at: i64,
        /// When the row vanishes.
        ttl: Option<i64>,
    },
}

/// Whether a one-time thing was still there to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome<T = ()> {
    /// This caller took it.
    Won(T),
    /// It was gone: used, expired or revoked.
    Lost,
}

/// Tokens and codes in the store. `now` is Unix seconds.
#[async_trait]
pub trait Tokens: Send + Sync + 'static {
    /// Tokens by the digest of their access token, in any order; unknown and expired rows are
    /// left out. Concurrent look-ups are batched into one statement by the implementation.
    async fn find_tokens(&self, access_tokens: &[Digest], now: i64) -> Result<Vec<Token>, StoreError>;

    /// The token that has this refresh token.
    async fn find_by_refresh_token(&self, refresh_token: Digest, now: i64) -> Result<Option<Token>, StoreError>;

    /// Adds an issued token. Its digests are random, so they do not collide. Lost: its client or
    /// its service is gone.
    async fn insert_token(&self, token: Token) -> Result<Outcome, StoreError>;

    /// Keeps an authorization code. Lost: its client, service or plugin is gone.
    async fn insert_code(&self, code: Code) -> Result<Outcome, StoreError>;

    /// The code, without using it up.
    async fn find_code(&self, code: Digest, now: i64) -> Result<Option<Code>, StoreError>;

    /// Takes the code of this client and adds the token, both or neither.
    async fn redeem_code(
        &self,
        code: Digest,
        credential_id: Uuid,
        token: Token,
        now: i64,
    ) -> Result<Outcome, StoreError>;

    /// Takes the refresh token of this client, both or neither. Won: the digest of the access
    /// token that ended, which the caller's cache must forget.
    async fn rotate_refresh_token(
        &self,
        refresh_token: Digest,
        credential_id: Uuid,
        rotation: Rotation,
        now: i64,
    ) -> Result<Outcome<Digest>, StoreError>;

    /// Whether there is an access token that was not minted here; an expired one may count.
    async fn any_imported(&self) -> Result<bool, StoreError>;
}

/// Where an access token comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provenance {
    /// This gateway minted it, so it carries a checksum.
    Minted,
    /// An operator gave it or it was imported: it may look like anything.
    Given,
}

/// Which tokens a list has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenFilter {
    /// All of them.
    All,
    /// Those of a client's credential.
    Credential(Uuid),
    /// Those bound to a service.
    Service(Uuid),
}

/// Tokens as the Admin API reads and writes them. `now` is Unix seconds.
///
/// Errors of the writes: [`DaoError::PrimaryKey`]; [`DaoError::Unique`] with `access_token` or
/// `refresh_token` and a null, because the clear value is not known here;
/// [`DaoError::ForeignMissing`] for `credential` and `service`; [`DaoError::Store`].
#[async_trait]
pub trait TokenRows: Tokens {
    /// The token with this id. By its access token: [`Tokens::find_tokens`].
    async fn find_token_by_id(&self, id: Uuid, now: i64) -> Result<Option<Token>, StoreError>;

    /// At most `size` tokens in the order of their ids, from behind `after`.
    async fn page_tokens(
        &self,
        filter: TokenFilter,
        after: Option<Uuid>,
        size: usize,
        now: i64,
    ) -> Result<Vec<Token>, StoreError>;

    /// Adds a token.
    async fn insert_row(&self, token: Token, provenance: Provenance, now: i64) -> Result<(), DaoError>;

    /// Puts `new` in the place of `old`, which has the same id. Lost: the row is not as it was
    /// read any more, or gone. `provenance` is that of a changed access token; an unchanged one
    /// keeps its own.
    async fn replace_row(&self, old: &Token, new: Token, provenance: Provenance, now: i64)
    -> Result<Outcome, DaoError>;

    /// Deletes the token and returns it.
    async fn delete_row(&self, id: Uuid, now: i64) -> Result<Option<Token>, StoreError>;

    /// Returns when this node has acted on every change that was committed before the call: for a
    /// write that changes nothing because of what was written before.
    async fn catch_up(&self) -> Result<(), StoreError>;
}

/// Removes what has expired; it has long been invisible.
pub const SWEEPS: [Sweep; 2] = [
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
];

/// The tokens and codes of a store.
pub fn open(store: &Store) -> Arc<dyn TokenRows> {
    Arc::new(tables::Tables::new(store))
}
