//! Determines the outcome of a write when the database's response to it was lost.
//!
//! 1. The node stops trusting its caches ([`Feed::is_current`]); while the store is away, they are served as they were
//!    before ([`Feed::outage`]), since the write was not acknowledged.
//! 2. The write may still be running in the database, and commit later. So this waits until every transaction
//!    that had begun by now has ended, or for the longest time that the database lets a statement run.
//! 3. A feed reading that begins now includes the write's rows if it was committed; they were never
//!    announced, so they are applied like another node's.
//!
//! A write that reaches the database even later is read like another node's.

use std::time::Instant;

use tollgate_core::error::StoreError;

use crate::database::Database;
use crate::feed::{Feed, TICK};
use crate::statement::Statement;

/// Not needed on SQLite: one thread writes there, and when it returns no result it has ended.
const RUNNING: Statement = Statement {
    name: "change/running.sql",
    postgres: include_str!("../../../../sql/postgres/change/running.sql"),
    sqlite: "",
};

impl Feed {
    /// Records that the outcome of a write is unknown.
    pub(super) fn mark_outcome_unknown(&self) {
        tracing::warn!("write outcome unknown; bypassing caches until it is known");
        self.inner.unknown_since.send_replace(Some(Instant::now()));
        self.update_current();
        self.inner.written.notify_one();
    }

    /// Waits until every outcome is known, up to a limit, and not while the store is away.
    pub(super) async fn resolved(&self) {
        let mut unknown = self.inner.unknown_since.subscribe();
        tokio::select! {
            _ = tokio::time::timeout(self.inner.wait_limit, unknown.wait_for(Option::is_none)) => {}
            () = self.store_is_away() => {}
        }
    }

    /// Determines unknown outcomes until the store is closed.
    pub(super) async fn resolve_unknown_outcomes(&self) {
        let mut unknown = self.inner.unknown_since.subscribe();
        loop {
            let Ok(since) = unknown.wait_for(Option::is_some).await.map(|since| *since) else { return };
            self.has_ended(since).await;
            // Changes that wait for listeners are not in force either.
            let waiting = self.pending().waiting();
            let settled = match waiting {
                Some(ticket) => self.settle(ticket).await,
                None => Ok(()),
            };
            if settled.and(self.catch_up().await).is_err() {
                tokio::time::sleep(TICK).await;
                continue;
            }
            let resolved = |current: &mut Option<Instant>| {
                // Another write may have failed meanwhile.
                let resolved = *current == since;
                if resolved {
                    *current = None;
                }
                resolved
            };
            self.inner.unknown_since.send_if_modified(resolved);
            self.update_current();
        }
    }

    /// Waits until a write that was sent before `since` has ended in the database.
    async fn has_ended(&self, since: Option<Instant>) {
        let Database::Postgres(_) = self.inner.database else { return };
        let (mut asked, mut since) = (None, since);
        while since.is_some_and(|since| since.elapsed() < self.inner.longest_statement) {
            match self.running().await {
                Ok((now, oldest)) => {
                    let asked = *asked.get_or_insert(now);
                    if oldest.is_none_or(|oldest| oldest > asked) {
                        return;
                    }
                }
                // A database that was frozen continues where it was: the time begins when it responds again.
                Err(error) if error.is_reported() => since = Some(Instant::now()),
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "write outcome still unknown; retrying");
                }
            }
            tokio::time::sleep(TICK).await;
        }
    }

    /// The database's time, and the start time of its oldest running transaction.
    async fn running(&self) -> Result<(i64, Option<i64>), StoreError> {
        let read = self.inner.database.read((), async |(), session| {
            let rows = session.rows(&RUNNING, &[]).await?;
            let nothing = StoreError::Corrupt { kind: "transaction", what: "the query returned no time" };
            let row = rows.first().ok_or(nothing)?;
            Ok((row.get(0)?, row.get(1)?))
        });
        read.await
    }
}
