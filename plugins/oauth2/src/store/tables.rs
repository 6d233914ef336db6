//! Tokens and codes in the plugin's tables (`sql/*/oauth2`). Every method is one statement; one-time
//! operations are decided in its WHERE clause.
//!
//! A statement locks the client and the service of a new row before anything else, and their
//! deletion locks in the same order, so that the two do not deadlock.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tollgate_core::change::{Change, Operation};
use tollgate_core::error::{DaoError, StoreError};
use tollgate_plugin::store::{
    Abort, Batcher, Committed, Failure, Parameter, Row, Statement, Store, Transaction, statement,
};
use uuid::Uuid;

use super::batches::{From, Inserts, LookUps};
use super::columns::{self, code_parameters, digest, token_parameters, tokens};
use super::{
    Cause, Code, Outcome, Provenance, RecentRefresh, Refreshable, Repeatable, Rotation, Token, TokenFilter, TokenRows,
    Tokens,
};
use crate::entity;
use crate::token::Digest;

const FIND_TOKEN_BY_ID: Statement = statement!("oauth2/find_token_by_id.sql");
const FIND_REFRESH_TOKEN: Statement = statement!("oauth2/find_refresh_token.sql");
const FIND_CODE: Statement = statement!("oauth2/find_code.sql");
const ANY_IMPORTED: Statement = statement!("oauth2/any_imported.sql");
const PAGE_TOKENS: Statement = statement!("oauth2/page_tokens.sql");
const PAGE_CREDENTIAL_TOKENS: Statement = statement!("oauth2/page_credential_tokens.sql");
const PAGE_SERVICE_TOKENS: Statement = statement!("oauth2/page_service_tokens.sql");
const INSERT_CODE: Statement = statement!("oauth2/insert_code.sql");
const REDEEM_CODE: Statement = statement!("oauth2/redeem_code.sql");
const REPLACE_REFRESH_TOKEN: Statement = statement!("oauth2/replace_refresh_token.sql");
const RENEW_REFRESH_TOKEN: Statement = statement!("oauth2/renew_refresh_token.sql");
const END_REPLAYED: Statement = statement!("oauth2/end_replayed.sql");
const FIND_RECENT_REFRESH: Statement = statement!("oauth2/find_recent_refresh.sql");
const FORGET_EXPIRED: Statement = statement!("oauth2/forget_expired.sql");
const END_FAMILY: Statement = statement!("oauth2/end_family.sql");
pub(super) const INSERT_ROW: Statement = statement!("oauth2/insert_row.sql");
const REPLACE_ROW: Statement = statement!("oauth2/replace_row.sql");
const DELETE_ROW: Statement = statement!("oauth2/delete_row.sql");

/// How often a row may be moved, to another access token, while a statement wants it: each time, somebody has refreshed
/// or changed it.
const MOVES: usize = 16;
/// How many refreshes of one family a revocation outlasts.
const REFRESHES: usize = 16;
/// How often a refresh may come first while a family is ended: each one needs the newest refresh token.
const MAX_REFRESHES_MEANWHILE: usize = 20;
/// After which the client may try again if more do.
const MAX_REFRESHES_PAUSE: Duration = Duration::from_secs(1);

/// A refresh: the refresh token, its client, what is done, what a repetition gets, and the time.
type Refresh = (Digest, Uuid, Rotation, Option<Repeatable>, i64);

/// Tokens and codes in a store.
pub(super) struct Tables {
    store: Store,
    look_ups: Batcher<LookUps>,
    inserts: Batcher<Inserts>,
}

impl Tables {
    pub(super) fn new(store: &Store) -> Self {
        let look_ups = Batcher::new(LookUps(store.clone()), store.runtime().clone());
        let inserts = Batcher::new(Inserts(store.clone()), store.runtime().clone());
        Self { store: store.clone(), look_ups, inserts }
    }

    /// One attempt to rotate a refresh token, which sees a row that is moved meanwhile as gone.
    async fn rotate_once(&self, rotation: Refresh) -> Result<Outcome<Digest>, StoreError> {
        let rotate = self.store.statement_committed(
            rotation,
            async |(refresh_token, credential_id, rotation, repeatable, now), tx| {
                let rows = rotate(tx, refresh_token, *credential_id, rotation, repeatable.as_ref(), *now).await?;
                let Some(ended) = rows.first() else { return Ok::<_, Abort>(Outcome::Lost) };
                let (id, access_token) = (ended.get(0)?, Digest(ended.get(1)?));
                tx.announce(change(Operation::Deleted, id, access_token));
                Ok(Outcome::Won(access_token))
            },
        );
        Ok(announced(rotate.await?, "cannot evict a refreshed access token yet; retrying"))
    }

    /// One attempt to delete a row, which sees one that is moved meanwhile as gone.
    async fn delete_once(&self, id: Uuid, now: i64) -> Result<Option<Token>, StoreError> {
        let delete = self.store.statement((id, now), async |(id, now), tx| {
            let parameters = [(*id).into(), (*now).into(), tx.origin().into()];
            let ended = tokens(&tx.rows(&DELETE_ROW, &parameters).await?)?.pop();
            if let Some(token) = &ended {
                tx.announce(change(Operation::Deleted, token.id, token.access_token));
            }
            Ok::<_, Abort>(ended)
        });
        delete.await
    }

    /// An expired row must not block its values for a new one. Runs in a transaction of its own, whose locks
    /// are released before the next one takes others.
    async fn forget_expired(&self, token: &Token, now: i64) -> Result<(), StoreError> {
        let taken = (token.id, token.access_token, token.refresh_token, now);
        let forget = self.store.statement(taken, async |(id, access_token, refresh_token, now), tx| {
            let values = [(*id).into(), digest(access_token), refresh_token.as_ref().map(digest).into(), (*now).into()];
            Ok::<_, Abort>(tx.execute(&FORGET_EXPIRED, &values).await.map(drop)?)
        });
        forget.await
    }
}

/// The key of a token in the feed: caches know it by its digest.
pub(super) fn change(operation: Operation, id: Uuid, access_token: Digest) -> Change {
    Change { kind: entity::token::NAME.to_owned(), operation, id, key: access_token.0.to_vec(), document: None }
}

/// The smallest id of the page; `None`: there is no id after the last one.
fn successor(after: Option<Uuid>) -> Option<Uuid> {
    after.map_or(Some(Uuid::nil()), |id| id.as_u128().checked_add(1).map(Uuid::from_u128))
}

/// Whether a statement that may add a row has added one.
fn added(rows: &[Row]) -> Outcome {
    if rows.is_empty() { Outcome::Lost } else { Outcome::Won(()) }
}

#[async_trait]
impl Tokens for Tables {
    async fn find_tokens(&self, access_tokens: &[Digest], now: i64) -> Result<Vec<Token>, StoreError> {
        self.look_ups.submit((access_tokens.to_vec(), now, From::Primary)).await
    }

    async fn look_up_tokens(&self, access_tokens: &[Digest], now: i64) -> Result<Vec<Token>, StoreError> {
        self.look_ups.submit((access_tokens.to_vec(), now, From::Replica)).await
    }

    async fn find_by_refresh_token(&self, refresh_token: Digest, now: i64) -> Result<Option<Refreshable>, StoreError> {
        let find = self.store.read((refresh_token, now), async |(refresh_token, now), session| {
            let rows = session.rows(&FIND_REFRESH_TOKEN, &[digest(refresh_token), (*now).into()]).await?;
            let found = |row: &Row| Ok(Refreshable { token: columns::token(row)?, granted_scope: row.get(13)? });
            rows.first().map(found).transpose()
        });
        find.await
    }

    async fn insert_token(&self, token: Token) -> Result<Outcome, StoreError> {
        self.inserts.submit(token).await?
    }

    async fn insert_code(&self, code: Code) -> Result<Outcome, StoreError> {
        let insert = self.store.statement(code, async |code, tx| {
            Ok::<_, Abort>(added(&tx.rows(&INSERT_CODE, &code_parameters(code)).await?))
        });
        insert.await
    }

    async fn find_code(&self, code: Digest, now: i64) -> Result<Option<Code>, StoreError> {
        let find = self.store.read((code, now), async |(code, now), session| {
            let rows = session.rows(&FIND_CODE, &[digest(code), (*now).into()]).await?;
            rows.first().map(columns::code).transpose()
        });
        find.await
    }

    async fn redeem_code(
        &self,
        code: Digest,
        credential_id: Uuid,
        token: Token,
        remembered_until: Option<i64>,
        now: i64,
    ) -> Result<Outcome, StoreError> {
        // The statement takes the client from the token.
        let token = Token { credential_id, ..token };
        let redemption = (token, code, remembered_until, now);
        let redeem = self.store.statement(redemption, async |(token, code, remembered_until, now), tx| {
            let mut parameters = token_parameters(token);
            parameters.extend([digest(code), Parameter::Integer(*now), (*remembered_until).into()]);
            Ok::<_, Abort>(added(&tx.rows(&REDEEM_CODE, &parameters).await?))
        });
        redeem.await
    }

    async fn rotate_refresh_token(
        &self,
        refresh_token: Digest,
        credential_id: Uuid,
        rotation: Rotation,
        repeatable: Option<Repeatable>,
        now: i64,
    ) -> Result<Outcome<Digest>, StoreError> {
        let rotation = match rotation {
            // The statement takes the client from the successor.
            Rotation::Replace { successor, granted_scope, remembered } => {
                let successor = Token { credential_id, ..successor };
                Rotation::Replace { successor, granted_scope, remembered }
            }
            renewal @ Rotation::Renew { .. } => renewal,
        };
        // A refresh token that is replaced is gone once it was used. If it is still there, the row was only moved.
        let replaces = matches!(rotation, Rotation::Replace { .. });
        let rotation = (refresh_token, credential_id, rotation, repeatable, now);
        for _ in 0..MOVES {
            let outcome = self.rotate_once(rotation.clone()).await?;
            let lost = replaces && outcome == Outcome::Lost;
            if !lost || self.find_by_refresh_token(refresh_token, now).await?.is_none() {
                return Ok(outcome);
            }
        }
        Ok(Outcome::Lost)
    }

    async fn end_replayed(
        &self,
        used: Digest,
        credential_id: Uuid,
        cause: Cause,
        now: i64,
    ) -> Result<Vec<Uuid>, StoreError> {
        let is_revoked = cause == Cause::Revocation;
        for _ in 0..MAX_REFRESHES_MEANWHILE {
            let end = self.store.statement_committed(
                (used, credential_id, is_revoked, now),
                async |(used, credential_id, is_revoked, now), tx| {
                    let parameters = [
                        digest(used),
                        (*credential_id).into(),
                        (*now).into(),
                        tx.origin().into(),
                        (*is_revoked).into(),
                    ];
                    let rows = tx.rows(&END_REPLAYED, &parameters).await?;
                    let mut ended = Vec::new();
                    for row in &rows {
                        let Some(access_token) = row.get::<Option<_>>(1)?.map(Digest) else { continue };
                        tx.announce(change(Operation::Deleted, row.get(0)?, access_token));
                        ended.push(row.get(0)?);
                    }
                    Ok::<_, Abort>((ended, rows.len()))
                },
            );
            let (ended, living) = announced(end.await?, "cannot evict the tokens of an ended family yet; retrying");
            if ended.len() == living {
                return Ok(ended);
            }
        }
        Err(StoreError::Busy(MAX_REFRESHES_PAUSE))
    }

    async fn find_recent_refresh(&self, refresh_token: Digest, now: i64) -> Result<Option<RecentRefresh>, StoreError> {
        let find = self.store.read((refresh_token, now), async |(refresh_token, now), session| {
            let rows = session.rows(&FIND_RECENT_REFRESH, &[digest(refresh_token), (*now).into()]).await?;
            let recent = |row: &Row| {
                Ok(RecentRefresh { token: columns::token(row)?, granted_scope: row.get(13)?, sealed: row.get(14)? })
            };
            rows.first().map(recent).transpose()
        });
        find.await
    }

    async fn end_family(&self, family: Uuid, credential_id: Uuid, now: i64) -> Result<(), StoreError> {
        for _ in 0..REFRESHES {
            let end = self.store.statement((family, credential_id, now), async |(family, credential_id, now), tx| {
                let parameters = [(*family).into(), (*credential_id).into(), (*now).into(), tx.origin().into()];
                let mut all_ended = true;
                for row in tx.rows(&END_FAMILY, &parameters).await? {
                    match row.get::<Option<_>>(1)? {
                        Some(digest) => tx.announce(change(Operation::Deleted, row.get(0)?, Digest(digest))),
                        None => all_ended = false,
                    }
                }
                Ok::<_, Abort>(all_ended)
            });
            if end.await? {
                return Ok(());
            }
        }
        Err(StoreError::Unavailable("the token is refreshed again and again while it is revoked".into()))
    }

    async fn catch_up(&self) -> Result<(), StoreError> {
        self.store.feed().catch_up().await
    }

    async fn any_imported(&self) -> Result<bool, StoreError> {
        let any = self.store.read((), async |(), session| {
            let rows = session.rows(&ANY_IMPORTED, &[]).await?;
            rows.first().map_or(Ok(false), |row| row.get(0))
        });
        any.await
    }
}

/// Performs a rotation and returns what has ended.
async fn rotate(
    tx: &mut Transaction<'_>,
    refresh_token: &Digest,
    credential_id: Uuid,
    rotation: &Rotation,
    repeatable: Option<&Repeatable>,
    now: i64,
) -> Result<Vec<Row>, Failure> {
    let (now, origin) = (Parameter::Integer(now), Parameter::Uuid(tx.origin()));
    let sealed = repeatable.map(|repeatable| repeatable.sealed.as_slice());
    let repeatable = [sealed.into(), repeatable.map(|repeatable| repeatable.until).into()];
    match rotation {
        Rotation::Replace { successor, granted_scope, remembered } => {
            let mut parameters = token_parameters(successor);
            parameters.extend([digest(refresh_token), now, origin]);
            parameters.extend(repeatable);
            let tolerated_until = remembered.map(|remembered| remembered.tolerated_until);
            let until = remembered.map(|remembered| remembered.until);
            let scope = Parameter::from(granted_scope.as_ref());
            parameters.extend([scope, tolerated_until.into(), until.into()]);
            tx.rows(&REPLACE_REFRESH_TOKEN, &parameters).await
        }
        Rotation::Renew {
            replaces,
            access_token,
            token_hint,
            expires_in,
            created_at,
            ttl,
            binding,
            scope,
            granted_scope,
        } => {
            let taken = [digest(refresh_token), credential_id.into(), digest(replaces)];
            let scopes = [scope.as_ref().into(), granted_scope.as_ref().into()];
            let new = [digest(access_token), token_hint.into(), (*expires_in).into(), (*created_at).into()];
            let binding = binding.as_ref().map(|binding| binding.text()).into();
            let times = [(*ttl).into(), now, origin];
            let parameters = [&taken[..], &new, &times, &repeatable, &[binding], &scopes].concat();
            tx.rows(&RENEW_REFRESH_TOKEN, &parameters).await
        }
    }
}

/// Returns the result of a committed change, even if its announcement failed: the feed
/// retries the change, and soon trusts no cache while it is not applied.
fn announced<T>(Committed { value, announced }: Committed<T>, warning: &'static str) -> T {
    if let Err(error) = announced {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, "{warning}");
    }
    value
}

#[async_trait]
impl TokenRows for Tables {
    async fn find_token_by_id(&self, id: Uuid, now: i64) -> Result<Option<Token>, StoreError> {
        let find = self.store.read((id, now), async |(id, now), session| {
            tokens(&session.rows(&FIND_TOKEN_BY_ID, &[(*id).into(), (*now).into()]).await?)
        });
        Ok(find.await?.pop())
    }

    async fn page_tokens(
        &self,
        filter: TokenFilter,
        after: Option<Uuid>,
        size: usize,
        now: i64,
    ) -> Result<Vec<Token>, StoreError> {
        let Some(from) = successor(after) else { return Ok(Vec::new()) };
        let limit = i64::try_from(size).unwrap_or(i64::MAX);
        let page = self.store.read((filter, from, now, limit), async |(filter, from, now, limit), session| {
            let (from, now, limit) = ((*from).into(), (*now).into(), (*limit).into());
            let rows = match filter {
                TokenFilter::All => session.rows(&PAGE_TOKENS, &[from, now, limit]).await,
                TokenFilter::Credential(id) => {
                    session.rows(&PAGE_CREDENTIAL_TOKENS, &[from, now, limit, (*id).into()]).await
                }
                TokenFilter::Service(id) => session.rows(&PAGE_SERVICE_TOKENS, &[from, now, limit, (*id).into()]).await,
            };
            tokens(&rows?)
        });
        page.await
    }

    async fn insert_row(&self, token: Token, provenance: Provenance, now: i64) -> Result<(), DaoError> {
        self.forget_expired(&token, now).await?;
        let insert = self.store.statement((token, provenance, now), async |(token, provenance, now), tx| {
            let mut parameters = token_parameters(token);
            parameters.extend([chosen(*provenance), (*now).into(), tx.origin().into()]);
            let rows = tx.rows(&INSERT_ROW, &parameters).await.map_err(|failure| refusal(failure, token))?;
            admitted(&rows, token)?;
            tx.announce(change(Operation::Created, token.id, token.access_token));
            Ok(())
        });
        insert.await
    }

    async fn replace_row(
        &self,
        old: &Token,
        new: Token,
        provenance: Provenance,
        now: i64,
    ) -> Result<Outcome, DaoError> {
        self.forget_expired(&new, now).await?;
        let input = (old.clone(), new, provenance, now);
        let replace = self.store.statement(input, async |(old, new, provenance, now), tx| {
            let mut parameters = token_parameters(new);
            parameters.push(chosen(*provenance));
            parameters.extend(token_parameters(old).into_iter().skip(1));
            parameters.extend([Parameter::from(*now), tx.origin().into()]);
            let rows = tx.rows(&REPLACE_ROW, &parameters).await.map_err(|failure| refusal(failure, new))?;
            if !admitted(&rows, new)?.get(2)? {
                return Ok(Outcome::Lost);
            }
            let mut digests = vec![old.access_token, new.access_token];
            digests.dedup();
            digests.into_iter().for_each(|digest| tx.announce(change(Operation::Updated, new.id, digest)));
            Ok(Outcome::Won(()))
        });
        replace.await
    }

    async fn delete_row(&self, id: Uuid, now: i64) -> Result<Option<Token>, StoreError> {
        for _ in 0..MOVES {
            let ended = self.delete_once(id, now).await?;
            if ended.is_some() || self.find_token_by_id(id, now).await?.is_none() {
                return Ok(ended);
            }
        }
        Err(StoreError::Unavailable("a token is refreshed again and again while it is revoked".into()))
    }
}

/// Whether an access token's value was chosen elsewhere.
pub(super) fn chosen(provenance: Provenance) -> Parameter<'static> {
    Parameter::Boolean(provenance == Provenance::Given)
}

/// Refuses a token whose client or service does not exist, according to the only row of a statement: first
/// the client, then the service.
pub(super) fn admitted<'r>(rows: &'r [Row], token: &Token) -> Result<&'r Row, Abort<DaoError>> {
    let nothing = StoreError::Corrupt { kind: "token", what: "the statement returned no row" };
    let row = rows.first().ok_or(nothing)?;
    if !row.get::<bool>(0)? {
        let (field, target) = ("credential", entity::credential::NAME);
        return Err(DaoError::ForeignMissing { field, target, id: token.credential_id }.into());
    }
    match token.service_id {
        Some(id) if !row.get::<bool>(1)? => {
            Err(DaoError::ForeignMissing { field: "service", target: "services", id }.into())
        }
        _ => Ok(row),
    }
}

/// The Admin API's error for a value that is taken.
pub(super) fn refusal(failure: Failure, token: &Token) -> Abort<DaoError> {
    let (constraint, error) = match failure {
        Failure::Unique { constraint, error } => (constraint, error),
        other => return other.into(),
    };
    Abort::Refused(match constraint.as_str() {
        "oauth2_tokens_id" => DaoError::PrimaryKey { id: token.id },
        "oauth2_tokens_access_token" => DaoError::Unique { fields: vec![("access_token", Value::Null)] },
        "oauth2_tokens_refresh_token" => DaoError::Unique { fields: vec![("refresh_token", Value::Null)] },
        _ => DaoError::Store(error),
    })
}
