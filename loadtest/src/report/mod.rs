//! Writes results: JSON for programs, one self-contained HTML page for people.
//!
//! Files are opened before a run begins, so that a folder that is not there or a full disk is told
//! before and not after an hour of measuring.

mod chart;
mod html;

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::outcome::Outcome;

/// Why a result cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// It cannot be written.
    #[error("{path} cannot be written: {}", reason(.source))]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be read.
    #[error("{path} cannot be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no result.
    #[error("{path} is no result of `tollgate-load run --json`: {source}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// It is JSON, and no result.
    #[error("{0} is no result of `tollgate-load run --json`: it has no schema_version")]
    Unversioned(PathBuf),
    /// A chart cannot be drawn.
    #[error("a chart cannot be drawn: {0}")]
    Chart(String),
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull => "the disk is full; make room and run it again".to_owned(),
        _ => error.to_string(),
    }
}

/// Files that results go to.
#[derive(Debug, Default)]
pub struct Files {
    json: Option<(PathBuf, File)>,
    html: Option<(PathBuf, File)>,
}

impl Files {
    /// Opens those that are wanted.
    ///
    /// # Errors
    /// When one of them cannot be written.
    pub fn open(json: Option<&Path>, html: Option<&Path>) -> Result<Self, ReportError> {
        let open = |path: Option<&Path>| {
            let Some(path) = path else { return Ok(None) };
            let opened = File::create(path).map(|file| Some((path.to_owned(), file)));
            opened.map_err(|source| ReportError::Write { path: path.to_owned(), source })
        };
        Ok(Self { json: open(json)?, html: open(html)? })
    }

    /// Writes a result into all of them; one that cannot be written does not keep the others from it.
    ///
    /// # Errors
    /// The first that could not be written.
    pub fn write(self, outcome: &Outcome) -> Result<(), ReportError> {
        let json = self.json.map_or(Ok(()), |file| {
            let text = serde_json::to_vec_pretty(outcome).map_err(io::Error::from);
            put(file, text)
        });
        let html = match self.html {
            None => Ok(()),
            Some(file) => html::page(outcome).and_then(|text| put(file, Ok(text.into_bytes()))),
        };
        json.and(html)
    }
}

fn put((path, mut file): (PathBuf, File), text: io::Result<Vec<u8>>) -> Result<(), ReportError> {
    let written = text.and_then(|text| file.write_all(&text).and_then(|()| file.sync_all().or_else(no_disk)));
    written.map_err(|source| ReportError::Write { path, source })
}

/// Pipes and devices have nothing to be made durable.
fn no_disk(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::InvalidInput { Ok(()) } else { Err(error) }
}

/// Reads a result.
///
/// # Errors
/// When it is not there or is no result.
pub fn read(path: &Path) -> Result<Outcome, ReportError> {
    let text = std::fs::read(path).map_err(|source| ReportError::Read { path: path.to_owned(), source })?;
    let outcome: Outcome =
        serde_json::from_slice(&text).map_err(|source| ReportError::Format { path: path.to_owned(), source })?;
    if outcome.schema_version == 0 { Err(ReportError::Unversioned(path.to_owned())) } else { Ok(outcome) }
}
