//! The store as seen by the composition root.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tollgate_core::collection::{Collection, TagIndex, TagPage, TagPosition};
use tollgate_core::entity::Kind;
use tollgate_core::error::StoreError;

use crate::cleaner::{self, EXPIRED, Job, Sweep};
use crate::collection::Documents;
use crate::database::Database;
use crate::declared_rows::DeclaredRows;
use crate::entity::dependents::{Counters, Dependents, Ended};
use crate::entity::tag;
use crate::feed::{self, Feed};
use crate::kinds::Kinds;
use crate::metrics::Metrics;
use crate::migration::{Location, MigrationError, MigrationId, Migrations};
use crate::options::{MigrationPolicy, Options};
use crate::postgres::{Breaker, Connector, Postgres, UrlError};
use crate::session::Parameter;
use crate::sqlite::{OpenFileError, Sqlite};
use crate::statement;
use crate::statement::Statement;
use crate::transaction::Scope;
use crate::work::{ReadWork, WriteWork};
use crate::writing::{Committed, Writer};

const SHARE: Statement = statement!("setting/share.sql");
const FORGET: Statement = statement!("setting/forget.sql");
const PING: Statement = statement!("setting/ping.sql");

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is invalid.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The embedded database cannot be opened.
    #[error(transparent)]
    File(#[from] OpenFileError),
    /// The database lacks migrations, and the options do not allow applying them now.
    #[error(
        "the database lacks migrations ({}): \
         run `tollgate migrate up --config FILE` with this configuration, or start with `--migrate`",
        .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    Unmigrated(Vec<MigrationId>),
    /// The database is newer than this program, or a migration failed.
    #[error(transparent)]
    Migration(#[from] MigrationError),
    /// The database does not respond.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The metrics could not be created.
    #[error("cannot register store metrics")]
    Metrics(#[from] prometheus::Error),
}

/// Tollgate's storage. Cheap to clone; background tasks end with the last clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    writer: Writer,
    kinds: Kinds,
    declared_rows: Mutex<BTreeMap<&'static str, Arc<dyn DeclaredRows>>>,
    dependents: Counters,
    metrics: Metrics,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        for task in self.tasks.get_mut().unwrap_or_else(PoisonError::into_inner) {
            task.abort();
        }
    }
}

impl Store {
    /// Opens the database. Must be called in the runtime that drives the store: background tasks and writes
    /// run on it, whatever runtime their callers use.
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        let metrics = Metrics::register(&options.metrics)?;
        migrate(&options).await?;
        let database = match Location::parse(&options.url)? {
            Location::Postgres => Database::Postgres(connect(&options, metrics.clone()).await?),
            Location::Sqlite(path) => Database::Sqlite(Sqlite::start(path, &options, metrics.clone())?),
        };
        let kinds = Kinds::default();
        let feed = Feed::new(database.clone(), kinds.clone(), &options, metrics.clone());
        let retention = options.change_retention;
        let writer = Writer { database, feed, clock: options.clock, runtime: Handle::current() };
        let (declared_rows, dependents) = Default::default();
        let inner = Inner { writer, kinds, declared_rows, dependents, metrics, tasks: Mutex::default() };
        let store = Self { inner: Arc::new(inner) };
        store.inner.metrics.watch_outage(store.feed().unheard());
        store.start_feed().await?;
        store.spawn(cleaner::run(store.inner.writer.clone(), Job::changes(retention), store.inner.metrics.clone()));
        store.clean(EXPIRED);
        Ok(store)
    }

    /// The entities of a kind. The store knows the kind from then on: deleting entities that it refers to
    /// cascades, or is refused with the kind's name.
    pub fn documents(&self, kind: Arc<Kind>) -> Arc<dyn Collection> {
        self.inner.kinds.add(kind.clone());
        Arc::new(Documents { kind, store: self.clone() })
    }

    /// Lets declarations add entities of a kind that is kept in tables of a plugin's own.
    pub fn declares_rows(&self, kind: &'static str, rows: Arc<dyn DeclaredRows>) {
        self.inner.declared_rows.lock().unwrap_or_else(PoisonError::into_inner).insert(kind, rows);
    }

    pub(crate) fn declared_rows(&self, kind: &str) -> Option<Arc<dyn DeclaredRows>> {
        self.inner.declared_rows.lock().unwrap_or_else(PoisonError::into_inner).get(kind).cloned()
    }

    /// Has `listener` hear of what ends with entities of a kind that are deleted through a collection, in the task of
    /// whoever deletes them. It must not block.
    pub fn report_dependents(&self, dependents: Dependents, listener: impl Fn(&Ended) + Send + Sync + 'static) {
        self.inner.dependents.add(dependents, Arc::new(listener));
    }

    /// The change feed.
    pub fn feed(&self) -> &Feed {
        &self.inner.writer.feed
    }

    /// Whether the database responds.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let result = self.read((), async |(), session| Ok(session.rows(&PING, &[]).await.map(drop)?)).await;
        match result {
            Ok(()) => self.inner.metrics.mark_up(),
            Err(_) => self.inner.metrics.mark_down(),
        }
        result
    }

    /// Whether the store is away, as far as is known without asking it: calls fail at once, or this node does not hear
    /// of changes.
    pub fn is_away(&self) -> bool {
        let breaker = self.inner.writer.database.breaker();
        breaker.is_some_and(Breaker::is_open) || self.feed().outage().is_some()
    }

    /// A value that all nodes share: the stored one, or else the result of `make`. Nodes that call this
    /// concurrently all get the same value.
    pub async fn secret(&self, name: &str, make: impl FnOnce() -> Vec<u8>) -> Result<Vec<u8>, StoreError> {
        let share = self.statement((name.to_owned(), make()), async |(name, value), tx| {
            let rows = tx.rows(&SHARE, &[Parameter::Text(name), Parameter::Bytes(value)]).await?;
            let missing = StoreError::Corrupt { kind: "setting", what: "it was not returned" };
            Ok(rows.first().ok_or(missing)?.get(0)?)
        });
        share.await
    }

    /// Deletes the shared values whose names are from `first` on and before `end`, byte by byte.
    pub async fn forget_secrets(&self, first: &str, end: &str) -> Result<(), StoreError> {
        let range = (first.to_owned(), end.to_owned());
        let forget = self.statement(range, async |(first, end), tx| {
            tx.execute(&FORGET, &[Parameter::Text(first), Parameter::Text(end)]).await?;
            Ok(())
        });
        forget.await
    }

    /// Sweeps a table until the store is closed.
    pub fn clean(&self, sweep: Sweep) {
        self.spawn(cleaner::run(self.inner.writer.clone(), sweep.into(), self.inner.metrics.clone()));
    }

    /// Sweeps a table once, now, and returns the number of deleted rows.
    pub async fn clean_now(&self, sweep: &Sweep) -> Result<u64, StoreError> {
        cleaner::clean(&self.inner.writer, &(*sweep).into(), &self.inner.metrics).await
    }

    /// Deletes changes that are old enough.
    #[cfg(test)]
    pub(crate) async fn clean_changes(&self, retention: std::time::Duration) -> Result<u64, StoreError> {
        cleaner::clean(&self.inner.writer, &Job::changes(retention), &self.inner.metrics).await
    }

    /// Reads: runs `work`, which must not write, and must await only statements. Each statement sees what is
    /// committed when it begins.
    pub fn read<I, T, F>(&self, input: I, work: F) -> impl Future<Output = Result<T, StoreError>> + Send
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
        F: ReadWork<I, T>,
    {
        self.inner.writer.database.read(input, work)
    }

    /// Reads from a replica that shows every change applied on this node. `None`: no replica does; ask the
    /// primary ([`Store::read`]), as for everything that is not found, since it may have been added a moment ago.
    #[expect(clippy::manual_async_fn, reason = "an async fn cannot declare its future Send")]
    pub fn read_from_replica<I, T, F>(&self, input: I, work: F) -> impl Future<Output = Option<T>> + Send
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
        F: ReadWork<I, T>,
    {
        async move {
            let Database::Postgres(postgres) = &self.inner.writer.database else { return None };
            let replicas = postgres.replicas()?;
            // A node that may have missed changes does not know what a replica must show.
            if !self.feed().is_current() {
                return None;
            }
            replicas.read(input, work).await
        }
    }

    /// Writes: runs `work` in a transaction, which is committed if `work` returns `Ok`, and retried after a
    /// conflict with another transaction (at most ten times). `work` must await only statements.
    ///
    /// - The write runs to completion on the store's runtime, even if the caller is dropped.
    /// - The changes that `work` records ([`Transaction::record`](crate::Transaction::record)) are announced
    ///   before this returns: every listener on this node has applied them. Other nodes read them from the
    ///   table.
    /// - If the outcome is unknown, because the database's response was lost, the error is returned only
    ///   after the node has stopped trusting its caches and has had time to determine the outcome. A write
    ///   that records no change makes no cache stale, so its error is returned at once.
    ///
    /// # Errors
    /// The error of `work`, or of the transaction.
    pub fn transaction<I, T, E, F>(&self, input: I, work: F) -> impl Future<Output = Result<T, E>> + Send
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: WriteWork<I, T, E>,
    {
        let write = self.inner.writer.write(Scope::Transaction, input, work);
        async move { Ok(write.await?.in_force()?) }
    }

    /// The same for a transaction of one statement, which saves two round trips to PostgreSQL: the statement
    /// commits when it ends. So it must record changes that affect caches itself; see
    /// [`Transaction::origin`](crate::Transaction::origin).
    ///
    /// # Errors
    /// As [`Store::transaction`].
    pub fn statement<I, T, E, F>(&self, input: I, work: F) -> impl Future<Output = Result<T, E>> + Send
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: WriteWork<I, T, E>,
    {
        let write = self.statement_committed(input, work);
        async move { Ok(write.await?.in_force()?) }
    }

    /// The same for a write that counts as done once it is committed, whatever the outcome of its
    /// announcement.
    ///
    /// # Errors
    /// The write was not committed, or its outcome is unknown.
    pub fn statement_committed<I, T, E, F>(
        &self,
        input: I,
        work: F,
    ) -> impl Future<Output = Result<Committed<T>, E>> + Send
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: WriteWork<I, T, E>,
    {
        self.inner.writer.write(Scope::Statement, input, work)
    }

    /// Runs a write whose `work` has access to the write's state.
    #[cfg(test)]
    pub(crate) async fn commit<T, E, W>(&self, work: impl FnOnce(Arc<crate::feed::Write>) -> W) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        W: Future<Output = Result<(T, Vec<tollgate_core::change::Change>), E>> + Send + 'static,
    {
        Ok(self.inner.writer.settled(work).await?.in_force()?)
    }

    #[cfg(test)]
    pub(crate) fn database(&self) -> &Database {
        &self.inner.writer.database
    }

    /// The runtime that drives the store, for work that outlives its caller.
    pub fn runtime(&self) -> &Handle {
        &self.inner.writer.runtime
    }

    /// The time by the store's clock, in Unix seconds.
    pub(crate) fn now(&self) -> i64 {
        self.inner.writer.clock.now()
    }

    pub(crate) fn kinds(&self) -> &Kinds {
        &self.inner.kinds
    }

    pub(crate) fn dependents(&self) -> &Counters {
        &self.inner.dependents
    }

    async fn start_feed(&self) -> Result<(), StoreError> {
        let (feed, metrics) = (self.inner.writer.feed.clone(), self.inner.metrics.clone());
        self.spawn(feed.clone().watch());
        match self.inner.writer.database.clone() {
            Database::Postgres(postgres) => {
                self.spawn(postgres.clone().watch());
                let start = self.read((), async |(), session| feed::postgres::Cursor::now(session).await).await?;
                feed.watch_age(&metrics);
                postgres.follow(start.server());
                self.spawn(feed::postgres::run(feed, postgres, start, metrics));
            }
            database @ Database::Sqlite(_) => {
                let last = feed::sqlite::last(&database).await?;
                self.spawn(feed::sqlite::run(feed, database, last, metrics));
            }
        }
        self.inner.metrics.mark_up();
        Ok(())
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let handle = self.inner.writer.runtime.spawn(task).abort_handle();
        self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
    }
}

#[async_trait]
impl TagIndex for Store {
    async fn tags(&self, tag: Option<&str>, after: Option<TagPosition>, size: usize) -> Result<TagPage, StoreError> {
        let input = (tag.map(str::to_owned), after, size, self.now());
        let read = self.read(input, async |(tag, after, size, now), session| {
            tag::page(session, tag.as_deref(), after.as_ref(), *size, *now).await
        });
        read.await
    }
}

async fn connect(options: &Options, metrics: Metrics) -> Result<Postgres, OpenError> {
    let connector = Connector::parse(options)?.with_sessions().await?;
    Ok(Postgres::new(connector, options, metrics)?)
}

async fn migrate(options: &Options) -> Result<(), OpenError> {
    let migrations = Migrations::new(options);
    match options.migration {
        MigrationPolicy::Migrate => {
            migrations.up().await?;
            Ok(())
        }
        MigrationPolicy::Refuse => {
            let status = migrations.status().await?;
            if status.pending.is_empty() { Ok(()) } else { Err(OpenError::Unmigrated(status.pending)) }
        }
    }
}
