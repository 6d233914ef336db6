//! The store as the composition root sees it.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tollgate_core::change::Change;
use tollgate_core::clock::Clock;
use tollgate_core::collection::{Collection, TagIndex, TagPage, TagPosition};
use tollgate_core::entity::Kind;
use tollgate_core::error::StoreError;

use crate::cleaner::{self, CHANGES, Sweep};
use crate::collection::Documents;
use crate::database::Database;
use crate::entity::tag;
use crate::feed::{self, Feed, Write};
use crate::kinds::Kinds;
use crate::metrics::Metrics;
use crate::migration::{Location, MigrationError, MigrationId, Migrations};
use crate::options::{MigrationPolicy, Options};
use crate::postgres::{Postgres, UrlError};
use crate::session::Parameter;
use crate::sqlite::{OpenFileError, Sqlite};
use crate::statement;
use crate::statement::Statement;

const SHARE: Statement = statement!("setting/share.sql");
const PING: Statement = statement!("setting/ping.sql");

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is no good.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The embedded database cannot be opened.
    #[error(transparent)]
    File(#[from] OpenFileError),
    /// The database lacks migrations, and nobody said that they may be applied now.
    #[error(
        "the database lacks migrations ({}): \
         run `tollgate migrate up --config FILE` with this configuration, or start with `--migrate`",
        .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    Unmigrated(Vec<MigrationId>),
    /// The database is newer than this program, or a migration failed.
    #[error(transparent)]
    Migration(#[from] MigrationError),
    /// The database does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The metrics could not be made.
    #[error("the store's metrics cannot be registered")]
    Metrics(#[from] prometheus::Error),
}

/// Where Tollgate keeps its state. Cheap to clone; background tasks end with the last clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    database: Database,
    feed: Feed,
    kinds: Kinds,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    runtime: Handle,
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
    /// Opens the database. Must be called in the runtime that is to drive the store: background
    /// tasks and writes run on it, whichever runtime their callers are on.
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        let metrics = Metrics::register(&options.metrics)?;
        migrate(&options).await?;
        let database = match Location::parse(&options.url)? {
            Location::Postgres => Database::Postgres(Postgres::new(&options, metrics.clone())?),
            Location::Sqlite(path) => Database::Sqlite(Sqlite::start(path, &options, metrics.clone())?),
        };
        let kinds = Kinds::default();
        let feed = Feed::new(database.clone(), kinds.clone(), &options);
        let inner = Inner {
            database,
            feed,
            kinds,
            clock: options.clock,
            metrics,
            runtime: Handle::current(),
            tasks: Mutex::default(),
        };
        let store = Self { inner: Arc::new(inner) };
        store.start_feed().await?;
        store.clean(CHANGES);
        Ok(store)
    }

    /// The entities of a kind. The kind is known to the store from then on: deleting what it
    /// refers to cascades or is refused by name.
    pub fn documents(&self, kind: Arc<Kind>) -> Arc<dyn Collection> {
        self.inner.kinds.add(kind.clone());
        Arc::new(Documents { kind, store: self.clone() })
    }

    /// The database itself, for plugins with tables of their own.
    pub fn database(&self) -> &Database {
        &self.inner.database
    }

    /// The change feed.
    pub fn feed(&self) -> &Feed {
        &self.inner.feed
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let asked =
            self.inner.database.read(|session| Box::pin(async move { Ok(session.rows(&PING, &[]).await.map(drop)?) }));
        let result = asked.await;
        match result {
            Ok(()) => self.inner.metrics.is_up(),
            Err(_) => self.inner.metrics.is_down(),
        }
        result
    }

    /// A value that all nodes share: the one that is kept under the name, or else what `make`
    /// makes. Of nodes that ask at the same time, all get the same value.
    pub async fn secret(&self, name: &str, make: impl FnOnce() -> Vec<u8>) -> Result<Vec<u8>, StoreError> {
        let (name, value) = (name.to_owned(), make());
        let shared = self.inner.database.write(move |session| {
            let (name, value) = (name.clone(), value.clone());
            Box::pin(async move {
                let rows = session.rows(&SHARE, &[Parameter::Text(&name), Parameter::Bytes(&value)]).await?;
                let missing = StoreError::Corrupt { kind: "setting", what: "it was not returned" };
                let mut row = rows.into_iter().next().ok_or(missing)?;
                Ok(row.bytes(0)?)
            })
        });
        shared.await.map_err(cleaner::store_error)
    }

    /// Sweeps a table for as long as the store is open.
    pub fn clean(&self, sweep: Sweep) {
        let (database, clock) = (self.inner.database.clone(), self.inner.clock.clone());
        self.spawn(cleaner::run(database, sweep, clock, self.inner.metrics.clone()));
    }

    /// Sweeps a table once, now, and returns how many rows went.
    pub async fn clean_now(&self, sweep: &Sweep) -> Result<u64, StoreError> {
        cleaner::clean(&self.inner.database, sweep, self.inner.clock.now(), &self.inner.metrics).await
    }

    /// Carries out a write of this node: runs `work`, which commits and returns what it has changed
    /// with its value, and announces that before it returns. Runs to its end on the store's runtime,
    /// even when the caller is dropped. When the outcome of a write is unknown (see [`Write`]), the
    /// error is returned only when the node trusts nothing that it knows, and has had time to find out.
    pub async fn commit<T, E, F>(&self, work: impl FnOnce(Arc<Write>) -> F + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: Future<Output = Result<(T, Vec<Change>), E>> + Send + 'static,
    {
        let (value, announced) = self.commit_first(work).await?;
        announced?;
        Ok(value)
    }

    /// The same for a write that counts as done although its announcement failed: the value, and
    /// what became of the announcement.
    pub async fn commit_first<T, E, F>(
        &self,
        work: impl FnOnce(Arc<Write>) -> F + Send + 'static,
    ) -> Result<(T, Result<(), StoreError>), E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: Future<Output = Result<(T, Vec<Change>), E>> + Send + 'static,
    {
        let write = Arc::new(self.inner.feed.begin());
        let whole = async move {
            match work(Arc::clone(&write)).await {
                Ok((value, changes)) => Ok((value, write.announce(&changes).await)),
                Err(error) => {
                    write.find_out().await;
                    Err(error)
                }
            }
        };
        let done = self.inner.runtime.spawn(whole).await;
        done.unwrap_or_else(|error| Err(StoreError::Unavailable(Box::new(error)).into()))
    }

    /// The runtime that drives the store, for work that outlives its caller.
    pub fn runtime(&self) -> &Handle {
        &self.inner.runtime
    }

    pub(crate) fn kinds(&self) -> &Kinds {
        &self.inner.kinds
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        self.inner.clock.as_ref()
    }

    async fn start_feed(&self) -> Result<(), StoreError> {
        let (feed, metrics) = (self.inner.feed.clone(), self.inner.metrics.clone());
        self.spawn(feed.clone().watch());
        match self.inner.database.clone() {
            Database::Postgres(postgres) => {
                let start = self.inner.database.read(|session| Box::pin(feed::postgres::Cursor::now(session)));
                self.spawn(feed::postgres::run(feed, postgres, start.await?, metrics));
            }
            database @ Database::Sqlite(_) => {
                let last = feed::sqlite::last(&database).await?;
                self.spawn(feed::sqlite::run(feed, database, last, metrics));
            }
        }
        self.inner.metrics.is_up();
        Ok(())
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let handle = self.inner.runtime.spawn(task).abort_handle();
        self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
    }
}

#[async_trait]
impl TagIndex for Store {
    async fn tags(&self, tag: Option<&str>, after: Option<TagPosition>, size: usize) -> Result<TagPage, StoreError> {
        let tag = tag.map(str::to_owned);
        let page = self.inner.database.read(move |session| {
            Box::pin(async move { tag::page(session, tag.as_deref(), after.as_ref(), size).await })
        });
        page.await
    }
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
