//! PostgreSQL: a pool with a hard cap and a limit on every wait.
//!
//! Statements are prepared once per connection, unless a pooler shares the sessions (`sessions`). The server cancels a statement that runs too long
//! (`statement_timeout`); [`Postgres::within`] and TCP keepalives detect a server that does not respond at
//! all. Queues are bounded: a caller that waits too long for a connection gets an error. While the database is away,
//! nobody waits ([`Breaker`]).

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool::Runtime;
use deadpool::managed::{TimeoutType, Timeouts};
use deadpool_postgres::Transaction;
use tokio_postgres::error::{Severity, SqlState};
use tollgate_core::error::{BreakerOpen, StoreError};

use crate::feed::Write;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::statement;
use crate::statement::Statement;
pub(crate) use breaker::{Breaker, spread};
pub(crate) use connection::Connector;
pub use connection::UrlError;
use hosts::ConnectError;
pub(crate) use hosts::Connected;
pub(crate) use pool::Object;
pub(crate) use replica::Replicas;
pub(crate) use session::{Link, PostgresSession, column};
pub(crate) use sessions::Sessions;

mod breaker;
mod connection;
mod hosts;
mod pool;
mod position;
mod primary;
mod replica;
mod session;
mod sessions;
mod value;

/// How many callers may wait for a connection: more would not get one in time.
const MOST_WAITING: usize = 1024;

const PING: Statement = statement!("setting/ping.sql");

type PoolError = deadpool::managed::PoolError<ConnectError>;

/// A pool of connections to PostgreSQL. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Postgres {
    inner: Arc<Inner>,
}

struct Inner {
    pool: pool::Pool,
    connector: Connector,
    acquire_timeout: Duration,
    statement_timeout: Duration,
    breaker: Breaker,
    metrics: Metrics,
    replicas: Option<Replicas>,
}

impl Postgres {
    /// Creates the pool; connections are opened on demand.
    pub(crate) fn new(connector: Connector, options: &Options, metrics: Metrics) -> Result<Self, UrlError> {
        let replicas = Replicas::new(options, &metrics)?;
        let postgres = Self::with(connector, options, metrics, replicas)?;
        let pool = postgres.inner.pool.clone();
        postgres.inner.metrics.watch_pool(move || pool.status());
        Ok(postgres)
    }

    fn with(
        connector: Connector,
        options: &Options,
        metrics: Metrics,
        replicas: Option<Replicas>,
    ) -> Result<Self, UrlError> {
        let pool = pool::Pool::builder(pool::Connections { connector: connector.clone() })
            .max_size(options.max_connections.max(1))
            .wait_timeout(Some(options.acquire_timeout))
            .create_timeout(Some(options.acquire_timeout))
            .recycle_timeout(Some(options.acquire_timeout))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|_| UrlError::NoRuntime)?;
        Ok(Self {
            inner: Arc::new(Inner {
                pool,
                connector,
                acquire_timeout: options.acquire_timeout,
                statement_timeout: options.statement_timeout,
                breaker: Breaker::new(metrics.clone()),
                metrics,
                replicas,
            }),
        })
    }

    /// A connection, returned to the pool on drop. Waits at most for the acquire timeout, and not at all while the
    /// database is away.
    pub(crate) async fn client(&self) -> Result<Object, StoreError> {
        self.inner.breaker.admit().await?;
        match self.pooled().await {
            // Nothing was sent yet: if the probe finds the database, another attempt is due.
            Err(StoreError::Unavailable(_)) => {
                self.inner.breaker.admit().await?;
                self.pooled().await
            }
            other => other,
        }
    }

    /// A connection, whatever the breaker says: to a replica, which is not waited for.
    async fn unguarded(&self) -> Result<Object, StoreError> {
        self.inner.pool.get().await.map_err(|error| StoreError::Unavailable(Box::new(error)))
    }

    async fn pooled(&self) -> Result<Object, StoreError> {
        let started = Instant::now();
        if self.inner.pool.status().waiting >= MOST_WAITING {
            return Err(StoreError::Busy(Duration::ZERO));
        }
        let client = tokio::select! {
            biased;
            client = self.inner.pool.get() => client,
            () = self.inner.breaker.opened() => return Err(BreakerOpen.into()),
        };
        self.inner.metrics.waited(started.elapsed());
        client.map_err(|error| self.no_connection(error))
    }

    /// Why there is no connection.
    fn no_connection(&self, error: PoolError) -> StoreError {
        match error {
            PoolError::Timeout(TimeoutType::Wait) => return StoreError::Busy(self.inner.acquire_timeout),
            // Others respond: there are fewer of them than the pool may have.
            PoolError::Backend(error)
                if error.code() == Some(&SqlState::TOO_MANY_CONNECTIONS) && self.inner.pool.status().size > 0 =>
            {
                tracing::debug!(%error, "no further store connection");
                return StoreError::Busy(Duration::ZERO);
            }
            _ => {}
        }
        self.inner.breaker.suspect();
        match error {
            PoolError::Timeout(_) => StoreError::Timeout(self.inner.acquire_timeout),
            PoolError::Backend(error) => StoreError::Unavailable(Box::new(error)),
            other => StoreError::Unavailable(Box::new(other)),
        }
    }

    /// The breaker in front of the database.
    pub(crate) fn breaker(&self) -> &Breaker {
        &self.inner.breaker
    }

    /// Probes the database whenever it is suspected to be away, until the store is closed.
    pub(crate) async fn watch(self) {
        self.inner.breaker.run(|| self.probe()).await;
    }

    /// Whether the database responds to a statement: on a connection of the pool, or on one of its own if all of
    /// those are in use.
    async fn probe(&self) -> Result<(), StoreError> {
        let Inner { pool, connector, acquire_timeout, breaker, .. } = &*self.inner;
        if breaker.is_silent() {
            // They may never hear from the database again.
            pool.retain(|_, _| false);
        }
        let limit = Some(*acquire_timeout);
        let at_once = Timeouts { wait: Some(Duration::ZERO), create: limit, recycle: limit };
        let client = match pool.timeout_get(&at_once).await {
            Ok(client) => client,
            Err(PoolError::Timeout(TimeoutType::Wait)) => return self.probe_alone().await,
            // The pool waits for the change feed to move to another server, and the feed for this probe.
            Err(PoolError::Backend(ref error)) if error.is_not_followed() => return self.probe_alone().await,
            Err(PoolError::Backend(_) | PoolError::Timeout(_)) if connector.primary().is_one_of_several() => {
                return self.probe_alone().await;
            }
            Err(PoolError::Timeout(_)) => return Err(StoreError::Timeout(*acquire_timeout)),
            Err(error) => return Err(StoreError::Unavailable(Box::new(error))),
        };
        // A connection that was just made has run a statement: each one more is a round trip, which may be slow.
        if Object::metrics(&client).recycle_count == 0 {
            return Ok(());
        }
        match tokio::time::timeout(*acquire_timeout, client.batch_execute(PING.postgres)).await {
            Ok(Ok(())) => Ok(()),
            // Only this connection may have ended, a moment ago.
            Ok(Err(_)) => {
                drop(Object::take(client));
                self.probe_alone().await
            }
            Err(_) => {
                drop(Object::take(client));
                Err(StoreError::Timeout(*acquire_timeout))
            }
        }
    }

    /// On a connection of its own, which runs a statement while it is made.
    async fn probe_alone(&self) -> Result<(), StoreError> {
        let limit = self.inner.acquire_timeout * 2;
        let connected = tokio::time::timeout(limit, self.inner.connector.connect_as_pooled()).await;
        let connected = connected.map_err(|_| StoreError::Timeout(limit))?;
        connected.map(drop).map_err(|error| StoreError::Unavailable(Box::new(error)))
    }

    /// Converts a driver's error. `statement` is the file in `sql/`.
    pub(crate) fn error(&self, statement: &'static str, error: tokio_postgres::Error) -> StoreError {
        if error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION)
            && self.inner.connector.primary().refused_a_write()
        {
            tracing::warn!(statement, "database server refuses writes; looking for the primary");
            self.close_earlier();
        }
        match error.code() {
            Some(code) if *code == SqlState::QUERY_CANCELED || *code == SqlState::LOCK_NOT_AVAILABLE => {
                StoreError::Timeout(self.inner.statement_timeout)
            }
            Some(code) if says_away(code) => {
                self.inner.breaker.suspect();
                StoreError::Unavailable(Box::new(error))
            }
            Some(code) if says_unavailable(code) => StoreError::Unavailable(Box::new(error)),
            Some(_) => StoreError::Statement { statement, source: Box::new(error) },
            None if error.is_closed() || is_io(&error) => {
                self.inner.breaker.suspect();
                StoreError::Unavailable(Box::new(error))
            }
            None => StoreError::Statement { statement, source: Box::new(error) },
        }
    }

    /// The error of a call, once it is clear whether the database is away: then the breaker has reported it.
    pub(crate) async fn explained(&self, error: StoreError) -> StoreError {
        let is_connection = matches!(error, StoreError::Unavailable(_) | StoreError::Timeout(_));
        match self.inner.breaker.admit().await {
            Err(open) if is_connection => open.into(),
            _ => error,
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
    /// unless it is unreachable, and the breaker releases them when it finds that. An error means that `work` did not end in time, and its client must not be
    /// used again.
    pub(crate) async fn within<W: Future>(&self, work: W) -> Result<W::Output, StoreError> {
        let limit = self.inner.statement_timeout * 2;
        tokio::select! {
            biased;
            done = tokio::time::timeout(limit, work) => done.map_err(|_| {
                self.inner.breaker.suspect();
                StoreError::Timeout(limit)
            }),
            () = self.inner.breaker.silent() => Err(BreakerOpen.into()),
        }
    }

    /// The same for work that can fail with a store error.
    pub(crate) async fn bounded<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        self.within(work).await?
    }

    /// Who uses the sessions of the connections.
    pub(crate) fn sessions(&self) -> Sessions {
        self.inner.connector.sessions()
    }

    /// Begins a transaction, with its limits if the session does not have them.
    pub(crate) async fn begin<'c>(&self, client: &'c mut Object) -> Result<Transaction<'c>, tokio_postgres::Error> {
        let transaction = client.transaction().await?;
        if self.sessions() == Sessions::Shared {
            transaction.batch_execute(&self.inner.connector.transaction_limits()).await?;
        }
        Ok(transaction)
    }

    /// The change feed reads the server that was started at this time: connections to another one are not used
    /// again.
    pub(crate) fn follow(&self, server: i64) {
        if self.inner.connector.primary().follow(server) {
            self.close_earlier();
        }
    }

    /// The replicas, if there are any.
    pub(crate) fn replicas(&self) -> Option<&Replicas> {
        self.inner.replicas.as_ref()
    }

    /// Closes idle connections of earlier epochs; the others are closed when they are returned.
    fn close_earlier(&self) {
        let epoch = self.inner.connector.primary().epoch();
        self.inner.pool.retain(|connection, _| connection.is_of_epoch(epoch));
    }

    /// Waits until there is a sign that the change feed no longer reads the primary.
    pub(crate) async fn suspected(&self) {
        self.inner.connector.primary().suspected().await;
    }

    /// The connector, for connections outside the pool.
    pub(crate) fn connector(&self) -> &Connector {
        &self.inner.connector
    }
}

/// Class 08 (connection) and 57P (shutdown, crash, starting up): the connection is of no more use, and perhaps no
/// other is.
fn says_away(code: &SqlState) -> bool {
    ["08", "57P"].iter().any(|class| code.code().starts_with(class))
}

/// Class 53 (memory, disk full) and a database that is read-only: it is currently unavailable to such statements, and
/// to no others.
fn says_unavailable(code: &SqlState) -> bool {
    code.code().starts_with("53") || *code == SqlState::READ_ONLY_SQL_TRANSACTION
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    error.source().is_some_and(|source| source.is::<std::io::Error>())
}
