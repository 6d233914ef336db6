//! Why a measurement could not be made.

use std::io;

/// What went wrong, in words for the person at the terminal.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused something.
    #[error("{what}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A program ended instead of listening, or did not listen in time.
    #[error("{program} did not start; it said:\n{said}")]
    NotStarted {
        /// The program.
        program: String,
        /// Its output.
        said: String,
    },
    /// A program that should have done something failed.
    #[error("{program} failed; it said:\n{said}")]
    Failed {
        /// The program.
        program: String,
        /// Its output.
        said: String,
    },
    /// No answer.
    #[error("{url} did not answer")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
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
        /// The answer.
        body: String,
    },
    /// The subject answers, but not what it should.
    #[error("{row}: {what}")]
    WrongAnswer {
        /// The row.
        row: String,
        /// What is wrong.
        what: String,
    },
    /// The store could not be prepared.
    #[error("the store cannot be prepared")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What was asked for does not exist.
    #[error("{0}")]
    Usage(String),
}

impl Error {
    /// For `map_err` on what the system refuses.
    pub fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }

    /// For `map_err` on what the store refuses.
    pub fn store(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Store(error.into())
    }
}

/// The result of most functions here.
pub type Result<T> = std::result::Result<T, Error>;
