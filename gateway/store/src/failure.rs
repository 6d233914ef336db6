//! Why a statement, or its transaction, failed.

use tollgate_core::error::{DaoError, StoreError};

/// Why a statement failed.
#[derive(Debug)]
pub enum Failure {
    /// A unique value is taken.
    Unique {
        /// The constraint's name in PostgreSQL. SQLite does not report names: there it is the table and the
        /// columns, joined with `_`. So name constraints in PostgreSQL accordingly.
        constraint: String,
        /// The error for callers that do not expect a conflict.
        error: StoreError,
    },
    /// A referenced row does not exist.
    ForeignKey(StoreError),
    /// Another transaction conflicts (deadlock, serialisation): the whole transaction is retried.
    Collision(StoreError),
    /// Any other failure.
    Store(StoreError),
}

/// Why a transaction failed.
#[derive(Debug)]
pub enum Abort<E = StoreError> {
    /// The error is returned to the caller.
    Refused(E),
    /// What was read has changed, or another transaction conflicts: retry. Holds the error for when retries
    /// are exhausted.
    Retry(StoreError),
}

impl<E: From<StoreError>> From<Failure> for Abort<E> {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Collision(error) => Self::Retry(error),
            other => Self::Refused(StoreError::from(other).into()),
        }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unique { error, .. }
            | Failure::ForeignKey(error)
            | Failure::Collision(error)
            | Failure::Store(error) => error,
        }
    }
}

impl<E: From<StoreError>> From<StoreError> for Abort<E> {
    fn from(error: StoreError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<DaoError> for Abort<DaoError> {
    fn from(error: DaoError) -> Self {
        Self::Refused(error)
    }
}
