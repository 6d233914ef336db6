//! A session with either database, so that operations are written once.

use async_trait::async_trait;
use uuid::Uuid;

use crate::failure::Failure;
use crate::row::Row;
use crate::statement::Statement;

/// A statement parameter.
#[derive(Debug, Clone, Copy)]
pub enum Parameter<'a> {
    /// Null, of any type.
    Null,
    /// Text.
    Text(&'a str),
    /// An integer.
    Integer(i64),
    /// A boolean; 1 or 0 in SQLite.
    Boolean(bool),
    /// A UUID; a blob in SQLite.
    Uuid(Uuid),
    /// Bytes.
    Bytes(&'a [u8]),
    /// An array in PostgreSQL; in SQLite a JSON array for `json_each`.
    Texts(&'a [String]),
    /// An array in PostgreSQL; in SQLite a JSON array of hexadecimal digits for `unhex`.
    Uuids(&'a [Uuid]),
    /// An array in PostgreSQL; in SQLite a JSON array of hexadecimal digits for `unhex`.
    ByteStrings(&'a [&'a [u8]]),
}

/// A connection to either database.
#[async_trait]
pub trait Session: Send {
    /// Runs a statement and returns its rows.
    async fn rows(&mut self, statement: &Statement, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Failure>;

    /// Runs a statement and returns the number of changed rows.
    async fn execute(&mut self, statement: &Statement, parameters: &[Parameter<'_>]) -> Result<u64, Failure>;

    /// Runs a statement for many parameter lists of the same length, and returns the rows of all. PostgreSQL
    /// runs it once: each parameter is an array of the values at that position in all lists. SQLite, where
    /// statements cost no round trip, runs it once per list.
    async fn rows_for_each(&mut self, statement: &Statement, lists: &[Vec<Parameter<'_>>])
    -> Result<Vec<Row>, Failure>;
}

impl<'a> From<&'a str> for Parameter<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a String> for Parameter<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Parameter<'_> {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<bool> for Parameter<'_> {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<Uuid> for Parameter<'_> {
    fn from(id: Uuid) -> Self {
        Self::Uuid(id)
    }
}

impl<'a> From<&'a [u8]> for Parameter<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a, T: Into<Parameter<'a>>> From<Option<T>> for Parameter<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, T::into)
    }
}
