//! A write from its beginning until its caller is told.

use std::sync::Arc;

use tokio::runtime::Handle;
use tollgate_core::change::Change;
use tollgate_core::clock::Clock;
use tollgate_core::error::StoreError;

use crate::database::Database;
use crate::feed::{Feed, Write};
use crate::transaction::{Begin, Scope};
use crate::work::WriteWork;

/// A write that is committed.
#[derive(Debug)]
pub struct Committed<T> {
    /// What its work returned.
    pub value: T,
    /// Whether every listener has acted on it. An error: not yet; the changes are offered to them again,
    /// and soon no cache is trusted while they fail.
    pub announced: Result<(), StoreError>,
}

/// Writes, on the runtime that drives the store. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Writer {
    pub(crate) database: Database,
    pub(crate) feed: Feed,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) runtime: Handle,
}

impl Writer {
    /// Carries out a write and announces what it has recorded as changed. Runs to its end even when the
    /// caller is dropped.
    pub(crate) fn write<I, T, E, F>(
        &self,
        scope: Scope,
        input: I,
        work: F,
    ) -> impl Future<Output = Result<Committed<T>, E>> + Send
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: WriteWork<I, T, E>,
    {
        let (database, begin) = (self.database.clone(), Begin { scope, now: self.clock.now() });
        self.settled(move |write| async move { database.write(&write, begin, input, work).await })
    }

    /// Has `work` commit a write, then announces what it returns as changed, or finds out what became of
    /// it.
    pub(crate) fn settled<T, E, W>(
        &self,
        work: impl FnOnce(Arc<Write>) -> W,
    ) -> impl Future<Output = Result<Committed<T>, E>> + Send
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        W: Future<Output = Result<(T, Vec<Change>), E>> + Send + 'static,
    {
        let write = Arc::new(self.feed.begin());
        let result = work(Arc::clone(&write));
        let whole = async move {
            match result.await {
                Ok((value, changes)) => Ok(Committed { value, announced: write.announce(&changes).await }),
                Err(error) => {
                    write.find_out().await;
                    Err(error)
                }
            }
        };
        async move {
            let done = self.runtime.spawn(whole).await;
            done.unwrap_or_else(|error| Err(StoreError::Unavailable(Box::new(error)).into()))
        }
    }
}

impl<T> Committed<T> {
    /// The value, unless listeners have yet to act.
    pub(crate) fn in_force(self) -> Result<T, StoreError> {
        self.announced.map(|()| self.value)
    }
}
