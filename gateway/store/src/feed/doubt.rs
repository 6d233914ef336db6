//! Finding out what became of a write when the database's response to it was lost.
//!
//! 1. The node trusts nothing that it knows ([`Feed::is_current`]).
//! 2. The write may still be running in the database, and commit later. So this waits until no
//!    transaction runs any more that had begun by then, or for as long as the database lets a
//!    statement run.
//! 3. A reading of the feed that begins now has the write's rows if it was committed; it was never
//!    announced, so they are acted on like another node's.
//!
//! A write that reaches the database even later, held up on its way, is read as other nodes'
//! writes are.

use std::time::Instant;

use tollgate_core::error::StoreError;

use crate::database::Database;
use crate::feed::{Feed, TICK};
use crate::statement::Statement;

/// SQLite has no use for it: one thread writes there, and when it gives no result it has ended.
const RUNNING: Statement = Statement {
    name: "change/running.sql",
    postgres: include_str!("../../../../sql/postgres/change/running.sql"),
    sqlite: "",
};

impl Feed {
    /// The outcome of a write is unknown.
    pub(super) fn doubt(&self) {
        tracing::warn!("write outcome unknown; bypassing caches until it is known");
        self.inner.doubt.send_replace(Some(Instant::now()));
        self.judge();
        self.inner.written.notify_one();
    }

    /// Waits until every outcome is known, within bounds.
    pub(super) async fn resolved(&self) {
        let mut doubt = self.inner.doubt.subscribe();
        let _ = tokio::time::timeout(self.inner.patience, doubt.wait_for(Option::is_none)).await;
    }

    /// Resolves doubts for as long as the store is open.
    pub(super) async fn resolve_doubts(&self) {
        let mut doubts = self.inner.doubt.subscribe();
        loop {
            let Ok(since) = doubts.wait_for(Option::is_some).await.map(|since| *since) else { return };
            self.has_ended(since).await;
            // What has been waiting for the listeners is not in force either.
            let waiting = self.pending().waiting();
            let settled = match waiting {
                Some(ticket) => self.settle(ticket).await,
                None => Ok(()),
            };
            if settled.and(self.catch_up().await).is_err() {
                continue;
            }
            let resolved = |doubt: &mut Option<Instant>| {
                // Unless another write has failed meanwhile.
                let resolved = *doubt == since;
                if resolved {
                    *doubt = None;
                }
                resolved
            };
            self.inner.doubt.send_if_modified(resolved);
            self.judge();
        }
    }

    /// Waits until a write that was sent before `since` has ended in the database.
    async fn has_ended(&self, since: Option<Instant>) {
        let Database::Postgres(_) = self.inner.database else { return };
        let mut asked = None;
        while since.is_some_and(|since| since.elapsed() < self.inner.longest_statement) {
            match self.running().await {
                Ok((now, oldest)) => {
                    let asked = *asked.get_or_insert(now);
                    if oldest.is_none_or(|oldest| oldest > asked) {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "write outcome still unknown; retrying");
                }
            }
            tokio::time::sleep(TICK).await;
        }
    }

    /// The database's time, and when the oldest transaction began that runs there.
    async fn running(&self) -> Result<(i64, Option<i64>), StoreError> {
        let read = self.inner.database.read((), async |(), session| {
            let rows = session.rows(&RUNNING, &[]).await?;
            let nothing = StoreError::Corrupt { kind: "transaction", what: "the database tells no time" };
            let row = rows.first().ok_or(nothing)?;
            Ok((row.get(0)?, row.get(1)?))
        });
        read.await
    }
}
