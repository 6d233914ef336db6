//! Hearing of other processes' changes through the SQLite file: an import that runs beside the
//! gateway. Sequence numbers are in the order of commits there, so the last one is the cursor.

use std::time::Duration;

use tollgate_core::error::StoreError;
use uuid::Uuid;

use crate::database::Database;
use crate::feed::Feed;
use crate::feed::postgres::{change, take_in};
use crate::metrics::Metrics;
use crate::session::Parameter;
use crate::statement::Statement;

const READ: Statement = Statement {
    name: "change/since.sql",
    postgres: "",
    sqlite: include_str!("../../../../sql/sqlite/change/since.sql"),
};

/// How long a change of another process is unheard at most.
const POLL: Duration = Duration::from_millis(250);
/// Rows of one answer.
const PAGE: i64 = 1000;

/// The last change that there is.
pub(crate) async fn last(database: &Database, origin: Uuid) -> Result<i64, StoreError> {
    let parameters = [Parameter::Integer(i64::MAX), Parameter::Uuid(origin), Parameter::Integer(0)];
    let rows = database.read(move |session| Box::pin(async move { Ok(session.rows(&READ, &parameters).await?) }));
    rows.await?.first().map_or(Ok(0), |row| row.integer(0))
}

/// Hears for as long as the store is open.
pub(crate) async fn run(feed: Feed, database: Database, mut last: i64, metrics: Metrics) {
    loop {
        tokio::time::sleep(POLL).await;
        match read_all(&feed, &database, last).await {
            Ok(read) => {
                last = read;
                metrics.is_up();
            }
            Err(error) => {
                metrics.is_down();
                tracing::warn!(error = &error as &dyn std::error::Error, "the change feed is interrupted");
            }
        }
    }
}

async fn read_all(feed: &Feed, database: &Database, mut last: i64) -> Result<i64, StoreError> {
    loop {
        let parameters = [Parameter::Integer(last), Parameter::Uuid(feed.origin()), Parameter::Integer(PAGE)];
        let rows = database.read(move |session| Box::pin(async move { Ok(session.rows(&READ, &parameters).await?) }));
        let mut rows = rows.await?;
        let newest = rows.first().map_or(Ok(last), |row| row.integer(0))?.max(last);
        rows.retain(|row| !row.is_null(1));
        let mut changes = Vec::new();
        for row in &mut rows {
            last = row.integer(1)?;
            changes.extend(change(row, 2)?);
        }
        take_in(feed, &changes).await;
        if i64::try_from(rows.len()).is_ok_and(|count| count < PAGE) {
            return Ok(newest);
        }
    }
}
