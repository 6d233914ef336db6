//! PostgreSQL: a pool with a hard cap and a limit on every wait.
//!
//! Statements are prepared once per connection. The server cancels a statement that runs too long
//! (`statement_timeout`); [`Postgres::within`] and TCP keepalives detect a server that does not respond at
//! all. Queues are bounded: a caller that waits too long for a connection gets an error.

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
    /// Creates the pool; connections are opened on demand.
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

    /// A connection, returned to the pool on drop. Waits at most for the acquire timeout.
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

    /// Converts a driver's error. `statement` is the file in `sql/`.
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

    /// Marks a write that was sent and failed with this error as refused, if the server refused it. An error
    /// that ends the connection is not a refusal: it may have been sent after the commit, and a connection
    /// pooler sends one when it loses the server.
    pub(crate) fn note_refusal(write: &Write, error: &tokio_postgres::Error) {
        let refused = error.as_db_error().is_some_and(|error| {
            error.parsed_severity() == Some(Severity::Error) && !error.code().code().starts_with("08")
        });
        if refused {
            write.mark_refused();
        }
    }

    /// Allows the statements in `work` twice the statement timeout; the server itself cancels them after one,
    /// unless it is unreachable. An error means that `work` did not end in time, and its client must not be
    /// used again.
    pub(crate) async fn within<W: Future>(&self, work: W) -> Result<W::Output, StoreError> {
        let limit = self.inner.statement_timeout * 2;
        tokio::time::timeout(limit, work).await.map_err(|_| StoreError::Timeout(limit))
    }

    /// The same for work that can fail with a store error.
    pub(crate) async fn bounded<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        self.within(work).await?
    }

    /// The connector, for connections outside the pool.
    pub(crate) fn connector(&self) -> &Connector {
        &self.inner.connector
    }
}

/// Class 08 (connection), 57P (shutdown, crash, starting up), 53 (too many connections, disk full) and a
/// primary that became a standby: the server is currently unavailable.
fn says_unavailable(code: &SqlState) -> bool {
    let code = code.code();
    ["08", "57P", "53"].iter().any(|class| code.starts_with(class))
        || code == SqlState::READ_ONLY_SQL_TRANSACTION.code()
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    error.source().is_some_and(|source| source.is::<std::io::Error>())
}
