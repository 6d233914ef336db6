//! Errors of the store.

use std::time::Duration;

/// The store cannot do its work. "Not found" is a result, not an error.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached, or the connection broke.
    #[error("store unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No connection became free in time: too many requests are waiting for the store.
    #[error("no store connection available within {0:?}")]
    Busy(Duration),
    /// The statement ran into its timeout.
    #[error("store timed out after {0:?}")]
    Timeout(Duration),
    /// A statement failed in a way that no input should cause.
    #[error("store statement {statement} failed")]
    Statement {
        /// The file in `sql/`.
        statement: &'static str,
        /// The driver's error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A row does not have the shape that this version writes.
    #[error("stored {kind} entity cannot be read: {what}")]
    Corrupt {
        /// The kind of entity.
        kind: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// The cause of [`StoreError::Unavailable`] while the breaker in front of the database is open. The store has logged
/// why when it opened.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the database does not respond: its breaker is open")]
pub struct BreakerOpen;

impl From<BreakerOpen> for StoreError {
    fn from(open: BreakerOpen) -> Self {
        Self::Unavailable(Box::new(open))
    }
}

impl StoreError {
    /// Whether the store has logged the cause, once for all calls that it fails: those who made them do not log it
    /// again.
    pub fn is_reported(&self) -> bool {
        matches!(self, Self::Unavailable(cause) if cause.is::<BreakerOpen>())
    }

    /// Whether a retry may succeed.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Busy(_) | Self::Timeout(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_breaker_refused_is_reported_already() {
        assert!(StoreError::from(BreakerOpen).is_reported());
        assert!(!StoreError::Unavailable("the connection broke".into()).is_reported());
        assert!(!StoreError::Timeout(Duration::ZERO).is_reported());
    }
}
