//! A write from its start until its result is returned.

use std::sync::Arc;

use tokio::runtime::Handle;
use tollgate_core::change::Change;
use tollgate_core::clock::Clock;
use tollgate_core::error::StoreError;

use crate::database::Database;
use crate::feed::{Feed, Write};
use crate::transaction::{Begin, Scope};
use crate::work::WriteWork;

/// A committed write.
#[derive(Debug)]
pub struct Committed<T> {
    /// The return value of its work.
    pub value: T,
    /// Whether every listener has applied it. An error: not yet; the changes are retried, and caches are soon
    /// bypassed if that keeps failing.
    pub announced: Result<(), StoreError>,
}

/// Runs writes on the runtime that drives the store. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Writer {
    pub(crate) database: Database,
    pub(crate) feed: Feed,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) runtime: Handle,
}

impl Writer {
    /// Executes a write and announces its recorded changes. Runs to completion even if the caller is dropped.
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

    /// Runs `work`, which commits a write, then announces the changes that it returns, or determines the
    /// outcome.
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
                    write.resolve_outcome().await;
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
    /// The value, unless a listener has not applied the write.
    pub(crate) fn in_force(self) -> Result<T, StoreError> {
        self.announced.map(|()| self.value)
    }
}
