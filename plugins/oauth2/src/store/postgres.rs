//! Tokens and codes in PostgreSQL. Every method is one statement; those that take something once
//! decide it in their WHERE (`sql/postgres/oauth2`).
//!
//! A statement locks the client and the service it adds a row for before anything else, and their
//! deletion does it in the same order, so that the two do not deadlock.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use deadpool_postgres::Object;
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tollgate_core::change::Operation;
use tollgate_core::error::{DaoError, StoreError};
use tollgate_store::{Postgres, Store, Write};
use uuid::Uuid;

use super::batch::{Batcher, Together};
use super::column::{
    Parameter, Sql, TokenColumns, change, code_of_postgres, code_parameters, replacement, sql, successor,
    token_of_postgres, token_parameters,
};
use super::{Code, Outcome, Provenance, Rotation, Token, TokenFilter, TokenRows, Tokens};
use crate::token::Digest;

const FIND_TOKENS: Sql = sql!("postgres", "find_tokens.sql");
const FIND_TOKEN_BY_ID: Sql = sql!("postgres", "find_token_by_id.sql");
const FIND_REFRESH_TOKEN: Sql = sql!("postgres", "find_refresh_token.sql");
const FIND_CODE: Sql = sql!("postgres", "find_code.sql");
const ANY_IMPORTED: Sql = sql!("postgres", "any_imported.sql");
const PAGE_TOKENS: Sql = sql!("postgres", "page_tokens.sql");
const PAGE_CREDENTIAL_TOKENS: Sql = sql!("postgres", "page_credential_tokens.sql");
const PAGE_SERVICE_TOKENS: Sql = sql!("postgres", "page_service_tokens.sql");
const INSERT_TOKENS: Sql = sql!("postgres", "insert_tokens.sql");
const INSERT_CODE: Sql = sql!("postgres", "insert_code.sql");
const REDEEM_CODE: Sql = sql!("postgres", "redeem_code.sql");
const REPLACE_REFRESH_TOKEN: Sql = sql!("postgres", "replace_refresh_token.sql");
const RENEW_REFRESH_TOKEN: Sql = sql!("postgres", "renew_refresh_token.sql");
const FORGET_EXPIRED: Sql = sql!("postgres", "forget_expired.sql");
const INSERT_ROW: Sql = sql!("postgres", "insert_row.sql");
const REPLACE_ROW: Sql = sql!("postgres", "replace_row.sql");
const DELETE_ROW: Sql = sql!("postgres", "delete_row.sql");

/// How often a statement is begun again when another transaction was in its way.
const ATTEMPTS: usize = 10;

/// Tokens and codes in PostgreSQL.
pub(super) struct PostgresTokens {
    table: Table,
    store: Store,
    look_ups: Batcher<LookUps>,
    inserts: Batcher<Inserts>,
}

impl PostgresTokens {
    pub(super) fn new(store: &Store, database: &Postgres) -> Self {
        let table = Table(database.clone());
        let look_ups = Batcher::new(LookUps(table.clone()), store.runtime().clone());
        let inserts = Batcher::new(Inserts(table.clone()), store.runtime().clone());
        Self { table, store: store.clone(), look_ups, inserts }
    }
}

/// Why a statement was not done.
enum Failure {
    /// A unique value is taken: the constraint's name, and what to say where that cannot be.
    Unique(String, StoreError),
    /// Another transaction was in the way (deadlock), and all of this one was undone.
    Collision(StoreError),
    Store(StoreError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unique(_, error) | Failure::Collision(error) | Failure::Store(error) => error,
        }
    }
}

/// The tables, a statement at a time.
#[derive(Clone)]
struct Table(Postgres);

impl Table {
    /// Runs a statement, again when another transaction was in its way.
    async fn ask(&self, sql: Sql, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Failure> {
        self.run(None, sql, parameters).await
    }

    /// The same for a write that is announced: it is told while its outcome is unknown.
    async fn run(&self, write: Option<&Write>, sql: Sql, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Failure> {
        let mut attempts = 1;
        loop {
            match self.try_once(write, sql, parameters).await {
                Err(Failure::Collision(_)) if attempts < ATTEMPTS => attempts += 1,
                result => return result,
            }
        }
    }

    async fn try_once(
        &self,
        write: Option<&Write>,
        sql: Sql,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, Failure> {
        let client = self.0.client().await?;
        let asked = async {
            let prepared = client.prepare_cached(sql.text).await.map_err(|error| self.failure(sql, error))?;
            // A statement of its own commits with its end.
            if let Some(write) = write {
                write.is_sent();
            }
            client.query(&prepared, parameters).await.map_err(|error| {
                Postgres::note_refusal(write, &error);
                self.failure(sql, error)
            })
        };
        let result = self.0.bounded(asked).await;
        if matches!(result, Err(Failure::Store(StoreError::Timeout(_)))) {
            // It may still be running the statement: closed, not given to the next caller.
            drop(Object::take(client));
        }
        result
    }

    fn failure(&self, sql: Sql, error: tokio_postgres::Error) -> Failure {
        let code = error.code().cloned();
        let constraint = error.as_db_error().and_then(|error| error.constraint()).unwrap_or_default().to_owned();
        let error = self.0.error(sql.name, error);
        match code {
            Some(SqlState::UNIQUE_VIOLATION) => Failure::Unique(constraint, error),
            Some(SqlState::T_R_DEADLOCK_DETECTED | SqlState::T_R_SERIALIZATION_FAILURE) => Failure::Collision(error),
            _ => Failure::Store(error),
        }
    }

    /// Reads the rows of an answer.
    fn read<T>(
        &self,
        sql: Sql,
        rows: &[Row],
        of: impl Fn(&Row) -> Result<T, tokio_postgres::Error>,
    ) -> Result<Vec<T>, StoreError> {
        rows.iter().map(|row| of(row).map_err(|error| self.0.error(sql.name, error))).collect()
    }

    /// The tokens of an answer.
    async fn tokens(&self, sql: Sql, parameters: &[Parameter<'_>]) -> Result<Vec<Token>, StoreError> {
        self.read(sql, &self.ask(sql, parameters).await?, token_of_postgres)
    }

    /// Whether a statement that may add a row has added it.
    async fn added(&self, sql: Sql, parameters: &[Parameter<'_>]) -> Result<Outcome, StoreError> {
        let rows = self.ask(sql, parameters).await?;
        Ok(if rows.is_empty() { Outcome::Lost } else { Outcome::Won(()) })
    }

    /// Does what the Admin API asks for, or says why not. The answer: whether the client exists,
    /// and the service, and perhaps whether a row was written.
    async fn write(
        &self,
        write: &Write,
        sql: Sql,
        token: &Token,
        parameters: &[Parameter<'_>],
        now: i64,
    ) -> Result<Outcome, DaoError> {
        let expired: [Parameter<'_>; 4] = [&token.id, &token.access_token, &token.refresh_token, &now];
        self.ask(FORGET_EXPIRED, &expired).await.map_err(StoreError::from)?;
        let rows = self.run(Some(write), sql, parameters).await.map_err(|failure| refusal(failure, token))?;
        let told = self.read(sql, &rows, |row| {
            let written = if row.len() > 2 { row.try_get(2)? } else { true };
            Ok((row.try_get(0)?, row.try_get(1)?, written))
        })?;
        match (told.first(), token.service_id) {
            (Some((true, true, true)), _) => Ok(Outcome::Won(())),
            (Some((false, ..)), _) => Err(super::no_credential(token)),
            (Some((_, false, _)), Some(id)) => Err(super::no_service(id)),
            _ => Ok(Outcome::Lost),
        }
    }
}

fn refusal(failure: Failure, token: &Token) -> DaoError {
    let (constraint, error) = match failure {
        Failure::Unique(constraint, error) => (constraint, error),
        other => return DaoError::Store(other.into()),
    };
    match constraint.as_str() {
        "oauth2_tokens_id" => DaoError::PrimaryKey { id: token.id },
        "oauth2_tokens_access_token" => DaoError::Unique { fields: vec![("access_token", Value::Null)] },
        "oauth2_tokens_refresh_token" => DaoError::Unique { fields: vec![("refresh_token", Value::Null)] },
        _ => DaoError::Store(error),
    }
}

/// Tokens by access token, of many callers at once.
struct LookUps(Table);

#[async_trait]
impl Together for LookUps {
    /// Access tokens, and the time at which they are to be visible.
    type Request = (Vec<Digest>, i64);
    type Answer = Vec<Token>;

    const STATEMENTS: usize = 3;

    async fn carry_out(&self, requests: Vec<Self::Request>) -> Result<Vec<Vec<Token>>, StoreError> {
        // The earliest now sees the most rows; each look-up then leaves out what is too old for it.
        let earliest = requests.iter().map(|(_, now)| *now).min().unwrap_or(i64::MAX);
        let mut digests: Vec<Digest> = requests.iter().flat_map(|(digests, _)| digests.iter().copied()).collect();
        digests.sort_unstable();
        digests.dedup();
        let found = self.0.tokens(FIND_TOKENS, &[&digests, &earliest]).await?;
        let known: HashMap<Digest, Token> = found.into_iter().map(|token| (token.access_token, token)).collect();
        let own = |(digests, now): &Self::Request| {
            let tokens = digests.iter().filter_map(|digest| known.get(digest));
            tokens.filter(|token| token.ttl.is_none_or(|ttl| ttl >= *now)).cloned().collect()
        };
        Ok(requests.iter().map(own).collect())
    }
}

/// New tokens, of many callers in one commit.
struct Inserts(Table);

#[async_trait]
impl Together for Inserts {
    type Request = Token;
    type Answer = Result<Outcome, StoreError>;

    // A third brings fewer tokens to a commit, and no more tokens.
    const STATEMENTS: usize = 2;

    async fn carry_out(&self, tokens: Vec<Token>) -> Result<Vec<Self::Answer>, StoreError> {
        match self.insert(&tokens).await {
            // The database refuses one of them (a value is taken, say), which has kept the others
            // from being written: nobody's tokens hang on what somebody else sends.
            Err(Failure::Unique(..) | Failure::Store(StoreError::Statement { .. })) if tokens.len() > 1 => {
                let mut outcomes = Vec::new();
                for token in &tokens {
                    let one = self.insert(std::slice::from_ref(token)).await;
                    outcomes.push(one.map(|mut one| one.pop().unwrap_or(Outcome::Lost)).map_err(StoreError::from));
                }
                Ok(outcomes)
            }
            inserted => Ok(inserted?.into_iter().map(Ok).collect()),
        }
    }
}

impl Inserts {
    async fn insert(&self, tokens: &[Token]) -> Result<Vec<Outcome>, Failure> {
        let columns = TokenColumns::of(tokens);
        let rows = self.0.ask(INSERT_TOKENS, &columns.parameters()).await?;
        let added: HashSet<Uuid> = self.0.read(INSERT_TOKENS, &rows, |row| row.try_get(0))?.into_iter().collect();
        let outcome = |token: &Token| if added.contains(&token.id) { Outcome::Won(()) } else { Outcome::Lost };
        Ok(tokens.iter().map(outcome).collect())
    }
}

#[async_trait]
impl Tokens for PostgresTokens {
    async fn find_tokens(&self, access_tokens: &[Digest], now: i64) -> Result<Vec<Token>, StoreError> {
        self.look_ups.ask((access_tokens.to_vec(), now)).await
    }

    async fn find_by_refresh_token(&self, refresh_token: Digest, now: i64) -> Result<Option<Token>, StoreError> {
        Ok(self.table.tokens(FIND_REFRESH_TOKEN, &[&refresh_token, &now]).await?.pop())
    }

    async fn insert_token(&self, token: Token) -> Result<Outcome, StoreError> {
        self.inserts.ask(token).await?
    }

    async fn insert_code(&self, code: Code) -> Result<Outcome, StoreError> {
        self.table.added(INSERT_CODE, &code_parameters(&code)).await
    }

    async fn find_code(&self, code: Digest, now: i64) -> Result<Option<Code>, StoreError> {
        let rows = self.table.ask(FIND_CODE, &[&code, &now]).await?;
        Ok(self.table.read(FIND_CODE, &rows, code_of_postgres)?.pop())
    }

    async fn redeem_code(
        &self,
        code: Digest,
        credential_id: Uuid,
        token: Token,
        now: i64,
    ) -> Result<Outcome, StoreError> {
        // The statement takes the client from the token.
        let token = Token { credential_id, ..token };
        let mut parameters = token_parameters(&token);
        parameters.extend([&code as Parameter<'_>, &now]);
        self.table.added(REDEEM_CODE, &parameters).await
    }

    async fn rotate_refresh_token(
        &self,
        refresh_token: Digest,
        credential_id: Uuid,
        rotation: Rotation,
        now: i64,
    ) -> Result<Outcome<Digest>, StoreError> {
        let table = self.table.clone();
        let work = move |write: Arc<Write>| async move {
            let origin = write.origin();
            let (sql, rows) = match rotation {
                Rotation::Replace(successor) => {
                    // The statement takes the client from the successor.
                    let successor = Token { credential_id, ..successor };
                    let mut parameters = token_parameters(&successor);
                    parameters.extend([&refresh_token as Parameter<'_>, &now, &origin]);
                    (REPLACE_REFRESH_TOKEN, table.run(Some(&write), REPLACE_REFRESH_TOKEN, &parameters).await?)
                }
                Rotation::Renew { replaces, access_token, token_hint, expires_in, created_at, ttl } => {
                    let taken: [Parameter<'_>; 3] = [&refresh_token, &credential_id, &replaces];
                    let new: [Parameter<'_>; 5] = [&access_token, &token_hint, &expires_in, &created_at, &ttl];
                    let heard: [Parameter<'_>; 2] = [&now, &origin];
                    let parameters = [taken.as_slice(), &new, &heard].concat();
                    (RENEW_REFRESH_TOKEN, table.run(Some(&write), RENEW_REFRESH_TOKEN, &parameters).await?)
                }
            };
            let ended = table.read(sql, &rows, |row| Ok((row.try_get(0)?, row.try_get(1)?)))?.pop();
            let Some((id, access_token)) = ended else { return Ok::<_, StoreError>((Outcome::Lost, Vec::new())) };
            Ok((Outcome::Won(access_token), vec![change(Operation::Deleted, id, access_token)]))
        };
        Ok(super::rotated(self.store.commit_first(work).await?))
    }

    async fn any_imported(&self) -> Result<bool, StoreError> {
        let rows = self.table.ask(ANY_IMPORTED, &[]).await?;
        Ok(self.table.read(ANY_IMPORTED, &rows, |row| row.try_get(0))?.contains(&true))
    }
}

#[async_trait]
impl TokenRows for PostgresTokens {
    async fn find_token_by_id(&self, id: Uuid, now: i64) -> Result<Option<Token>, StoreError> {
        Ok(self.table.tokens(FIND_TOKEN_BY_ID, &[&id, &now]).await?.pop())
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
        match &filter {
            TokenFilter::All => self.table.tokens(PAGE_TOKENS, &[&from, &now, &limit]).await,
            TokenFilter::Credential(id) => self.table.tokens(PAGE_CREDENTIAL_TOKENS, &[&from, &now, &limit, id]).await,
            TokenFilter::Service(id) => self.table.tokens(PAGE_SERVICE_TOKENS, &[&from, &now, &limit, id]).await,
        }
    }

    async fn insert_row(&self, token: Token, provenance: Provenance, now: i64) -> Result<(), DaoError> {
        let table = self.table.clone();
        let work = move |write: Arc<Write>| async move {
            let (imported, origin) = (provenance == Provenance::Given, write.origin());
            let mut parameters = token_parameters(&token);
            parameters.extend([&imported as Parameter<'_>, &now, &origin]);
            table.write(&write, INSERT_ROW, &token, &parameters, now).await?;
            Ok(((), vec![change(Operation::Created, token.id, token.access_token)]))
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
        let (table, old) = (self.table.clone(), old.clone());
        let work = move |write: Arc<Write>| async move {
            let (imported, origin) = (provenance == Provenance::Given, write.origin());
            let mut parameters = token_parameters(&new);
            parameters.push(&imported);
            parameters.extend(token_parameters(&old).into_iter().skip(1));
            parameters.extend([&now as Parameter<'_>, &origin]);
            let outcome = table.write(&write, REPLACE_ROW, &new, &parameters, now).await?;
            Ok((outcome, if outcome == Outcome::Lost { Vec::new() } else { replacement(&old, &new) }))
        };
        self.store.commit(work).await
    }

    async fn delete_row(&self, id: Uuid, now: i64) -> Result<Option<Token>, StoreError> {
        let table = self.table.clone();
        let work = move |write: Arc<Write>| async move {
            let rows = table.run(Some(&write), DELETE_ROW, &[&id, &now, &write.origin()]).await?;
            let ended = table.read(DELETE_ROW, &rows, token_of_postgres)?.pop();
            let changes = ended.iter().map(|token| change(Operation::Deleted, token.id, token.access_token)).collect();
            Ok::<_, StoreError>((ended, changes))
        };
        self.store.commit(work).await
    }

    async fn catch_up(&self) -> Result<(), StoreError> {
        self.store.feed().catch_up().await
    }
}
