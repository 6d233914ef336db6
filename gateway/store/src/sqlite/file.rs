//! The database file and how each connection to it is set up.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

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
    /// The file cannot be created.
    #[error("cannot create the database file")]
    File(#[source] io::Error),
    /// The file is not a database, or cannot be configured.
    #[error("cannot open the database file")]
    Database(#[source] rusqlite::Error),
    /// A thread could not be started.
    #[error("cannot start a database thread")]
    Thread(#[source] io::Error),
}

/// Opens the file, creating it so that only this user can read it; SQLite gives the write-ahead log the same
/// mode.
pub(crate) fn open(path: &Path) -> Result<Connection, OpenFileError> {
    let created = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path);
    created.map_err(OpenFileError::File)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(OpenFileError::Database)?;
    configure(&connection).map_err(OpenFileError::Database)?;
    Ok(connection)
}

fn configure(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    write_ahead(connection)?;
    connection.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;
         PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY;",
    )
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
