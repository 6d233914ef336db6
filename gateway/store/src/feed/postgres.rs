//! Reading committed changes from PostgreSQL.
//!
//! `NOTIFY` only says that there is something to read; the rows are read from `changes`, and also without
//! a notification every [`POLL`]. Rows become visible in the order of commits, which is not that of their sequence
//! numbers. So each reading takes a snapshot, and has what this one sees and the one before did
//! not. All that is kept between readings is that snapshot: its length is bounded by the number of
//! transactions that run at the same time, however long they run and whatever is written meanwhile.
//!
//! A server that was started anew, or another one in its place, may lack what was committed last and
//! give its transaction ids to others. Then a snapshot tells nothing any more: everything is
//! forgotten, and the reading begins at that server's own.

use std::collections::HashSet;
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
use crate::row::Row;
use crate::session::{Parameter, Session};
use crate::statement::Statement;

/// The two databases' statements differ in their parameters, so that neither has the other's.
const READ: Statement = Statement {
    name: "change/since.sql",
    postgres: include_str!("../../../../sql/postgres/change/since.sql"),
    sqlite: "",
};
const LISTEN: &str = include_str!("../../../../sql/postgres/change/listen.sql");
const NOTIFY: &str = include_str!("../../../../sql/postgres/change/notify.sql");

/// How long a change is unread at most without a notification.
const POLL: Duration = Duration::from_millis(250);
/// Waits between attempts to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Rows of one page.
const PAGE: i64 = 1000;
/// After so many seconds without a reading, rows may be gone (`change/clean.sql` keeps an hour).
const KEPT: i64 = 3000;

/// Where the reading stands.
pub(crate) struct Cursor {
    /// What this snapshot sees was read.
    snapshot: String,
    /// The reading that is under way: one that was interrupted goes on where it was.
    reading: Option<Reading>,
    /// When the snapshot was taken, by the database's clock, in seconds.
    read_at: i64,
    /// When the server was started.
    server: i64,
}

/// A reading of several pages.
struct Reading {
    number: u64,
    /// What it reads up to; empty before its first page.
    snapshot: String,
    /// Transaction and sequence number of its last row.
    position: (u64, i64),
    read_at: i64,
    /// Writes of this node whose rows need not be acted on.
    announced: HashSet<Uuid>,
}

/// What every page says, whether it has rows or not.
struct Head {
    snapshot: String,
    time: i64,
    server: i64,
}

impl Cursor {
    /// Stands behind everything that has been committed.
    pub(crate) async fn now(session: &mut dyn Session) -> Result<Self, StoreError> {
        let (head, _) = page(session, NOTHING, "", (0, 0), 0).await?;
        Ok(Self { snapshot: head.snapshot, reading: None, read_at: head.time, server: head.server })
    }
}

/// A snapshot that sees nothing.
const NOTHING: &str = "1:1:";

/// Reads for as long as the store is open.
pub(crate) async fn run(feed: Feed, postgres: Postgres, mut cursor: Cursor, metrics: Metrics) {
    let mut backoff = BACKOFF.0;
    loop {
        let before = cursor.read_at;
        let Err(error) = follow(&feed, &postgres, &mut cursor, &metrics).await;
        metrics.is_down();
        tracing::warn!(error = &error as &dyn std::error::Error, "change feed interrupted; reconnecting");
        backoff = if cursor.read_at > before { BACKOFF.0 } else { (backoff * 2).min(BACKOFF.1) };
        tokio::time::sleep(backoff).await;
    }
}

/// Reads until the connection breaks.
async fn follow(
    feed: &Feed,
    postgres: &Postgres,
    cursor: &mut Cursor,
    metrics: &Metrics,
) -> Result<std::convert::Infallible, StoreError> {
    let notified = Arc::new(Notify::new());
    let client = postgres.bounded(connect(postgres, notified.clone())).await?;
    let failed = |error| postgres.error("change/listen.sql", error);
    if let Err(error) = postgres.bounded(async { client.batch_execute(LISTEN).await.map_err(failed) }).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "LISTEN unavailable; polling for changes");
    }
    loop {
        let mut session = PostgresSession { postgres, link: Link::Client { client: &client, write: None } };
        read_all(feed, &mut session, cursor).await?;
        metrics.is_up();
        tokio::select! {
            () = notified.notified() => {}
            () = feed.reading_is_wanted() => {}
            () = tokio::time::sleep(POLL) => {}
            () = feed.written_here() => {
                postgres.bounded(async { client.batch_execute(NOTIFY).await.map_err(failed) }).await?;
            }
        }
    }
}

async fn connect(postgres: &Postgres, notified: Arc<Notify>) -> Result<ClientWrapper, StoreError> {
    let connector = postgres.connector();
    let connected = connector.feed().connect(connector.tls()).await;
    let (client, mut connection) = connected.map_err(|error| StoreError::Unavailable(Box::new(error)))?;
    let drive = tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if matches!(message, AsyncMessage::Notification(_)) {
                notified.notify_one();
            }
        }
        // The next statement finds the connection closed: now, not at the next poll.
        notified.notify_one();
    });
    Ok(ClientWrapper::new(client, drive))
}

/// Reads everything that is new and has the listeners act on it.
async fn read_all(feed: &Feed, session: &mut PostgresSession<'_>, cursor: &mut Cursor) -> Result<(), StoreError> {
    let postgres = session.postgres;
    loop {
        let Cursor { snapshot, reading, .. } = &mut *cursor;
        let reading = reading.get_or_insert_with(|| Reading::begin(feed));
        let read = page(session, snapshot, &reading.snapshot, reading.position, PAGE);
        let (head, rows) = postgres.bounded(read).await?;
        if cursor.is_of_another(&head) {
            match cursor.reading.take() {
                Some(reading) if reading.snapshot.is_empty() => return cursor.start_over(feed, reading, head).await,
                // It went on where it was, so this is not a snapshot of that server.
                _ => continue,
            }
        }
        let Some(reading) = &mut cursor.reading else { continue };
        if reading.snapshot.is_empty() {
            (reading.snapshot, reading.read_at) = (head.snapshot, head.time);
        }
        let full = i64::try_from(rows.len()).is_ok_and(|count| count == PAGE);
        let mut changes = Vec::new();
        for row in &rows {
            reading.position = (transaction(row, ROW)?, row.get(ROW + 1)?);
            changes.extend(unannounced(feed, &reading.announced, row, ROW + 2)?);
        }
        take_in(feed, &changes).await;
        if !full {
            return cursor.finish(feed, head.time).await;
        }
    }
}

impl Reading {
    fn begin(feed: &Feed) -> Self {
        // In this order: a write that is announced now is in the snapshot that is taken next.
        let (number, announced) = (feed.reading_begins(), feed.take_announced());
        Self { number, snapshot: String::new(), position: (0, 0), read_at: 0, announced }
    }
}

impl Cursor {
    /// As if another server had been there before.
    #[cfg(test)]
    pub(crate) fn of_another_server(self) -> Self {
        Self { server: self.server - 1, ..self }
    }

    /// Whether a page came from another server than the readings before, or from one that has lost
    /// transactions.
    fn is_of_another(&self, head: &Head) -> bool {
        head.server != self.server || next_id(&head.snapshot) < next_id(&self.snapshot)
    }

    /// Forgets everything, and stands behind what that server has committed.
    async fn start_over(&mut self, feed: &Feed, reading: Reading, head: Head) -> Result<(), StoreError> {
        tracing::warn!("database server restarted or replaced; clearing all caches");
        *self = Self { snapshot: head.snapshot, reading: None, read_at: head.time, server: head.server };
        feed.reset().await?;
        feed.reading_ends(reading.number);
        Ok(())
    }

    /// Everything up to the snapshot of the reading was read.
    async fn finish(&mut self, feed: &Feed, now: i64) -> Result<(), StoreError> {
        let Some(reading) = self.reading.take() else { return Ok(()) };
        let gap = now - self.read_at;
        (self.snapshot, self.read_at) = (reading.snapshot, reading.read_at);
        if gap > KEPT {
            feed.reset().await?;
        }
        feed.reading_ends(reading.number);
        Ok(())
    }
}

/// Where a row of changes begins, behind what every row says.
const ROW: usize = 4;

/// The id that the next transaction would have got when a snapshot was taken.
fn next_id(snapshot: &str) -> Option<u64> {
    snapshot.split(':').nth(1)?.parse().ok()
}

/// One page of what `snapshot` sees and `before` did not; an empty `snapshot` takes one.
async fn page(
    session: &mut dyn Session,
    before: &str,
    snapshot: &str,
    position: (u64, i64),
    size: i64,
) -> Result<(Head, Vec<Row>), StoreError> {
    // Transactions that `before` saw running have lower ids than those that began after it.
    let next = next_id(before).unwrap_or(1);
    let began_later = position.max((next.saturating_sub(1), i64::MAX));
    let (was_running, began_later_in) = (position.0.to_string(), began_later.0.to_string());
    let parameters = [
        Parameter::Text(before),
        Parameter::Text(snapshot),
        Parameter::Text(&was_running),
        Parameter::Integer(position.1),
        Parameter::Text(&began_later_in),
        Parameter::Integer(began_later.1),
        Parameter::Integer(size),
    ];
    let mut rows = session.rows(&READ, &parameters).await?;
    let nothing = StoreError::Corrupt { kind: "change", what: "the reading has no snapshot" };
    let first = rows.first().ok_or(nothing)?;
    let head = Head { snapshot: first.get(0)?, time: first.get(1)?, server: first.get(2)? };
    if first.get::<i64>(3)? != 0 {
        // It does not know which of the primary's transactions are running.
        return Err(StoreError::Unavailable("the database is a standby, and not the primary".into()));
    }
    rows.retain(|row| !row.is_null(ROW));
    Ok((head, rows))
}

/// Has the listeners act. A failure is theirs, not the feed's: the changes are kept and offered
/// again, and the reading goes on.
pub(super) async fn take_in(feed: &Feed, changes: &[Change]) {
    if changes.is_empty() {
        return;
    }
    if let Err(error) = feed.receive(changes).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "cannot apply changes; retrying");
    }
}

/// The change of a row from a column on: kind, operation, id, key, origin. `None`: it was announced;
/// or it has an operation of a later version, which cannot be there while the schema is this
/// version's.
pub(super) fn unannounced(
    feed: &Feed,
    announced: &HashSet<Uuid>,
    row: &Row,
    at: usize,
) -> Result<Option<Change>, StoreError> {
    let write = row.get(at + 4)?;
    if announced.contains(&write) || feed.is_announced(write) {
        return Ok(None);
    }
    let (kind, word): (_, String) = (row.get(at)?, row.get(at + 1)?);
    let (id, key) = (row.get(at + 2)?, row.get(at + 3)?);
    Ok(Operation::parse(&word).map(|operation| Change { kind, operation, id, key, document: None }))
}

fn transaction(row: &Row, index: usize) -> Result<u64, StoreError> {
    let text: String = row.get(index)?;
    text.parse().map_err(|_| StoreError::Corrupt { kind: "change", what: "its transaction is not a number" })
}
