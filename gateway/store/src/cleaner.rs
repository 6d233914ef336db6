//! Deletes expired rows in small batches.

use std::time::Duration;

use tollgate_core::error::StoreError;

use crate::failure::Abort;
use crate::metrics::Metrics;
use crate::session::Parameter;
use crate::statement;
use crate::statement::Statement;
use crate::transaction::Scope;
use crate::writing::Writer;

/// Rows per statement: few enough that it holds its locks only for milliseconds.
const BATCH: i64 = 1000;

/// Which rows are deleted from a table.
#[derive(Debug, Clone, Copy)]
pub struct Sweep {
    /// The table, for the metric.
    pub table: &'static str,
    /// Deletes old rows: its first parameter is the current time in Unix seconds, its second the maximum
    /// number of rows.
    pub statement: Statement,
    /// The time between sweeps.
    pub interval: Duration,
}

/// A sweep, and how long its rows are kept if its statement asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job {
    sweep: Sweep,
    /// Its third parameter, in seconds.
    kept: Option<i64>,
}

impl From<Sweep> for Job {
    fn from(sweep: Sweep) -> Self {
        Self { sweep, kept: None }
    }
}

impl Job {
    /// Changes that every node has read long ago.
    pub(crate) fn changes(retention: Duration) -> Self {
        let statement = statement!("change/clean.sql");
        let sweep = Sweep { table: "changes", statement, interval: Duration::from_secs(60) };
        Self { sweep, kept: Some(i64::try_from(retention.as_secs()).unwrap_or(i64::MAX)) }
    }
}

/// Entities whose `ttl` has expired.
pub(crate) const EXPIRED: Sweep =
    Sweep { table: "entities", statement: statement!("entity/sweep.sql"), interval: Duration::from_secs(60) };

/// Sweeps until the store is closed.
pub(crate) async fn run(writer: Writer, job: Job, metrics: Metrics) {
    let Sweep { table, interval, .. } = job.sweep;
    loop {
        tokio::time::sleep(interval).await;
        if let Err(error) = clean(&writer, &job, &metrics).await
            && !error.is_reported()
        {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, table, "cannot delete expired rows; retrying at the next sweep");
        }
    }
}

/// Deletes batches until one is not full. Returns the number of deleted rows.
pub(crate) async fn clean(writer: &Writer, job: &Job, metrics: &Metrics) -> Result<u64, StoreError> {
    let now = writer.clock.now();
    let mut total = 0;
    loop {
        let delete = writer.write(Scope::Statement, (*job, now), async |(job, now), tx| {
            let mut parameters = vec![Parameter::Integer(*now), Parameter::Integer(BATCH)];
            parameters.extend(job.kept.map(Parameter::Integer));
            Ok::<_, Abort>(tx.execute(&job.sweep.statement, &parameters).await?)
        });
        let rows = delete.await?.in_force()?;
        metrics.deleted(job.sweep.table, rows);
        total += rows;
        if i64::try_from(rows).unwrap_or(i64::MAX) < BATCH {
            return Ok(total);
        }
    }
}
