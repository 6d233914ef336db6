//! Threads that read.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rusqlite::Connection;
use tokio::sync::oneshot;
use tollgate_core::error::StoreError;

use crate::sqlite::file::OpenFileError;
use crate::sqlite::queue::{Job, Turns};

/// Something to read, which tells its caller the result itself.
pub(super) struct ReaderJob {
    run: Box<Run>,
}

/// Takes the connection, or why there is none for this job.
type Run = dyn FnOnce(Result<&mut Connection, StoreError>) + Send;

impl ReaderJob {
    /// The job, and where its result arrives.
    pub(super) fn new<T, E>(
        job: impl FnOnce(&mut Connection) -> Result<T, E> + Send + 'static,
    ) -> (Self, oneshot::Receiver<Result<T, E>>)
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let run = move |connection: Result<&mut Connection, StoreError>| {
            // A caller that has given up needs no result; one that is refused needs no work.
            if !sender.is_closed() {
                let _ = sender.send(connection.map_err(E::from).and_then(job));
            }
        };
        (Self { run: Box::new(run) }, receiver)
    }
}

impl Job for ReaderJob {
    fn refuse(self, error: StoreError) {
        (self.run)(Err(error));
    }
}

/// Starts a thread for each connection.
pub(super) fn start(connections: Vec<Connection>, turns: &Turns<ReaderJob>) -> Result<(), OpenFileError> {
    for mut connection in connections {
        connection.execute_batch("PRAGMA query_only = ON").map_err(OpenFileError::Database)?;
        let turns = turns.clone();
        let work = move || {
            while let Some(job) = turns.next() {
                // A job that panics must not take the thread with it; its caller sees no result.
                let run = AssertUnwindSafe(|| (job.run)(Ok(&mut connection)));
                if turns.working(|| catch_unwind(run)).is_err() {
                    tracing::error!("database read panicked");
                }
            }
        };
        std::thread::Builder::new().name("sqlite-reader".into()).spawn(work).map_err(OpenFileError::Thread)?;
    }
    Ok(())
}
