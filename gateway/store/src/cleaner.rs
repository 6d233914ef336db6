//! Removing rows that nobody needs any more, a few at a time.

use std::time::Duration;

use tollgate_core::error::StoreError;

use crate::failure::Abort;
use crate::metrics::Metrics;
use crate::session::Parameter;
use crate::statement;
use crate::statement::Statement;
use crate::transaction::Scope;
use crate::writing::Writer;

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

/// Changes that every node has long read.
pub(crate) const CHANGES: Sweep =
    Sweep { table: "changes", statement: statement!("change/clean.sql"), interval: Duration::from_secs(60) };

/// Entities whose `ttl` is over.
pub(crate) const EXPIRED: Sweep =
    Sweep { table: "entities", statement: statement!("entity/sweep.sql"), interval: Duration::from_secs(60) };

/// Sweeps for as long as the store is open.
pub(crate) async fn run(writer: Writer, sweep: Sweep, metrics: Metrics) {
    loop {
        tokio::time::sleep(sweep.interval).await;
        if let Err(error) = clean(&writer, &sweep, &metrics).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, table = sweep.table, "cannot delete expired rows; retrying at the next sweep");
        }
    }
}

/// Deletes batches until one is not full. Returns how many rows went.
pub(crate) async fn clean(writer: &Writer, sweep: &Sweep, metrics: &Metrics) -> Result<u64, StoreError> {
    let now = writer.clock.now();
    let mut total = 0;
    loop {
        let delete = writer.write(Scope::Statement, (sweep.statement, now), async |(statement, now), tx| {
            let parameters = [Parameter::Integer(*now), Parameter::Integer(BATCH)];
            Ok::<_, Abort>(tx.execute(statement, &parameters).await?)
        });
        let rows = delete.await?.in_force()?;
        metrics.deleted(sweep.table, rows);
        total += rows;
        if i64::try_from(rows).unwrap_or(i64::MAX) < BATCH {
            return Ok(total);
        }
    }
}
