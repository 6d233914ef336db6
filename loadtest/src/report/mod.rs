//! Writes results: JSON for programs, one self-contained HTML page for people.
//!
//! Files are opened before a run starts, so that a missing folder is reported before and not after an hour of
//! measuring.

mod chart;
mod html;

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::outcome::Outcome;
use crate::spread::Repeated;

/// Why a result cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// It cannot be written.
    #[error("cannot write {path}: {}", reason(.source))]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not a result.
    #[error("{path} is not a result of `tollgate-load run --json`: {source}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// It is JSON, but not a result.
    #[error("{0} is not a result of `tollgate-load run --json`: it has no schema_version")]
    Unversioned(PathBuf),
    /// A chart cannot be drawn.
    #[error("cannot draw a chart: {0}")]
    Chart(String),
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull => "the disk is full; free some space and run again".to_owned(),
        _ => error.to_string(),
    }
}

/// Result files.
#[derive(Debug, Default)]
pub struct Files {
    json: Option<(PathBuf, File)>,
    html: Option<(PathBuf, File)>,
}

impl Files {
    /// Opens the requested files.
    ///
    /// # Errors
    /// If one of them cannot be written.
    pub fn open(json: Option<&Path>, html: Option<&Path>) -> Result<Self, ReportError> {
        let open = |path: Option<&Path>| {
            let Some(path) = path else { return Ok(None) };
            let opened = File::create(path).map(|file| Some((path.to_owned(), file)));
            opened.map_err(|source| ReportError::Write { path: path.to_owned(), source })
        };
        Ok(Self { json: open(json)?, html: open(html)? })
    }

    /// Writes the result of one or repeated runs to all files, even if one of them fails.
    ///
    /// # Errors
    /// The first error.
    pub fn write(self, runs: &[Outcome]) -> Result<(), ReportError> {
        let json = self.json.map_or(Ok(()), |file| {
            let text = match runs {
                [outcome] => serde_json::to_vec_pretty(outcome),
                runs => serde_json::to_vec_pretty(&Repeated::of(runs.to_vec())),
            };
            put(file, text.map_err(io::Error::from))
        });
        let html = match self.html {
            None => Ok(()),
            Some(file) => html::page(runs).and_then(|text| put(file, Ok(text.into_bytes()))),
        };
        json.and(html)
    }
}

fn put((path, mut file): (PathBuf, File), text: io::Result<Vec<u8>>) -> Result<(), ReportError> {
    let written = text.and_then(|text| file.write_all(&text).and_then(|()| file.sync_all().or_else(no_disk)));
    written.map_err(|source| ReportError::Write { path, source })
}

/// Pipes and devices cannot be synced.
fn no_disk(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::InvalidInput { Ok(()) } else { Err(error) }
}

/// Reads a result: one run, or those of a repeated one.
///
/// # Errors
/// If it does not exist or is not a result.
pub fn read(path: &Path) -> Result<Vec<Outcome>, ReportError> {
    let text = std::fs::read(path).map_err(|source| ReportError::Read { path: path.to_owned(), source })?;
    let not_a_result = |source| ReportError::Format { path: path.to_owned(), source };
    let repeated: Repeated = serde_json::from_slice(&text).map_err(not_a_result)?;
    if repeated.schema_version == 0 {
        return Err(ReportError::Unversioned(path.to_owned()));
    }
    match repeated.runs.is_empty() {
        true => Ok(vec![serde_json::from_slice(&text).map_err(not_a_result)?]),
        false => Ok(repeated.runs),
    }
}
