//! Reads from replicas: of what the primary's answer would be the same, as far as this node knows.
//!
//! A replica is an offer, never a promise: one that has not replayed what it must ([`Position`]), is slow or
//! fails is not waited for, and the caller asks the primary. So does a caller that does not find what it looks
//! for, since it may have been added a moment ago.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tollgate_core::error::StoreError;

use super::connection::Connector;
use super::position::{Position, Required};
use super::{Link, Object, Postgres, PostgresSession, UrlError};
use crate::metrics::Metrics;
use crate::options::Options;
use crate::session::Session;
use crate::statement::Statement;
use crate::work::ReadWork;

/// How long a replica may take for a connection, and for each statement.
const LIMIT: Duration = Duration::from_millis(250);
/// How long a replica that failed is not asked.
const PAUSE: Duration = Duration::from_secs(1);

/// Only PostgreSQL has replicas.
const REPLAYED: Statement = Statement {
    name: "change/replayed.sql",
    postgres: include_str!("../../../../sql/postgres/change/replayed.sql"),
    sqlite: "",
};

/// The replicas of a database.
pub(crate) struct Replicas {
    each: Vec<Replica>,
    next: AtomicUsize,
    position: Position,
    metrics: Metrics,
}

struct Replica {
    /// Its place in the setting: its URL may contain a password.
    number: usize,
    postgres: Postgres,
    failed_at: Mutex<Option<Instant>>,
}

impl Replicas {
    /// The replicas of the options; `None` if there are none.
    pub(super) fn new(options: &Options, metrics: &Metrics) -> Result<Option<Self>, UrlError> {
        // Those of the connections are the primary's.
        let Ok(unseen) = Metrics::register(&prometheus::Registry::new()) else { return Ok(None) };
        let replica = |(index, url): (usize, &String)| {
            let connector = Connector::parse_replica(url, options)?;
            let postgres = Postgres::with(connector, options, unseen.clone(), None)?;
            Ok(Replica { number: index + 1, postgres, failed_at: Mutex::default() })
        };
        let each = options.replicas.iter().enumerate().map(replica).collect::<Result<Vec<_>, UrlError>>()?;
        let replicas =
            Self { each, next: AtomicUsize::new(0), position: Position::default(), metrics: metrics.clone() };
        Ok((!replicas.each.is_empty()).then_some(replicas))
    }

    /// What replicas must have replayed.
    pub(crate) fn position(&self) -> &Position {
        &self.position
    }

    /// Runs `work` on a replica, if one is fit.
    #[expect(clippy::manual_async_fn, reason = "an async fn cannot declare its future Send")]
    pub(crate) fn read<I, T, F>(&self, input: I, work: F) -> impl Future<Output = Option<T>> + Send
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
        F: ReadWork<I, T>,
    {
        async move {
            // Before the read begins.
            let Some(required) = self.position.required() else {
                self.metrics.replica_read("behind");
                return None;
            };
            let replica = self.fit()?;
            let read = replica.read(required, input, work).await;
            let result = match &read {
                Ok(Some(_)) => "served",
                Ok(None) => "behind",
                Err(_) => "failed",
            };
            self.metrics.replica_read(result);
            replica.note(read.as_ref().err());
            read.ok().flatten()
        }
    }

    /// In turn, without those that have just failed.
    fn fit(&self) -> Option<&Replica> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed).checked_rem(self.each.len())?;
        let (before, from) = self.each.split_at_checked(turn)?;
        from.iter().chain(before).find(|replica| replica.is_fit())
    }
}

impl Replica {
    /// `None`: it has not replayed what it must.
    #[expect(clippy::manual_async_fn, reason = "an async fn cannot declare its future Send")]
    fn read<I, T, F>(
        &self,
        required: Required,
        input: I,
        work: F,
    ) -> impl Future<Output = Result<Option<T>, StoreError>> + Send
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
        F: ReadWork<I, T>,
    {
        async move {
            let client = within(self.postgres.unguarded()).await?;
            let link = Link::Client { client: &client, write: None };
            let mut session = PostgresSession { postgres: &self.postgres, link };
            let read = match within(has_replayed(&mut session, required)).await {
                Ok(true) => within(work.run(&input, &mut session)).await.map(Some),
                Ok(false) => return Ok(None),
                Err(error) => Err(error),
            };
            if let Err(StoreError::Timeout(_)) = read {
                // Its statement may still be running.
                drop(Object::take(client));
            }
            read
        }
    }

    fn is_fit(&self) -> bool {
        self.failed_at().is_none_or(|failed_at| failed_at.elapsed() > PAUSE)
    }

    /// Logs once when it begins to fail, and once when it responds again.
    fn note(&self, error: Option<&StoreError>) {
        let mut failed_at = self.failed_at.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *failed_at, error.map(|_| Instant::now()));
        let replica = self.number;
        match (error, before) {
            (Some(error), None) => {
                let error = error as &dyn std::error::Error;
                tracing::warn!(error, replica, "replica does not respond; asking the primary");
            }
            (None, Some(_)) => tracing::info!(replica, "replica responds again"),
            _ => {}
        }
    }

    fn failed_at(&self) -> Option<Instant> {
        *self.failed_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn within<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(LIMIT, work).await.map_err(|_| StoreError::Timeout(LIMIT))?
}

async fn has_replayed(session: &mut dyn Session, required: Required) -> Result<bool, StoreError> {
    let rows = session.rows(&REPLAYED, &[]).await?;
    let Some(row) = rows.first() else { return Ok(false) };
    let (position, server): (Option<i64>, Option<Vec<u8>>) = (row.get(0)?, row.get(1)?);
    let same = server.is_some_and(|server| server == required.server.to_string().into_bytes());
    Ok(same && position.is_some_and(|position| position >= required.position))
}
