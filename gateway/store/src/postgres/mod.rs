//! PostgreSQL: a pool with a hard cap, and bounds on every wait.
//!
//! Statements are prepared once a connection. The server ends a statement that runs too long
//! (`statement_timeout`); a server that does not respond at all is noticed by [`Postgres::within`]
//! and by TCP keepalives. There are no unbounded queues: who waits too long for a connection is
//! refused.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, TimeoutType};
use tokio_postgres::error::{Severity, SqlState};
use tollgate_core::error::StoreError;

use crate::feed::Write;
use crate::metrics::Metrics;
use crate::options::Options;
pub(crate) use connection::Connector;
pub use connection::UrlError;
pub(crate) use session::{Link, PostgresSession, column};

mod connection;
mod session;

/// A pool of connections to PostgreSQL. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Postgres {
    inner: Arc<Inner>,
}

struct Inner {
    pool: Pool,
    connector: Connector,
    acquire_timeout: Duration,
    statement_timeout: Duration,
    metrics: Metrics,
}

impl Postgres {
    /// Makes the pool; connections are opened when they are needed.
    pub(crate) fn new(options: &Options, metrics: Metrics) -> Result<Self, UrlError> {
        let connector = Connector::parse(options)?;
        let manager_config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(connector.pooled().clone(), connector.tls(), manager_config);
        let pool = Pool::builder(manager)
            .max_size(options.max_connections.max(1))
            .wait_timeout(Some(options.acquire_timeout))
            .create_timeout(Some(options.acquire_timeout))
            .recycle_timeout(Some(options.acquire_timeout))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|_| UrlError::NoRuntime)?;
        metrics.watch_pool(pool.clone());
        Ok(Self {
            inner: Arc::new(Inner {
                pool,
                connector,
                acquire_timeout: options.acquire_timeout,
                statement_timeout: options.statement_timeout,
                metrics,
            }),
        })
    }

    /// A connection; it goes back to the pool when dropped. Waits at most the acquire timeout.
    pub(crate) async fn client(&self) -> Result<Object, StoreError> {
        let started = Instant::now();
        let client = self.inner.pool.get().await;
        self.inner.metrics.waited(started.elapsed());
        client.map_err(|error| match error {
            PoolError::Timeout(TimeoutType::Wait) => StoreError::Busy(self.inner.acquire_timeout),
            PoolError::Timeout(_) => StoreError::Timeout(self.inner.acquire_timeout),
            PoolError::Backend(error) => StoreError::Unavailable(Box::new(error)),
            other => StoreError::Unavailable(Box::new(other)),
        })
    }

    /// What a driver's error means. `statement` is the file in `sql/`.
    pub(crate) fn error(&self, statement: &'static str, error: tokio_postgres::Error) -> StoreError {
        match error.code() {
            Some(code) if *code == SqlState::QUERY_CANCELED || *code == SqlState::LOCK_NOT_AVAILABLE => {
                StoreError::Timeout(self.inner.statement_timeout)
            }
            Some(code) if says_unavailable(code) => StoreError::Unavailable(Box::new(error)),
            Some(_) => StoreError::Statement { statement, source: Box::new(error) },
            None if error.is_closed() || is_io(&error) => StoreError::Unavailable(Box::new(error)),
            None => StoreError::Statement { statement, source: Box::new(error) },
        }
    }

    /// Tells a write that was sent, and has failed with this error, whether the server refused it. An
    /// error that ends the connection is no refusal: it may have come behind the commit, and a pooler
    /// sends one when it loses the server.
    pub(crate) fn note_refusal(write: &Write, error: &tokio_postgres::Error) {
        let refused = error.as_db_error().is_some_and(|error| {
            error.parsed_severity() == Some(Severity::Error) && !error.code().code().starts_with("08")
        });
        if refused {
            write.is_refused();
        }
    }

    /// Gives the statements in `work` twice the statement timeout; the server itself ends them after
    /// one, unless it cannot be reached. An error: `work` did not end in time, and the client that it
    /// used must not be used again.
    pub(crate) async fn within<W: Future>(&self, work: W) -> Result<W::Output, StoreError> {
        let limit = self.inner.statement_timeout * 2;
        tokio::time::timeout(limit, work).await.map_err(|_| StoreError::Timeout(limit))
    }

    /// The same for work that can fail with the store.
    pub(crate) async fn bounded<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        self.within(work).await?
    }

    /// How connections are made, for those outside the pool.
    pub(crate) fn connector(&self) -> &Connector {
        &self.inner.connector
    }
}

/// Class 08 (connection), 57P (shutdown, crash, starting up), 53 (too many connections, disk
/// full) and a primary that became a standby: the server cannot work now.
fn says_unavailable(code: &SqlState) -> bool {
    let code = code.code();
    ["08", "57P", "53"].iter().any(|class| code.starts_with(class))
        || code == SqlState::READ_ONLY_SQL_TRANSACTION.code()
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    error.source().is_some_and(|source| source.is::<std::io::Error>())
}
