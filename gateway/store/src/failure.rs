//! Why a statement, or the transaction that it is part of, was not done.

use tollgate_core::error::{DaoError, StoreError};

/// Why a statement was not done.
#[derive(Debug)]
pub enum Failure {
    /// A value is taken.
    Unique {
        /// The constraint's name in PostgreSQL. SQLite names none: there it is the table and the columns,
        /// with `_` between them. So name constraints in PostgreSQL like that.
        constraint: String,
        /// What to say where that cannot be.
        error: StoreError,
    },
    /// A reference leads nowhere.
    ForeignKey(StoreError),
    /// Another transaction was in the way (deadlock, serialisation): the whole transaction is repeated.
    Collision(StoreError),
    /// Anything else.
    Store(StoreError),
}

/// Why a transaction was not done.
#[derive(Debug)]
pub enum Abort<E = StoreError> {
    /// The caller is told.
    Refused(E),
    /// What was read has changed meanwhile, or another transaction was in the way: begin again. Holds
    /// what to say when that goes on.
    Again(StoreError),
}

impl<E: From<StoreError>> From<Failure> for Abort<E> {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Collision(error) => Self::Again(error),
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
