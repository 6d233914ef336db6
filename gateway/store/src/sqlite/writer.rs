//! The thread that writes, and its group commit.
//!
//! A commit waits for the disk; everything else does not. So jobs that wait together run in one
//! transaction, each in a savepoint that is undone when the job fails, and return together
//! after the commit. When the commit fails, all of them are told so.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::oneshot;
use tollgate_core::error::StoreError;

use crate::sqlite::Sqlite;
use crate::sqlite::file::OpenFileError;
use crate::sqlite::queue::{Job, Turns};

/// At most this many jobs share a commit, so that the first of them does not wait for long.
const BATCH: usize = 256;

/// Tells a job's caller the result once it is known whether the batch was committed.
type Reply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// What a job's caller is told.
pub(super) struct Done<T, E> {
    pub(super) result: Result<T, E>,
    pub(super) outcome: Outcome,
}

/// Whether it is known what became of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is committed, or nothing of it is.
    Known,
    /// The commit failed: whether anything of it has reached the disk, only reading tells.
    Unknown,
}

/// What became of a job inside the transaction.
enum Ran {
    /// Its writes are to be committed.
    Keep(Reply),
    /// It failed: its writes are to be undone.
    Undo(Reply),
}

/// Something to write.
pub(super) struct WriterJob {
    run: Box<dyn FnOnce(&mut Connection) -> Ran + Send>,
    refuse: Box<dyn FnOnce(StoreError) + Send>,
}

impl WriterJob {
    /// The job, and where its result arrives.
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

/// Nobody listens any more when the caller was dropped; the write stands all the same.
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
                // The transaction is in an unknown state: nothing of it may be committed.
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

/// Runs one job. The error is that of the transaction, not the job's.
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
