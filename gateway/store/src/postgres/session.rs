//! A PostgreSQL connection as a [`Session`].

use std::error::Error as StdError;

use async_trait::async_trait;
use deadpool_postgres::{ClientWrapper, Transaction};
use tokio_postgres::Row as PostgresRow;
use tokio_postgres::error::{Error as PostgresError, SqlState};
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tollgate_core::error::StoreError;

use crate::postgres::Postgres;
use crate::session::{Column, Failure, Parameter, Row, Session};
use crate::statement::Statement;

/// What statements are run on.
#[derive(Clone, Copy)]
pub(crate) enum Link<'c> {
    /// Each statement for itself.
    Client(&'c ClientWrapper),
    /// All or nothing.
    Transaction(&'c Transaction<'c>),
}

/// A connection of PostgreSQL.
pub(crate) struct PostgresSession<'c> {
    pub(crate) postgres: &'c Postgres,
    pub(crate) link: Link<'c>,
}

impl Link<'_> {
    async fn query(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<PostgresRow>, PostgresError> {
        match self {
            Self::Client(client) => client.query(&client.prepare_cached(sql).await?, values).await,
            Self::Transaction(client) => client.query(&client.prepare_cached(sql).await?, values).await,
        }
    }

    async fn execute(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<u64, PostgresError> {
        match self {
            Self::Client(client) => client.execute(&client.prepare_cached(sql).await?, values).await,
            Self::Transaction(client) => client.execute(&client.prepare_cached(sql).await?, values).await,
        }
    }
}

impl PostgresSession<'_> {
    fn failure(&self, statement: &Statement, error: PostgresError) -> Failure {
        let code = error.code().cloned();
        let error = self.postgres.error(statement.name, error);
        match code {
            Some(SqlState::FOREIGN_KEY_VIOLATION) => Failure::ForeignKey(error),
            Some(SqlState::T_R_DEADLOCK_DETECTED | SqlState::T_R_SERIALIZATION_FAILURE) => Failure::Collision(error),
            _ => Failure::Store(error),
        }
    }
}

#[async_trait]
impl Session for PostgresSession<'_> {
    async fn rows(&mut self, statement: &Statement, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Failure> {
        let rows = self.link.query(statement.postgres, &references(parameters)).await;
        let rows = rows.map_err(|error| self.failure(statement, error))?;
        rows.iter().map(|row| read(statement, row).map_err(Failure::Store)).collect()
    }

    async fn execute(&mut self, statement: &Statement, parameters: &[Parameter<'_>]) -> Result<u64, Failure> {
        let done = self.link.execute(statement.postgres, &references(parameters)).await;
        done.map_err(|error| self.failure(statement, error))
    }
}

fn references<'a>(parameters: &'a [Parameter<'a>]) -> Vec<&'a (dyn ToSql + Sync)> {
    parameters.iter().map(|parameter| parameter as &(dyn ToSql + Sync)).collect()
}

fn read(statement: &Statement, row: &PostgresRow) -> Result<Row, StoreError> {
    let columns = row.columns().iter().enumerate().map(|(index, column)| {
        let value = match *column.type_() {
            Type::TEXT => row.try_get::<_, Option<String>>(index).map(|value| value.map(Column::Text)),
            Type::INT8 => row.try_get::<_, Option<i64>>(index).map(|value| value.map(Column::Integer)),
            Type::UUID => row.try_get::<_, Option<uuid::Uuid>>(index).map(|value| value.map(Column::Uuid)),
            // Anything else but bytes is a fault of the statement, which the driver reports.
            _ => row.try_get::<_, Option<Vec<u8>>>(index).map(|value| value.map(Column::Bytes)),
        };
        value.map(|value| value.unwrap_or(Column::Null))
    });
    let columns = columns.collect::<Result<_, _>>();
    columns.map(Row).map_err(|error| StoreError::Statement { statement: statement.name, source: Box::new(error) })
}

impl ToSql for Parameter<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match self {
            Self::Text(text) => text.to_sql_checked(ty, out),
            Self::Integer(number) => number.to_sql_checked(ty, out),
            Self::Uuid(id) => id.to_sql_checked(ty, out),
            Self::Bytes(bytes) => bytes.to_sql_checked(ty, out),
            Self::Texts(texts) => texts.to_sql_checked(ty, out),
            Self::Uuids(ids) => ids.to_sql_checked(ty, out),
        }
    }

    /// Each variant checks its own type.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
