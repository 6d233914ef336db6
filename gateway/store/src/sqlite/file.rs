//! The database file and how each connection to it is set up.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

/// Larger than the number of statements of the entities and plugins.
const STATEMENTS: usize = 128;

/// How long SQLite itself waits for another process that writes the same file.
const BUSY: Duration = Duration::from_secs(5);

/// The wait before the journal mode is set again.
const AGAIN: Duration = Duration::from_millis(10);

/// The embedded database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenFileError {
    /// The file cannot be created or opened.
    #[error("cannot open or create {path}: check database.url and data_directory")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file, or its folder, where SQLite creates the write-ahead log, cannot be written.
    #[error(
        "{path} or its folder cannot be written: tokens are written there, so make both writable for this user, on a \
         file system that is not mounted read-only"
    )]
    ReadOnly {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file is not a database, or parts of it are unreadable. Nothing was written to it.
    #[error(
        "{path} is damaged, or no SQLite database ({found}); nothing in it was changed: restore a backup of it, or move \
         it away to start with an empty database"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite found.
        found: String,
    },
    /// The file cannot be configured.
    #[error("cannot open the database file {path}")]
    Database {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// A thread could not be started.
    #[error("cannot start a database thread")]
    Thread(#[source] io::Error),
}

impl OpenFileError {
    fn of(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged { path, found: source.to_string() }
            }
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Self::ReadOnly { path, source: Box::new(source) }
            }
            _ => Self::Database { path, source },
        }
    }
}

/// Opens the file, creating it so that only this user can read it; SQLite gives the write-ahead log the same
/// mode.
pub(crate) fn open(path: &Path) -> Result<Connection, OpenFileError> {
    create(path)?;
    connect(path).and_then(configure).map_err(|error| OpenFileError::of(path, error))
}

/// Like [`open`], for a connection that refuses to write.
pub(super) fn open_reader(path: &Path) -> Result<Connection, OpenFileError> {
    let connection = open(path)?;
    connection.execute_batch("PRAGMA query_only = ON").map_err(|error| OpenFileError::of(path, error))?;
    Ok(connection)
}

/// Like [`open`], after every page was read: a database that is damaged somewhere would fail only when a request needs
/// that part of it. A damaged file stays as it is.
pub(crate) fn open_checked(path: &Path) -> Result<Connection, OpenFileError> {
    create(path)?;
    check(path)?;
    open(path)
}

fn create(path: &Path) -> Result<(), OpenFileError> {
    let created = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path);
    created.map(drop).map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            OpenFileError::ReadOnly { path: path.to_owned(), source: Box::new(source) }
        }
        _ => OpenFileError::File { path: path.to_owned(), source },
    })
}

fn check(path: &Path) -> Result<(), OpenFileError> {
    match connect(path).and_then(|connection| first_fault(&connection)) {
        Ok(None) => Ok(()),
        Ok(Some(found)) => Err(OpenFileError::Damaged { path: path.to_owned(), found }),
        Err(error) => Err(OpenFileError::of(path, error)),
    }
}

/// The first thing that is wrong with the pages of the database.
fn first_fault(connection: &Connection) -> Result<Option<String>, rusqlite::Error> {
    connection.busy_timeout(BUSY)?;
    // Closing it must not move the write-ahead log into a damaged file.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    Ok((found != "ok").then(|| found.replace('\n', " ")))
}

fn connect(path: &Path) -> Result<Connection, rusqlite::Error> {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
}

fn configure(connection: Connection) -> Result<Connection, rusqlite::Error> {
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    write_ahead(&connection)?;
    connection.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;
         PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY;",
    )?;
    Ok(connection)
}

/// Switches to the write-ahead log. If two processes do so on a new file at the same time, SQLite refuses one
/// of them immediately, whatever `busy_timeout` says: then it is retried.
fn write_ahead(connection: &Connection) -> Result<(), rusqlite::Error> {
    let deadline = Instant::now() + BUSY;
    loop {
        // The pragma returns the mode, so it must be run as a query.
        match connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())) {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && Instant::now() < deadline => {
                std::thread::sleep(AGAIN);
            }
            switched => return switched,
        }
    }
}
