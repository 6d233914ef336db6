//! Tokens and codes in SQLite. What is taken once is taken in one job of the writer, which runs
//! alone and is committed as a whole (`sql/sqlite/oauth2`).

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use tollgate_core::change::Operation;
use tollgate_core::error::{DaoError, StoreError};
use tollgate_store::{Sqlite, Store, Write};
use uuid::Uuid;

use super::column::{
    Sql, change, code_of_sqlite, code_values, digest_value, id_value, identity_of_sqlite, replacement, sql, successor,
    token_of_sqlite, token_values,
};
use super::{Code, Outcome, Provenance, Rotation, Token, TokenFilter, TokenRows, Tokens};
use crate::token::Digest;

const FIND_TOKEN: Sql = sql!("sqlite", "find_token.sql");
const FIND_TOKEN_BY_ID: Sql = sql!("sqlite", "find_token_by_id.sql");
const FIND_REFRESH_TOKEN: Sql = sql!("sqlite", "find_refresh_token.sql");
const FIND_CODE: Sql = sql!("sqlite", "find_code.sql");
const ANY_IMPORTED: Sql = sql!("sqlite", "any_imported.sql");
const PAGE_TOKENS: Sql = sql!("sqlite", "page_tokens.sql");
const PAGE_CREDENTIAL_TOKENS: Sql = sql!("sqlite", "page_credential_tokens.sql");
const PAGE_SERVICE_TOKENS: Sql = sql!("sqlite", "page_service_tokens.sql");
const HAS_ENTITY: Sql = sql!("sqlite", "has_entity.sql");
const INSERT_TOKEN: Sql = sql!("sqlite", "insert_token.sql");
const INSERT_CODE: Sql = sql!("sqlite", "insert_code.sql");
const TAKE_CODE: Sql = sql!("sqlite", "take_code.sql");
const TAKE_REFRESH_TOKEN: Sql = sql!("sqlite", "take_refresh_token.sql");
const RENEW_REFRESH_TOKEN: Sql = sql!("sqlite", "renew_refresh_token.sql");
const RECORD_CHANGE: Sql = sql!("sqlite", "record_change.sql");
const FORGET_EXPIRED: Sql = sql!("sqlite", "forget_expired.sql");
const REPLACE_ROW: Sql = sql!("sqlite", "replace_row.sql");
const DELETE_ROW: Sql = sql!("sqlite", "delete_row.sql");

/// Tokens and codes in SQLite.
pub(super) struct SqliteTokens {
    sqlite: Sqlite,
    store: Store,
}

impl SqliteTokens {
    pub(super) fn new(store: &Store, database: &Sqlite) -> Self {
        Self { sqlite: database.clone(), store: store.clone() }
    }

    /// The tokens of one statement that only reads.
    async fn tokens(&self, sql: Sql, values: Vec<Value>) -> Result<Vec<Token>, StoreError> {
        self.sqlite.read(move |connection| rows(connection, sql, values, token_of_sqlite)).await
    }
}

/// Who writes, and when: what every row of `changes` says.
#[derive(Clone, Copy)]
struct Author {
    origin: Uuid,
    now: i64,
}

/// The rows of a statement.
fn rows<T>(
    connection: &Connection,
    sql: Sql,
    values: Vec<Value>,
    of: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    let read = || -> rusqlite::Result<Vec<T>> {
        connection.prepare_cached(sql.text)?.query_map(params_from_iter(values), of)?.collect()
    };
    read().map_err(|error| Sqlite::error(sql.name, error))
}

/// How many rows a statement touches.
fn execute(connection: &Connection, sql: Sql, values: Vec<Value>) -> Result<usize, StoreError> {
    try_execute(connection, sql, values).map_err(|error| Sqlite::error(sql.name, error))
}

fn try_execute(connection: &Connection, sql: Sql, values: Vec<Value>) -> rusqlite::Result<usize> {
    connection.prepare_cached(sql.text)?.execute(params_from_iter(values))
}

fn has(connection: &Connection, kind: &str, id: Uuid) -> Result<bool, StoreError> {
    let found = rows(connection, HAS_ENTITY, vec![kind.to_owned().into(), id_value(id)], |row| row.get(0))?;
    Ok(found.contains(&true))
}

/// Whether the entities to which a row belongs exist.
fn has_owners(connection: &Connection, credential: Uuid, service: Option<Uuid>) -> Result<bool, StoreError> {
    Ok(has(connection, "oauth2_credentials", credential)?
        && service.map_or(Ok(true), |service| has(connection, "services", service))?)
}

fn record(
    connection: &Connection,
    operation: Operation,
    (id, access_token): (Uuid, Digest),
    author: Author,
) -> Result<(), StoreError> {
    let operation = operation.as_str().to_owned().into();
    let values = vec![operation, id_value(id), digest_value(access_token), id_value(author.origin), author.now.into()];
    execute(connection, RECORD_CHANGE, values).map(drop)
}

/// The values of a token and where its access token comes from: `?1` to `?13`.
fn row_values(token: &Token, provenance: Provenance) -> Vec<Value> {
    let mut values = token_values(token);
    values.push(i64::from(provenance == Provenance::Given).into());
    values
}

/// Adds a token whose owners are known to exist.
fn add(connection: &Connection, token: &Token) -> Result<(), StoreError> {
    execute(connection, INSERT_TOKEN, row_values(token, Provenance::Minted)).map(drop)
}

/// Does a rotation. `None`: there is nothing to rotate.
fn rotate(
    connection: &Connection,
    refresh_token: Digest,
    credential_id: Uuid,
    rotation: &Rotation,
    author: Author,
) -> Result<Option<(Uuid, Digest)>, StoreError> {
    let mut values = vec![digest_value(refresh_token), id_value(credential_id)];
    let ended = match rotation {
        Rotation::Replace(successor) => {
            if !has_owners(connection, credential_id, successor.service_id)? {
                return Ok(None);
            }
            values.push(author.now.into());
            rows(connection, TAKE_REFRESH_TOKEN, values, identity_of_sqlite)?.pop()
        }
        Rotation::Renew { replaces, access_token, token_hint, expires_in, created_at, ttl } => {
            values.extend([digest_value(*replaces), digest_value(*access_token), token_hint.clone().into()]);
            values.extend([(*expires_in).into(), (*created_at).into(), (*ttl).into(), author.now.into()]);
            rows(connection, RENEW_REFRESH_TOKEN, values, identity_of_sqlite)?.pop()
        }
    };
    let Some(ended) = ended else { return Ok(None) };
    if let Rotation::Replace(successor) = rotation {
        add(connection, successor)?;
    }
    record(connection, Operation::Deleted, ended, author)?;
    Ok(Some(ended))
}

#[async_trait]
impl Tokens for SqliteTokens {
    async fn find_tokens(&self, access_tokens: &[Digest], now: i64) -> Result<Vec<Token>, StoreError> {
        let access_tokens = access_tokens.to_vec();
        let find = move |connection: &Connection| {
            let mut found = Vec::new();
            for digest in access_tokens {
                found.extend(rows(connection, FIND_TOKEN, vec![digest_value(digest), now.into()], token_of_sqlite)?);
            }
            Ok(found)
        };
        self.sqlite.read(find).await
    }

    async fn find_by_refresh_token(&self, refresh_token: Digest, now: i64) -> Result<Option<Token>, StoreError> {
        Ok(self.tokens(FIND_REFRESH_TOKEN, vec![digest_value(refresh_token), now.into()]).await?.pop())
    }

    async fn insert_token(&self, token: Token) -> Result<Outcome, StoreError> {
        let insert = move |connection: &Connection| {
            if !has_owners(connection, token.credential_id, token.service_id)? {
                return Ok(Outcome::Lost);
            }
            add(connection, &token)?;
            Ok(Outcome::Won(()))
        };
        self.sqlite.write(insert).await
    }

    async fn insert_code(&self, code: Code) -> Result<Outcome, StoreError> {
        let insert = move |connection: &Connection| {
            let issued = code.plugin_id.map_or(Ok(true), |plugin| has(connection, "plugins", plugin))?;
            if !issued || !has_owners(connection, code.credential_id, code.service_id)? {
                return Ok(Outcome::Lost);
            }
            execute(connection, INSERT_CODE, code_values(&code))?;
            Ok(Outcome::Won(()))
        };
        self.sqlite.write(insert).await
    }

    async fn find_code(&self, code: Digest, now: i64) -> Result<Option<Code>, StoreError> {
        let values = vec![digest_value(code), now.into()];
        let found = self.sqlite.read(move |connection| rows(connection, FIND_CODE, values, code_of_sqlite));
        Ok(found.await?.pop())
    }

    async fn redeem_code(
        &self,
        code: Digest,
        credential_id: Uuid,
        token: Token,
        now: i64,
    ) -> Result<Outcome, StoreError> {
        let token = Token { credential_id, ..token };
        let redeem = move |connection: &Connection| {
            let values = vec![digest_value(code), id_value(credential_id), now.into()];
            if !has_owners(connection, credential_id, token.service_id)? || execute(connection, TAKE_CODE, values)? == 0
            {
                return Ok(Outcome::Lost);
            }
            add(connection, &token)?;
            Ok(Outcome::Won(()))
        };
        self.sqlite.write(redeem).await
    }

    async fn rotate_refresh_token(
        &self,
        refresh_token: Digest,
        credential_id: Uuid,
        rotation: Rotation,
        now: i64,
    ) -> Result<Outcome<Digest>, StoreError> {
        let rotation = match rotation {
            Rotation::Replace(token) => Rotation::Replace(Token { credential_id, ..token }),
            renewal @ Rotation::Renew { .. } => renewal,
        };
        let sqlite = self.sqlite.clone();
        let work = move |write: Arc<Write>| async move {
            let author = Author { origin: write.origin(), now };
            let job =
                move |connection: &Connection| rotate(connection, refresh_token, credential_id, &rotation, author);
            let Some((id, access_token)) = sqlite.commit(&write, job).await? else {
                return Ok::<_, StoreError>((Outcome::Lost, Vec::new()));
            };
            Ok((Outcome::Won(access_token), vec![change(Operation::Deleted, id, access_token)]))
        };
        Ok(super::rotated(self.store.commit_first(work).await?))
    }

    async fn any_imported(&self) -> Result<bool, StoreError> {
        let any = self.sqlite.read(|connection| rows(connection, ANY_IMPORTED, Vec::new(), |row| row.get(0)));
        Ok(any.await?.contains(&true))
    }
}

/// Refuses a token whose owners do not exist; removes the expired rows in its way.
fn admit(connection: &Connection, token: &Token, now: i64) -> Result<(), DaoError> {
    if !has(connection, "oauth2_credentials", token.credential_id)? {
        return Err(super::no_credential(token));
    }
    if let Some(id) = token.service_id
        && !has(connection, "services", id)?
    {
        return Err(super::no_service(id));
    }
    let refresh_token: Value = token.refresh_token.map(digest_value).into();
    let values = vec![id_value(token.id), digest_value(token.access_token), refresh_token, now.into()];
    execute(connection, FORGET_EXPIRED, values)?;
    Ok(())
}

/// What a driver's error means to the Admin API.
fn refusal(sql: Sql, token: &Token, error: rusqlite::Error) -> DaoError {
    let taken = match &error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.strip_prefix("UNIQUE constraint failed: "),
        _ => None,
    };
    match taken {
        Some("oauth2_tokens.id") => DaoError::PrimaryKey { id: token.id },
        Some("oauth2_tokens.access_token") => DaoError::Unique { fields: vec![("access_token", NULL)] },
        Some("oauth2_tokens.refresh_token") => DaoError::Unique { fields: vec![("refresh_token", NULL)] },
        _ => DaoError::Store(Sqlite::error(sql.name, error)),
    }
}

const NULL: serde_json::Value = serde_json::Value::Null;

#[async_trait]
impl TokenRows for SqliteTokens {
    async fn find_token_by_id(&self, id: Uuid, now: i64) -> Result<Option<Token>, StoreError> {
        Ok(self.tokens(FIND_TOKEN_BY_ID, vec![id_value(id), now.into()]).await?.pop())
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
        let mut values = vec![id_value(from), now.into(), limit.into()];
        let (sql, parent) = match filter {
            TokenFilter::All => (PAGE_TOKENS, None),
            TokenFilter::Credential(id) => (PAGE_CREDENTIAL_TOKENS, Some(id)),
            TokenFilter::Service(id) => (PAGE_SERVICE_TOKENS, Some(id)),
        };
        values.extend(parent.map(id_value));
        self.tokens(sql, values).await
    }

    async fn insert_row(&self, token: Token, provenance: Provenance, now: i64) -> Result<(), DaoError> {
        let sqlite = self.sqlite.clone();
        let work = move |write: Arc<Write>| async move {
            let author = Author { origin: write.origin(), now };
            let created = change(Operation::Created, token.id, token.access_token);
            let insert = move |connection: &Connection| {
                admit(connection, &token, now)?;
                let added = try_execute(connection, INSERT_TOKEN, row_values(&token, provenance));
                added.map_err(|error| refusal(INSERT_TOKEN, &token, error))?;
                record(connection, Operation::Created, (token.id, token.access_token), author)?;
                Ok::<_, DaoError>(())
            };
            sqlite.commit(&write, insert).await?;
            Ok(((), vec![created]))
        };
        self.store.commit(work).await
    }

    async fn replace_row(
        &self,
        old: &Token,
        new: Token,
        provenance: Provenance,
        now: i64,
    ) -> Result<Outcome, DaoError> {
        let (sqlite, old) = (self.sqlite.clone(), old.clone());
        let work = move |write: Arc<Write>| async move {
            let author = Author { origin: write.origin(), now };
            let changes = replacement(&old, &new);
            let heard: Vec<Digest> = changes.iter().filter_map(|change| Digest::read(&change.key)).collect();
            let replace = move |connection: &Connection| {
                admit(connection, &new, now)?;
                let mut values = row_values(&new, provenance);
                values.extend(token_values(&old).into_iter().skip(1));
                values.push(now.into());
                let written = try_execute(connection, REPLACE_ROW, values);
                if written.map_err(|error| refusal(REPLACE_ROW, &new, error))? == 0 {
                    return Ok::<_, DaoError>(Outcome::Lost);
                }
                for digest in heard {
                    record(connection, Operation::Updated, (new.id, digest), author)?;
                }
                Ok(Outcome::Won(()))
            };
            let outcome = sqlite.commit(&write, replace).await?;
            Ok((outcome, if outcome == Outcome::Lost { Vec::new() } else { changes }))
        };
        self.store.commit(work).await
    }

    async fn delete_row(&self, id: Uuid, now: i64) -> Result<Option<Token>, StoreError> {
        let sqlite = self.sqlite.clone();
        let work = move |write: Arc<Write>| async move {
            let author = Author { origin: write.origin(), now };
            let delete = move |connection: &Connection| {
                let ended = rows(connection, DELETE_ROW, vec![id_value(id), now.into()], token_of_sqlite)?.pop();
                if let Some(token) = &ended {
                    record(connection, Operation::Deleted, (token.id, token.access_token), author)?;
                }
                Ok::<_, StoreError>(ended)
            };
            let ended = sqlite.commit(&write, delete).await?;
            let changes = ended.iter().map(|token| change(Operation::Deleted, token.id, token.access_token)).collect();
            Ok((ended, changes))
        };
        self.store.commit(work).await
    }

    async fn catch_up(&self) -> Result<(), StoreError> {
        self.store.feed().catch_up().await
    }
}
