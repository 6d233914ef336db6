//! A PostgreSQL connection as a [`Session`].

use async_trait::async_trait;
use deadpool_postgres::{ClientWrapper, Transaction};
use tokio_postgres::Row as PostgresRow;
use tokio_postgres::error::{Error as PostgresError, SqlState};
use tokio_postgres::types::Type;

use crate::failure::Failure;
use crate::feed::Write;
use crate::postgres::value::{Many, Value, references, typed};
use crate::postgres::{Postgres, Sessions};
use crate::row::{Column, Columns, Row};
use crate::session::{Parameter, Session};
use crate::statement::Statement;

/// The executor of statements.
#[derive(Clone, Copy)]
pub(crate) enum Link<'c> {
    /// Each statement on its own: it commits when it ends, and then `write` is complete.
    Client { client: &'c ClientWrapper, write: Option<&'c Write> },
    /// All statements in one transaction.
    Transaction(&'c Transaction<'c>),
}

/// A connection to PostgreSQL.
pub(crate) struct PostgresSession<'c> {
    pub(crate) postgres: &'c Postgres,
    pub(crate) link: Link<'c>,
}

impl Link<'_> {
    /// Runs a statement that is prepared once per session.
    async fn query<V: Value>(&self, sql: &str, values: &[V]) -> Result<Vec<PostgresRow>, PostgresError> {
        let values = &references(values);
        match self {
            Self::Client { client, write } => {
                let statement = client.prepare_cached(sql).await?;
                committing(*write, client.query(&statement, values)).await
            }
            Self::Transaction(client) => client.query(&client.prepare_cached(sql).await?, values).await,
        }
    }

    async fn execute<V: Value>(&self, sql: &str, values: &[V]) -> Result<u64, PostgresError> {
        let values = &references(values);
        match self {
            Self::Client { client, write } => {
                let statement = client.prepare_cached(sql).await?;
                committing(*write, client.execute(&statement, values)).await
            }
            Self::Transaction(client) => client.execute(&client.prepare_cached(sql).await?, values).await,
        }
    }

    /// Runs a statement without a name, in one round trip: it leaves nothing in the session.
    async fn query_unnamed<V: Value>(&self, sql: &str, values: &[V]) -> Result<Vec<PostgresRow>, PostgresError> {
        let values = &typed(values);
        match self {
            Self::Client { client, write } => committing(*write, client.query_typed(sql, values)).await,
            Self::Transaction(client) => client.query_typed(sql, values).await,
        }
    }

    async fn execute_unnamed<V: Value>(&self, sql: &str, values: &[V]) -> Result<u64, PostgresError> {
        let values = &typed(values);
        match self {
            Self::Client { client, write } => committing(*write, client.execute_typed(sql, values)).await,
            Self::Transaction(client) => client.execute_typed(sql, values).await,
        }
    }
}

/// Runs a statement that commits when it ends.
async fn committing<T>(
    write: Option<&Write>,
    statement: impl Future<Output = Result<T, PostgresError>>,
) -> Result<T, PostgresError> {
    let Some(write) = write else { return statement.await };
    write.before_commit();
    statement.await.inspect_err(|error| Postgres::note_refusal(write, error))
}

impl PostgresSession<'_> {
    async fn query<V: Value>(&self, statement: &Statement, values: &[V]) -> Result<Vec<Row>, Failure> {
        let rows = match self.postgres.sessions() {
            Sessions::Own => self.link.query(statement.postgres, values).await,
            Sessions::Shared => self.link.query_unnamed(statement.postgres, values).await,
        };
        let rows = rows.map_err(|error| self.failure(statement, error))?;
        Ok(rows.into_iter().map(|row| Row(Columns::Postgres(row))).collect())
    }

    fn failure(&self, statement: &Statement, error: PostgresError) -> Failure {
        let code = error.code().cloned();
        let constraint = error.as_db_error().and_then(|error| error.constraint()).unwrap_or_default().to_owned();
        let error = self.postgres.error(statement.name, error);
        match code {
            Some(SqlState::UNIQUE_VIOLATION) => Failure::Unique { constraint, error },
            Some(SqlState::FOREIGN_KEY_VIOLATION) => Failure::ForeignKey(error),
            Some(SqlState::T_R_DEADLOCK_DETECTED | SqlState::T_R_SERIALIZATION_FAILURE) => Failure::Collision(error),
            _ => Failure::Store(error),
        }
    }
}

#[async_trait]
impl Session for PostgresSession<'_> {
    async fn rows(&mut self, statement: &Statement, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Failure> {
        self.query(statement, parameters).await
    }

    async fn execute(&mut self, statement: &Statement, parameters: &[Parameter<'_>]) -> Result<u64, Failure> {
        let done = match self.postgres.sessions() {
            Sessions::Own => self.link.execute(statement.postgres, parameters).await,
            Sessions::Shared => self.link.execute_unnamed(statement.postgres, parameters).await,
        };
        done.map_err(|error| self.failure(statement, error))
    }

    async fn rows_for_each(
        &mut self,
        statement: &Statement,
        lists: &[Vec<Parameter<'_>>],
    ) -> Result<Vec<Row>, Failure> {
        let Some(first) = lists.first() else { return Ok(Vec::new()) };
        let array =
            |index| Many(lists.iter().map(|list| list.get(index).copied().unwrap_or(Parameter::Null)).collect());
        let arrays: Vec<Many<'_>> = (0..first.len()).map(array).collect();
        self.query(statement, &arrays).await
    }
}

/// A column of a row. `None`: it does not exist, or has a type that no statement returns.
pub(crate) fn column(row: &PostgresRow, index: usize) -> Option<Column<'_>> {
    let value = match *row.columns().get(index)?.type_() {
        Type::TEXT => row.try_get::<_, Option<&str>>(index).ok()?.map(Column::Text),
        Type::INT8 => row.try_get::<_, Option<i64>>(index).ok()?.map(Column::Integer),
        Type::BOOL => row.try_get::<_, Option<bool>>(index).ok()?.map(Column::Boolean),
        Type::UUID => row.try_get::<_, Option<uuid::Uuid>>(index).ok()?.map(Column::Uuid),
        _ => row.try_get::<_, Option<&[u8]>>(index).ok()?.map(Column::Bytes),
    };
    Some(value.unwrap_or(Column::Null))
}
