//! Hearing of other nodes' changes through PostgreSQL.
//!
//! `NOTIFY` only rings the bell; the rows are read from `changes`, and also without a bell every
//! [`POLL`]. Rows are visible in the order of commits, which is not that of their sequence
//! numbers. So each reading begins at the horizon: the oldest transaction that was still running
//! at the reading before, below which nothing new can appear. Rows above it that were already
//! read are skipped.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use tokio::sync::Notify;
use tokio_postgres::AsyncMessage;
use tollgate_core::change::{Change, Operation};
use tollgate_core::error::StoreError;
use uuid::Uuid;

use crate::feed::Feed;
use crate::metrics::Metrics;
use crate::postgres::{Link, Postgres, PostgresSession};
use crate::session::{Parameter, Row, Session};
use crate::statement::Statement;

/// The two databases' statements differ in their parameters, so that neither has the other's.
const READ: Statement = Statement {
    name: "change/since.sql",
    postgres: include_str!("../../../../sql/postgres/change/since.sql"),
    sqlite: "",
};
const LISTEN: &str = include_str!("../../../../sql/postgres/change/listen.sql");
const RING: &str = include_str!("../../../../sql/postgres/change/ring.sql");

/// How long a change is unheard at most when the bell did not ring.
const POLL: Duration = Duration::from_millis(250);
/// Waits between attempts to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Rows of one answer.
const PAGE: i64 = 1000;
/// After so many seconds without a reading, rows may be gone (`change/clean.sql` keeps an hour).
const KEPT: i64 = 3000;

/// Where the reading stands.
pub(crate) struct Cursor {
    origin: Uuid,
    /// Transactions below have ended and were read.
    horizon: u64,
    /// Rows above the horizon that were read, with their transactions.
    seen: BTreeMap<i64, u64>,
    /// The database's clock at the last reading, in seconds.
    read_at: i64,
}

impl Cursor {
    /// Stands behind everything that has been committed.
    pub(crate) async fn now(session: &mut dyn Session, origin: Uuid) -> Result<Self, StoreError> {
        let nothing = Parameter::Text("0");
        let parameters = [nothing, nothing, Parameter::Integer(0), Parameter::Uuid(origin), Parameter::Integer(0)];
        let mut rows = session.rows(&READ, &parameters).await?;
        let row = rows.first_mut().ok_or(NO_HORIZON)?;
        Ok(Self { origin, horizon: transaction(row, 0)?, seen: BTreeMap::new(), read_at: row.integer(1)? })
    }
}

const NO_HORIZON: StoreError = StoreError::Corrupt { kind: "change", what: "the reading has no horizon" };

/// Hears for as long as the store is open.
pub(crate) async fn run(feed: Feed, postgres: Postgres, mut cursor: Cursor, metrics: Metrics) {
    let mut backoff = BACKOFF.0;
    loop {
        let before = cursor.read_at;
        let Err(error) = hear(&feed, &postgres, &mut cursor, &metrics).await;
        metrics.is_down();
        tracing::warn!(error = &error as &dyn std::error::Error, "the change feed is interrupted");
        backoff = if cursor.read_at > before { BACKOFF.0 } else { (backoff * 2).min(BACKOFF.1) };
        tokio::time::sleep(backoff).await;
    }
}

/// Hears until the connection breaks.
async fn hear(
    feed: &Feed,
    postgres: &Postgres,
    cursor: &mut Cursor,
    metrics: &Metrics,
) -> Result<std::convert::Infallible, StoreError> {
    let rung = Arc::new(Notify::new());
    let client = postgres.bounded(connect(postgres, rung.clone())).await?;
    let failed = |error| postgres.error("change/listen.sql", error);
    // A database without LISTEN is polled.
    if let Err(error) = postgres.bounded(async { client.batch_execute(LISTEN).await.map_err(failed) }).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "the database does not ring; it is polled instead");
    }
    loop {
        let mut session = PostgresSession { postgres, link: Link::Client(&client) };
        postgres.bounded(read_all(feed, &mut session, cursor)).await?;
        feed.heard();
        metrics.is_up();
        tokio::select! {
            () = rung.notified() => {}
            () = tokio::time::sleep(POLL) => {}
            () = feed.written_here() => {
                postgres.bounded(async { client.batch_execute(RING).await.map_err(failed) }).await?;
            }
        }
    }
}

async fn connect(postgres: &Postgres, rung: Arc<Notify>) -> Result<ClientWrapper, StoreError> {
    let connector = postgres.connector();
    let connected = connector.pooled().connect(connector.tls()).await;
    let (client, mut connection) = connected.map_err(|error| StoreError::Unavailable(Box::new(error)))?;
    let drive = tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if matches!(message, AsyncMessage::Notification(_)) {
                rung.notify_one();
            }
        }
        // The next statement finds the connection closed: now, not at the next poll.
        rung.notify_one();
    });
    Ok(ClientWrapper::new(client, drive))
}

/// Reads everything that is new and has the listeners act on it.
async fn read_all(feed: &Feed, session: &mut dyn Session, cursor: &mut Cursor) -> Result<(), StoreError> {
    let start = cursor.horizon.to_string();
    let (mut horizon, mut position) = (None, (0, 0));
    loop {
        let after = position.0.to_string();
        let parameters = [
            Parameter::Text(&start),
            Parameter::Text(&after),
            Parameter::Integer(position.1),
            Parameter::Uuid(cursor.origin),
            Parameter::Integer(PAGE),
        ];
        let mut rows = session.rows(&READ, &parameters).await?;
        let first = rows.first_mut().ok_or(NO_HORIZON)?;
        // The horizon of the first page: later pages may see commits that belong before them.
        let (page_horizon, read_at) = (transaction(first, 0)?, first.integer(1)?);
        let horizon = *horizon.get_or_insert(page_horizon);
        rows.retain(|row| !row.is_null(2));
        let full = i64::try_from(rows.len()).is_ok_and(|count| count == PAGE);
        let mut changes = Vec::new();
        for row in &mut rows {
            position = (transaction(row, 2)?, row.integer(3)?);
            if cursor.seen.insert(position.1, position.0).is_none() {
                changes.extend(change(row, 4)?);
            }
        }
        take_in(feed, &changes).await;
        if !full {
            if read_at - cursor.read_at > KEPT {
                feed.require_reset();
            }
            cursor.horizon = horizon;
            cursor.read_at = read_at;
            cursor.seen.retain(|_, transaction| *transaction >= horizon);
            return Ok(());
        }
    }
}

/// Has the listeners act. A failure is theirs, not the feed's: the changes are kept and offered
/// again, and the reading goes on.
pub(super) async fn take_in(feed: &Feed, changes: &[Change]) {
    if changes.is_empty() {
        return;
    }
    if let Err(error) = feed.hear(changes).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "changes of another node could not be acted on yet");
    }
}

/// Kind, operation, id and key from a column on. `None`: an operation of a later version, which
/// cannot be there while the schema is this version's.
pub(super) fn change(row: &mut Row, at: usize) -> Result<Option<Change>, StoreError> {
    let (kind, word) = (row.text(at)?, row.text(at + 1)?);
    let (id, key) = (row.uuid(at + 2)?, row.bytes(at + 3)?);
    Ok(Operation::parse(&word).map(|operation| Change { kind, operation, id, key, document: None }))
}

fn transaction(row: &mut Row, index: usize) -> Result<u64, StoreError> {
    let text = row.text(index)?;
    text.parse().map_err(|_| StoreError::Corrupt { kind: "change", what: "its transaction is not a number" })
}
