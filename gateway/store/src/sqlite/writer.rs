//! The writer thread and its group commit.
//!
//! Only a commit waits for the disk. So jobs that wait together run in one transaction, each in a savepoint
//! that is rolled back if the job fails, and return together after the commit. If the commit fails, all of
//! them get the error.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::oneshot;
use tollgate_core::error::StoreError;

use crate::sqlite::Sqlite;
use crate::sqlite::file::OpenFileError;
use crate::sqlite::queue::{Job, Turns};

/// The maximum number of jobs per commit, so that the first of them does not wait too long.
const BATCH: usize = 256;

/// Sends the result to a job's caller once the outcome of the batch is known.
type Reply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// The result that a job's caller receives.
pub(super) struct Done<T, E> {
    pub(super) result: Result<T, E>,
    pub(super) outcome: Outcome,
}

/// Whether the outcome of a job is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All of it is committed, or nothing.
    Known,
    /// The commit failed: only reading shows whether it has reached the disk.
    Unknown,
}

/// The result of a job inside the transaction.
enum Ran {
    /// Its writes will be committed.
    Keep(Reply),
    /// It failed: its writes will be rolled back.
    Undo(Reply),
}

/// A write.
pub(super) struct WriterJob {
    run: Box<dyn FnOnce(&mut Connection) -> Ran + Send>,
    refuse: Box<dyn FnOnce(StoreError) + Send>,
}

impl WriterJob {
    /// Creates a job and the receiver of its result.
    pub(super) fn new<T, E>(
        job: impl FnOnce(&mut Connection) -> Result<T, E> + Send + 'static,
    ) -> (Self, oneshot::Receiver<Done<T, E>>)
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        // Either the job runs or it is refused; both need the channel.
        let sender = Arc::new(std::sync::Mutex::new(Some(sender)));
        let refusal = sender.clone();
        let run = move |connection: &mut Connection| {
            let result = job(connection);
            let keep = result.is_ok();
            let reply: Reply = Box::new(move |committed| {
                let outcome = if committed.is_ok() { Outcome::Known } else { Outcome::Unknown };
                send(&sender, Done { result: committed.map_err(E::from).and(result), outcome });
            });
            if keep { Ran::Keep(reply) } else { Ran::Undo(reply) }
        };
        let refused = |error| Done { result: Err(E::from(error)), outcome: Outcome::Known };
        let refuse = move |error| send(&refusal, refused(error));
        (Self { run: Box::new(run), refuse: Box::new(refuse) }, receiver)
    }
}

type Slot<T, E> = std::sync::Mutex<Option<oneshot::Sender<Done<T, E>>>>;

/// The caller may have been dropped; the write stands nevertheless.
fn send<T, E>(slot: &Slot<T, E>, done: Done<T, E>) {
    let sender = slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    if let Some(sender) = sender {
        let _ = sender.send(done);
    }
}

impl Job for WriterJob {
    fn refuse(self, error: StoreError) {
        (self.refuse)(error);
    }
}

/// Starts the thread.
pub(super) fn start(mut connection: Connection, turns: Turns<WriterJob>) -> Result<(), OpenFileError> {
    let work = move || {
        while let Some(first) = turns.next() {
            turns.working(|| commit_together(&mut connection, first, &turns));
        }
    };
    std::thread::Builder::new().name("sqlite-writer".into()).spawn(work).map_err(OpenFileError::Thread)?;
    Ok(())
}

fn commit_together(connection: &mut Connection, first: WriterJob, turns: &Turns<WriterJob>) {
    if let Err(error) = connection.execute_batch("BEGIN IMMEDIATE") {
        first.refuse(Sqlite::error("BEGIN", error));
        return;
    }
    let mut replies = Vec::new();
    let mut next = Some(first);
    let mut whole = Ok(());
    while let Some(job) = next {
        match run_in_savepoint(connection, job) {
            Ok(reply) => replies.extend(reply),
            Err(error) => {
                // The transaction is in an unknown state: it must not be committed.
                whole = Err(error);
                break;
            }
        }
        next = if replies.len() < BATCH { turns.next_ready() } else { None };
    }
    let end = if whole.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let outcome = whole.and(connection.execute_batch(end));
    if outcome.is_err() && !connection.is_autocommit() {
        let _ = connection.execute_batch("ROLLBACK");
    }
    let failure = outcome.err().map(Arc::new);
    for reply in replies {
        reply(failure.as_ref().map_or(Ok(()), |error| Err(StoreError::Unavailable(Box::new(error.clone())))));
    }
}

/// Runs one job. The error is the transaction's, not the job's.
fn run_in_savepoint(connection: &mut Connection, job: WriterJob) -> Result<Option<Reply>, rusqlite::Error> {
    connection.execute_batch("SAVEPOINT job")?;
    let ran = catch_unwind(AssertUnwindSafe(|| (job.run)(connection)));
    let reply = match ran {
        Ok(Ran::Keep(reply)) => {
            connection.execute_batch("RELEASE job")?;
            return Ok(Some(reply));
        }
        Ok(Ran::Undo(reply)) => Some(reply),
        Err(_) => {
            tracing::error!("database write panicked");
            None
        }
    };
    connection.execute_batch("ROLLBACK TO job; RELEASE job")?;
    Ok(reply)
}
