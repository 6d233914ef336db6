//! An SQLite connection as a [`Session`], on its own thread: nothing ever waits.

use async_trait::async_trait;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, ToSql, params_from_iter};
use serde_json::Value as Json;

use crate::session::{Column, Failure, Parameter, Row, Session};
use crate::sqlite::store_error;
use crate::statement::Statement;

/// `SQLITE_CONSTRAINT_FOREIGNKEY`.
const FOREIGN_KEY: i32 = 787;

/// A connection, inside the transaction of its job when it writes.
pub(crate) struct SqliteSession<'c>(pub(crate) &'c mut Connection);

#[async_trait]
impl Session for SqliteSession<'_> {
    async fn rows(&mut self, statement: &Statement, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Failure> {
        let run = || {
            let mut prepared = self.0.prepare_cached(statement.sqlite)?;
            let columns = prepared.column_count();
            let rows = prepared.query_map(params_from_iter(parameters), |row| {
                (0..columns).map(|index| row.get_ref(index).map(read)).collect::<Result<_, _>>().map(Row)
            })?;
            rows.collect::<Result<Vec<_>, _>>()
        };
        run().map_err(|error| failure(statement, error))
    }

    async fn execute(&mut self, statement: &Statement, parameters: &[Parameter<'_>]) -> Result<u64, Failure> {
        let run = || self.0.prepare_cached(statement.sqlite)?.execute(params_from_iter(parameters));
        run().map(|count| u64::try_from(count).unwrap_or(u64::MAX)).map_err(|error| failure(statement, error))
    }
}

fn failure(statement: &Statement, error: rusqlite::Error) -> Failure {
    let code = error.sqlite_error().map(|error| error.extended_code);
    let error = store_error(statement.name, error);
    if code == Some(FOREIGN_KEY) { Failure::ForeignKey(error) } else { Failure::Store(error) }
}

fn read(value: ValueRef<'_>) -> Column {
    match value {
        ValueRef::Integer(number) => Column::Integer(number),
        ValueRef::Text(text) => Column::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Column::Bytes(bytes.to_vec()),
        // No statement computes fractions.
        ValueRef::Null | ValueRef::Real(_) => Column::Null,
    }
}

impl ToSql for Parameter<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let json = |values: Vec<Json>| ToSqlOutput::Owned(Value::Text(Json::Array(values).to_string()));
        Ok(match self {
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Self::Integer(number) => ToSqlOutput::Borrowed(ValueRef::Integer(*number)),
            Self::Uuid(id) => ToSqlOutput::Borrowed(ValueRef::Blob(id.as_bytes())),
            Self::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
            Self::Texts(texts) => json(texts.iter().map(|text| Json::from(text.as_str())).collect()),
            Self::Uuids(ids) => json(ids.iter().map(|id| Json::from(id.simple().to_string())).collect()),
        })
    }
}
