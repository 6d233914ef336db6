//! An SQLite connection as a [`Session`], on its own thread: it never waits.

use async_trait::async_trait;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{CachedStatement, Connection, ToSql, params_from_iter};
use serde_json::Value as Json;

use crate::failure::Failure;
use crate::row::{Column, Columns, Row};
use crate::session::{Parameter, Session};
use crate::sqlite::Sqlite;
use crate::statement::{Statement, parts};

/// `SQLITE_CONSTRAINT_FOREIGNKEY`.
const FOREIGN_KEY: i32 = 787;
/// `SQLITE_CONSTRAINT_PRIMARYKEY` and `SQLITE_CONSTRAINT_UNIQUE`.
const UNIQUE: [i32; 2] = [1555, 2067];

/// A connection; within the transaction of its job if it writes.
pub(crate) struct SqliteSession<'c>(pub(crate) &'c mut Connection);

impl SqliteSession<'_> {
    /// Runs each part of a statement with as many of the parameters as it takes; at least one part must use
    /// all of them.
    fn run<T>(
        &self,
        statement: &Statement,
        parameters: &[Parameter<'_>],
        mut part: impl FnMut(&mut CachedStatement<'_>, &[Parameter<'_>]) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Failure> {
        let mut longest = 0;
        let mut run = |sql| {
            let mut prepared = self.0.prepare_cached(sql)?;
            let count = prepared.parameter_count();
            longest = longest.max(count);
            let wrong = rusqlite::Error::InvalidParameterCount(parameters.len(), count);
            part(&mut prepared, parameters.get(..count).ok_or(wrong)?)
        };
        let done = parts(statement.sqlite).map(&mut run).collect::<rusqlite::Result<_>>();
        let done = done.map_err(|error| failure(statement, error))?;
        if longest != parameters.len() {
            return Err(failure(statement, rusqlite::Error::InvalidParameterCount(parameters.len(), longest)));
        }
        Ok(done)
    }

    fn query(&self, statement: &Statement, parameters: &[Parameter<'_>], found: &mut Vec<Row>) -> Result<(), Failure> {
        let all = self.run(statement, parameters, |prepared, parameters| {
            let columns = prepared.column_count();
            let mut rows = prepared.query(params_from_iter(parameters))?;
            // Step to the end even without columns: stepping executes the statement.
            while let Some(row) = rows.next()? {
                let values = (0..columns).map(|index| row.get_ref(index).map(owned)).collect::<Result<_, _>>()?;
                found.push(Row(Columns::Sqlite(values)));
            }
            Ok(())
        });
        all.map(drop)
    }
}

#[async_trait]
impl Session for SqliteSession<'_> {
    async fn rows(&mut self, statement: &Statement, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Failure> {
        let mut rows = Vec::new();
        self.query(statement, parameters, &mut rows)?;
        Ok(rows)
    }

    async fn execute(&mut self, statement: &Statement, parameters: &[Parameter<'_>]) -> Result<u64, Failure> {
        let counts = self.run(statement, parameters, |prepared, values| prepared.execute(params_from_iter(values)))?;
        Ok(u64::try_from(counts.into_iter().sum::<usize>()).unwrap_or(u64::MAX))
    }

    async fn rows_for_each(
        &mut self,
        statement: &Statement,
        lists: &[Vec<Parameter<'_>>],
    ) -> Result<Vec<Row>, Failure> {
        let mut rows = Vec::new();
        for parameters in lists {
            self.query(statement, parameters, &mut rows)?;
        }
        Ok(rows)
    }
}

fn failure(statement: &Statement, error: rusqlite::Error) -> Failure {
    let code = error.sqlite_error().map(|error| error.extended_code);
    let taken = match &error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.strip_prefix("UNIQUE constraint failed: "),
        _ => None,
    };
    let constraint = taken.map(constraint);
    let error = Sqlite::error(statement.name, error);
    match (code, constraint) {
        (Some(FOREIGN_KEY), _) => Failure::ForeignKey(error),
        (Some(code), Some(constraint)) if UNIQUE.contains(&code) => Failure::Unique { constraint, error },
        _ => Failure::Store(error),
    }
}

/// `table_first_second` of `table.first, table.second`.
fn constraint(columns: &str) -> String {
    let table = columns.split('.').next().unwrap_or_default();
    let names = columns.split(", ").filter_map(|column| column.split_once('.')).map(|(_, name)| name);
    std::iter::once(table).chain(names).collect::<Vec<_>>().join("_")
}

fn owned(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Real(number) => Value::Real(number),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
    }
}

/// A value of a row. `None`: no statement returns this type.
pub(crate) fn column(value: &Value) -> Option<Column<'_>> {
    match value {
        Value::Null => Some(Column::Null),
        Value::Integer(number) => Some(Column::Integer(*number)),
        Value::Text(text) => Some(Column::Text(text)),
        Value::Blob(bytes) => Some(Column::Bytes(bytes)),
        Value::Real(_) => None,
    }
}

impl ToSql for Parameter<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let json = |values: Vec<Json>| ToSqlOutput::Owned(Value::Text(Json::Array(values).to_string()));
        Ok(match self {
            Self::Null => ToSqlOutput::Borrowed(ValueRef::Null),
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Self::Integer(number) => ToSqlOutput::Borrowed(ValueRef::Integer(*number)),
            Self::Boolean(value) => ToSqlOutput::Borrowed(ValueRef::Integer((*value).into())),
            Self::Uuid(id) => ToSqlOutput::Borrowed(ValueRef::Blob(id.as_bytes())),
            Self::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
            Self::Texts(texts) => json(texts.iter().map(|text| Json::from(text.as_str())).collect()),
            Self::Uuids(ids) => json(ids.iter().map(|id| Json::from(id.simple().to_string())).collect()),
            Self::ByteStrings(all) => json(all.iter().map(|bytes| Json::from(hexadecimal(bytes))).collect()),
        })
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constraint_is_its_table_and_columns() {
        assert_eq!(constraint("tickets.number"), "tickets_number");
        assert_eq!(constraint("entity_keys.kind, entity_keys.field"), "entity_keys_kind_field");
    }
}
