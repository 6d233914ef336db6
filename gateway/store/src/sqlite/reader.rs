//! The reader threads.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rusqlite::Connection;
use tokio::sync::oneshot;
use tollgate_core::error::StoreError;

use crate::sqlite::file::OpenFileError;
use crate::sqlite::queue::{Job, Turns};

/// A read that sends its result to its caller.
pub(super) struct ReaderJob {
    run: Box<Run>,
}

/// Receives the connection, or the reason why the job was refused.
type Run = dyn FnOnce(Result<&mut Connection, StoreError>) + Send;

impl ReaderJob {
    /// Creates a job and the receiver of its result.
    pub(super) fn new<T, E>(
        job: impl FnOnce(&mut Connection) -> Result<T, E> + Send + 'static,
    ) -> (Self, oneshot::Receiver<Result<T, E>>)
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let run = move |connection: Result<&mut Connection, StoreError>| {
            // A caller that has given up needs no result; a refused job must not run.
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

/// Starts one thread per connection.
pub(super) fn start(connections: Vec<Connection>, turns: &Turns<ReaderJob>) -> Result<(), OpenFileError> {
    for mut connection in connections {
        let turns = turns.clone();
        let work = move || {
            while let Some(job) = turns.next() {
                // A panicking job must not end the thread; its caller gets no result.
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
