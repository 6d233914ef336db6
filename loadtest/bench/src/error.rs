//! Errors of a measurement.

use std::io;

/// An error, as shown on the terminal.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("{what}")]
    System {
        /// What failed.
        what: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A program exited instead of listening, or did not listen in time.
    #[error("{program} did not start; its output:\n{said}")]
    NotStarted {
        /// The program.
        program: String,
        /// Its output.
        said: String,
    },
    /// A program failed.
    #[error("{program} failed; its output:\n{said}")]
    Failed {
        /// The program.
        program: String,
        /// Its output.
        said: String,
    },
    /// No response.
    #[error("no response from {url}")]
    Unreachable {
        /// The address.
        url: String,
        /// The cause.
        #[source]
        source: reqwest::Error,
    },
    /// The Admin API refused.
    #[error("the Admin API refused {call} with {status}: {body}")]
    Refused {
        /// Method and path.
        call: String,
        /// The status.
        status: u16,
        /// The response.
        body: String,
    },
    /// The subject's response is wrong.
    #[error("{row}: {what}")]
    WrongResponse {
        /// The row.
        row: String,
        /// What is wrong.
        what: String,
    },
    /// The store could not be prepared.
    #[error("cannot prepare the store")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An invalid request of the user.
    #[error("{0}")]
    Usage(String),
}

impl Error {
    /// For `map_err` on system errors.
    pub fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }

    /// For `map_err` on store errors.
    pub fn store(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Store(error.into())
    }
}

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;
