//! Reads committed changes from the SQLite file: those of other processes, such as an import that runs
//! alongside the gateway, and those of this process whose outcome it never learnt. Sequence numbers are in
//! commit order there, so the last one is the cursor.

use std::time::Duration;

use tollgate_core::error::StoreError;

use crate::database::Database;
use crate::feed::Feed;
use crate::feed::postgres::{take_in, unannounced};
use crate::metrics::Metrics;
use crate::row::Row;
use crate::session::Parameter;
use crate::statement::Statement;

const READ: Statement = Statement {
    name: "change/since.sql",
    postgres: "",
    sqlite: include_str!("../../../../sql/sqlite/change/since.sql"),
};

/// How long a change of another process can stay unread.
const POLL: Duration = Duration::from_millis(250);
/// Rows per page.
const PAGE: i64 = 1000;

/// The number of the last change.
pub(crate) async fn last(database: &Database) -> Result<i64, StoreError> {
    page(database, i64::MAX, 0).await?.first().map_or(Ok(0), |row| row.get(0))
}

/// Reads until the store is closed.
pub(crate) async fn run(feed: Feed, database: Database, mut last: i64, metrics: Metrics) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            () = feed.reading_is_wanted() => {}
        }
        match read_all(&feed, &database, &mut last).await {
            Ok(()) => metrics.mark_up(),
            Err(error) => {
                metrics.mark_down();
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot read the change feed; retrying");
            }
        }
    }
}

async fn read_all(feed: &Feed, database: &Database, last: &mut i64) -> Result<(), StoreError> {
    // In this order: a write announced now is included in the next read.
    let (number, announced) = (feed.reading_begins(), feed.take_announced());
    loop {
        let mut rows = page(database, *last, PAGE).await?;
        let newest = rows.first().map_or(Ok(*last), |row| row.get(0))?;
        rows.retain(|row| !row.is_null(1));
        let next = rows.first().map_or(Ok(newest + 1), |row| row.get(1))?;
        if next > *last + 1 {
            // Rows were deleted before they were read: this process was suspended for an hour.
            *last = next - 1;
            feed.reset().await?;
        }
        let mut changes = Vec::new();
        for row in &rows {
            *last = row.get(1)?;
            changes.extend(unannounced(feed, &announced, row, 2)?);
        }
        take_in(feed, &changes).await;
        if i64::try_from(rows.len()).is_ok_and(|count| count < PAGE) {
            feed.reading_ends(number);
            return Ok(());
        }
    }
}

async fn page(database: &Database, after: i64, size: i64) -> Result<Vec<Row>, StoreError> {
    let parameters = [Parameter::Integer(after), Parameter::Integer(size)];
    database.read(parameters, async |parameters, session| Ok(session.rows(&READ, parameters).await?)).await
}
