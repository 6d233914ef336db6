//! Reads committed changes from PostgreSQL.
//!
//! `NOTIFY` only signals that there is something to read; the rows are read from `changes`, even without a
//! notification every [`POLL`]. Rows become visible in commit order, which differs from that of their
//! sequence numbers. So each reading takes a snapshot, and returns the rows that this snapshot sees and the
//! previous one did not. Only the snapshot is kept between readings: its size is bounded by the number of
//! concurrent transactions, however long they run and whatever is written meanwhile.
//!
//! A server that was restarted, or replaced, may have lost the last commits and reuse their transaction ids.
//! The old snapshot is meaningless then: all caches are cleared, and reading begins at that server's current
//! snapshot.

use std::collections::HashSet;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_postgres::ClientWrapper;
use tokio::sync::Notify;
use tokio_postgres::AsyncMessage;
use tollgate_core::change::{Change, Operation};
use tollgate_core::error::StoreError;
use uuid::Uuid;

use crate::feed::Feed;
use crate::feed::lag::Asked;
use crate::metrics::Metrics;
use crate::postgres::{Connected, Link, Postgres, PostgresSession, Sessions, spread};
use crate::row::Row;
use crate::session::{Parameter, Session};
use crate::statement::Statement;

/// The two databases' statements take different parameters, so each has only its own.
const READ: Statement = Statement {
    name: "change/since.sql",
    postgres: include_str!("../../../../sql/postgres/change/since.sql"),
    sqlite: "",
};
/// Only PostgreSQL has replicas.
const POSITION: Statement = Statement {
    name: "change/position.sql",
    postgres: include_str!("../../../../sql/postgres/change/position.sql"),
    sqlite: "",
};
const MARK_SERVER: Statement = Statement {
    name: "change/mark_server.sql",
    postgres: include_str!("../../../../sql/postgres/change/mark_server.sql"),
    sqlite: "",
};
const LISTEN: &str = include_str!("../../../../sql/postgres/change/listen.sql");
const NOTIFY: &str = include_str!("../../../../sql/postgres/change/notify.sql");

/// How long a change can stay unread without a notification.
const POLL: Duration = Duration::from_millis(250);
/// The same where there are no notifications.
const POLL_ALONE: Duration = Duration::from_millis(50);
/// Minimum and maximum wait between attempts to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Rows per page.
const PAGE: i64 = 1000;

/// The position of the reader.
pub(crate) struct Cursor {
    /// Everything that this snapshot sees was read.
    snapshot: String,
    /// The current reading: if it is interrupted, it continues from here.
    reading: Option<Reading>,
    /// A time just before the snapshot was taken, by the database's clock, in microseconds.
    read_at: i64,
    /// When the server was started.
    server: i64,
}

/// A reading of several pages.
struct Reading {
    number: u64,
    /// The snapshot that it reads; empty before its first page.
    snapshot: String,
    /// Transaction and sequence number of its last row.
    position: (u64, i64),
    read_at: i64,
    /// Writes of this node whose rows need not be applied.
    announced: HashSet<Uuid>,
    /// How many writes of this node were announced when it began: see `postgres/position.rs`.
    covers: u64,
}

/// The columns common to all rows of a page; present even without changes.
struct Head {
    snapshot: String,
    /// Before the page was read, in microseconds.
    time: i64,
    server: i64,
}

impl Cursor {
    /// Positions the cursor after everything that has been committed.
    pub(crate) async fn now(session: &mut dyn Session) -> Result<Self, StoreError> {
        let (head, _) = page(session, NOTHING, "", (0, 0), 0).await?;
        Ok(Self { snapshot: head.snapshot, reading: None, read_at: head.time, server: head.server })
    }
}

/// A snapshot that sees nothing.
const NOTHING: &str = "1:1:";

/// Reads until the store is closed.
pub(crate) async fn run(feed: Feed, postgres: Postgres, mut cursor: Cursor, metrics: Metrics) {
    let mut backoff = BACKOFF.0;
    loop {
        let before = cursor.read_at;
        let Err(error) = follow(&feed, &postgres, &mut cursor, &metrics).await;
        metrics.mark_down();
        let is_new = feed.mark_unheard(&error);
        if is_new {
            postgres.breaker().suspect();
        }
        if is_new && !error.is_reported() {
            tracing::warn!(error = &error as &dyn std::error::Error, "change feed interrupted; reconnecting");
        }
        backoff = if cursor.read_at > before { BACKOFF.0 } else { (backoff * 2).min(BACKOFF.1) };
        // A connection of the pool that found another server ends the wait.
        tokio::time::sleep(BACKOFF.0).await;
        let _ = tokio::time::timeout(spread(backoff).saturating_sub(BACKOFF.0), postgres.suspected()).await;
        // Its probes find out when the database responds.
        postgres.breaker().closed().await;
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
    let mut poll = POLL;
    if postgres.sessions() == Sessions::Shared {
        // Another connection's transaction would be notified.
        poll = POLL_ALONE;
    } else if let Err(error) = postgres.bounded(async { client.batch_execute(LISTEN).await.map_err(failed) }).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "LISTEN unavailable; polling for changes");
        poll = POLL_ALONE;
    }
    let mut marked = None;
    loop {
        let mut session = PostgresSession { postgres, link: Link::Client { client: &client, write: None } };
        read_all(feed, &mut session, cursor).await?;
        if marked.replace(cursor.server) != Some(cursor.server) {
            mark_server(&mut session, cursor.server).await;
        }
        metrics.mark_up();
        tokio::select! {
            () = notified.notified() => {}
            () = feed.reading_is_wanted() => {}
            () = postgres.suspected() => {}
            () = tokio::time::sleep(poll) => {}
            () = feed.written_here() => {
                postgres.bounded(async { client.batch_execute(NOTIFY).await.map_err(failed) }).await?;
            }
        }
    }
}

async fn connect(postgres: &Postgres, notified: Arc<Notify>) -> Result<ClientWrapper, StoreError> {
    let connected = postgres.connector().connect_feed().await;
    let Connected { client, mut connection } = connected.map_err(|error| StoreError::Unavailable(Box::new(error)))?;
    let drive = tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if matches!(message, AsyncMessage::Notification(_)) {
                notified.notify_one();
            }
        }
        // The next statement will detect the closed connection: now, not at the next poll.
        notified.notify_one();
    });
    Ok(ClientWrapper::new(client, drive))
}

/// Names the server to its replicas. While that fails, they are not read.
async fn mark_server(session: &mut PostgresSession<'_>, server: i64) {
    if session.postgres.replicas().is_none() {
        return;
    }
    let (postgres, server) = (session.postgres, server.to_string());
    let mark = async { Ok(session.execute(&MARK_SERVER, &[Parameter::Bytes(server.as_bytes())]).await?) };
    if let Err(error) = postgres.bounded(mark).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "cannot mark the primary; replicas are not read");
    }
}

/// Tells what replicas must have replayed before they are read, if that changes: after `rows` were read, and before
/// they are applied.
async fn require_position(
    session: &mut PostgresSession<'_>,
    server: i64,
    covers: u64,
    rows: &[Row],
) -> Result<(), StoreError> {
    let postgres = session.postgres;
    let Some(replicas) = postgres.replicas() else { return Ok(()) };
    if !replicas.position().is_wanted(covers, !rows.is_empty()) {
        return Ok(());
    }
    let read = async {
        let rows = session.rows(&POSITION, &[]).await?;
        let nothing = StoreError::Corrupt { kind: "position", what: "the query returned none" };
        rows.first().ok_or(nothing)?.get(0)
    };
    replicas.position().require(server, postgres.bounded(read).await?);
    Ok(())
}

/// Reads everything that is new and passes it to the listeners.
async fn read_all(feed: &Feed, session: &mut PostgresSession<'_>, cursor: &mut Cursor) -> Result<(), StoreError> {
    let postgres = session.postgres;
    loop {
        let Cursor { snapshot, reading, .. } = &mut *cursor;
        let reading = reading.get_or_insert_with(|| Reading::begin(feed));
        let here = Instant::now();
        let read = page(session, snapshot, &reading.snapshot, reading.position, PAGE);
        let (head, rows) = postgres.bounded(read).await?;
        feed.mark_heard();
        if cursor.is_of_another(&head) {
            match cursor.reading.take() {
                Some(reading) if reading.snapshot.is_empty() => {
                    // Before the caches are cleared: what is read from then on must come from that server.
                    postgres.follow(head.server);
                    if let Some(replicas) = postgres.replicas() {
                        replicas.position().lose();
                    }
                    return cursor.start_over(feed, reading, head).await;
                }
                // The reading continued with an older snapshot, which is not from that server.
                _ => continue,
            }
        }
        let Some(reading) = &mut cursor.reading else { continue };
        if reading.snapshot.is_empty() {
            (reading.snapshot, reading.read_at) = (head.snapshot, head.time);
        }
        require_position(session, head.server, reading.covers, &rows).await?;
        let full = i64::try_from(rows.len()).is_ok_and(|count| count == PAGE);
        let (asked, unseen) = (Asked { here, there: head.time }, cursor.read_at);
        let (mut changes, mut committed) = (Vec::new(), Vec::new());
        for row in &rows {
            reading.position = (transaction(row, ROW)?, row.get(ROW + 1)?);
            let Some(change) = unannounced(feed, &reading.announced, row, ROW + 2)? else { continue };
            committed.extend(row.get::<Option<_>>(ROW + 7)?.and_then(|written| asked.committed(written, unseen)));
            changes.push(change);
        }
        let applied = take_in(feed, &changes).await;
        feed.inner.lag.read(committed, applied);
        if !full {
            if let Some(replicas) = postgres.replicas() {
                replicas.position().cover(reading.covers);
            }
            return cursor.finish(feed, head.time).await;
        }
    }
}

impl Reading {
    fn begin(feed: &Feed) -> Self {
        // In this order: a write announced now is included in the snapshot taken next.
        let covers = feed.replicas().map_or(0, |replicas| replicas.position().announced());
        let (number, announced) = (feed.reading_begins(), feed.take_announced());
        Self { number, snapshot: String::new(), position: (0, 0), read_at: 0, announced, covers }
    }
}

impl Cursor {
    /// When the server was started that the readings come from.
    pub(crate) fn server(&self) -> i64 {
        self.server
    }

    /// As if the previous readings came from another server.
    #[cfg(test)]
    pub(crate) fn of_another_server(self) -> Self {
        Self { server: self.server - 1, ..self }
    }

    /// Whether a page came from a different server than previous readings, or from one that has lost
    /// transactions.
    fn is_of_another(&self, head: &Head) -> bool {
        head.server != self.server || next_id(&head.snapshot) < next_id(&self.snapshot)
    }

    /// Clears all caches and positions the cursor after everything that this server has committed.
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
        let gap = Duration::from_micros(u64::try_from(now - self.read_at).unwrap_or(0));
        (self.snapshot, self.read_at) = (reading.snapshot, reading.read_at);
        if gap > feed.inner.kept {
            tracing::warn!(?gap, "change feed was not read for longer than changes are kept; clearing all caches");
            feed.reset().await?;
        }
        feed.reading_ends(reading.number);
        Ok(())
    }
}

/// The index of the first change column, after the common ones.
const ROW: usize = 4;

/// The next transaction id at the time of the snapshot.
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
    // Transactions that were running in `before` have lower ids than those that began after it.
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
    let nothing = StoreError::Corrupt { kind: "change", what: "the query returned no snapshot" };
    let first = rows.first().ok_or(nothing)?;
    let head = Head { snapshot: first.get(0)?, time: first.get(1)?, server: first.get(2)? };
    if first.get::<i64>(3)? != 0 {
        // A standby does not know which of the primary's transactions are running.
        return Err(StoreError::Unavailable("the database is a standby, not the primary".into()));
    }
    rows.retain(|row| !row.is_null(ROW));
    Ok((head, rows))
}

/// Passes changes to the listeners. If they fail, the feed keeps the changes and retries, and the reading
/// continues. Returns whether all have applied them.
pub(super) async fn take_in(feed: &Feed, changes: &[Change]) -> bool {
    if changes.is_empty() {
        return true;
    }
    changes.iter().for_each(|change| feed.inner.metrics.change_read(&change.kind));
    feed.receive(changes).await.inspect_err(super::report).is_ok()
}

/// The change in a row from a column on: kind, operation, id, key, origin. `None`: it was announced, or its
/// operation is unknown to this version, which cannot happen with this version's schema.
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
