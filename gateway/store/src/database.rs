//! The database behind the store, and the two ways in which the store itself works with it.
//!
//! Plugins take the variant and write their own statements for it. What the store does is written
//! once against [`Session`]: see [`Database::read`] and [`Database::write`].

use deadpool_postgres::Object;
use futures::FutureExt;
use futures::future::BoxFuture;
use tollgate_core::error::{DaoError, StoreError};

use crate::feed::Write;
use crate::postgres::{Link, Postgres, PostgresSession};
use crate::session::{Abort, Session};
use crate::sqlite::{Sqlite, SqliteSession};

/// How often a transaction is begun again when another one was in its way.
const ATTEMPTS: usize = 10;

/// One of the two databases. Cheap to clone.
#[derive(Clone)]
pub enum Database {
    /// PostgreSQL, which several nodes may share.
    Postgres(Postgres),
    /// SQLite, for one node.
    Sqlite(Sqlite),
}

/// What is done with a session.
pub(crate) type Work<'s, T, E> = BoxFuture<'s, Result<T, E>>;

impl Database {
    /// Runs `work`, which does not write.
    pub(crate) async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'s> FnOnce(&'s mut dyn Session) -> Work<'s, T, StoreError> + Send + 'static,
    {
        match self {
            Self::Postgres(postgres) => {
                let client = postgres.client().await?;
                let result =
                    postgres.bounded(work(&mut PostgresSession { postgres, link: Link::Client(&client) })).await;
                discard_if_stuck(client, result.as_ref().err());
                result
            }
            Self::Sqlite(sqlite) => {
                sqlite.read_mut(move |connection| at_once(work(&mut SqliteSession(connection)))).await
            }
        }
    }

    /// Runs `work` in a transaction, again from its beginning when another transaction was in its
    /// way. Committed when it returns `Ok`. For what no cache knows of; see [`Database::commit`].
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T, DaoError>
    where
        T: Send + 'static,
        F: for<'s> Fn(&'s mut dyn Session) -> Work<'s, T, Abort> + Clone + Send + Sync + 'static,
    {
        self.run(None, work).await
    }

    /// The same for a write that is announced: it is told while its outcome is unknown.
    pub(crate) async fn commit<T, F>(&self, write: &Write, work: F) -> Result<T, DaoError>
    where
        T: Send + 'static,
        F: for<'s> Fn(&'s mut dyn Session) -> Work<'s, T, Abort> + Clone + Send + Sync + 'static,
    {
        self.run(Some(write), work).await
    }

    async fn run<T, F>(&self, write: Option<&Write>, work: F) -> Result<T, DaoError>
    where
        T: Send + 'static,
        F: for<'s> Fn(&'s mut dyn Session) -> Work<'s, T, Abort> + Clone + Send + Sync + 'static,
    {
        let mut attempts = 1;
        loop {
            let result = match self {
                Self::Postgres(postgres) => postgres_transaction(postgres, write, &work).await,
                Self::Sqlite(sqlite) => {
                    let work = work.clone();
                    sqlite.write_mut(write, move |connection| at_once(work(&mut SqliteSession(connection)))).await
                }
            };
            match result {
                Ok(value) => return Ok(value),
                Err(Abort::Refused(error)) => return Err(error),
                Err(Abort::Again(error)) if attempts == ATTEMPTS => return Err(error.into()),
                Err(Abort::Again(_)) => attempts += 1,
            }
        }
    }
}

async fn postgres_transaction<T, F>(postgres: &Postgres, write: Option<&Write>, work: &F) -> Result<T, Abort>
where
    F: for<'s> Fn(&'s mut dyn Session) -> Work<'s, T, Abort>,
{
    let mut client = postgres.client().await?;
    let run = async {
        let failed = |error| Abort::from(postgres.error("BEGIN/COMMIT", error));
        let transaction = client.transaction().await.map_err(failed)?;
        // Dropping the transaction rolls it back.
        let value = work(&mut PostgresSession { postgres, link: Link::Transaction(&transaction) }).await?;
        if let Some(write) = write {
            write.is_sent();
        }
        transaction.commit().await.map_err(|error| {
            Postgres::note_refusal(write, &error);
            failed(error)
        })?;
        Ok(value)
    };
    let result = postgres.bounded(run).await;
    let failure = match &result {
        Err(Abort::Refused(DaoError::Store(error)) | Abort::Again(error)) => Some(error),
        _ => None,
    };
    discard_if_stuck(client, failure);
    result
}

/// A connection on which a statement timed out may still be running it: it is closed instead of
/// being given to the next caller.
fn discard_if_stuck(client: Object, failure: Option<&StoreError>) {
    if matches!(failure, Some(StoreError::Timeout(_))) {
        drop(Object::take(client));
    }
}

/// The result of work on SQLite: its session never waits, so the first poll is the last.
fn at_once<T, E: From<StoreError>>(work: Work<'_, T, E>) -> Result<T, E> {
    let stuck = || Err(StoreError::Corrupt { kind: "session", what: "work on SQLite waited" }.into());
    work.now_or_never().unwrap_or_else(stuck)
}
