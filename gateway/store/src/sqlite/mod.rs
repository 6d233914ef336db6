//! SQLite: one writer thread, a few reader threads, write-ahead logging.
//!
//! Nothing here blocks the I/O threads: jobs are sent to threads through bounded queues, and a job that has
//! waited longer than the acquire timeout is refused without being run. Writes are durable when they return
//! (`synchronous = FULL`); waiting jobs are committed together (see `writer`), each in its own savepoint.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};
use tollgate_core::error::StoreError;

use crate::feed::Write;
use crate::metrics::{Load, Metrics};
use crate::options::Options;
pub use file::OpenFileError;
pub(crate) use file::{open, open_checked};
use queue::{Queue, queue};
use reader::ReaderJob;
pub(crate) use session::{SqliteSession, column};
use writer::{Done, Outcome, WriterJob};

mod file;
mod queue;
mod reader;
mod session;
mod writer;

/// Readers in addition to the writer. Statements are short, so a few threads keep up with many requests.
const READERS: usize = 4;

/// An embedded database. Cheap to clone; the threads end with the last clone.
#[derive(Clone)]
pub(crate) struct Sqlite {
    writer: Queue<WriterJob>,
    readers: Queue<ReaderJob>,
    statement_timeout: Duration,
}

impl Sqlite {
    /// Opens the file and starts the threads.
    pub(crate) fn start(path: PathBuf, options: &Options, metrics: Metrics) -> Result<Self, OpenFileError> {
        let readers = READERS.min(options.max_connections.max(1));
        let threads = i64::try_from(readers + 1).unwrap_or(i64::MAX);
        let load = Arc::new(Load { threads, running: AtomicI64::new(0), waiting: AtomicI64::new(0) });
        metrics.watch_threads(load.clone());
        let (writer, turns) = queue(options, &metrics, &load);
        writer::start(open(&path)?, turns)?;
        let connections = (0..readers).map(|_| file::open_reader(&path)).collect::<Result<Vec<_>, _>>()?;
        let (readers, turns) = queue(options, &metrics, &load);
        reader::start(connections, &turns)?;
        Ok(Self { writer, readers, statement_timeout: options.statement_timeout })
    }

    /// Runs a job on the writer thread, in a transaction that is committed if the job returns `Ok` and rolled
    /// back if it returns `Err`. Returns after the commit. The job continues if the caller is dropped.
    /// `write` tracks whether the outcome of a job that records changes is unknown.
    pub(crate) async fn write<T, E>(
        &self,
        write: Option<&Write>,
        job: impl FnOnce(&mut Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (job, done) = WriterJob::new(job);
        self.writer.push(job).await?;
        if let Some(write) = write {
            // Whether it records changes is known after it has run.
            write.mark_sent();
        }
        // No timeout here: the queue limits the wait before the job runs, and once it runs it will be
        // committed, which the caller must learn.
        let done = done.await;
        let failed = matches!(&done, Ok(Done { result: Err(_), outcome: Outcome::Known }));
        if let Some(write) = write
            && (failed || !write.records_changes())
        {
            write.mark_refused();
        }
        done.map_or_else(|_| Err(gone().into()), |done| done.result)
    }

    /// Runs a job on a reader thread. It must not write. Each statement sees one state of the database; two
    /// statements may see different ones.
    pub(crate) async fn read<T, E>(
        &self,
        job: impl FnOnce(&mut Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (job, done) = ReaderJob::new(job);
        self.readers.push(job).await?;
        let limit = self.readers.acquire_timeout() + self.statement_timeout;
        match tokio::time::timeout(limit, done).await {
            Ok(done) => done.unwrap_or_else(|_| Err(gone().into())),
            Err(_) => Err(StoreError::Timeout(limit).into()),
        }
    }

    /// Converts a driver's error. `statement` is the file in `sql/`.
    pub(crate) fn error(statement: &'static str, error: rusqlite::Error) -> StoreError {
        match error.sqlite_error_code() {
            Some(
                ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                // What is in an unreadable page cannot be told.
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase,
            ) => StoreError::Unavailable(Box::new(error)),
            _ => StoreError::Statement { statement, source: Box::new(error) },
        }
    }
}

/// The thread ended, or the job panicked, before there was a result.
fn gone() -> StoreError {
    StoreError::Unavailable("a database thread ended without a result".into())
}
