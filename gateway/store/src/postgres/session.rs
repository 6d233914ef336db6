//! A PostgreSQL connection as a [`Session`].

use std::error::Error as StdError;

use async_trait::async_trait;
use deadpool_postgres::{ClientWrapper, Transaction};
use tokio_postgres::Row as PostgresRow;
use tokio_postgres::error::{Error as PostgresError, SqlState};
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use crate::failure::Failure;
use crate::feed::Write;
use crate::postgres::Postgres;
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

/// Values by reference, as the driver requires.
type Values<'v> = [&'v (dyn ToSql + Sync)];

impl Link<'_> {
    async fn query(&self, sql: &str, values: &Values<'_>) -> Result<Vec<PostgresRow>, PostgresError> {
        match self {
            Self::Client { client, write } => {
                let statement = client.prepare_cached(sql).await?;
                committing(*write, client.query(&statement, values)).await
            }
            Self::Transaction(client) => client.query(&client.prepare_cached(sql).await?, values).await,
        }
    }

    async fn execute(&self, sql: &str, values: &Values<'_>) -> Result<u64, PostgresError> {
        match self {
            Self::Client { client, write } => {
                let statement = client.prepare_cached(sql).await?;
                committing(*write, client.execute(&statement, values)).await
            }
            Self::Transaction(client) => client.execute(&client.prepare_cached(sql).await?, values).await,
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
    async fn query(&self, statement: &Statement, values: &Values<'_>) -> Result<Vec<Row>, Failure> {
        let rows = self.link.query(statement.postgres, values).await;
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
        self.query(statement, &references(parameters)).await
    }

    async fn execute(&mut self, statement: &Statement, parameters: &[Parameter<'_>]) -> Result<u64, Failure> {
        let done = self.link.execute(statement.postgres, &references(parameters)).await;
        done.map_err(|error| self.failure(statement, error))
    }

    async fn rows_for_each(
        &mut self,
        statement: &Statement,
        lists: &[Vec<Parameter<'_>>],
    ) -> Result<Vec<Row>, Failure> {
        let Some(first) = lists.first() else { return Ok(Vec::new()) };
        let array = |index| lists.iter().map(|list| list.get(index).copied().unwrap_or(Parameter::Null)).collect();
        let arrays: Vec<Vec<Parameter<'_>>> = (0..first.len()).map(array).collect();
        self.query(statement, &references(&arrays)).await
    }
}

fn references<T: ToSql + Sync>(values: &[T]) -> Vec<&(dyn ToSql + Sync)> {
    values.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
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

impl ToSql for Parameter<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Text(text) => text.to_sql_checked(ty, out),
            Self::Integer(number) => number.to_sql_checked(ty, out),
            Self::Boolean(value) => value.to_sql_checked(ty, out),
            Self::Uuid(id) => id.to_sql_checked(ty, out),
            Self::Bytes(bytes) => bytes.to_sql_checked(ty, out),
            Self::Texts(texts) => texts.to_sql_checked(ty, out),
            Self::Uuids(ids) => ids.to_sql_checked(ty, out),
            Self::ByteStrings(all) => all.to_sql_checked(ty, out),
        }
    }

    /// Each variant checks its own type.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
