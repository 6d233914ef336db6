//! The database of the store, and the two ways to use it: reading and writing. Operations are written once,
//! against [`Session`](crate::session::Session).

use std::sync::Arc;

use futures::FutureExt;
use tollgate_core::change::Change;
use tollgate_core::error::StoreError;

use crate::failure::Abort;
use crate::feed::Write;
use crate::postgres::{Breaker, Link, Object, Postgres, PostgresSession};
use crate::sqlite::{Sqlite, SqliteSession};
use crate::transaction::{Begin, Scope, Transaction};
use crate::work::{ReadWork, WriteWork};

/// How often a transaction is retried after a conflict with another one.
const ATTEMPTS: usize = 10;

/// One of the two databases. Cheap to clone.
#[derive(Clone)]
pub(crate) enum Database {
    /// PostgreSQL, which several nodes may share.
    Postgres(Postgres),
    /// SQLite, for one node.
    Sqlite(Sqlite),
}

impl Database {
    /// The breaker in front of it. SQLite needs none: it is not away.
    pub(crate) fn breaker(&self) -> Option<&Breaker> {
        match self {
            Self::Postgres(postgres) => Some(postgres.breaker()),
            Self::Sqlite(_) => None,
        }
    }

    /// Runs `work`, which must not write.
    #[expect(clippy::manual_async_fn, reason = "an async fn cannot declare its future Send")]
    pub(crate) fn read<I, T, F>(&self, input: I, work: F) -> impl Future<Output = Result<T, StoreError>> + Send
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
        F: ReadWork<I, T>,
    {
        async move {
            match self {
                Self::Postgres(postgres) => {
                    let client = postgres.client().await?;
                    let link = Link::Client { client: &client, write: None };
                    let result = postgres.within(work.run(&input, &mut PostgresSession { postgres, link })).await;
                    let result = result.unwrap_or_else(|stuck| {
                        close(client);
                        Err(stuck)
                    });
                    match result {
                        Ok(value) => Ok(value),
                        Err(error) => Err(postgres.explained(error).await),
                    }
                }
                Self::Sqlite(sqlite) => {
                    let job = move |connection: &mut _| at_once(work.run(&input, &mut SqliteSession(connection)));
                    sqlite.read(job).await
                }
            }
        }
    }

    /// Runs `work` in a transaction, and retries it after a conflict with another transaction. It is
    /// committed if `work` returns `Ok`, together with the changes that it recorded. `write` tracks whether
    /// the outcome of a transaction that records changes is unknown.
    #[expect(clippy::manual_async_fn, reason = "an async fn cannot declare its future Send")]
    pub(crate) fn write<I, T, E, F>(
        &self,
        write: &Arc<Write>,
        begin: Begin,
        input: I,
        work: F,
    ) -> impl Future<Output = Result<(T, Vec<Change>), E>> + Send
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: WriteWork<I, T, E>,
    {
        async move {
            let job = Arc::new((input, work));
            let mut attempts = 1;
            loop {
                let result = match self {
                    Self::Postgres(postgres) => write_to_postgres(postgres, write, begin, &job.0, &job.1).await,
                    Self::Sqlite(sqlite) => {
                        let (job, author) = (Arc::clone(&job), Arc::clone(write));
                        let job = move |connection: &mut _| {
                            let (mut session, mut changes) = (SqliteSession(connection), Vec::new());
                            let mut transaction = Transaction::new(begin, &mut session, &author, &mut changes);
                            let value = at_once(job.1.run(&job.0, &mut transaction))?;
                            Ok((value, changes))
                        };
                        sqlite.write(Some(write), job).await
                    }
                };
                match result {
                    Ok(value) => return Ok(value),
                    Err(Abort::Refused(error)) => return Err(error),
                    Err(Abort::Retry(error)) if attempts == ATTEMPTS => return Err(error.into()),
                    Err(Abort::Retry(_)) => attempts += 1,
                }
            }
        }
    }
}

async fn write_to_postgres<I, T, E, F>(
    postgres: &Postgres,
    write: &Write,
    begin: Begin,
    input: &I,
    work: &F,
) -> Result<(T, Vec<Change>), Abort<E>>
where
    I: Sync,
    T: Send,
    E: From<StoreError> + Send,
    F: WriteWork<I, T, E>,
{
    let mut client = postgres.client().await?;
    let mut changes = Vec::new();
    let result = match begin.scope {
        Scope::Statement => {
            let mut session = PostgresSession { postgres, link: Link::Client { client: &client, write: Some(write) } };
            let mut transaction = Transaction::new(begin, &mut session, write, &mut changes);
            postgres.within(work.run(input, &mut transaction)).await
        }
        Scope::Transaction => {
            let whole = async {
                let failed = |error| Abort::from(postgres.error("BEGIN", error));
                let begun = postgres.begin(&mut client).await.map_err(failed)?;
                let mut session = PostgresSession { postgres, link: Link::Transaction(&begun) };
                let mut transaction = Transaction::new(begin, &mut session, write, &mut changes);
                // Dropping the transaction rolls it back.
                let value = work.run(input, &mut transaction).await?;
                commit(postgres, write, begun).await?;
                Ok(value)
            };
            postgres.within(whole).await
        }
    };
    match result {
        Ok(result) => Ok((result?, changes)),
        Err(stuck) => {
            close(client);
            Err(stuck.into())
        }
    }
}

async fn commit(
    postgres: &Postgres,
    write: &Write,
    begun: deadpool_postgres::Transaction<'_>,
) -> Result<(), StoreError> {
    write.before_commit();
    let committed = begun.commit().await.inspect_err(|error| Postgres::note_refusal(write, error));
    committed.map_err(|error| postgres.error("COMMIT", error))
}

/// Closes a connection whose statement timed out and may still be running, instead of returning it to the
/// pool.
fn close(client: Object) {
    drop(Object::take(client));
}

/// The result of work on SQLite: its session never waits, so the first poll completes it.
fn at_once<T, E: From<StoreError>>(work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let stuck = || Err(StoreError::Corrupt { kind: "session", what: "work on SQLite waited" }.into());
    work.now_or_never().unwrap_or_else(stuck)
}
