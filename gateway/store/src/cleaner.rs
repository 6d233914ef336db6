//! Removing rows that nobody needs any more, a few at a time.

use std::sync::Arc;
use std::time::Duration;

use tollgate_core::clock::Clock;
use tollgate_core::error::StoreError;

use crate::database::Database;
use crate::metrics::Metrics;
use crate::session::Parameter;
use crate::statement;
use crate::statement::Statement;

/// Rows of one statement: few enough that it holds its locks for milliseconds.
const BATCH: i64 = 1000;

/// What is removed from a table.
#[derive(Debug, Clone, Copy)]
pub struct Sweep {
    /// The table, for the metric.
    pub table: &'static str,
    /// Deletes old rows: its first parameter is now in Unix seconds, its second how many rows at most.
    pub statement: Statement,
    /// How long to wait between sweeps.
    pub interval: Duration,
}

/// Changes that every node has long heard.
pub(crate) const CHANGES: Sweep =
    Sweep { table: "changes", statement: statement!("change/clean.sql"), interval: Duration::from_secs(60) };

/// Sweeps for as long as the store is open.
pub(crate) async fn run(database: Database, sweep: Sweep, clock: Arc<dyn Clock>, metrics: Metrics) {
    loop {
        tokio::time::sleep(sweep.interval).await;
        if let Err(error) = clean(&database, &sweep, clock.now(), &metrics).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, table = sweep.table, "old rows could not be removed; the next sweep tries again");
        }
    }
}

/// Deletes batches until one is not full. Returns how many rows went.
pub(crate) async fn clean(database: &Database, sweep: &Sweep, now: i64, metrics: &Metrics) -> Result<u64, StoreError> {
    let mut total = 0;
    loop {
        let statement = sweep.statement;
        let deleted = database.write(move |session| {
            Box::pin(async move {
                Ok(session.execute(&statement, &[Parameter::Integer(now), Parameter::Integer(BATCH)]).await?)
            })
        });
        let rows = deleted.await.map_err(store_error)?;
        metrics.deleted(sweep.table, rows);
        total += rows;
        if i64::try_from(rows).unwrap_or(i64::MAX) < BATCH {
            return Ok(total);
        }
    }
}

/// A statement that is no entity's can fail only with the store.
pub(crate) fn store_error(error: tollgate_core::error::DaoError) -> StoreError {
    match error {
        tollgate_core::error::DaoError::Store(error) => error,
        other => StoreError::Unavailable(Box::new(other)),
    }
}
