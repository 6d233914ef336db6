//! SQLite: one writer thread, a few reader threads, write-ahead logging.
//!
//! Nothing here blocks the I/O threads: jobs go to threads through bounded queues, and a job that
//! has waited longer than the acquire timeout is refused without being run. Writes are durable
//! when they are answered (`synchronous = FULL`); jobs that wait together are committed together
//! (see `writer`), each in a savepoint of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};
use tollgate_core::error::StoreError;

use crate::feed::Write;
use crate::metrics::{Load, Metrics};
use crate::options::Options;
pub use file::OpenFileError;
pub(crate) use file::open;
use queue::{Queue, queue};
use reader::ReaderJob;
pub(crate) use session::SqliteSession;
use writer::{Answered, Outcome, WriterJob};

mod file;
mod queue;
mod reader;
mod session;
mod writer;

/// Readers beside the writer. Statements are short, so that a few keep up with many requests.
const READERS: usize = 4;

/// An embedded database. Cheap to clone; the threads end with the last clone.
#[derive(Clone)]
pub struct Sqlite {
    writer: Queue<WriterJob>,
    readers: Queue<ReaderJob>,
    path: Arc<PathBuf>,
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
        let connections = (0..readers).map(|_| open(&path)).collect::<Result<Vec<_>, _>>()?;
        let (readers, turns) = queue(options, &metrics, &load);
        reader::start(connections, &turns)?;
        Ok(Self { writer, readers, path: Arc::new(path), statement_timeout: options.statement_timeout })
    }

    /// Runs a job on the writer thread, in a transaction that commits when the job returns `Ok`
    /// and leaves nothing behind when it returns `Err`. Answers after the commit. The job goes on
    /// when the caller is dropped.
    pub async fn write<T, E>(&self, job: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.write_mut(None, move |connection: &mut Connection| job(connection)).await
    }

    /// The same for a write that is announced: it is told while its outcome is unknown.
    pub async fn commit<T, E>(
        &self,
        write: &Write,
        job: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.write_mut(Some(write), move |connection: &mut Connection| job(connection)).await
    }

    /// Runs a job on a reader thread. It must not write. One statement sees one state of the
    /// database; two statements may see two.
    pub async fn read<T, E>(&self, job: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.read_mut(move |connection: &mut Connection| job(connection)).await
    }

    pub(crate) async fn write_mut<T, E>(
        &self,
        write: Option<&Write>,
        job: impl FnOnce(&mut Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (job, answer) = WriterJob::new(job);
        self.writer.push(job).await?;
        if let Some(write) = write {
            write.is_sent();
        }
        // No bound here: the queue bounds the wait before the job runs, and once it runs it is
        // going to be committed, which the caller must learn.
        let Ok(Answered { result, outcome }) = answer.await else { return Err(gone().into()) };
        if let (Some(write), true, Outcome::Known) = (write, result.is_err(), outcome) {
            write.is_refused();
        }
        result
    }

    pub(crate) async fn read_mut<T, E>(
        &self,
        job: impl FnOnce(&mut Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (job, answer) = ReaderJob::new(job);
        self.readers.push(job).await?;
        let limit = self.readers.acquire_timeout() + self.statement_timeout;
        match tokio::time::timeout(limit, answer).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(gone().into())),
            Err(_) => Err(StoreError::Timeout(limit).into()),
        }
    }

    /// What a driver's error means. `statement` is the file in `sql/`.
    pub fn error(statement: &'static str, error: rusqlite::Error) -> StoreError {
        store_error(statement, error)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

pub(crate) fn store_error(statement: &'static str, error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::ReadOnly,
        ) => StoreError::Unavailable(Box::new(error)),
        _ => StoreError::Statement { statement, source: Box::new(error) },
    }
}

/// The thread ended, or the job panicked, before there was an answer.
fn gone() -> StoreError {
    StoreError::Unavailable("a database thread gave no answer".into())
}
