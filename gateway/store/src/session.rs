//! One conversation with either database, so that what is done to entities is written once.
//!
//! A session is a connection, inside a transaction when it writes. It offers no more than the
//! entities and the feed need; plugins talk to the drivers directly.

use async_trait::async_trait;
use tollgate_core::error::{DaoError, StoreError};
use uuid::Uuid;

use crate::statement::Statement;

/// A value given to a statement.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Parameter<'a> {
    Text(&'a str),
    Integer(i64),
    Uuid(Uuid),
    Bytes(&'a [u8]),
    /// An array in PostgreSQL; in SQLite a JSON array for `json_each`.
    Texts(&'a [String]),
    /// An array in PostgreSQL; in SQLite a JSON array of hexadecimal digits for `unhex`.
    Uuids(&'a [Uuid]),
}

/// A value in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Column {
    Null,
    Text(String),
    Integer(i64),
    Uuid(Uuid),
    Bytes(Vec<u8>),
}

/// A row of an answer. Reading a column as what it is not is [`StoreError::Corrupt`].
#[derive(Debug, Clone)]
pub(crate) struct Row(pub(crate) Vec<Column>);

/// Why a statement was not done.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A reference leads nowhere.
    ForeignKey(StoreError),
    /// Another transaction was in the way (deadlock): the whole transaction is to be repeated.
    Collision(StoreError),
    /// Anything else.
    Store(StoreError),
}

/// Why a transaction was not done.
#[derive(Debug)]
pub(crate) enum Abort {
    /// The caller is to be told.
    Refused(DaoError),
    /// What was read has changed meanwhile: begin again. Holds what to say when that goes on.
    Again(StoreError),
}

impl From<Failure> for Abort {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Collision(error) => Self::Again(error),
            Failure::ForeignKey(error) | Failure::Store(error) => Self::Refused(error.into()),
        }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::ForeignKey(error) | Failure::Collision(error) | Failure::Store(error) => error,
        }
    }
}

impl From<StoreError> for Abort {
    fn from(error: StoreError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<DaoError> for Abort {
    fn from(error: DaoError) -> Self {
        Self::Refused(error)
    }
}

/// A connection to either database.
#[async_trait]
pub(crate) trait Session: Send {
    /// Runs a statement and returns its rows.
    async fn rows(&mut self, statement: &Statement, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Failure>;

    /// Runs a statement and returns how many rows it touched.
    async fn execute(&mut self, statement: &Statement, parameters: &[Parameter<'_>]) -> Result<u64, Failure>;
}

impl Row {
    pub(crate) fn text(&mut self, index: usize) -> Result<String, StoreError> {
        match self.0.get_mut(index) {
            Some(Column::Text(text)) => Ok(std::mem::take(text)),
            _ => Err(corrupt("a column is not text")),
        }
    }

    pub(crate) fn integer(&self, index: usize) -> Result<i64, StoreError> {
        match self.0.get(index) {
            Some(Column::Integer(number)) => Ok(*number),
            _ => Err(corrupt("a column is not a number")),
        }
    }

    pub(crate) fn uuid(&self, index: usize) -> Result<Uuid, StoreError> {
        match self.0.get(index) {
            Some(Column::Uuid(id)) => Ok(*id),
            Some(Column::Bytes(bytes)) => Uuid::from_slice(bytes).map_err(|_| corrupt("a column is not a UUID")),
            _ => Err(corrupt("a column is not a UUID")),
        }
    }

    pub(crate) fn bytes(&mut self, index: usize) -> Result<Vec<u8>, StoreError> {
        match self.0.get_mut(index) {
            Some(Column::Bytes(bytes)) => Ok(std::mem::take(bytes)),
            _ => Err(corrupt("a column is not bytes")),
        }
    }

    /// Whether the column is null, as in the row of an outer join that found nothing.
    pub(crate) fn is_null(&self, index: usize) -> bool {
        matches!(self.0.get(index), None | Some(Column::Null))
    }
}

fn corrupt(what: &'static str) -> StoreError {
    StoreError::Corrupt { kind: "row", what }
}
